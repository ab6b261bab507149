"""Sync: does this voice belong to these lips, and how late is it?

The clip is measured twice: as it is, and as packing will cut it, its sound moved by the measured
offset and nothing beyond its ends. What the second look still finds is `remaining_offset_ms`.

Three answers are kept apart (`verdict`): the voice belongs to the lips; it is foreign to them; or
there is too little to tell by (a profile, noise, a mouth that hardly moves, a short clip). Where
nothing can be compared at all (no mesh, hardly any sound) everything is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field as Setting

from manifests.measurement import measured
from manifests.reasons import Reason
from stages.contract import ClipView, Stage, StageSettings
from stages.face_track import FaceTrack, FaceTracks
from stages.speech import Voice
from stages.sync_estimator import SyncEstimate, SyncEstimator, SyncInput

BELONGS, FOREIGN, UNSURE = "belongs", "foreign", "unsure"
BELONGS_FROM, FOREIGN_BELOW = 0.5, 0.1
"""Confidences that the three verdicts part at. Ours, from the calibration on held-out speakers
(sync_net.md)."""
TURNED_AWAY_DEG = 45.0
"""Beyond, half of the mouth is hidden, and a low confidence does not say that the voice is foreign.
sync.md 3: at 25 to 40 degrees all is well, at 40 and more no clip had a sure offset."""


class SyncSettings(StageSettings):
    """Which estimator, and how much sound it sees around the clip.

    Attributes:
        backend: ``net``, the network of the package.
        weights: file that ``curate learn-sync`` wrote; empty for the one that ships.
        margin_s: sound before and after the clip that may be searched.
    """

    backend: Literal["net"] = "net"
    weights: str = ""
    margin_s: float = Setting(1.0, ge=0)


@dataclass(frozen=True)
class SyncMeasurement:
    """How voice and lips go together."""

    offset_ms: float | None = measured(
        "AV offset, + = audio later than picture", unit="ms", other=Reason.SYNC_UNKNOWN
    )
    abs_offset_ms: float | None = measured(
        "size of the AV offset", unit="ms", high=Reason.OFFSET_TOO_LARGE, other=Reason.SYNC_UNKNOWN
    )
    confidence: float | None = measured(
        "probability that this voice belongs to these lips",
        low=Reason.SYNC_NOT_CONFIDENT,
        other=Reason.SYNC_UNKNOWN,
    )
    voice_clarity: float | None = measured(
        "how much the sound says that lips could follow; below 1 more like music or noise",
        low=Reason.SYNC_UNKNOWN,
    )
    verdict: str | None = measured(
        "belongs, foreign, or unsure: too little to tell by", other=Reason.SYNC_UNKNOWN
    )
    score: float | None = measured(
        "raw score at the best offset", low=Reason.SYNC_NOT_CONFIDENT, other=Reason.SYNC_UNKNOWN
    )
    margin: float | None = measured(
        "score at the best offset over the usual one", low=Reason.SYNC_NOT_CONFIDENT
    )
    half_disagreement_ms: float | None = measured(
        "difference of the offsets of the two halves", unit="ms", high=Reason.OFFSET_DRIFTS
    )
    remaining_offset_ms: float | None = measured(
        "size of the AV offset measured again on the corrected clip",
        unit="ms",
        high=Reason.OFFSET_TOO_LARGE,
        other=Reason.SYNC_UNKNOWN,
    )
    curve_offsets_ms: tuple[float, ...] | None = measured("offsets of the curve", unit="ms")
    curve: tuple[float, ...] | None = measured("score at each offset")


class SyncStage(Stage[SyncSettings]):
    """Compares the lips of a clip's track with the voice."""

    name = "sync"
    version = 3
    settings_type = SyncSettings
    measurement = SyncMeasurement
    needs = (FaceTracks, Voice)

    def setup(self) -> None:
        """Load the estimator."""
        self._estimator = SyncEstimator.load(self._weights())

    def weights_digests(self) -> tuple[str, ...]:
        """Digest of the estimator's weights."""
        return (SyncEstimator.weights_digest(self._weights()),)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Estimate offset and confidence of each clip, then the offset of the corrected clip.

        One clip after the other: memory stays that of one, and no clip's figures depend on what
        else was cut from its source.
        """
        return [self._measure_one(view) for view in clips]

    def _measure_one(self, view: ClipView) -> SyncMeasurement:
        (found,) = self._estimator.estimate([self._input(view)])
        again = None
        if found.offset_ms is not None:
            corrected = self._input(view, offset_s=found.offset_ms / 1000)
            (again,) = self._estimator.estimate([corrected])
        return _record(found, again, self._yaw_deg(view))

    def _yaw_deg(self, view: ClipView) -> float:
        """How far the face is turned away in the middle of the clip's frames."""
        angles_deg = self._track(view).angles_deg[:, 0]
        return float(np.nanmedian(np.abs(angles_deg))) if len(angles_deg) else 0.0

    def _track(self, view: ClipView) -> FaceTrack:
        tracks = view.evidence.get(FaceTracks).tracks
        return next(t for t in tracks if t.number == view.clip.track).within(view.clip.span)

    def _weights(self) -> Path | None:
        return Path(self.settings.weights) if self.settings.weights else None

    def _input(self, view: ClipView, offset_s: float | None = None) -> SyncInput:
        """The clip with sound around it; or, for an offset, exactly as packing cuts it."""
        span = view.clip.span
        track = self._track(view)
        pcm = view.evidence.get(Voice).pcm
        times_s = track.times_s(span.time_base)
        if offset_s is None:
            start_s = span.start_s - self.settings.margin_s
            sound = pcm.slice(start_s, span.end_s + self.settings.margin_s)
            return SyncInput(track.landmarks_TPC, times_s, sound, start_s)
        sound = pcm.slice(span.start_s + offset_s, span.end_s + offset_s)
        return SyncInput(track.landmarks_TPC, times_s, sound, span.start_s)


def verdict_of(found: SyncEstimate, yaw_deg: float) -> str | None:
    """Return what an estimate says; None where nothing could be compared.

    A low confidence means a foreign voice only if the voice and the mouth could be made out.

    Args:
        found: the estimate.
        yaw_deg: how far the face is turned away.

    Returns:
        `belongs`, `foreign` or `unsure`.
    """
    if found.confidence is None or found.voice_clarity is None:
        return None
    if found.confidence >= BELONGS_FROM:
        return BELONGS
    is_clear = found.voice_clarity >= 1 and yaw_deg < TURNED_AWAY_DEG
    return FOREIGN if found.confidence < FOREIGN_BELOW and is_clear else UNSURE


def _record(found: SyncEstimate, again: SyncEstimate | None, yaw_deg: float) -> SyncMeasurement:
    offset_ms = found.offset_ms
    remaining_ms = None if again is None else again.offset_ms
    return SyncMeasurement(
        offset_ms=offset_ms,
        abs_offset_ms=None if offset_ms is None else abs(offset_ms),
        confidence=found.confidence,
        voice_clarity=found.voice_clarity,
        verdict=verdict_of(found, yaw_deg),
        score=found.score,
        margin=found.margin,
        half_disagreement_ms=found.half_disagreement_ms,
        remaining_offset_ms=None if remaining_ms is None else abs(remaining_ms),
        curve_offsets_ms=tuple(float(v) for v in found.offsets_ms),
        curve=tuple(float(v) for v in np.nan_to_num(found.curve)),
    )
