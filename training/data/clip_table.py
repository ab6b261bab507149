"""The clips that training may read: datasets opened, checked and gated before the first step.

A row says where a sample lies in its shard and what bucket it may fill; nothing of the samples is
read here. Clips come in the order of their ids, so that the order of the manifests and the layout
of the shards do not matter; a clip that is in two datasets is used once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.dataset import CLIPS_NAME, DatasetManifest, find_dataset
from manifests.errors import ManifestError, SchemaError
from manifests.measurement import stored_fields
from manifests.records import check_version
from manifests.storage import Folder
from training.data.shard_checks import check_rows, check_shards
from training.data.sound_checks import NUM_LOOKED_AT, check_sounds
from training.data.source_gates import failed_rows, source_gates
from training.errors import DataError
from training.objective.curriculum import Source

_BLOCK_BYTES = 512  # of a tar: a member's header is the block before its data

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
        weight_N: (N,) how often each clip is read an epoch, 1 for most.
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
    weight_N: np.ndarray
    left_out: Mapping[str, int]

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
        """Names clips, shapes and weights, so that a resumed run is known to see the same."""
        digest = hashlib.blake2b("\n".join(self.clip_ids.tolist()).encode(), digest_size=8)
        for numbers in (self.num_frames_N, self.width_N, self.height_N, self.weight_N):
            digest.update(numbers.astype(np.float64).tobytes())
        return digest.hexdigest()


def open_clips(
    manifests: Iterable[str],
    *,
    sources: Sequence[Source] = (Source(),),
    min_frames: int = 1,
    check: Literal["size", "sha256"] = "size",
    size_columns: tuple[str, str] = _SIZE_COLUMNS,
) -> ClipTable:
    """Open datasets and choose their clips.

    Args:
        manifests: paths or URLs of runs, datasets, or their ``dataset.json``.
        sources: which clips of which dataset, by gates on measurements, and how often.
        min_frames: clips with fewer frames are left out.
        check: what is asked of every shard; ``sha256`` asks every clip how long its sound is, too.
        size_columns: columns with width and height.

    Returns:
        The clips.

    Raises:
        DataError: a dataset is absent, of a newer schema, or its parts disagree; a shard is
            missing or another one; a gate is on what was not measured; no clip is left; or a sound
            is shorter than its clip.
    """
    given = list(manifests)
    if not given:
        raise DataError("no dataset: give at least one dataset.json with --data")
    _check_names(given, sources)
    columns = (*_COLUMNS, *size_columns)
    shards: list[tuple[Folder, str]] = []
    parts: list[pa.Table] = []
    left_out: Counter[str] = Counter()
    for place in given:
        try:
            folder = find_dataset(place)
            manifest = DatasetManifest.read(folder)
            own = [source for source in sources if source.dataset in place]
            table = _read_table(folder, columns, own, left_out)
        except ManifestError as error:
            raise DataError(str(error)) from error
        check_shards(folder, manifest.shards, check)
        check_rows(folder, manifest, table)
        number = {entry.path: len(shards) + i for i, entry in enumerate(manifest.shards)}
        shards += [(folder, entry.path) for entry in manifest.shards]
        chosen = table.filter(pc.greater(table["weight"], 0))
        at = pa.array([number[path] for path in chosen["shard"].to_pylist()], pa.int64())
        parts.append(chosen.set_column(chosen.schema.get_field_index("shard"), "shard", at))
    table = pa.concat_tables([part.select([*columns, "weight"]) for part in parts])
    long_enough = table.filter(pc.greater_equal(table["num_frames"], min_frames))
    if len(long_enough) < len(table):
        left_out[f"shorter than {min_frames} frames"] = len(table) - len(long_enough)
    clips = _by_id(long_enough, tuple(shards), size_columns, left_out)
    if not len(clips):
        causes = "; ".join(f"{count} {cause}" for cause, count in left_out.most_common())
        raise DataError(
            f"{', '.join(given)}: no clip is left ({causes or 'there are none'}); loosen the gates "
            "of the sources or the lengths, or give more data"
        )
    check_sounds(shards, long_enough, len(clips) if check == "sha256" else NUM_LOOKED_AT)
    return clips


def _check_names(given: list[str], sources: Sequence[Source]) -> None:
    for source in sources:
        if not any(source.dataset in place for place in given):
            raise DataError(
                f"source {source.dataset!r}: no dataset given has that in its path "
                f"({', '.join(given)}); give one with --data, or change the source"
            )


def _read_table(
    folder: Folder, columns: tuple[str, ...], sources: Sequence[Source], left_out: Counter[str]
) -> pa.Table:
    """Read what is needed of a dataset's table; ``weight`` says how often each clip is read."""
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
        gates = [source_gates(source, stored_fields(schema), place) for source in sources]
        judged = [gate.field.name for own in gates for gate in own]
        table = parquet.read(columns=list(dict.fromkeys((*columns, *judged))))
    weights = np.zeros(len(table))
    refused: dict[int, str] = {}
    for source, own in zip(sources, gates, strict=True):
        failed = failed_rows(table, own)
        weights += [0.0 if row in failed else source.weight for row in range(len(table))]
        refused |= failed
    no_source = "in no source" if not sources else ""
    left_out.update(refused.get(int(row), no_source) for row in np.flatnonzero(weights == 0))
    return table.append_column("weight", pa.array(weights))


def _by_id(
    table: pa.Table,
    shards: tuple[tuple[Folder, str], ...],
    size_columns: tuple[str, str],
    left_out: Counter[str],
) -> ClipTable:
    ids = np.array(table["clip_id"].to_pylist(), dtype=np.str_)
    _, first = np.unique(ids, return_index=True)
    if len(first) < len(ids):
        left_out["in two datasets"] = len(ids) - len(first)
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
        weight_N=table["weight"].to_numpy(),
        left_out=left_out,
    )
