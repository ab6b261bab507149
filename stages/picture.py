"""Picture: sharpness, exposure, noise, bars, frozen and damaged pictures, motion of the camera.

One observer watches every frame for stillness and damage, a few frames a second for the motion of
the camera, and one a second for what the picture is like (:mod:`stages.picture_quality`). Clips
are measured from that trace. Faces are no question here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pydantic import Field as Setting

from manifests.span import Span
from stages.contract import ClipView, Observer, Stage, StageSettings
from stages.decode import FrameView
from stages.facts import SourceFacts
from stages.picture_quality import PictureSample, examine_picture
from stages.picture_records import PictureMeasurement, PictureTrace
from stages.stillness import CameraWatch, StillnessWatch

_CROP_PX = 64
_CROP_PLACES = ((0.2, 0.2), (0.8, 0.2), (0.5, 0.4), (0.3, 0.7), (0.7, 0.7))


class PictureSettings(StageSettings):
    """How often is looked, and what counts as standing still.

    Attributes:
        thumbnail_px: longer side of the small picture; that of the shots stage costs nothing more.
        sample_s: time between pictures examined for sharpness, exposure and the like.
        camera_s: time between pictures compared for the motion of the camera.
        frozen_level: a frame is frozen if no cell of 16 x 32 pixels differs from the frame before
            by more, in grey levels. Encoder noise on a still photo stays below 0.3; of the stillest
            real speakers, never more than two frames in a row lie below 0.6.
        frozen_s: shortest frozen stretch; shorter ones are repeated frames.
        damage_s: how long the picture may stay broken after a frame that the decoder flags.
    """

    thumbnail_px: int = Setting(192, ge=64, le=640)
    sample_s: float = Setting(1.0, gt=0)
    camera_s: float = Setting(0.25, gt=0)
    frozen_level: float = Setting(0.6, gt=0)
    frozen_s: float = Setting(0.4, gt=0)
    damage_s: float = Setting(0.4, ge=0)


class PictureObserver(Observer):
    """Watches frames; what it keeps of one is a few numbers."""

    def __init__(self, facts: SourceFacts, settings: PictureSettings) -> None:
        self._facts = facts
        self._settings = settings
        self._stillness = StillnessWatch(settings.frozen_level)
        self._camera = CameraWatch(settings.camera_s)
        self._frames: list[tuple[int, float, bool, bool]] = []
        self._samples: list[tuple[int, PictureSample]] = []
        self._sampled_s = -np.inf

    def observe(self, frame: FrameView) -> None:
        """Take one decoded frame."""
        small = frame.thumbnail(self._settings.thumbnail_px)
        luma = frame.luma()
        red, green, blue, _ = cv2.mean(small)
        mean = 0.299 * red + 0.587 * green + 0.114 * blue
        self._frames.append((frame.pts, mean, self._stillness.is_still(luma), frame.is_corrupt))
        self._camera.observe(frame.pts, frame.time_s, small)
        if frame.time_s - self._sampled_s >= self._settings.sample_s:
            self._sampled_s = frame.time_s
            self._samples.append((frame.pts, examine_picture(luma, small, self._crops(frame))))

    def finish(self) -> PictureTrace:
        """Return the trace of the source."""
        video = self._facts.video
        pts = np.array([item[0] for item in self._frames], np.int64)
        one = max(1, round(1 / (video.frame_rate * video.time_base)))
        last = int(pts[-1] - pts[-2]) if len(pts) > 1 else one
        camera = self._camera.speeds
        return PictureTrace(
            time_base=video.time_base,
            pts=pts,
            time_s=pts * float(video.time_base),
            end_pts=int(pts[-1]) + last if len(pts) else 0,
            luma_mean=np.array([item[1] for item in self._frames], np.float32),
            is_frozen=np.array([item[2] for item in self._frames], bool),
            is_corrupt=np.array([item[3] for item in self._frames], bool),
            sample_pts=np.array([item[0] for item in self._samples], np.int64),
            samples=tuple(item[1] for item in self._samples),
            camera_pts=np.array([item[0] for item in camera], np.int64),
            camera_speed=np.array([item[1] for item in camera], np.float32),
        )

    def _crops(self, frame: FrameView) -> list[np.ndarray]:
        width, height = self._facts.video.width_px, self._facts.video.height_px
        return [
            frame.crop(x * width, y * height, _CROP_PX, _CROP_PX).picture for x, y in _CROP_PLACES
        ]


class PictureStage(Stage[PictureSettings]):
    """What the picture is like."""

    name = "picture"
    version = 3
    settings_type = PictureSettings
    measurement = PictureMeasurement
    gives = (PictureTrace,)
    needs = (SourceFacts,)

    def observer(self, facts: SourceFacts) -> PictureObserver:
        """Return a fresh observer for one source."""
        return PictureObserver(facts, self.settings)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Measure each clip from the trace of its source."""
        return [
            measure_picture(clip.clip.span, clip.evidence.get(PictureTrace), self.settings)
            for clip in clips
        ]


