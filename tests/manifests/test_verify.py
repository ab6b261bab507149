"""A whole dataset has no faults; each kind of damage is found and named."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.dataset import DatasetManifest, ShardEntry
from manifests.faults import FaultKind
from manifests.ids import clip_id
from manifests.playback import Played, play_audio
from manifests.records import PACKED_COLUMNS, clip_schema
from manifests.shards import ShardWriter
from manifests.span import Span
from manifests.storage import Folder
from manifests.verify import verify_dataset
from tests.manifests.planting import blanked

FPS = 25
SAMPLE_HZ = 16000
NUM_FRAMES = 30
SHARDS = ("shards/000000.tar", "shards/000001.tar")
SOURCE = "0123456789abcdef0123"
A, B, C, D = (clip_id(SOURCE, Span(0, 30, Fraction(1, FPS)), track) for track in range(4))
TRACKS = {A: 0, B: 1, C: 2, D: 3}

Samples = dict[str, dict[str, bytes]]


@cache
def mp4() -> bytes:
    """A video whose index comes first, so that it opens even if its end is cut off."""
    with TemporaryDirectory() as place:
        path = Path(place) / "a.mp4"
        with av.open(path, "w", options={"movflags": "faststart"}) as container:
            # Two groups of pictures with B-frames: the last frame is not the last one coded.
            stream = container.add_stream("libx264", rate=FPS, options={"g": "20", "bf": "2"})
            stream.width = stream.height = 64
            for index in range(30):
                noise = np.random.default_rng(index).integers(0, 255, (64, 64, 3), np.uint8)
                frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path.read_bytes()


@cache
def flac(num_samples: int = 30 * SAMPLE_HZ // FPS) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_HZ, layout="mono")
        tone = (np.sin(np.arange(num_samples) / 9) * 9999).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.rate = SAMPLE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


@cache
def face_npz() -> bytes:
    file = io.BytesIO()
    shapes = {"box": (4,), "landmarks": (5, 3), "head_pose_deg": (3,), "score": ()}
    shapes |= {"lip_polygon": (20, 2), "inner_lip_polygon": (20, 2)}
    arrays = {name: np.zeros((NUM_FRAMES, *shape), np.float32) for name, shape in shapes.items()}
    np.savez(file, **arrays, point_index=np.arange(5))
    return file.getvalue()


def row_of(key: str) -> dict[str, Any]:
    return {
        "clip_id": key,
        "source_id": SOURCE,
        "uri": "a.mp4",
        "track": TRACKS[key],
        "start_pts": 0,
        "end_pts": NUM_FRAMES,
        "time_base_num": 1,
        "time_base_den": FPS,
        "start_s": 0.0,
        "duration_s": 1.2,
        "state": "kept",
        "num_frames": NUM_FRAMES,
        "caption": "a caption",
    }


def described(key: str, num_audio_samples: int) -> bytes:
    row = row_of(key)
    names = ("clip_id", "source_id", "uri", "track", "start_s", "duration_s")
    said = {name: row[name] for name in names} | {
        "span": {"start_pts": 0, "end_pts": NUM_FRAMES, "time_base": [1, FPS]},
        "recipe_digest": "d1",
        "video": {"num_frames": NUM_FRAMES},
        "audio": {"num_samples": num_audio_samples},
        "transcript": None,
        "measurements": {},
    }
    return json.dumps(said).encode()


def sample(key: str, **changes: bytes | None) -> dict[str, bytes]:
    """The members of a sample; the description tells of the sound that is there, if it plays."""
    sound = changes.get("flac") or flac()
    played = play_audio(sound)
    num = played.num_frames if isinstance(played, Played) else 0
    members = {
        "mp4": mp4(),
        "flac": sound,
        "txt": b"a caption",
        "json": described(key, num),
        "face.npz": face_npz(),
    }
    return {ext: data for ext, data in (members | changes).items() if data is not None}


class Dataset:
    """A small whole dataset, written piece by piece so that each piece can be spoilt."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.entries: list[ShardEntry] = []
        self.rows: list[dict[str, Any]] = []
        self.schema: pa.Schema | None = None

    def add(self, path: str, samples: Samples) -> None:
        with self.folder.writer(path) as file:
            writer = ShardWriter(file)
            for key, members in samples.items():
                places = [
                    {**vars(place), "sha256": hashlib.sha256(members[place.ext]).hexdigest()}
                    for place in writer.add(key, members).members
                ]
                self.rows.append(row_of(key) | {"shard": path, "members": places})
            digest = writer.finish()
        counts = digest.num_bytes, digest.num_samples
        self.entries.append(ShardEntry(path, digest.sha256, *counts, 1.2 * len(samples)))

    def close(self) -> None:
        with self.folder.writer("clips.parquet") as file:
            schema = clip_schema((), PACKED_COLUMNS) if self.schema is None else self.schema
            pq.write_table(pa.Table.from_pylist(self.rows, schema), file)
        DatasetManifest("talking_portrait", "d1", tuple(self.entries)).write(self.folder)

    def faults(self) -> set[tuple[FaultKind, str]]:
        self.close()
        return {(fault.kind, fault.place) for fault in verify_dataset(self.folder)}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset(Folder(str(tmp_path / "a run #1 [x]" / "dataset")))
    dataset.add(SHARDS[0], {A: sample(A), B: sample(B)})
    dataset.add(SHARDS[1], {C: sample(C)})
    return dataset


