"""Files are paired by stem; whatever has no partner is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.errors import InputError
from training.evaluation.pairing import pair_folders


def folder(tmp_path: Path, name: str, *files: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    for file in files:
        (made / file).write_bytes(b"x")
    return made


def test_every_file_ends_in_a_pair_or_in_a_report(tmp_path):
    generated = folder(tmp_path, "g", "a.mp4", "b.mp4", "notes.txt", "a.json")
    reference = folder(tmp_path, "r", "b.mov", "c.mp4")
    source = folder(tmp_path, "s", "a.png", "z.jpg")
    pairing = pair_folders(generated, reference, source)
    assert [(p.stem, p.reference, p.source) for p in pairing.pairs] == [
        ("a", None, source / "a.png"),
        ("b", reference / "b.mov", None),
    ]
    assert pairing.without_reference == ("a",)
    assert pairing.reference_only == ("c.mp4",)
    assert pairing.source_only == ("z.jpg",)


def test_two_files_of_one_stem_are_refused_and_not_guessed(tmp_path):
    generated = folder(tmp_path, "g", "a.mp4", "a.webm")
    with pytest.raises(InputError, match=r"a\.mp4 and a\.webm have one stem"):
        pair_folders(generated, None, None)


@pytest.mark.parametrize("files", [(), ("a.txt",)])
def test_a_folder_without_videos_is_refused(tmp_path, files):
    with pytest.raises(InputError, match="holds no file that ends in"):
        pair_folders(folder(tmp_path, "g", *files), None, None)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="--reference"):
        pair_folders(folder(tmp_path, "g", "a.mp4"), tmp_path / "none", None)
