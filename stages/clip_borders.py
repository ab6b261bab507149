"""Clip borders: which frames a stretch of speech is cut at; pure functions of numbers of frames.

A frame lasts until the next one, the last as long as the median frame, so that 75 frames of
25 fps are exactly 3 s. What is cut, and why, is decided in :mod:`stages.clips`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import numpy as np

from stages.pcm import Pcm

ROUNDING_S = 0.002
"""Lengths are compared to within this: Matroska rounds the time stamps of both ends to 1 ms."""

ENVELOPE_S = 0.06
"""Where no pause is within reach, the quietest so many seconds are cut: a closure of a stop."""


@dataclass(frozen=True)
class FrameGrid:
    """Borders of frames: frame ``i`` lasts from ``pts[i]`` to ``pts[i + 1]``.

    Attributes:
        pts: (frames + 1,) borders, the last one where the last frame ends.
        times_s: the same in seconds.
        time_base: seconds of a pts unit.
        min_ticks: shortest clip, in pts units.
        max_ticks: longest clip, in pts units.
    """

    pts: np.ndarray
    times_s: np.ndarray
    time_base: Fraction
    min_ticks: int
    max_ticks: int

    @classmethod
    def of(
        cls, frame_pts: np.ndarray, time_base: Fraction, min_clip_s: float, max_clip_s: float
    ) -> FrameGrid:
        """Take the pts of all frames, ascending, at least one."""
        starts = np.asarray(frame_pts, np.int64)
        steps = np.diff(starts)
        last = int(np.median(steps)) if len(steps) else ceil(Fraction(1, 25) / time_base)
        pts = np.append(starts, starts[-1] + max(1, last))
        low = Fraction(min_clip_s) - Fraction(ROUNDING_S)
        high = Fraction(max_clip_s) + Fraction(ROUNDING_S)
        return cls(
            pts, pts * float(time_base), time_base, ceil(low / time_base), floor(high / time_base)
        )

    @property
    def num(self) -> int:
        """Number of frames."""
        return len(self.pts) - 1

    def lasting_s(self) -> np.ndarray:
        """Seconds that each frame lasts."""
        return np.diff(self.times_s)

    def inside(self, start: Fraction, end: Fraction) -> slice:
        """Frames that begin within a time."""
        borders = [ceil(time / self.time_base) for time in (start, end)]
        first, last = np.searchsorted(self.pts[:-1], borders)
        return slice(int(first), int(last))

    def until(self, time_s: float) -> int:
        """Last border at or before a time."""
        return int(np.searchsorted(self.times_s, time_s + 1e-6, side="right")) - 1

    def after(self, time_s: float) -> int:
        """First border at or after a time."""
        return int(np.searchsorted(self.times_s, time_s - 1e-6))

    def ticks(self, first: int, last: int) -> int:
        """Length of frames [first, last) in pts units."""
        return int(self.pts[last] - self.pts[first])

    def is_long_enough(self, first: int, last: int) -> bool:
        """Frames [first, last) make a clip."""
        return last > first and self.ticks(first, last) >= self.min_ticks

    def is_short_enough(self, first: int, last: int) -> bool:
        """Frames [first, last) are not more than one clip."""
        return self.ticks(first, last) <= self.max_ticks


def utterances(
    voiced: Sequence[tuple[float, float]], max_pause_s: float
) -> list[list[tuple[float, float]]]:
    """Join voiced segments over pauses of up to ``max_pause_s``."""
    groups: list[list[tuple[float, float]]] = []
    for segment in voiced:
        if groups and segment[0] - groups[-1][-1][1] <= max_pause_s:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups


def widened(
    first: int, last: int, earliest: int, latest: int, frames: FrameGrid
) -> tuple[int, int]:
    """Grow on both sides in turn until it is long enough or there is no room."""
    while not frames.is_long_enough(first, last) and (first > earliest or last < latest):
        if last < latest:
            last += 1
        if first > earliest and not frames.is_long_enough(first, last):
            first -= 1
    return first, last


def split(
    first: int,
    last: int,
    segments: Sequence[tuple[float, float]],
    frames: FrameGrid,
    pcm: Pcm,
    pad_s: float,
) -> list[tuple[int, int]]:
    """Split what is too long at its longest pauses.

    Args:
        first: first frame.
        last: frame after the last.
        segments: voiced segments in seconds.
        frames: borders of frames.
        pcm: sound, for cuts where no pause is.
        pad_s: silence kept on either side of a cut.

    Returns:
        Frames [first, last) of each piece; only where ``last - first`` leaves no room is one of
        them not long enough.
    """
    pieces = []
    while not frames.is_short_enough(first, last):
        end, start = _best_pause(first, last, segments, frames, pad_s) or _quietest(
            first, last, frames, pcm
        )
        pieces.append((first, end))
        first = start
    return [*pieces, (first, last)]


def _best_pause(
    first: int,
    last: int,
    segments: Sequence[tuple[float, float]],
    frames: FrameGrid,
    pad_s: float,
) -> tuple[int, int] | None:
    """End of the piece before the longest pause and start of the rest; late pauses are preferred.

    Pauses in the second half of the reach are looked at first, so that clips do not get short
    without need; within a half the longest pause wins, then the later.
    """
    best: tuple[bool, float, int, int] | None = None
    for (_, pause_start), (pause_end, _) in pairwise(segments):
        middle = (pause_start + pause_end) / 2
        border = frames.until(middle)
        end = min(border, frames.after(pause_start + pad_s))
        start = max(border, frames.until(pause_end - pad_s))
        fits = frames.is_long_enough(first, end) and frames.is_short_enough(first, end)
        if not fits or not frames.is_long_enough(start, last):
            continue
        is_late = 2 * frames.ticks(first, end) >= frames.max_ticks
        option = (is_late, pause_end - pause_start, end, start)
        best = option if best is None else max(best, option)
    return None if best is None else (best[2], best[3])


def _quietest(first: int, last: int, frames: FrameGrid, pcm: Pcm) -> tuple[int, int]:
    """The border, within reach, around which the sound is quietest."""
    options = [
        border
        for border in range(first + 1, last)
        if 2 * frames.ticks(first, border) >= frames.max_ticks
        and frames.is_short_enough(first, border)
        and frames.is_long_enough(border, last)
    ]
    if not options:
        options = [
            border
            for border in range(first + 1, last)
            if frames.is_long_enough(first, border) and frames.is_short_enough(first, border)
        ][-1:] or [first + 1]
    half = ENVELOPE_S / 2
    times = [float(frames.times_s[border]) for border in options]
    energy = [float(np.square(pcm.slice(t - half, t + half)).sum()) for t in times]
    border = options[int(np.argmin(energy))]
    return border, border
