"""A run up to its tables: measure what is not measured, then judge; packing is `run_packing`.

The order of writing is the order of trust: commits first, then tables, then shards, then
``dataset.json``, each whole or not at all. Whatever is killed at whatever moment leaves a
directory that the next call completes to the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import pyarrow as pa

from curation.books import (
    DeadLetter,
    RunBooks,
    check_books,
    funnel_of,
    read_dead_letters,
    source_table,
    write_dead_letters,
    write_table,
)
from curation.engine import Engine, Item
from curation.errors import RunError
from curation.inputs import Source
from curation.measure import Measured, MeasureTask, Unit
from curation.measure_later import LaterTask
from curation.pipeline import Pipeline, stages_elsewhere
from curation.progress import Progress
from curation.run_file import flagged_bad
from curation.segments import num_segments
from manifests.ledger import Commit, CommitHeader, Ledger, is_current
from manifests.records import ClipState, clip_schema
from manifests.selection import select
from manifests.storage import Folder


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
        return (
            is_current(part.header, fingerprints)
            and _is_cut_alike(part.header, pipeline.recipe.segment_s)
            and not _waits(part, pipeline)
        )

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
            share = Fraction(1, max(1, unit.num_segments))
            if outcome.failure is not None:
                dead[unit.source.source_id] = DeadLetter.of(outcome, unit.source, "measure")
                write_dead_letters(folder, list(dead.values()))
                progress.ended(0.0, share=share)
            elif outcome.result.num_segments > 1 and not unit.num_segments:
                parts = _segments(outcome.result, ledger)
                units += parts
                num = outcome.result.num_segments
                progress.ended(0.0, share=Fraction(num - len(parts), num))
            else:
                result = outcome.result
                progress.ended(
                    result.duration_s,
                    num_kept=result.num_passed,
                    kept_s=result.passed_s,
                    share=share,
                )
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


def commits_by_source(ledger: Ledger) -> dict[str, list[Commit]]:
    """All complete commits by source id, segments in order."""
    found: dict[str, list[Commit]] = defaultdict(list)
    for commit in ledger.read_all():
        found[commit.header.source_id].append(commit)
    return dict(found)


def _is_cut_alike(header: CommitHeader, segment_s: float) -> bool:
    """Tell whether a source would be cut into as many segments today."""
    if header.facts is None:
        return True
    return header.num_segments == num_segments(header.facts["duration_s"], segment_s)


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


def _difference(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    changed = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return f"changed: {', '.join(changed)}"


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table.select(schema.names).cast(schema)
