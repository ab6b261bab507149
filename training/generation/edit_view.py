"""The part of a source that the model sees in an edit: the faces with some room, or all of it.

A small face in a large frame would have a few cells of the latent; seen closer it has most of them.
The part stays where it is for the whole video, so that the camera that the model sees does not
move. Its room and the share from which the whole frame is as good are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.generation.editing import Region
from training.generation.inputs import MAX_SIDE_RATIO, Size

_ROOM = 1.2
"""Region sizes added on each side: the region is a lower face, so this shows head and neck."""
_WORTHWHILE_RATIO = 0.5


class View(NamedTuple):
    """A rectangle of the source, in its pixels."""

    left_px: int
    top_px: int
    size: Size

    def of(self, picture_HWC: np.ndarray) -> np.ndarray:
        """Return the part of a picture that is seen."""
        rows = slice(self.top_px, self.top_px + self.size.height_px)
        return picture_HWC[rows, self.left_px : self.left_px + self.size.width_px]

    def seen(self, region: Region) -> Region:
        """Return a region in the pixels of the part."""
        corner = np.array([self.left_px, self.top_px, 0, 0, 0], np.float32)
        return Region(region.shapes_T5 - corner, self.size)

    def put_back(self, part_HWC: np.ndarray, size: Size) -> np.ndarray:
        """Return a picture of the source's size that shows the part at its place, else black."""
        import cv2

        picture = np.zeros((size.height_px, size.width_px, 3), np.uint8)
        if part_HWC.shape[1::-1] != tuple(self.size):
            part_HWC = cv2.resize(part_HWC, tuple(self.size), interpolation=cv2.INTER_CUBIC)
        self.of(picture)[:] = part_HWC
        return picture


def whole_view(size: Size) -> View:
    """Return the view of everything."""
    return View(0, 0, size)


def close_view(regions: Sequence[Region]) -> View:
    """Choose the part that the model sees.

    Args:
        regions: what is made anew, one a speaker, in the source's pixels.

    Returns:
        The faces over all frames with room around; everything, if that is hardly more.
    """
    size = regions[0].size
    shapes = np.concatenate([region.shapes_T5 for region in regions])
    shapes = shapes[np.isfinite(shapes).all(axis=1)]
    if not len(shapes):
        return whole_view(size)
    # A turned region reaches at most as far as its diagonal.
    reach = np.hypot(shapes[:, 2], shapes[:, 3])[:, None]
    room = (1 + 2 * _ROOM) * shapes[:, 2:4]
    extent = np.maximum(reach, room)
    low = np.floor((shapes[:, :2] - extent).min(axis=0)).clip(0)
    high = np.ceil((shapes[:, :2] + extent).max(axis=0))
    high = np.minimum(high, [size.width_px, size.height_px])
    seen = Size(*(high - low).astype(int).tolist())
    is_small = seen.width_px * seen.height_px < _WORTHWHILE_RATIO * size.width_px * size.height_px
    if not is_small or max(seen) > MAX_SIDE_RATIO * min(seen):
        return whole_view(size)
    return View(int(low[0]), int(low[1]), seen)
