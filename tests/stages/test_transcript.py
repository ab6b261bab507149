"""Transcript: the words of the picture, at their times, from subtitles or from Whisper."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from curation.synth_voice import Voice as Speaker
from curation.synth_voice import speak
from manifests.measurement import values_of
from manifests.records import Clip
from manifests.span import Span
from stages.asr import Whisper
from stages.channels import ChannelChoice
from stages.contract import ClipView, Evidence
from stages.errors import StageError
from stages.pcm import SAMPLE_RATE_HZ, Pcm
from stages.sound_pieces import Sound, pieces_of
from stages.speech import SpeechSettings, SpeechStage, Voice
from stages.sync import SyncMeasurement
from stages.transcript import TranscriptMeasurement, TranscriptSettings, TranscriptStage
from tests.stages.reciting_whisper import write_whisper
from tests.stages.test_audio import facts_of, write_sound

RATE = SAMPLE_RATE_HZ
TIME_BASE = Fraction(1, 1000)
SENTENCE = "Every morning my father opened the old shop."
WORDS = SENTENCE.split()
PHONEMES_A_WORD = (4, 5, 2, 5, 5, 2, 3, 3)
SECOND_S = 4.0
"""The sentence is said at 1 s, and again this much later."""

RECITED = ("Guten", "Tag,", "mein", "lieber", "Freund.")
NOT_HERE = "nobody/no-such-whisper"


def said_once() -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The sentence as sound, and when each of its words is spoken in it."""
    speech = speak(SENTENCE, Speaker(), seconds=8.0, sample_rate_hz=RATE, lead_in_s=0.0)
    spoken = [p for p in speech.phonemes if p.ipa]
    firsts = np.cumsum([0, *PHONEMES_A_WORD])
    times = [(spoken[a].start_s, spoken[b - 1].end_s) for a, b in itertools.pairwise(firsts)]
    assert spoken[firsts[-1]].ipa == spoken[0].ipa  # the counts are right: it starts again
    return speech.pcm[: round(times[-1][1] * RATE)], times


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[float, float]]]:
    """A file in which the sentence is said twice, and the truth of its words in seconds."""
    sentence, times = said_once()
    sound = np.zeros(round(9.0 * RATE), np.float32)
    for start_s in (1.0, 1.0 + SECOND_S):
        first = round(start_s * RATE)
        sound[first : first + len(sentence)] = sentence
    path = tmp_path_factory.mktemp("said") / "talk.mkv"
    write_sound(path, [sound[None]], RATE)
    truth = [(a + at, b + at) for at in (1.0, 1.0 + SECOND_S) for a, b in times]
    return path, truth


def evidence_of(path: Path) -> Evidence:
    stage = SpeechStage(SpeechSettings())
    stage.setup()
    evidence = Evidence(facts_of(path))
    evidence.put(stage.examine(evidence))
    return evidence


def clip_of(evidence: Evidence, start_s: float, end_s: float, offset_ms: float | None = None):  # type: ignore[no-untyped-def]
    span = Span(round(start_s * 1000), round(end_s * 1000), TIME_BASE)
    measured = {} if offset_ms is None else {SyncMeasurement: SyncMeasurement(offset_ms=offset_ms)}
    return ClipView(Clip("source", span, 0), evidence, measured)


def transcribe(clip: ClipView, **settings: object) -> TranscriptMeasurement:
    stage = TranscriptStage(TranscriptSettings(**{"model": NOT_HERE, **settings}))
    stage.setup()
    (record,) = stage.measure([clip])
    stage.close()
    return record


def stamp(time_s: float) -> str:
    return f"00:00:{time_s:06.3f}"


def write_cues(path: Path, at_s: float = 0.0) -> None:
    """Cues as people set them: a little before the voice until long after it."""
    blocks = [
        f"{stamp(at_s + start_s - 0.2)} --> {stamp(at_s + start_s + 3.6)}\n[Music] {SENTENCE}\n"
        for start_s in (1.0, 1.0 + SECOND_S)
    ]
    path.write_text("WEBVTT\n\n" + "\n".join(blocks))


