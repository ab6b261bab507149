"""The clips that training may read: datasets opened, checked and gated before the first step.

A row says where a sample lies in its shard and what bucket it may fill; nothing of the samples is
read here. Clips come in the order of their ids, so that the order of the manifests and the layout
of the shards do not matter; a clip that is in two datasets is used once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.dataset import CLIPS_NAME, DatasetManifest, ShardEntry, find_dataset
from manifests.errors import ManifestError, SchemaError
from manifests.inspection.expressions import read_condition
from manifests.records import check_version
from manifests.storage import Folder
from training.errors import DataError

_BLOCK_BYTES = 512  # of a tar: a member's header is the block before its data
_READ_BYTES = 1 << 20
_NUM_CHECKED_AT_ONCE = 16  # shards; a check waits for the store, not for the processor

_COLUMNS = ("clip_id", "shard", "members", "num_frames")
_SIZE_COLUMNS = ("probe.width_px", "probe.height_px")


@dataclass(frozen=True)
class ClipPlace:
    """Where the members of one sample lie, as one stretch of a tar that is a small tar itself.

    Attributes:
        clip_id: id of the clip, the key of the sample.
        folder: the dataset's folder.
        shard: name of the shard in it.
        offset: first byte, that of the first member's header.
        size: bytes up to the end of the last member's padding.
    """

    clip_id: str
    folder: Folder
    shard: str
    offset: int
    size: int


@dataclass(frozen=True)
class ClipTable:
    """Clips of all datasets, N of them, by ascending id.

    Attributes:
        clip_ids: (N,) texts.
        shards: folder and name of every shard.
        shard_N: (N,) numbers in ``shards``.
        offset_N: (N,) first byte of each sample.
        size_N: (N,) its bytes.
        num_frames_N: (N,) frames of its video.
        width_N: (N,) width of the picture, or of what stands for its aspect.
        height_N: (N,) height likewise.
        left_out: how many clips are not used, by cause.
    """

    clip_ids: np.ndarray
    shards: tuple[tuple[Folder, str], ...]
    shard_N: np.ndarray
    offset_N: np.ndarray
    size_N: np.ndarray
    num_frames_N: np.ndarray
    width_N: np.ndarray
    height_N: np.ndarray
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.clip_ids)

    def place(self, row: int) -> ClipPlace:
        """Return where a clip's sample lies."""
        folder, shard = self.shards[self.shard_N[row]]
        return ClipPlace(
            str(self.clip_ids[row]), folder, shard, int(self.offset_N[row]), int(self.size_N[row])
        )

    @property
    def digest(self) -> str:
        """Names the clips and their lengths, so that a resumed run is known to see the same."""
        text = "\n".join(self.clip_ids.tolist()).encode() + self.num_frames_N.tobytes()
        return hashlib.blake2b(text, digest_size=8).hexdigest()


def open_clips(
    manifests: Iterable[str],
    *,
    where: str = "",
    min_frames: int = 1,
    check: Literal["size", "sha256"] = "size",
    size_columns: tuple[str, str] = _SIZE_COLUMNS,
) -> ClipTable:
    """Open datasets and choose their clips.

    Args:
        manifests: paths or URLs of runs, datasets, or their ``dataset.json``.
        where: condition on the columns of the tables; empty for all clips.
        min_frames: clips with fewer frames are left out.
        check: what is asked of every shard.
        size_columns: columns with width and height.

    Returns:
        The clips.

    Raises:
        DataError: a dataset is absent, of a newer schema, or its parts disagree; a shard is
            missing or another one; the condition cannot be read; or no clip is left.
    """
    given = list(manifests)
    if not given:
        raise DataError("no dataset: give at least one dataset.json with --data")
    columns = (*_COLUMNS, *size_columns)
    shards: list[tuple[Folder, str]] = []
    parts: list[pa.Table] = []
    left_out = dict.fromkeys(("by_condition", "too_short", "twice"), 0)
    for place in given:
        try:
            folder = find_dataset(place)
            manifest = DatasetManifest.read(folder)
            table = _read_table(folder, columns, where)
        except ManifestError as error:
            raise DataError(str(error)) from error
        _check_shards(folder, manifest.shards, check)
        _check_rows(folder, manifest, table)
        number = {entry.path: len(shards) + i for i, entry in enumerate(manifest.shards)}
        shards += [(folder, entry.path) for entry in manifest.shards]
        chosen = table.filter(table["chosen"])
        left_out["by_condition"] += len(table) - len(chosen)
        at = pa.array([number[path] for path in chosen["shard"].to_pylist()], pa.int64())
        parts.append(chosen.set_column(chosen.schema.get_field_index("shard"), "shard", at))
    table = pa.concat_tables([part.select(columns) for part in parts])
    long_enough = table.filter(pc.greater_equal(table["num_frames"], min_frames))
    left_out["too_short"] = len(table) - len(long_enough)
    clips = _by_id(long_enough, tuple(shards), size_columns, left_out)
    if not len(clips):
        raise DataError(
            f"{', '.join(given)}: no clip is left of {sum(left_out.values())}: "
            f"{left_out['by_condition']} do not meet the condition {where!r}, "
            f"{left_out['too_short']} are shorter than {min_frames} frames; "
            "loosen the condition or the lengths, or give more data"
        )
    return clips


