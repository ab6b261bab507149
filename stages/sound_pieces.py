"""Sound in the pieces that a speech network can hear at once, and the language of each sound.

Shared by every Whisper backend; networks are not in this room.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.pcm import SAMPLE_RATE_HZ

WINDOW_S = 30.0
"""What the network hears at once; longer sound would be cut off silently."""

MIN_PIECE_S = 10.0
"""Sound longer than the window is cut in a pause, but not into pieces shorter than this."""

PAD_S = 0.4
"""Sound before the first voice and after the last that is heard, too (faster-whisper's
``VadOptions.speech_pad_ms``): in longer silence Whisper makes words up."""


@dataclass(frozen=True)
class Sound:
    """Sound to be transcribed.

    Attributes:
        samples: (N,) float32, mono at 16 kHz.
        voiced: voiced stretches in seconds from the first sample on.
    """

    samples: np.ndarray
    voiced: tuple[tuple[float, float], ...]


def language_of(
    model: Any, sound: Sound, languages: Sequence[str]
) -> tuple[str | None, float | None]:
    """Find the language of a sound.

    Args:
        model: a ``faster_whisper.WhisperModel``.
        sound: the sound.
        languages: languages that are spoken; empty for any.

    Returns:
        ISO 639 code and its probability; ``None`` where there is no voice, or no choice.
    """
    if not sound.voiced:
        return None, None
    if not model.model.is_multilingual:
        return "en", None
    if len(languages) == 1:
        return languages[0], None
    # What is heard first may be a pause, or the end of somebody else's sentence.
    first = round(sound.voiced[0][0] * SAMPLE_RATE_HZ)
    _, _, probabilities = model.detect_language(audio=sound.samples[first:])
    known = dict(probabilities)
    chosen = [name for name in languages if name in known] or list(known)
    best = max(chosen, key=lambda name: known[name])
    return best, float(known[best])


def pieces_of(sound: Sound) -> list[tuple[int, int]]:
    """Cut sound into pieces that the network can hear at once, in pauses if there are any.

    Args:
        sound: the sound; it has voice.

    Returns:
        Pieces in samples, [first, last), one after the other, from the first voice to the last.
    """
    pauses = [(a + b) / 2 for (_, a), (b, _) in itertools.pairwise(sound.voiced)]
    cuts_s = [max(0.0, sound.voiced[0][0] - PAD_S)]
    end_s = min(len(sound.samples) / SAMPLE_RATE_HZ, sound.voiced[-1][1] + PAD_S)
    while end_s - cuts_s[-1] > WINDOW_S:
        earliest_s, latest_s = cuts_s[-1] + MIN_PIECE_S, cuts_s[-1] + WINDOW_S
        inside = [time_s for time_s in pauses if earliest_s <= time_s <= latest_s]
        cuts_s.append(inside[-1] if inside else latest_s)
    cuts = [round(time_s * SAMPLE_RATE_HZ) for time_s in (*cuts_s, end_s)]
    return list(itertools.pairwise(cuts))


def pieces_by_language(
    sounds: Sequence[Sound], languages: Sequence[str | None]
) -> Iterator[tuple[str, list[tuple[int, int, int]]]]:
    """Group the pieces of many sounds by language, as one language is heard in one batch.

    Args:
        sounds: the sounds.
        languages: ISO 639 code of each; ``None`` has no voice and no pieces.

    Yields:
        A language, and its pieces as number of the sound, first sample and last, [first, last).
    """
    for language in sorted({name for name in languages if name is not None}):
        yield (
            language,
            [
                (number, first, last)
                for number, sound in enumerate(sounds)
                if languages[number] == language
                for first, last in pieces_of(sound)
            ],
        )