def test_words_of_a_cue_lie_where_they_are_spoken(footage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, truth = footage
    source = tmp_path / "talk.mkv"
    source.write_bytes(path.read_bytes())
    write_cues(tmp_path / "talk.en-GB.vtt")
    record = transcribe(clip_of(evidence_of(source), 0.5, 8.5))
    assert record.words == tuple(WORDS * 2)
    assert record.text == f"{SENTENCE} {SENTENCE}"
    assert (record.source, record.language, record.problem) == ("subtitles", "en", None)
    starts_s = np.array(record.word_starts_s) + 0.5
    ends_s = np.array(record.word_ends_s) + 0.5
    errors_s = np.abs(np.array([starts_s, ends_s]).T - np.array(truth))
    assert errors_s.max() < 0.35 and np.median(errors_s) < 0.15
    assert not any(a < 4.5 < b for a, b in zip(starts_s, ends_s, strict=True))
    assert record.speech_without_words_ratio == pytest.approx(0, abs=0.02)
    assert record.num_words == 16
    assert record.mean_word_confidence is None and record.word_confidences is None


def test_times_of_words_in_the_file_are_kept_and_a_clip_gets_its_own_words(  # type: ignore[no-untyped-def]
    footage, tmp_path: Path
) -> None:
    path, truth = footage
    source = tmp_path / "talk.mkv"
    source.write_bytes(path.read_bytes())
    lines = []
    for first in (0, 8):
        times = truth[first : first + 8]
        tagged = "".join(
            f"<{stamp(at)}><c> {word}</c>"
            for word, (at, _) in zip(WORDS[1:], times[1:], strict=True)
        )
        lines.append(f"{stamp(times[0][0])} --> {stamp(times[-1][1])}\n{WORDS[0]}{tagged}\n")
    (tmp_path / "talk.vtt").write_text("WEBVTT\n\n" + "\n".join(lines))
    evidence = evidence_of(source)
    middle_s = truth[3][0] - 0.01  # just before "father"
    record = transcribe(clip_of(evidence, middle_s, 4.5))
    assert record.words == ("father", "opened", "the", "old", "shop.")
    assert np.array(record.word_starts_s) + middle_s == pytest.approx(
        [start_s for start_s, _ in truth[3:8]], abs=0.002
    )
    gap = transcribe(clip_of(evidence, 8.0, 8.9))
    assert (gap.text, gap.num_words, gap.words_per_s) == ("", 0, None)


def test_the_sound_of_the_picture_is_transcribed(footage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A clip whose sound is late hears as much later; times stay on the sound's clock."""
    path, truth = footage
    source = tmp_path / "talk.mkv"
    source.write_bytes(path.read_bytes())
    write_cues(tmp_path / "talk.vtt")
    evidence = evidence_of(source)
    end_s = truth[7][1] - 0.3  # within "shop."
    early, late = (
        transcribe(clip_of(evidence, 0.2, end_s, offset_ms)) for offset_ms in (0.0, 500.0)
    )
    assert early.words == tuple(WORDS[:-1])
    assert late.words == tuple(WORDS)
    assert late.word_starts_s[:7] == early.word_starts_s  # type: ignore[index]
    assert late.word_ends_s[-1] > end_s - 0.5  # type: ignore[index]
    until_s = truth[1][1] - 0.1  # within "morning"
    before = transcribe(clip_of(evidence, 2.0, until_s + 1.7, -1700.0))
    assert before.words == tuple(WORDS[:2])


def test_subtitles_start_with_the_file_and_not_with_its_clock(footage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, _ = footage
    with_sound = evidence_of(path).get(Voice).pcm.samples
    source = write_sound(tmp_path / "talk.mkv", [with_sound[None]], RATE, start_s=30.0)
    write_cues(tmp_path / "talk.vtt")
    evidence = evidence_of(source)
    assert evidence.get(Voice).pcm.start_time == 30
    record = transcribe(clip_of(evidence, 30.5, 34.5))
    assert record.words == tuple(WORDS)
    assert record.speech_without_words_ratio == pytest.approx(0, abs=0.02)


def test_without_a_sidecar_and_without_weights_the_way_out_is_said(footage) -> None:  # type: ignore[no-untyped-def]
    path, _ = footage
    clip = clip_of(evidence_of(path), 0.5, 4.5)
    record = transcribe(clip, model="small") if _no_small_here() else transcribe(clip)
    assert record.problem is not None and "fetches Whisper" in record.problem
    values = values_of(record, "transcript")
    assert values.pop("transcript.problem") and set(values.values()) == {None}
    remark = TranscriptStage(TranscriptSettings()).remark()
    assert remark is not None and ("fetches Whisper" in remark) == _no_small_here()
    assert transcribe(clip, backend="none").problem == "backend none"
    assert transcribe(clip, backend="subtitles").problem == "no subtitle file beside the source"


def _no_small_here() -> bool:
    from stages.asr import find_model

    return find_model("small") is None


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a Whisper that always says the same five German words."""
    return write_whisper(tmp_path_factory.mktemp("weights") / "reciting", RECITED)


@pytest.fixture(scope="module")
def whisper(weights: Path) -> Whisper:
    return Whisper.load(weights, "cpu")


def test_a_broken_sidecar_costs_the_subtitles_and_never_the_source(  # type: ignore[no-untyped-def]
    footage, weights: Path, tmp_path: Path
) -> None:
    path, _ = footage
    source = tmp_path / "talk.mkv"
    source.write_bytes(path.read_bytes())
    (tmp_path / "talk.srt").write_bytes(b"\x00\x01 no subtitles")
    clip = clip_of(evidence_of(source), 0.5, 4.5)
    alone = transcribe(clip)
    assert alone.text is None and alone.problem is not None
    assert alone.problem.startswith("talk.srt is not a whole .srt file")
    with_whisper = transcribe(clip, model=str(weights))
    assert with_whisper.source == "whisper" and with_whisper.problem == alone.problem


def test_whisper_says_its_words_within_the_voice(footage, weights: Path) -> None:  # type: ignore[no-untyped-def]
    path, truth = footage
    record = transcribe(clip_of(evidence_of(path), 0.5, 4.5, 100.0), model=str(weights))
    assert record.words == RECITED and record.text == "Guten Tag, mein lieber Freund."
    assert (record.source, record.language) == ("whisper", "de")
    assert record.language_confidence == pytest.approx(1, abs=1e-3)
    assert record.mean_word_confidence == pytest.approx(1, abs=1e-3)
    assert record.word_starts_s is not None and record.word_ends_s is not None
    assert list(record.word_starts_s) == sorted(record.word_starts_s)
    assert all(a <= b for a, b in zip(record.word_starts_s, record.word_ends_s, strict=True))
    assert record.word_starts_s[0] + 0.5 > truth[0][0] - 0.5
    assert record.word_ends_s[-1] + 0.5 < truth[7][1] + 0.6


def sound(duration_s: float, *voiced: tuple[float, float], seed: int = 0) -> Sound:
    samples = np.random.default_rng(seed).standard_normal(round(duration_s * RATE)) * 0.1
    return Sound(samples.astype(np.float32), voiced)


def test_what_is_heard_in_a_clip_does_not_depend_on_its_neighbours(whisper: Whisper) -> None:
    sounds = [sound(2.0 + n, (0.2, 1.7 + n), seed=n) for n in range(3)]
    together = whisper.transcribe(sounds)
    assert together == [whisper.transcribe([one])[0] for one in sounds]
    assert together[::-1] == whisper.transcribe(sounds[::-1])
    assert len({heard.words for heard in together}) == 3


def test_pieces_lie_further_apart_than_the_longest_pause_that_whisper_looks_at(
    weights: Path,
) -> None:
    given: list[dict[str, float]] = []

    class Recorder:
        def transcribe(self, audio, clip_timestamps, **_):  # type: ignore[no-untyped-def]
            given.extend(clip_timestamps)
            return [], None

    model = Whisper.load(weights, "cpu", languages=("de",))
    model._pipeline = Recorder()
    model.transcribe([sound(2.0 + n, (0.5, 1.5 + n)) for n in range(3)])
    ends_s = [0.0, *(piece["end"] for piece in given)]
    for piece, end_s in zip(given, ends_s, strict=False):
        assert piece["start"] - end_s > 4 * 0.7  # medians of 0.7 s at most, transcribe.py
        assert piece["start"] % 1 == 0  # so that `seek`, in hundredths, is exact


def test_silence_is_not_given_to_whisper(whisper: Whisper) -> None:
    heard, silent = whisper.transcribe([sound(2.0, (0.1, 1.9)), sound(2.0)])
    assert len(heard.words) == 5
    assert (silent.words, silent.language, silent.language_confidence) == ((), None, None)


def test_whisper_keeps_to_the_languages_it_is_given(weights: Path) -> None:
    for languages, language, is_measured in ((("fr",), "fr", False), (("en", "fr"), None, True)):
        model = Whisper.load(weights, "cpu", languages=languages)
        (heard,) = model.transcribe([sound(2.0, (0.1, 1.9))])
        assert heard.language in languages if language is None else heard.language == language
        assert (heard.language_confidence is not None) == is_measured
        if heard.language_confidence is not None:
            assert heard.language_confidence < 0.5  # it is sure of German


def test_long_sound_is_cut_in_its_pauses_and_none_of_it_is_lost(whisper: Whisper) -> None:
    long = sound(70.0, (1.0, 24.0), (26.0, 27.0), (28.0, 50.0), (51.0, 69.0))
    pieces = pieces_of(long)
    assert [(a / RATE, b / RATE) for a, b in pieces] == [(0.6, 27.5), (27.5, 50.5), (50.5, 69.4)]
    endless = [b - a for a, b in pieces_of(sound(70.0, (0.0, 70.0)))]
    assert sum(endless) == 70 * RATE and max(endless) <= 30 * RATE
    (heard,) = whisper.transcribe([long])
    assert [word.text for word in heard.words] == list(RECITED) * 3
    for number, (first, last) in enumerate(pieces):
        words = heard.words[5 * number : 5 * number + 5]
        assert first / RATE <= words[0].start_s and words[-1].end_s <= last / RATE


class Doubtful:
    """Stands in for faster-whisper's pipeline: one segment that is hardly speech, one that is."""

    def __init__(self, log_probability: float, no_speech: float) -> None:
        self._values = {"avg_logprob": log_probability, "no_speech_prob": no_speech}

    def transcribe(self, audio, clip_timestamps, **_):  # type: ignore[no-untyped-def]
        from types import SimpleNamespace

        start_s = clip_timestamps[0]["start"]
        word = SimpleNamespace(word=" you", start=start_s - 1.0, end=start_s + 99, probability=0.5)
        segment = SimpleNamespace(seek=start_s * 100, words=[word], **self._values)
        return [segment], None


@pytest.mark.parametrize(
    ("log_probability", "no_speech", "num_words"), [(-1.5, 0.9, 0), (-0.5, 0.9, 1), (-1.5, 0.2, 1)]
)
def test_words_made_up_in_silence_are_dropped(
    weights: Path, log_probability: float, no_speech: float, num_words: int
) -> None:
    model = Whisper.load(weights, "cpu", languages=("en",))
    model._pipeline = Doubtful(log_probability, no_speech)
    (heard,) = model.transcribe([sound(2.0, (0.5, 1.5))])
    assert len(heard.words) == num_words
    for word in heard.words:  # times outside of the piece are cut to it
        assert (word.start_s, word.end_s) == (pytest.approx(0.1), pytest.approx(1.9))


def test_weights_are_part_of_the_fingerprint(weights: Path, tmp_path: Path) -> None:
    def prints(**settings: object) -> str:
        return TranscriptStage(TranscriptSettings(**settings)).fingerprint()  # type: ignore[arg-type]

    copy = tmp_path / "copy"
    copy.mkdir()
    for file in weights.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    before = prints(model=str(copy))
    stage = TranscriptStage(TranscriptSettings(model=str(copy)))
    assert stage.weights_digests()[0] == str(copy) and len(stage.weights_digests()) == 4
    (copy / "model.bin").write_bytes(b"other weights")
    assert prints(model=str(copy)) != before
    subtitles = TranscriptStage(TranscriptSettings(backend="subtitles", model=str(copy)))
    assert subtitles.weights_digests() == ()
    pinned = TranscriptStage(TranscriptSettings(backend="whisper")).weights_digests()
    assert pinned[0] == "small" and all(len(digest) == 64 for digest in pinned[1:])


def test_weights_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    stage = TranscriptStage(TranscriptSettings(backend="whisper", model=NOT_HERE))
    with pytest.raises(StageError, match=f"download {NOT_HERE}"):
        stage.setup()
    with pytest.raises(StageError, match=f"download {NOT_HERE}"):
        stage.weights_digests()
    with pytest.raises(StageError, match=r"model\.bin.*missing"):
        Whisper.load(tmp_path)
    for model in ("smal", "/no/such/folder"):
        with pytest.raises(ValidationError, match="no Whisper model is called"):
            TranscriptSettings(model=model)


def test_voice_without_words_is_seen(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "a.mkv", [np.zeros((1, 4 * RATE), np.float32)], RATE)
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:02.000\none two\n")
    pcm = Pcm(np.zeros(4 * RATE, np.float32), Fraction(0))
    evidence = Evidence(facts_of(source))
    choice = ChannelChoice(0, "mono", 2.0, 1)
    evidence.put(Voice(pcm, ((0.5, 1.5), (3.0, 4.0)), np.zeros(0), 0.032, choice))
    record = transcribe(clip_of(evidence, 0.0, 4.0))
    assert record.word_starts_s == pytest.approx((0.5, 1.0))
    assert record.speech_without_words_ratio == pytest.approx(0.5)
    assert record.words_per_s == pytest.approx(1.0)


def test_nothing_to_measure_is_nothing(footage) -> None:  # type: ignore[no-untyped-def]
    stage = TranscriptStage(TranscriptSettings(model=NOT_HERE))
    stage.setup()
    assert stage.measure([]) == []
