"""Latent shards: a dataset like any other, whose samples are encoded clips.

It has the same manifest, table and tars as what curation packs, and one file more, which says how
it was made (`latent_making.py`). The measurements of the clips travel along, so that the gates of
a phase work on either. In the room: writing of shards, table and manifest. Not here: which clips,
and who does the work (`precompute.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from manifests.dataset import CLIPS_NAME, DatasetManifest, ShardEntry, find_dataset
from manifests.shards import ShardWriter
from manifests.storage import Folder
from training.data.books import BadSample, BadSampleError, ReadWork
from training.data.buckets import Bucket
from training.data.clip_samples import read_clip
from training.data.clip_table import ClipPlace
from training.data.encode import Encoders, encode_tasks
from training.data.latent_making import RECIPE_NAME, Making, digest_of
from training.data.latent_samples import latent_members

SIZE_COLUMNS = ("latents.width_px", "latents.height_px")

_NOTES = "packed"


@dataclass(frozen=True)
class LatentItem:
    """One sample to be made.

    Attributes:
        key: its key.
        place: the clip it is made of.
        bucket: shape of the crop.
        variant: number of the crop.
    """

    key: str
    place: ClipPlace
    bucket: Bucket
    variant: int


@dataclass(frozen=True)
class LatentPlan:
    """What one shard holds.

    Attributes:
        name: its name below the dataset.
        items: its samples.
        fingerprint: digest of all that the tensors depend on beside the clips.
    """

    name: str
    items: tuple[LatentItem, ...]
    fingerprint: str

    @property
    def digest(self) -> str:
        """Names everything that the bytes of the shard depend on."""
        values = [[item.key, str(item.bucket)] for item in self.items]
        return digest_of([values, self.fingerprint])


def write_shard(
    folder: Folder, plan: LatentPlan, making: Making, encoders: Encoders
) -> dict[str, Any]:
    """Encode the clips of one shard, write it, then the note that it is done.

    Args:
        folder: the dataset's folder.
        plan: what the shard holds.
        making: how.
        encoders: codec and encoders.

    Returns:
        The note.
    """
    dtype = getattr(torch, making.precompute.dtype)
    samples: list[dict[str, Any]] = []
    bad: list[dict[str, str]] = []
    seconds = 0.0
    with folder.writer(plan.name) as file:
        writer = ShardWriter(file)
        for item in plan.items:
            try:
                clip = read_clip(
                    item.place, item.bucket, making.data, (item.variant, 0), ReadWork()
                )
            except BadSampleError as error:
                shard = item.place.folder.join(item.place.shard)
                bad.append(asdict(BadSample(item.key, shard, error.reason, error.detail)))
                continue
            tasks = making.precompute.tasks
            encoded = encode_tasks(clip, tasks, encoders, making.encode, device=making.device)
            members = latent_members(dict(zip(tasks, encoded, strict=True)), dtype)
            place = writer.add(item.key, members)
            seconds += item.bucket.num_frames / clip.fps
            samples.append(
                {
                    "key": item.key,
                    "clip_id": clip.clip_id,
                    "num_frames": item.bucket.num_frames,
                    "width_px": item.bucket.width_px,
                    "height_px": item.bucket.height_px,
                    "members": [
                        {
                            **asdict(member),
                            "sha256": hashlib.sha256(members[member.ext]).hexdigest(),
                        }
                        for member in place.members
                    ],
                }
            )
        digest = writer.finish()
    note = {
        "plan": plan.digest,
        "entry": asdict(
            ShardEntry(plan.name, digest.sha256, digest.num_bytes, digest.num_samples, seconds)
        ),
        "samples": samples,
        "bad": bad,
    }
    folder.write_bytes(_note_name(plan), json.dumps(note, sort_keys=True).encode())
    return note


def read_note(folder: Folder, plan: LatentPlan) -> dict[str, Any] | None:
    """Return the note of a shard that was written before from the very same plan."""
    if not (folder.exists(_note_name(plan)) and folder.exists(plan.name)):
        return None
    note: dict[str, Any] = json.loads(folder.read_bytes(_note_name(plan)))
    return note if note["plan"] == plan.digest else None


def finish(
    folder: Folder,
    manifests: Sequence[str],
    plans: Sequence[LatentPlan],
    notes: Sequence[dict[str, Any]],
) -> DatasetManifest:
    """Write the table and, last, the manifest.

    Args:
        folder: the dataset's folder.
        manifests: the datasets whose clips were encoded.
        plans: all shards, in order.
        notes: their notes, in the same order.

    Returns:
        The manifest.
    """
    wanted = {plan.name for plan in plans}
    for name in folder.list("shards/"):
        if name not in wanted:
            folder.remove(name)
    entries = tuple(ShardEntry(**note["entry"]) for note in notes)
    table = _table(manifests, entries, notes)
    with folder.writer(CLIPS_NAME) as file:
        pq.write_table(table, file, compression="zstd")
    manifest = DatasetManifest(RECIPE_NAME, plans[0].fingerprint, entries)
    manifest.write(folder)
    return manifest


def _table(
    manifests: Sequence[str], entries: tuple[ShardEntry, ...], notes: Sequence[dict[str, Any]]
) -> pa.Table:
    """Rows of the clips' own tables, with the places of the latents in place of theirs."""
    parts = []
    for place in manifests:
        with find_dataset(place).open_read(CLIPS_NAME) as file:
            parts.append(pq.read_table(file))
    own = pa.concat_tables(parts, promote_options="default")
    row_of = {clip_id: row for row, clip_id in enumerate(own["clip_id"].to_pylist())}
    samples = [
        (entry.path, sample)
        for entry, note in zip(entries, notes, strict=True)
        for sample in note["samples"]
    ]
    table = own.take(pa.array([row_of[sample["clip_id"]] for _, sample in samples], pa.int64()))
    columns = {
        "clip_id": [sample["key"] for _, sample in samples],
        "shard": [path for path, _ in samples],
        "members": [sample["members"] for _, sample in samples],
        "num_frames": [sample["num_frames"] for _, sample in samples],
    }
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        kind = table.schema.field(name)
        table = table.set_column(index, kind, pa.array(values, kind.type))
    for name, key in zip(SIZE_COLUMNS, ("width_px", "height_px"), strict=True):
        sides = pa.array([sample[key] for _, sample in samples], pa.int64())
        table = table.append_column(name, sides)
    return table


def _note_name(plan: LatentPlan) -> str:
    return f"{_NOTES}/{plan.name.rpartition('/')[2]}.json"
