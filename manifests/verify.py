"""Does a dataset hold what it says? Every shard is read once, every fault is listed.

Faults are values: looking goes on after each. Not here: judging the content (measurements, gates),
the run that a dataset comes from, and mending.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.dataset import CLIPS_NAME, DatasetManifest, ShardEntry
from manifests.errors import SchemaError, ShardError
from manifests.faults import Fault, FaultKind
from manifests.records import MEMBER_TYPE, PACKED_COLUMNS, check_version, clip_schema
from manifests.shards import read_members
from manifests.storage import Folder
from manifests.verify_sample import id_fault, look_at_sample

_READ_BYTES = 1024 * 1024
_DURATION_TOLERANCE_S = 0.001
"""Sums of decimal seconds are rounded; a lost frame is 0.008 s at the highest rate."""


@dataclass(frozen=True)
class _Table:
    """The rows of `clips.parquet` by shard; no table if it cannot be used."""

    table: pa.Table | None
    rows_of: dict[str, np.ndarray] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def rows(self, shard: str) -> dict[str, dict[str, Any]] | None:
        """Return the rows of one shard by clip id."""
        if self.table is None:
            return None
        numbers = self.rows_of.get(shard, np.zeros(0, np.int64))
        return {row["clip_id"]: row for row in self.table.take(numbers).to_pylist()}


@dataclass
class _ShardFound:
    """What looking at one shard gave: its faults, and the keys of its samples in order."""

    faults: list[Fault] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    durations: list[Fraction | None] = field(default_factory=list)


def default_threads() -> int:
    """Return how many threads `verify_dataset` uses: one a processor that it may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def verify_dataset(folder: Folder, *, num_threads: int | None = None) -> list[Fault]:
    """List everything that is wrong with a dataset.

    Checked are size, sha256 and tar structure of every shard; members, keys and rows, both ways;
    the digest of every member; that ids derive from source and span; that the first and the last
    frame and all of the audio decode; that frames, sound and face track are equally long; that
    caption and description say what the row says. No dataset at all is a `DatasetError`, storage
    that fails a `StorageError`.

    Args:
        folder: The dataset's folder, as `find_dataset` returns it.
        num_threads: Shards that are read at a time; by default one a processor.

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
    with ThreadPoolExecutor(num_threads or default_threads()) as pool:
        looked = pool.map(
            lambda entry: _look_at(folder, entry, table, manifest.recipe_digest), manifest.shards
        )
        for entry, shard in zip(manifest.shards, looked, strict=True):
            faults.extend(shard.faults)
            for key in shard.keys:
                if key in first_seen:
                    found = f"it in {first_seen[key]} too"
                    place = f"{entry.path}:{key}"
                    faults.append(Fault(FaultKind.KEY_DUPLICATE, place, "a key of its own", found))
                first_seen.setdefault(key, entry.path)
    for path in sorted(table.rows_of.keys() - listed):
        for key in sorted(table.rows(path) or ()):
            place = f"{CLIPS_NAME}:{key}"
            faults.append(Fault(FaultKind.ROW_WITHOUT_SAMPLE, place, "a listed shard", path))
    return faults


def _read_table(folder: Folder) -> _Table:
    def refused(found: str, kind: FaultKind = FaultKind.TABLE_INVALID) -> _Table:
        return _Table(None, {}, [Fault(kind, CLIPS_NAME, "the table of samples", found)])

    if not folder.exists(CLIPS_NAME):
        return refused("no file")
    with folder.open_read(CLIPS_NAME) as file:
        try:
            parquet = pq.ParquetFile(file)
            wrong = _wrong_columns(parquet.schema_arrow)
            if wrong:
                return refused(wrong)
            check_version(parquet.schema_arrow, CLIPS_NAME)
            table = parquet.read()
        except SchemaError as error:
            found = str(error).removeprefix(f"{CLIPS_NAME}: ").partition(";")[0]
            return refused(found, FaultKind.SCHEMA_VERSION)
        except (pa.ArrowException, OSError) as error:
            return refused(str(error))
    shards = table["shard"].to_numpy()
    order = np.argsort(shards, kind="stable")
    names, starts = np.unique(shards[order], return_index=True)
    rows_of = (
        dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True)) if len(names) else {}
    )
    counts = Counter(table["clip_id"].to_pylist())
    faults = [
        Fault(FaultKind.ROW_DUPLICATE, f"{CLIPS_NAME}:{key}", "one row", f"{count} rows")
        for key, count in sorted(counts.items())
        if count > 1
    ]
    return _Table(table, rows_of, faults)


def _wrong_columns(schema: pa.Schema) -> str | None:
    """Say which column of the table of samples is missing or of another type."""
    for column in clip_schema((), PACKED_COLUMNS):
        if column.name not in schema.names:
            return f"no column {column.name}"
        found = schema.field(column.name).type
        if column.name == "members":
            parts = pa.types.is_list(found) and pa.types.is_struct(found.value_type)
            names = {part.name for part in found.value_type.fields} if parts else set()
            missing = [part.name for part in MEMBER_TYPE if part.name not in names]
            if missing:
                return f"members without {', '.join(missing)}"
        elif column.name in ("clip_id", "shard") and found != column.type:
            return f"column {column.name} of type {found}"
    return None


def _look_at(folder: Folder, entry: ShardEntry, table: _Table, recipe_digest: str) -> _ShardFound:
    found = _ShardFound()
    if not folder.exists(entry.path):
        found.faults.append(Fault(FaultKind.SHARD_MISSING, entry.path, "a file", "none"))
        return found
    rows = table.rows(entry.path)
    tar_fault: Fault | None = None
    with folder.open_read(entry.path) as raw:
        file = _Hashed(raw)
        try:
            for key, group in itertools.groupby(read_members(file), lambda member: member.key):
                place = f"{entry.path}:{key}"
                row = None if rows is None else rows.get(key)
                if rows is not None and row is None:
                    rule = f"a row in {CLIPS_NAME}"
                    found.faults.append(Fault(FaultKind.SAMPLE_WITHOUT_ROW, place, rule, "none"))
                sample = look_at_sample(place, list(group), row, recipe_digest)
                found.faults += sample.faults
                found.keys.append(key)
                found.durations.append(sample.duration)
        except ShardError as error:
            tar_fault = Fault(FaultKind.TAR_BROKEN, entry.path, "a whole tar", str(error))
        file.drain()
    found.faults += _file_faults(entry, file)
    if tar_fault is not None:
        # What lies behind the break is unknown, so no row misses its sample there.
        found.faults.append(tar_fault)
    else:
        found.faults += _total_faults(entry, found)
        found.faults += _table_faults(entry, rows or {}, set(found.keys))
    return found


def _file_faults(entry: ShardEntry, file: _Hashed) -> Iterator[Fault]:
    """Yield whether the shard is the file that the manifest lists."""
    if file.num_bytes != entry.num_bytes:
        sizes = f"{entry.num_bytes} bytes", f"{file.num_bytes} bytes"
        yield Fault(FaultKind.SHARD_SIZE, entry.path, *sizes)
    if file.sha256.hexdigest() != entry.sha256:
        yield Fault(FaultKind.SHARD_SHA256, entry.path, entry.sha256, file.sha256.hexdigest())


def _total_faults(entry: ShardEntry, found: _ShardFound) -> Iterator[Fault]:
    """Yield whether the samples add up to what the manifest says."""
    if not found.keys:
        yield Fault(FaultKind.SHARD_EMPTY, entry.path, "samples", "none")
    if len(found.keys) != entry.num_samples:
        counts = f"{entry.num_samples} samples", f"{len(found.keys)} samples"
        yield Fault(FaultKind.NUM_SAMPLES, entry.path, *counts)
    known = [duration for duration in found.durations if duration is not None]
    total_s = float(sum(known))
    if len(known) == len(found.keys) and abs(total_s - entry.duration_s) > _DURATION_TOLERANCE_S:
        lengths = f"{entry.duration_s:.3f} s of video", f"{total_s:.3f} s"
        yield Fault(FaultKind.SHARD_DURATION, entry.path, *lengths)


def _table_faults(
    entry: ShardEntry, rows: dict[str, dict[str, Any]], keys: set[str]
) -> Iterator[Fault]:
    """Yield what is wrong with the rows of a shard."""
    for key, row in sorted(rows.items()):
        place = f"{CLIPS_NAME}:{key}"
        if key not in keys:
            yield Fault(FaultKind.ROW_WITHOUT_SAMPLE, place, f"a sample in {entry.path}", "none")
        fault = id_fault(place, row)
        if fault is not None:
            yield fault


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
