"""Faces: who is in the picture, how large, how turned, how sharp, how alive.

Gives the tracks of a source (:class:`FaceTracks`) from the shared decode, and for each clip what
its track and its company look like. Who of several faces speaks is a question for sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from pydantic import Field as Setting

from manifests.measurement import measured
from manifests.reasons import Reason
from stages.contract import ClipView, Observer, Stage, StageSettings
from stages.face_track import FaceTrack, FaceTracks
from stages.face_tracker import FaceTracker, TrackerLimits
from stages.facts import SourceFacts, VideoFacts
from stages.landmarks import INNER_LIP, LEFT_EYE, OUTER_LIP, RIGHT_EYE
from stages.mediapipe_faces import MediaPipeDetector, MediaPipeMesher

_MOVING_POINTS = OUTER_LIP + INNER_LIP + LEFT_EYE + RIGHT_EYE
_UPPER_LIP, _LOWER_LIP = 13, 14
_SYLLABLE_S = 0.16
_NEAR_SCORE = 0.5
"""MediaPipe's own limit, with which its FaceMesh starts on a face."""


class FacesSettings(StageSettings):
    """How faces are found and followed.

    Attributes:
        detect_every_s: time between looks of the detector while no face is followed, or one is
            lost.
        confirm_every_s: the same while all faces are followed by the mesh.
        min_score: a detection below is ignored.
        min_face_px: smaller detections start no track.
        max_tracks: faces followed at once, the largest first.
        lost_after_s: a face unseen for longer comes back as a new track.
        min_track_s: shorter tracks are noise.
        min_support_ratio: tracks that the detector confirmed less often are not faces.
        thumbnail_px: longer side of the picture the detector sees; its network has 192 px.
        other_min_height_ratio: other faces count from this share of the clip's face height.
        other_min_presence_ratio: other faces count from this share of the clip's frames.
        other_min_motion: other faces count when lips and eyes move so much within the head ...
        other_min_sway: ... or the head moves by so many face heights in half a second. A still
            photograph measures 0.002 and 0.0003, a silent listener 0.004 and 0.015.
        max_gap_s: the mesh may miss a face for so long within one presence.
    """

    detect_every_s: float = Setting(0.4, gt=0)
    confirm_every_s: float = Setting(0.8, gt=0)
    min_score: float = Setting(0.5, ge=0, le=1)
    min_face_px: float = Setting(24, gt=0)
    max_tracks: int = Setting(4, ge=1)
    lost_after_s: float = Setting(1.0, gt=0)
    min_track_s: float = Setting(0.5, ge=0)
    min_support_ratio: float = Setting(0.34, ge=0, le=1)
    thumbnail_px: int = Setting(320, ge=64)
    other_min_height_ratio: float = Setting(0.4, ge=0)
    other_min_presence_ratio: float = Setting(0.2, ge=0, le=1)
    other_min_motion: float = Setting(0.008, ge=0)
    other_min_sway: float = Setting(0.005, ge=0)
    max_gap_s: float = Setting(0.25, ge=0)


@dataclass(frozen=True)
class FacesMeasurement:
    """The face of a clip, and its company."""

    presence_ratio: float | None = measured(
        "share of the frames in which the face was found", low=Reason.FACE_NOT_PRESENT
    )
    height_px: float | None = measured(
        "median face height, chin to upper forehead, shown pixels",
        unit="px",
        low=Reason.FACE_TOO_SMALL,
    )
    height_ratio: float | None = measured(
        "median face height over picture height",
        low=Reason.FACE_TOO_SMALL,
        high=Reason.FACE_TOO_LARGE,
    )
    area_ratio: float | None = measured(
        "median area of the face box over the picture", low=Reason.FACE_TOO_SMALL
    )
    yaw_deg: float | None = measured("median yaw, + = towards the picture's right", unit="deg")
    pitch_deg: float | None = measured("median pitch, + = up", unit="deg")
    roll_deg: float | None = measured("median roll, + = clockwise", unit="deg")
    abs_yaw_p95_deg: float | None = measured(
        "95th percentile of |yaw|", unit="deg", high=Reason.FACE_TURNED_AWAY
    )
    abs_yaw_median_deg: float | None = measured(
        "median of |yaw|", unit="deg", high=Reason.FACE_TURNED_AWAY
    )
    abs_roll_median_deg: float | None = measured(
        "median of |roll|", unit="deg", high=Reason.FACE_TILTED
    )
    sharpness: float | None = measured(
        "fine detail over contrast of the face at 128 px, median", low=Reason.FACE_BLURRED
    )
    visible_ratio: float | None = measured(
        "share of the face box inside the picture, 5th percentile", low=Reason.FACE_LEAVES_PICTURE
    )
    occluded_ratio: float | None = measured(
        "share of the frames in which something passes before the lower face",
        high=Reason.FACE_OCCLUDED,
    )
    motion: float | None = measured(
        "movement of lips and eyes within the head, in eye distances", low=Reason.FACE_NOT_LIVE
    )
    mouth_opening: float | None = measured("median opening of the lips, in eye distances")
    mouth_motion: float | None = measured(
        "spread of the opening of the lips, in eye distances", low=Reason.FACE_NOT_LIVE
    )
    head_speed: float | None = measured("median speed of the head, in face heights a second")
    detection_score: float | None = measured(
        "median score of the detector", low=Reason.NOT_A_HUMAN_FACE
    )
    num_others: int | None = measured(
        "other live faces of comparable size in the clip", high=Reason.SEVERAL_FACES
    )
    largest_other_ratio: float | None = measured(
        "height of the largest other face, live or not, over this one's", high=Reason.SEVERAL_FACES
    )


