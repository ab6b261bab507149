"""Picture: sharpness, exposure, noise, bars, frozen and damaged pictures, motion of the camera.

One observer watches every frame for stillness and damage, a few frames a second for the motion of
the camera, and two a second for what the picture is like (:mod:`stages.picture_quality`). Clips
are measured from that trace. Faces are no question here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from pydantic import Field as Setting

from manifests.measurement import measured
from manifests.reasons import Reason
from manifests.span import Span
from stages.contract import ClipView, Observer, Stage, StageSettings
from stages.decode import FrameView
from stages.facts import SourceFacts
from stages.picture_quality import PictureSample, examine_picture
from stages.stillness import CameraWatch, StillnessWatch, frozen_runs

_CROP_PX = 64
_CROP_PLACES = ((0.2, 0.2), (0.8, 0.2), (0.5, 0.4), (0.3, 0.7), (0.7, 0.7))


class PictureSettings(StageSettings):
    """How often is looked, and what counts as standing still.

    Attributes:
        thumbnail_px: longer side of the small picture; that of the shots stage costs nothing more.
        sample_s: time between pictures examined for sharpness, exposure and the like.
        camera_s: time between pictures compared for the motion of the camera.
        frozen_level: a frame is frozen if no cell of 16 x 32 pixels differs from the frame before
            by more, in grey levels. Encoder noise on a still photo stays below 0.3, two frames of
            the stillest speaker are rarely below 1.0, and never more than two in a row.
        frozen_s: shortest frozen stretch; shorter ones are repeated frames.
        damage_s: how long the picture may stay broken after a frame that the decoder flags.
    """

    thumbnail_px: int = Setting(192, ge=64, le=640)
    sample_s: float = Setting(0.5, gt=0)
    camera_s: float = Setting(0.2, gt=0)
    frozen_level: float = Setting(1.0, gt=0)
    frozen_s: float = Setting(0.4, gt=0)
    damage_s: float = Setting(0.4, ge=0)


@dataclass(frozen=True)
class PictureTrace:
    """What every frame of a source was like.

    Attributes:
        time_base: seconds a tick.
        pts: presentation times (T,), int64.
        time_s: the same in seconds (T,).
        end_pts: end of the last frame.
        luma_mean: mean of the small picture (T,), in grey levels.
        is_frozen: the frame equals the one before, up to encoder noise (T,).
        is_corrupt: flagged by the decoder (T,).
        sample_pts: times of the examined pictures (S,).
        samples: what they were like, in order.
        camera_pts: times at which the motion of the camera was taken (C,).
        camera_speed: picture heights a second (C,).
    """

    time_base: Fraction
    pts: np.ndarray
    time_s: np.ndarray
    end_pts: int
    luma_mean: np.ndarray
    is_frozen: np.ndarray
    is_corrupt: np.ndarray
    sample_pts: np.ndarray
    samples: tuple[PictureSample, ...]
    camera_pts: np.ndarray
    camera_speed: np.ndarray

    def frozen_spans(self, min_s: float) -> tuple[Span, ...]:
        """Stretches in which the picture stands still.

        Args:
            min_s: shortest stretch.

        Returns:
            Spans in order, each from the first of equal frames to the first that differs.
        """
        ends = np.append(self.pts[1:], self.end_pts)
        spans = (
            Span(int(self.pts[first]), int(ends[last]), self.time_base)
            for first, last in frozen_runs(self.is_frozen)
        )
        return tuple(span for span in spans if span.duration_s >= min_s)


@dataclass(frozen=True)
class PictureMeasurement:
    """What the picture of a clip is like: medians over the clip unless said otherwise."""

    sharpness: float | None = measured(
        "detail of 1 to 2 pixels over that of 4 to 8 where the focus is; about 0.1 if blurred",
        low=Reason.PICTURE_BLURRED,
    )
    fine_detail: float | None = measured(
        "detail below 1 pixel over that of 2 to 4; low if upscaled", low=Reason.PICTURE_BLURRED
    )
    luma_median: float | None = measured(
        "median brightness, 0 to 255, without bars",
        low=Reason.PICTURE_TOO_DARK,
        high=Reason.PICTURE_TOO_BRIGHT,
    )
    luma_range: float | None = measured(
        "95th minus 5th percentile of brightness, 0 to 255", low=Reason.LOW_CONTRAST
    )
    crushed_ratio: float | None = measured(
        "share of pixels as good as black, without bars", high=Reason.PICTURE_TOO_DARK
    )
    burnt_ratio: float | None = measured(
        "share of pixels as good as white", high=Reason.PICTURE_TOO_BRIGHT
    )
    colourfulness: float | None = measured(
        "mean of largest minus smallest of R, G, B, 0 to 255", low=Reason.COLOURLESS
    )
    noise: float | None = measured(
        "standard deviation of noise in luma or chroma, 0 to 255", high=Reason.PICTURE_NOISY
    )
    blockiness: float | None = measured(
        "step across the 8 x 8 grid over the steps between; 1 without blocks",
        high=Reason.PICTURE_BLOCKY,
    )
    letterbox_ratio: float | None = measured(
        "share of the height that black bars take", high=Reason.LETTERBOXED
    )
    pillarbox_ratio: float | None = measured(
        "share of the width that black bars take", high=Reason.LETTERBOXED
    )
    blurred_fill_ratio: float | None = measured(
        "share of a side that a blurred copy of the picture fills", high=Reason.LETTERBOXED
    )
    frozen_ratio: float | None = measured(
        "share of the clip in which the picture stands still", high=Reason.PICTURE_FROZEN
    )
    longest_frozen_s: float | None = measured(
        "longest stretch of standing picture", unit="s", high=Reason.PICTURE_FROZEN
    )
    duplicate_ratio: float | None = measured(
        "share of frames that repeat the one before, frozen stretches apart",
        high=Reason.DUPLICATE_FRAMES,
    )
    camera_motion: float | None = measured(
        "median speed of the background", unit="picture heights/s", high=Reason.CAMERA_MOVES
    )
    corrupt_ratio: float | None = measured(
        "share of frames that are flagged as damaged, or shown soon after one",
        high=Reason.DAMAGED_PICTURE,
    )


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
    version = 1
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
    frozen = [part for item in trace.frozen_spans(settings.frozen_s) if (part := item.intersect(span))]
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
