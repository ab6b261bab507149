"""Face crops for SyncNet: which square of the picture it wants to see.

The convention is that of the reference's pipeline (``_crop`` in ``syncnet_pipeline.py`` of
syncnet-python 0.2.3, ``crop_video`` in ``run_pipeline.py`` of joonson/syncnet_python): a square
2.8 times half the longer side of the face box, its centre lower than that of the face by 0.4 of
that half, steadied by a median over 13 frames, with grey where it leaves the picture.

The reference's boxes are those of the S3FD detector; ours bound the face mesh, from the chin to
the upper end of the forehead. How the two compare in size was not measured.

Shape letters: T frames, H W C picture; 4 = left, top, right, bottom.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.signal import medfilt

from stages.errors import StageError
from stages.syncnet import CROP_PX, FRAME_RATE_FPS

CROP_SCALE = 0.40
"""``crop_scale`` of the reference."""

MEDIAN_FRAMES = 13
BORDER_GREY = 110


def grid_times_s(start_s: float, end_s: float) -> np.ndarray:
    """Times of the 25 fps frames of a span.

    Args:
        start_s: start of the span.
        end_s: its end, exclusive.

    Returns:
        (T,) times from the start on, one for each whole frame.
    """
    num_frames = int(np.floor((end_s - start_s) * FRAME_RATE_FPS + 1e-6))
    return start_s + np.arange(num_frames) / FRAME_RATE_FPS


def boxes_at(times_s: np.ndarray, boxes_T4: np.ndarray, wanted_s: np.ndarray) -> np.ndarray:
    """Face boxes at given times, interpolated as the reference fills gaps of its detector.

    Args:
        times_s: (T,) ascending times of the boxes.
        boxes_T4: (T, 4) face boxes in pixels.
        wanted_s: (G,) times wanted; before the first and after the last box that one holds.

    Returns:
        (G, 4) boxes.
    """
    return np.stack([np.interp(wanted_s, times_s, side) for side in boxes_T4.T], axis=1)


def crop_squares(boxes_T4: np.ndarray) -> np.ndarray:
    """Squares to cut out, from the face boxes of one track at 25 fps.

    With ``r`` half the longer side of a box and ``(x, y)`` its centre, each the median of 13
    frames: left and right are ``x -+ 1.4 r``, top is ``y - r`` and bottom ``y + 1.8 r``, all
    rounded down. The median takes zeros beyond the ends of the track, as scipy's does.

    Args:
        boxes_T4: (T, 4) face boxes in pixels, T >= 13.

    Returns:
        (T, 4) int64, which may reach out of the picture.

    Raises:
        StageError: the track is shorter than the median.
    """
    if len(boxes_T4) < MEDIAN_FRAMES:
        raise StageError(
            f"a track of {len(boxes_T4)} frames is shorter than the median of {MEDIAN_FRAMES}; "
            "SyncNet scores no track under 2 s, so ask for no crops of it"
        )
    left, top, right, bottom = np.asarray(boxes_T4, np.float64).T
    half = medfilt(np.maximum(bottom - top, right - left) / 2, MEDIAN_FRAMES)
    x = medfilt((left + right) / 2, MEDIAN_FRAMES)
    y = medfilt((top + bottom) / 2, MEDIAN_FRAMES)
    beside, below = half * (1 + CROP_SCALE), half * (1 + 2 * CROP_SCALE)
    sides = np.stack([x - beside, y - half, x + beside, y + below], axis=1)
    return np.floor(sides).astype(np.int64)


def cut_face(picture_HWC: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Cut one square out of a picture and bring it to the size of the network's input.

    Args:
        picture_HWC: uint8 picture; the order of its channels is kept.
        square: left, top, right, bottom in pixels of this picture.

    Returns:
        (224, 224, C) uint8.
    """
    height, width, num_channels = picture_HWC.shape
    left, top, right, bottom = (int(side) for side in square)
    framed = np.full((bottom - top, right - left, num_channels), BORDER_GREY, np.uint8)
    rows = slice(max(top, 0), min(bottom, height))
    columns = slice(max(left, 0), min(right, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        framed[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
            picture_HWC[rows, columns]
        )
    return cv2.resize(framed, (CROP_PX, CROP_PX))
