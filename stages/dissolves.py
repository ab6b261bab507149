"""Dissolves, wipes and slides: transitions whose frames change no more than in a lively shot.

Pure functions of tiny grey pictures and their times, as :mod:`stages.transitions`. The thresholds
are ratios of ours; what each keeps apart was measured on talking clips with still, handheld and
moving cameras, and stands beside it.
"""

from __future__ import annotations

import numpy as np

from stages.transitions import TINY_PX, typical_step_s

_SIDE = TINY_PX // 2
_GRID = 8

_WINDOWS_S = (0.4, 0.8, 1.6)
"""Lengths over which a gradual transition is sought; a blend longer than the last is found by
its middle part."""

_STEP_S = 0.08
_CUT_ALONE_S = 0.3
_BLEND_RESIDUAL = 0.45
"""Distance of the middle frame to the blend of both ends, over that to the nearer end: 0.01 to
0.35 in dissolves of talking people, 0.7 and more wherever something or the camera moves."""

_UNLIKE_AREA = 0.7
_UNLIKE_CORRELATION = 0.7
"""Share of blocks that differ, and correlation, of two ends that may be two shots."""

_STILL_AREA = 0.25
"""Most that either side of a wipe or slide may change of itself in half the time."""

_SLIDE_RESIDUAL = 1.8
"""As the residual of a blend: 2.4 to 2.8 when one picture pushes the other out, which in the
middle resembles neither; 0.7 to 1.3 in motion."""

_WIPE_PATCHES = 0.12
"""Mean distance of the middle frame to the nearer end, pixel by pixel, over that of the ends: near
0 when one picture uncovers the other, 0.25 and more in motion."""


