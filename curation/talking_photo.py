"""A portrait, bent frame by frame into somebody who talks.

A frame is a sum of displacement fields, one for each thing a face does, resampled in one pass. The
lips part along a seam: above it the field of the upper lip holds, below it that of the lower lip,
and what opens between them is painted from the photograph's own teeth and a dark mouth.

In this room: one face and its frames. Not here: who it is (``portrait``), when it does what
(``face_motion``), what is written to a file (``talking_clip``).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from curation.face_fields import (
    LOWER_LIP,
    NUM_LIP_FIELDS,
    UPPER_LIP,
    Field,
    landmark_shifts,
    make_fields,
    mouth_window,
)
from curation.portrait import NOSE_TIP, Picture, Points, Portrait

_LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)

_SPREAD, _DRAWN_IN = 0.10, 0.26  # change of the mouth's width at width 1 and -1
_GRID_STEP_PX = 8
_SENSOR_NOISE = 2.0  # grey levels
_DARK_MOUTH = np.array([46, 20, 22], np.float32)
_TONGUE = np.array([128, 62, 64], np.float32)


class TalkingPhoto:
    """One face that can be posed; everything that does not depend on the pose is made here, once.

    Attributes:
        portrait: the still picture.
    """

    def __init__(self, portrait: Portrait, *, seed: int) -> None:
        """Prepare the fields.

        Args:
            portrait: whom to animate.
            seed: of the sensor noise.
        """
        self.portrait = portrait
        height_px, width_px = portrait.opacity.shape
        self._size_px = (width_px, height_px)
        # Nodes in the middle of 8 x 8 cells: where cv2.resize expects them when it enlarges.
        xs = np.arange(0, width_px, _GRID_STEP_PX, dtype=np.float32) + (_GRID_STEP_PX - 1) / 2
        ys = np.arange(0, height_px, _GRID_STEP_PX, dtype=np.float32) + (_GRID_STEP_PX - 1) / 2
        self._grid = np.stack(np.meshgrid(xs, ys), axis=-1)
        self._columns, self._rows = np.meshgrid(
            np.arange(width_px, dtype=np.float32), np.arange(height_px, dtype=np.float32)
        )
        points = portrait.landmarks_px
        self._fields_upper, self._fields_lower = make_fields(points, self._grid)
        self._window = mouth_window(points, self._grid)
        used_rows, used_columns = np.nonzero(self._window[..., 0])
        self._mouth_nodes = np.s_[
            used_rows.min() : used_rows.max() + 2, used_columns.min() : used_columns.max() + 2
        ]
        self._shifts_px = landmark_shifts(points)
        self._lids = [_lid_field(points, lids) for lids in _LIDS]
        self._inside = _mouth_inside(portrait)
        self._rgba = np.dstack([portrait.person_rgb, portrait.opacity])
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, _SENSOR_NOISE, (height_px + 64, width_px + 64, 3))
        self._noise_up = np.clip(noise, 0, 255).astype(np.uint8)
        self._noise_down = np.clip(-noise, 0, 255).astype(np.uint8)
        self._rng_offsets = np.random.default_rng(seed + 1).integers(0, 64, (4096, 2))

    def frame(
        self,
        index: int,
        lips: NDArray[np.float64],
        pose: NDArray[np.float64],
        blink: float,
    ) -> Picture:
        """One picture.

        Args:
            index: of the frame; picks the sensor noise.
            lips: [4] gap, width, rounding, bite, as in ``face_motion.LipCurves``.
            pose: [6] as in ``face_motion.HeadMotion``.
            blink: 0 open to 1 shut.

        Returns:
            uint8 RGB [height, width, 3].
        """
        weights = _weights(lips, pose)
        source_x, source_y, seam = self._where_from(weights)
        if blink > 0.02:
            self._blink(source_x, source_y, blink)
        rgba = cv2.remap(
            self._rgba, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
        self._paint_mouth(rgb, seam, weights, rounding=float(lips[2]))
        person_share = rgba[..., 3].astype(np.float32) * (1 / 255)
        rgb = cv2.blendLinear(rgb, self.portrait.wall_rgb, person_share, 1 - person_share)
        top, left = self._rng_offsets[index % len(self._rng_offsets)]
        window = np.s_[top : top + rgb.shape[0], left : left + rgb.shape[1]]
        noisy = cv2.subtract(cv2.add(rgb, self._noise_up[window]), self._noise_down[window])
        return np.asarray(noisy)

    def _where_from(self, weights: Field) -> tuple[Field, Field, Points]:
        """Source x and y of every pixel [height, width], and the parted lips [2, 11, 2]."""
        width_px, height_px = self._size_px
        upper = _inverse(np.tensordot(weights, self._fields_upper, 1), self._grid)
        lower = _inverse(np.tensordot(weights, self._fields_lower, 1), self._grid)
        moved = _enlarged(upper)[:height_px, :width_px]
        source_x, source_y = self._columns + moved[..., 0], self._rows + moved[..., 1]
        lips_px = self._lips_px(weights)
        # Below the seam of the lips, and only about the mouth, the lower field takes over.
        difference = _enlarged(((lower - upper) * self._window)[self._mouth_nodes])
        top, left = (nodes.start * _GRID_STEP_PX for nodes in self._mouth_nodes)
        part = np.s_[top : top + difference.shape[0], left : left + difference.shape[1]]
        part_rows, part_columns = self._rows[part], self._columns[part]
        difference = difference[: part_rows.shape[0], : part_rows.shape[1]]
        seam_y = np.interp(part_columns[0], lips_px[0, :, 0], lips_px[0, :, 1])
        below = np.clip(part_rows - seam_y.astype(np.float32) + 0.5, 0, 1)
        source_x[part] += below * difference[..., 0]
        source_y[part] += below * difference[..., 1]
        return source_x, source_y, lips_px

    def _lips_px(self, weights: Field) -> Points:
        """The inner lips [2, 11, 2] (upper, lower) of a pose, in pixels; they never cross."""
        edges = np.array([UPPER_LIP[0], LOWER_LIP[0]])
        rest = self.portrait.landmarks_px[edges, :2]
        lips_px = rest + np.tensordot(weights, self._shifts_px[:, edges], 1)
        middle = lips_px[..., 1].mean(axis=0)
        lips_px[0, :, 1] = np.minimum(lips_px[0, :, 1], middle)
        lips_px[1, :, 1] = np.maximum(lips_px[1, :, 1], middle)
        return lips_px

    def _blink(self, source_x: Field, source_y: Field, blink: float) -> None:
        """Draw the upper lids down, in place: their skin is fetched from further up."""
        for left, top, lid_px in self._lids:
            rows = np.s_[max(top - 40, 0) : top + lid_px.shape[0] + 40]
            columns = np.s_[max(left - 40, 0) : left + lid_px.shape[1] + 40]
            part_x, part_y = source_x[rows, columns], source_y[rows, columns]
            lift = cv2.remap(lid_px, part_x - left, part_y - top, cv2.INTER_LINEAR)
            part_y -= blink * lift

    def _paint_mouth(
        self, rgb: Picture, lips_px: Points, weights: Field, *, rounding: float
    ) -> None:
        """Paint what the parted lips show, in place: teeth that stay with the skull, then dark."""
        outline = np.concatenate([lips_px[0], lips_px[1, ::-1]])
        left, top = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 3, 0)
        right, bottom = np.ceil(outline.max(axis=0)).astype(int) + 4
        part = rgb[top:bottom, left:right]
        if part.size == 0:
            return
        skull = [78, 308, NOSE_TIP]
        anchors = self.portrait.landmarks_px[skull, :2]
        head = np.s_[NUM_LIP_FIELDS:]
        moved = anchors + np.tensordot(weights[head], self._shifts_px[head, skull], 1)
        to_source = cv2.getAffineTransform(
            (moved - [left, top]).astype(np.float32), anchors.astype(np.float32)
        )
        inside = cv2.warpAffine(
            self._inside,
            to_source,
            (part.shape[1], part.shape[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ).astype(np.float32)
        # Rounded lips hide the teeth.
        inside += 0.85 * np.clip(rounding, 0, 1) * (_DARK_MOUTH - inside)
        share = np.zeros(part.shape[:2], np.uint8)
        corners = np.round((outline - [left, top]) * 16).astype(np.int32)
        cv2.fillPoly(share, [corners], 255, lineType=cv2.LINE_AA, shift=4)
        blend = cv2.GaussianBlur(share, (3, 3), 0)[..., None].astype(np.float32) / 255
        part[:] = (part + blend * (inside - part)).astype(np.uint8)


def _weights(lips: NDArray[np.float64], pose: NDArray[np.float64]) -> Field:
    """Weights [11] of the fields: shut, gap, width, rounding, bite, then the six of the head."""
    gap, width, rounding, bite = lips
    spread = width * (_SPREAD if width > 0 else _DRAWN_IN)
    return np.array([1.0, gap, spread, rounding, bite, *pose], np.float32)


def _inverse(forward: Field, grid: Field) -> Field:
    """Backward displacement on the grid: the fixed point of b(x) = -d(x + b(x))."""
    backward = -forward
    for _ in range(4):
        at = (grid + backward - grid[0, 0]) * (1 / _GRID_STEP_PX)
        backward = -cv2.remap(
            forward, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return backward


def _enlarged(coarse: Field) -> Field:
    """A field on the grid's nodes, on the pixels of their cells."""
    rows, columns = coarse.shape[:2]
    return np.asarray(cv2.resize(coarse, (columns * _GRID_STEP_PX, rows * _GRID_STEP_PX)))


