"""Near-duplicates: fingerprints of every clip, and which clips of a run show the same footage.

A perceptual hash finds pictures that look alike, whatever their size and encoding. It cannot tell
two moments of one speaker in one chair apart, so a second fingerprint is kept: how much the picture
changes, ten times a second. That course is the same in every copy of the footage, mirrored or
not, and unlike at any other moment. Sound is no part of it: a dubbed copy is a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import imagehash
import numpy as np
from PIL import Image
from pydantic import Field as Setting

from manifests.measurement import measured
from manifests.span import Span
from stages.contract import ClipView, Observer, Stage, StageSettings
from stages.decode import FrameView
from stages.facts import SourceFacts

STEP_S = 0.1
"""Time between values of the activity."""

_TINY_PX = 16


class DedupSettings(StageSettings):
    """How much of a clip is kept as its fingerprint.

    Attributes:
        thumbnail_px: longer side of the small picture; that of the shots stage costs nothing more.
        hash_s: time between hashed pictures of a source.
        num_hashes: hashes of a clip, evenly placed.
        max_activity_s: length of activity kept of a clip, from its start.
        max_similarity: of clips whose CLIP embeddings have this cosine or more, only the best is
            kept, within the run. None by default: one person in one room looks alike to CLIP in
            clips that are nevertheless new. Needs the embedding stage.
    """

    thumbnail_px: int = Setting(192, ge=64, le=640)
    hash_s: float = Setting(0.5, gt=0)
    num_hashes: int = Setting(5, ge=1, le=16)
    max_activity_s: float = Setting(30.0, gt=1)
    max_similarity: float | None = Setting(None, gt=0, le=1)


@dataclass(frozen=True)
class FrameHashes:
    """Fingerprints along a source.

    Attributes:
        hash_pts: times of the hashed pictures (H,), int64.
        hashes: perceptual hash of each, 16 hexadecimal letters.
        activity_pts: times of the activity (A,), int64.
        activity: change of the tiny picture per tenth of a second (A,), in grey levels.
    """

    hash_pts: np.ndarray
    hashes: tuple[str, ...]
    activity_pts: np.ndarray
    activity: np.ndarray


@dataclass(frozen=True)
class DedupMeasurement:
    """Fingerprints of a clip."""

    hashes: tuple[str, ...] | None = measured(
        "perceptual hashes (DCT, 64 bit) of pictures placed evenly over the clip"
    )
    activity: tuple[float, ...] | None = measured(
        "change of the picture every tenth of a second, in grey levels", unit="levels"
    )


class DedupObserver(Observer):
    """Hashes two pictures a second and follows the change of a tiny one."""

    def __init__(self, settings: DedupSettings) -> None:
        self._settings = settings
        self._hashes: list[tuple[int, str]] = []
        self._activity: list[tuple[int, float]] = []
        self._hash_slot = self._slot = -(2**62)
        self._time_s = 0.0
        self._tiny: np.ndarray | None = None

    def observe(self, frame: FrameView) -> None:
        """Take one decoded frame."""
        slot = int(frame.time_s / STEP_S + 1e-6)
        if slot == self._slot:
            return
        small = cv2.cvtColor(frame.thumbnail(self._settings.thumbnail_px), cv2.COLOR_RGB2GRAY)
        tiny = cv2.resize(small, (_TINY_PX, _TINY_PX), interpolation=cv2.INTER_AREA)
        if self._tiny is not None:
            change = float(cv2.mean(cv2.absdiff(tiny, self._tiny))[0])
            elapsed_s = min(max(frame.time_s - self._time_s, STEP_S / 2), 10 * STEP_S)
            self._activity.append((frame.pts, change * STEP_S / elapsed_s))
        self._tiny, self._slot, self._time_s = tiny, slot, frame.time_s
        hash_slot = int(frame.time_s / self._settings.hash_s + 1e-6)
        if hash_slot != self._hash_slot:
            self._hash_slot = hash_slot
            self._hashes.append((frame.pts, str(imagehash.phash(Image.fromarray(small)))))

    def finish(self) -> FrameHashes:
        """Return the fingerprints of the source."""
        return FrameHashes(
            hash_pts=np.array([item[0] for item in self._hashes], np.int64),
            hashes=tuple(item[1] for item in self._hashes),
            activity_pts=np.array([item[0] for item in self._activity], np.int64),
            activity=np.array([item[1] for item in self._activity], np.float32),
        )


class DedupStage(Stage[DedupSettings]):
    """Fingerprints, by which selection finds near-duplicates."""

    name = "dedup"
    version = 1
    settings_type = DedupSettings
    measurement = DedupMeasurement
    gives = (FrameHashes,)
    needs = (SourceFacts,)

    def shaping_settings(self) -> dict[str, Any]:
        """All but the bound on similarity, which only selection goes by."""
        return self.settings.model_dump(mode="json", exclude={"max_similarity"})

    def observer(self, facts: SourceFacts) -> DedupObserver:
        """Return a fresh observer for one source."""
        return DedupObserver(self.settings)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Cut each clip's fingerprints from those of its source."""
        return [
            fingerprint_of(clip.clip.span, clip.evidence.get(FrameHashes), self.settings)
            for clip in clips
        ]


def fingerprint_of(span: Span, evidence: FrameHashes, settings: DedupSettings) -> DedupMeasurement:
    """Fingerprints of one clip.

    Args:
        span: the clip.
        evidence: fingerprints of its source.
        settings: how much is kept.

    Returns:
        The measurement; empty if the source has no hash in the span.
    """
    inside = np.flatnonzero((evidence.hash_pts >= span.start) & (evidence.hash_pts < span.end))
    if len(inside) == 0:
        return DedupMeasurement()
    count = min(settings.num_hashes, len(inside))
    picks = inside[((np.arange(count) + 0.5) * len(inside) / count).astype(int)]
    times_s = (evidence.activity_pts - span.start) * float(span.time_base)
    length_s = min(span.duration_s, settings.max_activity_s)
    within = (times_s > STEP_S) & (times_s < length_s)
    grid_s = np.arange(STEP_S, length_s, STEP_S)
    activity: tuple[float, ...] = ()
    if within.sum() > 1:
        values = np.interp(grid_s, times_s[within], evidence.activity[within])
        activity = tuple(round(float(value), 3) for value in values)
    return DedupMeasurement(
        hashes=tuple(evidence.hashes[index] for index in picks), activity=activity
    )
