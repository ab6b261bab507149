"""A linear codec over space-time patches, in place of a VAE for the tiny model.

An untrained VAE shows nothing and even a tiny one is slow on a CPU. This one is a principal
component analysis: 8 x 8 pixels of frame 0, and 8 x 8 pixels of every four frames after it, to 16
numbers. It has the Wan VAE's interface and strides and is strictly causal; pictures come back
blurred. It is never more than that: its latents are no VAE's, and what is trained on them is of no
use elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.errors import InputError, ModelError
from training.model.audio_windows import FRAMES_PER_LATENT
from training.model.codecs import check_frames

_SIDE = 8
_COLOURS = 3
_FIRST = _COLOURS * _SIDE**2
_LATER = _COLOURS * FRAMES_PER_LATENT * _SIDE**2

_MOST_PATCHES_A_CLIP = 4096
"""Ours: enough for a covariance of 768 numbers, and a bound on the work for a long clip."""

_LEAST_VARIANCE = 1e-6
"""Ours: a component that never moved is not blown up by normalising it."""


class PatchCodec:
    """Whitened principal components of patches, 16 a cell.

    Args:
        mean_C: mean colour.
        first_encode: components of frame 0's patches, [C, 192].
        first_decode: back, [192, C].
        later_encode: components of four frames' patches, [C, 768].
        later_decode: back, [768, C].
    """

    latent_channels = 16
    spatial_stride = _SIDE
    temporal_stride = FRAMES_PER_LATENT

    def __init__(
        self,
        mean_C: torch.Tensor,
        first_encode: torch.Tensor,
        first_decode: torch.Tensor,
        later_encode: torch.Tensor,
        later_decode: torch.Tensor,
    ) -> None:
        self._tensors = {
            "mean": mean_C,
            "first_encode": first_encode,
            "first_decode": first_decode,
            "later_encode": later_encode,
            "later_decode": later_decode,
        }

    @classmethod
    def of_smooth_video(cls) -> PatchCodec:
        """Return a codec for video of which nothing is known but that it is smooth.

        Components of a first-order autoregressive process, which are nearly cosines. The
        correlations (0.95 and 0.94 a pixel, 0.98 a frame, 0.9 between colours) and the variance
        (0.25) are ours.
        """
        frame = _decay(0.98, FRAMES_PER_LATENT)
        colour = 0.25 * (0.9 * torch.ones(_COLOURS, _COLOURS) + 0.1 * torch.eye(_COLOURS)).double()
        picture = torch.kron(_decay(0.95, _SIDE), _decay(0.94, _SIDE))
        covariance = torch.kron(colour, torch.kron(frame, picture))
        return cls._of_covariance(torch.zeros(_COLOURS).double(), covariance)

    @classmethod
    def fit(cls, frames_iter: Iterable[torch.Tensor]) -> PatchCodec:
        """Fit the codec that loses least of the given video.

        Args:
            frames_iter: clips [3, T, H, W] in [-1, 1], T at least 4; sides are cut to multiples of
                8.

        Returns:
            The codec.

        Raises:
            InputError: no clip has four frames.
        """
        total = torch.zeros(_LATER, dtype=torch.float64)
        second = torch.zeros(_LATER, _LATER, dtype=torch.float64)
        num_patches = 0
        generator = torch.Generator().manual_seed(0)
        for frames_CTHW in frames_iter:
            _, length, height, width = frames_CTHW.shape
            whole = (
                length // FRAMES_PER_LATENT * FRAMES_PER_LATENT,
                height // _SIDE * _SIDE,
                width // _SIDE * _SIDE,
            )
            if 0 in whole:
                continue
            cut = frames_CTHW[:, : whole[0], : whole[1], : whole[2]].float().cpu()
            patches_ND = _patches(cut[None], FRAMES_PER_LATENT).flatten(0, 3)
            if len(patches_ND) > _MOST_PATCHES_A_CLIP:
                order = torch.randperm(len(patches_ND), generator=generator)
                patches_ND = patches_ND[order[:_MOST_PATCHES_A_CLIP]]
            total += patches_ND.sum(0).double()
            second += (patches_ND.T @ patches_ND).double()
            num_patches += len(patches_ND)
        if not num_patches:
            raise InputError(
                "a patch codec is fitted on clips of at least four frames of 8 x 8 px, and none "
                "was given"
            )
        mean_D = total / num_patches
        mean_C = mean_D.unflatten(0, (_COLOURS, -1)).mean(1)
        colour_D = mean_C.repeat_interleave(_LATER // _COLOURS)
        cross = torch.outer(mean_D, colour_D)
        around = second / num_patches - cross - cross.T + torch.outer(colour_D, colour_D)
        return cls._of_covariance(mean_C, around)

    @classmethod
    def _of_covariance(cls, mean_C: torch.Tensor, covariance: torch.Tensor) -> PatchCodec:
        """Return the codec of the covariance [768, 768] of four frames' patches.

        Components of four frames are turned (orthogonal Procrustes) so that a still picture has
        nearly the same latent in frame 0 and after it, as the Wan VAE's has.
        """
        by_frame = covariance.unflatten(0, (_COLOURS, FRAMES_PER_LATENT, -1)).unflatten(
            -1, (_COLOURS, FRAMES_PER_LATENT, -1)
        )
        still = by_frame.diagonal(dim1=1, dim2=4).mean(-1).flatten(0, 1).flatten(1, 2)
        first_encode, first_decode = _whitening(still, cls.latent_channels)
        later_encode, later_decode = _whitening(covariance, cls.latent_channels)
        # [768, 192]: a frame's patch, four times.
        repeat = torch.kron(
            torch.eye(_COLOURS),
            torch.kron(torch.ones(FRAMES_PER_LATENT, 1), torch.eye(_SIDE**2)),
        ).double()
        left, _, right = torch.linalg.svd(first_encode @ still @ repeat.T @ later_encode.T)
        turn = left @ right
        return cls(
            mean_C.float(),
            first_encode.float(),
            first_decode.float(),
            (turn @ later_encode).float(),
            (later_decode @ turn.T).float(),
        )

    def encode(self, frames_BCTHW: torch.Tensor) -> torch.Tensor:
        """Encode frames.

        Args:
            frames_BCTHW: pixels in [-1, 1]; T = 4 k + 1, sides multiples of 8.

        Returns:
            Latents [B, 16, K, h, w], of unit variance on video like that of the fit.
        """
        check_frames(frames_BCTHW, _SIDE)
        mean, first_encode, later_encode = self._on(
            frames_BCTHW.device, "mean", "first_encode", "later_encode"
        )
        centred = frames_BCTHW.float() - mean.view(1, _COLOURS, 1, 1, 1)
        latents = [_patches(centred[:, :, :1], 1) @ first_encode.T]
        if centred.shape[2] > 1:
            latents.append(_patches(centred[:, :, 1:], FRAMES_PER_LATENT) @ later_encode.T)
        return rearrange(torch.cat(latents, dim=1), "b k h w c -> b c k h w")

    def decode(self, latent_BCKhw: torch.Tensor) -> torch.Tensor:
        """Decode latents.

        Args:
            latent_BCKhw: latents.

        Returns:
            Pixels [B, 3, T, H, W] in [-1, 1].
        """
        mean, first_decode, later_decode = self._on(
            latent_BCKhw.device, "mean", "first_decode", "later_decode"
        )
        latent_BKhwC = rearrange(latent_BCKhw.float(), "b c k h w -> b k h w c")
        frames = [_pictures(latent_BKhwC[:, :1] @ first_decode.T, 1)]
        if latent_BKhwC.shape[1] > 1:
            frames.append(_pictures(latent_BKhwC[:, 1:] @ later_decode.T, FRAMES_PER_LATENT))
        return (torch.cat(frames, dim=2) + mean.view(1, _COLOURS, 1, 1, 1)).clamp(-1, 1)

    def save(self, file: Path) -> None:
        """Write the codec as safetensors.

        Args:
            file: where.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in self._tensors.items()}
        save_file(tensors, file, metadata={"format": "pt", "kind": "linear patch codec"})

    @classmethod
    def load(cls, file: Path) -> PatchCodec:
        """Read a codec that `save` wrote.

        Args:
            file: where.

        Returns:
            The codec.

        Raises:
            ModelError: the file is missing, damaged, or another thing.
        """
        shapes = {
            "mean": (_COLOURS,),
            "first_encode": (cls.latent_channels, _FIRST),
            "first_decode": (_FIRST, cls.latent_channels),
            "later_encode": (cls.latent_channels, _LATER),
            "later_decode": (_LATER, cls.latent_channels),
        }
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{file}: no patch codec can be read ({error}); fit one with PatchCodec.fit"
            ) from error
        if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != shapes:
            raise ModelError(f"{file}: holds {sorted(tensors)}, which is no patch codec")
        return cls(*(tensors[name] for name in shapes))

    def _on(self, device: torch.device, *names: str) -> list[torch.Tensor]:
        return [self._tensors[name].to(device) for name in names]


def _patches(frames_BCTHW: torch.Tensor, num_frames: int) -> torch.Tensor:
    pattern = "b c (k f) (h y) (w x) -> b k h w (c f y x)"
    return rearrange(frames_BCTHW, pattern, f=num_frames, y=_SIDE, x=_SIDE)


def _pictures(patches_BKhwD: torch.Tensor, num_frames: int) -> torch.Tensor:
    pattern = "b k h w (c f y x) -> b c (k f) (h y) (w x)"
    return rearrange(patches_BKhwD, pattern, f=num_frames, y=_SIDE, x=_SIDE)


def _decay(correlation: float, length: int) -> torch.Tensor:
    step = torch.arange(length, dtype=torch.float64)
    return correlation ** (step[:, None] - step[None]).abs()


def _whitening(covariance: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return encoder and decoder of the largest components, each of unit variance."""
    variance, vectors = torch.linalg.eigh(covariance)
    variance = variance[-channels:].flip(0).clamp(min=_LEAST_VARIANCE)
    vectors = vectors[:, -channels:].flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * largest.sign()
    deviation = variance.sqrt()
    return (vectors / deviation).T, vectors * deviation
