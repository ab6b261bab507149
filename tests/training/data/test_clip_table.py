from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.dataset import DatasetManifest
from manifests.storage import Folder
from tests.training.data.conftest import CLIPS
from tests.training.data.made_dataset import (
    MadeClip,
    encode_sound,
    make_dataset,
    numbered_sound,
)
from training.data.books import ReadWork
from training.data.clip_table import open_clips
from training.data.sample_members import read_members
from training.data.sound_checks import check_sounds, flac_samples
from training.errors import DataError
from training.objective.curriculum import Source


@pytest.fixture
def copy(dataset: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(dataset).parent, tmp_path / "copy"))


def gated(**where: dict) -> tuple[Source, ...]:
    return (Source(where={name.replace("__", "."): bounds for name, bounds in where.items()}),)


def test_every_sample_is_found_at_its_place_whatever_its_neighbours(dataset: str) -> None:
    clips = open_clips([dataset])
    packed: dict[str, dict[str, bytes]] = {}
    for shard in (Path(dataset).parent / "shards").glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, ext = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                packed.setdefault(key, {})[ext] = file.read()
    assert set(clips.clip_ids.tolist()) == set(packed) == {clip.clip_id for clip in CLIPS}
    for row in range(len(clips)):
        place = clips.place(row)
        assert read_members(place, ReadWork()) == packed[place.clip_id]


def test_datasets_on_object_storage_are_opened_alike(dataset: str) -> None:
    local, remote = Folder(str(Path(dataset).parent)), Folder("memory://test_clip_table")
    for name in local.list():
        remote.write_bytes(name, local.read_bytes(name))
    ours, theirs = open_clips([dataset]), open_clips(["memory://test_clip_table/dataset.json"])
    assert ours.digest == theirs.digest
    assert read_members(theirs.place(0), ReadWork()) == read_members(ours.place(0), ReadWork())


def test_the_order_of_the_datasets_does_not_matter(tmp_path: Path, dataset: str) -> None:
    other = make_dataset(tmp_path / "other", [MadeClip(20), MadeClip(21)])
    one, two = open_clips([dataset, other]), open_clips([other, dataset])
    assert one.digest == two.digest and len(one) == len(CLIPS) + 2
    assert [one.place(row) for row in range(len(one))] == [
        two.place(row) for row in range(len(two))
    ]


def test_a_clip_in_two_datasets_is_used_once(tmp_path: Path, dataset: str) -> None:
    other = make_dataset(tmp_path / "other", [CLIPS[0], MadeClip(21)])
    clips = open_clips([dataset, other])
    assert len(clips) == len(CLIPS) + 1
    assert clips.left_out == {"in two datasets": 1}


def test_gates_choose_clips_and_count_by_reason_what_they_refuse(tmp_path: Path) -> None:
    made = [MadeClip(i, sync_confidence=value) for i, value in enumerate((0.2, 0.8, None, 0.9))]
    place = make_dataset(tmp_path / "d", made)
    clips = open_clips([place], sources=gated(sync__confidence={"min": 0.5}))
    assert set(clips.clip_ids) == {made[1].clip_id, made[3].clip_id}
    assert sum(clips.left_out.values()) == 2


def test_sources_weigh_their_datasets(tmp_path: Path, dataset: str) -> None:
    other = make_dataset(tmp_path / "close-ups", [MadeClip(20)])
    sources = (Source(dataset="made"), Source(dataset="close-ups", weight=3))
    clips = open_clips([dataset, other], sources=sources)
    weights = dict(zip(clips.clip_ids.tolist(), clips.weight_N.tolist(), strict=True))
    assert weights.pop(MadeClip(20).clip_id) == 3
    assert set(weights.values()) == {1}


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({"min_frames": 999}, "no clip is left .*shorter than 999 frames.*loosen"),
        ({"sources": gated(faces__height_px={"min": 1000})}, "no clip is left .*loosen the gates"),
        ({"sources": gated(sync__confidense={"min": 1})}, "the nearest is sync.confidence"),
        ({"sources": gated(sync__confidence={"least": 1})}, "gate on sync.confidence"),
        ({"sources": (Source(dataset="nowhere"),)}, "no dataset given has that in its path"),
        ({"size_columns": ("w", "h")}, "no column w, h"),
    ],
)
def test_what_chooses_no_clip_is_refused_with_what_to_do(
    dataset: str, changes: dict, way_out: str
) -> None:
    with pytest.raises(DataError, match=way_out):
        open_clips([dataset], **changes)


