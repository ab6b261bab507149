"""A run: phase after phase, step after step, to the end of the curriculum or where it is told.

A phase is always set up the same way: the transformer is made anew, what moves is set, it is
spread over the ranks, and the newest checkpoint is read into it. So the beginning of a phase, a
resumed run and a run on another number of ranks are one and the same piece of code.

What a run is made of (transformer, data, previews, export) is handed in as `Parts`; `assemble.py`
makes them of a recipe and of manifests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from torch import nn

from training.data.encoded import EncodedBatch
from training.errors import SettingError
from training.objective.curriculum import CurriculumState, Phase, advance
from training.recipe import Recipe
from training.trainer.checkpoint import Checkpoints, read_run, read_tensors
from training.trainer.context_parallel import share_tokens
from training.trainer.cost import device_peak_flops_per_s, step_flops
from training.trainer.ema import MovingAverage
from training.trainer.optimizer import make_optimizer, set_learning_rate
from training.trainer.parallel import compile_blocks, recompute, shard
from training.trainer.progress import Progress
from training.trainer.step import StepReport, StepSettings, take_step
from training.trainer.trainable import set_trainable
from training.trainer.weights import (
    ever_moved,
    gathered_state,
    initialise_state,
    optimizer_tensors,
    set_types,
)
from training.trainer.world import World


class PhaseData(Protocol):
    """Encoded micro-batches of one phase, for one rank."""

    def next_batches(self, step: int) -> list[EncodedBatch]:
        """Return the micro-batches of a step of the optimiser, counted from the run's start."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Say where the data stands, as plain values: behind the last batches given out."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stood."""
        ...

    def close(self) -> None:
        """Let go of workers and files; say what was bad."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    Attributes:
        make_transformer: the transformer on the rank's device, the same on every rank and call.
        open_data: the data of a phase.
        null_text_LD: states of the empty caption.
        preview: renders validation clips with a transformer at a step; every rank calls it, for a
            sharded model needs them all, and the first one writes. ``None``: none.
        export: writes a transformer and whole weights by name into a folder; ``None``: nothing.
    """

    make_transformer: Callable[[], Any]
    open_data: Callable[[Phase], PhaseData]
    null_text_LD: torch.Tensor
    preview: Callable[[nn.Module, int, Path], None] | None = None
    export: Callable[[nn.Module, dict[str, torch.Tensor], Path], None] | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    Attributes:
        step: steps done since the beginning of the run, those before a resume included.
        is_finished: whether the curriculum is over.
        reports: the steps of this call.
        checkpoint: the newest checkpoint.
    """

    step: int
    is_finished: bool
    reports: tuple[StepReport, ...]
    checkpoint: Path | None


@dataclass
class _Position:
    """Where a run is."""

    step: int = 0
    curriculum: CurriculumState = field(default_factory=CurriculumState)
    data: dict[str, Any] | None = None
    optimizer_saved: bool = False
    saved_phase_index: int = 0
    num_averaged: int = 0
    checkpoint: Path | None = None


@dataclass
class _Phase:
    """What is alive while a phase runs."""

    phase: Phase
    index: int
    transformer: nn.Module
    moving: dict[str, nn.Parameter]
    saved: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    average: MovingAverage
    data: PhaseData


def train(
    recipe: Recipe,
    parts: Parts,
    folder: Path,
    world: World,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    console: Console | None = None,
) -> TrainingResult:
    """Train by a recipe.

    Args:
        recipe: as checked.
        parts: what the run is made of.
        folder: of the run, shared by all ranks.
        world: the ranks.
        resume: go on from the newest checkpoint in the folder.
        stop_after: stop, with a checkpoint, after this many steps since the beginning of the run.
        console: where lines go; ``None``: nowhere.

    Returns:
        What the run came to.

    Raises:
        SettingError: there is something to resume and it was not asked for, or it is another
            recipe's.
        DivergedError: a loss is not finite.
    """
    checkpoints = Checkpoints(folder / "checkpoints", recipe.run.num_checkpoints, world)
    position = _start(recipe, checkpoints, resume)
    total_steps = sum(phase.steps for phase in recipe.phases)
    peak = device_peak_flops_per_s(world.device)
    progress = (
        Progress(folder, total_steps, console, peak * world.size if peak else None)
        if world.is_first
        else None
    )
    reports: list[StepReport] = []
    try:
        while position.curriculum.phase_index < len(recipe.phases):
            alive = _set_up(recipe, parts, position, world)
            if progress:
                num_moving = sum(p.numel() for p in alive.moving.values())
                progress.say(
                    f"phase {alive.phase.name}: {num_moving:,} parameters move "
                    f"({alive.phase.trainable.value}), up to {alive.phase.steps} steps"
                )
            try:
                _run_phase(
                    recipe, parts, alive, position, checkpoints, progress, reports, stop_after
                )
            finally:
                alive.data.close()
            if stop_after is not None and position.step >= stop_after:
                break
        is_finished = position.curriculum.phase_index >= len(recipe.phases)
        if is_finished and reports:
            _export(recipe, parts, alive, folder, world)
    finally:
        if progress:
            progress.close()
    return TrainingResult(position.step, is_finished, tuple(reports), position.checkpoint)


def _start(recipe: Recipe, checkpoints: Checkpoints, resume: bool) -> _Position:
    """Find out where the run begins."""
    newest = checkpoints.newest()
    if newest is None:
        if resume:
            raise SettingError(
                f"{checkpoints.folder}: no checkpoint to resume from; leave --resume out to begin"
            )
        return _Position()
    if not resume:
        raise SettingError(
            f"{checkpoints.folder}: there are checkpoints of an earlier run; go on with --resume, "
            "or name another --out"
        )
    run = read_run(newest)
    if run["recipe_digest"] != recipe.digest:
        raise SettingError(
            f"{newest}: made by recipe {run['recipe_name']} of digest {run['recipe_digest']}, now "
            f"it is {recipe.name} of {recipe.digest}; resume with the same recipe and --set, or "
            "name another --out"
        )
    curriculum = dict(run["curriculum"])
    curriculum["recent_losses"] = tuple(curriculum["recent_losses"])
    return _Position(
        step=run["step"],
        curriculum=CurriculumState(**curriculum),
        data=run["data"],
        optimizer_saved=run["optimizer_saved"],
        saved_phase_index=run["saved_phase_index"],
        num_averaged=run["num_averaged"],
        checkpoint=newest,
    )


def _set_up(recipe: Recipe, parts: Parts, position: _Position, world: World) -> _Phase:
    """Make everything that a phase needs, and read the newest checkpoint into it."""
    index = position.curriculum.phase_index
    phase = recipe.phases[index]
    transformer = parts.make_transformer()
    transformer.train()
    set_trainable(transformer, phase.trainable)
    set_types(transformer, recipe.run.precision)
    if recipe.run.recompute:
        recompute(transformer)
    if recipe.run.compile:
        compile_blocks(transformer)
    share_tokens(transformer, world)
    shard(transformer, world, recipe.run.precision)
    moving = {name: p for name, p in transformer.named_parameters() if p.requires_grad}
    saved = ever_moved(transformer, recipe.phases, index)
    optimizer = make_optimizer(moving, recipe.optimizer, phase.learning_rate_at(0))
    average = MovingAverage(saved, recipe.run.ema_decay)
    data = parts.open_data(phase)
    alive = _Phase(phase, index, transformer, moving, saved, optimizer, average, data)
    if position.checkpoint is not None:
        _read_checkpoint(recipe, alive, position, world)
    return alive


def _read_checkpoint(recipe: Recipe, alive: _Phase, position: _Position, world: World) -> None:
    assert position.checkpoint is not None
    names = ever_moved(alive.transformer, recipe.phases, position.saved_phase_index)
    tensors: dict[str, Any] = {
        "model": {name: p.detach() for name, p in names.items()},
        "average": {name: alive.average.averages[name] for name in names},
    }
    if position.optimizer_saved:
        initialise_state(alive.optimizer, alive.moving)
        tensors["optimizer"] = optimizer_tensors(alive.optimizer, alive.moving)
    read_tensors(position.checkpoint, tensors, world)
    alive.average.num_updates = position.num_averaged
    if position.data is not None:
        alive.data.load_state_dict(position.data)


def _run_phase(
    recipe: Recipe,
    parts: Parts,
    alive: _Phase,
    position: _Position,
    checkpoints: Checkpoints,
    progress: Progress | None,
    reports: list[StepReport],
    stop_after: int | None,
) -> None:
    """Step until the phase is over or the run is told to stop; leave a checkpoint behind."""
    settings = step_settings(recipe)
    world, run, phase = checkpoints.world, recipe.run, alive.phase
    while position.curriculum.phase_index == alive.index:
        if stop_after is not None and position.step >= stop_after:
            break
        waits_from_s = time.perf_counter()
        batches = alive.data.next_batches(position.step)
        data_wait_s = time.perf_counter() - waits_from_s
        learning_rate = phase.learning_rate_at(position.curriculum.phase_step)
        set_learning_rate(alive.optimizer, learning_rate)
        report = take_step(
            alive.transformer,
            alive.moving,
            alive.optimizer,
            batches,
            phase,
            settings,
            position.step,
            parts.null_text_LD,
            world,
        )
        alive.average.update(alive.moving)
        position.step += 1
        position.curriculum = advance(recipe.phases, position.curriculum, report.loss)
        reports.append(report)
        if progress:
            flops = step_flops(alive.transformer, batches, phase.trainable)
            progress.meter.add(report, data_wait_s, flops * world.data_size)
            if position.step % run.log_every_steps == 0:
                progress.line(position.step, phase.name, report, learning_rate)
        checkpoints.poll()
        every = run.preview_every_steps
        if parts.preview and every and position.step % every == 0:
            _preview(parts, alive, checkpoints, position.step)
        is_over = position.curriculum.phase_index != alive.index
        if not is_over and position.step % run.checkpoint_every_steps == 0:
            _save(recipe, alive, position, checkpoints)
    _save(recipe, alive, position, checkpoints)
    checkpoints.finish()
    position.checkpoint = checkpoints.newest()


def step_settings(recipe: Recipe) -> StepSettings:
    """Return what all steps of a recipe share."""
    return StepSettings(
        recipe.run.seed,
        recipe.flow.sigma_distribution,
        recipe.flow.sigma_shift,
        recipe.run.precision,
        recipe.optimizer.max_gradient_norm,
    )


def _save(recipe: Recipe, alive: _Phase, position: _Position, checkpoints: Checkpoints) -> None:
    """Begin a checkpoint; at the end of a phase it is the beginning of the next one."""
    is_over = position.curriculum.phase_index != alive.index
    tensors: dict[str, Any] = {"model": alive.saved, "average": alive.average.averages}
    has_moments = not is_over and position.curriculum.phase_step > 0
    if has_moments:
        tensors["optimizer"] = optimizer_tensors(alive.optimizer, alive.moving)
    position.data = None if is_over else alive.data.state_dict()
    position.optimizer_saved = has_moments
    position.saved_phase_index = alive.index
    position.num_averaged = alive.average.num_updates
    run = {
        "recipe_name": recipe.name,
        "recipe_digest": recipe.digest,
        "step": position.step,
        "curriculum": asdict(position.curriculum),
        "data": position.data,
        "optimizer_saved": has_moments,
        "saved_phase_index": alive.index,
        "num_averaged": position.num_averaged,
        "seed": recipe.run.seed,
    }
    checkpoints.save(position.step, tensors, run)


def _preview(parts: Parts, alive: _Phase, checkpoints: Checkpoints, step: int) -> None:
    assert parts.preview is not None
    alive.transformer.eval()
    with torch.no_grad():
        parts.preview(alive.transformer, step, checkpoints.folder.parent / "previews")
    alive.transformer.train()


def _export(recipe: Recipe, parts: Parts, alive: _Phase, folder: Path, world: World) -> None:
    """Write the model that came of it: the averages where there are any, else the weights."""
    if parts.export is None:
        return
    weights: dict[str, torch.Tensor] = dict(alive.saved)
    if recipe.moves_base:
        weights = dict(alive.transformer.named_parameters())
    if recipe.run.ema_decay > 0:
        weights |= alive.average.averages
    state = gathered_state(weights)
    if world.is_first:
        parts.export(alive.transformer, state, folder / "model")
    world.barrier()
