"""Denoising one block of latent frames: windows, guidance, one solver step for all of it.

In the room: the loop over steps, and how a branch of a window becomes a pass of the transformer.
Not in the room: how blocks follow each other (`streaming`), and what conditions are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch

from training.errors import SettingError
from training.generation.guidance import Branch, Condition, Guidance, GuidanceState
from training.generation.guidance_presets import preset
from training.generation.schedulers import begin, step
from training.generation.window_conditions import SourcePart, WindowConditions
from training.generation.windows import Share, WindowPlan, fuse, plan_windows
from training.model.conditions import transformer_input


class Passes(StrEnum):
    """Branches one after the other (least memory) or as one batch (fastest where it fits)."""

    SEQUENTIAL = "sequential"
    BATCHED = "batched"


@dataclass(frozen=True)
class Sampling:
    """How a video is sampled.

    Attributes:
        num_steps: solver steps; 40 is MultiTalk's default.
        window_latents: latent frames of a window; 21 are the 81 frames Wan was trained on.
        overlap_latents: latent frames that neighbours share; StableAvatar advises 5 to 15.
        move_latents: latent frames by which the grid of windows moves each step; 0: it stays.
        block_windows: windows denoised together; what follows continues from a frozen end.
        guidance: the rule.
        passes: how branches are computed.
        strength: below 1 an edit starts from its source, partly noised.
        replace_outside: an edit's latents outside of the region are the source's at each step.
        preview_every: steps between previews; 0: none.

    Raises:
        SettingError: If a number is out of its range.
    """

    num_steps: int = 40
    window_latents: int = 21
    overlap_latents: int = 5
    move_latents: int = 0
    block_windows: int = 4
    guidance: Guidance = field(default_factory=lambda: preset("multitalk"))
    passes: Passes = Passes.SEQUENTIAL
    strength: float = 1.0
    replace_outside: bool = False
    preview_every: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.overlap_latents < self.window_latents:
            raise SettingError(
                f"overlap {self.overlap_latents} of a window of {self.window_latents} latent "
                "frames: at least 1, for blocks to be joined, and below the window"
            )
        if self.block_windows < 1:
            raise SettingError(f"block_windows {self.block_windows}: at least 1")

    @property
    def needs_source(self) -> bool:
        """Whether the latents of an edit's source are looked at."""
        return self.strength < 1 or self.replace_outside

    @property
    def block_latents(self) -> int:
        """Latent frames of a full block."""
        stride = self.window_latents - self.overlap_latents
        return self.window_latents + (self.block_windows - 1) * stride


@dataclass(frozen=True)
class BlockInputs:
    """Everything a block is conditioned on, each by what a branch may see of it.

    Attributes:
        first_latent: of the block, in the whole video.
        text: states [B, L, D].
        image: states [B, L, D].
        audio: features [B, A, K, V, S, D] of the block.
        audio_region_BAKhw: where each speaker's audio acts; ``None``: everywhere.
        face_region_BKhw: where guidance in the region acts; ``None``: everywhere.
        conditions: what is given of the video.
    """

    first_latent: int
    text: Mapping[Condition, torch.Tensor]
    image: Mapping[Condition, torch.Tensor]
    audio: Mapping[Condition, torch.Tensor]
    audio_region_BAKhw: torch.Tensor | None
    face_region_BKhw: torch.Tensor | None
    conditions: WindowConditions


class Watcher:
    """Hears how far denoising is; what it does with it is its own affair."""

    def on_start(self, num_passes: int) -> None:
        """Hear how many passes a video will take."""

    def on_passes(self, num_passes: int) -> None:
        """Hear that so many passes of the transformer are done, a batch counted by its rows."""

    def on_preview(self, clean_BCKhw: torch.Tensor, step_index: int) -> None:
        """See what the block would be if it were finished now."""


def denoise(
    transformer: Any,
    scheduler: Any,
    noise_BCKhw: torch.Tensor,
    inputs: BlockInputs,
    sampling: Sampling,
    *,
    frozen_BCKhw: torch.Tensor | None = None,
    share: Share | None = None,
    watcher: Watcher | None = None,
) -> torch.Tensor:
    """Denoise one block.

    The solver sees one velocity of the whole block in each step. What is frozen is set to the
    finished latents, noised with the block's own noise to the present sigma, before each step
    (as InfiniteTalk and VACE do), and is returned unchanged.

    Args:
        transformer: as `AudioWanTransformer3DModel`.
        scheduler: of `schedulers.make_scheduler`.
        noise_BCKhw: noise of the block.
        inputs: its conditions.
        sampling: how.
        frozen_BCKhw: finished latents that the block begins with.
        share: which windows this process computes.
        watcher: hears about progress.

    Returns:
        Clean latents [B, C, K, h, w], the frozen ones first.
    """
    sigmas = begin(
        scheduler, sampling.num_steps, noise_BCKhw.device, strength=sampling.strength
    ).tolist()
    watcher = watcher or Watcher()
    inputs.conditions.begin_block(inputs.first_latent, noise_BCKhw.shape[2])
    hold = _Hold(noise_BCKhw, inputs, sampling, frozen_BCKhw)
    latent = hold.at_start(sigmas[0])
    state = GuidanceState()
    passes = _Passes(transformer, inputs, sampling, watcher)
    for index, sigma in enumerate(sigmas[:-1]):
        latent = hold.at(latent, sigma)
        branches = sampling.guidance.branches(sigma)
        stacked = fuse(
            _plan(noise_BCKhw.shape[2], inputs, sampling, index),
            latent,
            passes.of(branches, sigma),
            share,
        )
        velocity = sampling.guidance.combine(
            dict(zip(branches, stacked, strict=True)), sigma, inputs.face_region_BKhw, state
        )
        if sampling.preview_every and (index + 1) % sampling.preview_every == 0:
            watcher.on_preview(latent - sigma * velocity, index)
        latent = step(scheduler, velocity, latent, index)
    passes.forget()
    return hold.at(latent, 0.0)


