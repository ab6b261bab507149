"""Measuring one source: probe, one decode, cut, measure, judge as you go, commit.

This is the work of one worker on one unit. What belongs to the source (a broken file, no sound)
ends in a typed rejection; what nobody foresaw goes up to the worker boundary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from curation.clip_rows import ROW_EVIDENCE, ClipRows, StageClock
from curation.engine import HandOver
from curation.inputs import Source
from curation.pipeline import Pipeline, build_pipeline
from curation.recipe import Recipe
from curation.segments import PauseFinder, num_segments, segment_bounds
from manifests.ledger import Commit, CommitHeader, Ledger
from manifests.reasons import Reason
from manifests.records import Clip, ClipState, SourceState
from manifests.storage import Folder
from stages.clips import CutLosses, cut_clips
from stages.contract import ClipView, Evidence
from stages.decode import DecodeCount, decode_frames
from stages.errors import MediaError
from stages.face_track import FaceTracks
from stages.faces import presence
from stages.facts import SourceFacts, facts_to_json
from stages.picture_records import PictureTrace
from stages.probe import probe
from stages.shots import ShotList
from stages.speech import Voice


@dataclass(frozen=True)
class Unit:
    """One unit of work: a source, or one segment of a long one.

    Attributes:
        source: the source.
        segment: number of the segment.
        num_segments: into how many the source is cut; 0 if its length is not known yet.
    """

    source: Source
    segment: int = 0
    num_segments: int = 0


@dataclass(frozen=True)
class Measured:
    """What a worker reports of a unit; the measurements themselves are in the commit.

    Attributes:
        unit: the unit.
        num_segments: more than one if the source has to be cut first; nothing was committed.
        num_clips: clips found.
        num_passed: clips that pass all gates.
        passed_s: their seconds.
        duration_s: seconds decoded.
    """

    unit: Unit
    num_segments: int
    num_clips: int = 0
    num_passed: int = 0
    passed_s: float = 0.0
    duration_s: float = 0.0


@dataclass(frozen=True)
class Half:
    """A unit that the first task has measured and the second goes on with.

    Attributes:
        unit: the unit.
        header: header of its commit, as far as it is known.
        views: its clips with what was measured.
    """

    unit: Unit
    header: CommitHeader
    views: list[ClipView]


@dataclass(frozen=True)
class MeasureTask:
    """Measures units; see ``engine.Task``.

    Attributes:
        run: run directory.
        recipe: the recipe.
        later: stages that a second task measures, in an environment of their own.
    """

    run: Folder
    recipe: Recipe
    later: frozenset[str] = frozenset()

    def open(self) -> Measurer:
        """Load the models of its stages."""
        return Measurer(self.run, build_pipeline(self.recipe), self.later)


class Measurer:
    """The stages of one worker, set up once.

    Args:
        run: run directory.
        pipeline: the pipeline.
        later: stages that a second task measures (:mod:`curation.measure_later`).
    """

    def __init__(
        self, run: Folder, pipeline: Pipeline, later: frozenset[str] = frozenset()
    ) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._ledger = Ledger(run)
        self._pipeline = pipeline
        self._rows = ClipRows(pipeline)
        self._fingerprints = pipeline.fingerprints()
        self._stages = [stage for stage in pipeline.stages if stage.name not in later]
        self._later = [stage for stage in pipeline.stages if stage.name in later]
        for stage in self._stages:
            stage.setup()
        self._pause_near = PauseFinder(pipeline.recipe.stages["speech"])

    def close(self) -> None:
        """Free all models."""
        for stage in self._stages:
            stage.close()

    def __call__(self, unit: Unit) -> Measured | HandOver:
        """Measure one unit and commit it, or hand it over to the second task."""
        facts = None
        try:
            facts = self._probe(unit.source)
            segment_s = self._pipeline.recipe.segment_s
            count = unit.num_segments or num_segments(facts.duration_s, segment_s)
            if count > 1 and not unit.num_segments:
                return Measured(unit, count)
            header, views = self._measure(unit, facts, count)
        except MediaError as error:
            header, views = self._rejected(unit, error, facts), []
        if any(not self._rows.is_refused(view) for view in views) and self._later:
            return HandOver(Half(unit, header, self._trimmed(views)))
        return finish(unit, self._rows.commit(header, views), self._ledger)

    def _trimmed(self, views: list[ClipView]) -> list[ClipView]:
        """The clips with nothing but what the second task reads."""
        wanted = {*ROW_EVIDENCE, *(need for stage in self._later for need in stage.needs)}
        evidence = views[0].evidence.only(wanted)
        return [ClipView(view.clip, evidence, view.measurements) for view in views]

    def _probe(self, source: Source) -> SourceFacts:
        settings = self._pipeline.recipe.stages["probe"]
        return probe(source.uri, source.source_id, source.num_bytes, settings)

    def _measure(
        self, unit: Unit, facts: SourceFacts, count: int
    ) -> tuple[CommitHeader, list[ClipView]]:
        clock = StageClock()
        decoded = DecodeCount()
        start, end = segment_bounds(facts, unit.segment, count, self._pause_near)
        evidence = Evidence(facts, start=start, end=end)
        self._examine(evidence, clock)
        header: dict[str, Any] = {
            "source_id": facts.source_id,
            "uri": facts.uri,
            "fingerprints": self._fingerprints,
            "num_segments": count,
            "segment": unit.segment,
            "facts": facts_to_json(facts),
        }
        voice = evidence.get(Voice)
        if not voice.segments and not self._pipeline.recipe.clips.whole_files:
            # A header may promise more than there is: such a part has no seconds to lose.
            has_frames = next(decode_frames(facts, DecodeCount(), start=start, end=end), None)
            length_s = 0.0 if has_frames is None else _length_s(facts, start, end)
            refused = CommitHeader(
                **header,
                state=SourceState.REJECTED,
                reason=Reason.NO_SPEECH,
                detail="no voice is heard",
                duration_s=length_s,
                lost_s={Reason.NO_SPEECH: length_s} if length_s else {},
                stage_s=dict(clock.seconds),
            )
            return refused, []
        self._decode(evidence, decoded, clock)
        views, losses = self._cut(evidence)
        for stage in self._stages:
            with clock.timed(stage.name):
                self._rows.measure(stage, views)
        header |= {
            "duration_s": losses.total_s,
            "num_passes": decoded.num_passes,
            "num_frames": decoded.num_frames,
            "num_face_frames": evidence.get(FaceTracks).num_meshed,
            "num_corrupt": decoded.num_corrupt,
            "lost_s": losses.by_reason(),
            "stage_s": {name: round(value, 3) for name, value in clock.seconds.items()},
        }
        if not views:
            reason = losses.main_reason()
            detail = (
                f"no clip: {', '.join(f'{k} {v:.1f} s' for k, v in losses.by_reason().items())}"
            )
            return (
                CommitHeader(**header, state=SourceState.REJECTED, reason=reason, detail=detail),
                [],
            )
        return CommitHeader(**header, state=SourceState.DONE), views

    def _examine(self, evidence: Evidence, clock: StageClock) -> None:
        """Let every stage look at the source that needs nothing but what is there."""
        for stage in self._stages:
            if all(evidence.has(need) for need in stage.needs if need is not SourceFacts):
                with clock.timed(stage.name):
                    record = stage.examine(evidence)
                if record is not None:
                    evidence.put(record)

    def _decode(self, evidence: Evidence, count: DecodeCount, clock: StageClock) -> None:
        """The single decode: every observer sees every frame."""
        observers = [
            (stage.name, observer)
            for stage in self._stages
            if (observer := stage.observer(evidence.facts)) is not None
        ]
        frames = decode_frames(evidence.facts, count, start=evidence.start, end=evidence.end)
        last = time.process_time()
        for frame in frames:
            now = time.process_time()
            clock.seconds["decode"] += now - last
            for name, observer in observers:
                observer.observe(frame)
                last, now = now, time.process_time()
                clock.seconds[name] += now - last
            last = now
        for name, observer in observers:
            with clock.timed(name):
                evidence.put(observer.finish())

    def _cut(self, evidence: Evidence) -> tuple[list[ClipView], CutLosses]:
        facts = evidence.facts
        tracks = evidence.get(FaceTracks)
        time_base = facts.video.time_base
        if not len(tracks.frame_pts):
            return [], CutLosses.none()
        max_gap = self._pipeline.recipe.stages["faces"].max_gap_s / float(time_base)
        spans, losses = cut_clips(
            shots=evidence.get(ShotList).shots,
            presences=[
                (track.number, first, last)
                for track in tracks.tracks
                for first, last in presence(track, tracks.frame_pts, max_gap)
            ],
            frozen=evidence.get(PictureTrace).frozen_spans(
                self._pipeline.recipe.clips.max_frozen_s
            ),
            voice=evidence.get(Voice),
            frame_pts=tracks.frame_pts,
            time_base=time_base,
            settings=self._pipeline.recipe.clips,
        )
        views = [ClipView(Clip(facts.source_id, cut.span, cut.track), evidence) for cut in spans]
        return sorted(views, key=lambda v: (v.clip.span.start, v.clip.track)), losses

    def _rejected(self, unit: Unit, error: MediaError, facts: SourceFacts | None) -> CommitHeader:
        return CommitHeader(
            source_id=unit.source.source_id,
            uri=unit.source.uri,
            state=SourceState.REJECTED,
            reason=error.reason,
            detail=error.detail,
            measured=error.measured,
            limit=error.limit,
            fingerprints=self._fingerprints,
            num_segments=max(1, unit.num_segments),
            segment=unit.segment,
            facts=None if facts is None else facts_to_json(facts),
        )


def finish(unit: Unit, commit: Commit, ledger: Ledger) -> Measured:
    """Write the commit of a unit, the last thing that is done to it, and sum it up.

    Args:
        unit: the unit.
        commit: its commit.
        ledger: where it is written.

    Returns:
        What the worker reports.
    """
    ledger.write(commit)
    rows = commit.clips.select(["state", "duration_s"]).to_pylist()
    passed_s = [row["duration_s"] for row in rows if row["state"] == ClipState.KEPT]
    return Measured(
        unit,
        max(1, unit.num_segments),
        num_clips=commit.clips.num_rows,
        num_passed=len(passed_s),
        passed_s=sum(passed_s),
        duration_s=commit.header.duration_s,
    )


def _length_s(facts: SourceFacts, start: Fraction | None, end: Fraction | None) -> float:
    first = facts.video.start_time if start is None else start
    if end is not None:
        return float(end - first)
    return max(0.0, (facts.duration_s or 0.0) - float(first - facts.video.start_time))


__all__ = ["Half", "MeasureTask", "Measured", "Measurer", "Unit", "finish"]
