"""The weights of a phase: what moves in float32, what is saved, and AdamW's state by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from training.objective.curriculum import Phase
from training.trainer.parallel import Precision
from training.trainer.trainable import is_trainable


def set_types(transformer: nn.Module, precision: Precision, moved: Collection[str]) -> None:
    """Hold what moves or ever moved in float32, and the rest in bfloat16.

    AdamW's steps are smaller than bfloat16 can add, and what an earlier phase learned is not
    rounded away in one that leaves it alone. What the model itself keeps in float32 stays.

    Args:
        transformer: after `set_trainable`.
        precision: of the computation; ``fp32`` changes nothing.
        moved: names of what moves in this phase or moved in one before.
    """
    if precision == "fp32":
        return
    kept = set(getattr(transformer, "_keep_in_fp32_modules", None) or ())
    for name, parameter in transformer.named_parameters():
        if name in moved:
            parameter.data = parameter.data.float()
        elif kept.isdisjoint(name.split(".")):
            parameter.data = parameter.data.to(torch.bfloat16)


def ever_moved(
    transformer: nn.Module, phases: Sequence[Phase], phase_index: int
) -> dict[str, nn.Parameter]:
    """Return the parameters that moved in a phase or in one before it, by name.

    These are a checkpoint's; the others are still the base's.
    """
    trainables = {phase.trainable for phase in phases[: phase_index + 1]}
    return {
        name: parameter
        for name, parameter in transformer.named_parameters()
        if any(is_trainable(name, trainable) for trainable in trainables)
    }


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, moving: Mapping[str, nn.Parameter]
) -> dict[str, dict[str, Any]]:
    """Return the optimiser's own tensors by parameter and name; they are its own, not copies."""
    return {name: dict(optimizer.state[parameter]) for name, parameter in moving.items()}


def initialise_state(optimizer: torch.optim.Optimizer, moving: Mapping[str, nn.Parameter]) -> None:
    """Make the optimiser's tensors, so that a checkpoint can be read into them.

    A step with gradients of zero and a learning rate of zero makes them whatever the optimiser is;
    it counts as a step, so what it leaves has to be overwritten.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for parameter in moving.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def take_over(
    optimizer: torch.optim.Optimizer,
    moving: Mapping[str, nn.Parameter],
    read: Mapping[str, Mapping[str, Any]],
) -> None:
    """Let the optimiser go on with what a checkpoint was read into.

    Its tensors were read in place; what is a plain number, as bitsandbytes counts its steps, was
    not and is put back.

    Args:
        optimizer: after `initialise_state`.
        moving: what it moves, by name.
        read: what `optimizer_tensors` gave, read from a checkpoint.
    """
    for name, parameter in moving.items():
        optimizer.state[parameter].update(read[name])


def gathered_state(
    parameters: Mapping[str, torch.Tensor], *, is_kept: bool
) -> dict[str, torch.Tensor]:
    """Gather whole tensors into main memory, from all ranks, one by one; every rank calls it.

    Args:
        parameters: by name, sharded or whole.
        is_kept: whether this rank wants them; the others only take part.

    Returns:
        The tensors; none where they are not wanted.
    """
    state = {}
    for name, parameter in parameters.items():
        whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        if is_kept:
            state[name] = whole.detach().to("cpu", copy=True)
    return state