def _plan(num_latents: int, inputs: BlockInputs, sampling: Sampling, index: int) -> WindowPlan:
    return plan_windows(
        num_latents,
        sampling.window_latents,
        sampling.overlap_latents,
        pinned=inputs.conditions.pinned,
        shift=index * sampling.move_latents,
    )


class _Hold:
    """What is known of a block at every sigma: its frozen beginning, and an edit's outside."""

    def __init__(
        self,
        noise: torch.Tensor,
        inputs: BlockInputs,
        sampling: Sampling,
        frozen: torch.Tensor | None,
    ) -> None:
        self._noise = noise
        self._strength = sampling.strength
        self._known: torch.Tensor | None = None
        self._source: SourcePart | None = None
        if sampling.needs_source:
            self._source = inputs.conditions.source()
            if self._source is None:
                raise SettingError(
                    f"strength {sampling.strength}, replace_outside {sampling.replace_outside} "
                    "without a source video: only an edit has one"
                )
        known = torch.zeros_like(noise)
        share = torch.zeros_like(noise[:, :1])
        if self._source is not None and sampling.replace_outside:
            share = 1 - self._source.region_BKhw.unsqueeze(1).to(noise)
            known = self._source.latent_BCKhw.to(noise)
        if frozen is not None:
            known, share = known.clone(), share.clone()
            known[:, :, : frozen.shape[2]] = frozen
            share[:, :, : frozen.shape[2]] = 1
        if bool(share.any()):
            self._known, self._share = known, share.bool()

    def at_start(self, sigma: float) -> torch.Tensor:
        """The noise, or the source noised to where the road begins."""
        if self._source is None or self._strength == 1:
            return self._noise
        return (1 - sigma) * self._source.latent_BCKhw.to(self._noise) + sigma * self._noise

    def at(self, latent: torch.Tensor, sigma: float) -> torch.Tensor:
        """Set what is known to what it is at this sigma."""
        if self._known is None:
            return latent
        noised = (1 - sigma) * self._known + sigma * self._noise
        return torch.where(self._share, noised, latent)


class _Passes:
    """Windows through the transformer."""

    def __init__(
        self, transformer: Any, inputs: BlockInputs, sampling: Sampling, watcher: Watcher
    ) -> None:
        self._transformer = transformer
        self._inputs = inputs
        self._batched = sampling.passes is Passes.BATCHED
        self._watcher = watcher
        self._caches = bool(getattr(transformer, "is_cache_enabled", False))
        if self._caches and sampling.move_latents:
            raise SettingError(
                "a cache with a grid that moves: what was cached of a window belongs to other "
                "frames a step later; use one of the two"
            )

    def of(
        self, branches: tuple[Branch, ...], sigma: float
    ) -> Callable[[torch.Tensor, int], torch.Tensor]:
        """Return the prediction of a window, branches stacked in front."""
        groups = [branches] if self._batched else [(branch,) for branch in branches]

        @torch.no_grad()
        def predict(window_BCKhw: torch.Tensor, start: int) -> torch.Tensor:
            rows = [self._pass(window_BCKhw, start, group, sigma) for group in groups]
            return torch.cat(rows)

        return predict

    def _pass(
        self, window: torch.Tensor, start: int, group: tuple[Branch, ...], sigma: float
    ) -> torch.Tensor:
        inputs, length, num = self._inputs, window.shape[2], len(group)
        given = inputs.conditions.given(inputs.first_latent + start, length)
        part = slice(start, start + length)
        dtype = self._transformer.dtype  # that of computing, whatever weights are stored in

        def rows(parts: list[torch.Tensor]) -> torch.Tensor:
            return torch.cat(parts).to(window.device, dtype)

        hidden = transformer_input(
            window, given.keep_mask_BCKhw.to(window), given.condition_BCKhw.to(window)
        )
        audio = rows([inputs.audio[branch.audio][:, :, part] for branch in group])
        region = inputs.audio_region_BAKhw
        name = f"{start}/" + "+".join("/".join(branch) for branch in group)
        context = self._transformer.cache_context(name) if self._caches else nullcontext()
        with context:
            velocity = self._transformer(
                rows([hidden] * num),
                torch.full((num * len(window),), sigma * 1000, device=window.device),
                rows([inputs.text[branch.text] for branch in group]),
                rows([inputs.image[branch.image] for branch in group]),
                audio,
                None if region is None else rows([region[:, :, part]] * num),
            )
        self._watcher.on_passes(num)
        return velocity.to(window.dtype).unflatten(0, (num, len(window)))

    def forget(self) -> None:
        """Drop what caches hold of this block."""
        if self._caches:
            self._transformer._reset_stateful_cache()
