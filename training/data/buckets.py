"""Buckets: the few shapes that batches come in, and which clip goes to which.

Not here: order and batches (`epoch_plan.py`), and the cutting itself (`picture_fit.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, order=True)
class Bucket:
    """One shape of video.

    Attributes:
        num_frames: T, 4k + 1.
        height_px: H.
        width_px: W.
    """

    num_frames: int
    height_px: int
    width_px: int

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}, {self.num_frames} frames"


def make_buckets(sizes_px: Sequence[tuple[int, int]], lengths: Sequence[int]) -> tuple[Bucket, ...]:
    """All shapes, the shortest first; a single frame is always among them, for pictures.

    Args:
        sizes_px: widths and heights.
        lengths: numbers of frames.

    Returns:
        The buckets in ascending order.
    """
    return tuple(
        sorted(
            Bucket(length, height, width)
            for length in {1, *lengths}
            for width, height in set(sizes_px)
        )
    )


def nearest_size(
    width_N: np.ndarray, height_N: np.ndarray, sizes_px: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Number of the size nearest in aspect, by the ratio of the aspects, so least is cropped.

    Args:
        width_N: widths of the clips (N,).
        height_N: their heights (N,).
        sizes_px: widths and heights to choose from.

    Returns:
        (N,) int64, numbers in ``sizes_px``; the first of equals.
    """
    aspects = np.array([np.log(width / height) for width, height in sizes_px])
    own = np.log(width_N / height_N)
    return np.argmin(np.abs(own[:, None] - aspects[None, :]), axis=1)


def assign(
    num_frames_N: np.ndarray,
    size_N: np.ndarray,
    sizes_px: Sequence[tuple[int, int]],
    buckets: Sequence[Bucket],
) -> tuple[np.ndarray, np.ndarray]:
    """Find the bucket of each clip: as a video, the longest that it fills; and as a picture.

    Args:
        num_frames_N: frames of the clips (N,), 1 at least.
        size_N: number of each clip's size in ``sizes_px`` (N,).
        sizes_px: widths and heights.
        buckets: what `make_buckets` gave for them.

    Returns:
        Two arrays (N,), numbers in ``buckets``: as a video and as a picture.
    """
    number = {bucket: index for index, bucket in enumerate(buckets)}
    lengths = sorted({bucket.num_frames for bucket in buckets})
    table = np.array([[number[Bucket(n, h, w)] for w, h in sizes_px] for n in lengths])
    return table[np.searchsorted(lengths, num_frames_N, side="right") - 1, size_N], table[0, size_N]
