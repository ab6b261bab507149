"""Speech: the voice is found in whatever channel it is, and its quality is what was mixed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stages import acoustics
from stages.audio import SAMPLE_RATE_HZ, Pcm, Track
from stages.channels import ChannelChoice, candidates, choose_voice
from stages.contract import Evidence
from stages.errors import MediaError
from stages.facts import AudioFacts, SourceFacts
from stages.speech import SpeechSettings, SpeechStage, Voice, longest_pause_s, measure_speech
from stages.voice_activity import (
    HOP,
    Hearing,
    VoiceActivitySettings,
    VoiceDetector,
    model_path,
    segments_of,
)
from tests.stages.test_audio import DATA, facts_of, write_sound

RATE = SAMPLE_RATE_HZ


def syllables(duration_s: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise in three moving bands that comes in syllables, as speech does, and where it is."""
    rng = np.random.default_rng(seed)
    num = round(duration_s * RATE)
    time_s = np.arange(num) / RATE
    sound = np.zeros(num)
    for low, high in ((150, 500), (500, 1500), (1500, 5000)):
        spectrum = np.fft.rfft(rng.standard_normal(num))
        hz = np.fft.rfftfreq(num, 1 / RATE)
        spectrum[(hz < low) | (hz > high)] = 0
        rhythm = np.sin(np.pi * (rng.uniform(3, 5) * time_s + rng.uniform())) ** 4
        sound += np.fft.irfft(spectrum, num) * rhythm
    voiced = (time_s % 2.0) < 1.5
    sound *= voiced
    return (0.1 * sound / sound[voiced].std()).astype(np.float32), voiced


def test_a_lone_click_does_not_end_a_pause_nor_a_short_dip_a_word() -> None:
    probability = np.zeros(100, np.float32)
    probability[10:30] = 0.9
    probability[18:20] = 0.1  # 64 ms, less than the shortest silence
    probability[60:62] = 0.9  # 64 ms, less than the shortest speech
    ((first, last),) = segments_of(probability, 100 * HOP, VoiceActivitySettings(pad_s=0.0))
    assert (first, last) == (10 * HOP, 30 * HOP)


def test_padding_never_joins_or_overlaps_segments() -> None:
    probability = np.zeros(60, np.float32)
    probability[0:20] = probability[25:60] = 0.9
    segments = segments_of(probability, 60 * HOP, VoiceActivitySettings(pad_s=1.0))
    assert segments[0][0] == 0 and segments[-1][1] == 60 * HOP
    assert segments[0][1] <= segments[1][0]


def test_a_voice_that_does_not_stop_ends_with_the_sound() -> None:
    probability = np.full(20, 0.9, np.float32)
    assert segments_of(probability, 20 * HOP - 100, VoiceActivitySettings()) == (
        (0, 20 * HOP - 100),
    )


def heard_as(voice: np.ndarray):  # type: ignore[no-untyped-def]
    """A detector that hears exactly one voice, in either polarity, if it is not drowned."""

    def hear(samples: np.ndarray) -> Hearing:
        size = min(len(samples), len(voice))
        one, other = samples[:size].astype(float), voice[:size].astype(float)
        both = np.sqrt((one @ one) * (other @ other))
        likeness = abs(one @ other) / both if both > 0 else 0.0
        return Hearing(np.zeros(0, np.float32), ((0, round(likeness * size)),))

    return hear


def layouts() -> dict[str, tuple[np.ndarray, str, str]]:
    """Channels, FFmpeg's layout, and the mix that has to be chosen."""
    voice, _ = syllables(4.0)
    music, other = syllables(4.0, 1)[0] * 2, syllables(4.0, 2)[0] * 2
    none = np.zeros_like(voice)
    return {
        "mono": (np.stack([voice]), "mono", "mono"),
        "stereo": (np.stack([voice, voice]), "stereo", "middle"),
        "left only": (np.stack([voice, none]), "stereo", "FL"),
        "right only": (np.stack([none, voice]), "stereo", "FR"),
        "antiphase": (np.stack([voice, -voice]), "stereo", "side"),
        "music left": (np.stack([music, voice]), "stereo", "FR"),
        "centre": (np.stack([music, other, voice, none, music, other]), "5.1", "centre"),
        "centre only": (np.stack([none, none, voice, none, none, none]), "5.1", "FC"),
        "no centre": (np.stack([voice, voice, none, none, none, none]), "5.1", "middle"),
    }


