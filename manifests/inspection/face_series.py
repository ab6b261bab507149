"""A clip's face over time, from either form in which it is stored.

Shape letters: N frames, P mesh points. Points are those of the 478-point MediaPipe FaceMesh, as
the stored `point_index` numbers them; x to the picture's right, y down, z away, all in pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from manifests.span import Span

# mediapipe/python/solutions/face_mesh_connections.py, Apache-2.0: the person's own right and left.
_SIDES = ((33, 263), (133, 362), (234, 454), (127, 356), (70, 300))
_FOREHEAD, _CHIN = 10, 152
_UPPER_LIP, _LOWER_LIP = 13, 14
_EYE_CORNERS = (33, 263)


@dataclass(frozen=True)
class FaceSeries:
    """One face over time.

    Attributes:
        times_s: (N,) seconds from the clip's start.
        boxes: (N, 4) left, top, right, bottom, in pixels of the packed video or, for a clip that
            is not packed, of the source as shown.
        found: (N,) whether the mesh was found in the frame, and not filled in from neighbours.
        yaw_deg: (N,) + = turned towards the picture's right.
        mouth_opening: (N,) distance of the inner lips over that of the outer eye corners.
    """

    times_s: np.ndarray
    boxes: np.ndarray
    found: np.ndarray
    yaw_deg: np.ndarray
    mouth_opening: np.ndarray

    @property
    def heights_px(self) -> np.ndarray:
        """Face height, chin to upper forehead, (N,)."""
        return self.boxes[:, 3] - self.boxes[:, 1]


def packed_faces(face_npz: bytes, frame_rate_fps: Fraction) -> FaceSeries:
    """Read the `face.npz` of a packed sample.

    Args:
        face_npz: The member's bytes.
        frame_rate_fps: Rate of the packed video.

    Returns:
        The face in every frame of it.
    """
    with np.load(io.BytesIO(face_npz), allow_pickle=False) as arrays:
        points, index = arrays["landmarks"], arrays["point_index"]
        return FaceSeries(
            times_s=np.arange(len(points)) / float(frame_rate_fps),
            boxes=arrays["box"],
            found=arrays["score"] > 0,
            yaw_deg=arrays["head_pose_deg"][:, 0],
            mouth_opening=mouth_opening(points, index),
        )


def stored_faces(track_npz: bytes, span: Span) -> FaceSeries:
    """Read the face track of the ledger: points in integer steps of face height / 8192.

    Args:
        track_npz: The bytes of `face_track_npz`.
        span: The clip.

    Returns:
        The face in the source frames in which it was found.
    """
    with np.load(io.BytesIO(track_npz), allow_pickle=False) as arrays:
        index, pts = arrays["point_index"], arrays["pts"]
        points = arrays["steps"] * (arrays["height_px"][:, None, None] / np.float32(8192))
        points[..., :2] += arrays["corner_px"][:, None]
    flat = points[..., :2]
    return FaceSeries(
        times_s=(pts - span.start) * float(span.time_base),
        boxes=np.concatenate([flat.min(axis=1), flat.max(axis=1)], axis=1),
        found=np.ones(len(pts), bool),
        yaw_deg=yaw_deg(points, index),
        mouth_opening=mouth_opening(points, index),
    )


def yaw_deg(points: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Head yaw from the face's own axes.

    Its x axis is the mean direction between mirrored points, its y axis that from forehead to
    chin, made orthogonal to x; it looks along their cross product. Against the fit of a mean face
    that packing stores, over 77 real clips of -38 to 38 degrees: a clip's median difference is
    below 1 degree in 76 and 3.6 in one, its 95th percentile below 4.9.

    Args:
        points: (N, P, 3).
        index: (P,) their numbers in the mesh.

    Returns:
        (N,) degrees, + = turned towards the picture's right.
    """
    at = {int(number): position for position, number in enumerate(index)}
    sides = [_unit(points[:, at[left]] - points[:, at[right]]) for right, left in _SIDES]
    x_axis = _unit(np.sum(sides, axis=0))
    downwards = points[:, at[_CHIN]] - points[:, at[_FOREHEAD]]
    y_axis = _unit(downwards - (downwards * x_axis).sum(axis=1, keepdims=True) * x_axis)
    z_axis = np.cross(x_axis, y_axis)
    return np.degrees(np.arctan2(-z_axis[:, 0], z_axis[:, 2]))


def mouth_opening(points: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Opening of the mouth, whatever the size and turn of the head.

    Args:
        points: (N, P, 3).
        index: (P,) their numbers in the mesh.

    Returns:
        (N,) distance of the inner lips over that of the outer eye corners.
    """
    at = {int(number): position for position, number in enumerate(index)}
    right, left = _EYE_CORNERS
    lips = np.linalg.norm(points[:, at[_UPPER_LIP]] - points[:, at[_LOWER_LIP]], axis=1)
    eyes = np.linalg.norm(points[:, at[left]] - points[:, at[right]], axis=1)
    return lips / np.maximum(eyes, 1e-6)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
