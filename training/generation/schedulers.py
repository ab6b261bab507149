"""Solvers of the flow, from diffusers, set up so that they walk the same sigmas.

``FlowMatchEulerDiscreteScheduler.set_timesteps(n)`` spaces its own sigmas down to sigma_min and
shifts them a second time (shift 5 and 4 steps: 1.0, .910, .717, .024), whereas Wan and UniPC walk
``shift_sigma(linspace(1, 0))`` (1.0, .9375, .833, .625). So Euler is given its sigmas.

Not here: windows and guidance; a solver sees one fused and guided velocity of the whole sequence.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import torch

from training.errors import SettingError

_EULER = "FlowMatchEulerDiscreteScheduler"


class Solver(StrEnum):
    """How a step is taken: UniPC of second order, or Euler."""

    UNIPC = "unipc"
    EULER = "euler"


def make_scheduler(solver: Solver, shift: float) -> Any:
    """Make a scheduler of diffusers for velocities ``noise - latent``.

    Args:
        solver: which.
        shift: of the sigmas, ``shift s / (1 + (shift - 1) s)``; above 0. Wan uses 3 at 480p and
            5 at 720p (Wan2.1's README), SkyReels-V2 5 for image to video (its README).

    Returns:
        ``UniPCMultistepScheduler`` or ``FlowMatchEulerDiscreteScheduler``.

    Raises:
        SettingError: If the shift is not above 0.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    if not shift > 0:
        raise SettingError(f"shift {shift}: has to be above 0; 3 suits 480p, 5 suits 720p")
    if solver is Solver.EULER:
        return FlowMatchEulerDiscreteScheduler(shift=shift)
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )


def chosen(scheduler: Any, solver: Solver, shift: float | None) -> Any:
    """Return a scheduler like the given one, but with this solver and shift.

    Args:
        scheduler: that of a model's folder.
        solver: which is wanted.
        shift: which is wanted; ``None``: that of ``scheduler``.

    Returns:
        ``scheduler`` itself if it is what is wanted.
    """
    config = scheduler.config
    present = config.get("flow_shift", config.get("shift", 1.0))
    is_euler = type(scheduler).__name__ == _EULER
    if is_euler == (solver is Solver.EULER) and shift in (None, present):
        return scheduler
    return make_scheduler(solver, present if shift is None else shift)


def begin(
    scheduler: Any, num_steps: int, device: torch.device | str = "cpu", *, strength: float = 1.0
) -> torch.Tensor:
    """Prepare a scheduler for one sequence; its history is forgotten.

    Args:
        scheduler: as `make_scheduler` or a pipeline's folder gives it.
        num_steps: steps from noise to picture, at least 1.
        device: where the sigmas go.
        strength: share of the road that is walked, in (0, 1]; below 1 it starts from a source
            that is only partly noised.

    Returns:
        Sigmas [steps + 1] of the road that is walked, descending, the last one 0.

    Raises:
        SettingError: If a number is out of its range.
    """
    if num_steps < 1:
        raise SettingError(f"steps {num_steps}: at least 1")
    if not 0 < strength <= 1:
        raise SettingError(f"strength {strength}: has to be above 0 and at most 1")
    if type(scheduler).__name__ == _EULER:
        scheduler.set_timesteps(
            sigmas=np.linspace(1, 0, num_steps + 1)[:-1].tolist(), device=device
        )
    else:
        scheduler.set_timesteps(num_steps, device=device)
    first = num_steps - max(1, round(num_steps * strength))
    scheduler.set_begin_index(first)
    return scheduler.sigmas[first:]


def step(scheduler: Any, velocity: torch.Tensor, latent: torch.Tensor, index: int) -> torch.Tensor:
    """Take the step with this index of those that `begin` prepared.

    Args:
        scheduler: the scheduler.
        velocity: guided velocity of the whole sequence.
        latent: the whole sequence.
        index: 0 for the first step that is walked.

    Returns:
        The sequence at the next sigma.
    """
    timestep = scheduler.timesteps[(scheduler.begin_index or 0) + index]
    return scheduler.step(velocity, timestep, latent, return_dict=False)[0]
