"""The demo's footage is what its truth says: the oracle is itself held to measurements."""

# ruff: noqa: RUF001 - IPA letters are meant
from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import mediapipe as mp
import numpy as np
import pytest
from faster_whisper.vad import get_speech_timestamps
from numpy.typing import NDArray
from scipy.signal import correlate, resample_poly

from curation.cast import ANNA, BORIS, CLARA, DAVID, EMMA
from curation.demo import (
    CATALOGUE,
    HELD_OUT_FILE,
    PORTRAIT_FILE,
    make_demo_footage,
    make_held_out,
)
from curation.face_motion import lips_for
from curation.portrait import Person, Picture, make_portrait
from curation.synth_voice import OTHER_TEXT, Speech, Voice, VoiceError, speak
from curation.talking_clip import render_talking_clip, talking_frames
from manifests.reasons import Reason

FPS = Fraction(25)
SECONDS = 4.0
VOICE = Voice("en-us+f3", seed=3)
UPPER_LIP, LOWER_LIP, FOREHEAD, CHIN = 13, 14, 10, 152  # FaceMesh


def read_video(path: Path) -> tuple[list[Picture], list[Fraction]]:
    """Pictures (RGB) and their exact times."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [frame.pts * frame.time_base for frame in frames]
    return [frame.to_ndarray(format="rgb24") for frame in frames], times


def read_audio(path: Path) -> tuple[NDArray[np.float32], int, float]:
    """Samples, their rate in Hz, and the time of the first in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    pcm = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return pcm, frames[0].sample_rate, float(frames[0].pts * frames[0].time_base)


def delay_ms(path: Path, speech: Speech) -> float:
    """How much later than on the picture's time the file lets the speech be heard."""
    pcm, rate_hz, start_s = read_audio(path)
    alike = correlate(pcm, speech.pcm, mode="full", method="fft")
    return ((int(alike.argmax()) - (len(speech.pcm) - 1)) / rate_hz + start_s) * 1000


def lip_gaps(pictures: list[Picture]) -> NDArray[np.float64]:
    """Opening of the inner lips as a share of the face's height, as MediaPipe sees it."""
    gaps = []
    with mp.solutions.face_mesh.FaceMesh(refine_landmarks=True, max_num_faces=1) as mesh:
        for picture in pictures:
            found = mesh.process(picture).multi_face_landmarks
            assert found, "FaceMesh lost the face"
            points = found[0].landmark
            face = points[CHIN].y - points[FOREHEAD].y
            gaps.append((points[LOWER_LIP].y - points[UPPER_LIP].y) / face)
    return np.array(gaps)


def best_lag_ms(gaps: NDArray[np.float64], speech: Speech) -> tuple[float, float]:
    """The delay of the picture against the drawn lip curve, and the correlation there."""
    times_s = np.arange(5, len(gaps) - 5) / float(FPS)
    lags_ms = np.arange(-200, 201, 5)
    lips = lips_for(speech)
    alike = [
        np.corrcoef(gaps[5:-5], lips.at(times_s - lag_ms / 1000)[:, 0])[0, 1] for lag_ms in lags_ms
    ]
    best = int(np.argmax(alike))
    return float(lags_ms[best]), float(alike[best])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Speech]:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    speech = render_talking_clip(path, seconds=SECONDS, fps=FPS, person=ANNA, voice=VOICE)
    return path, speech


