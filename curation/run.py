"""A run: measure, select and pack, each resumable, in one directory.

The order of writing is the order of trust: commits first, then tables, then shards, then
``dataset.json``, each whole or not at all. Whatever is killed at whatever moment leaves a
directory that the next call completes to the same bytes.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from curation.books import (
    DeadLetter,
    Funnel,
    check_books,
    funnel_of,
    read_dead_letters,
    read_table,
    source_table,
    write_dead_letters,
    write_table,
)
from curation.engine import Engine, Item, Outcome
from curation.errors import RunError
from curation.inputs import Source
from curation.measure import Measured, MeasureTask, Unit
from curation.measure_later import LaterTask
from curation.pack import PACKED, SHARDS, PackTask, ShardPlan, plan_shards, read_packed
from curation.packed_transcript import packed_transcript
from curation.pipeline import Pipeline, stages_elsewhere
from curation.progress import Progress
from manifests.dataset import CLIPS_NAME, MANIFEST_NAME, DatasetManifest, ShardEntry
from manifests.errors import ManifestError
from manifests.ledger import Commit, Ledger, is_current
from manifests.records import PACKED_COLUMNS, ClipState, clip_schema
from manifests.selection import select
from manifests.storage import Folder

RUN_FILE = "run.json"
_VERSIONS = ("talkreel", "av", "mediapipe", "scenedetect", "numpy", "onnxruntime", "pyarrow")


@dataclass
class RunBooks:
    """What a run ended with.

    Attributes:
        counts: inputs by state.
        funnel: where the time went.
        num_clips: clips found.
        num_kept: clips kept.
        clips_s: seconds of the clips found, kept or not.
        work: counters of decoding.
        stage_s: CPU seconds by stage.
    """

    counts: dict[str, int]
    funnel: Funnel
    num_clips: int
    num_kept: int
    clips_s: float
    work: dict[str, int] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)


def open_run(folder: Folder, pipeline: Pipeline, *, may_change: bool) -> None:
    """Check that the run directory can be used, and note the recipe in it.

    Args:
        folder: run directory; may not exist yet.
        pipeline: the pipeline.
        may_change: replace the recipe of an earlier call.

    Raises:
        RunError: it cannot be written, or belongs to another recipe.
    """
    resolved = pipeline.recipe.resolved()
    known = read_run_file(folder)
    if known and known["recipe_digest"] != pipeline.recipe.digest and not may_change:
        raise RunError(
            f"{folder}: was begun with recipe {known['recipe']['name']!r} "
            f"({known['recipe_digest']}), now {pipeline.recipe.name!r} ({pipeline.recipe.digest}); "
            "take another --out, or give --change-recipe to go on with the new one"
        )
    began = known["began_at"] if known else _now()
    try:
        write_run_file(
            folder,
            {
                "recipe": resolved,
                "recipe_digest": pipeline.recipe.digest,
                "versions": {name: version(name) for name in _VERSIONS},
                "flagged_bad": sorted(flagged_bad(folder)),
                "began_at": began,
                "ended_at": None,
            },
        )
    except (ManifestError, OSError) as error:
        raise RunError(f"--out {folder}: cannot be written: {error}") from error


def measure(
    folder: Folder,
    pipeline: Pipeline,
    sources: Sequence[Source],
    engine: Engine,
    progress: Progress,
    *,
    retry: Callable[[DeadLetter], bool] = lambda letter: False,
) -> None:
    """Measure what is not measured yet; afterwards every source has a commit or a dead letter.

    Args:
        folder: run directory.
        pipeline: the pipeline.
        sources: all inputs of the run.
        engine: who works.
        progress: told of every unit that ends.
        retry: says which dead letters are tried again.
    """
    ledger = Ledger(folder)
    fingerprints = pipeline.fingerprints()

    def is_valid(part: Commit) -> bool:
        return is_current(part.header, fingerprints) and not _waits(part, pipeline)

    done = {
        source_id
        for source_id, parts in commits_by_source(ledger).items()
        if all(map(is_valid, parts))
    }
    dead = {letter.source_id: letter for letter in read_dead_letters(folder) if letter.source_id}
    dead = {key: letter for key, letter in dead.items() if not retry(letter)}
    distinct = {source.source_id: source for source in reversed(sources)}
    for source in distinct.values():
        if source.error is not None:
            dead[source.source_id] = DeadLetter(
                source.uri, source.source_id, "read", "StorageError", source.error
            )
    todo = [s for s in distinct.values() if s.source_id not in done and s.source_id not in dead]
    progress.begin(len(distinct), len(distinct) - len(todo))
    units = [Unit(source) for source in todo]
    for source in todo:
        ledger.forget(source.source_id, is_valid)
    elsewhere = stages_elsewhere(pipeline, has_gpu=engine.has_gpu)
    later = frozenset(stage.name for stage in elsewhere)
    task = MeasureTask(folder, pipeline.recipe, later)
    then = LaterTask(folder, pipeline.recipe, later) if later else None
    while units:
        # Longest first, so that no giant starts when everybody else has finished.
        units.sort(key=lambda unit: (-unit.source.num_bytes, unit.source.source_id, unit.segment))
        items = [Item(f"{unit.source.source_id}.{unit.segment}", unit) for unit in units]
        by_key = dict(zip((item.key for item in items), units, strict=True))
        units = []
        for outcome in engine.run(task, items, pipeline.recipe.run.deadline_s, then):
            unit = by_key[outcome.key]
            if outcome.failure is not None:
                dead[unit.source.source_id] = _letter(outcome, unit.source, "measure")
                write_dead_letters(folder, list(dead.values()))
                progress.source_ended(0.0, 0, 0.0)
            elif outcome.result.num_segments > 1 and not unit.num_segments:
                units += _segments(outcome.result, ledger)
            else:
                result = outcome.result
                progress.source_ended(result.duration_s, result.num_passed, result.passed_s)
    write_dead_letters(folder, sorted(dead.values(), key=lambda letter: letter.uri))


def decide(folder: Folder, pipeline: Pipeline, sources: Sequence[Source]) -> RunBooks:
    """Judge all clips and write the tables of the run.

    Args:
        folder: run directory.
        pipeline: its gates decide.
        sources: all inputs.

    Returns:
        The books.

    Raises:
        RunError: a commit was made by other stages than the pipeline's.
    """
    wanted = {source.source_id for source in sources}
    found = commits_by_source(Ledger(folder))
    commits = {key: parts for key, parts in found.items() if key in wanted}
    fingerprints = pipeline.fingerprints()
    for parts in commits.values():
        for part in parts:
            if not is_current(part.header, fingerprints):
                raise RunError(
                    f"{folder}: {part.header.uri} was measured by other stages than these "
                    f"({_difference(part.header.fingerprints, fingerprints)}); "
                    "call `curate run` again, which measures what has changed"
                )
    dead = {letter.source_id: letter for letter in read_dead_letters(folder)}
    tables = [part.clips for parts in commits.values() for part in parts]
    schema = clip_schema(pipeline.fields)
    clips = pa.concat_tables(
        [_conform(table, schema) for table in tables] or [schema.empty_table()]
    )
    clips = select(clips, pipeline.rules(flagged_bad(folder)))
    refuse_doubles = any(stage.name == "dedup" for stage in pipeline.stages)
    table = source_table(sources, commits, clips, dead, refuse_doubles=refuse_doubles)
    counts = check_books(table)
    write_table(folder, "clips.parquet", clips)
    write_table(folder, "sources.parquet", table)
    headers = [part.header for parts in commits.values() for part in parts]
    stage_s: dict[str, float] = defaultdict(float)
    for header in headers:
        for name, seconds in header.stage_s.items():
            stage_s[name] += seconds
    states = clips["state"].to_pylist()
    return RunBooks(
        counts=counts,
        funnel=funnel_of(table, commits, clips),
        num_clips=clips.num_rows,
        num_kept=states.count(ClipState.KEPT),
        clips_s=sum(clips["duration_s"].to_pylist()),
        work={
            "sources_decoded": len({h.source_id for h in headers if h.num_passes}),
            "analysis_passes": sum(header.num_passes for header in headers),
            "segments": sum(1 for header in headers if header.num_passes),
            "frames_analysed": sum(header.num_frames for header in headers),
        },
        stage_s={name: round(seconds, 3) for name, seconds in stage_s.items()},
    )


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
            failures.append(_letter(outcome, None, "pack"))
        else:
            packed[outcome.key] = outcome.result
            progress.source_ended(outcome.result.duration_s, 0, 0.0)
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


def commits_by_source(ledger: Ledger) -> dict[str, list[Commit]]:
    """All complete commits by source id, segments in order."""
    found: dict[str, list[Commit]] = defaultdict(list)
    for commit in ledger.read_all():
        found[commit.header.source_id].append(commit)
    return dict(found)


def finish_run_file(folder: Folder, books: RunBooks) -> None:
    """Write counts, funnel, work and times into ``run.json``."""
    known = read_run_file(folder) or {}
    write_run_file(
        folder,
        {
            **known,
            "ended_at": _now(),
            "counts": books.counts,
            "num_clips": books.num_clips,
            "num_kept": books.num_kept,
            "funnel": asdict(books.funnel),
            "work": books.work,
            "stage_cpu_s": books.stage_s,
        },
    )


def read_run_file(folder: Folder) -> dict[str, Any] | None:
    """Read ``run.json``; ``None`` if there is none."""
    if not folder.exists(RUN_FILE):
        return None
    values: dict[str, Any] = json.loads(folder.read_bytes(RUN_FILE))
    return values


def flagged_bad(folder: Folder) -> frozenset[str]:
    """Ids of the clips that a person refused, as ``curate select --flags`` took them over."""
    return frozenset((read_run_file(folder) or {}).get("flagged_bad", ()))


def write_run_file(folder: Folder, values: dict[str, Any]) -> None:
    """Write ``run.json``."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    folder.write_bytes(RUN_FILE, f"{text}\n".encode())


def _waits(commit: Commit, pipeline: Pipeline) -> bool:
    """Tell whether a clip that the gates now let pass was spared by a costly stage."""
    rules = replace(pipeline.rules(), refuses_doubles=False)
    states = select(commit.clips, rules)["state"]
    return ClipState.PENDING in states.to_pylist()


def _segments(result: Measured, ledger: Ledger) -> list[Unit]:
    source, num = result.unit.source, result.num_segments
    return [
        Unit(source, segment, num)
        for segment in range(num)
        if not ledger.has_segment(source.source_id, segment, num)
    ]


def _letter(outcome: Outcome, source: Source | None, stage: str) -> DeadLetter:
    failure = outcome.failure
    assert failure is not None
    return DeadLetter(
        uri=source.uri if source else outcome.key,
        source_id=source.source_id if source else "",
        stage=stage,
        cause=failure.cause,
        message=failure.message,
        traceback=failure.traceback,
        attempts=failure.attempts,
    )


def _difference(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    changed = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return f"changed: {', '.join(changed)}"


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table.select(schema.names).cast(schema)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