def test_a_whole_dataset_has_no_faults(dataset: Dataset) -> None:
    assert dataset.faults() == set()


def test_a_dataset_in_an_object_store_is_checked_the_same() -> None:
    folder = Folder("memory://test_verify")
    dataset = Dataset(folder)
    dataset.add(SHARDS[0], {A: sample(A)})
    assert dataset.faults() == set()
    for name in folder.list():
        folder.remove(name)


def test_a_changed_letter_or_a_longer_file_is_found_by_the_digest(dataset: Dataset) -> None:
    one, other = (dataset.folder.read_bytes(path) for path in SHARDS)
    dataset.folder.write_bytes(SHARDS[0], one.replace(b"a caption", b"a cbption", 1))
    dataset.folder.write_bytes(SHARDS[1], other + b"more")
    assert dataset.faults() == {
        (FaultKind.CAPTION_DIFFERS, f"{SHARDS[0]}:{A}.txt"),
        (FaultKind.MEMBER_SHA256, f"{SHARDS[0]}:{A}.txt"),
        (FaultKind.SHARD_SHA256, SHARDS[0]),
        (FaultKind.SHARD_SHA256, SHARDS[1]),
        (FaultKind.SHARD_SIZE, SHARDS[1]),
    }


def test_a_cut_shard_is_found_and_the_next_one_still_checked(dataset: Dataset) -> None:
    data = dataset.folder.read_bytes(SHARDS[0])
    dataset.folder.write_bytes(SHARDS[0], data[:-5000])
    dataset.entries[1] = replace(dataset.entries[1], num_samples=7)
    assert dataset.faults() == {
        (FaultKind.SHARD_SHA256, SHARDS[0]),
        (FaultKind.SHARD_SIZE, SHARDS[0]),
        (FaultKind.TAR_BROKEN, SHARDS[0]),
        (FaultKind.NUM_SAMPLES, SHARDS[1]),
    }


def test_missing_and_unlisted_shards_are_found(dataset: Dataset) -> None:
    dataset.folder.write_bytes("shards/000007.tar", dataset.folder.read_bytes(SHARDS[0]))
    dataset.folder.remove(SHARDS[0])
    assert dataset.faults() == {
        (FaultKind.SHARD_MISSING, SHARDS[0]),
        (FaultKind.SHARD_UNLISTED, "shards/000007.tar"),
    }


def test_a_missing_member_is_found(dataset: Dataset) -> None:
    dataset.add("shards/000002.tar", {D: sample(D, txt=None)})
    assert dataset.faults() == {(FaultKind.MEMBER_MISSING, f"shards/000002.tar:{D}.txt")}


def test_a_key_in_two_shards_is_found_in_tar_and_table(dataset: Dataset) -> None:
    dataset.add("shards/000002.tar", {A: sample(A)})
    assert dataset.faults() == {
        (FaultKind.KEY_DUPLICATE, f"shards/000002.tar:{A}"),
        (FaultKind.ROW_DUPLICATE, f"clips.parquet:{A}"),
    }


def test_a_member_twice_in_a_sample_is_found(dataset: Dataset) -> None:
    half = dataset.folder.read_bytes(SHARDS[1])[:-1024]
    dataset.folder.write_bytes(SHARDS[1], half + half + bytes(1024))
    assert (FaultKind.MEMBER_DUPLICATE, f"{SHARDS[1]}:{C}.mp4") in dataset.faults()


