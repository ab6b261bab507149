"""Transcript: the words of a clip with their times, and the language.

Words come from a subtitle file beside the source, or from Whisper. They are those that belong to
the picture: the sound is taken as much later as the measured AV offset says, as packing does.
Who speaks them is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field as Setting
from pydantic import field_validator

from manifests.measurement import measured
from manifests.reasons import Reason
from stages.asr import Device, Whisper, check_model, fetch_model, find_model, how_to_get
from stages.asr import model_digests as digests_of
from stages.contract import ClipView, Resources, Stage, StageSettings
from stages.cues import words_of
from stages.decode import open_container
from stages.environment import lacks
from stages.errors import StageError
from stages.facts import SourceFacts
from stages.sidecars import read_sidecar
from stages.sound_pieces import Sound
from stages.speech import Voice
from stages.subtitles import Subtitles
from stages.sync import SyncMeasurement
from stages.whisperx_asr import INSTALL, PACKAGES, WhisperX
from stages.word_times import Word, joined

_AV_TIME_BASE = 1_000_000
"""Units a second of a container's start time (libavutil/avutil.h)."""


class TranscriptSettings(StageSettings):
    """Where words come from.

    Attributes:
        backend: ``subtitles``, a file beside the source; ``whisper``, light; ``whisperx``, words
            aligned and, if asked, speakers; ``auto``, a subtitle file if there is one, else
            Whisper if its weights are on this machine, by WhisperX where that is installed;
            ``none``.
        languages: ISO 639 codes of languages that may be spoken, best first; empty for any. They
            choose among subtitle files, and Whisper keeps to them.
        model: Whisper model: ``small``, ``large-v3-turbo``, ``large-v3``, a folder in CTranslate2's
            format, or ``owner/name`` on the Hugging Face Hub.
        device: where Whisper runs.
        beam_size: hypotheses that Whisper follows; 5 is faster-whisper's default.
        batch_size: stretches of up to 30 s that Whisper hears at once.
        align_model: wav2vec2 model with a CTC head that aligns WhisperX's words: a folder, or
            ``owner/name`` on the Hub, downloaded before; empty for that of the language.
        diarisation_model: ``config.yaml`` of a pyannote pipeline, or its folder, by which WhisperX
            tells who says a word; empty for no diarisation.
    """

    backend: Literal["auto", "subtitles", "whisper", "whisperx", "none"] = "auto"
    languages: tuple[str, ...] = ()
    model: str = "small"
    device: Device = "auto"
    beam_size: int = Setting(5, ge=1)
    batch_size: int = Setting(8, ge=1)
    align_model: str = ""
    diarisation_model: str = ""

    _known_model = field_validator("model")(check_model)


@dataclass(frozen=True)
class TranscriptMeasurement:
    """What is said in a clip."""

    text: str | None = measured("what is said", other=Reason.NO_TRANSCRIPT)
    language: str | None = measured("language, ISO 639", other=Reason.OTHER_LANGUAGE)
    language_confidence: float | None = measured(
        "probability of the language", low=Reason.LANGUAGE_UNCERTAIN
    )
    num_words: int | None = measured(
        "words", low=Reason.FEW_WORDS, high=Reason.MANY_WORDS, other=Reason.NO_TRANSCRIPT
    )
    words_per_s: float | None = measured(
        "words per second of voice",
        unit="1/s",
        low=Reason.FEW_WORDS,
        high=Reason.MANY_WORDS,
        other=Reason.NO_TRANSCRIPT,
    )
    mean_word_confidence: float | None = measured(
        "mean probability of the words", low=Reason.WORDS_UNCERTAIN
    )
    speech_without_words_ratio: float | None = measured(
        "share of the voice during which no word is spoken",
        high=Reason.SPEECH_WITHOUT_WORDS,
        other=Reason.NO_TRANSCRIPT,
    )
    words: tuple[str, ...] | None = measured("words in order")
    word_starts_s: tuple[float, ...] | None = measured(
        "start of each word, from the start of the clip on the clock of the source's sound",
        unit="s",
    )
    word_ends_s: tuple[float, ...] | None = measured("end of each word, likewise", unit="s")
    word_confidences: tuple[float, ...] | None = measured(
        "probability of each word; missing where nobody says"
    )
    word_speakers: tuple[str, ...] | None = measured(
        "who says each word, A is heard first; empty text where nobody is told; missing without "
        "diarisation"
    )
    num_speakers: int | None = measured("voices that say a word", high=Reason.SEVERAL_VOICES)
    source: str | None = measured("where the words come from: subtitles, whisper or whisperx")
    problem: str | None = measured("why there are no words, or why a subtitle file was left out")


