"""The hybrid curriculum: what is taught in which order, as data, and when a phase is over.

The paper names a hybrid curriculum that progressively aligns audio with facial motion; its phases
were not available. The vocabulary here covers the published practice of its neighbours
(FantasyTalking: whole-clip audio first, then per frame with lip weights; MultiTalk: adapter only,
with and without audio; Kling-Avatar and ActAvatar: last the whole transformer, but not its text
cross-attention); which phases a recipe has, and every number in them, is ours.

Nothing here trains: `advance` is a pure function from a step's loss to where the curriculum is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.model.interfaces import Task
from training.objective.condition_drop import DropRates
from training.objective.losses import LossSettings
from training.objective.seeding import generator_of

AudioScope = Literal["clip", "window"]

_SIZE_STEP_PX = 16


class Trainable(StrEnum):
    """Which parameters a phase moves; the others are frozen."""

    ADAPTER = "adapter"
    ADAPTER_AND_LORA = "adapter_and_lora"
    ALL_BUT_TEXT_ATTENTION = "all_but_text_attention"
    ALL = "all"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plateau(_Record):
    """A phase is over when the loss no longer falls.

    Attributes:
        window_steps: the mean loss of this many steps is compared with that of as many before.
        min_gain_ratio: it is over when the gain is less than this share of the earlier mean.
        min_steps: it lasts at least this long.
    """

    window_steps: int = Field(default=500, ge=1)
    min_gain_ratio: float = Field(default=0.005, ge=0)
    min_steps: int = Field(default=0, ge=0)


class Source(_Record):
    """Which clips a phase reads.

    Attributes:
        dataset: part of a manifest's path that names the dataset; empty means every dataset given.
        weight: how often a clip is read in an epoch.
        where: bounds on measurements, as in a curation recipe's gates: ``sync.confidence``, a
            probability, to ``{min = 0.98}``.
    """

    dataset: str = ""
    weight: float = Field(default=1.0, gt=0)
    where: dict[str, dict[str, Any]] = {}


class Phase(_Record):
    """One phase.

    Attributes:
        name: its name, unique in the recipe.
        steps: steps of the optimiser that it lasts at most.
        plateau: ends it earlier; ``None``: it lasts its steps.
        trainable: what moves.
        tasks: share of each task, by name; shares are normalised.
        silent_ratio: share of samples that are given no audio, beside those that drop it.
        audio_scopes: share of each scope of the audio's attention; drawn once a step.
        drop: how often conditions are dropped.
        loss: weights of the loss.
        sources: clips it reads.
        sizes_px: width and height of each bucket; a clip goes to the one nearest in aspect.
        face_height_ratio: share of the height that a face is brought to by scaling up, so that a
            small model sees lips at all; 0 keeps the framing of the clips.
        num_frames: T of the buckets, 4k + 1 each; a clip goes to the longest that it fills.
        picture_ratio: share of clips that are shown as a single frame.
        micro_batch: clips a device takes at once.
        accumulation: micro-batches a device takes before the optimiser moves.
        learning_rate: after the warm-up.
        warmup_steps: steps in which the learning rate rises from 0, at the start of the phase.
        final_learning_rate_ratio: share of the learning rate left at the end; in between it falls
            along a cosine. 1 keeps it constant.
    """

    name: str
    steps: int = Field(ge=1)
    plateau: Plateau | None = None
    trainable: Trainable = Trainable.ADAPTER
    tasks: dict[Task, float] = {Task.IMAGE: 1.0}
    silent_ratio: float = Field(default=0.0, ge=0, le=1)
    audio_scopes: dict[AudioScope, float] = {"window": 1.0}
    drop: DropRates = DropRates()
    loss: LossSettings = LossSettings()
    sources: tuple[Source, ...] = (Source(),)
    sizes_px: tuple[tuple[int, int], ...] = ((832, 480), (480, 832), (624, 624))
    face_height_ratio: float = Field(default=0.0, ge=0, le=1)
    num_frames: tuple[int, ...] = (81,)
    picture_ratio: float = Field(default=0.0, ge=0, le=1)
    micro_batch: int = Field(default=1, ge=1)
    accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    final_learning_rate_ratio: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _can_be(self) -> Phase:
        for name, shares in (("tasks", self.tasks), ("audio_scopes", self.audio_scopes)):
            if not shares or min(shares.values()) < 0 or sum(shares.values()) <= 0:
                raise ValueError(f"{name}: shares have to be 0 or more, one of them above 0")
        if not (self.sources and self.sizes_px and self.num_frames):
            raise ValueError("sources, sizes_px and num_frames: give one of each at least")
        for side in (side for size in self.sizes_px for side in size):
            if side < _SIZE_STEP_PX or side % _SIZE_STEP_PX:
                near = max(round(side / _SIZE_STEP_PX), 1) * _SIZE_STEP_PX
                raise ValueError(
                    f"sizes_px: {side} is no multiple of {_SIZE_STEP_PX}, 8 pixels a latent cell "
                    f"and 2 cells a token; the nearest is {near}"
                )
        for num_frames in self.num_frames:
            if num_frames < 1 or (num_frames - 1) % 4:
                near = 4 * max(round((num_frames - 1) / 4), 0) + 1
                raise ValueError(f"num_frames {num_frames}: has to be 4k + 1, for instance {near}")
        return self

    def learning_rate_at(self, phase_step: int) -> float:
        """Return the learning rate of a step of this phase, counted from 0."""
        if phase_step < self.warmup_steps:
            return self.learning_rate * (phase_step + 1) / (self.warmup_steps + 1)
        length = max(self.steps - self.warmup_steps, 1)
        progress = min((phase_step - self.warmup_steps) / length, 1.0)
        cosine = 0.5 * (
            1 + float(torch.cos(torch.tensor(torch.pi * progress, dtype=torch.float64)))
        )
        floor = self.final_learning_rate_ratio
        return self.learning_rate * (floor + (1 - floor) * cosine)


@dataclass(frozen=True)
class CurriculumState:
    """Where a run is in its curriculum; all that a resumed run needs of it.

    Attributes:
        phase_index: index of the phase; the number of phases when all are over.
        phase_step: steps done in it.
        recent_losses: losses of its last steps, as many as its plateau looks at.
    """

    phase_index: int = 0
    phase_step: int = 0
    recent_losses: tuple[float, ...] = ()


def advance(phases: tuple[Phase, ...], state: CurriculumState, loss: float) -> CurriculumState:
    """Return the state after one more step.

    Args:
        phases: the curriculum.
        state: before the step.
        loss: the step's loss, the same number on every rank.

    Returns:
        The next step of this phase, or the first of the next one.
    """
    phase = phases[state.phase_index]
    losses: tuple[float, ...] = ()
    if phase.plateau is not None:
        losses = (*state.recent_losses, loss)[-2 * phase.plateau.window_steps :]
    state = replace(state, phase_step=state.phase_step + 1, recent_losses=losses)
    if state.phase_step >= phase.steps or _on_plateau(phase.plateau, state):
        return CurriculumState(phase_index=state.phase_index + 1)
    return state


def _on_plateau(plateau: Plateau | None, state: CurriculumState) -> bool:
    if plateau is None or state.phase_step < plateau.min_steps:
        return False
    window = plateau.window_steps
    if len(state.recent_losses) < 2 * window:
        return False
    before = sum(state.recent_losses[:window]) / window
    after = sum(state.recent_losses[window:]) / window
    return before - after < plateau.min_gain_ratio * before


def draw_task(phase: Phase, seed: int, step: int, clip_id: str) -> Task:
    """Draw the task of a sample, seeded by step and clip."""
    tasks = sorted(phase.tasks)
    return tasks[_draw([phase.tasks[task] for task in tasks], seed, step, clip_id, "task")]


def draw_silent(phase: Phase, seed: int, step: int, clip_id: str) -> bool:
    """Draw whether a sample is given no audio, seeded by step and clip."""
    draw = torch.rand(1, generator=generator_of(seed, step, clip_id, "silent")).item()
    return draw < phase.silent_ratio


def draw_audio_scope(phase: Phase, seed: int, step: int) -> AudioScope:
    """Draw the scope of the audio's attention, one for a whole step on every rank."""
    scopes = sorted(phase.audio_scopes)
    return scopes[_draw([phase.audio_scopes[scope] for scope in scopes], seed, step, "scope")]


def _draw(shares: list[float], *parts: int | str) -> int:
    weights = torch.tensor(shares, dtype=torch.float64)
    return int(torch.multinomial(weights, 1, generator=generator_of(*parts)).item())
