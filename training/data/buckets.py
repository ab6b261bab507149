"""Buckets: the few shapes that batches come in, and which clip goes to which.

Not here: order and batches (`epoch_plan.py`), and the cutting itself (`picture_fit.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIZE_STEP_PX = 16
"""A side has to be a multiple of it: 8 pixels a latent cell (Wan2.1's VAE) times 2 cells a patch
(`patch_size` (1, 2, 2) of diffusers' WanTransformer3DModel)."""


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


ASPECTS = (16 / 9, 4 / 3, 1.0, 3 / 4, 9 / 16)
"""Width by height of the usual buckets. The authors' demo clips have widths of 320 to 832 at a
height of 448 (their project page); which aspects they trained on is unknown."""


def sizes_of_area(area_px: int, step_px: int = SIZE_STEP_PX) -> tuple[tuple[int, int], ...]:
    """Sizes of about one area in the usual aspects.

    Args:
        area_px: pixels of a frame.
        step_px: what each side is a multiple of.

    Returns:
        Widths and heights, the widest first; equal ones once.
    """
    sizes = []
    for aspect in ASPECTS:
        sides = ((area_px * aspect) ** 0.5, (area_px / aspect) ** 0.5)
        sizes.append(tuple(max(step_px, round(side / step_px) * step_px) for side in sides))
    return tuple((width, height) for width, height in dict.fromkeys(sizes))


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
