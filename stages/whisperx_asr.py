"""Speech recognition by WhisperX: Whisper in batches, words aligned with wav2vec2, speakers.

The parts of the package that work on samples in memory are used: its batched Whisper on pieces that
our own voice activity cut out, ``align`` for the times of words, and pyannote's diarisation for who
speaks. Its voice activity, its reader of files and its downloads are not used, as they load pickles
or call ffmpeg. It pins other versions than the rest and lives in an environment of its own.

A language without an alignment model on this machine gets words spread over the voice, longer ones
longer, without confidence.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.asr import Device, Heard
from stages.diarisation import Diariser, speaker_of
from stages.environment import is_downloaded, torch_device
from stages.errors import StageError
from stages.pcm import SAMPLE_RATE_HZ
from stages.sound_pieces import Sound, language_of, pieces_by_language
from stages.weights_cache import cache_dir
from stages.word_times import Word, split_words, spread

PACKAGES = ("whisperx", "torch", "torchaudio")
INSTALL = "`make models`"

ALIGN_MODELS = {"en": "facebook/wav2vec2-base-960h"}
"""Models of the Hub, in safetensors, that align a language where the settings name none."""

_PUNKT = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")


class Aligner:
    """Finds when the words of a text are spoken.

    Args:
        model: a ``Wav2Vec2ForCTC``.
        dictionary: its letters and their numbers.
        language: ISO 639 code.
        device: where it runs.
    """

    def __init__(self, model: Any, dictionary: dict[str, int], language: str, device: str) -> None:
        self._model = model.eval().to(device)
        self._metadata = {"language": language, "dictionary": dictionary, "type": "huggingface"}
        self._device = device

    @classmethod
    def load(cls, name: str, language: str, device: str) -> Aligner:
        """Load a wav2vec2 model with a CTC head, from safetensors, without a network.

        Args:
            name: a folder, or a repository of the Hub that was downloaded before.
            language: ISO 639 code of what it was trained on.
            device: where it runs.

        Returns:
            The aligner.

        Raises:
            StageError: it is not here, or is no such model.
        """
        from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor

        _offer_punkt(language)
        try:
            processor = Wav2Vec2Processor.from_pretrained(name, local_files_only=True)
            model = Wav2Vec2ForCTC.from_pretrained(
                name, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            cause = " ".join(str(error).split())
            raise StageError(
                f"transcript: alignment model {name!r} cannot be loaded: {cause}; "
                f"`hf download {name}` fetches it"
            ) from error
        vocabulary = processor.tokenizer.get_vocab()
        return cls(model, {k.lower(): v for k, v in vocabulary.items()}, language, device)

    def align(self, text: str, samples: np.ndarray) -> list[Word]:
        """Find the words of a text in a sound.

        Args:
            text: what is said.
            samples: (N,) float32 at 16 kHz.

        Returns:
            Words in order, in seconds from the first sample on; empty if it fails.
        """
        from whisperx.alignment import align

        segment = {"text": text, "start": 0.0, "end": len(samples) / SAMPLE_RATE_HZ}
        aligned = align([segment], self._model, self._metadata, samples, self._device)
        words = aligned["word_segments"]
        if not words or not all("start" in word and "end" in word for word in words):
            return []
        return [
            Word(word["word"], float(word["start"]), float(word["end"]), _score(word))
            for word in words
        ]


class WhisperX:
    """WhisperX in memory.

    Args:
        pipeline: a ``whisperx.asr.FasterWhisperPipeline``.
        device: where alignment runs.
        align_model: folder or name of the alignment model; empty for that of the language.
        diariser: tells who speaks; ``None`` if nobody asks.
        languages: languages that are spoken; empty for any.
        batch_size: pieces that go through the network at once.
    """

    def __init__(
        self,
        pipeline: Any,
        device: str,
        *,
        align_model: str = "",
        diariser: Diariser | None = None,
        languages: Sequence[str] = (),
        batch_size: int = 8,
    ) -> None:
        self._pipeline = pipeline
        self._device = device
        self._align_model = align_model
        self._diariser = diariser
        self._languages = tuple(languages)
        self._batch_size = batch_size
        self._aligners: dict[str, Aligner | None] = {}

    @classmethod
    def load(
        cls,
        folder: Path,
        device: Device = "auto",
        *,
        beam_size: int = 5,
        diarisation_model: str = "",
        **options: Any,
    ) -> WhisperX:
        """Load Whisper's weights: 8-bit integers on a CPU, half precision on a GPU; one thread.

        Args:
            folder: weights in CTranslate2's format.
            device: where they run; ``auto`` takes a GPU if this worker sees one.
            beam_size: hypotheses that are followed.
            diarisation_model: folder of a pyannote pipeline; empty for no diarisation.
            **options: of the constructor.

        Returns:
            The model.

        Raises:
            StageError: whisperx is not in this environment, or the weights cannot be loaded.
        """
        try:
            from whisperx.asr import load_model
        except ImportError as error:
            raise StageError(f"transcript: backend 'whisperx': {error}; see {INSTALL}") from error
        _log_to_stderr()
        where = torch_device(device)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                pipeline = load_model(
                    str(folder),
                    where,
                    compute_type="float16" if where == "cuda" else "int8",
                    asr_options={"beam_size": beam_size},
                    vad_model=object(),
                    local_files_only=True,
                    threads=1,
                )
        except (OSError, RuntimeError, ValueError) as error:
            raise StageError(f"{folder}: cannot be loaded on {where}: {error}") from error
        diariser = Diariser.load(diarisation_model, where) if diarisation_model else None
        return cls(pipeline, where, diariser=diariser, **options)

    def transcribe(self, sounds: Sequence[Sound]) -> list[Heard]:
        """Transcribe sounds, the pieces of all of them in batches.

        Args:
            sounds: what to hear; sound without voice has no words.

        Returns:
            What was heard in each, in order.
        """
        languages = [language_of(self._pipeline.model, s, self._languages) for s in sounds]
        words: list[list[Word]] = [[] for _ in sounds]
        for language, pieces in pieces_by_language(sounds, [name for name, _ in languages]):
            texts = self._texts([sounds[n].samples[a:b] for n, a, b in pieces], language)
            for (number, first, last), text in zip(pieces, texts, strict=True):
                words[number] += self._words(text, sounds[number], first, last, language)
        if self._diariser is not None:
            for number, sound in enumerate(sounds):
                turns = self._diariser.turns(sound.samples) if words[number] else []
                words[number] = [speaker_of(word, turns) for word in words[number]]
        return [
            Heard(tuple(found), *language) for found, language in zip(words, languages, strict=True)
        ]

    def _texts(self, pieces: Sequence[np.ndarray], language: str) -> list[str]:
        from faster_whisper.tokenizer import Tokenizer

        model = self._pipeline.model
        self._pipeline.tokenizer = Tokenizer(
            model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language
        )
        inputs = ({"inputs": piece} for piece in pieces)
        # A batch of one comes back in another shape, and costs no less.
        size = max(2, self._batch_size)
        found = self._pipeline(inputs, batch_size=size, num_workers=0)
        return [str(answer["text"]).strip() for answer in found]

    def _words(self, text: str, sound: Sound, first: int, last: int, language: str) -> list[Word]:
        if not split_words(text):
            return []
        start_s, end_s = first / SAMPLE_RATE_HZ, last / SAMPLE_RATE_HZ
        aligner = self._aligner(language)
        aligned = aligner.align(text, sound.samples[first:last]) if aligner else []
        if not aligned:
            voiced = [(max(a, start_s), min(b, end_s)) for a, b in sound.voiced]
            return spread(split_words(text), [(a, b) for a, b in voiced if b > a])
        return [Word(w.text, w.start_s + start_s, w.end_s + start_s, w.confidence) for w in aligned]

    def _aligner(self, language: str) -> Aligner | None:
        if language not in self._aligners:
            name = self._align_model or ALIGN_MODELS.get(language, "")
            if self._align_model or (name and is_downloaded(name)):
                self._aligners[language] = Aligner.load(name, language, self._device)
            else:
                self._aligners[language] = None
        return self._aligners[language]


def _score(word: dict[str, Any]) -> float | None:
    return float(word["score"]) if "score" in word else None


def _offer_punkt(language: str) -> None:
    """Give NLTK a splitter of sentences without learned abbreviations.

    WhisperX splits every text into sentences before it aligns it, and joins them again; where the
    data are not here it would download them. Words, all that is used, do not depend on the split.
    """
    import nltk
    from whisperx.alignment import PUNKT_LANGUAGES

    root = cache_dir() / "nltk_data"
    name = PUNKT_LANGUAGES.get(language, "english")
    folder = root / "tokenizers" / "punkt_tab" / name
    folder.mkdir(parents=True, exist_ok=True)
    for part in _PUNKT:
        (folder / part).touch()
    if str(root) not in nltk.data.path:
        nltk.data.path.append(str(root))


def _log_to_stderr() -> None:
    """WhisperX logs to the standard output, where ``--json`` writes."""
    for handler in logging.getLogger("whisperx").handlers:
        if type(handler) is logging.StreamHandler:
            handler.setStream(sys.stderr)
