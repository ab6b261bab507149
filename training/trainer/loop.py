"""A run: phase after phase, step after step, to the end of the curriculum or where it is told.

What a run is made of (transformer, data, previews, export) is handed in as `Parts`. Not here: how a
phase is set up, saved and resumed (`phase_state.py`), and a step itself (`step.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console

from training.model.saved import SPEC_FILE
from training.objective.curriculum import advance
from training.recipe import Recipe
from training.trainer.checkpoint import Checkpoints
from training.trainer.cost import device_peak_flops_per_s, step_flops
from training.trainer.optimizer import set_learning_rate
from training.trainer.parts import Parts
from training.trainer.phase_state import LivingPhase, Position, find_position, save, set_up
from training.trainer.progress import Progress
from training.trainer.step import StepReport, StepSettings, take_step
from training.trainer.weights import gathered_state
from training.trainer.world import World


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
class _Run:
    """What all phases of a run share."""

    recipe: Recipe
    parts: Parts
    world: World
    checkpoints: Checkpoints
    progress: Progress | None
    position: Position
    stop_after: int | None
    reports: list[StepReport] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        return self.position.curriculum.phase_index >= len(self.recipe.phases)

    @property
    def has_to_stop(self) -> bool:
        return self.stop_after is not None and self.position.step >= self.stop_after


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
    position = find_position(recipe, checkpoints, resume)
    progress = _progress(recipe, folder, world, console) if world.is_first else None
    run = _Run(recipe, parts, world, checkpoints, progress, position, stop_after)
    is_exported = (folder / "model" / SPEC_FILE).is_file()  # it is written last
    try:
        while not (run.is_finished or run.has_to_stop):
            _run_phase(run)
            is_exported = False
        if run.is_finished and not is_exported:
            _export(run, folder / "model")
    finally:
        checkpoints.settle()
        if progress:
            progress.close()
    return TrainingResult(position.step, run.is_finished, tuple(run.reports), checkpoints.newest())


def _progress(recipe: Recipe, folder: Path, world: World, console: Console | None) -> Progress:
    peak = device_peak_flops_per_s(world.device)
    total_steps = sum(phase.steps for phase in recipe.phases)
    return Progress(folder, total_steps, console, peak * world.size if peak else None)


def _run_phase(run: _Run) -> None:
    """Step until the phase is over or the run has to stop, and leave a checkpoint behind."""
    alive = set_up(run.recipe, run.parts, run.position, run.world)
    if run.progress:
        num_moving = sum(parameter.numel() for parameter in alive.moving.values())
        run.progress.say(
            f"phase {alive.phase.name}: {num_moving:,} parameters move "
            f"({alive.phase.trainable.value}), up to {alive.phase.steps} steps"
        )
    settings = step_settings(run.recipe)
    try:
        while run.position.curriculum.phase_index == alive.index and not run.has_to_stop:
            _step(run, alive, settings)
        save(run.recipe, alive, run.position, run.checkpoints)
        run.checkpoints.finish()
        run.position.checkpoint = run.checkpoints.newest()
    finally:
        alive.data.close()


def _step(run: _Run, alive: LivingPhase, settings: StepSettings) -> None:
    """Take a step, and do what is due after it."""
    position, phase = run.position, alive.phase
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
        run.parts.null_text_LD,
        run.world,
    )
    alive.average.update(alive.moving)
    position.step += 1
    position.curriculum = advance(run.recipe.phases, position.curriculum, report.loss)
    run.reports.append(report)
    if run.progress:
        flops = step_flops(alive.transformer, batches, phase.trainable) * run.world.data_size
        run.progress.meter.add(report, data_wait_s, flops)
        if position.step % run.recipe.run.log_every_steps == 0:
            run.progress.line(position.step, phase.name, learning_rate)
    run.checkpoints.poll()
    _now_and_then(run, alive)


def _now_and_then(run: _Run, alive: LivingPhase) -> None:
    """Render validation clips and begin a checkpoint, where this step is one for it."""
    step, every = run.position.step, run.recipe.run
    if run.parts.preview and every.preview_every_steps and step % every.preview_every_steps == 0:
        alive.transformer.eval()
        with torch.no_grad():
            run.parts.preview(alive.transformer, step, run.checkpoints.folder.parent / "previews")
        alive.transformer.train()
    is_over = run.position.curriculum.phase_index != alive.index
    if not is_over and step % every.checkpoint_every_steps == 0:
        save(run.recipe, alive, run.position, run.checkpoints)


def step_settings(recipe: Recipe) -> StepSettings:
    """Return what all steps of a recipe share."""
    return StepSettings(
        recipe.run.seed,
        recipe.flow.sigma_distribution,
        recipe.flow.sigma_shift,
        recipe.run.precision,
        recipe.optimizer.max_gradient_norm,
    )


def _export(run: _Run, place: Path) -> None:
    """Write the model that came of it: the averages where there are any, else the weights."""
    if run.parts.export is None:
        return
    alive = set_up(run.recipe, run.parts, run.position, run.world)
    alive.data.close()
    weights: dict[str, torch.Tensor] = dict(alive.saved)
    if run.recipe.moves_base:
        weights = dict(alive.transformer.named_parameters())
    if run.recipe.run.ema_decay > 0:
        weights |= alive.average.averages
    state = gathered_state(weights, is_kept=run.world.is_first)
    if run.world.is_first:
        run.parts.export(alive.transformer, state, place)
    run.world.barrier()
