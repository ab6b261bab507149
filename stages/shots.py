"""Shots: where one continuous take ends and the next begins, by cut, fade, dissolve or wipe.

Four finders work on one pass, all on the small picture:

* hard cuts: PySceneDetect's ``AdaptiveDetector``, fed frame by frame;
* jump cuts of one speaker, which change too little for it: a single-frame spike of the difference
  that brightness cannot explain;
* fades: stretches without contrast (``ThresholdDetector`` judges brightness, and a dark studio lies
  below its threshold throughout), with the ramps on either side;
* dissolves, wipes and slides: :mod:`stages.dissolves`.

A flash is no cut: two cuts close together, with the same picture before and after, are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field as Setting
from scenedetect.detectors import AdaptiveDetector

from manifests.measurement import measured
from manifests.reasons import Reason
from manifests.span import Span
from stages.contract import ClipView, Observer, Stage, StageSettings
from stages.decode import FrameView
from stages.dissolves import find_gradual
from stages.facts import SourceFacts
from stages.transitions import (
    TINY_PX,
    Transition,
    contrast_of,
    find_cuts,
    find_fades,
    same_shot,
)

_Found = tuple[Literal["cut", "fade", "dissolve"], int, int]
"""Kind of a transition, its first and its last frame."""


class ShotsSettings(StageSettings):
    """How a transition is recognised.

    Attributes:
        thumbnail_px: longer side of the picture that is taken; PySceneDetect sees half of it,
            which finds the same cuts as the 256 px that it reduces to by itself.
        adaptive_threshold: how often a frame's change exceeds that of its neighbours;
            PySceneDetect's default.
        min_content_val: smallest change of a hard cut; PySceneDetect's default.
        jump_prominence: how often a jump cut exceeds the changes of the frames around it.
            A dropped frame doubles a steady motion, two dropped frames treble it.
        flash_s: longest flash; PySceneDetect's flash filter merges cuts within 15 frames, but
            does not ask whether the picture came back, which is asked here.
        margin_s: trimmed from a shot at a fade or dissolve, beyond what was found of it.
    """

    thumbnail_px: int = Setting(192, ge=64, le=640)
    adaptive_threshold: float = Setting(3.0, gt=1)
    min_content_val: float = Setting(15.0, gt=0)
    jump_prominence: float = Setting(3.0, gt=1)
    flash_s: float = Setting(0.35, ge=0)
    margin_s: float = Setting(0.08, ge=0)


@dataclass(frozen=True)
class ShotList:
    """Every shot of a source, in order.

    Attributes:
        shots: spans on the video stream's clock, without the transitions and their margins.
        transitions: what lies between them; a cut has the span of the first frame after it.
    """

    shots: tuple[Span, ...]
    transitions: tuple[Transition, ...]


@dataclass(frozen=True)
class ShotsMeasurement:
    """The shot that a clip lies in."""

    shot_duration_s: float | None = measured(
        "duration of the shot that the clip lies in", unit="s", low=Reason.CLIP_TOO_SHORT
    )
    transition_distance_s: float | None = measured(
        "time between the clip and the nearest transition; missing if there is none", unit="s"
    )
    num_transitions_inside: int | None = measured(
        "transitions within the clip", high=Reason.SEVERAL_SHOTS
    )


class ShotsObserver(Observer):
    """Feeds the detectors and keeps one tiny picture a frame (1 KiB; 90 MB an hour at 25 fps)."""

    def __init__(self, facts: SourceFacts, settings: ShotsSettings) -> None:
        self._facts = facts
        self._settings = settings
        self._detector = AdaptiveDetector(
            adaptive_threshold=settings.adaptive_threshold,
            min_content_val=settings.min_content_val,
            min_scene_len=0,
        )
        self._cuts: set[int] = set()
        self._pts: list[int] = []
        self._tiny: list[np.ndarray] = []
        self._last: np.ndarray | None = None

    def observe(self, frame: FrameView) -> None:
        """Take one decoded frame."""
        picture = frame.thumbnail(self._settings.thumbnail_px)
        half = (picture.shape[1] // 2, picture.shape[0] // 2)
        small = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        self._tiny.append(cv2.resize(grey, (TINY_PX, TINY_PX), interpolation=cv2.INTER_AREA))
        last = self._last = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        number = len(self._pts)
        if number == 0:
            for early in (-2, -1):
                self._feed(early, last)
        self._feed(number, last)
        self._pts.append(frame.pts)

    def finish(self) -> ShotList:
        """Join what the finders found."""
        if self._last is None:
            return ShotList((), ())
        num_frames = len(self._pts)
        for late in (0, 1):
            self._feed(num_frames + late, self._last)
        ticks = np.array(self._pts, np.int64)
        times_s = (ticks - ticks[0]) * float(self._facts.video.time_base)
        tiny = np.stack(self._tiny)
        candidates = {cut for cut in self._cuts if 0 < cut < num_frames}
        contrast = contrast_of(tiny)
        changed = find_cuts(tiny, contrast, times_s, candidates, self._settings.jump_prominence)
        cuts = _without_flashes(sorted(changed), tiny, times_s, self._settings.flash_s)
        found: list[_Found] = [("cut", cut, cut) for cut in cuts]
        fades: list[_Found] = [
            ("fade", first, last) for first, last in find_fades(contrast, times_s)
        ]
        found = [item for item in found if not any(_within(item, fade) for fade in fades)] + fades
        taken = [(first, last) for _, first, last in found]
        slow: list[_Found] = [
            ("dissolve", first, last) for first, last in find_gradual(tiny, times_s, taken)
        ]
        found = [item for item in found if not any(_within(item, other) for other in slow)] + slow
        found.sort(key=lambda item: item[1])
        return _shot_list(found, self._pts, self._facts, self._settings)

    def _feed(self, number: int, picture: np.ndarray) -> None:
        """First and last frames are fed thrice, so that no cut is beyond the detector's window."""
        self._cuts.update(self._detector.process_frame(number, picture))


