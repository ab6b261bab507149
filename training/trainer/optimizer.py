"""AdamW over what a phase moves."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from training.errors import SettingError

_TABLE = "scale_shift_table"
"""Wan's modulation tables, vectors in the shape [1, 6, D] (diffusers, ``transformer_wan.py``)."""


class OptimizerSettings(BaseModel):
    """Settings of AdamW; learning rates are the phases' own.

    Attributes:
        kind: ``adamw`` is PyTorch's fused one; ``adamw_8bit`` is that of bitsandbytes, which keeps
            its moments in 8 bits (Dettmers et al. 2021, arXiv 2110.02861), on one GPU.
        beta1: decay of the mean.
        beta2: decay of the variance.
        epsilon: added to the root of the variance.
        weight_decay: of matrices; biases, norms and tables have none.
        max_gradient_norm: longer gradients are shortened to it. StableAvatar has 0.05, most 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["adamw", "adamw_8bit"] = "adamw"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0)


def check_optimizer(settings: OptimizerSettings, device: torch.device, num_ranks: int) -> None:
    """Refuse an optimiser that cannot run here.

    Args:
        settings: what is asked for.
        device: where it would run.
        num_ranks: that the parameters are spread over.

    Raises:
        SettingError: it cannot.
    """
    if settings.kind != "adamw_8bit":
        return
    if device.type != "cuda" or importlib.util.find_spec("bitsandbytes") is None:
        raise SettingError(
            f"optimizer.kind = 'adamw_8bit' on {device.type}: needs a GPU and the bitsandbytes "
            "package; install it, or --set optimizer.kind=adamw"
        )
    if num_ranks > 1:
        raise SettingError(
            f"optimizer.kind = 'adamw_8bit' on {num_ranks} ranks: bitsandbytes reads memory that "
            "is not its own where FSDP2 has sharded the parameters (its issue 1633); use "
            "--set optimizer.kind=adamw, whose moments are spread over the ranks"
        )


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings, learning_rate: float
) -> torch.optim.Optimizer:
    """Make AdamW for the parameters that move.

    Args:
        parameters: them, by name.
        settings: as checked.
        learning_rate: of the first step.

    Returns:
        The optimiser, without any moments yet.
    """
    decays = {name: p.ndim >= 2 and not name.endswith(_TABLE) for name, p in parameters.items()}
    groups = [
        {
            "params": [p for name, p in parameters.items() if decays[name]],
            "weight_decay": settings.weight_decay,
        },
        {"params": [p for name, p in parameters.items() if not decays[name]], "weight_decay": 0.0},
    ]
    arguments = {
        "lr": learning_rate,
        "betas": (settings.beta1, settings.beta2),
        "eps": settings.epsilon,
    }
    groups = [group for group in groups if group["params"]]
    if settings.kind == "adamw_8bit":
        bitsandbytes = importlib.import_module("bitsandbytes")
        return bitsandbytes.optim.AdamW8bit(groups, **arguments)
    return torch.optim.AdamW(groups, fused=True, **arguments)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
