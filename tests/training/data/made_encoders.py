"""Small doubles of codec and encoders that follow the protocols: cheap, linear, without weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ


class PoolingCodec:
    """Latents are means over cells of 8x8 pixels and a latent frame's frames; causal, linear."""

    latent_channels = 4
    spatial_stride = 8
    temporal_stride = 4

    def encode(self, frames_BCTHW: torch.Tensor) -> torch.Tensor:
        pooled = functional.avg_pool3d(frames_BCTHW, (1, 8, 8))
        later = pooled[:, :, 1:].unflatten(2, (-1, 4)).mean(3)
        latent = torch.cat([pooled[:, :, :1], later], dim=2)
        return torch.cat([latent, latent.mean(1, keepdim=True)], dim=1)

    def decode(self, latent_BCKhw: torch.Tensor) -> torch.Tensor:
        frames = torch.cat(
            [latent_BCKhw[:, :3, :1], latent_BCKhw[:, :3, 1:].repeat_interleave(4, 2)], dim=2
        )
        return functional.interpolate(frames, scale_factor=(1, 8, 8))


class LetterEncoder:
    """States of a text are its letters' numbers."""

    num_tokens = 16
    width = 2

    def encode(self, texts: list[str]) -> torch.Tensor:
        states = torch.zeros(len(texts), self.num_tokens, self.width)
        for row, text in enumerate(texts):
            letters = [ord(letter) / 128 for letter in text[: self.num_tokens]]
            states[row, : len(letters)] = torch.tensor(letters)[:, None]
        return states


class MeanColourEncoder:
    """One state: the mean colour of a picture."""

    num_tokens = 1
    width = 3

    def encode(self, pictures_BCHW: torch.Tensor) -> torch.Tensor:
        return pictures_BCHW.mean((2, 3))[:, None]


class FrameMeanEncoder:
    """The feature of a frame is the mean of its sound."""

    num_layers = 1
    width = 1

    def encode(self, pcm_N: torch.Tensor, num_frames: int, fps: float) -> torch.Tensor:
        per_frame = round(AUDIO_SAMPLE_RATE_HZ / fps)
        padded = functional.pad(pcm_N, (0, max(0, num_frames * per_frame - len(pcm_N))))
        return padded[: num_frames * per_frame].reshape(num_frames, 1, 1, per_frame).mean(-1)


@dataclass(frozen=True)
class MadeEncoders:
    """What `Components` has of them."""

    codec: PoolingCodec
    text_encoder: LetterEncoder
    image_encoder: MeanColourEncoder
    audio_encoder: FrameMeanEncoder


def made_encoders() -> MadeEncoders:
    return MadeEncoders(PoolingCodec(), LetterEncoder(), MeanColourEncoder(), FrameMeanEncoder())