def test_rows_and_samples_are_held_against_each_other_both_ways(dataset: Dataset) -> None:
    by_id = {row["clip_id"]: row for row in dataset.rows}
    by_id[A] |= {"clip_id": D, "track": TRACKS[D]}
    by_id[B]["members"][0]["offset"] += 512
    del by_id[B]["members"][1]
    by_id[C]["shard"] = "shards/000009.tar"
    assert dataset.faults() == {
        (FaultKind.ROW_WITHOUT_SAMPLE, f"clips.parquet:{D}"),
        (FaultKind.SAMPLE_WITHOUT_ROW, f"{SHARDS[0]}:{A}"),
        (FaultKind.MEMBER_PLACE, f"{SHARDS[0]}:{B}.face.npz"),
        (FaultKind.MEMBER_UNLISTED, f"{SHARDS[0]}:{B}.flac"),
        (FaultKind.ROW_WITHOUT_SAMPLE, f"clips.parquet:{C}"),
        (FaultKind.SAMPLE_WITHOUT_ROW, f"{SHARDS[1]}:{C}"),
    }


def test_any_number_of_threads_finds_the_same_in_the_same_order(dataset: Dataset) -> None:
    dataset.add("shards/000002.tar", {A: sample(A), D: sample(D, txt=b"another")})
    dataset.close()
    one = verify_dataset(dataset.folder, num_threads=1)
    assert len(one) == 3
    assert verify_dataset(dataset.folder, num_threads=3) == one


@pytest.mark.parametrize(
    "rows",
    [
        [{"clip_id": "a"}],
        [{"clip_id": "a", "shard": "s", "members": "text"}],
        [{"clip_id": "a", "shard": "s", "members": [{"ext": "mp4", "offset": 1}]}],
    ],
)
def test_a_table_with_other_columns_is_one_fault_not_one_a_sample(
    dataset: Dataset, rows: list[dict[str, Any]]
) -> None:
    dataset.rows = rows
    dataset.schema = pa.Table.from_pylist(rows).schema
    assert dataset.faults() == {(FaultKind.TABLE_INVALID, "clips.parquet")}


@pytest.mark.parametrize("data", [None, b"", b"not parquet at all", b"PAR1....PAR1"])
def test_an_absent_or_broken_table_is_one_fault(dataset: Dataset, data: bytes | None) -> None:
    dataset.close()
    dataset.folder.remove("clips.parquet")
    if data is not None:
        dataset.folder.write_bytes("clips.parquet", data)
    (fault,) = verify_dataset(dataset.folder)
    assert (fault.kind, fault.place) == (FaultKind.TABLE_INVALID, "clips.parquet")


@pytest.mark.parametrize(
    ("ext", "data", "kind"),
    [
        ("mp4", b"no mp4 at all", FaultKind.VIDEO_UNDECODABLE),
        ("mp4", mp4()[:-200], FaultKind.VIDEO_UNDECODABLE),
        ("mp4", mp4()[:-9000], FaultKind.VIDEO_UNDECODABLE),
        ("mp4", blanked(mp4(), -1), FaultKind.VIDEO_UNDECODABLE),
        ("mp4", blanked(mp4(), 0), FaultKind.VIDEO_UNDECODABLE),
        ("mp4", flac(), FaultKind.VIDEO_UNDECODABLE),
        ("flac", b"no flac at all", FaultKind.AUDIO_UNDECODABLE),
        ("flac", mp4(), FaultKind.AUDIO_UNDECODABLE),
        ("flac", flac()[:50], FaultKind.AUDIO_UNDECODABLE),
        ("flac", flac()[: len(flac()) // 2], FaultKind.AUDIO_UNDECODABLE),
        ("flac", flac(31 * 640), None),
        ("flac", flac(29 * 640), None),
        ("flac", flac(31 * 640 + 1), FaultKind.LENGTHS_DIFFER),
        ("flac", flac(29 * 640 - 1), FaultKind.LENGTHS_DIFFER),
    ],
)
def test_media_that_do_not_play_or_do_not_fit_are_found(
    dataset: Dataset, ext: str, data: bytes, kind: FaultKind | None
) -> None:
    dataset.add("shards/000002.tar", {D: sample(D, **{ext: data})})
    place = f"shards/000002.tar:{D}.{ext}"
    assert dataset.faults() == (set() if kind is None else {(kind, place)})


def test_a_broken_manifest_is_a_fault(dataset: Dataset) -> None:
    dataset.close()
    dataset.folder.write_bytes("dataset.json", b"{}")
    (fault,) = verify_dataset(dataset.folder)
    assert str(fault).startswith("dataset.json: manifest_invalid: expected a dataset manifest")
    assert dataset.folder.url not in str(fault)