class FacesStage(Stage[FacesSettings]):
    """Finds, follows and measures faces."""

    name = "faces"
    version = 3
    settings_type = FacesSettings
    measurement = FacesMeasurement
    gives = (FaceTracks,)
    needs = (SourceFacts,)

    def setup(self) -> None:
        """Load the networks."""
        self._detector = MediaPipeDetector("Full", self.settings.min_score)
        self._near_detector = MediaPipeDetector("Short", _NEAR_SCORE)
        self._mesher = MediaPipeMesher()

    def close(self) -> None:
        """Free the networks."""
        self._detector.close()
        self._near_detector.close()
        self._mesher.close()

    def observer(self, facts: SourceFacts) -> Observer:
        """Follow the faces of one source."""
        settings = self.settings
        limits = TrackerLimits(
            detect_every_s=settings.detect_every_s,
            confirm_every_s=settings.confirm_every_s,
            min_score=settings.min_score,
            min_face_px=settings.min_face_px,
            max_tracks=settings.max_tracks,
            lost_after_s=settings.lost_after_s,
            min_track_s=settings.min_track_s,
            min_support_ratio=settings.min_support_ratio,
            thumbnail_px=settings.thumbnail_px,
        )
        shown_size = (facts.video.width_px, facts.video.height_px)
        networks = (self._detector, self._near_detector, self._mesher)
        return FaceTracker(*networks, limits, shown_size)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Measure the face of each clip."""
        return [self._measure(view) for view in clips]

    def _measure(self, view: ClipView) -> FacesMeasurement:
        evidence = view.evidence.get(FaceTracks)
        span = view.clip.span
        first, last = np.searchsorted(evidence.frame_pts, [span.start, span.end])
        num_frames = int(last - first)
        parts = {track.number: track.within(span) for track in evidence.tracks}
        mine = parts.pop(view.clip.track)
        others = [
            other
            for other in parts.values()
            if len(other.pts) >= self.settings.other_min_presence_ratio * num_frames > 0
        ]
        return measure_face(mine, others, num_frames, view.evidence.facts.video, self.settings)


def measure_face(
    track: FaceTrack,
    others: Sequence[FaceTrack],
    num_frames: int,
    video: VideoFacts,
    settings: FacesSettings,
) -> FacesMeasurement:
    """Measure one face over a clip.

    Args:
        track: the part of the track inside the clip.
        others: parts of the other tracks inside the clip that last long enough to count.
        num_frames: frames of the clip.
        video: facts of the video stream.
        settings: settings of the stage.

    Returns:
        The measurement; all missing if the mesh was never found.
    """
    if len(track.pts) < 2:
        return FacesMeasurement(presence_ratio=len(track.pts) / max(num_frames, 1))
    height_px = float(np.median(track.heights_px))
    widths_px = track.boxes[:, 2] - track.boxes[:, 0]
    yaw, pitch, roll = np.nanmedian(track.angles_deg, axis=0)
    abs_angles = np.abs(track.angles_deg)
    opening = mouth_opening(track)
    ratios = [float(np.median(other.heights_px)) / height_px for other in others]
    num_others = sum(
        ratio >= settings.other_min_height_ratio and is_live(other, video.time_base, settings)
        for ratio, other in zip(ratios, others, strict=True)
    )
    return FacesMeasurement(
        presence_ratio=len(track.pts) / max(num_frames, 1),
        height_px=height_px,
        height_ratio=height_px / video.height_px,
        area_ratio=float(np.median(track.heights_px * widths_px))
        / (video.width_px * video.height_px),
        yaw_deg=float(yaw),
        pitch_deg=float(pitch),
        roll_deg=float(roll),
        abs_yaw_p95_deg=float(np.nanpercentile(abs_angles[:, 0], 95)),
        abs_yaw_median_deg=float(np.nanmedian(abs_angles[:, 0])),
        abs_roll_median_deg=float(np.nanmedian(abs_angles[:, 2])),
        sharpness=float(np.median(track.sharpness)),
        visible_ratio=float(np.percentile(_visible(track, video), 5)),
        occluded_ratio=occluded_ratio(track),
        motion=expression_motion(track, video.time_base),
        mouth_opening=float(np.nanmedian(opening)),
        mouth_motion=float(np.nanstd(opening)),
        head_speed=_head_speed(track, video, height_px),
        detection_score=float(np.median(track.score)),
        num_others=num_others,
        largest_other_ratio=max(ratios, default=0.0),
    )


def presence(
    track: FaceTrack, frame_pts: np.ndarray, max_gap_ticks: float
) -> list[tuple[int, int]]:
    """Stretches over which a face stays in the picture.

    Args:
        track: the track; its pts are a subset of ``frame_pts``.
        frame_pts: (N,) pts of all frames, ascending.
        max_gap_ticks: gaps up to so many pts units are bridged.

    Returns:
        First and last pts of each stretch, both inclusive, ascending.
    """
    if not len(track.pts):
        return []
    index = np.searchsorted(frame_pts, track.pts)
    is_next = np.diff(index) == 1
    is_short = np.diff(track.pts) <= max_gap_ticks
    breaks = np.flatnonzero(~(is_next | is_short))
    starts = np.concatenate([[0], breaks + 1])
    ends = np.concatenate([breaks, [len(track.pts) - 1]])
    return [(int(track.pts[a]), int(track.pts[b])) for a, b in zip(starts, ends, strict=True)]


def mouth_opening(track: FaceTrack) -> np.ndarray:
    """Distance of the inner lips, pose taken out, in units of the eye distance, (T,)."""
    points = track.pose.points_TPC
    return np.linalg.norm(points[:, _UPPER_LIP] - points[:, _LOWER_LIP], axis=-1)


def expression_motion(track: FaceTrack, time_base: Fraction) -> float:
    """Movement of lips and eyes within the head: median over points of the spread over time.

    A printed face moves rigidly: what is left is the jitter of the mesh, about 0.003.

    Args:
        track: the track.
        time_base: seconds per pts unit.

    Returns:
        Spread in units of the eye distance; 0 for less than two frames.
    """
    if len(track.pts) < 2:
        return 0.0
    points = track.pose.points_TPC[:, list(_MOVING_POINTS), :2]
    # Differences over a syllable drop slow drift of the fit, which is no expression.
    lag = _lag(track, time_base, _SYLLABLE_S)
    return float(np.nanmedian(np.nanstd(points[lag:] - points[:-lag], axis=0)))


def is_live(track: FaceTrack, time_base: Fraction, settings: FacesSettings) -> bool:
    """Tell a face that lives from a printed one.

    A camera that moves makes a poster count as live, which is the safer error.

    Args:
        track: the track.
        time_base: seconds per pts unit.
        settings: what counts as moving.

    Returns:
        The face, or the head, moves by itself.
    """
    if len(track.pts) < 2:
        return False
    if expression_motion(track, time_base) >= settings.other_min_motion:
        return True
    centres = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2
    lag = _lag(track, time_base, 0.5)
    steps = np.linalg.norm(centres[lag:] - centres[:-lag], axis=1)
    return float(np.median(steps) / np.median(track.heights_px)) >= settings.other_min_sway


def _lag(track: FaceTrack, time_base: Fraction, seconds: float) -> int:
    """Number of the track's frames in so many seconds, at least 1, less than all."""
    frame_s = float(np.median(np.diff(track.pts)) * time_base)
    return min(max(1, round(seconds / frame_s)), len(track.pts) - 1)


