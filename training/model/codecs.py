"""Pixels to normalised latents and back: the Wan VAE.

The small linear codec of the tiny model is in `patch_codec.py`. Not here: decoding a long video in
causal chunks, which generation does.
"""

from __future__ import annotations

from typing import Any

import torch

from training.errors import InputError
from training.model.audio_windows import num_latents


class WanCodec:
    """``AutoencoderKLWan`` in fp32, its mode and no sample, normalised by its own statistics.

    fp32 because bf16 latents in it show and upstream ports crashed on the mixture (vllm-omni, pull
    request 5888).

    Args:
        vae: ``diffusers.AutoencoderKLWan``.
        device: where it runs.
    """

    temporal_stride = 4

    def __init__(self, vae: Any, device: torch.device | str = "cpu") -> None:
        self.vae = vae.eval().requires_grad_(False).to(device).float()
        self.device = torch.device(device)
        self.latent_channels = int(vae.config.z_dim)
        self.spatial_stride = int(vae.spatial_compression_ratio)
        shape = (1, self.latent_channels, 1, 1, 1)
        self._mean = torch.tensor(vae.config.latents_mean, device=self.device).view(shape)
        self._std = torch.tensor(vae.config.latents_std, device=self.device).view(shape)

    @torch.no_grad()
    def encode(self, frames_BCTHW: torch.Tensor) -> torch.Tensor:
        """Encode frames; the mode of the posterior and no sample.

        Args:
            frames_BCTHW: pixels in [-1, 1]; T = 4 k + 1, sides multiples of 8.

        Returns:
            Normalised latents [B, 16, K, h, w].
        """
        check_frames(frames_BCTHW, self.spatial_stride)
        frames = frames_BCTHW.to(self.device, torch.float32)
        return (self.vae.encode(frames).latent_dist.mode() - self._mean) / self._std

    @torch.no_grad()
    def decode(self, latent_BCKhw: torch.Tensor) -> torch.Tensor:
        """Decode latents.

        Args:
            latent_BCKhw: normalised latents.

        Returns:
            Pixels [B, 3, T, H, W] in [-1, 1].
        """
        latent = latent_BCKhw.to(self.device, torch.float32) * self._std + self._mean
        return self.vae.decode(latent).sample.clamp(-1, 1)


def check_frames(frames_BCTHW: torch.Tensor, spatial_stride: int) -> None:
    """Refuse what a codec would drop or pad.

    Args:
        frames_BCTHW: pixels.
        spatial_stride: pixels a cell.

    Raises:
        InputError: not five axes with three colours, or a side that does not divide.
    """
    if frames_BCTHW.ndim != 5 or frames_BCTHW.shape[1] != 3:
        raise InputError(
            f"frames of shape {tuple(frames_BCTHW.shape)}: wanted samples, 3 colours, frames, "
            "height, width"
        )
    num_latents(frames_BCTHW.shape[2])
    height, width = frames_BCTHW.shape[-2:]
    if height % spatial_stride or width % spatial_stride:
        raise InputError(
            f"frames of {height} x {width} px do not divide into cells of {spatial_stride} px; "
            "scale or crop them first"
        )
