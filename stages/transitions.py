"""Jump cuts, flashes and fades; gradual transitions are in :mod:`stages.dissolves`.

Pure functions of tiny grey pictures (T, TINY_PX, TINY_PX) and their times. Every threshold is a
ratio, or in grey levels of 0..255; none was taken from a paper. What each keeps apart was measured
on talking clips with still, handheld and moving cameras; the numbers stand beside the constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from manifests.span import Span

TINY_PX = 32
"""Side of the tiny picture; its blocks are a quarter of that."""

_GRID = 8
_BLOCK = TINY_PX // _GRID

_JUMP_WINDOW_S = 0.2
_JUMP_MIN_FRAMES = 4
_JUMP_AREA = 0.2
"""Share of blocks that a jump cut changes; a caption that appears changes about a tenth."""


@dataclass(frozen=True)
class Transition:
    """What lies between two shots.

    Attributes:
        kind: ``cut`` (on the very frame), ``fade`` (through a plain colour) or ``dissolve``
            (dissolves, wipes, slides).
        span: from its first to its last frame; for a cut, the first frame of the new shot.
    """

    kind: Literal["cut", "fade", "dissolve"]
    span: Span


def same_shot(before: np.ndarray, after: np.ndarray) -> bool:
    """Tell whether two tiny pictures, less than half a second apart, show the same view.

    Args:
        before: tiny picture.
        after: tiny picture.

    Returns:
        True if their difference is below half of the picture's contrast nearly everywhere.
    """
    first, second = before.astype(np.float32), after.astype(np.float32)
    contrast = max(float(first.std()), float(second.std()), 8.0)
    return bool(np.abs(first - second).mean() < 0.25 * contrast)


def contrast_of(tiny: np.ndarray) -> np.ndarray:
    """Standard deviation of each tiny picture (T,), in grey levels."""
    return np.array([cv2.meanStdDev(picture)[1][0, 0] for picture in tiny])


def find_cuts(
    tiny: np.ndarray,
    contrast: np.ndarray,
    times_s: np.ndarray,
    candidates: set[int],
    prominence: float,
) -> set[int]:
    """Confirm hard cuts, and find single-frame jumps: same place and person, but time was cut out.

    The difference of neighbours is what a change of brightness and contrast leaves unexplained,
    averaged over the most changed quarter of the picture, so that bars do not dilute it.

    Args:
        tiny: pictures (T, TINY_PX, TINY_PX), uint8.
        contrast: of each, see :func:`contrast_of`.
        times_s: their times (T,).
        candidates: numbers of first frames after what may be a cut. Confirmed if the picture's
            structure changed (in dark pictures hue is noise), and not less than around it.
        prominence: how often a jump exceeds the three differences before and after.

    Returns:
        Numbers of the first frames after a cut or a jump.
    """
    if len(tiny) < 2:
        return set()
    change, area = _changes(tiny, contrast)
    limit = np.r_[np.inf, np.clip(0.15 * np.maximum(contrast[1:], contrast[:-1]), 3.0, 8.0)]
    reach = max(_JUMP_MIN_FRAMES, round(_JUMP_WINDOW_S / typical_step_s(times_s)))
    jumps = change >= prominence * np.maximum(_largest_neighbour(change, 3), 1.0)
    jumps &= change >= 2 * np.maximum(_largest_neighbour(change, reach), 1.0)
    jumps &= (change >= limit) & (area >= _JUMP_AREA)
    chosen = sorted(candidates)
    ordinary = change.copy()
    ordinary[chosen] = 0.0
    rivals = _largest_neighbour(ordinary, _JUMP_MIN_FRAMES)
    confirmed = {c for c in chosen if change[c] >= max(limit[c], 1.2 * rivals[c])}
    return confirmed | {int(number) for number in np.flatnonzero(jumps)}


def typical_step_s(times_s: np.ndarray) -> float:
    """Median time from frame to frame, in seconds."""
    return max(float(np.median(np.diff(times_s))), 1e-3)


def find_fades(contrast: np.ndarray, times_s: np.ndarray) -> list[tuple[int, int]]:
    """Find fades through a plain colour, with their ramps.

    Args:
        contrast: of each picture (T,), see :func:`contrast_of`.
        times_s: their times (T,).

    Returns:
        First and last frame of each, in order. A single plain frame or two are a flash unless
        ramps lead to it.
    """
    plain = contrast < 3.0
    fades: list[tuple[int, int]] = []
    for first, last in _runs(plain):
        start = _climb(contrast, times_s, first, -1)
        end = _climb(contrast, times_s, last, +1)
        ramped = first - start > 2 or end - last > 2
        if ramped or times_s[last] - times_s[first] > 0.35:
            if fades and start <= fades[-1][1]:
                start = fades.pop()[0]
            fades.append((start, end))
    return fades


def _changes(tiny: np.ndarray, contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unexplained difference to the frame before (T,), and share of blocks that changed (T,)."""
    change, area = np.zeros(len(tiny)), np.zeros(len(tiny))
    for first in range(0, len(tiny) - 1, 512):
        part = tiny[first : first + 513].astype(np.float32)
        rows = slice(first + 1, first + len(part))
        change[rows] = _unexplained(part)
        visible = np.maximum(1.5, 0.05 * contrast[rows, None])
        area[rows] = (_blocks(np.abs(np.diff(part, axis=0))) > visible).mean(axis=1)
    return change, area


def _unexplained(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    before, after = flat[:-1], flat[1:]
    power = (before * before).mean(axis=1) + 1e-3
    gain = np.clip((before * after).mean(axis=1) / power, 0.5, 2.0)
    rest = np.abs(after - gain[:, None] * before)
    quarter = rest.shape[1] // 4
    return np.partition(rest, -quarter, axis=1)[:, -quarter:].mean(axis=1)


def _blocks(pictures: np.ndarray) -> np.ndarray:
    cells = pictures.reshape(-1, _GRID, _BLOCK, _GRID, _BLOCK)
    return cells.mean(axis=(2, 4)).reshape(len(pictures), _GRID * _GRID)


def _largest_neighbour(values: np.ndarray, reach: int) -> np.ndarray:
    column = values.astype(np.float32)[:, None]
    ones = np.ones((reach, 1), np.uint8)
    before = cv2.dilate(column, ones, anchor=(0, reach - 1), borderValue=0)[:, 0]
    after = cv2.dilate(column, ones, anchor=(0, 0), borderValue=0)[:, 0]
    return np.maximum(np.r_[0, before[:-1]], np.r_[after[1:], 0])


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(np.int8), 0]))
    return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2)]


def _climb(contrast: np.ndarray, times_s: np.ndarray, frame: int, step: int) -> int:
    """Follow the contrast upwards from a plain frame, to where it stops growing."""
    while 0 <= frame + step < len(contrast):
        following = frame + step
        if contrast[following] < contrast[frame] * 1.01 + 0.1 and contrast[frame] >= 3.0:
            break
        if contrast[frame] < 3.0 and contrast[following] > 20.0:
            break
        frame = following
    return frame
