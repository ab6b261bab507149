"""Which stretch of a clip a sample shows: where words are spoken, and on the grid of latent frames.

A crop begins at a multiple of four frames, so that latent frame ``k`` of the crop is latent frame
``first / 4 + k`` of the clip and hears what a window of generation at that place hears.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

FRAMES_PER_LATENT = 4
"""Temporal stride of Wan2.1's VAE (`AutoencoderKLWan`, diffusers)."""

_NEARLY = 0.9
"""Crops with this share of the most speech that any crop holds count as inside speech; ours."""


def crop_start(
    num_frames: int,
    length: int,
    words_s: Sequence[tuple[float, float]],
    fps: Fraction,
    generator: np.random.Generator,
) -> int:
    """Draw the first frame of a crop.

    Args:
        num_frames: frames of the clip.
        length: T, frames of the crop.
        words_s: start and end of each word; none where no transcript is.
        fps: frames a second.
        generator: decides among the crops that hold as much speech as any, nearly.

    Returns:
        A multiple of `FRAMES_PER_LATENT` with ``start + length <= num_frames``.
    """
    starts = np.arange(0, num_frames - length + 1, FRAMES_PER_LATENT)
    spoken_F = np.zeros(num_frames + 1)
    for start_s, end_s in words_s:
        first, last = (int(np.clip(round(time * fps), 0, num_frames)) for time in (start_s, end_s))
        spoken_F[first:last] = 1
    until_F = np.concatenate([[0], np.cumsum(spoken_F)])
    speech = until_F[starts + length] - until_F[starts]
    good = starts[speech >= _NEARLY * speech.max()]
    return int(good[generator.integers(len(good))])
