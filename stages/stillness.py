"""What moves from frame to frame: nothing at all, or everything with the camera."""

from __future__ import annotations

import functools

import cv2
import numpy as np

_ROW_STEP = 8
_CELL_COLUMNS = 16
_CELL_ROWS = 4
"""Every eighth row is compared, in cells of 4 of them by 16 pixels: a moving lip fills one."""

_STRIP_RATIO = 0.2
_MIN_TEXTURE = 4.0
_MIN_RESPONSE = 0.15
"""Strips along the top and the upper sides, where the background is: their share of the side, the
least contrast (grey levels) and the least peak of the phase correlation that can be trusted."""


class StillnessWatch:
    """Tells of each frame whether it equals the one before, up to encoder noise."""

    def __init__(self, level: float) -> None:
        self._level = level
        self._rows: np.ndarray | None = None

    def is_still(self, luma: np.ndarray) -> bool:
        """Take the next frame.

        Args:
            luma: luma plane of the next frame, (H, W) uint8.

        Returns:
            True if no cell differs by more than the level from the last frame; False for the first.
        """
        rows = np.ascontiguousarray(luma[_ROW_STEP // 2 :: _ROW_STEP])
        last, self._rows = self._rows, rows
        if last is None or last.shape != rows.shape:
            return False
        difference = cv2.absdiff(rows, last)
        if cv2.mean(difference)[0] > self._level:
            return False
        # Encoders copy what stands still: most often there is no difference at all.
        return not difference.any() or bool(_cell_means(difference).max() < self._level)


def _cell_means(picture: np.ndarray) -> np.ndarray:
    """Mean of every whole cell, by the corners of the integral picture."""
    cell_rows, cell_columns = (
        min(_CELL_ROWS, picture.shape[0]),
        min(_CELL_COLUMNS, picture.shape[1]),
    )
    corners = cv2.integral(picture)[::cell_rows, ::cell_columns]
    sums = corners[1:, 1:] - corners[1:, :-1] - corners[:-1, 1:] + corners[:-1, :-1]
    return sums / (cell_rows * cell_columns)


def frozen_runs(is_frozen: np.ndarray) -> list[tuple[int, int]]:
    """Runs of equal frames.

    Args:
        is_frozen: each frame equals the one before (T,), bool.

    Returns:
        First and last frame of each run of at least two equal frames. A single frame between long
        runs, at which an encoder refreshed the picture, does not part them.
    """
    flags = np.asarray(is_frozen, bool).copy()
    alone = np.flatnonzero(~flags[2:-2] & flags[1:-3] & flags[:-4] & flags[3:-1] & flags[4:]) + 2
    flags[alone] = True
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(np.int8), 0]))
    return [(max(0, int(first) - 1), int(end) - 1) for first, end in edges.reshape(-1, 2)]


class CameraWatch:
    """Follows the background along the border of the picture.

    A camera moves all of the border at once, a person at most a part of it: phase correlation gives
    the shift of three strips, and the middle one of them counts. A border without texture cannot
    be seen to move and counts as still.
    """

    def __init__(self, interval_s: float) -> None:
        self.speeds: list[tuple[int, float]] = []
        self._interval_s = interval_s
        self._last: tuple[float, list[np.ndarray]] | None = None

    def observe(self, pts: int, time_s: float, small: np.ndarray) -> None:
        """Take the small picture (h, w, 3) of the next frame."""
        if self._last is not None and time_s - self._last[0] < self._interval_s - 1e-3:
            return
        half = (small.shape[1] // 2, small.shape[0] // 2)
        reduced = cv2.resize(small, half, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY)
        strips = _strips(grey)
        last, self._last = self._last, (time_s, strips)
        if last is None or time_s - last[0] > 4 * self._interval_s:
            return
        shifts = [
            s for a, b in zip(last[1], strips, strict=True) if (s := _shift(a, b)) is not None
        ]
        shift = np.median(np.array(shifts), axis=0) if shifts else np.zeros(2)
        speed = float(np.hypot(*shift)) / grey.shape[0] / (time_s - last[0])
        self.speeds.append((pts, speed))


def _strips(grey: np.ndarray) -> list[np.ndarray]:
    height, width = grey.shape
    rows, columns = max(8, int(height * _STRIP_RATIO)), max(8, int(width * _STRIP_RATIO))
    upper = int(0.75 * height)
    parts = (grey[:rows], grey[:upper, :columns], grey[:upper, -columns:])
    return [part.astype(np.float32) for part in parts]


@functools.lru_cache(maxsize=8)
def _window(shape: tuple[int, int]) -> np.ndarray:
    return cv2.createHanningWindow(shape[::-1], cv2.CV_32F)


def _shift(before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    if min(before.std(), after.std()) < _MIN_TEXTURE:
        return None
    shift, response = cv2.phaseCorrelate(before, after, _window(before.shape))
    return np.array(shift) if response >= _MIN_RESPONSE else None
