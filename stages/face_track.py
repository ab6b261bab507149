"""A face track: one face followed over consecutive frames, and how it is stored.

In the room: the evidence record, its slices by span, and its compact form. Not in the room:
how faces are found (``face_tracker``) and what is measured of them (``faces``).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from manifests.span import Span
from stages.landmarks import (
    CHEEK_NOSE,
    FACE_OVAL,
    INNER_LIP,
    JAW_CHIN,
    LEFT_EYE,
    LEFT_IRIS,
    NUM_LANDMARKS,
    OUTER_LIP,
    RIGHT_EYE,
    RIGHT_IRIS,
    STABLE,
    PoseFit,
    head_pose_deg,
    normalise_pose,
)

STORED_POINTS = tuple(
    sorted(
        {
            *OUTER_LIP,
            *INNER_LIP,
            *FACE_OVAL,
            *JAW_CHIN,
            *CHEEK_NOSE,
            *STABLE,
            *RIGHT_EYE,
            *LEFT_EYE,
            *RIGHT_IRIS,
            *LEFT_IRIS,
        }
    )
)
"""Mesh points kept with a clip: contours, lips, jaw, eyes, irises and the rigid points, which is
what masks, lip sync and head pose need; the other points of the mesh only smooth its surface."""

_STEPS_PER_FACE = 1 << 13
"""Stored coordinates are steps of face height / 8192: 0.04 px on a 300 px face."""


@dataclass(frozen=True)
class FaceTrack:
    """One face over time. Shape letters: T frames, P mesh points.

    Attributes:
        number: number of the track within its source.
        pts: (T,) int64, ascending; frames in which the mesh was found.
        landmarks_TPC: (T, 478, 3) float32 in shown pixels (x right, y down, z away); points
            that were not stored are NaN.
        score: (T,) float32, detection score, carried from the nearest detection.
        sharpness: (T,) float32, edge energy of the face at 128 px.
        lower_face: (T, 24, 24) uint8, luma of the lower face with the pose taken out; empty
            where it was not stored.
        support_ratio: share of the detections during the track that saw this face.
    """

    number: int
    pts: np.ndarray
    landmarks_TPC: np.ndarray
    score: np.ndarray
    sharpness: np.ndarray
    lower_face: np.ndarray
    support_ratio: float

    def within(self, span: Span) -> FaceTrack:
        """The part of the track inside a span.

        Args:
            span: span in the time base of the track.

        Returns:
            A track with views of the same arrays.
        """
        first, last = np.searchsorted(self.pts, [span.start, span.end])
        part = slice(int(first), int(last))
        return FaceTrack(
            self.number,
            self.pts[part],
            self.landmarks_TPC[part],
            self.score[part],
            self.sharpness[part],
            self.lower_face[part],
            self.support_ratio,
        )

    def times_s(self, time_base: Fraction) -> np.ndarray:
        """Times of the frames in seconds, (T,) float64."""
        return self.pts * float(time_base)

    @cached_property
    def boxes(self) -> np.ndarray:
        """Bounding box of the mesh, (T, 4) float32: left, top, right, bottom in shown pixels."""
        if not len(self.pts):
            return np.zeros((0, 4), np.float32)
        points = self.landmarks_TPC[..., :2]
        return np.concatenate([np.nanmin(points, axis=1), np.nanmax(points, axis=1)], axis=1)

    @cached_property
    def heights_px(self) -> np.ndarray:
        """Face height, chin to the upper end of the forehead, (T,)."""
        return self.boxes[:, 3] - self.boxes[:, 1]

    @cached_property
    def pose(self) -> PoseFit:
        """The mesh with its pose taken out, and the pose."""
        return normalise_pose(self.landmarks_TPC)

    @cached_property
    def angles_deg(self) -> np.ndarray:
        """Yaw, pitch and roll, (T, 3), signs as in ``landmarks.head_pose_deg``."""
        return np.stack(head_pose_deg(self.pose.rotation_T33), axis=1)


@dataclass(frozen=True)
class FaceTracks:
    """All tracks of a source, and the clock they were seen on.

    Attributes:
        tracks: tracks in the order of their first frames.
        frame_pts: (N,) int64, pts of every decoded frame.
        num_meshed: runs of the mesh, one for each followed face and frame, those of tracks that
            turned out to be no faces included.
    """

    tracks: tuple[FaceTrack, ...]
    frame_pts: np.ndarray
    num_meshed: int = 0


def pack_track(track: FaceTrack) -> bytes:
    """Compact form of a track: the stored points in fixed steps of the face height.

    Args:
        track: track, usually of one clip.

    Returns:
        A zip of ``.npy`` members with fixed dates; equal tracks give equal bytes.
    """
    points = track.landmarks_TPC[:, STORED_POINTS]
    centre = track.boxes[:, :2].astype(np.float32) if len(track.pts) else np.zeros((0, 2))
    height = np.maximum(track.heights_px, 1).astype(np.float32)
    origin = np.concatenate([centre, np.zeros((len(centre), 1))], axis=1)[:, None]
    steps = np.rint((points - origin) / height[:, None, None] * _STEPS_PER_FACE)
    return save_arrays(
        {
            "number": np.int64(track.number),
            "pts": track.pts.astype(np.int64),
            "point_index": np.array(STORED_POINTS, np.int16),
            "steps": np.clip(np.nan_to_num(steps), -32768, 32767).astype(np.int16),
            "corner_px": centre.astype(np.float32),
            "height_px": height,
            "score": track.score.astype(np.float16),
            "sharpness": track.sharpness.astype(np.float32),
            "support_ratio": np.float32(track.support_ratio),
        }
    )


def unpack_track(data: bytes) -> FaceTrack:
    """Read what :func:`pack_track` wrote; points that were not stored are NaN."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        num_frames = len(arrays["pts"])
        landmarks = np.full((num_frames, NUM_LANDMARKS, 3), np.nan, np.float32)
        scaled = arrays["steps"].astype(np.float32) / _STEPS_PER_FACE
        points = scaled * arrays["height_px"][:, None, None]
        points[..., :2] += arrays["corner_px"][:, None]
        landmarks[:, arrays["point_index"]] = points
        return FaceTrack(
            number=int(arrays["number"]),
            pts=arrays["pts"],
            landmarks_TPC=landmarks,
            score=arrays["score"].astype(np.float32),
            sharpness=arrays["sharpness"],
            lower_face=np.zeros((num_frames, 0, 0), np.uint8),
            support_ratio=float(arrays["support_ratio"]),
        )


def save_arrays(arrays: dict[str, np.ndarray | np.generic]) -> bytes:
    """Write an ``.npz`` whose bytes depend on the arrays alone.

    ``numpy.savez_compressed`` stamps the members with the current date.

    Args:
        arrays: arrays by name.

    Returns:
        The archive.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(arrays[name]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()
