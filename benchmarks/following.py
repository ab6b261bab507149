"""How one curve over time follows another, and how sure that is over several clips.

A clip is the unit: frames of one are alike. Shape letters: T frames, C clips, L lags.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 2000
LEVEL = 0.95


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson correlation; 0 where one of them is still, for a still mouth follows nothing."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def lag_correlations(made: np.ndarray, truth: np.ndarray, max_lag: int) -> np.ndarray:
    """Correlation at each lag.

    Args:
        made: (T,) curve of the generated clip.
        truth: (T,) curve that it should follow.
        max_lag: frames to either side.

    Returns:
        (2 * max_lag + 1,), the lag ascending; at lag +n frame t + n of ``made`` meets frame t of
        ``truth``: positive is a mouth that is late.
    """
    if len(made) != len(truth) or len(made) <= 2 * max_lag:
        raise ValueError(f"{len(made)} and {len(truth)} frames, lags to {max_lag}: too short")
    num = len(made)
    return np.array(
        [
            correlation(made[max(lag, 0) : num + lag], truth[max(-lag, 0) : num - lag])
            if lag
            else correlation(made, truth)
            for lag in range(-max_lag, max_lag + 1)
        ]
    )


@dataclass(frozen=True)
class Following:
    """How curves of several clips follow others.

    Attributes:
        at_zero: (C,) correlation of each clip, unshifted.
        mean: their mean.
        interval: its bootstrap interval over clips.
        best: largest value of the clips' mean correlation over lags.
        offset_ms: where it lies, + = the mouth is late.
        offset_interval_ms: its interval over clips.
    """

    at_zero: np.ndarray
    mean: float
    interval: tuple[float, float]
    best: float
    offset_ms: float
    offset_interval_ms: tuple[float, float]


def following(curves: np.ndarray, fps: float) -> Following:
    """Sum up the lag correlations of several clips.

    Args:
        curves: (C, L) from `lag_correlations`.
        fps: frames a second.

    Returns:
        Correlation and offset; the offset is that of the clips' mean, because that of one clip
        of a few seconds is mostly noise.
    """
    num_clips, num_lags = curves.shape
    at_zero = curves[:, num_lags // 2]
    draw = _draws(num_clips)
    peaks = [peak(curves[rows].mean(axis=0)) for rows in draw]
    offsets = [(place - num_lags // 2) * 1000 / fps for place, _ in peaks]
    place, best = peak(curves.mean(axis=0))
    return Following(
        at_zero,
        float(at_zero.mean()),
        bootstrap(at_zero),
        best,
        (place - num_lags // 2) * 1000 / fps,
        _ends(np.array(offsets)),
    )


def peak(curve: np.ndarray) -> tuple[float, float]:
    """Place and height of the largest value, between samples by the parabola through three."""
    place = int(curve.argmax())
    if not 0 < place < len(curve) - 1:
        return float(place), float(curve[place])
    before, here, after = curve[place - 1 : place + 2]
    bend = before - 2 * here + after
    step = 0.0 if bend == 0 else 0.5 * (before - after) / bend
    return place + step, float(here - 0.25 * (before - after) * step)


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """Interval of the mean over clips (percentiles, Efron 1979)."""
    return _ends(values[_draws(len(values))].mean(axis=1))


def _draws(num_clips: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, num_clips, (NUM_RESAMPLES, num_clips))


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.5 - LEVEL / 2, 0.5 + LEVEL / 2))
    return float(low), float(high)
