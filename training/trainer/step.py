"""One step of the optimiser: losses of all micro-batches, one gradient, one move, or a refusal.

Every random number of a step follows from the seed, the step and the clips' ids, so a step is the
same on any number of ranks. Not here: where batches come from, and what happens between steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from training.data.encoded import EncodedBatch
from training.errors import DivergedError
from training.model.conditions import transformer_input
from training.objective.condition_drop import Dropped, draw_dropped
from training.objective.curriculum import Phase, draw_audio_scope, draw_silent
from training.objective.flow import (
    SigmaDistribution,
    noisy_latent,
    sample_sigma,
    velocity_target,
)
from training.objective.losses import LossTerms, draw_uniform, loss_terms
from training.objective.seeding import generator_of
from training.trainer.parallel import Precision, autocast
from training.trainer.world import World

NUM_TIMESTEPS = 1000
"""Wan's time embedding takes ``sigma * 1000`` (diffusers, ``num_train_timesteps``)."""


@dataclass(frozen=True)
class StepSettings:
    """What all steps of a run share.

    Attributes:
        seed: of every draw.
        sigma_distribution: as in `sample_sigma`.
        sigma_shift: as in `shift_sigma`.
        precision: of the computation.
        max_gradient_norm: longer gradients are shortened to it.
    """

    seed: int
    sigma_distribution: SigmaDistribution
    sigma_shift: float
    precision: Precision
    max_gradient_norm: float


@dataclass(frozen=True)
class StepReport:
    """What a step did, the same on every rank.

    Attributes:
        loss: mean over the step's clips.
        plain_loss: mean squared error, all cells alike.
        face_loss: mean squared error over faces; NaN if no clip has one.
        lip_loss: mean squared error over lips; NaN if no clip has any.
        gradient_norm: before it was shortened.
        num_clips: clips of all ranks.
        num_tokens: video tokens of all ranks.
    """

    loss: float
    plain_loss: float
    face_loss: float
    lip_loss: float
    gradient_norm: float
    num_clips: int
    num_tokens: int


