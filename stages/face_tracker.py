"""Following faces through the shared decode: detect seldom, mesh always.

A full-range detector looks at a small picture a few times a second. Every face it finds, and a
detector of near faces finds again in a crop, is followed by a FaceMesh (refined landmarks) on a
crop that moves with the face, frame after frame; the first detector only starts tracks, confirms
them and brings lost ones back. Faces are not told apart across cuts: that is the cutter's business,
which knows the shots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import cv2
import numpy as np

from stages.decode import Crop, FrameView
from stages.face_track import FaceTrack, FaceTracks
from stages.growing_array import GrowingArray
from stages.landmarks import NUM_LANDMARKS
from stages.mediapipe_faces import Detection, FaceRegion

CROP_RATIO = 2.0
"""Side of the crop over the longer side of the face (research: 2x crops keep the whole head)."""

CROP_SIZE = 256
"""Side of the crop in pixels; the mesh network sees a face of about 128 px in it."""

LOWER_FACE_SIZE = 24
_NOSE_TIP, _CHIN, _LEFT_CHEEK, _RIGHT_CHEEK = 2, 152, 234, 454
_RIGHT_EYE_CORNER, _LEFT_EYE_CORNER = 33, 263

SHARPNESS_EVERY = 3
"""Frames from one measurement of sharpness to the next, which is as good for its median."""


class FaceDetector(Protocol):
    """Finds faces on a small picture."""

    def __call__(self, picture: np.ndarray) -> list[Detection]:
        """Detect faces in an RGB picture (H, W, 3); boxes are in [0, 1] of its sides."""


class FaceMesher(Protocol):
    """Finds the mesh of a face whose place is about known."""

    def __call__(self, picture: np.ndarray, region: FaceRegion) -> np.ndarray | None:
        """Return (478, 3) in [0, 1] of the crop's sides (z in units of its width), or ``None``."""


@dataclass(frozen=True)
class TrackerLimits:
    """Limits of the tracker; see ``faces.FacesSettings`` for their meaning."""

    detect_every_s: float
    confirm_every_s: float
    min_score: float
    min_face_px: float
    max_tracks: int
    lost_after_s: float
    min_track_s: float
    min_support_ratio: float
    thumbnail_px: int


@dataclass
class _LiveTrack:
    """A track that is being followed."""

    number: int
    centre: np.ndarray
    side_px: float
    score: float
    last_seen_s: float
    is_lost: bool = False
    region: FaceRegion | None = None
    num_looks: int = 1
    num_confirmed: int = 1
    pts: list[int] = field(default_factory=list)
    landmarks: GrowingArray = field(
        default_factory=lambda: GrowingArray((NUM_LANDMARKS, 3), np.float32)
    )
    scores: list[float] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    lower_face: GrowingArray = field(
        default_factory=lambda: GrowingArray((LOWER_FACE_SIZE, LOWER_FACE_SIZE), np.uint8)
    )
    first_s: float = 0.0
    mesh_box: np.ndarray | None = None

    @property
    def support_ratio(self) -> float:
        """Share of the looks of the detector that saw it."""
        return self.num_confirmed / self.num_looks

    def box(self) -> tuple[float, float, float, float]:
        half = self.side_px / CROP_RATIO / 2
        x, y = self.centre
        return (x - half, y - half, x + half, y + half)