def _lid_field(
    points: Points, lids: tuple[tuple[int, ...], tuple[int, ...]]
) -> tuple[int, int, Field]:
    """How far up the skin of a shut lid comes from: left, top, and [height, width] in pixels."""
    upper, lower = points[list(lids[0]), :2], points[list(lids[1]), :2]
    order_upper, order_lower = np.argsort(upper[:, 0]), np.argsort(lower[:, 0])
    left, right = int(upper[:, 0].min()), int(np.ceil(upper[:, 0].max()))
    columns = np.arange(left, right + 1)
    upper_y = np.interp(columns, upper[order_upper, 0], upper[order_upper, 1])
    lower_y = np.interp(columns, lower[order_lower, 0], lower[order_lower, 1])
    open_px = np.maximum(lower_y - upper_y, 0)
    top, bottom = int((upper_y - open_px).min()) - 1, int(np.ceil(lower_y.max())) + 2
    rows = np.arange(top, bottom)[:, None]
    skin_top = upper_y - 0.9 * open_px
    down = (rows - skin_top) / np.maximum(lower_y - skin_top, 1e-6)
    lift = np.clip(down, 0, 1) * open_px * np.clip(lower_y + 1 - rows, 0, 1)
    return left, top, lift.astype(np.float32)


def _mouth_inside(portrait: Portrait) -> Picture:
    """The picture with everything below the upper teeth made a dark mouth with a tongue."""
    points = portrait.landmarks_px
    height_px, width_px = portrait.opacity.shape
    upper, lower = points[list(UPPER_LIP[0]), :2], points[list(LOWER_LIP[0]), :2]
    columns, rows = np.arange(width_px), np.arange(height_px)[:, None]
    upper_y = np.interp(columns, upper[:, 0], upper[:, 1])
    lower_y = np.interp(columns, lower[:, 0], lower[:, 1])
    width = upper[-1, 0] - upper[0, 0]
    centre_x = (upper[0, 0] + upper[-1, 0]) / 2
    # The photographed teeth end where the lower lip covers them; a pixel of lip is left out.
    teeth = np.clip((upper_y + 0.86 * (lower_y - upper_y) - rows) / 1.5 + 0.5, 0, 1)[..., None]
    sides = np.clip(1.25 - (2 * (columns - centre_x) / width) ** 2, 0.25, 1)[:, None]
    across, down = (columns - centre_x) / (0.3 * width), (rows - lower_y.max() - 0.26 * width)
    tongue = np.exp(-(across**2) - (down / (0.14 * width)) ** 2)[..., None]
    dark = _DARK_MOUTH + 0.7 * tongue * (_TONGUE - _DARK_MOUTH)
    seen = portrait.person_rgb.astype(np.float32) * sides * 0.92
    return np.asarray(np.clip(dark + teeth * (seen - dark), 0, 255), np.uint8)