def test_the_same_words_give_the_same_samples_and_phonemes() -> None:
    first = speak("We moved the boat.", VOICE, seconds=2.0)
    speak("Something else in between.", Voice("en-us+m3"), seconds=1.0)
    again = speak("We moved the boat.", VOICE, seconds=2.0)
    assert first.pcm.tobytes() == again.pcm.tobytes()
    assert first.phonemes == again.phonemes


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_a_voice_activity_detector_hears_speech_most_of_the_time(rate_hz: int) -> None:
    speech = speak(OTHER_TEXT, VOICE, seconds=6.0, sample_rate_hz=rate_hz)
    assert len(speech.pcm) == 6 * rate_hz
    pcm_16k = resample_poly(speech.pcm, 160, rate_hz // 100).astype(np.float32)
    spans = get_speech_timestamps(pcm_16k)
    assert sum(span["end"] - span["start"] for span in spans) / len(pcm_16k) > 0.7


def test_pauses_are_not_digital_silence() -> None:
    pcm = speak("One.", VOICE, seconds=2.0, lead_in_s=1.0).pcm
    assert 1e-4 < np.std(pcm[:40_000]) < 2e-3


def test_phonemes_follow_each_other_without_gaps() -> None:
    phonemes = speak(OTHER_TEXT, VOICE, seconds=5.0).phonemes
    ends_s = [phoneme.end_s for phoneme in phonemes]
    assert [phoneme.start_s for phoneme in phonemes[1:]] == pytest.approx(ends_s[:-1])


def test_an_unknown_voice_is_named_in_the_error() -> None:
    with pytest.raises(VoiceError, match="martian"):
        speak("Hello.", Voice("martian"), seconds=1.0)


def test_lips_are_shut_in_an_m_and_open_in_an_ah() -> None:
    speech = speak("Mama, papa, mama.", VOICE, seconds=1.5)
    lips = lips_for(speech)
    middles_s: dict[str, list[float]] = {"m": [], "ˈɑː": []}
    for phoneme in speech.phonemes:
        middles_s.get(phoneme.ipa, []).append((phoneme.start_s + phoneme.end_s) / 2)
    assert lips.at(np.array(middles_s["m"]))[:, 0].max() < 0.1
    assert lips.at(np.array(middles_s["ˈɑː"]))[:, 0].min() > 0.6


def test_the_same_arguments_give_the_same_pictures_and_none_is_frozen() -> None:
    lips = lips_for(speak(OTHER_TEXT, VOICE, seconds=1.0))

    def frames() -> list[Picture]:
        return list(talking_frames(BORIS, lips, num_frames=8, fps=FPS, size_px=(320, 320)))

    first, again = frames(), frames()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    differences = np.abs(np.diff(np.array(first, np.int16), axis=0)).mean(axis=(1, 2, 3))
    assert differences.min() > 0.5


def test_lips_follow_the_voice_without_delay(clip: tuple[Path, Speech]) -> None:
    path, speech = clip
    pictures, _ = read_video(path)
    lag_ms, correlation = best_lag_ms(lip_gaps(pictures), speech)
    assert correlation > 0.9
    assert abs(lag_ms) <= 10
    assert abs(delay_ms(path, speech)) < 1


@pytest.mark.parametrize("av_offset_ms", [200.0, -120.0])
def test_an_offset_moves_the_sound_and_not_the_picture(
    clip: tuple[Path, Speech], tmp_path: Path, av_offset_ms: float
) -> None:
    path, speech = clip
    moved = tmp_path / "moved.mp4"
    render_talking_clip(
        moved, seconds=1.6, fps=FPS, person=ANNA, voice=VOICE, av_offset_ms=av_offset_ms
    )
    assert delay_ms(moved, speech) == pytest.approx(av_offset_ms, abs=1)
    first, same = read_video(path)[0][10], read_video(moved)[0][10]
    assert np.abs(first.astype(int) - same.astype(int)).mean() < 3


def test_a_dubbed_clip_lets_the_other_speech_be_heard(tmp_path: Path) -> None:
    other = speak(OTHER_TEXT, Voice("en-us+m3"), seconds=1.0)
    path = tmp_path / "dubbed.mp4"
    render_talking_clip(path, seconds=1.0, voice=VOICE, audio_from=other)
    assert abs(delay_ms(path, other)) < 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_late_audio_track_keeps_what_is_heard_when(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"late_track.{suffix}"
    speech = render_talking_clip(path, seconds=1.5, voice=VOICE, audio_start_s=0.5)
    assert read_audio(path)[2] == pytest.approx(0.5, abs=0.025)  # an AAC frame of priming
    assert abs(delay_ms(path, speech)) < 2  # mp4 edit lists count milliseconds


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001), Fraction(60)])
def test_every_picture_has_its_exact_time(tmp_path: Path, fps: Fraction) -> None:
    path = tmp_path / "clip.mp4"
    render_talking_clip(path, seconds=1.0, fps=fps, size=(256, 256), voice=VOICE)
    _, times = read_video(path)
    assert times == [Fraction(index) / fps for index in range(round(1.0 * fps))]
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == fps
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_the_same_clip_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        render_talking_clip(tmp_path / name, seconds=0.6, size=(256, 256), voice=VOICE)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("person", [ANNA, BORIS, CLARA, DAVID, EMMA], ids=lambda p: p.name)
def test_every_face_is_large_enough(person: Person) -> None:
    assert make_portrait(person, 640, 480).face_height_px > 160


def test_the_truths_fit_the_products_own_reasons() -> None:
    truths = [truth for truth, _ in CATALOGUE]
    assert len({truth.file for truth in truths}) == len(truths)
    for truth in truths:
        assert truth.min_kept <= truth.max_kept
        assert truth.reason is None or truth.reason in Reason.__members__
        assert (truth.max_kept == 0) == (truth.reason is not None)
        assert truth.state == "done" or truth.max_kept == 0


def test_the_broken_files_are_broken_as_their_truth_says(tmp_path: Path) -> None:
    broken = ("no_audio.mp4", "truncated.mp4", "text_named.mp4")
    truths = make_demo_footage(tmp_path, only=broken)
    assert tuple(truth.file for truth in truths) == broken
    listed = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert [entry["file"] for entry in listed] == list(broken)
    with av.open(str(tmp_path / "no_audio.mp4")) as container:
        assert not container.streams.audio
    for name in broken[1:]:
        with pytest.raises(av.error.InvalidDataError):
            av.open(str(tmp_path / name))


def test_a_misspelt_demo_file_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"two_shots\.mp4"):
        make_demo_footage(tmp_path, only=("two_shot.mp4",))


def test_the_held_out_clip_speaks_and_its_portrait_is_its_first_frame(tmp_path):
    make_held_out(tmp_path)
    with av.open(str(tmp_path / HELD_OUT_FILE)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
        assert container.streams.audio
    portrait = cv2.imread(str(tmp_path / PORTRAIT_FILE))[..., ::-1].astype(int)
    assert np.abs(portrait - first).mean() < 3