def find_gradual(
    tiny: np.ndarray, times_s: np.ndarray, taken: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Find dissolves, wipes and slides.

    For windows of several lengths, the frames at both ends and in the middle are compared. In a
    dissolve the middle lies on the line between two unlike ends; no motion does that. In a wipe
    the middle is made of pieces of both, in a slide it is like neither, and in both the picture
    was still before and is still after.

    Args:
        tiny: pictures (T, TINY_PX, TINY_PX), uint8.
        times_s: their times (T,).
        taken: transitions already found; windows that hold one are passed over.

    Returns:
        First and last frame of each, in order.
    """
    num_frames = len(tiny)
    if num_frames < 5:
        return []
    small = _halved(tiny)
    occupied = np.zeros(num_frames + 1, np.int64)
    for first, last in taken:
        if first != last or _is_clean(small, times_s, first):
            occupied[max(0, first - 1) + 1 : last + 2] = 1
    occupied = np.cumsum(occupied)
    hits: list[tuple[int, int]] = []
    for window_s in _WINDOWS_S:
        hits += _hits(small, times_s, window_s, occupied)
    return [_shrunk(small, first, last) for first, last in _joined(hits)]


def _halved(tiny: np.ndarray) -> np.ndarray:
    cells = tiny.reshape(len(tiny), _SIDE, 2, _SIDE, 2).astype(np.uint16)
    return (cells.sum(axis=(2, 4), dtype=np.uint16) / np.float32(4)).reshape(len(tiny), -1)


def _is_clean(small: np.ndarray, times_s: np.ndarray, cut: int) -> bool:
    """Tell whether a cut stands alone: the last step of a slide may look like a cut, too."""
    first = int(np.searchsorted(times_s, times_s[cut] - _CUT_ALONE_S))
    last = int(np.searchsorted(times_s, times_s[cut] + _CUT_ALONE_S))
    change = np.abs(np.diff(small[first : last + 1], axis=0)).mean(axis=1)
    others = np.delete(change, cut - 1 - first)
    return bool(change[cut - 1 - first] >= 4 * others.max(initial=0.0))


def _hits(
    small: np.ndarray, times_s: np.ndarray, window_s: float, occupied: np.ndarray
) -> list[tuple[int, int]]:
    last = len(small) - 1
    middles = np.arange(0, last + 1, max(1, round(_STEP_S / typical_step_s(times_s))))
    offsets = [window_s * part for part in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    at = [np.clip(np.searchsorted(times_s, times_s[middles] + o - 1e-6), 0, last) for o in offsets]
    inside = (at[3] - at[1] >= 4) & (times_s[at[3]] - times_s[at[1]] < 1.3 * window_s + 0.05)
    inside &= occupied[at[3]] - occupied[at[1]] == 0
    inside &= (times_s[middles] >= window_s / 2) & (times_s[middles] <= times_s[-1] - window_s / 2)
    at = [frames[inside] for frames in at]
    unlike = _changed_area(small[at[1]], small[at[3]]) >= _UNLIKE_AREA
    at = [frames[unlike] for frames in at]
    earlier, start, middle, end, later = (small[frames] for frames in at)
    still = np.maximum(_changed_area(earlier, start), _changed_area(end, later)) <= _STILL_AREA
    blends, replaces = _of_middle(start, middle, end)
    chosen = blends | (replaces & still)
    chosen &= _correlation(start, end) <= _UNLIKE_CORRELATION
    return [(int(at[1][i]), int(at[3][i])) for i in np.flatnonzero(chosen)]


def _of_middle(
    start: np.ndarray, middle: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tell where the middle is a blend of both ends, and where patches of both, or like neither."""
    way = end - start
    length = (way * way).sum(axis=1) + 1.0
    position = ((middle - start) * way).sum(axis=1) / length
    rest = middle - start - position[:, None] * way
    deviation = np.sqrt((rest * rest).sum(axis=1) / length)
    nearer = np.minimum(np.abs(middle - start), np.abs(middle - end)).mean(axis=1)
    patches = nearer / np.maximum(np.abs(way).mean(axis=1), 1.0) <= _WIPE_PATCHES
    halfway = (position > 0.25) & (position < 0.75)
    to_nearer = np.clip(np.minimum(position, 1 - position), 0.05, 0.5)
    blends = (deviation <= _BLEND_RESIDUAL * to_nearer) & halfway
    return blends, (patches & halfway) | (2 * deviation >= _SLIDE_RESIDUAL)


def _changed_area(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Share of blocks that differ by a quarter of the contrast, among those not black in both."""
    contrast = np.maximum(np.maximum(first.std(axis=1), second.std(axis=1)), 8.0)
    changed = _blocks(np.abs(first - second)) > 0.25 * contrast[:, None]
    lit = _blocks(np.maximum(first, second)) > 8
    count = lit.sum(axis=1)
    return np.where(count >= 12, (changed & lit).sum(axis=1) / np.maximum(count, 1), 0.0)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation over the pixels that are not black in both."""
    lit = (np.maximum(first, second) > 8).astype(np.float32)
    count = np.maximum(lit.sum(axis=1, keepdims=True), 1.0)
    a = (first - (first * lit).sum(axis=1, keepdims=True) / count) * lit
    b = (second - (second * lit).sum(axis=1, keepdims=True) / count) * lit
    power = (a * a).sum(axis=1) * (b * b).sum(axis=1)
    return (a * b).sum(axis=1) / np.sqrt(power + 1.0)


def _blocks(pictures: np.ndarray) -> np.ndarray:
    size = _SIDE // _GRID
    cells = pictures.reshape(-1, _GRID, size, _GRID, size)
    return cells.mean(axis=(2, 4)).reshape(len(pictures), _GRID * _GRID)


def _joined(hits: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(hits):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _shrunk(small: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """Take still frames off both ends of what the windows covered."""
    part = small[first : last + 1]
    whole = np.abs(part[-1] - part[0]).mean()
    from_start = np.abs(part - part[0]).mean(axis=1) > 0.08 * whole
    from_end = np.abs(part - part[-1]).mean(axis=1) > 0.08 * whole
    start, end = int(np.argmax(from_start)), len(part) - 1 - int(np.argmax(from_end[::-1]))
    return (first + start, first + end) if start <= end else (first, last)
