"""How a picture is brought to the size of its bucket: a part of it is cut out, then scaled.

The part has the bucket's aspect and is as large as the picture allows; it lies in the middle, moved
no further than the face needs. The same numbers move pixels, landmarks and masks. Not here: moving
the pixels (`video_frames.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PictureFit:
    """A cut, a scale and maybe a mirror.

    Attributes:
        left_px: first column of the part that is cut out of the packed picture.
        top_px: its first row.
        cut_width_px: its width.
        cut_height_px: its height.
        width_px: W of the result.
        height_px: H of the result.
        is_mirrored: left and right are exchanged at the end.
    """

    left_px: int
    top_px: int
    cut_width_px: int
    cut_height_px: int
    width_px: int
    height_px: int
    is_mirrored: bool

    def points(self, points_P: np.ndarray) -> np.ndarray:
        """Move points with the picture.

        Args:
            points_P: (..., 2 or 3) x, y and maybe z in pixels of the packed video.

        Returns:
            The same points in pixels of the result; z is scaled as x is.
        """
        scale_x = self.width_px / self.cut_width_px
        moved = points_P.astype(np.float32)
        moved[..., 0] = (moved[..., 0] - self.left_px) * scale_x
        moved[..., 1] = (moved[..., 1] - self.top_px) * self.height_px / self.cut_height_px
        moved[..., 2:] *= scale_x
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
    """Choose what to cut out.

    Args:
        size_px: width and height of the packed video.
        wanted_px: W and H of the result.
        face_box: (4,) left, top, right, bottom of the face over all frames used, in pixels of the
            packed video; `None` if there is none.
        is_mirrored: mirror the result.
        face_height_ratio: share of H that the face is brought to by cutting out less, face in the
            middle; 0 keeps the framing. Never is more cut out than there is.

    Returns:
        The fit.
    """
    cover = max(wanted / side for wanted, side in zip(wanted_px, size_px, strict=True))
    scale = cover
    if face_box is not None and face_height_ratio > 0:
        face_height_px = max(1.0, float(face_box[3] - face_box[1]))
        scale = max(cover, face_height_ratio * wanted_px[1] / face_height_px)
    corner, cut = [], []
    for axis in (0, 1):
        length = _even(min(wanted_px[axis] / scale, size_px[axis]))
        start = (size_px[axis] - length) / 2
        if face_box is not None:
            low, high = float(face_box[axis]), float(face_box[axis + 2])
            if high - low > length or scale > cover:
                start = (low + high - length) / 2
            else:
                start = min(max(start, high - length), low)
        corner.append(_even(min(max(start, 0), size_px[axis] - length), least=0))
        cut.append(length)
    return PictureFit(
        left_px=corner[0],
        top_px=corner[1],
        cut_width_px=cut[0],
        cut_height_px=cut[1],
        width_px=wanted_px[0],
        height_px=wanted_px[1],
        is_mirrored=is_mirrored,
    )


def _even(value: float, least: int = 2) -> int:
    """Round down to an even number, for chroma has half of the rows and columns."""
    return max(least, int(value) // 2 * 2)