@dataclass(frozen=True)
class _Transcript:
    """Words of one clip, on the clock of the container."""

    words: Sequence[Word]
    language: str | None
    language_confidence: float | None
    source: str


class TranscriptStage(Stage[TranscriptSettings]):
    """Words from subtitle files or from Whisper, for the clips that no gate has refused."""

    name = "transcript"
    version = 2
    settings_type = TranscriptSettings
    measurement = TranscriptMeasurement
    needs = (SourceFacts, Voice)
    resources = Resources(memory_gib=1.5)

    def __init__(self, settings: TranscriptSettings) -> None:
        super().__init__(settings)
        self._asr: Whisper | WhisperX | None = None
        self._recogniser = self._choose()
        self.costly = self._recogniser is not None
        if self._recogniser == "whisperx":
            self.resources, self.packages = Resources(memory_gib=3.0), PACKAGES

    def setup(self) -> None:
        """Load Whisper, if it is to be used."""
        self._asr = self._load()

    def remark(self) -> str | None:
        """Say where the words come from, and what would enable more."""
        backend, model = self.settings.backend, self.settings.model
        if backend != "auto":
            return None
        names = {"whisper": "Whisper", "whisperx": "WhisperX with Whisper"}
        if self._recogniser:
            name = names[self._recogniser]
            return f"words from subtitle files beside the sources, else from {name} {model}"
        return (
            "words from subtitle files beside the sources only, as Whisper's weights are not on "
            f"this machine; {how_to_get(model)}"
        )

    def lacking(self) -> str | None:
        """What is missing for a backend that the recipe demands."""
        if self.settings.backend not in ("whisper", "whisperx"):
            return None
        packages = PACKAGES if self.settings.backend == "whisperx" else ("faster_whisper",)
        has_model = find_model(self.settings.model) is not None
        parts = [
            lacks(packages, (), INSTALL),
            None if has_model else f"its weights are not here: {how_to_get(self.settings.model)}",
        ]
        return "; ".join(part for part in parts if part) or None

    def close(self) -> None:
        """Free Whisper."""
        self._asr = None

    def _choose(self) -> Literal["whisper", "whisperx"] | None:
        settings = self.settings
        if settings.backend in ("whisper", "whisperx"):
            return settings.backend  # type: ignore[return-value]
        if settings.backend == "auto" and find_model(settings.model):
            return "whisper" if lacks(PACKAGES, (), INSTALL) else "whisperx"
        return None

    def weights_digests(self) -> tuple[str, ...]:
        """Name and digests of the Whisper model, if it would be used."""
        if self._recogniser is None:
            return ()
        digests = (self.settings.model, *digests_of(self.settings.model))
        return (*digests, "whisperx") if self._recogniser == "whisperx" else digests

    def measure(self, clips: Sequence[ClipView]) -> list[Any]:
        """Find the words of clips of one source.

        Args:
            clips: clips of one source.

        Returns:
            One measurement a clip; a subtitle file that cannot be used is told in ``problem``.
        """
        if not clips:
            return []
        if self.settings.backend == "none":
            return [TranscriptMeasurement(problem="backend none") for _ in clips]
        found, problems = self._from_subtitles(clips)
        if found is None and self._asr is not None:
            found = self._from_sound(clips, self._asr)
        problem = "; ".join(problems) or None
        if found is None:
            lacking = TranscriptMeasurement(problem=problem or self._what_is_lacking())
            return [lacking for _ in clips]
        return [_record(clip, said, problem) for clip, said in zip(clips, found, strict=True)]

    def _load(self) -> Whisper | WhisperX | None:
        settings = self.settings
        if self._recogniser is None:
            return None
        folder = find_model(settings.model)
        if settings.backend != "auto":
            folder = fetch_model(settings.model)
        if folder is None:
            raise StageError(f"transcript: {settings.model} is gone; {how_to_get(settings.model)}")
        options: dict[str, Any] = {
            "languages": settings.languages,
            "beam_size": settings.beam_size,
            "batch_size": settings.batch_size,
        }
        if self._recogniser == "whisper":
            return Whisper.load(folder, settings.device, **options)
        return WhisperX.load(
            folder,
            settings.device,
            align_model=settings.align_model,
            diarisation_model=settings.diarisation_model,
            **options,
        )

    def _what_is_lacking(self) -> str:
        lacking = "no subtitle file beside the source"
        if self.settings.backend == "subtitles":
            return lacking
        return f"{lacking}, no Whisper weights; {how_to_get(self.settings.model)}"

    def _from_subtitles(
        self, clips: Sequence[ClipView]
    ) -> tuple[list[_Transcript] | None, tuple[str, ...]]:
        if self.settings.backend in ("whisper", "whisperx"):
            return None, ()
        facts = clips[0].evidence.facts
        subtitles, language, problems = read_sidecar(facts.uri, self.settings.languages)
        if subtitles is None:
            return None, problems
        origin_s = player_origin_s(facts)
        return [
            _Transcript(_subtitle_words(clip, subtitles, origin_s), language, None, "subtitles")
            for clip in clips
        ], problems

    def _from_sound(self, clips: Sequence[ClipView], asr: Whisper | WhisperX) -> list[_Transcript]:
        source = self._recogniser or ""
        sounds = []
        for clip in clips:
            start_s, end_s = _range_s(clip)
            voice = clip.evidence.get(Voice)
            voiced = tuple((a - start_s, b - start_s) for a, b in voice.voiced(start_s, end_s))
            sounds.append(Sound(voice.pcm.slice(start_s, end_s), voiced))
        found = []
        for clip, heard in zip(clips, asr.transcribe(sounds), strict=True):
            start_s, _ = _range_s(clip)
            words = [
                replace(w, start_s=w.start_s + start_s, end_s=w.end_s + start_s)
                for w in heard.words
            ]
            found.append(_Transcript(words, heard.language, heard.language_confidence, source))
        return found


