"""Speech recognition by Whisper on CTranslate2 (faster-whisper): words, times, language.

Several clips go through the network at once. A clip's words do not depend on its neighbours: clips
lie so far apart on the time line that the batch is given that faster-whisper's rules for pauses
see each alone. In the room: which weights, and how they are run. Not in the room: what becomes of
the words (:mod:`stages.transcript`).
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.errors import StageError
from stages.pcm import SAMPLE_RATE_HZ
from stages.sound_pieces import Sound, language_of, pieces_by_language
from stages.weights import WHISPER_LARGE, WHISPER_SMALL, WHISPER_TURBO, Weights
from stages.weights_cache import digests, folder_of, state_of
from stages.weights_fetch import fetch
from stages.word_times import Word

Device = Literal["auto", "cpu", "cuda"]

MODELS: dict[str, Weights] = {
    "small": WHISPER_SMALL,
    "large-v3-turbo": WHISPER_TURBO,
    "large-v3": WHISPER_LARGE,
}
"""Models that are known by a short name; their weights are pinned."""

GAP_S = 10
"""Silence before each piece on the batch's time line, whole seconds. faster-whisper shortens the
first word after a pause of four median words, of at most 0.7 s each (``add_word_timestamps``)."""

NO_SPEECH_PROBABILITY, NO_SPEECH_LOG_PROBABILITY = 0.6, -1.0
"""Text of a piece that is probably silent and improbable is dropped; defaults of
``WhisperModel.transcribe`` (``no_speech_threshold``, ``log_prob_threshold``), which the batched
pipeline leaves to its user."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_REQUIRED = ("model.bin", "config.json", "tokenizer.json")


@dataclass(frozen=True)
class Heard:
    """What Whisper heard.

    Attributes:
        words: words in order, in seconds from the first sample on.
        language: ISO 639 code.
        language_confidence: its probability; ``None`` if the language was given.
    """

    words: tuple[Word, ...]
    language: str | None
    language_confidence: float | None


def check_model(model: str) -> str:
    """Check the name of a model.

    Args:
        model: short name, folder, or ``owner/name`` on the Hugging Face Hub.

    Returns:
        The name; a folder by its absolute path, as workers stand elsewhere.

    Raises:
        ValueError: there is no such model; the message offers the nearest.
    """
    if Path(model).is_dir():
        return str(Path(model).absolute())
    if model in MODELS or _HUB_NAME.fullmatch(model):
        return model
    near = difflib.get_close_matches(model, MODELS, n=1)
    offer = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(MODELS)}"
    raise ValueError(
        f"no folder and no Whisper model is called {model!r}; {offer}; or name a folder, or "
        "owner/name on the Hugging Face Hub"
    )


def find_model(model: str) -> Path | None:
    """Find the weights of a model on this machine, without a network.

    Args:
        model: short name, folder, or ``owner/name`` on the Hugging Face Hub.

    Returns:
        Folder of the weights; ``None`` if they are not here.
    """
    if Path(model).is_dir():
        return Path(model)
    weights = MODELS.get(model)
    if weights is not None and state_of(weights) == "present":
        return folder_of(weights)
    from huggingface_hub import try_to_load_from_cache

    repo = str(weights.hub_repo) if weights else model
    revision = weights.revision if weights else None
    paths = [try_to_load_from_cache(repo, name, revision=revision) for name in _REQUIRED]
    return Path(str(paths[0])).parent if all(isinstance(path, str) for path in paths) else None


def fetch_model(model: str) -> Path:
    """Find the weights of a model, or download them if they are pinned.

    Args:
        model: short name, folder, or ``owner/name`` on the Hugging Face Hub.

    Returns:
        Folder of the weights.

    Raises:
        StageError: they are not here and cannot be fetched.
    """
    folder = find_model(model)
    if folder is not None:
        return folder
    if model not in MODELS:
        raise StageError(how_to_get(model))
    return fetch(MODELS[model])[0].parent


def model_digests(model: str) -> tuple[str, ...]:
    """Digests of a model's weights.

    Args:
        model: short name, folder, or ``owner/name`` on the Hugging Face Hub.

    Returns:
        SHA-256 of its files; of pinned weights without looking for them.

    Raises:
        StageError: the weights are neither pinned nor here.
    """
    if model in MODELS:
        return digests(MODELS[model])
    folder = find_model(model)
    if folder is None:
        raise StageError(how_to_get(model))
    paths = [folder / name for name in _REQUIRED]
    return tuple(_digest(path, path.stat().st_mtime_ns) for path in paths if path.exists())


def how_to_get(model: str) -> str:
    """Say how the weights of a model come to this machine."""
    if model in MODELS:
        return f"`curate weights fetch {MODELS[model].name}` fetches Whisper {model}"
    return f"`huggingface-cli download {model}` fetches Whisper {model}; so far it is not here"