class ShotsStage(Stage[ShotsSettings]):
    """Cuts, fades and dissolves; the spans between them."""

    name = "shots"
    version = 1
    settings_type = ShotsSettings
    measurement = ShotsMeasurement
    gives = (ShotList,)
    needs = (SourceFacts,)

    def observer(self, facts: SourceFacts) -> ShotsObserver:
        """Return a fresh observer for one source."""
        return ShotsObserver(facts, self.settings)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Measure in which shot each clip lies."""
        return [_measure(clip.clip.span, clip.evidence.get(ShotList)) for clip in clips]


def _within(item: _Found, fade: _Found) -> bool:
    return fade[1] - 1 <= item[1] <= fade[2] + 2


def _without_flashes(
    cuts: list[int], tiny: np.ndarray, times_s: np.ndarray, flash_s: float
) -> list[int]:
    """Drop pairs of cuts between which the picture was only interrupted."""
    kept: list[int] = []
    for cut in cuts:
        before = [
            index
            for index, other in enumerate(kept)
            if times_s[cut] - times_s[other] <= flash_s and same_shot(tiny[other - 1], tiny[cut])
        ]
        if before:
            del kept[before[0] :]
        else:
            kept.append(cut)
    return kept


def _shot_list(
    found: list[_Found],
    pts: list[int],
    facts: SourceFacts,
    settings: ShotsSettings,
) -> ShotList:
    base = facts.video.time_base
    ends = [*pts[1:], pts[-1] + _last_duration(pts, facts)]
    margin = round(Fraction(settings.margin_s) / base)
    shots: list[Span] = []
    transitions: list[Transition] = []
    start = pts[0]
    for kind, first, last in found:
        trim = 0 if kind == "cut" else margin
        transitions.append(Transition(kind, Span(pts[first], ends[last], base)))
        if pts[first] - trim > start:
            shots.append(Span(start, pts[first] - trim, base))
        start = max(start, pts[first] if kind == "cut" else ends[last] + trim)
    if ends[-1] > start:
        shots.append(Span(start, ends[-1], base))
    return ShotList(tuple(shots), tuple(transitions))


def _last_duration(pts: list[int], facts: SourceFacts) -> int:
    """Ticks for which the last frame is shown: as long as the one before it, or one frame."""
    if len(pts) > 1:
        return pts[-1] - pts[-2]
    return max(1, round(1 / (facts.video.frame_rate * facts.video.time_base)))


def _measure(span: Span, evidence: ShotList) -> ShotsMeasurement:
    overlaps = [(part.duration, shot) for shot in evidence.shots if (part := shot.intersect(span))]
    inside = [item for item in evidence.transitions if _splits(item, span)]
    ends = [
        (item.span.start, item.span.start if item.kind == "cut" else item.span.end)
        for item in evidence.transitions
    ]
    distances = [max(start - span.end, span.start - end, 0) for start, end in ends]
    return ShotsMeasurement(
        shot_duration_s=max(overlaps)[1].duration_s if overlaps else None,
        transition_distance_s=float(min(distances) * span.time_base) if distances else None,
        num_transitions_inside=len(inside),
    )


def _splits(item: Transition, span: Span) -> bool:
    if item.kind == "cut":
        return span.start < item.span.start < span.end
    return item.span.intersect(span) is not None
