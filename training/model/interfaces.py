"""What the parts of the model are to each other: shapes, ranges and one direction of time.

Shape letters, here and in every file of training:

    B  samples of a batch          A  audio tracks (speakers) of a sample
    C  channels                    T  video frames, T = 4 (K - 1) + 1
    H  W  height and width         K  latent frames
    L  tokens of a sequence        D  width of a feature
    F  video frames of a whole recording (features are made once for all of it)
    S  layer groups of an audio encoder
    V  video frames around one latent frame whose audio it may hear
    M  audio tokens of one latent frame
    N  audio samples at 16 kHz

``h`` and ``w`` are latent height and width. Pixels are float in [-1, 1], RGB. Latents are
normalised. ``sigma`` goes from 0 (clean) to 1 (noise); velocity is ``noise - latent``. A keep mask
is 1 where something is given and 0 where it is to be generated.

Concrete encoders and codecs live in files of their own; nothing here needs their libraries.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import torch

AUDIO_SAMPLE_RATE_HZ = 16_000
"""Every encoder here listens at 16 kHz, as curation packs it."""


class Task(StrEnum):
    """What is given beside text and audio; all of them share one input and one keep mask."""

    TEXT = "text"
    IMAGE = "image"
    EXTENSION = "extension"
    FIRST_LAST = "first_last"
    EDIT = "edit"


class VideoCodec(Protocol):
    """Pixels to normalised latents and back, causal in time.

    Attributes:
        latent_channels: C of a latent.
        spatial_stride: pixels a latent cell on either axis.
        temporal_stride: frames a latent frame, but for the first, which is one frame.
    """

    latent_channels: int
    spatial_stride: int
    temporal_stride: int

    def encode(self, frames_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return normalised latents [B, C, K, h, w] of pixels in [-1, 1]; no sampling."""
        ...

    def decode(self, latent_BCKhw: torch.Tensor) -> torch.Tensor:
        """Return pixels [B, 3, T, H, W] in [-1, 1] of normalised latents."""
        ...


class TextEncoder(Protocol):
    """Captions to token states.

    Attributes:
        num_tokens: L, fixed; Wan's attention splits image from text tokens by counting 512 text
            tokens from the end (diffusers, ``WanAttnProcessor``).
        width: D.
    """

    num_tokens: int
    width: int

    def encode(self, texts: list[str]) -> torch.Tensor:
        """Return states [B, L, D], zero beyond each text's own tokens."""
        ...


class ImageEncoder(Protocol):
    """A picture to token states of its identity and setting.

    Attributes:
        num_tokens: L.
        width: D.
    """

    num_tokens: int
    width: int

    def encode(self, pictures_BCHW: torch.Tensor) -> torch.Tensor:
        """Return states [B, L, D] of pictures in [-1, 1]."""
        ...


class AudioEncoder(Protocol):
    """A recording to features at the video's frame rate, however long it is.

    Attributes:
        num_layers: S.
        width: D.
    """

    num_layers: int
    width: int

    def encode(self, pcm_N: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
        """Encode a recording, feature f centred on frame f of the video.

        Args:
            pcm_N: mono sound at 16 kHz in [-1, 1], starting with frame 0; sound that is shorter
                than the frames is silence beyond its end.
            num_frames: F.
            fps: frames a second of the video.

        Returns:
            Features [F, S, D], F = num_frames.
        """
        ...
