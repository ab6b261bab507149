"""The loss of a sample: squared error of velocity, weighted by region, and what it is made of.

Every loss is normalised by the sum of its weights within its own sample. So its size depends
neither on how large the face is, nor on who shares the batch, and a step's loss is the mean over
its samples however they were split into micro-batches and devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field

from training.objective.face_weights import loss_weights
from training.objective.seeding import generator_of


class LossSettings(BaseModel):
    """How the loss is weighted; every default is ours.

    Attributes:
        face_weight: added to the weight of a cell that is all face.
        lip_weight: added to the weight of a cell that is all lips.
        uniform_ratio: share of samples that are weighted evenly, so that the background does not
            decay; StableAvatar has such a branch too.
        temporal_difference_ratio: share of the loss that is the error of differences between
            neighbouring latent frames; StableAvatar has 0.25.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    face_weight: float = Field(default=1.0, ge=0)
    lip_weight: float = Field(default=2.0, ge=0)
    uniform_ratio: float = Field(default=0.1, ge=0, le=1)
    temporal_difference_ratio: float = Field(default=0.0, ge=0, le=1)


@dataclass(frozen=True)
class LossTerms:
    """What a batch's error is, sample by sample.

    Attributes:
        loss_B: what is minimised.
        plain_B: mean squared error, all cells alike.
        face_B: mean squared error over the face; NaN in a sample without one.
        lip_B: mean squared error over the lips; NaN in a sample without any.
    """

    loss_B: torch.Tensor
    plain_B: torch.Tensor
    face_B: torch.Tensor
    lip_B: torch.Tensor


def region_mean(error_BKhw: torch.Tensor, weight_BKhw: torch.Tensor) -> torch.Tensor:
    """Return ``sum(weight * error) / sum(weight)`` of each sample [B].

    Args:
        error_BKhw: error of each cell.
        weight_BKhw: weight of each cell, 0 or more.

    Returns:
        Weighted means; NaN where all weights of a sample are 0.
    """
    total_B = weight_BKhw.sum(dim=(1, 2, 3))
    return (weight_BKhw * error_BKhw).sum(dim=(1, 2, 3)) / total_B


def cell_error(velocity_BCKhw: torch.Tensor, target_BCKhw: torch.Tensor) -> torch.Tensor:
    """Return the squared error of each cell [B, K, h, w], the mean over channels, in float32."""
    return (velocity_BCKhw.float() - target_BCKhw.float()).square().mean(dim=1)


def temporal_difference_loss(
    velocity_BCKhw: torch.Tensor, target_BCKhw: torch.Tensor, weight_BKhw: torch.Tensor
) -> torch.Tensor:
    """Error of the change from each latent frame to the next, of each sample [B].

    A cell's weight is the larger of the two frames' weights. One latent frame has no change: 0.

    Args:
        velocity_BCKhw: predicted velocity.
        target_BCKhw: true velocity.
        weight_BKhw: weights of the latent frames.

    Returns:
        Weighted mean squared errors.
    """
    if velocity_BCKhw.shape[2] < 2:
        return velocity_BCKhw.new_zeros(len(velocity_BCKhw), dtype=torch.float32)
    error_BKhw = cell_error(velocity_BCKhw.diff(dim=2), target_BCKhw.diff(dim=2))
    return region_mean(error_BKhw, torch.maximum(weight_BKhw[:, 1:], weight_BKhw[:, :-1]))


def loss_terms(
    velocity_BCKhw: torch.Tensor,
    target_BCKhw: torch.Tensor,
    face_BKhw: torch.Tensor,
    lip_BKhw: torch.Tensor,
    settings: LossSettings,
    uniform_B: torch.Tensor | None = None,
) -> LossTerms:
    """Weigh the error of a batch.

    Args:
        velocity_BCKhw: predicted velocity.
        target_BCKhw: true velocity.
        face_BKhw: share of face of each cell.
        lip_BKhw: share of lips of each cell.
        settings: weights.
        uniform_B: bool, samples that are weighted evenly; ``None``: none of them.

    Returns:
        The loss of each sample and its parts; the parts carry no gradient.
    """
    error_BKhw = cell_error(velocity_BCKhw, target_BCKhw)
    weight_BKhw = loss_weights(face_BKhw, lip_BKhw, settings.face_weight, settings.lip_weight)
    if uniform_B is not None:
        weight_BKhw = torch.where(uniform_B.view(-1, 1, 1, 1), 1.0, weight_BKhw)
    loss_B = region_mean(error_BKhw, weight_BKhw)
    share = settings.temporal_difference_ratio
    if share > 0:
        change_B = temporal_difference_loss(velocity_BCKhw, target_BCKhw, weight_BKhw)
        loss_B = (1 - share) * loss_B + share * change_B
    with torch.no_grad():
        return LossTerms(
            loss_B=loss_B,
            plain_B=error_BKhw.mean(dim=(1, 2, 3)),
            face_B=region_mean(error_BKhw, face_BKhw),
            lip_B=region_mean(error_BKhw, lip_BKhw),
        )


def draw_uniform(
    settings: LossSettings, seed: int, step: int, clip_ids: tuple[str, ...]
) -> torch.Tensor:
    """Draw which samples are weighted evenly, bool [B], seeded by step and clip."""
    return torch.tensor(
        [
            torch.rand(1, generator=generator_of(seed, step, clip_id, "uniform weights")).item()
            < settings.uniform_ratio
            for clip_id in clip_ids
        ],
        dtype=torch.bool,
    )