class FaceTracker:
    """Observer: detections at a low rate, a mesh for every frame of every followed face."""

    def __init__(
        self,
        detector: FaceDetector,
        near_detector: FaceDetector,
        mesher: FaceMesher,
        limits: TrackerLimits,
        shown_size: tuple[int, int],
    ) -> None:
        self._detector = detector
        self._near_detector = near_detector
        self._mesher = mesher
        self._limits = limits
        self._width, self._height = shown_size
        self._live: list[_LiveTrack] = []
        self._ended: list[_LiveTrack] = []
        self._frame_pts: list[int] = []
        self._next_look_s = -np.inf
        self._num_tracks = 0
        self._num_meshed = 0

    def observe(self, frame: FrameView) -> None:
        """Follow every face into this frame, and look for new ones now and then."""
        self._frame_pts.append(frame.pts)
        if frame.time_s >= self._next_look_s:
            self._look(frame)
            all_followed = self._live and not any(track.is_lost for track in self._live)
            wait_s = self._limits.confirm_every_s if all_followed else self._limits.detect_every_s
            self._next_look_s = frame.time_s + wait_s
        for track in self._live:
            if not track.is_lost:
                self._follow(track, frame)
                if track.is_lost:
                    # Most often a cut: whoever is there now is looked for in the next frame.
                    self._next_look_s = frame.time_s
        frame.faces = {
            track.number: track.mesh_box
            for track in self._live
            if track.mesh_box is not None and track.pts[-1] == frame.pts
        }
        self._end_lost(frame.time_s)

    def finish(self) -> FaceTracks:
        """Close all tracks and return those that the detector confirmed often enough."""
        kept = []
        faces = [*self._ended, *(track for track in self._live if self._is_face(track))]
        for track in sorted(faces, key=lambda t: t.number):
            kept.append(
                FaceTrack(
                    number=track.number,
                    pts=np.array(track.pts, np.int64),
                    landmarks_TPC=track.landmarks.finish(),
                    score=np.array(track.scores, np.float32),
                    sharpness=np.array(track.sharpness, np.float32),
                    lower_face=track.lower_face.finish(),
                    support_ratio=track.support_ratio,
                )
            )
        return FaceTracks(tuple(kept), np.array(self._frame_pts, np.int64), self._num_meshed)

    def _is_face(self, track: _LiveTrack) -> bool:
        lasts_s = track.last_seen_s - track.first_s
        return (
            lasts_s >= self._limits.min_track_s
            and track.support_ratio >= self._limits.min_support_ratio
        )

    def _look(self, frame: FrameView) -> None:
        picture = frame.thumbnail(self._limits.thumbnail_px)
        detections = [
            replace(
                found,
                box=(
                    found.box[0] * self._width,
                    found.box[1] * self._height,
                    found.box[2] * self._width,
                    found.box[3] * self._height,
                ),
            )
            for found in self._detector(picture)
            if found.score >= self._limits.min_score
        ]
        detections.sort(key=lambda d: (-(d.box[3] - d.box[1]), d.box))
        for track in self._live:
            track.num_looks += not track.is_lost
            best = max(detections, key=lambda d: _overlap(track.box(), d.box), default=None)
            if best is None or _overlap(track.box(), best.box) < 0.2:
                continue
            detections.remove(best)
            track.num_confirmed += not track.is_lost
            track.score = best.score
            if track.is_lost:
                _aim(track, best.box)
                track.is_lost = False
        for detection in detections:
            if len(self._live) >= self._limits.max_tracks:
                break
            if detection.box[3] - detection.box[1] >= self._limits.min_face_px:
                self._start(detection, frame.time_s)

    def _start(self, detection: Detection, time_s: float) -> None:
        track = _LiveTrack(
            number=self._num_tracks,
            centre=np.zeros(2),
            side_px=0.0,
            score=detection.score,
            last_seen_s=time_s,
            first_s=time_s,
        )
        _aim(track, detection.box)
        self._num_tracks += 1
        self._live.append(track)

    def _follow(self, track: _LiveTrack, frame: FrameView) -> None:
        crop = frame.crop(track.centre[0], track.centre[1], track.side_px, CROP_SIZE)
        mesh = self._mesh(track, crop)
        self._num_meshed += 1
        if mesh is None:
            track.is_lost = True
            return
        points = _in_picture(mesh, crop)
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        if (high - low).max() < self._limits.min_face_px / 2:
            track.is_lost = True
            return
        track.region = _region_of(points)
        track.centre = (low + high) / 2
        # The side follows slowly, so that an opening mouth does not pump the crop.
        track.side_px = 0.8 * track.side_px + 0.2 * CROP_RATIO * float((high - low).max())
        track.last_seen_s = frame.time_s
        track.pts.append(frame.pts)
        track.landmarks.append(points)
        track.mesh_box = np.concatenate([low, high])
        track.scores.append(track.score)
        grey = cv2.cvtColor(crop.picture, cv2.COLOR_RGB2GRAY)
        is_measured = len(track.sharpness) % SHARPNESS_EVERY == 0
        track.sharpness.append(_edge_energy(grey, mesh) if is_measured else track.sharpness[-1])
        track.lower_face.append(_lower_face(grey, mesh))

    def _mesh(self, track: _LiveTrack, crop: Crop) -> np.ndarray | None:
        """Run the mesh network where the face was, or where a crop first shows it."""
        if track.region is not None:
            return self._mesher(crop.picture, _in_crop(track.region, crop))
        near = next(iter(self._near_detector(crop.picture)), None)
        if near is None:
            return None
        left, top, right, bottom = near.box
        side = max(right - left, bottom - top)
        region = FaceRegion((left + right) / 2, (top + bottom) / 2, side, near.roll_rad)
        return self._mesher(crop.picture, region)

    def _end_lost(self, time_s: float) -> None:
        for track in list(self._live):
            if track.is_lost and time_s - track.last_seen_s > self._limits.lost_after_s:
                self._live.remove(track)
                if self._is_face(track):
                    track.landmarks.finish()
                    track.lower_face.finish()
                    self._ended.append(track)


