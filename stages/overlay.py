"""Overlay: burned-in subtitles, titles, tickers and logos.

Text is looked for in key frames of a clip, one in three seconds and at least three: finding lines
costs as much as the decode of a second, and frames of no clip are spared it. What tells overlays
from signs and books in the scene is in :mod:`stages.overlay_lines`, the networks are in
:mod:`stages.overlay_text`. Marks without letters are no question here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pydantic import Field as Setting

from manifests.measurement import measured
from manifests.reasons import Reason
from stages.contract import ClipView, Stage, StageSettings
from stages.face_track import FaceTrack, FaceTracks
from stages.facts import SourceFacts
from stages.key_frames import KeyFrame, KeyFrames, decode_jpeg
from stages.landmarks import OUTER_LIP
from stages.overlay_lines import (
    Behaviour,
    SeenLine,
    TextLine,
    distinct_texts,
    line_crispness,
    read_lines,
    scene_crispness,
    with_behaviour,
)
from stages.overlay_text import TextBox, TextDetector, TextReader, cut_strip, model_digests

MIN_SAMPLES = 3
_GRID = 256
_MOUTH_MARGIN = 0.25
"""The mouth's box is that of the lips, grown on every side by so much of its width."""


class OverlaySettings(StageSettings):
    """How often and how closely is looked.

    Attributes:
        sample_s: time between searched frames, about; a clip has at least three.
        search_kpx: thousand pixels of the picture that is searched; the cost grows with it.
            129.6 is 480 x 270, in which the letters of a subtitle are 10 px high.
        max_lines: lines kept of a frame, the largest.
        max_reads: lines read of a clip; those that look alike are read once.
        max_texts: texts kept of a clip.
        min_crispness: a line is drawn over the footage if its edges are so much steeper than the
            steepest of the scene. In 143 files the lines of overlays measure 0.98 to 2.7, signs and
            books 0.6 to 0.75, teeth that look like letters up to 1.0.
    """

    sample_s: float = Setting(3.0, gt=0)
    search_kpx: float = Setting(129.6, gt=10, le=2000)
    max_lines: int = Setting(6, ge=1)
    max_reads: int = Setting(24, ge=1)
    max_texts: int = Setting(8, ge=0)
    min_crispness: float = Setting(1.0, gt=0)


@dataclass(frozen=True)
class OverlayMeasurement:
    """Text drawn over a clip; shares of samples are shares of the searched frames."""

    num_samples: int | None = measured("frames searched for text")
    area_ratio: float | None = measured(
        "share of the picture that overlay text covers, median", high=Reason.OVERLAY_TEXT
    )
    largest_area_ratio: float | None = measured(
        "share of the picture that overlay text covers, largest", high=Reason.OVERLAY_TEXT
    )
    changing_ratio: float | None = measured(
        "share of samples with text that changes at its place: subtitles", high=Reason.SUBTITLES
    )
    scrolling_ratio: float | None = measured(
        "share of samples with text that runs along its row: a ticker", high=Reason.OVERLAY_TEXT
    )
    static_ratio: float | None = measured(
        "share of samples with text that stays: a title or a logo", high=Reason.OVERLAY_TEXT
    )
    face_ratio: float | None = measured(
        "share of samples in which overlay text touches the face box", high=Reason.TEXT_ON_FACE
    )
    mouth_ratio: float | None = measured(
        "share of samples in which overlay text touches the mouth", high=Reason.TEXT_ON_FACE
    )
    scene_area_ratio: float | None = measured(
        "share of the picture covered by text that belongs to the scene, median"
    )
    texts: tuple[str, ...] | None = measured("overlay texts in order of appearance")


