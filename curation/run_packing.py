"""The last part of a run: every kept clip into shards, then the manifest that names them.

Shards that an earlier call wrote of the same plan are kept; what is no longer wanted is removed.
``dataset.json`` is written last: while it is not there, no dataset is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from curation.books import (
    DeadLetter,
    read_dead_letters,
    read_table,
    write_dead_letters,
    write_table,
)
from curation.engine import Engine, Item
from curation.errors import RunError
from curation.pack import PACKED, SHARDS, PackTask, ShardPlan, plan_shards, read_packed
from curation.packed_transcript import packed_transcript
from curation.pipeline import Pipeline
from curation.progress import Progress
from manifests.dataset import CLIPS_NAME, MANIFEST_NAME, DatasetManifest, ShardEntry
from manifests.records import PACKED_COLUMNS, ClipState, clip_schema
from manifests.storage import Folder


def pack(folder: Folder, pipeline: Pipeline, engine: Engine, progress: Progress) -> dict[str, int]:
    """Write the shards of all kept clips, then their manifest.

    Args:
        folder: run directory with ``clips.parquet``.
        pipeline: how to pack.
        engine: who works.
        progress: told of every shard that ends.

    Returns:
        Counters of decoding.

    Raises:
        RunError: a shard could not be written; what was written stays for the next try.
    """
    recipe = pipeline.recipe
    clips = read_table(folder, "clips.parquet")
    kept = [row for row in clips.to_pylist() if row["state"] == ClipState.KEPT]
    names = [item.name for item in pipeline.fields]
    plans = plan_shards(kept, recipe.pack, recipe.digest, names)
    packed = {plan.name: found for plan in plans if (found := read_packed(folder, plan))}
    todo = [plan for plan in plans if plan.name not in packed]
    manifest_name = f"dataset/{MANIFEST_NAME}"
    if todo and folder.exists(manifest_name):
        folder.remove(manifest_name)
    progress.begin(len(plans), len(packed), unit="shards")
    failures = []
    for outcome in engine.run(
        PackTask(folder), [Item(plan.name, plan) for plan in todo], recipe.run.deadline_s
    ):
        if outcome.failure is not None:
            failures.append(DeadLetter.of(outcome, None, "pack"))
        else:
            packed[outcome.key] = outcome.result
            progress.ended(outcome.result.duration_s)
    lost = [
        DeadLetter(failed["uri"], "", "pack", "MediaError", failed["message"])
        for plan in plans
        if plan.name in packed
        for failed in packed[plan.name].failed
    ]
    letters = [letter for letter in read_dead_letters(folder) if letter.stage != "pack"]
    write_dead_letters(folder, [*letters, *lost, *failures])
    if failures:
        raise RunError(
            f"{len(failures)} of {len(plans)} shards could not be written, the first: "
            f"{failures[0].uri}: {failures[0].cause}: {failures[0].message}; "
            f"see dead_letter.jsonl, mend it and call `curate pack {folder}`"
        )
    _write_dataset(folder, pipeline, plans, packed)
    shards = packed.values()
    return {
        "pack_passes": sum(shard.num_passes for shard in shards),
        "clips_packed": sum(len(shard.samples) for shard in shards),
        "clips_lost_in_packing": len(lost),
        "frames_in_kept_spans": sum(shard.num_frames_in_spans for shard in shards),
        "frames_decoded_for_packing": sum(shard.num_frames_decoded for shard in shards),
    }


def _write_dataset(
    folder: Folder, pipeline: Pipeline, plans: Sequence[ShardPlan], packed: dict[str, Any]
) -> None:
    wanted = {plan.name for plan in plans}
    for prefix, suffix in ((SHARDS, ""), (PACKED, ".json")):
        for name in folder.list(f"{prefix}/"):
            if name.removeprefix(f"{prefix}/").removesuffix(suffix) not in wanted:
                folder.remove(name)
    rows = []
    for plan in plans:
        clips = {row["clip_id"]: row for row in plan.clips}
        for sample in packed[plan.name].samples:
            row = clips[sample["clip_id"]]
            duration_s = sample["num_frames"] / pipeline.recipe.pack.frame_rate_fps
            said = packed_transcript(row, row.get("sync.offset_ms") or 0.0, duration_s)
            rows.append(
                {
                    **row,
                    "shard": f"shards/{plan.name}",
                    "members": sample["members"],
                    "num_frames": sample["num_frames"],
                    "caption": row.get("caption.text"),
                    "transcript": said and json.dumps(said, sort_keys=True, ensure_ascii=False),
                }
            )
    schema = clip_schema(pipeline.fields, PACKED_COLUMNS)
    write_table(folder, f"dataset/{CLIPS_NAME}", pa.Table.from_pylist(rows, schema=schema))
    recipe = pipeline.recipe
    shards = tuple(
        ShardEntry(
            path=f"shards/{plan.name}",
            sha256=packed[plan.name].sha256,
            num_bytes=packed[plan.name].num_bytes,
            num_samples=len(packed[plan.name].samples),
            duration_s=packed[plan.name].duration_s,
        )
        for plan in plans
    )
    DatasetManifest(recipe.name, recipe.digest, shards).write(folder.sub("dataset"))
