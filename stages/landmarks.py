"""The face mesh: which point is which, and its pose taken out.

In the room: index sets of the 478-point MediaPipe FaceMesh (`refine_landmarks=True`), the fit of a
mesh to a frontal mean face, and head angles. Not in the room: finding faces or running the mesh.

Axes everywhere: x to the picture's right, y down, z away from the camera, all in the same unit.
Shape letters: T frames, P mesh points, C = 3 coordinates, 3 = axes.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

NUM_LANDMARKS = 478
"""468 mesh points and 10 iris points; without `refine_landmarks` lips are over-smooth and late
(0.19 frame) and must not be used for sync."""

# Contours are in drawing order: mediapipe/python/solutions/face_mesh_connections.py, Apache-2.0.
# "Left" and "right" are the person's own.
OUTER_LIP = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip
INNER_LIP = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_IRIS = (469, 470, 471, 472)
LEFT_IRIS = (474, 475, 476, 477)

# Sets of our own choice, for lip motion.
JAW_CHIN = (152, 148, 377, 176, 400, 149, 378, 172, 397, 199, 200, 18, 175, 201, 421)
CHEEK_NOSE = (205, 425, 50, 280, 187, 411, 206, 426, 2, 164)
LIP_MOTION = OUTER_LIP + INNER_LIP + JAW_CHIN + CHEEK_NOSE
"""The 65 points whose movement tells speech."""
STABLE = (
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 9, 8, 10, 151, 67, 297, 103, 332, 127, 356,
    234, 454, 122, 351, 196, 419, 48, 278, 70, 300, 107, 336,
)  # fmt: skip
"""The 33 points of forehead, nose, eye corners and temples that speech hardly moves."""


class PoseFit(NamedTuple):
    """A mesh in head-fixed coordinates, and the pose that was taken out.

    `picture = scale * rotation @ normalised + translation`; rows that were NaN stay NaN.

    Attributes:
        points_TPC: the mesh laid on the mean face; 1 unit = distance of the outer eye corners.
        rotation_T33: head orientation, mean-face axes to picture axes; identity when frontal.
        scale_T: input units (pixels) for one normalised unit, above 0.
    """

    points_TPC: FloatArray
    rotation_T33: FloatArray
    scale_T: FloatArray


@lru_cache(maxsize=1)
def canonical_face() -> FloatArray:
    """Return the frontal mean face, (478, 3), symmetric, outer eye corners 1 apart.

    The mean over 37 clips of one speaker each (named in `sync_net.md`): generalised Procrustes
    analysis, averaged with its own mirror image, then turned so that x runs through the outer eye
    corners and the line from the top of the forehead (10) to the chin (152) lies in the picture's
    plane. The face model of MediaPipe's geometry module would serve as well, but the wheel
    (0.10.14) does not contain it.
    """
    path = files("stages").joinpath("mean_face.npz")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return np.asarray(arrays["canonical_PC"], np.float64)


def fit_similarity(points_TPC: FloatArray, target_PC: FloatArray) -> PoseFit:
    """Fit rotation, scale and translation of each frame to one target, by least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991: with both sides centred and `H = target^T points = U S V^T`,
    `R = V diag(1, 1, det(V U^T)) U^T`.

    Args:
        points_TPC: (T, P, 3); frames that hold a NaN are carried through as NaN.
        target_PC: (P, 3), the same points on the target.

    Returns:
        The fit; its `points_TPC` are the given points, laid on the target.
    """
    points_TPC = np.asarray(points_TPC, np.float64)
    valid_T = np.asarray(np.isfinite(points_TPC).all(axis=(1, 2)))
    centre_T1C = points_TPC.mean(axis=1, keepdims=True)
    target_centre_C = target_PC.mean(axis=0)
    target_PC = target_PC - target_centre_C
    safe_TPC = np.where(valid_T[:, None, None], points_TPC - centre_T1C, target_PC)
    U_T33, S_T3, Vt_T33 = np.linalg.svd(np.einsum("pc,tpd->tcd", target_PC, safe_TPC))
    flip_T3 = np.ones_like(S_T3)
    flip_T3[:, 2] = np.sign(np.linalg.det(U_T33 @ Vt_T33))
    rotation_T33 = np.swapaxes(Vt_T33, 1, 2) * flip_T3[:, None, :] @ np.swapaxes(U_T33, 1, 2)
    scale_T = (S_T3 * flip_T3).sum(axis=1) / np.square(target_PC).sum()
    laid_TPC = safe_TPC @ rotation_T33 / scale_T[:, None, None] + target_centre_C
    for result in (laid_TPC, rotation_T33, scale_T):
        result[~valid_T] = np.nan
    return PoseFit(laid_TPC, rotation_T33, scale_T)


def normalise_pose(
    landmarks_TPC: FloatArray,
    canonical_PC: FloatArray | None = None,
    stable: Sequence[int] = STABLE,
) -> PoseFit:
    """Take head pose, size and place out of a mesh sequence, so that what is left is expression.

    The pose is fitted on the stable points alone and applied to all.

    Args:
        landmarks_TPC: (T, P, 3), P = 478 or 468 (no irises), in square pixels; NaN where there
            is no mesh.
        canonical_PC: (478, 3) target; None for `canonical_face()`.
        stable: indices of the points that the fit uses.

    Returns:
        The mesh in head-fixed coordinates, and the pose.
    """
    canonical_PC = canonical_face() if canonical_PC is None else canonical_PC
    index = list(stable)
    anchor_TPC = np.asarray(landmarks_TPC[:, index], np.float64)
    target_PC = canonical_PC[index]
    fit = fit_similarity(anchor_TPC, target_PC)
    offset_TPC = landmarks_TPC - anchor_TPC.mean(axis=1, keepdims=True)
    points_TPC = offset_TPC @ fit.rotation_T33 / fit.scale_T[:, None, None]
    return PoseFit(points_TPC + target_PC.mean(axis=0), fit.rotation_T33, fit.scale_T)


def head_pose_deg(rotation_T33: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return yaw, pitch and roll, each (T,), in degrees; NaN where the rotation is NaN.

    `R = yaw * pitch * roll` (roll first). Yaw and pitch are those of the direction the face looks
    in, roll is about that direction. Zero pitch is a head whose top of forehead (point 10) is as
    far from the camera as its chin (point 152), as in MediaPipe's own face model.

    Args:
        rotation_T33: head orientations, as `normalise_pose` returns them.

    Returns:
        yaw: -180..180, + = the face is turned towards the picture's right.
        pitch: -90..90, + = the face looks up.
        roll: -180..180, + = the head is turned clockwise in the picture.
    """
    R = np.asarray(rotation_T33)
    yaw_T = np.arctan2(-R[..., 0, 2], R[..., 2, 2])
    pitch_T = np.arctan2(R[..., 1, 2], np.hypot(R[..., 0, 2], R[..., 2, 2]))
    roll_T = np.arctan2(R[..., 1, 0], R[..., 1, 1])
    return np.degrees(yaw_T), np.degrees(pitch_T), np.degrees(roll_T)
