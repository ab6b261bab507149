"""The driver: what the ``curate`` commands do, in order, with one engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from curation.books import DeadLetter, RunBooks, read_table
from curation.engine import Engine, InlineEngine, SecondPool
from curation.errors import RunError
from curation.inputs import Source, identify
from curation.pipeline import Pipeline, build_pipeline, stages_elsewhere
from curation.progress import Progress
from curation.recipe import Recipe, override_recipe
from curation.run import decide, measure
from curation.run_file import (
    finish_run_file,
    flagged_bad,
    open_run,
    read_run_file,
    write_run_file,
)
from curation.run_packing import pack
from manifests.inspection.flags import Mark, marks_of_csv, read_flags
from manifests.inspection.place import find_place
from manifests.inspection.report import write_report
from manifests.records import ClipState
from manifests.selection import change
from manifests.selection import select as select_clips
from manifests.storage import Folder
from stages.environment import MODELS_PYTHON, models_python


def run_all(
    uris: Sequence[str],
    folder: Folder,
    recipe: Recipe,
    *,
    engine: str,
    num_workers: int = 0,
    address: str | None = None,
    change_recipe: bool = False,
    retry: Callable[[DeadLetter], bool] = lambda letter: False,
    quiet: bool = False,
) -> RunBooks:
    """Measure, select, pack and report.

    Args:
        uris: inputs.
        folder: run directory.
        recipe: the recipe.
        engine: ``ray`` or ``inline``.
        num_workers: worker processes, 0 for all CPUs.
        address: Ray cluster to join.
        change_recipe: go on in a run that was begun with another recipe.
        retry: says which dead letters are tried again.
        quiet: show no progress.

    Returns:
        The books of the run.
    """
    pipeline = build_pipeline(recipe)
    refuse_lacking(pipeline)
    open_run(folder, pipeline, may_change=change_recipe)
    if not quiet:
        for stage in pipeline.stages:
            if remark := stage.remark():
                print(f"{stage.name}: {remark}", file=sys.stderr)
    sources = identify(uris)
    with (
        Progress(quiet=quiet) as progress,
        _engine(engine, num_workers, address, pipeline) as workers,
    ):
        progress.phase("measure")
        measure(folder, pipeline, sources, workers, progress, retry=retry)
        books = decide(folder, pipeline, sources)
        progress.phase("pack")
        books.work |= pack(folder, pipeline, workers, progress)
    finish_run_file(folder, books)
    write_report(find_place(folder.url))
    return books


def refuse_lacking(pipeline: Pipeline) -> None:
    """Refuse a run that demands backends which this machine does not have.

    Args:
        pipeline: the pipeline.

    Raises:
        RunError: names every stage that lacks something, what, and how to get it.
    """
    lines = [
        f"{stage.name}: {lack}"
        for stage in pipeline.stages
        if (lack := stage.lacking()) is not None
    ]
    if lines:
        raise RunError(
            f"recipe {pipeline.recipe.name!r} demands what is not here:\n  "
            + "\n  ".join(lines)
            + "\nget it, or let a stage do without: --set STAGE.backend=auto"
        )


def select_again(
    folder: Folder, recipe: Recipe, overrides: Sequence[str], flags: str | None = None
) -> dict[str, Any]:
    """Judge a measured run with other gates.

    Args:
        folder: run directory.
        recipe: its stored recipe.
        overrides: ``--set`` strings.
        flags: a run whose flags are taken over, or a CSV file with ``clip_id`` and ``flag``;
            ``None`` leaves those that an earlier selection took over.

    Returns:
        What changed: counts and seconds.

    Raises:
        RunError: nothing is measured yet, or an override changes what is measured.
    """
    if not folder.exists("clips.parquet"):
        raise RunError(f"{folder}: nothing is measured yet; call `curate run` first")
    before_prints = build_pipeline(recipe).fingerprints()
    recipe = override_recipe(recipe, overrides, str(folder))
    pipeline = build_pipeline(recipe)
    if pipeline.fingerprints() != before_prints:
        raise RunError(
            "an override changes what is measured, not what is decided; "
            f"measure again: curate run INPUT... --out {folder} --change-recipe --set ..."
        )
    before = read_table(folder, "clips.parquet")
    if flags is not None:
        bad = sorted(key for key, mark in _marks(flags).items() if mark == "bad")
        write_run_file(folder, {**(read_run_file(folder) or {}), "flagged_bad": bad})
    after = select_clips(before, pipeline.rules(flagged_bad(folder)))
    difference = change(before, after)
    sources = identify_stored(folder)
    decide(folder, pipeline, sources)
    known = read_run_file(folder) or {}
    write_run_file(folder, {**known, "recipe": recipe.resolved(), "recipe_digest": recipe.digest})
    states = after["state"].to_pylist()
    return {
        **asdict(difference),
        "num_clips": len(states),
        "num_kept": states.count(ClipState.KEPT),
        "num_pending": states.count(ClipState.PENDING),
    }


def _marks(flags: str) -> dict[str, Mark]:
    if not flags.endswith(".csv"):
        return {key: flag.mark for key, flag in read_flags(Folder(flags)).items()}
    folder, name = Folder.split(flags)
    return marks_of_csv(folder.read_bytes(name).decode("utf-8"))


def pack_again(
    folder: Folder,
    recipe: Recipe,
    *,
    engine: str,
    num_workers: int,
    address: str | None,
    quiet: bool,
) -> dict[str, int]:
    """Write the shards of the current selection.

    Args:
        folder: run directory.
        recipe: its stored recipe.
        engine: ``ray`` or ``inline``.
        num_workers: worker processes.
        address: Ray cluster to join.
        quiet: show no progress.

    Returns:
        Counters of the packing.

    Raises:
        RunError: nothing is selected yet.
    """
    if not folder.exists("clips.parquet"):
        raise RunError(f"{folder}: nothing is measured yet; call `curate run` first")
    pipeline = build_pipeline(recipe)
    with (
        Progress(quiet=quiet) as progress,
        _engine(engine, num_workers, address, pipeline) as workers,
    ):
        progress.phase("pack")
        work = pack(folder, pipeline, workers, progress)
    books = decide(folder, pipeline, identify_stored(folder))
    books.work |= work
    finish_run_file(folder, books)
    write_report(find_place(folder.url))
    return work


def stored_inputs(folder: Folder) -> list[str]:
    """URIs of the inputs of a run."""
    if not folder.exists("sources.parquet"):
        raise RunError(
            f"{folder}: no sources.parquet; the run did not get so far, call `curate run`"
        )
    return list(read_table(folder, "sources.parquet")["uri"].to_pylist())


def identify_stored(folder: Folder) -> list[Source]:
    """Inputs of a run as they were when it was measured; nothing is read again."""
    rows = read_table(folder, "sources.parquet").to_pylist()
    return [Source(row["uri"], row["source_id"], row["num_bytes"]) for row in rows]


@contextmanager
def _engine(
    name: str, num_workers: int, address: str | None, pipeline: Pipeline
) -> Iterator[Engine]:
    engine: Engine
    python = models_python()
    if name == "inline":
        elsewhere = [stage.name for stage in stages_elsewhere(pipeline)]
        if elsewhere:
            raise RunError(
                f"--engine inline: the packages of {', '.join(elsewhere)} are in {python} only; "
                f"take --engine ray, or run everything there: {python} -m curation run ..."
            )
        engine = InlineEngine()
    else:
        from curation.engine_ray import RayEngine

        second = SecondPool(python, pipeline.recipe.run.models_workers)
        env_vars = {MODELS_PYTHON: python} if python else {}
        engine = RayEngine(num_workers, address, second=second, env_vars=env_vars)
    try:
        yield engine
    finally:
        engine.close()
