"""Does a dataset hold what it says? Every shard is read once, every fault is listed.

Faults are values: looking goes on after each. Not here: judging the content (measurements, gates),
and mending.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.dataset import CLIPS_NAME, DatasetManifest, ShardEntry
from manifests.errors import SchemaError, ShardError
from manifests.faults import Fault, FaultKind
from manifests.playback import Played, Unplayable, play_audio, play_video
from manifests.shards import Member, MemberPlace, read_members
from manifests.storage import Folder

REQUIRED_MEMBERS = ("face.npz", "flac", "json", "mp4", "txt")

_READ_BYTES = 1024 * 1024
_COLUMNS = frozenset({"clip_id", "shard", "members"})


# shard, clip id, extension: where that member lies, by the row
_Rows = dict[str, dict[str, dict[str, MemberPlace]]]


@dataclass(frozen=True)
class _Table:
    """The rows of `clips.parquet`: where each says its members lie, or None if it has none."""

    rows: _Rows | None
    faults: list[Fault] = field(default_factory=list)


def verify_dataset(folder: Folder) -> list[Fault]:
    """List everything that is wrong with a dataset.

    Checked are size, sha256 and tar structure of every shard; members, keys and rows, both ways;
    that the first and the last frame and all of the audio decode; that a sample's audio is as long
    as its video, to a frame. No dataset at all is a `DatasetError`, storage that fails a
    `StorageError`.

    Args:
        folder: The dataset's folder, as `find_dataset` returns it.

    Returns:
        The faults, shard by shard; none if the dataset is whole.
    """
    try:
        manifest = DatasetManifest.read(folder)
    except SchemaError as error:
        found = str(error).removeprefix(f"{folder.url}/")
        return [Fault(FaultKind.MANIFEST_INVALID, "dataset.json", "a dataset manifest", found)]
    table = _read_table(folder)
    faults = list(table.faults)
    listed = {entry.path for entry in manifest.shards}
    for path in folder.list("shards/"):
        if path not in listed:
            faults.append(Fault(FaultKind.SHARD_UNLISTED, path, "a listed shard", "none"))
    first_seen: dict[str, str] = {}
    for entry in manifest.shards:
        faults.extend(_shard_faults(folder, entry, table, first_seen))
    for shard, rows in sorted((table.rows or {}).items()):
        if shard not in listed:
            for clip_id in sorted(rows):
                place = f"{CLIPS_NAME}:{clip_id}"
                faults.append(Fault(FaultKind.ROW_WITHOUT_SAMPLE, place, "a listed shard", shard))
    return faults


def _read_table(folder: Folder) -> _Table:
    def refused(found: str) -> _Table:
        rule = "columns clip_id, shard, members (a list of ext, offset, size)"
        return _Table(None, [Fault(FaultKind.TABLE_INVALID, CLIPS_NAME, rule, found)])

    if not folder.exists(CLIPS_NAME):
        return refused("no file")
    with folder.open_read(CLIPS_NAME) as file:
        try:
            table = pq.ParquetFile(file)
            schema = table.schema_arrow
            kinds = {name: schema.field(name).type for name in schema.names}
            if not (kinds.keys() >= _COLUMNS and _are_places(kinds["members"])):
                return refused(", ".join(f"{name}: {kind}" for name, kind in kinds.items()))
            records = table.read(columns=sorted(_COLUMNS)).to_pylist()
        except (pa.ArrowException, OSError) as error:
            return refused(str(error))
    rows: _Rows = {}
    faults = []
    seen: set[str] = set()
    for record in records:
        clip_id, shard = str(record["clip_id"]), str(record["shard"])
        if clip_id in seen:
            place = f"{CLIPS_NAME}:{clip_id}"
            faults.append(Fault(FaultKind.ROW_DUPLICATE, place, "one row", "another"))
        seen.add(clip_id)
        members = [member for member in record["members"] or () if member is not None]
        places = {m["ext"]: MemberPlace(m["ext"], m["offset"], m["size"]) for m in members}
        rows.setdefault(shard, {})[clip_id] = places
    return _Table(rows, faults)


def _are_places(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (is_list and pa.types.is_struct(kind.value_type)):
        return False
    return {"ext", "offset", "size"} <= {part.name for part in kind.value_type.fields}


def _shard_faults(
    folder: Folder, entry: ShardEntry, table: _Table, first_seen: dict[str, str]
) -> Iterator[Fault]:
    """Yield what is wrong with one shard; `first_seen` has the shard of every key so far."""
    if not folder.exists(entry.path):
        yield Fault(FaultKind.SHARD_MISSING, entry.path, "a file", "none")
        return
    rows = None if table.rows is None else table.rows.get(entry.path, {})
    keys = []
    tar_fault: Fault | None = None
    with folder.open_read(entry.path) as raw:
        file = _Hashed(raw)
        try:
            for key, group in itertools.groupby(read_members(file), lambda member: member.key):
                place, members = f"{entry.path}:{key}", list(group)
                keys.append(key)
                if key in first_seen:
                    found = f"it in {first_seen[key]} too"
                    yield Fault(FaultKind.KEY_DUPLICATE, place, "a key of its own", found)
                first_seen.setdefault(key, entry.path)
                yield from _sample_faults(place, members)
                if rows is not None:
                    yield from _row_faults(place, members, rows.get(key))
        except ShardError as error:
            tar_fault = Fault(FaultKind.TAR_BROKEN, entry.path, "a whole tar", str(error))
        file.drain()
    if file.num_bytes != entry.num_bytes:
        sizes = f"{entry.num_bytes} bytes", f"{file.num_bytes} bytes"
        yield Fault(FaultKind.SHARD_SIZE, entry.path, *sizes)
    if file.sha256.hexdigest() != entry.sha256:
        yield Fault(FaultKind.SHARD_SHA256, entry.path, entry.sha256, file.sha256.hexdigest())
    if tar_fault is not None:
        yield tar_fault
        return  # what lies behind the break is unknown, so no row misses its sample there
    if len(keys) != entry.num_samples:
        counts = f"{entry.num_samples} samples", f"{len(keys)} samples"
        yield Fault(FaultKind.NUM_SAMPLES, entry.path, *counts)
    for clip_id in sorted((rows or {}).keys() - set(keys)):
        place = f"{CLIPS_NAME}:{clip_id}"
        yield Fault(FaultKind.ROW_WITHOUT_SAMPLE, place, f"a sample in {entry.path}", "none")


def _sample_faults(place: str, members: list[Member]) -> Iterator[Fault]:
    """Yield what is wrong with a sample taken by itself."""
    data: dict[str, bytes] = {}
    for member in members:
        ext = member.place.ext
        if ext in data:
            yield Fault(FaultKind.MEMBER_DUPLICATE, f"{place}.{ext}", "one", "another")
        data[ext] = member.data
    for ext in REQUIRED_MEMBERS:
        if ext not in data:
            yield Fault(FaultKind.MEMBER_MISSING, f"{place}.{ext}", "a member", "none")
    video = play_video(data["mp4"]) if "mp4" in data else None
    audio = play_audio(data["flac"]) if "flac" in data else None
    if isinstance(video, Unplayable):
        rule = "a first and a last frame"
        yield Fault(FaultKind.VIDEO_UNDECODABLE, f"{place}.mp4", rule, video.reason)
    if isinstance(audio, Unplayable):
        yield Fault(FaultKind.AUDIO_UNDECODABLE, f"{place}.flac", "samples", audio.reason)
    if not (isinstance(video, Played) and isinstance(audio, Played)):
        return
    if abs(video.duration - audio.duration) > video.frame_duration:
        lengths = f"{float(video.duration):.3f} s as the video", f"{float(audio.duration):.3f} s"
        yield Fault(FaultKind.LENGTHS_DIFFER, f"{place}.flac", *lengths)


def _row_faults(
    place: str, members: list[Member], row: dict[str, MemberPlace] | None
) -> Iterator[Fault]:
    """Yield where a sample and its row disagree."""
    if row is None:
        yield Fault(FaultKind.SAMPLE_WITHOUT_ROW, place, f"a row in {CLIPS_NAME}", "none")
        return
    in_tar = {member.place.ext: member.place for member in members}
    for ext in sorted(in_tar.keys() | row.keys()):
        if row.get(ext) != in_tar.get(ext):
            rule, found = _told(row.get(ext)), _told(in_tar.get(ext))
            yield Fault(FaultKind.MEMBER_PLACE, f"{place}.{ext}", rule, found)


def _told(place: MemberPlace | None) -> str:
    return "no member" if place is None else f"{place.size} bytes at byte {place.offset}"


class _Hashed:
    """A file that is hashed and measured while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        self.num_bytes += len(data)
        return data

    def drain(self) -> None:
        while self.read(_READ_BYTES):
            pass
