"""Traces: what one pass over all frames of a file leaves: times, colours, changes.

Pictures are brought to `SMALL_PX` on the longer side, where colour and change are what they are
in the large and a pass costs little more than the decoding.

Shape letters: T frames, 3 = L, a, b.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.evaluation.frames import iter_frames, picture

SMALL_PX = 192


@dataclass(frozen=True)
class Trace:
    """A video file over time.

    Attributes:
        times_s: (T,) seconds from the first frame.
        size_px: width and height, upright.
        lab_mean_T3: (T, 3) mean CIE LAB colour of each frame, D65.
        lab_std_T3: (T, 3) standard deviations within each frame.
        change_T: (T,) mean absolute difference of luma, 0 to 255, from the frame before; NaN at
            the first.
    """

    times_s: np.ndarray
    size_px: tuple[int, int]
    lab_mean_T3: np.ndarray
    lab_std_T3: np.ndarray
    change_T: np.ndarray

    @property
    def frame_rate_fps(self) -> float:
        """Frames a second, from the median distance of frames; NaN for a single one."""
        steps = np.diff(self.times_s)
        return 1 / float(np.median(steps)) if len(steps) else float("nan")

    @property
    def duration_s(self) -> float:
        """Seconds, the last frame as long as the median one."""
        steps = np.diff(self.times_s)
        return float(self.times_s[-1] + (np.median(steps) if len(steps) else 0.0))


def trace(path: Path) -> Trace:
    """Decode a file once.

    Args:
        path: the file.

    Returns:
        Its trace.
    """
    from skimage.color import rgb2lab

    times: list[float] = []
    changes: list[float] = []
    means, spreads = [], []
    last: np.ndarray | None = None
    size_px = small = (0, 0)
    for time_s, frame in iter_frames(path):
        if not times:
            height, width = picture(frame).shape[:2]
            size_px = (width, height)
            ratio = min(1.0, SMALL_PX / max(size_px))
            small = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        seen_HWC = picture(frame, small)
        lab_HW3 = rgb2lab(seen_HWC)
        # Rec. 601 luma, as the codec has it.
        luma_HW = seen_HWC @ np.array([0.299, 0.587, 0.114])
        times.append(time_s)
        means.append(lab_HW3.mean(axis=(0, 1)))
        spreads.append(lab_HW3.std(axis=(0, 1)))
        changes.append(float("nan") if last is None else float(np.abs(luma_HW - last).mean()))
        last = luma_HW
    return Trace(
        np.array(times), size_px, np.array(means), np.array(spreads), np.array(changes, float)
    )
