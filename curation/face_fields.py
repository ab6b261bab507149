"""Displacement fields of a face: where each point of the picture goes for each thing a face does.

Eleven fields in a fixed order: the photographed smile shut, gap, width, rounding, bite (the lips),
then shift x, shift y, roll, growth, yaw, pitch (the head). A pose is a weighted sum of them. In
this room: geometry over still landmarks. Not here: drawing (``talking_photo``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from curation.portrait import CHIN, FOREHEAD, Points

Field = NDArray[np.float32]

NUM_LIP_FIELDS = 5
# MediaPipe FaceMesh, from the picture's left corner of the mouth to the right one. Rows of a lip:
# inner edge, inside, middle, outer edge; the corners belong to both lips.
UPPER_LIP = (
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
)
LOWER_LIP = (
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
)
_LIP_THICKENING = (0.0, 0.35, 0.7, 1.0)  # inner edge to outer edge, when lips are rounded

_WIDEST_GAP = 0.42  # between the inner lips at gap 1.0, as a share of the mouth's width: "ah"
_UPPER_SHARE = 0.18  # of the opening; the rest is the jaw's
_CHIN_SHARE = 0.8  # of what the lower lip drops


def landmark_shifts(points: Points) -> Points:
    """Where the landmarks go, by the eleven fields at weight 1.

    Args:
        points: [468, 3] FaceMesh landmarks in pixels.

    Returns:
        [11, 468, 2] in pixels.
    """
    xy = points[:, :2]
    upper, lower = np.array(UPPER_LIP), np.array(LOWER_LIP)
    left, right = points[78], points[308]
    centre_x, mouth_y = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
    width = right[0] - left[0]
    face_height = points[CHIN, 1] - points[FOREHEAD, 1]
    off_x, off_y = xy[:, 0] - centre_x, xy[:, 1] - mouth_y
    arch = np.clip(1 - (2 * off_x / width) ** 2, 0, 1) ** 0.6
    # Short upwards: lips that are drawn in must not pinch the nose.
    reach_y = np.where(off_y < 0, 0.2, 0.34) * width
    near_mouth = np.hypot(off_x / (0.62 * width), off_y / reach_y)
    near_mouth = np.exp(-(np.maximum(near_mouth - 1, 0) ** 2) / (2 * 0.45**2))
    jaw = _jaw_share(points)

    shifts = np.zeros((NUM_LIP_FIELDS, len(points), 2))
    shut, gap, spread, rounding, bite = shifts
    smile_gap = xy[lower[0], 1] - xy[upper[0], 1]
    widest = _WIDEST_GAP * width
    shut[:, 1] = -0.6 * smile_gap.max() * jaw
    gap[:, 1] = (1 - _UPPER_SHARE) * widest * jaw
    for row in range(len(upper)):
        corner_free = arch[upper[0]]
        shut[upper[row], 1] = 0.25 * smile_gap
        shut[lower[row], 1] = -0.75 * smile_gap
        gap[upper[row], 1] = -_UPPER_SHARE * widest * corner_free
        gap[lower[row], 1] = (1 - _UPPER_SHARE) * widest * corner_free
        thicker = _LIP_THICKENING[row] * width * corner_free
        rounding[upper[row], 1] = -0.07 * thicker
        rounding[lower[row], 1] = 0.08 * thicker
        bite[upper[row], 1] = -0.045 * width * corner_free
        bite[lower[row], 1] = -0.06 * width * corner_free
    # The photographed smile is relaxed a little, or "oo" would start from a grin.
    sideways = np.clip(off_x, -0.6 * width, 0.6 * width) * near_mouth
    shut[:, 0] -= 0.08 * sideways
    shut[:, 1] += 0.016 * face_height * near_mouth * np.clip((2 * off_x / width) ** 2, 0, 1)
    gap[:, 0] -= 0.07 * sideways
    spread[:, 0] = sideways
    spread[:, 1] = -0.12 * np.abs(sideways)
    return np.concatenate([shifts, _head_shifts(points, xy), _turn_shifts(points)])


def make_fields(points: Points, grid: Field) -> tuple[Field, Field]:
    """The eleven fields on a grid, once as the upper lip moves and once as the lower does.

    They differ about the mouth only: each is interpolated without the other lip's landmarks.

    Args:
        points: [468, 3] landmarks in pixels.
        grid: [rows, columns, 2] positions in pixels.

    Returns:
        Two arrays [11, rows, columns, 2], in pixels.
    """
    shifts = landmark_shifts(points)
    interpolated = [*range(NUM_LIP_FIELDS), NUM_LIP_FIELDS + 4, NUM_LIP_FIELDS + 5]
    face_height = points[CHIN, 1] - points[FOREHEAD, 1]
    centre = (points[CHIN, :2] + points[FOREHEAD, :2]) / 2
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * face_height
    rings = np.concatenate([centre + circle * radius for radius in (0.95, 1.3, 1.9)])
    corners = set(np.ravel(UPPER_LIP)) & set(np.ravel(LOWER_LIP))
    flat_grid = grid.reshape(-1, 2).astype(np.float64)
    rigid = _head_shifts(points, flat_grid)
    fields = []
    for other_lip in (LOWER_LIP, UPPER_LIP):
        left_out = set(np.ravel(other_lip)) - corners
        kept = np.array([i for i in range(len(points)) if i not in left_out])
        values = shifts[interpolated][:, kept].transpose(1, 0, 2).reshape(len(kept), -1)
        values = np.concatenate([values, np.zeros((len(rings), values.shape[1]))])
        places = np.concatenate([points[kept, :2], rings])
        # Linear kernel and a touch of smoothing: no overshoot between crowded landmarks.
        field = RBFInterpolator(places, values, kernel="linear", smoothing=0.05)(flat_grid)
        soft = field.reshape(len(flat_grid), len(interpolated), 2).transpose(1, 0, 2)
        whole = np.concatenate([soft[:NUM_LIP_FIELDS], rigid, soft[NUM_LIP_FIELDS:]])
        fields.append(whole.reshape(len(shifts), *grid.shape).astype(np.float32))
    return fields[0], fields[1]


def mouth_window(points: Points, grid: Field) -> Field:
    """Where the lower lip's field may differ from the upper one's: [rows, columns, 1], 0 to 1."""
    width = points[308, 0] - points[78, 0]
    centre = points[[78, 308, 14, 17], :2].mean(axis=0)
    away = np.hypot(
        (grid[..., 0] - centre[0]) / (0.85 * width), (grid[..., 1] - centre[1]) / (0.85 * width)
    )
    return np.asarray(np.clip(2.2 - 1.7 * away, 0, 1)[..., None], np.float32)


def _jaw_share(points: Points) -> Points:
    """How much each landmark follows the lower jaw [468]: 0 above the mouth, 1 at the lower lip."""
    mouth_y, lip_y, chin_y = points[[78, 308], 1].mean(), points[17, 1], points[CHIN, 1]
    x, y = points[:, 0], points[:, 1]
    half_width = (points[454, 0] - points[234, 0]) / 2
    middle_x = points[[78, 308], 0].mean()
    ramp = np.clip((y - mouth_y) / (lip_y - mouth_y), 0, 1)
    sides = np.clip(1 - ((x - middle_x) / half_width) ** 2, 0, 1)
    down = np.clip((y - lip_y) / (chin_y - lip_y), 0, 1)
    return np.asarray(ramp * sides * (1 - (1 - _CHIN_SHARE) * down))


def _head_shifts(points: Points, places: Points) -> Points:
    """Shift x, shift y, roll, growth at places [N, 2]: [4, N, 2]; the shoulders stay."""
    face_height = points[CHIN, 1] - points[FOREHEAD, 1]
    chin = points[CHIN, :2]
    below = np.clip((places[:, 1] - chin[1]) / (0.8 * face_height), 0, 1)
    share = (1 - below * below * (3 - 2 * below))[:, None]
    arm = places - chin - np.array([0, 0.3 * face_height])
    zero, one = np.zeros(len(places)), np.full(len(places), face_height)
    shifts = np.stack(
        [
            np.stack([one, zero], axis=1),
            np.stack([zero, one], axis=1),
            np.stack([-arm[:, 1], arm[:, 0]], axis=1),
            arm,
        ]
    )
    return np.asarray(share * shifts)


def _turn_shifts(points: Points) -> Points:
    """Yaw and pitch at the landmarks: [2, 468, 2]; what is nearer to the camera moves further."""
    depth = points[:, 2] - points[[10, 152, 234, 454], 2].mean()
    zero = np.zeros(len(points))
    return np.stack([np.stack([-depth, zero], axis=1), np.stack([zero, -depth], axis=1)])
