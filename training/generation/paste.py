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
MATCHED = 0.5
"""Pixels below this weight are the seam, over which mean colours are matched."""


def pasted(
    source: av.VideoFrame, made_HWC: np.ndarray, mask_HW: np.ndarray, *, match_colours: bool = True
) -> av.VideoFrame:
    """Show generated pixels within a region of a source frame.

    Args:
        source: yuv420p or yuv444p.
        made_HWC: generated picture, uint8 RGB, of the source's size; only the region is shown.
        mask_HW: the region, in the source's pixels.
        match_colours: shift the result's mean colour to the source's along the seam.

    Returns:
        A new frame in the source's format; outside of the region its planes are the source's.
    """
    if not mask_HW.any():
        return source
    made = _as_source(made_HWC, source)
    alpha = feathered(mask_HW, FEATHER_RATIO * _smaller_side(mask_HW))
    planes = []
    for index, (plane, other) in enumerate(zip(_planes(source), _planes(made), strict=True)):
        weight = alpha if plane.shape == alpha.shape else _halved(alpha)
        values = other.astype(np.float32)
        if match_colours:
            seam = (weight > 0) & (weight < MATCHED)
            if seam.any():
                values += float(plane[seam].astype(np.float32).mean() - values[seam].mean())
        mixed = plane + weight * (values - plane)
        top = 255 if index or source.color_range == 2 else 235
        shown = np.clip(np.rint(mixed), 0 if index or top == 255 else 16, top).astype(np.uint8)
        planes.append(np.where(weight > 0, shown, plane))
    return _frame(planes, source)


def _as_source(made_HWC: np.ndarray, source: av.VideoFrame) -> av.VideoFrame:
    """Generated picture in the source's format, matrix and range."""
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(made_HWC), format="rgb24")
    matrix = {1: "ITU709", 5: "ITU601", 6: "ITU601", 9: "BT2020"}.get(source.colorspace, "ITU601")
    return rgb.reformat(
        format=source.format.name,
        dst_colorspace=matrix,
        dst_color_range="JPEG" if source.color_range == 2 else "MPEG",
    )


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        planes.append(rows[: plane.height, : plane.width].copy())
    return planes


def _frame(planes: list[np.ndarray], like: av.VideoFrame) -> av.VideoFrame:
    frame = av.VideoFrame(like.width, like.height, like.format.name)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = like.colorspace, like.color_range
    return frame


def _halved(alpha_HW: np.ndarray) -> np.ndarray:
    """Least weight of each two by two pixels: shared colour changes only where all four may."""
    height, width = alpha_HW.shape
    even = alpha_HW[: height // 2 * 2, : width // 2 * 2]
    return even.reshape(height // 2, 2, width // 2, 2).min(axis=(1, 3))


def _smaller_side(mask_HW: np.ndarray) -> float:
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    return float(min(np.ptp(rows), np.ptp(columns)) + 1)