@pytest.mark.parametrize("name", layouts())
def test_the_mix_that_carries_the_voice_is_chosen(tmp_path: Path, name: str) -> None:
    rows, layout, mix = layouts()[name]
    voice = syllables(4.0)[0]
    path = write_sound(tmp_path / "a.mkv", [rows], RATE, layout=layout)
    pcm, _, choice = choose_voice(facts_of(path), heard_as(voice), enough_ratio=0.9)
    assert choice.mix == mix
    assert np.corrcoef(pcm.samples, voice[: len(pcm.samples)])[0, 1] > 0.99
    if name in ("mono", "stereo", "left only", "right only", "antiphase", "centre only"):
        assert choice.num_heard == 1


def test_the_second_track_is_taken_if_the_first_has_no_voice(tmp_path: Path) -> None:
    voice, music = syllables(4.0)[0], syllables(4.0, 1)[0]
    path = write_sound(tmp_path / "a.mkv", [music[None], voice[None]], RATE)
    facts = facts_of(path)
    pcm, _, choice = choose_voice(facts, heard_as(voice), enough_ratio=0.5)
    assert choice.stream_index == facts.audio[1].index
    assert np.corrcoef(pcm.samples, voice[: len(pcm.samples)])[0, 1] > 0.99
    swapped = write_sound(tmp_path / "b.mkv", [voice[None], music[None]], RATE)
    assert choose_voice(facts_of(swapped), heard_as(voice), enough_ratio=0.5)[2].num_heard == 1


def test_a_silent_track_is_not_heard_but_kept() -> None:
    track = Track(1, ("FL", "FR"), np.zeros((2, RATE), np.float32), Fraction(0))
    ((name, _, is_final),) = candidates(track)
    assert (name, is_final) == ("middle", None)


def test_audio_that_cannot_be_decoded_is_an_error(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mkv", [np.zeros((1, RATE), np.float32)], RATE)
    good = facts_of(path)
    far = {"start": Fraction(100), "end": Fraction(200)}
    pcm, hearing, _ = choose_voice(good, heard_as(np.zeros(1)), enough_ratio=0.5, **far)
    assert len(pcm.samples) == 0 and hearing.voiced_s == 0
    no_track = SourceFacts(str(path), "id", 1, "mkv", None, good.video, ())
    with pytest.raises(MediaError, match="no sample"):
        choose_voice(no_track, heard_as(np.zeros(1)), enough_ratio=0.5)


@pytest.mark.parametrize("snr_db", [20, 10, 5, 0])
@pytest.mark.parametrize("has_pauses", [True, False])
def test_snr_is_what_was_mixed(snr_db: float, has_pauses: bool) -> None:
    sound, voiced = syllables(8.0)
    noise = np.random.default_rng(5).standard_normal(len(sound))
    mixed = sound + noise * sound[voiced].std() * 10 ** (-snr_db / 20)
    if not has_pauses:
        mixed, voiced = mixed[voiced], voiced[voiced]
    estimate = acoustics.snr_db(mixed.astype(np.float32), voiced)
    assert estimate == pytest.approx(snr_db, abs=3.0)


def test_snr_does_not_depend_on_the_gain() -> None:
    sound, voiced = syllables(4.0)
    sound = sound + np.random.default_rng(1).standard_normal(len(sound)).astype(np.float32) * 0.01
    loud, quiet = acoustics.snr_db(sound, voiced), acoustics.snr_db(sound * 1e-3, voiced)
    assert loud == pytest.approx(quiet, abs=0.1)
    assert acoustics.snr_db(sound, np.zeros(len(sound), bool)) is None


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_clipping_grows_with_the_samples_cut_off(gain: float) -> None:
    sound = syllables(8.0)[0]
    sound = sound / np.abs(sound).max()
    ratios = [
        acoustics.clipping_ratio(
            (gain * np.clip(sound * 10 ** (db / 20), -0.98, 0.98)).astype(np.float32)
        )
        for db in (0, 6, 12, 20)
    ]
    assert ratios[0] < 0.001
    assert ratios == sorted(ratios)
    assert ratios[2] > 0.01
    assert acoustics.clipping_ratio(sound * 3) > 0.01  # a float decoder's samples beyond full scale


def test_bandwidth_shows_telephone_sound() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE * 2).astype(np.float32)
    voiced = np.ones(len(noise), bool)
    assert acoustics.bandwidth_hz(noise, voiced) == 8000
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / RATE) > 3400] = 0
    narrow = np.fft.irfft(spectrum, len(noise)).astype(np.float32)
    assert acoustics.bandwidth_hz(narrow, voiced) == pytest.approx(3500, abs=250)