def measure_picture(
    span: Span, trace: PictureTrace, settings: PictureSettings
) -> PictureMeasurement:
    """Measure one clip.

    Args:
        span: the clip, on the clock of the trace.
        trace: evidence of its source.
        settings: what counts as frozen or damaged.

    Returns:
        The measurement; empty if the trace has no frame in the span.
    """
    inside = (trace.pts >= span.start) & (trace.pts < span.end)
    if not inside.any():
        return PictureMeasurement()
    frozen = [
        part for item in trace.frozen_spans(settings.frozen_s) if (part := item.intersect(span))
    ]
    in_frozen = np.zeros(len(trace.pts), bool)
    for part in frozen:
        in_frozen |= (trace.pts >= part.start) & (trace.pts < part.end)
    speed = trace.camera_speed[(trace.camera_pts > span.start) & (trace.camera_pts < span.end)]
    values = _typical_sample(span, trace)
    return PictureMeasurement(
        sharpness=values["sharpness"],
        fine_detail=values["fine_detail"],
        luma_median=values["luma_median"],
        luma_range=values["luma_range"],
        crushed_ratio=values["crushed_ratio"],
        burnt_ratio=values["burnt_ratio"],
        colourfulness=values["colourfulness"],
        noise=values["noise"],
        blockiness=values["blockiness"],
        letterbox_ratio=values["bar_rows_ratio"],
        pillarbox_ratio=values["bar_columns_ratio"],
        blurred_fill_ratio=values["fill_ratio"],
        frozen_ratio=float(sum(part.duration for part in frozen) / span.duration),
        longest_frozen_s=max((part.duration_s for part in frozen), default=0.0),
        duplicate_ratio=float((trace.is_frozen & ~in_frozen)[inside].mean()),
        camera_motion=float(np.median(speed)) if len(speed) else None,
        corrupt_ratio=float(_damaged(trace, settings.damage_s)[inside].mean()),
    )


def _typical_sample(span: Span, trace: PictureTrace) -> dict[str, float]:
    chosen = np.flatnonzero((trace.sample_pts >= span.start) & (trace.sample_pts < span.end))
    if len(chosen) == 0:
        chosen = np.array([np.argmin(np.abs(trace.sample_pts - span.start))])
    table = np.array([dataclasses.astuple(trace.samples[index]) for index in chosen])
    names = [field.name for field in dataclasses.fields(PictureSample)]
    return dict(zip(names, np.median(table, axis=0).tolist(), strict=True))


def _damaged(trace: PictureTrace, damage_s: float) -> np.ndarray:
    """Flagged frames, and those after them, which are predicted from damaged pictures."""
    flagged = np.where(trace.is_corrupt, trace.time_s, -np.inf)
    return trace.time_s - np.maximum.accumulate(flagged) <= damage_s