class OverlayStage(Stage[OverlaySettings]):
    """Finds and reads text that was drawn over the footage."""

    name = "overlay"
    version = 2
    settings_type = OverlaySettings
    measurement = OverlayMeasurement
    needs = (SourceFacts, FaceTracks, KeyFrames)

    def setup(self) -> None:
        """Load both networks."""
        self._detector = TextDetector()
        self._reader = TextReader()

    def close(self) -> None:
        """Free both networks."""
        del self._detector, self._reader

    def weights_digests(self) -> tuple[str, ...]:
        """Digests of both networks and their letters."""
        return model_digests()

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Read and measure the lines of each clip."""
        return [self._measure(view) for view in clips]

    def _measure(self, view: ClipView) -> OverlayMeasurement:
        span = view.clip.span
        video = view.evidence.facts.video
        tracks = view.evidence.get(FaceTracks).tracks
        track = next(track for track in tracks if track.number == view.clip.track).within(span)
        count = max(MIN_SAMPLES, math.ceil(span.duration_s / self.settings.sample_s))
        frames = view.evidence.get(KeyFrames).within(span, count)
        seen = [line for frame in frames for line in self._search(frame)]
        lines = with_behaviour(
            read_lines(seen, self._reader, self.settings.max_reads),
            video.width_px / video.height_px,
            self.settings.min_crispness,
        )
        sample_pts = np.array([frame.pts for frame in frames], np.int64)
        size = (video.width_px, video.height_px)
        return measure_overlay(lines, sample_pts, track, size, self.settings)

    def _searched(self, jpeg: bytes) -> np.ndarray:
        """The picture at the size of the search; most have no text, and are never decoded whole."""
        num_px = 1000 * self.settings.search_kpx
        picture = decode_jpeg(jpeg, is_halved=True)
        if picture.shape[0] * picture.shape[1] < num_px:
            picture = decode_jpeg(jpeg)
        ratio = math.sqrt(num_px / (picture.shape[0] * picture.shape[1]))
        if ratio >= 1:
            return picture
        size = (round(picture.shape[1] * ratio), round(picture.shape[0] * ratio))
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    def _search(self, frame: KeyFrame) -> list[SeenLine]:
        boxes = self._detector(self._searched(frame.jpeg))
        if not boxes:
            return []
        grey = cv2.cvtColor(decode_jpeg(frame.jpeg), cv2.COLOR_RGB2GRAY)
        scene = max(scene_crispness(grey, boxes), 1 / 255)
        return [
            SeenLine(frame.pts, box, line_crispness(grey, box) / scene, cut_strip(grey, box))
            for box in boxes[: self.settings.max_lines]
        ]


def measure_overlay(
    lines: Sequence[TextLine],
    sample_pts: np.ndarray,
    track: FaceTrack,
    shown_size: tuple[int, int],
    settings: OverlaySettings,
) -> OverlayMeasurement:
    """Measure one clip.

    Args:
        lines: lines that were read in the clip, with their behaviour.
        sample_pts: times of the searched frames of the clip (S,), int64.
        track: the face of the clip.
        shown_size: width and height of the picture, shown pixels.
        settings: settings of the stage.

    Returns:
        The measurement; all but the number of samples missing if no frame was searched.
    """
    if not len(sample_pts):
        return OverlayMeasurement(num_samples=0)
    by_pts: dict[int, list[TextLine]] = {int(pts): [] for pts in sample_pts}
    for line in lines:
        by_pts[line.seen.pts].append(line)
    samples = list(by_pts.values())
    overlays = [[ln for ln in sample if ln.behaviour != Behaviour.SCENE] for sample in samples]
    areas = [_covered([line.seen.box for line in sample]) for sample in overlays]
    scenes = [
        _covered([line.seen.box for line in sample if line.behaviour == Behaviour.SCENE])
        for sample in samples
    ]
    touches = np.array(
        [
            _touches(sample, track, pts, shown_size)
            for pts, sample in zip(by_pts, overlays, strict=True)
        ]
    )
    shares = {
        behaviour: float(np.mean([any(ln.behaviour == behaviour for ln in s) for s in samples]))
        for behaviour in Behaviour
    }
    face_ratio, mouth_ratio = touches.mean(axis=0)
    return OverlayMeasurement(
        num_samples=len(samples),
        area_ratio=float(np.median(areas)),
        largest_area_ratio=max(areas),
        changing_ratio=shares[Behaviour.CHANGING],
        scrolling_ratio=shares[Behaviour.SCROLLING],
        static_ratio=shares[Behaviour.STATIC],
        face_ratio=float(face_ratio),
        mouth_ratio=float(mouth_ratio),
        scene_area_ratio=float(np.median(scenes)),
        texts=distinct_texts([ln for sample in overlays for ln in sample], settings.max_texts),
    )


def _covered(boxes: Sequence[TextBox]) -> float:
    """Share of the picture that boxes cover together."""
    if len(boxes) < 2:
        return sum(box.area_ratio for box in boxes)
    grid = np.zeros((_GRID, _GRID), bool)
    for box in boxes:
        borders = (round(value * _GRID) for value in (box.top, box.bottom, box.left, box.right))
        top, bottom, left, right = borders
        grid[top:bottom, left:right] = True
    return float(grid.mean())


def _touches(
    lines: Sequence[TextLine], track: FaceTrack, pts: int, shown_size: tuple[int, int]
) -> tuple[bool, bool]:
    """Whether lines overlap the face box, and the mouth, in the track's frame nearest in time."""
    if not lines or not len(track.pts):
        return False, False
    frame = int(np.argmin(np.abs(track.pts - pts)))
    lips = track.landmarks_TPC[frame, list(OUTER_LIP), :2]
    margin = _MOUTH_MARGIN * float(np.ptp(lips[:, 0]))
    mouth = np.r_[lips.min(axis=0) - margin, lips.max(axis=0) + margin]
    scale = np.tile(shown_size, 2)
    boxes = [np.array([b.left, b.top, b.right, b.bottom]) * scale for b in _boxes(lines)]
    return any(_overlap(box, track.boxes[frame]) for box in boxes), any(
        _overlap(box, mouth) for box in boxes
    )


def _boxes(lines: Sequence[TextLine]) -> list[TextBox]:
    return [line.seen.box for line in lines]


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    return bool(np.all(np.minimum(first[2:], second[2:]) > np.maximum(first[:2], second[:2])))
