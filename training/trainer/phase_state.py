"""A phase that is alive, and where a run is: set up, saved and read back.

A phase is always set up the same way: the transformer is made anew, what moves is set, it is
spread over the ranks, and the newest checkpoint is read into it. So the beginning of a phase, a
resumed run and a run on another number of ranks are one and the same piece of code.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.errors import SettingError
from training.objective.curriculum import CurriculumState, Phase
from training.recipe import Recipe
from training.trainer.checkpoint import Checkpoints, read_run, read_tensors
from training.trainer.context_parallel import share_tokens
from training.trainer.ema import MovingAverage
from training.trainer.optimizer import make_optimizer
from training.trainer.parallel import compile_blocks, recompute, shard
from training.trainer.parts import Parts, PhaseData
from training.trainer.trainable import set_trainable
from training.trainer.weights import (
    ever_moved,
    initialise_state,
    optimizer_tensors,
    set_types,
    take_over,
)
from training.trainer.world import World


@dataclass
class Position:
    """Where a run is; what of it is in a checkpoint is `save`'s to say.

    Attributes:
        step: steps done.
        curriculum: phase and step in it.
        data: where the phase's data stands; ``None`` at the beginning of a phase.
        optimizer_saved: whether the newest checkpoint has AdamW's state.
        saved_phase_index: phase whose weights the newest checkpoint has.
        num_averaged: updates of the moving average.
        checkpoint: the newest checkpoint.
        saved_step: steps done when it was begun.
    """

    step: int = 0
    curriculum: CurriculumState = field(default_factory=CurriculumState)
    data: dict[str, Any] | None = None
    optimizer_saved: bool = False
    saved_phase_index: int = 0
    num_averaged: int = 0
    checkpoint: Path | None = None
    saved_step: int | None = None


@dataclass
class LivingPhase:
    """What is alive while a phase runs.

    Attributes:
        phase: of the curriculum.
        index: its number.
        transformer: sharded, in training mode.
        moving: parameters that move, by name.
        saved: parameters that moved in this phase or before.
        optimizer: over those that move.
        average: over those that are saved.
        data: the phase's batches.
    """

    phase: Phase
    index: int
    transformer: nn.Module
    moving: dict[str, nn.Parameter]
    saved: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    average: MovingAverage
    data: PhaseData


def find_position(recipe: Recipe, checkpoints: Checkpoints, resume: bool) -> Position:
    """Find out where a run begins.

    Args:
        recipe: of the run.
        checkpoints: of the run's folder.
        resume: whether to go on from the newest.

    Returns:
        The beginning, or where the newest checkpoint was written.

    Raises:
        SettingError: there is something to resume and it was not asked for, nothing although it
            was, or it is another recipe's.
    """
    newest = checkpoints.newest()
    if newest is None:
        if resume:
            raise SettingError(
                f"{checkpoints.folder}: no checkpoint to resume from; leave --resume out to begin"
            )
        return Position()
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
    return Position(
        step=run["step"],
        curriculum=CurriculumState(**curriculum),
        data=run["data"],
        optimizer_saved=run["optimizer_saved"],
        saved_phase_index=run["saved_phase_index"],
        num_averaged=run["num_averaged"],
        checkpoint=newest,
        saved_step=run["step"],
    )


def set_up(recipe: Recipe, parts: Parts, position: Position, world: World) -> LivingPhase:
    """Make everything that a phase needs, and read the newest checkpoint into it.

    Args:
        recipe: of the run.
        parts: what it is made of.
        position: where it is; at the end of the curriculum the last phase is set up.
        world: the ranks.

    Returns:
        The phase, ready for its next step.
    """
    index = min(position.curriculum.phase_index, len(recipe.phases) - 1)
    phase = recipe.phases[index]
    transformer = parts.make_transformer()
    transformer.train()
    set_trainable(transformer, phase.trainable)
    moved = ever_moved(transformer, recipe.phases, index)
    set_types(transformer, recipe.run.precision, moved)
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
    alive = LivingPhase(phase, index, transformer, moving, saved, optimizer, average, data)
    if position.checkpoint is not None:
        _read_checkpoint(recipe, alive, position, world)
    return alive


def _read_checkpoint(recipe: Recipe, alive: LivingPhase, position: Position, world: World) -> None:
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
    if position.optimizer_saved:
        take_over(alive.optimizer, alive.moving, tensors["optimizer"])
    alive.average.num_updates = position.num_averaged
    if position.data is not None:
        alive.data.load_state_dict(position.data)


def save(recipe: Recipe, alive: LivingPhase, position: Position, checkpoints: Checkpoints) -> None:
    """Begin a checkpoint; at the end of a phase it is the beginning of the next one.

    One of this very step is not written again: it would have to make room for itself.

    Args:
        recipe: of the run.
        alive: the phase.
        position: where the run is; what the checkpoint has is noted in it.
        checkpoints: of the run's folder.
    """
    if position.saved_step == position.step:
        return
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
    position.saved_step = position.step
