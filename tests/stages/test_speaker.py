"""Who speaks: turns in closed form, and verdicts on clips whose truth was made."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from manifests.records import Clip
from manifests.span import Span
from stages.contract import ClipView, Evidence
from stages.face_crops import FaceCrops
from stages.face_track import FaceTrack, FaceTracks
from stages.pcm import Pcm
from stages.speaker import (
    SpeakerMeasurement,
    SpeakerSettings,
    SpeakerStage,
    network_record,
    window_starts_s,
)
from stages.speaker_turns import NOBODY, Shares, Verdict, share_out, speakers, verdict_of
from stages.speech import Voice
from stages.sync_estimator import SyncEstimate, SyncInput

BASE = Fraction(1, 25)
YES, NO, MAYBE = 0.97, 0.03, 0.5


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))


def test_the_face_in_sync_speaks_and_without_one_nobody() -> None:
    windows = np.array([[YES, NO]] * 3 + [[NO, NO]] * 3 + [[NO, YES]] * 3)
    assert speakers(windows).tolist() == [0, 0, 0, NOBODY, NOBODY, NOBODY, 1, 1, 1]


def test_one_unlucky_window_makes_no_turn() -> None:
    windows = np.array([[YES, NO]] * 3 + [[0.2, 0.6]] + [[YES, NO]] * 3)
    assert speakers(windows).tolist() == [0] * 7


def test_weak_evidence_adds_up_over_windows() -> None:
    assert speakers(np.full((1, 1), 0.6)).tolist() == [0]
    doubtful = np.array([[0.6]] * 4 + [[0.45]] + [[0.6]] * 4)
    assert speakers(doubtful).tolist() == [0] * 9
    assert speakers(np.full((5, 1), 0.4)).tolist() == [NOBODY] * 5


def test_what_cannot_be_judged_is_no_evidence() -> None:
    blind = np.array([[YES], [np.nan], [YES]])
    assert speakers(blind).tolist() == [0, 0, 0]
    assert speakers(np.full((3, 2), np.nan)).tolist() == [NOBODY] * 3
    assert len(speakers(np.zeros((0, 2)))) == 0


def test_shares_are_of_the_voice_and_add_up() -> None:
    shares = share_out(np.array([0, 0, 1, NOBODY]), np.array([2.0, 1.0, 1.0, 0.0]), own=0)
    assert shares == Shares(0.75, 0.25, 0.0)
    assert share_out(np.array([0]), np.array([0.0]), own=0) is None


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        (1.0, 0.0, Verdict.SPEAKS),
        (0.8, 0.1, Verdict.SPEAKS),
        (0.5, 0.5, Verdict.TURNS),
        (0.1, 0.9, Verdict.ANOTHER_FACE),
        (0.1, 0.1, Verdict.OFF_SCREEN),
    ],
)
def test_verdicts(own: float, other: float, verdict: Verdict) -> None:
    assert verdict_of(Shares(own, other, 1 - own - other), is_known=True) is verdict
    assert verdict_of(Shares(own, other, 1 - own - other), is_known=False) is Verdict.UNKNOWN


@pytest.mark.parametrize("duration_s", [1.0, 3.0, 3.4, 8.0, 15.0])
def test_windows_cover_the_clip(duration_s: float) -> None:
    starts_s = window_starts_s(10.0, 10.0 + duration_s, SpeakerSettings())
    assert starts_s[0] == 10.0
    assert starts_s[-1] + min(3.0, duration_s) == pytest.approx(10.0 + duration_s)
    assert len(starts_s) < 2 or np.diff(starts_s).max() <= 1.5


class Told:
    """Knows when each face speaks; the first landmark of a face is its number."""

    def __init__(self, *spoken: list[tuple[float, float]]) -> None:
        self.spoken = spoken

    def estimate(self, inputs: Sequence[SyncInput]) -> list[SyncEstimate]:
        return [self._judge(each) for each in inputs]

    def _judge(self, each: SyncInput) -> SyncEstimate:
        face = int(each.landmarks_TPC[0, 0, 0])
        inside = np.zeros(len(each.times_s), bool)
        for first_s, last_s in self.spoken[face]:
            inside |= (each.times_s >= first_s) & (each.times_s < last_s)
        confidence = NO + (YES - NO) * float(inside.mean())
        unknown = np.empty(0)
        return SyncEstimate(0.0, confidence, None, None, None, None, unknown, unknown)


def clip_with(num_faces: int, duration_s: float, *, has_voice: bool = True) -> ClipView:
    """A clip of face 0 in whose picture other faces are as well, all of the time."""
    num_frames = round(duration_s * 25)
    pts = np.arange(num_frames, dtype=np.int64)
    nothing = np.zeros(num_frames, np.float32)
    tracks = tuple(
        FaceTrack(
            number,
            pts,
            np.full((num_frames, 478, 3), number, np.float32),
            nothing,
            nothing,
            np.zeros((num_frames, 0, 0), np.uint8),
            1.0,
        )
        for number in range(num_faces)
    )
    evidence = Evidence(facts=None)  # type: ignore[arg-type]
    evidence.put(FaceTracks(tracks, pts))
    sound = np.zeros(round(duration_s * 16_000), np.float32)
    segments = ((0.0, duration_s),) if has_voice else ()
    evidence.put(Voice(Pcm(sound, Fraction(0)), segments, np.zeros(0), 0.032, None))  # type: ignore[arg-type]
    return ClipView(Clip("source", Span(0, num_frames, BASE), 0), evidence)


def measure(estimator: Told, view: ClipView) -> SpeakerMeasurement:
    stage = SpeakerStage(SpeakerSettings(network="none"), estimator)
    stage.setup()
    (found,) = stage.measure([view])
    return found  # type: ignore[no-any-return]


def test_one_who_speaks() -> None:
    found = measure(Told([(0, 8)]), clip_with(1, 8))
    assert (found.verdict, found.speaking_ratio, found.num_changes) == ("speaks", 1.0, 0)


def test_a_listener_beside_the_speaker() -> None:
    found = measure(Told([], [(0, 8)]), clip_with(2, 8))
    assert (found.verdict, found.other_ratio) == ("another_face", 1.0)


def test_a_voice_over_or_a_dub() -> None:
    found = measure(Told([], []), clip_with(2, 8))
    assert (found.verdict, found.off_screen_ratio) == ("off_screen", 1.0)


def test_two_people_in_turn() -> None:
    found = measure(Told([(0, 6)], [(6, 12)]), clip_with(2, 12))
    assert found.verdict == "turns"
    assert found.num_changes == 1
    assert found.speaking_ratio == pytest.approx(0.5, abs=0.1)
    assert found.other_ratio == pytest.approx(0.5, abs=0.1)


def test_without_voice_nothing_is_known() -> None:
    found = measure(Told([(0, 8)]), clip_with(1, 8, has_voice=False))
    assert found == SpeakerMeasurement(verdict="unknown")


def test_a_face_that_comes_by_is_no_candidate() -> None:
    view = clip_with(2, 8)
    tracks = view.evidence.get(FaceTracks)
    brief = tracks.tracks[1].within(Span(0, 30, BASE))
    view.evidence.put(FaceTracks((tracks.tracks[0], brief), tracks.frame_pts))
    found = measure(Told([(2, 8)], [(0, 2)]), view)
    assert (found.verdict, found.other_ratio) == ("speaks", 0.0)


def test_scores_of_the_network_are_summed_up_over_the_voice() -> None:
    scores = np.array([[2.0, 2.0, -1.0, 1.0, 5.0], [-np.inf, 3.0, -1.0, -2.0, 9.0]])
    voiced = np.array([True, True, True, True, False])
    record = network_record(scores, 0, voiced)
    assert record["network_ratio"] == 0.5
    assert record["network_other_ratio"] == 0.25
    assert record["network_scores"] == (2.0, 2.0, -1.0, 1.0, 5.0)
    assert network_record(np.full((1, 3), -np.inf), 0, np.ones(3, bool)) == {}


def test_without_the_network_it_says_so_and_needs_no_crops() -> None:
    stage = SpeakerStage(SpeakerSettings())
    assert not stage.costly
    assert FaceCrops not in stage.needs
    assert "curate weights fetch lr-asd" in (stage.remark() or "")
    assert stage.lacking() is None
    demanded = SpeakerStage(SpeakerSettings(network="lr_asd"))
    assert "curate weights fetch lr-asd" in (demanded.lacking() or "")
    assert demanded.costly
    assert FaceCrops in demanded.needs
