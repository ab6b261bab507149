"""How a picture is brought to the size of its bucket: scaled to cover it, then cropped.

The crop keeps the face: it lies in the middle, moved no further than the face needs. The same
numbers move pixels, landmarks and masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PictureFit:
    """A scale, a crop and maybe a mirror.

    Attributes:
        scaled_width_px: width of the whole picture after scaling.
        scaled_height_px: height of the whole picture after scaling.
        left_px: first column of the crop.
        top_px: first row of the crop.
        width_px: W of the result.
        height_px: H of the result.
        scale_x: scaled pixels per pixel of the packed video, horizontally.
        scale_y: the same, vertically.
        is_mirrored: left and right are exchanged at the end.
    """

    scaled_width_px: int
    scaled_height_px: int
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    scale_x: float
    scale_y: float
    is_mirrored: bool

    def points(self, points_P: np.ndarray) -> np.ndarray:
        """Move points with the picture.

        Args:
            points_P: (..., 2 or 3) x, y and maybe z in pixels of the packed video.

        Returns:
            The same points in pixels of the result; z is scaled as x is.
        """
        moved = points_P.astype(np.float32)
        moved[..., 0] = moved[..., 0] * self.scale_x - self.left_px
        moved[..., 1] = moved[..., 1] * self.scale_y - self.top_px
        moved[..., 2:] *= self.scale_x
        if self.is_mirrored:
            moved[..., 0] = self.width_px - moved[..., 0]
        return moved


def fit_picture(
    size_px: tuple[int, int],
    wanted_px: tuple[int, int],
    face_box: np.ndarray | None,
    is_mirrored: bool,
    face_height_ratio: float = 0.0,
) -> PictureFit:
    """Choose scale and crop.

    Args:
        size_px: width and height of the packed video.
        wanted_px: W and H of the result.
        face_box: (4,) left, top, right, bottom of the face over all frames used, in pixels of the
            packed video; `None` if there is none.
        is_mirrored: mirror the result.
        face_height_ratio: share of H that the face is brought to by scaling up, face in the middle;
            0 keeps the framing. A picture is never scaled down below what covers the result.

    Returns:
        The fit.
    """
    width, height = size_px
    cover = max(wanted_px[0] / width, wanted_px[1] / height)
    scale = cover
    if face_box is not None and face_height_ratio > 0:
        scale = max(cover, face_height_ratio * wanted_px[1] / (face_box[3] - face_box[1]))
    # Chroma has half of the rows and columns, so sides are even.
    scaled = [
        max(wanted, round(side * scale / 2) * 2)
        for side, wanted in zip(size_px, wanted_px, strict=True)
    ]
    scales = (scaled[0] / width, scaled[1] / height)
    corner = []
    for axis in (0, 1):
        room = scaled[axis] - wanted_px[axis]
        start = room / 2
        if face_box is not None:
            low, high = face_box[axis] * scales[axis], face_box[axis + 2] * scales[axis]
            if high - low > wanted_px[axis] or scale > cover:
                start = (low + high - wanted_px[axis]) / 2
            else:
                start = min(max(start, high - wanted_px[axis]), low)
        corner.append(int(min(max(round(start), 0), room)))
    return PictureFit(
        scaled_width_px=scaled[0],
        scaled_height_px=scaled[1],
        left_px=corner[0],
        top_px=corner[1],
        width_px=wanted_px[0],
        height_px=wanted_px[1],
        scale_x=scales[0],
        scale_y=scales[1],
        is_mirrored=is_mirrored,
    )
