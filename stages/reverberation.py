"""Reverberation: how long sound goes on after the voice has stopped; blind, from speech alone.

Where a syllable ends, the power of a band falls along a line in decibels whose slope is that of the
room, or of the voice if the room is drier. So the falls of each band are looked for and their
decay times taken; a low quantile of them is the room's, as slower falls are fading voices. One
number for the clip, without a claim on early and late parts.

Shape letters: B bands, T frames of 8 ms.
"""

from __future__ import annotations

import numpy as np

from stages.pcm import SAMPLE_RATE_HZ

WINDOW, STEP = 256, 128
"""Samples of a frame, 16 ms, and from one to the next."""

BAND_EDGES_HZ = (300.0, 500.0, 800.0, 1250.0, 2000.0, 3150.0, 5000.0)
"""Bands in which decays are looked for: those that carry speech."""

SMOOTH_FRAMES = 11
"""Frames of the moving mean, 88 ms: a tail of many echoes ripples, and must still count as one
fall."""

MIN_FALL_DB = 10.0
MIN_FALL_FRAMES = 10
"""A fall must be so deep, and 80 ms long; closing lips take less."""

FLOOR_MARGIN_DB = 8.0
"""Falls are followed down to so far above the quiet of the band, where noise bends them."""

SKIPPED_RATIO = 0.1
"""First part of a fall, which the smoothing bends."""

MIN_FALLS = 5
"""Falls below which nothing is told."""


def decay_time_s(samples: np.ndarray) -> float | None:
    """Estimate the time in which sound decays by 60 dB.

    Speech of ten speakers convolved with noise that decays in 0.4, 0.6, 0.8 and 1.2 s read 0.47
    to 0.61, 0.61 to 0.75, 0.74 to 0.88 and 0.90 to 1.23 s (two of them nothing); as recorded it
    read 0.28 to 0.50 s, which are the voices' own falls and the rooms they were recorded in.

    Args:
        samples: (N,) float32, mono at 16 kHz, with speech.

    Returns:
        Seconds; ``None`` if too few syllables end freely: short clips, steady noise or music.
    """
    level_BT = band_levels_db(samples)
    times_s = [time_s for level_T in level_BT for time_s in decays_s(level_T)]
    return float(np.median(times_s)) if len(times_s) >= MIN_FALLS else None


def band_levels_db(samples: np.ndarray) -> np.ndarray:
    """Level of each band, (B, T) in decibels."""
    if len(samples) < WINDOW:
        return np.zeros((len(BAND_EDGES_HZ) - 1, 0))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::STEP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), axis=1)) ** 2
    edges = np.round(np.array(BAND_EDGES_HZ) / (SAMPLE_RATE_HZ / WINDOW)).astype(int)
    bands = np.add.reduceat(power, edges, axis=1)[:, :-1].T
    return 10 * np.log10(bands + 1e-12)  # type: ignore[no-any-return]


def decays_s(level_T: np.ndarray) -> list[float]:
    """Decay times of the free falls of one band.

    Args:
        level_T: its level in decibels, every 8 ms.

    Returns:
        Seconds for 60 dB, one for each fall that is long and deep enough.
    """
    if len(level_T) < SMOOTH_FRAMES:
        return []
    half = SMOOTH_FRAMES // 2
    padded = np.pad(level_T, half, mode="edge")
    smooth_T = np.convolve(padded, np.full(SMOOTH_FRAMES, 1 / SMOOTH_FRAMES), "valid")
    floor_db = float(np.quantile(level_T, 0.05)) + FLOOR_MARGIN_DB
    is_free = (np.diff(smooth_T) < 0) & (smooth_T[1:] >= floor_db)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_free.astype(np.int8), [0]])))
    found = []
    for first, last in edges.reshape(-1, 2):
        fall_T = smooth_T[first : last + 1]
        if len(fall_T) < MIN_FALL_FRAMES or fall_T[0] - fall_T[-1] < MIN_FALL_DB:
            continue
        part_T = fall_T[int(SKIPPED_RATIO * len(fall_T)) :]
        slope_db = float(np.polyfit(np.arange(len(part_T)), part_T, 1)[0])
        found.append(-60 / slope_db * STEP / SAMPLE_RATE_HZ)
    return found
