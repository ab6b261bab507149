"""Sync: does this voice belong to these lips, and how late is it?

The interface is final, the estimator behind it is a backend. An estimator that cannot tell
(no mesh, hardly any sound) leaves everything missing, which is not the same as out of sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field as Setting

from manifests.measurement import measured
from manifests.reasons import Reason
from stages.contract import ClipView, Stage, StageSettings
from stages.face_track import FaceTracks
from stages.speech import Voice
from stages.sync_cca import CcaSync, SyncEstimate


class SyncSettings(StageSettings):
    """Which estimator, and how much sound it sees around the clip.

    Attributes:
        backend: ``cca``, the closed-form estimator that ships with the package.
        margin_s: sound before and after the clip that may be searched.
    """

    backend: Literal["cca"] = "cca"
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
    score: float | None = measured(
        "raw score at the best offset", low=Reason.SYNC_NOT_CONFIDENT, other=Reason.SYNC_UNKNOWN
    )
    margin: float | None = measured(
        "score at the best offset over the usual one", low=Reason.SYNC_NOT_CONFIDENT
    )
    half_disagreement_ms: float | None = measured(
        "difference of the offsets of the two halves", unit="ms", high=Reason.OFFSET_DRIFTS
    )
    curve_offsets_ms: tuple[float, ...] | None = measured("offsets of the curve", unit="ms")
    curve: tuple[float, ...] | None = measured("score at each offset")


class SyncStage(Stage[SyncSettings]):
    """Compares the lips of a clip's track with the voice."""

    name = "sync"
    version = 1
    settings_type = SyncSettings
    measurement = SyncMeasurement
    needs = (FaceTracks, Voice)

    def setup(self) -> None:
        """Load the estimator."""
        self._estimator = CcaSync.load()

    def weights_digests(self) -> tuple[str, ...]:
        """Digest of the estimator's weights."""
        return (CcaSync.weights_digest(),)

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Estimate offset and confidence of each clip."""
        return [_record(self._estimate(view)) for view in clips]

    def _estimate(self, view: ClipView) -> SyncEstimate:
        span = view.clip.span
        tracks = view.evidence.get(FaceTracks).tracks
        track = next(t for t in tracks if t.number == view.clip.track).within(span)
        pcm = view.evidence.get(Voice).pcm
        start_s = span.start_s - self.settings.margin_s
        sound = pcm.slice(start_s, span.end_s + self.settings.margin_s)
        return self._estimator.estimate(
            track.landmarks_TPC, track.times_s(span.time_base), sound, start_s
        )


def _record(estimate: SyncEstimate) -> SyncMeasurement:
    offset_ms = estimate.offset_ms
    return SyncMeasurement(
        offset_ms=offset_ms,
        abs_offset_ms=None if offset_ms is None else abs(offset_ms),
        confidence=estimate.confidence,
        score=estimate.score,
        margin=estimate.margin,
        half_disagreement_ms=estimate.half_disagreement_ms,
        curve_offsets_ms=tuple(float(v) for v in estimate.offsets_ms),
        curve=tuple(float(v) for v in np.nan_to_num(estimate.curve)),
    )