def player_origin_s(facts: SourceFacts) -> float:
    """Time on the container's clock that a player, and so a subtitle file, calls zero.

    Args:
        facts: the source.

    Returns:
        Start of the earliest stream, in seconds.
    """
    with open_container(facts.uri) as container:
        if container.start_time is None:
            return float(facts.video.start_time)
        return container.start_time / _AV_TIME_BASE


def _range_s(clip: ClipView) -> tuple[float, float]:
    """The sound that belongs to the picture of a clip, on the container's clock."""
    sync = clip.measurements.get(SyncMeasurement)
    offset_s = ((sync.offset_ms if sync else None) or 0.0) / 1000
    return clip.clip.span.start_s + offset_s, clip.clip.span.end_s + offset_s


def _subtitle_words(clip: ClipView, subtitles: Subtitles, origin_s: float) -> list[Word]:
    start_s, end_s = _range_s(clip)
    voiced = clip.evidence.get(Voice).voiced
    words = [
        word
        for cue in subtitles.cues
        if cue.end_s + origin_s > start_s and cue.start_s + origin_s < end_s
        for word in words_of(cue.moved(origin_s), voiced)
        if start_s <= (word.start_s + word.end_s) / 2 < end_s
    ]
    return sorted(words, key=lambda word: word.start_s)


def _record(clip: ClipView, said: _Transcript, problem: str | None) -> TranscriptMeasurement:
    start_s, end_s = _range_s(clip)
    origin_s = clip.clip.span.start_s
    times = [(max(w.start_s, start_s), min(w.end_s, end_s)) for w in said.words]
    voiced = clip.evidence.get(Voice).voiced(start_s, end_s)
    voiced_s = sum(last - first for first, last in voiced)
    confidences = [w.confidence for w in said.words if w.confidence is not None]
    has_confidences = bool(confidences) and len(confidences) == len(said.words)
    texts = tuple(word.text for word in said.words)
    speakers = tuple(word.speaker or "" for word in said.words)
    return TranscriptMeasurement(
        text=joined(texts),
        language=said.language,
        language_confidence=said.language_confidence,
        num_words=len(texts),
        words_per_s=len(texts) / voiced_s if voiced_s else None,
        mean_word_confidence=sum(confidences) / len(confidences) if has_confidences else None,
        speech_without_words_ratio=_bare_ratio(times, voiced) if voiced_s else None,
        words=texts,
        word_starts_s=tuple(first - origin_s for first, _ in times),
        word_ends_s=tuple(last - origin_s for _, last in times),
        word_confidences=tuple(confidences) if has_confidences else None,
        word_speakers=speakers if any(speakers) else None,
        num_speakers=len({*speakers} - {""}) or None,
        source=said.source,
        problem=problem,
    )


def _bare_ratio(
    words: Sequence[tuple[float, float]], voiced: Sequence[tuple[float, float]]
) -> float:
    """Share of the voice during which no word is spoken; words are in order of their starts."""
    spoken_s, told_s = 0.0, float("-inf")
    for start_s, end_s in words:
        first_s = max(start_s, told_s)
        spoken_s += sum(max(0.0, min(end_s, b) - max(first_s, a)) for a, b in voiced)
        told_s = max(told_s, end_s)
    return max(0.0, 1 - spoken_s / sum(last - first for first, last in voiced))
