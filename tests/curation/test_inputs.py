"""Inputs: whatever the user names, every file once, none lost."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.errors import InputError
from curation.inputs import find_inputs, identify


@pytest.fixture
def footage(tmp_path):
    folder = tmp_path / "raw [1] & $HOME"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/B.MKV", "notes.txt", "c.webm"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_folder_gives_its_media_files_at_any_depth(footage):
    names = [uri.rsplit("/", 1)[-1] for uri in find_inputs([str(footage)])]
    assert sorted(names) == ["B.MKV", "a.mp4", "c.webm"]


def test_a_file_is_taken_whatever_its_name(footage):
    (footage / "clip").write_bytes(b"x")
    assert find_inputs([str(footage / "clip")]) == [str(footage / "clip")]


def test_naming_a_file_twice_gives_it_once(footage):
    assert len(find_inputs([str(footage), str(footage / "a.mp4")])) == 3


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "parquet"])
def test_lists_of_every_kind(footage, tmp_path, kind):
    uris = [str(footage / "a.mp4"), str(footage / "c.webm")]
    path = tmp_path / f"list.{kind}"
    if kind == "txt":
        path.write_text("\n".join(uris))
    elif kind == "csv":
        path.write_text("uri,licence\n" + "".join(f'"{uri}",CC0\n' for uri in uris))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"uri": uri}) + "\n" for uri in uris))
    else:
        pq.write_table(pa.table({"uri": uris}), path)
    assert find_inputs([str(path)]) == uris


def test_globs_and_urls(footage):
    import glob

    assert len(find_inputs([f"{glob.escape(str(footage))}/*.webm"])) == 1
    assert find_inputs([f"file://{footage}/a.mp4"]) == [f"file://{footage}/a.mp4"]


@pytest.mark.parametrize("name", ["missing.mp4", "nothing-*.mp4", "missing-folder/"])
def test_what_is_not_there_is_named(name):
    with pytest.raises(InputError, match=name.split("*")[0].rstrip("/")):
        find_inputs([name])


def test_a_list_without_uris_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path\na.mp4\n")
    with pytest.raises(InputError, match="uri"):
        find_inputs([str(path)])


def test_equal_content_has_equal_ids_and_unreadable_inputs_stay_in_the_books(footage):
    (footage / "copy.mp4").write_bytes((footage / "a.mp4").read_bytes())
    one, other, gone = identify(
        [str(footage / "a.mp4"), str(footage / "copy.mp4"), str(footage / "gone.mp4")]
    )
    assert one.source_id == other.source_id
    assert one.error is None
    assert gone.error is not None
    assert "gone.mp4" in gone.error
