"""Putting generated pixels back into a source frame, in the source's own planes.

Turning a 4:2:0 frame into RGB and back changes every pixel a little; here what lies outside of the
region is never converted, so that it leaves as it came, and only the encoder touches it.
"""

from __future__ import annotations

import av
import numpy as np

from training.generation.editing import feathered

FEATHER_RATIO = 0.06
"""Of the region's smaller side. Ours."""
_FULL_RANGE = 2
"""FFmpeg's number for samples from 0 to 255."""
MATCHED = 0.5
"""Pixels below this weight are the seam, over which mean colours are matched."""


def pasted(
    source: av.VideoFrame, made_HWC: np.ndarray, mask_HW: np.ndarray, *, match_colours: bool = True
) -> av.VideoFrame:
    """Show generated pixels within a region of a source frame.

    Args:
        source: planar YUV of 8 or 10 bits.
        made_HWC: generated picture, uint8 RGB, in the source's shape; only the region is shown.
        mask_HW: the region, in the source's pixels.
        match_colours: shift the result's mean colour to the source's along the seam.

    Returns:
        A new frame in the source's format; outside of the region its planes are the source's.
    """
    import cv2

    if not mask_HW.any():
        return source
    made = _as_source(made_HWC, source)
    alpha = feathered(mask_HW, FEATHER_RATIO * _smaller_side(mask_HW))
    # Of an interlaced frame, colour is shared by lines of one field, two apart.
    of_colour = cv2.erode(alpha, np.ones((5, 1))) if source.interlaced_frame else alpha
    step = 1 << (_bits(source) - 8)
    is_full = source.color_range == _FULL_RANGE
    planes = []
    for index, (plane, other) in enumerate(zip(_planes(source), _planes(made), strict=True)):
        weight = _reduced(of_colour if index else alpha, plane.shape)
        values = other.astype(np.float32)
        if match_colours:
            seam = (weight > 0) & (weight < MATCHED)
            if seam.any():
                values += float(plane[seam].astype(np.float32).mean() - values[seam].mean())
        mixed = plane + weight * (values - plane)
        low, high = (0, 256 * step - 1) if index or is_full else (16 * step, 235 * step)
        shown = np.clip(np.rint(mixed), low, high).astype(plane.dtype)
        planes.append(np.where(weight > 0, shown, plane))
    return _frame(planes, source)


def _as_source(made_HWC: np.ndarray, source: av.VideoFrame) -> av.VideoFrame:
    """Generated picture in the source's size, format, matrix and range."""
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(made_HWC), format="rgb24")
    matrix = {1: "ITU709", 5: "ITU601", 6: "ITU601", 9: "BT2020"}.get(source.colorspace, "ITU601")
    return rgb.reformat(
        width=source.width,
        height=source.height,
        format=source.format.name,
        dst_colorspace=matrix,
        dst_color_range="JPEG" if source.color_range == _FULL_RANGE else "MPEG",
        interpolation="BICUBIC",
    )


def _bits(frame: av.VideoFrame) -> int:
    return int(frame.format.components[0].bits)


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    kind = np.dtype("<u2" if _bits(frame) > 8 else np.uint8)
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
        planes.append(rows[: plane.height, : plane.width].copy())
    return planes


def _frame(planes: list[np.ndarray], like: av.VideoFrame) -> av.VideoFrame:
    frame = av.VideoFrame(like.width, like.height, like.format.name)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = like.colorspace, like.color_range
    frame.color_primaries, frame.color_trc = like.color_primaries, like.color_trc
    return frame


def _reduced(alpha_HW: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Least weight of the pixels that share a sample: it changes only where all of them may."""
    (height, width), (rows, columns) = alpha_HW.shape, shape
    cells = alpha_HW.reshape(rows, height // rows, columns, width // columns)
    return cells.min(axis=(1, 3))


def _smaller_side(mask_HW: np.ndarray) -> float:
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    return float(min(np.ptp(rows), np.ptp(columns)) + 1)