def occluded_ratio(track: FaceTrack) -> float | None:
    """Share of the frames whose lower face looks unlike the track's usual one.

    Compares each frame with the median over the clip, so a hand or a microphone that comes and
    goes is found, a beard or a mask that stays is not.

    Args:
        track: track with its ``lower_face`` pictures.

    Returns:
        Share in [0, 1]; ``None`` without pictures.
    """
    pictures = track.lower_face.astype(np.float32)
    if pictures.size == 0:
        return None
    pictures -= pictures.mean(axis=(1, 2), keepdims=True)
    usual = np.median(pictures, axis=0)
    spread = max(float(usual.std()), 8.0)
    covered = np.mean(np.abs(pictures - usual) > 1.5 * spread, axis=(1, 2))
    return float(np.mean(covered > 0.2))


def _visible(track: FaceTrack, video: VideoFacts) -> np.ndarray:
    left, top, right, bottom = track.boxes.T
    width = np.clip(right, 0, video.width_px) - np.clip(left, 0, video.width_px)
    height = np.clip(bottom, 0, video.height_px) - np.clip(top, 0, video.height_px)
    return width * height / np.maximum((right - left) * (bottom - top), 1)


def _head_speed(track: FaceTrack, video: VideoFacts, height_px: float) -> float:
    centres = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2
    elapsed_s = np.diff(track.times_s(video.time_base))
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    return float(np.median(steps / np.maximum(elapsed_s, 1e-3)) / height_px)