@functools.cache
def _digest(path: Path, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Whisper:
    """A Whisper model in memory.

    Args:
        model: a ``faster_whisper.WhisperModel``.
        languages: languages that are spoken; empty for any.
        beam_size: hypotheses that are followed.
        batch_size: pieces that go through the network at once.
    """

    def __init__(
        self, model: Any, *, languages: Sequence[str] = (), beam_size: int = 5, batch_size: int = 8
    ) -> None:
        from faster_whisper import BatchedInferencePipeline

        self._model = model
        self._pipeline: Any = BatchedInferencePipeline(model)
        self._languages = tuple(languages)
        self._beam_size = beam_size
        self._batch_size = batch_size

    @classmethod
    def load(cls, folder: Path, device: Device = "auto", **options: Any) -> Whisper:
        """Load weights: 8-bit integers on a CPU, half precision on a GPU; one thread.

        Args:
            folder: weights in CTranslate2's format.
            device: where they run; ``auto`` takes a GPU if this worker sees one.
            **options: of the constructor.

        Returns:
            The model.

        Raises:
            StageError: the folder does not hold a Whisper model.
        """
        missing = [name for name in _REQUIRED if not (folder / name).is_file()]
        if missing:
            raise StageError(
                f"{folder}: {', '.join(missing)} missing; it must hold a Whisper model as "
                "ct2-transformers-converter writes it, with --copy_files tokenizer.json"
            )
        import ctranslate2
        from faster_whisper import WhisperModel

        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        try:
            model = WhisperModel(
                str(folder),
                device=device,
                compute_type="float16" if device == "cuda" else "int8",
                cpu_threads=1,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise StageError(f"{folder}: cannot be loaded on {device}: {error}") from error
        return cls(model, **options)

    def transcribe(self, sounds: Sequence[Sound]) -> list[Heard]:
        """Transcribe sounds.

        Args:
            sounds: what to hear; sound without voice has no words.

        Returns:
            What was heard in each, in order.
        """
        languages = [language_of(self._model, sound, self._languages) for sound in sounds]
        words: list[list[Word]] = [[] for _ in sounds]
        for language, pieces in pieces_by_language(sounds, [name for name, _ in languages]):
            heard = self._hear([sounds[n].samples[a:b] for n, a, b in pieces], language)
            for (number, first, _), found in zip(pieces, heard, strict=True):
                words[number] += [_moved(word, first / SAMPLE_RATE_HZ) for word in found]
        return [
            Heard(tuple(found), *language) for found, language in zip(words, languages, strict=True)
        ]

    def _hear(self, pieces: Sequence[np.ndarray], language: str) -> list[list[Word]]:
        """Words of each piece, in seconds from its first sample on."""
        starts_s = _places([len(piece) for piece in pieces])
        audio = np.zeros(starts_s[-1] * SAMPLE_RATE_HZ, np.float32)
        for start_s, piece in zip(starts_s, pieces, strict=False):
            audio[start_s * SAMPLE_RATE_HZ :][: len(piece)] = piece
        ranges = [
            {"start": start_s, "end": start_s + len(piece) / SAMPLE_RATE_HZ}
            for start_s, piece in zip(starts_s, pieces, strict=False)
        ]
        segments, _ = self._pipeline.transcribe(
            audio,
            language=language,
            word_timestamps=True,
            clip_timestamps=ranges,
            beam_size=self._beam_size,
            batch_size=self._batch_size,
            temperature=0.0,
        )
        number_of = {start_s: number for number, start_s in enumerate(starts_s)}
        words: list[list[Word]] = [[] for _ in pieces]
        for segment in segments:
            is_silent = segment.no_speech_prob > NO_SPEECH_PROBABILITY
            if is_silent and segment.avg_logprob < NO_SPEECH_LOG_PROBABILITY:
                continue
            # `seek` counts hundredths of a second, and every piece starts at a whole one.
            start_s = round(segment.seek / 100)
            number = number_of[start_s]
            length_s = len(pieces[number]) / SAMPLE_RATE_HZ
            words[number] += [_word(word, start_s, length_s) for word in segment.words or ()]
        return words


def _places(lengths: Sequence[int]) -> list[int]:
    """Whole seconds at which pieces start on the batch's time line, and its end."""
    places = [GAP_S]
    for length in lengths:
        places.append(places[-1] + math.ceil(length / SAMPLE_RATE_HZ) + GAP_S)
    return places


def _word(word: Any, start_s: float, length_s: float) -> Word:
    # faster-whisper counts in hundredths; what the place on the time line adds is rounded off.
    first_s = min(max(0.0, round(float(word.start) - start_s, 3)), length_s)
    last_s = min(max(first_s, round(float(word.end) - start_s, 3)), length_s)
    return Word(word.word.strip(), first_s, last_s, float(word.probability))


def _moved(word: Word, by_s: float) -> Word:
    return Word(word.text, word.start_s + by_s, word.end_s + by_s, word.confidence)
