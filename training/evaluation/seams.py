"""Seams: does the picture jump where two sliding windows meet?

Definition, ours, without optical flow: the *change* of a frame is the mean absolute difference of
luma from the frame before. At each border of a window the largest change within `REACH` frames is
divided by the median change of the `AROUND` frames on either side that are near no border. One
means that a border cannot be told from its surroundings. A cut or a blink near a border counts as
a seam, so that single borders say little and the mean over many says much.

Shape letters: T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

REACH = 1
AROUND = 12
"""Frames, about half a second: the pace of the motion of the moment."""

_FLOOR = 0.05
"""Least median change, a twentieth of a grey step: in a still picture any noise would be a seam."""


def window_borders(num_frames: int, window_frames: int, overlap_frames: int) -> tuple[int, ...]:
    """Borders of windows that follow each other at equal distance.

    Args:
        num_frames: frames of the clip.
        window_frames: frames of a window.
        overlap_frames: frames that neighbours share.

    Returns:
        First frame of every window but the first, and first frame after every window but the
        last, ascending, each once.
    """
    step = window_frames - overlap_frames
    if step <= 0 or window_frames >= num_frames:
        return ()
    starts = range(0, num_frames - overlap_frames, step)
    spans = [(start, min(start + window_frames, num_frames)) for start in starts]
    return borders_of(spans)


def borders_of(windows: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Borders of given windows.

    Args:
        windows: first frame and frame after the last of each.

    Returns:
        Every start but the earliest and every end but the latest, ascending, each once.
    """
    starts, ends = {start for start, _ in windows}, {end for _, end in windows}
    return tuple(sorted((starts - {min(starts)}) | (ends - {max(ends)}))) if windows else ()


def seam_ratios(change_T: np.ndarray, borders: Sequence[int]) -> np.ndarray:
    """Compare the change at each border with that around it.

    Args:
        change_T: (T,) change of each frame, NaN at the first.
        borders: numbers of frames at which a window begins or the one before has ended.

    Returns:
        One ratio a border that has surroundings, in the order of the borders.
    """
    num = len(change_T)
    is_near = np.zeros(num, bool)
    for border in borders:
        is_near[max(0, border - REACH) : border + REACH + 1] = True
    ratios = []
    for border in borders:
        at = change_T[max(1, border - REACH) : border + REACH + 1]
        part = slice(max(1, border - AROUND), border + AROUND + 1)
        around = change_T[part][~is_near[part]]
        if len(at) and len(around):
            ratios.append(float(at.max()) / max(float(np.median(around)), _FLOOR))
    return np.array(ratios)
