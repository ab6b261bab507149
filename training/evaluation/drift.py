"""Drift: what creeps in over a long video; the complaint that users make, with no standard figure.

Every figure here compares the end of a clip with its beginning, or is the slope of a line fitted
through all of it. Definitions are ours. Natural changes (a turning head, a passing cloud) count
too, so that a reference beside it says how much of a figure is the scene's.

Shape letters: T frames, D any number of values of a frame.
"""

from __future__ import annotations

import numpy as np

EDGE_S = 1.0
"""Beginning and end of a clip that are compared; ours: a second averages over syllables."""

MIN_DURATION_S = 2 * EDGE_S
"""Below, beginning and end would overlap."""


def edges(times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Choose the frames of the first and of the last second.

    Args:
        times_s: (T,) ascending seconds.

    Returns:
        Two (T,) masks; ``None`` for a clip too short to have both.
    """
    if not len(times_s) or times_s[-1] - times_s[0] < MIN_DURATION_S:
        return None
    return times_s < times_s[0] + EDGE_S, times_s > times_s[-1] - EDGE_S


def distance_from_start(times_s: np.ndarray, values_TD: np.ndarray) -> np.ndarray | None:
    """Distance of every frame from the mean of the first second.

    Args:
        times_s: (T,) ascending seconds.
        values_TD: (T, D) values of each frame.

    Returns:
        (T,) Euclidean distances; ``None`` for a clip too short.
    """
    ends = edges(times_s)
    if ends is None:
        return None
    return np.linalg.norm(values_TD - values_TD[ends[0]].mean(axis=0), axis=1)


def drift(times_s: np.ndarray, values_TD: np.ndarray) -> float | None:
    """Distance of the mean of the last second from the mean of the first.

    Args:
        times_s: (T,) ascending seconds.
        values_TD: (T, D) values of each frame.

    Returns:
        The distance; ``None`` for a clip too short.
    """
    ends = edges(times_s)
    if ends is None:
        return None
    first, last = (values_TD[chosen].mean(axis=0) for chosen in ends)
    return float(np.linalg.norm(last - first))


def slope_per_min(times_s: np.ndarray, values_T: np.ndarray | None) -> float | None:
    """Slope of the least-squares line through all frames.

    Args:
        times_s: (T,) ascending seconds.
        values_T: (T,) values; ``None`` where there are none.

    Returns:
        Change a minute; ``None`` for a clip too short.
    """
    if values_T is None or edges(times_s) is None:
        return None
    return float(np.polyfit(times_s, values_T, 1)[0]) * 60


def ratio_of_edges(times_s: np.ndarray, values_T: np.ndarray) -> float | None:
    """Median of the last second over the median of the first.

    Args:
        times_s: (T,) ascending seconds.
        values_T: (T,) positive values.

    Returns:
        The ratio; ``None`` for a clip too short or a beginning of zero.
    """
    ends = edges(times_s)
    if ends is None:
        return None
    first, last = (float(np.median(values_T[chosen])) for chosen in ends)
    return last / first if first > 0 else None
