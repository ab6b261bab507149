"""Mel-frequency cepstral coefficients as SyncNet and the active-speaker networks were fed them.

Those of the package ``python_speech_features`` 0.6 with its defaults, which both references call:
25 ms windows without a taper every 10 ms, pre-emphasis 0.97, 26 triangular bands, 13 coefficients
with a sinusoidal lifter of 22, the first replaced by the logarithm of the window's energy.
Nothing is normalised.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.fft import dct

from stages.pcm import SAMPLE_RATE_HZ

NUM_COEFFICIENTS = 13
STEP = SAMPLE_RATE_HZ // 100
WINDOW = SAMPLE_RATE_HZ // 40
_FFT_SIZE = 512
_NUM_BANDS = 26
_PRE_EMPHASIS = 0.97
_LIFTER = 22
_FULL_SCALE = 32768


def mfcc(pcm: np.ndarray) -> np.ndarray:
    """Cepstral coefficients of a sound.

    The references read 16-bit samples, and the first coefficient is the logarithm of their
    energy, so floats are brought to that range.

    Args:
        pcm: (N,) mono sound at 16 kHz; int16, or float in -1..1.

    Returns:
        (13, M) float64, M steps of 10 ms; the last windows are filled up with zeros.
    """
    if np.issubdtype(pcm.dtype, np.floating):
        pcm = np.clip(np.rint(pcm * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    samples = pcm.astype(np.float64)
    flat = np.append(samples[:1], samples[1:] - _PRE_EMPHASIS * samples[:-1])
    num_steps = 1 + max(0, -(-(len(flat) - WINDOW) // STEP))
    flat = np.pad(flat, (0, max(0, (num_steps - 1) * STEP + WINDOW - len(flat))))
    frames = np.lib.stride_tricks.sliding_window_view(flat, WINDOW)[::STEP][:num_steps]
    power = np.abs(np.fft.rfft(frames, _FFT_SIZE)) ** 2 / _FFT_SIZE
    tiny = np.finfo(np.float64).eps
    bands = power @ _filters().T
    cepstra = dct(np.log(np.where(bands == 0, tiny, bands)), type=2, axis=1, norm="ortho")
    cepstra = cepstra[:, :NUM_COEFFICIENTS]
    cepstra *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(NUM_COEFFICIENTS) / _LIFTER)
    energy = power.sum(axis=1)
    cepstra[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstra.T


@cache
def _filters() -> np.ndarray:
    """Triangles (26, 257) between edges equally far apart in mel = 2595 log10(1 + f / 700)."""
    top_mel = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, top_mel, _NUM_BANDS + 2) / 2595) - 1)
    edges = np.floor((_FFT_SIZE + 1) * edges_hz / SAMPLE_RATE_HZ)
    bins = np.arange(_FFT_SIZE // 2 + 1)
    rows = []
    for low, middle, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        rising = (bins - low) / (middle - low) * ((bins >= low) & (bins < middle))
        falling = (high - bins) / (high - middle) * ((bins >= middle) & (bins < high))
        rows.append(rising + falling)
    return np.stack(rows)
