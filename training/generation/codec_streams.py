"""Encoding and decoding piece by piece, equal to doing it at once.

Wan's VAE is causal and diffusers runs it a latent frame at a time with a cache of the convolutions'
last inputs; keeping that cache between calls is its exact context, where a fixed number of frames
on the left would only be near (its decoder looks back over more latent frames than a window has).
The linear patch codec remembers nothing, but treats a video's first frame differently.

In the room: streams over both codecs. Not in the room: the codecs (`training.model.codecs`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

from training.errors import InputError, ModelError
from training.model.codecs import WanCodec
from training.model.interfaces import VideoCodec
from training.model.patch_codec import PatchCodec

_T = TypeVar("_T")


class Decoder(Protocol):
    """A video being decoded from its beginning on."""

    def decode(self, latent_BCKhw: torch.Tensor) -> torch.Tensor:
        """Return the pixels [B, 3, T, H, W] in [-1, 1] of the next latent frames."""
        ...


class Encoder(Protocol):
    """A video being encoded from its beginning on."""

    def encode(self, frames_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return the latents [B, C, K, h, w] of the next frames, 4 k + 1 first, then 4 k."""
        ...


def open_decoder(codec: VideoCodec) -> Decoder:
    """Begin to decode a video.

    Args:
        codec: Wan's VAE or the patch codec.

    Returns:
        The stream.

    Raises:
        ModelError: If this codec's context is not known.
    """
    return _stream(codec, _WanDecoder)


def open_encoder(codec: VideoCodec) -> Encoder:
    """Begin to encode a video.

    Args:
        codec: Wan's VAE or the patch codec.

    Returns:
        The stream.

    Raises:
        ModelError: If this codec's context is not known.
    """
    return _stream(codec, _WanEncoder)


def check_piece(num_frames: int, is_first: bool) -> None:
    """Refuse a piece of a video that does not end with a latent frame.

    Args:
        num_frames: T of the piece.
        is_first: whether the video begins with it.

    Raises:
        InputError: If it does not.
    """
    if num_frames < 1 or (num_frames - is_first) % 4:
        rule = "4 k + 1" if is_first else "4 k"
        raise InputError(f"a piece of {num_frames} frames: give {rule} of them")


def _stream(codec: VideoCodec, of_wan: Callable[[WanCodec], _T]) -> _T | _PatchStream:
    if isinstance(codec, WanCodec):
        return of_wan(codec)
    if isinstance(codec, PatchCodec):
        return _PatchStream(codec)
    raise ModelError(f"{type(codec).__name__}: its context in pieces is not known; add it")


class _PatchStream:
    def __init__(self, codec: PatchCodec) -> None:
        self._codec = codec
        self._begun = False

    def decode(self, latent_BCKhw: torch.Tensor) -> torch.Tensor:
        if not self._begun:
            self._begun = True
            return self._codec.decode(latent_BCKhw)
        led = torch.cat([latent_BCKhw[:, :, :1], latent_BCKhw], dim=2)
        return self._codec.decode(led)[:, :, 1:]

    def encode(self, frames_BCTHW: torch.Tensor) -> torch.Tensor:
        check_piece(frames_BCTHW.shape[2], not self._begun)
        if not self._begun:
            self._begun = True
            return self._codec.encode(frames_BCTHW)
        led = torch.cat([frames_BCTHW[:, :, :1], frames_BCTHW], dim=2)
        return self._codec.encode(led)[:, :, 1:]


class _WanStream:
    """The part of diffusers' ``AutoencoderKLWan`` that both directions keep."""

    def __init__(self, codec: WanCodec, half: str) -> None:
        self._codec = codec
        self._vae: Any = codec.vae
        if self._vae.config.patch_size is not None:
            raise ModelError("Wan2.2's patched VAE is not supported; use Wan2.1's")
        shape = (1, codec.latent_channels, 1, 1, 1)
        config = self._vae.config
        self._mean = torch.tensor(config.latents_mean, device=codec.device).view(shape)
        self._std = torch.tensor(config.latents_std, device=codec.device).view(shape)
        self._cache: list[Any] = [None] * self._vae._cached_conv_counts[half]
        self._begun = False


class _WanDecoder(_WanStream):
    def __init__(self, codec: WanCodec) -> None:
        super().__init__(codec, "decoder")

    @torch.no_grad()
    def decode(self, latent_BCKhw: torch.Tensor) -> torch.Tensor:
        latent = latent_BCKhw.to(self._codec.device, torch.float32) * self._std + self._mean
        latent = self._vae.post_quant_conv(latent)
        pieces = []
        for k in range(latent.shape[2]):
            first = {} if self._begun else {"first_chunk": True}
            piece = self._vae.decoder(
                latent[:, :, k : k + 1], feat_cache=self._cache, feat_idx=[0], **first
            )
            self._begun = True
            pieces.append(piece.clamp(-1, 1))
        return torch.cat(pieces, dim=2)


class _WanEncoder(_WanStream):
    def __init__(self, codec: WanCodec) -> None:
        super().__init__(codec, "encoder")

    @torch.no_grad()
    def encode(self, frames_BCTHW: torch.Tensor) -> torch.Tensor:
        check_piece(frames_BCTHW.shape[2], not self._begun)
        frames = frames_BCTHW.to(self._codec.device, torch.float32)
        pieces = []
        begin = 0
        while begin < frames.shape[2]:
            length = 4 if self._begun else 1
            piece = frames[:, :, begin : begin + length]
            pieces.append(self._vae.encoder(piece, feat_cache=self._cache, feat_idx=[0]))
            self._begun = True
            begin += length
        moments = self._vae.quant_conv(torch.cat(pieces, dim=2))
        return (moments.chunk(2, dim=1)[0] - self._mean) / self._std
