"""The sound of a sample: all of it, because an encoder hears the whole recording once."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import soundfile
import torch

from training.data.books import BadReason, BadSampleError
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ


def read_sound(data: bytes, num_frames: int, fps: Fraction) -> torch.Tensor:
    """Decode a sample's flac; its first sample is the start of frame 0.

    Args:
        data: bytes of the flac.
        num_frames: frames of the video.
        fps: frames a second.

    Returns:
        [N] float32 in [-1, 1], exactly as long as the video, to the sample.

    Raises:
        BadSampleError: it cannot be decoded, is not mono 16 kHz, or ends before the video.
    """
    try:
        pcm_N, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise BadSampleError(BadReason.AUDIO_UNREADABLE, str(error)) from error
    if rate_hz != AUDIO_SAMPLE_RATE_HZ or pcm_N.shape[1] != 1:
        raise BadSampleError(
            BadReason.AUDIO_UNREADABLE,
            f"{rate_hz} Hz and {pcm_N.shape[1]} channels, not {AUDIO_SAMPLE_RATE_HZ} Hz mono",
        )
    num_samples = round(num_frames * AUDIO_SAMPLE_RATE_HZ / fps)
    if len(pcm_N) < num_samples:
        raise BadSampleError(
            BadReason.AUDIO_TOO_SHORT, f"{len(pcm_N)} samples, the video lasts {num_samples}"
        )
    return torch.from_numpy(np.ascontiguousarray(pcm_N[:num_samples, 0]))