def _aim(track: _LiveTrack, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    # The detector's box ends at the brows; the mesh reaches the upper forehead.
    track.centre = np.array([(left + right) / 2, (top + bottom) / 2 - 0.1 * (bottom - top)])
    track.side_px = CROP_RATIO * max(right - left, bottom - top)
    track.region = None


def _in_picture(mesh: np.ndarray, crop: Crop) -> np.ndarray:
    """A mesh of a crop, in shown pixels."""
    scale = np.array([crop.width_px, crop.height_px, crop.width_px], np.float32)
    return mesh * scale + np.array([crop.left_px, crop.top_px, 0], np.float32)


def _in_crop(region: FaceRegion, crop: Crop) -> FaceRegion:
    """A region in shown pixels, as seen in a crop."""
    return FaceRegion(
        (region.x - crop.left_px) / crop.width_px,
        (region.y - crop.top_px) / crop.height_px,
        region.side / crop.width_px,
        region.roll_rad,
    )


def _region_of(points: np.ndarray) -> FaceRegion:
    """Where a mesh lies: its box, and the line between the outer corners of the eyes."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    x, y = (low + high) / 2
    across = points[_LEFT_EYE_CORNER] - points[_RIGHT_EYE_CORNER]
    roll_rad = math.atan2(across[1], across[0])
    return FaceRegion(float(x), float(y), float((high - low).max()), roll_rad)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _edge_energy(grey: np.ndarray, mesh: np.ndarray) -> float:
    """Share of the face's contrast that lies in fine detail, about 128 px to a face.

    The energy of the difference to a blurred copy over the whole variance: unlike the variance
    of the Laplacian it does not depend on light and contrast.
    """
    size = grey.shape[0]
    low = np.clip((mesh[:, :2].min(axis=0) * size).astype(int), 0, size - 2)
    high = np.clip((mesh[:, :2].max(axis=0) * size).astype(int), low + 2, size)
    face = grey[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    detail = cv2.norm(face, cv2.GaussianBlur(face, (0, 0), 1.5)) / np.sqrt(face.size)
    return float(detail / max(float(cv2.meanStdDev(face)[1][0, 0]), 1.0))


def _lower_face(grey: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Luma of nose tip to chin, cheek to cheek, laid on a small square."""
    size = grey.shape[0]
    middle = mesh[_NOSE_TIP, :2]
    across = (mesh[_RIGHT_CHEEK, :2] - mesh[_LEFT_CHEEK, :2]) / 2
    down = mesh[_CHIN, :2] - middle
    source = np.array([middle - across, middle + across, middle + down], np.float32) * size
    n = LOWER_FACE_SIZE
    target = np.array([[0, 0], [n, 0], [n / 2, n]], np.float32)
    return cv2.warpAffine(
        grey, cv2.getAffineTransform(source, target), (n, n), flags=cv2.INTER_LINEAR
    )