def test_loudness_of_the_standards_sine_and_of_nothing() -> None:
    sine = np.sin(2 * np.pi * 997 * np.arange(RATE * 2) / RATE).astype(np.float32)
    assert acoustics.loudness_lufs(sine) == pytest.approx(-3.01, abs=0.1)  # BS.1770-4, 0 dBFS sine
    assert acoustics.loudness_lufs(sine[:6000]) is None
    assert acoustics.loudness_lufs(np.zeros(RATE, np.float32)) is None
    assert acoustics.peak_dbfs(sine * 0.5) == pytest.approx(-6.02, abs=0.01)
    assert acoustics.peak_dbfs(np.zeros(RATE, np.float32)) is None


def test_sound_that_ends_half_way_is_seen() -> None:
    sound = syllables(4.0)[0]
    pcm = Pcm(sound, Fraction(10))
    voice = Voice(pcm, ((10.0, 13.5),), np.zeros(0), 0.032, ChannelChoice(1, "mono", 3.5, 1))
    record = measure_speech(voice, 10.0, 18.0)
    assert record.audio_coverage_ratio == pytest.approx(0.5)
    assert record.digital_silence_ratio is not None and record.digital_silence_ratio >= 0.5
    assert record.speech_ratio == pytest.approx(3.5 / 8)
    assert record.longest_pause_s == pytest.approx(4.5)
    empty = measure_speech(voice, 30.0, 33.0)
    assert (empty.snr_db, empty.loudness_lufs, empty.bandwidth_hz) == (None, None, None)
    assert (empty.speech_ratio, empty.longest_pause_s) == (0.0, 3.0)


def test_the_longest_pause_may_be_at_an_end() -> None:
    assert longest_pause_s([(1.0, 2.0), (2.5, 3.0)], 0.0, 3.2) == 1.0
    assert longest_pause_s([], 5.0, 8.0) == 3.0


@pytest.fixture(scope="module")
def stage() -> SpeechStage:
    built = SpeechStage(SpeechSettings())
    built.setup()
    return built


def test_the_detector_hears_no_voice_in_silence_noise_and_tones() -> None:
    detector = VoiceDetector(VoiceActivitySettings())
    noise = np.random.default_rng(0).standard_normal(RATE * 5).astype(np.float32)
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE * 5) / RATE).astype(np.float32)
    for sound in (np.zeros(RATE * 5, np.float32), noise * 0.1, tone):
        assert detector.hear(sound).voiced_s < 0.5
    assert detector.hear(np.zeros(0, np.float32)).segments == ()
    assert model_path().name == "silero_vad_v6.onnx"


def test_batches_of_the_detector_carry_its_state() -> None:
    sound = syllables(3.0)[0]
    whole, batched = (
        VoiceDetector(VoiceActivitySettings(), batch_hops=hops).hear(sound).probability
        for hops in (1000, 7)
    )
    assert np.allclose(batched, whole, atol=1e-4)


def real(stage: SpeechStage, name: str) -> Voice:
    if not (DATA / name).exists():
        pytest.skip("no real clips here")
    return stage.examine(Evidence(facts_of(DATA / name)))


@pytest.mark.parametrize(
    ("name", "mix", "number"),
    [
        ("d_audio_right_only.mp4", "FR", 0),
        ("d_audio_antiphase.mp4", "side", 0),
        ("d_audio_51_center.mp4", "FC", 0),
        ("d_audio_2tracks_musicfirst.mp4", "mono", 1),
    ],
)
def test_real_voices_are_found_in_their_channel(
    stage: SpeechStage, name: str, mix: str, number: int
) -> None:
    voice = real(stage, name)
    streams: tuple[AudioFacts, ...] = facts_of(DATA / name).audio
    assert (voice.choice.mix, voice.choice.stream_index) == (mix, streams[number].index)
    duration_s = len(voice.pcm.samples) / RATE
    assert sum(last - first for first, last in voice.segments) > 0.9 * duration_s


def test_real_music_is_not_taken_for_a_voice(stage: SpeechStage) -> None:
    for name in ("lp_d6_music_faces.mp4", "lp_s18_listener_music.mp4", "d_silent_audio.mp4"):
        voice = real(stage, name)
        assert sum(b - a for a, b in voice.segments) < 0.25 * len(voice.pcm.samples) / RATE


def test_noise_as_loud_as_speech_is_clearly_below_the_clean_clip(stage: SpeechStage) -> None:
    clean, noisy = (real(stage, name) for name in ("sv_half1.mp4", "d_noise_0dB.mp4"))
    values = [measure_speech(voice, 0.0, 9.0).snr_db for voice in (clean, noisy)]
    assert values[0] is not None and values[1] is not None
    assert values[0] > values[1] + 10


def test_segments_lie_on_the_clock_of_the_container(stage: SpeechStage) -> None:
    voice = real(stage, "d_ts_wrapoffset.ts")
    assert all(95_001 < first < last < 95_011 for first, last in voice.segments)
