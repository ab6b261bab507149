"""From the vectors of two towers to a curve over offsets, and from the curve to an offset.

Shape letters: N grid frames, E entries of a vector, D candidate offsets; M = N + 2 * lag frames of
sound, which begin `MAX_LAG_FRAMES` before the picture.
"""

import numpy as np

from stages.landmarks import FloatArray
from stages.sync_features import GRID_FPS, MAX_LAG_FRAMES, OFFSETS_MS

MIN_FRAMES = 25
"""A shift with less than 1 s of frames in common is not scored; without a scored shift 0 the
estimator cannot tell."""


def agreement(video_NE: FloatArray, audio_ME: FloatArray) -> FloatArray:
    """Return how well each frame agrees with the sound at each offset, (D, N).

    `agreement[d, n] = <video[n], audio[n + d]> / sqrt(E)`, d = 0 at the offset -600 ms; NaN where
    there is no mesh or no sound.

    Args:
        video_NE: rows of NaN where there is no mesh.
        audio_ME: rows of NaN where there is no sound.

    Returns:
        The agreement.
    """
    num, entries = video_NE.shape
    windows = np.lib.stride_tricks.sliding_window_view(audio_ME, num, axis=0)
    products = np.einsum("ne,den->dn", video_NE, windows, optimize=True)
    return np.asarray(products / np.sqrt(entries))


def curve_of(agreement_DN: FloatArray) -> FloatArray:
    """Return the mean agreement at each offset, (D,); NaN with fewer than `MIN_FRAMES` frames."""
    known_DN = np.isfinite(agreement_DN)
    num_D = known_DN.sum(axis=1)
    total_D = np.where(known_DN, agreement_DN, 0.0).sum(axis=1)
    return np.where(num_D >= MIN_FRAMES, total_D / np.maximum(num_D, 1), np.nan)


def peak_of(curve: FloatArray) -> tuple[float, float, float]:
    """Return offset in ms (by a parabola through the peak), height, and height above the median."""
    best = int(np.nanargmax(curve))
    shift = 0.0
    if 0 < best < len(curve) - 1 and np.isfinite(curve[best - 1 : best + 2]).all():
        before, top, after = curve[best - 1 : best + 2]
        bend = before - 2 * top + after
        shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    offset_ms = float(OFFSETS_MS[best] + shift * 1000.0 / GRID_FPS)
    return offset_ms, float(curve[best]), float(curve[best] - np.nanmedian(curve))


def can_tell(curve: FloatArray) -> bool:
    """Whether there is enough of both streams: the shift 0 has a score."""
    return bool(np.isfinite(curve[MAX_LAG_FRAMES]))


def frames_in_common(agreement_DN: FloatArray, curve: FloatArray) -> int:
    """Return how many frames the best shift of a curve rests on."""
    return int(np.isfinite(agreement_DN[int(np.nanargmax(curve))]).sum())
