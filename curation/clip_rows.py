"""Rows: what is written of the clips of one source, and which of them a costly stage is spared.

Used by the task that measures and by the one that goes on in another environment. Nothing here
reads a source.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curation.pack import encode_flac
from curation.pipeline import Pipeline
from manifests.gates import judge
from manifests.ledger import Commit, CommitHeader
from manifests.measurement import values_of
from manifests.records import EVIDENCE_COLUMNS, ClipState, clip_schema
from stages.contract import ClipView, Stage
from stages.face_track import FaceTracks, pack_track
from stages.speech import SOUND_MARGIN_S, Voice

ROW_EVIDENCE = (FaceTracks, Voice)
"""Evidence that the row of a clip is made of."""


@dataclass
class StageClock:
    """CPU seconds by stage."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count what is done within for a stage."""
        began = time.process_time()
        yield
        self.seconds[name] += time.process_time() - began


class ClipRows:
    """Judges clips by what is measured so far, and makes their rows.

    Args:
        pipeline: the pipeline.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def measure(self, stage: Stage[Any], views: list[ClipView]) -> None:
        """Measure the clips; a costly stage is spared those that a gate already refuses."""
        if stage.measurement is None or not views:
            return
        chosen = [view for view in views if not stage.costly or not self.is_refused(view)]
        for view, record in zip(chosen, stage.measure(chosen), strict=True):
            view.measurements[type(record)] = record

    def is_refused(self, view: ClipView) -> bool:
        """Tell whether a gate refuses a clip by what is measured so far."""
        values, names = self._values(view)
        return judge(values, self._pipeline.gates, names).state is ClipState.REJECTED

    def _values(self, view: ClipView) -> tuple[dict[str, Any], list[str]]:
        values: dict[str, Any] = {}
        names = []
        for stage in self._pipeline.stages:
            record = view.measurements.get(stage.measurement) if stage.measurement else None
            if record is not None:
                values |= values_of(record, stage.name)
                names.append(stage.name)
        return values, names

    def commit(self, header: CommitHeader, views: list[ClipView]) -> Commit:
        """Make the commit of a unit.

        Args:
            header: its header.
            views: its clips.

        Returns:
            The commit, not yet written.
        """
        schema = clip_schema(self._pipeline.fields, EVIDENCE_COLUMNS)
        rows = [self._row(view, header.uri) for view in views]
        return Commit(header, pa.Table.from_pylist(rows, schema=schema))

    def _row(self, view: ClipView, uri: str) -> dict[str, Any]:
        values, names = self._values(view)
        clip, span, evidence = view.clip, view.clip.span, view.evidence
        rules = self._pipeline.rules()
        verdict = judge(values, rules.gates, names, rules.stages)
        start_s = span.start_s - SOUND_MARGIN_S
        pcm = evidence.get(Voice).pcm
        track = next(t for t in evidence.get(FaceTracks).tracks if t.number == clip.track)
        first_sample_s = float(pcm.start_time) + pcm.index(start_s) / pcm.sample_rate_hz
        return {
            "clip_id": clip.clip_id,
            "source_id": clip.source_id,
            "uri": uri,
            "track": clip.track,
            "start_pts": span.start,
            "end_pts": span.end,
            "time_base_num": span.time_base.numerator,
            "time_base_den": span.time_base.denominator,
            "start_s": span.start_s,
            "duration_s": span.duration_s,
            "state": str(verdict.state),
            "failed_gates": [{**vars(gate), "reason": str(gate.reason)} for gate in verdict.failed],
            "measured_stages": names,
            **values,
            "audio_flac": encode_flac(pcm.slice(start_s, span.end_s + SOUND_MARGIN_S)),
            "audio_start_s": first_sample_s,
            "face_track_npz": pack_track(track.within(span)),
        }