def draw_path(
    batch: EncodedBatch, settings: StepSettings, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw noise [B, C, K, h, w] and sigma [B] of a batch, clip by clip."""
    shape = batch.latent_BCKhw.shape[1:]
    noises, sigmas = [], []
    for clip_id in batch.clip_ids:
        generator = generator_of(settings.seed, step, clip_id, "path")
        sigmas.append(sample_sigma(1, generator, settings.sigma_distribution, settings.sigma_shift))
        noises.append(torch.randn(shape, generator=generator))
    device = batch.latent_BCKhw.device
    return torch.stack(noises).to(device), torch.cat(sigmas).to(device)


def without(batch: EncodedBatch, dropped: Dropped, null_text_LD: torch.Tensor) -> EncodedBatch:
    """Return the batch with null conditions in the place of what is dropped.

    Null text is the encoded empty caption; null audio is zeros of features, which go through the
    projector as silence of no kind; null image is zeros. The frames that are given stay.

    Args:
        batch: as encoded.
        dropped: what each sample goes without.
        null_text_LD: states of the empty caption.

    Returns:
        A batch that shares what did not change.
    """
    device = batch.latent_BCKhw.device
    text_B, audio_B, image_B = (
        drop_B.to(device) for drop_B in (dropped.text_B, dropped.audio_B, dropped.image_B)
    )
    null_text = null_text_LD.to(batch.text_BLD)
    return replace(
        batch,
        text_BLD=torch.where(text_B[:, None, None], null_text, batch.text_BLD),
        image_BLD=batch.image_BLD.masked_fill(image_B[:, None, None], 0),
        audio_BAKVSD=batch.audio_BAKVSD.masked_fill(audio_B.view(-1, 1, 1, 1, 1, 1), 0),
        has_audio_B=batch.has_audio_B & ~audio_B,
    )


def batch_terms(
    transformer: nn.Module,
    batch: EncodedBatch,
    phase: Phase,
    settings: StepSettings,
    step: int,
    null_text_LD: torch.Tensor,
    world: World,
) -> LossTerms:
    """Run the model on one micro-batch and weigh its error.

    Args:
        transformer: predicts velocity.
        batch: the micro-batch, on the model's device.
        phase: of the curriculum.
        settings: of the run.
        step: of the optimiser, from the beginning of the run.
        null_text_LD: states of the empty caption.
        world: the ranks.

    Returns:
        The loss of every clip and its parts.
    """
    dropped = draw_dropped(phase.drop, settings.seed, step, batch.clip_ids)
    silent = [draw_silent(phase, settings.seed, step, clip_id) for clip_id in batch.clip_ids]
    dropped = replace(dropped, audio_B=dropped.audio_B | torch.tensor(silent))
    batch = without(batch, dropped, null_text_LD)
    noise_BCKhw, sigma_B = draw_path(batch, settings, step)
    velocity_BCKhw = predict(transformer, batch, noise_BCKhw, sigma_B, phase, settings, step, world)
    uniform_B = draw_uniform(phase.loss, settings.seed, step, batch.clip_ids)
    return loss_terms(
        velocity_BCKhw,
        velocity_target(batch.latent_BCKhw, noise_BCKhw),
        batch.face_mask_BKhw,
        batch.lip_mask_BKhw,
        phase.loss,
        uniform_B.to(velocity_BCKhw.device),
    )


def predict(
    transformer: nn.Module,
    batch: EncodedBatch,
    noise_BCKhw: torch.Tensor,
    sigma_B: torch.Tensor,
    phase: Phase,
    settings: StepSettings,
    step: int,
    world: World,
) -> torch.Tensor:
    """Return the velocity [B, C, K, h, w] that the model predicts on the path."""
    noisy_BCKhw = noisy_latent(batch.latent_BCKhw, noise_BCKhw, sigma_B)
    with autocast(world, settings.precision):
        return transformer(
            transformer_input(noisy_BCKhw, batch.keep_mask_BCKhw, batch.condition_BCKhw),
            sigma_B * NUM_TIMESTEPS,
            batch.text_BLD,
            batch.image_BLD,
            # Only a batch of nothing but clips without audio has features of width 0.
            batch.audio_BAKVSD if batch.audio_BAKVSD.shape[-1] else None,
            audio_region_BAKhw=batch.audio_region_BAKhw,
            audio_scope=draw_audio_scope(phase, settings.seed, step),
        )


def _counts(batch: EncodedBatch) -> torch.Tensor:
    """Which clips count, bool [B]: those that only keep ranks in step do not."""
    if batch.is_padding_B is None:
        return torch.ones(len(batch.clip_ids), dtype=torch.bool, device=batch.latent_BCKhw.device)
    return ~batch.is_padding_B.to(batch.latent_BCKhw.device)


class _Sums:
    """Running sums of a step on one rank: numbers that all ranks add up."""

    def __init__(self) -> None:
        self.values = [0.0] * 7
        self.bad_clips: list[str] = []

    def add(self, terms: LossTerms, batch: EncodedBatch, num_tokens: int) -> None:
        counts = _counts(batch)
        rows = (terms.loss_B.detach(), terms.plain_B, terms.face_B, terms.lip_B)
        loss, plain, face, lip = (row[counts].double().cpu() for row in rows)
        has_face, has_lip = ~face.isnan(), ~lip.isnan()
        here = [
            loss.sum().item(),
            plain.sum().item(),
            face[has_face].sum().item(),
            float(has_face.sum()),
            lip[has_lip].sum().item(),
            float(has_lip.sum()),
            float(num_tokens),
        ]
        self.values = [a + b for a, b in zip(self.values, here, strict=True)]
        bad = (counts & ~terms.loss_B.isfinite()).tolist()
        self.bad_clips += [clip for clip, is_bad in zip(batch.clip_ids, bad, strict=True) if is_bad]


def take_step(
    transformer: nn.Module,
    moving: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    batches: Sequence[EncodedBatch],
    phase: Phase,
    settings: StepSettings,
    step: int,
    null_text_LD: torch.Tensor,
    world: World,
) -> StepReport:
    """Compute the gradient of all micro-batches on all ranks, and move once.

    The loss of a step is the mean over its clips, wherever they are: two ranks with a micro-batch
    each do what one rank does with both.

    Args:
        transformer: the model.
        moving: the parameters that move.
        optimizer: over them; its gradients are empty.
        batches: this rank's micro-batches.
        phase: of the curriculum.
        settings: of the run.
        step: of the optimiser, from the beginning of the run.
        null_text_LD: states of the empty caption.
        world: the ranks.

    Returns:
        What was done.

    Raises:
        DivergedError: a loss or the gradient is not finite; nothing has moved.
    """
    num_clips = max(
        round(world.total([sum(_counts(batch).sum().item() for batch in batches)])[0]), 1
    )
    sums = _Sums()
    for batch in batches:
        terms = batch_terms(transformer, batch, phase, settings, step, null_text_LD, world)
        sums.add(terms, batch, num_tokens(transformer, batch))
        # FSDP2 takes the mean over ranks, so each rank's part is multiplied by their number.
        loss_B = torch.where(_counts(batch), terms.loss_B, 0.0)
        (loss_B.sum() * (world.size / num_clips)).backward()
    loss, plain, face, num_face, lip, num_lip, tokens = world.total(sums.values)
    if not math.isfinite(loss):
        raise _diverged("loss", loss, step, world.gathered(sums.bad_clips))
    norm = gradient_norm(moving, settings.max_gradient_norm)
    if not math.isfinite(norm):
        everyone = [clip for batch in batches for clip in batch.clip_ids]
        raise _diverged("gradient norm", norm, step, world.gathered(everyone))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepReport(
        loss / num_clips,
        plain / num_clips,
        face / num_face if num_face else math.nan,
        lip / num_lip if num_lip else math.nan,
        norm,
        num_clips // world.clip_ranks,
        round(tokens) // world.clip_ranks,
    )


def num_tokens(transformer: nn.Module, batch: EncodedBatch) -> int:
    """Return the video tokens of a batch, all its clips together."""
    num_clips, _, num_latents, height, width = batch.latent_BCKhw.shape
    patch_k, patch_h, patch_w = transformer.config.patch_size  # type: ignore[union-attr]
    return num_clips * (num_latents // patch_k) * (height // patch_h) * (width // patch_w)


def gradient_norm(moving: Mapping[str, nn.Parameter], max_norm: float) -> float:
    """Shorten the gradient to ``max_norm`` and return its norm before, over all ranks."""
    norm = nn.utils.clip_grad_norm_(list(moving.values()), max_norm)
    full = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return float(full)


def _diverged(what: str, value: float, step: int, clips: list[list[str]]) -> DivergedError:
    names = sorted({clip for of_rank in clips for clip in of_rank})
    return DivergedError(
        f"step {step}: {what} is {value}, from clips {', '.join(names)}; the weights are those of "
        "the step before. Look at these clips with `shards show`, lower the learning rate, or go "
        "on from the last checkpoint with --resume"
    )