def _read_table(folder: Folder, columns: tuple[str, ...], where: str) -> pa.Table:
    """Read what is needed of a dataset's table; ``chosen`` says which rows meet the condition."""
    place = folder.join(CLIPS_NAME)
    with folder.open_read(CLIPS_NAME) as file:
        parquet = pq.ParquetFile(file)
        schema = parquet.schema_arrow
        check_version(schema, place)
        missing = [name for name in columns if name not in schema.names]
        if missing:
            raise SchemaError(
                f"{place}: no column {', '.join(missing)}; pack the dataset with a recipe that "
                "measures it"
            )
        condition = None
        if where:
            try:
                condition = read_condition(where, schema)
            except SchemaError as error:
                raise SchemaError(f"{place}: where = {error}") from error
        wanted = dict.fromkeys((*columns, *(condition.columns if condition else ())))
        table = parquet.read(columns=list(wanted))
    chosen = np.ones(len(table), bool)
    if condition:
        numbered = table.append_column("row", pa.array(np.arange(len(table))))
        chosen[:] = False
        chosen[condition.rows(numbered)["row"].to_numpy()] = True
    return table.append_column("chosen", pa.array(chosen))


def _check_shards(folder: Folder, entries: tuple[ShardEntry, ...], check: str) -> None:
    def fault(entry: ShardEntry) -> str | None:
        place = folder.join(entry.path)
        if not folder.exists(entry.path):
            return f"{place}: the shard is missing; copy the whole dataset, or pack it again"
        size = folder.size(entry.path)
        if size != entry.num_bytes:
            return (
                f"{place}: {size} bytes, but {entry.num_bytes} in the manifest: the shard is cut "
                "or another one; copy it again, and see `shards verify`"
            )
        if check == "sha256" and _sha256(folder, entry.path) != entry.sha256:
            return f"{place}: its SHA-256 is not the manifest's: copy it again"
        return None

    with ThreadPoolExecutor(_NUM_CHECKED_AT_ONCE) as pool:
        faults = [found for found in pool.map(fault, entries) if found]
    if faults:
        more = f" (and {len(faults) - 1} more shards)" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}")


def _check_rows(folder: Folder, manifest: DatasetManifest, table: pa.Table) -> None:
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["shard"]).to_pylist()}
    expected = {entry.path: entry.num_samples for entry in manifest.shards if entry.num_samples}
    if counts != expected:
        wrong = sorted(
            path for path in {*counts, *expected} if counts.get(path) != expected.get(path)
        )
        raise DataError(
            f"{folder.join(CLIPS_NAME)}: {counts.get(wrong[0], 0)} rows of {wrong[0]}, but the "
            f"manifest has {expected.get(wrong[0], 0)} samples there: they are of two packings; "
            "copy or pack the dataset again"
        )


def _sha256(folder: Folder, name: str) -> str:
    digest = hashlib.sha256()
    with folder.open_read(name) as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _by_id(
    table: pa.Table,
    shards: tuple[tuple[Folder, str], ...],
    size_columns: tuple[str, str],
    left_out: dict[str, int],
) -> ClipTable:
    ids = np.array(table["clip_id"].to_pylist(), dtype=np.str_)
    _, first = np.unique(ids, return_index=True)
    left_out["twice"] = len(ids) - len(first)
    table = table.take(pa.array(first))
    members = table["members"].combine_chunks()
    flat = members.flatten()
    starts = np.asarray(flat.field("offset")) - _BLOCK_BYTES
    ends = np.asarray(flat.field("offset")) + np.asarray(flat.field("size"))
    ends += -ends % _BLOCK_BYTES
    of_row = np.asarray(pc.list_parent_indices(members))
    bounds = np.searchsorted(of_row, np.arange(len(table)))
    if len(table) and not np.all(np.diff(np.append(bounds, len(of_row)))):
        raise DataError(f"{CLIPS_NAME}: a sample without members; pack the dataset again")
    low = np.minimum.reduceat(starts, bounds) if len(table) else starts
    high = np.maximum.reduceat(ends, bounds) if len(table) else ends
    width, height = (table[name].to_numpy() for name in size_columns)
    return ClipTable(
        clip_ids=ids[first],
        shards=shards,
        shard_N=table["shard"].to_numpy(),
        offset_N=low,
        size_N=high - low,
        num_frames_N=table["num_frames"].to_numpy(),
        width_N=width,
        height_N=height,
        left_out=left_out,
    )
