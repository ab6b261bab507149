"""The sync stage: measured as it is and as it is packed; three verdicts kept apart."""

from dataclasses import dataclass, replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from manifests.span import Span
from stages.face_track import FaceTrack, FaceTracks
from stages.pcm import Pcm
from stages.speech import Voice
from stages.sync import BELONGS, FOREIGN, UNSURE, SyncSettings, SyncStage, verdict_of
from stages.sync_estimator import SyncEstimate
from stages.sync_features import OFFSETS_MS
from tests.stages.talking_head import RATE_HZ, SPEECH_S, lips, voice

FOUND = SyncEstimate(12.0, 0.9, 1.0, 1.0, None, 1.0, OFFSETS_MS, np.zeros(len(OFFSETS_MS)))


@dataclass(frozen=True)
class Shown:
    """What the stage reads of an evidence."""

    records: dict

    def get(self, kind: type) -> object:
        return self.records[kind]


def view(pcm: np.ndarray, start_s: float = 1.0, end_s: float = 5.0) -> SimpleNamespace:
    landmarks_TPC, times_s = lips(25.0, seed=1)
    num = len(times_s)
    track = FaceTrack(
        0,
        np.arange(num),
        landmarks_TPC,
        np.ones(num),
        np.ones(num),
        np.zeros((num, 0, 0), np.uint8),
        1.0,
    )
    base = Fraction(1, 25)
    span = Span(round(start_s * 25), round(end_s * 25), base)
    sound = SimpleNamespace(pcm=Pcm(pcm, Fraction(0), RATE_HZ))
    shown = Shown({FaceTracks: FaceTracks((track,), track.pts), Voice: sound})
    return SimpleNamespace(clip=SimpleNamespace(span=span, track=0), evidence=shown)


@pytest.fixture(scope="module")
def stage() -> SyncStage:
    made = SyncStage(SyncSettings())
    made.setup()
    return made


@pytest.mark.parametrize("delay_s", [-0.24, 0.0, 0.24])
def test_what_was_corrected_is_in_sync_when_measured_again(
    stage: SyncStage, delay_s: float
) -> None:
    own, late = stage.measure([view(voice(1)), view(voice(1, delay_s))])
    assert late.offset_ms - own.offset_ms == pytest.approx(1000 * delay_s, abs=20)
    assert late.remaining_offset_ms <= 40


def test_silence_leaves_everything_missing(stage: SyncStage) -> None:
    (found,) = stage.measure([view(np.zeros(int(SPEECH_S * RATE_HZ), np.float32))])
    assert (found.offset_ms, found.confidence, found.verdict, found.remaining_offset_ms) == (
        None,
    ) * 4


@pytest.mark.parametrize(
    ("confidence", "clarity", "yaw_deg", "verdict"),
    [
        (0.5, 0.2, 80.0, BELONGS),
        (0.05, 1.0, 0.0, FOREIGN),
        (0.3, 1.5, 0.0, UNSURE),
        (0.05, 0.9, 0.0, UNSURE),
        (0.05, 1.5, 50.0, UNSURE),
    ],
)
def test_a_voice_is_foreign_only_if_voice_and_mouth_can_be_made_out(
    confidence: float, clarity: float, yaw_deg: float, verdict: str
) -> None:
    found = replace(FOUND, confidence=confidence, voice_clarity=clarity)
    assert verdict_of(found, yaw_deg) == verdict


def test_no_estimate_has_no_verdict() -> None:
    assert verdict_of(replace(FOUND, confidence=None), 0.0) is None


def test_own_weights_have_their_own_digest(tmp_path) -> None:
    other = tmp_path / "mine.npz"
    other.write_bytes(b"something else")
    stage = SyncStage(SyncSettings(weights=str(other)))
    assert stage.weights_digests() != SyncStage(SyncSettings()).weights_digests()