def test_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data"):
        open_clips([])
    with pytest.raises(DataError, match="there is no such folder"):
        open_clips([str(tmp_path / "nothing")])


def test_a_newer_schema_is_refused(copy: Path) -> None:
    path = copy / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(DataError, match="update talkreel"):
        open_clips([str(copy)])


def test_a_table_of_a_newer_schema_is_refused(copy: Path) -> None:
    path = copy / "clips.parquet"
    table = pq.read_table(path)
    newer = table.schema.metadata | {b"talkreel.schema_version": b"99"}
    pq.write_table(table.replace_schema_metadata(newer), path)
    with pytest.raises(DataError, match="schema version 99"):
        open_clips([str(copy)])


def test_a_missing_shard_is_refused(copy: Path) -> None:
    (copy / "shards" / "000001.tar").unlink()
    with pytest.raises(DataError, match=r"000001\.tar: .* not there.*copy the whole dataset"):
        open_clips([str(copy)])


def test_a_cut_shard_is_refused(copy: Path) -> None:
    path = copy / "shards" / "000000.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(DataError, match="cut or another one"):
        open_clips([str(copy)])


def test_a_changed_byte_is_refused_where_the_digest_is_asked_for(copy: Path) -> None:
    path = copy / "shards" / "000000.tar"
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    assert len(open_clips([str(copy)])) == len(CLIPS)
    with pytest.raises(DataError, match="SHA-256"):
        open_clips([str(copy)], check="sha256")


@pytest.mark.parametrize("ext", ["flac", "1.flac"])
def test_a_sound_shorter_than_its_clip_is_refused(tmp_path: Path, ext: str) -> None:
    clips = [MadeClip(0, members={ext: encode_sound(numbered_sound(30))}), MadeClip(1)]
    place = make_dataset(tmp_path, clips)
    with pytest.raises(DataError, match=r"lasts 1\.200 s, the video 1\.600 s \(1 of 2.*pack") as no:
        open_clips([place])
    assert f"{clips[0].clip_id}.{ext} in" in str(no.value)


def test_a_long_dataset_is_looked_at_here_and_there_and_all_of_it_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    clips = sorted((MadeClip(n, num_frames=1) for n in range(9)), key=lambda clip: clip.clip_id)
    short = {"flac": encode_sound(numbered_sound(1)[:600])}
    clips[1] = replace(clips[1], members=short)
    make_dataset(tmp_path, clips, samples_per_shard=9)
    table = pq.read_table(tmp_path / "clips.parquet")
    table = table.set_column(table.schema.get_field_index("shard"), "shard", pa.array([0] * 9))
    shards = [(Folder(str(tmp_path)), "shards/000000.tar")]
    check_sounds(shards, table, num_looked_at=3)
    with pytest.raises(DataError, match="1 of 9 clips"):
        check_sounds(shards, table, num_looked_at=9)


def test_the_header_of_a_flac_tells_its_length_or_nothing() -> None:
    assert flac_samples(encode_sound(np.zeros(12345))) == 12345
    assert flac_samples(b"no sound" * 9) is None and flac_samples(b"fLaC") is None


def test_a_table_of_another_packing_is_refused(copy: Path) -> None:
    path = copy / "clips.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(DataError, match="two packings"):
        open_clips([str(copy)])


def test_an_empty_dataset_is_refused(tmp_path: Path, dataset: str) -> None:
    schema = pq.read_schema(Path(dataset).parent / "clips.parquet")
    pq.write_table(pa.Table.from_pylist([], schema), tmp_path / "clips.parquet")
    DatasetManifest("talking_portrait", "d1", ()).write(Folder(str(tmp_path)))
    with pytest.raises(DataError, match="no clip is left"):
        open_clips([str(tmp_path)])
