"""Transcripts: the words of a clip with their times, as a sample stores them."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One spoken word.

    Attributes:
        text: the word.
        start_s: when it begins, in seconds from the start of the clip.
        end_s: when it ends.
    """

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Transcript:
    """What is said in a clip.

    Attributes:
        text: all of it.
        words: its words in order; none where only the text is known.
    """

    text: str
    words: tuple[Word, ...]


def read_transcript(stored: str | None) -> Transcript | None:
    """Read the `transcript` column of a packed sample.

    Args:
        stored: JSON, `{"text": ..., "words": [{"word", "start_s", "end_s"}, ...]}` with seconds
            from the clip's start, or plain text; `None` if the clip has none.

    Returns:
        The transcript; words without both times are in the text only.
    """
    if not stored:
        return None
    try:
        record = json.loads(stored)
    except json.JSONDecodeError:
        return Transcript(stored, ())
    if not isinstance(record, dict):
        return Transcript(stored, ())
    words = tuple(
        Word(str(word["word"]), float(word["start_s"]), float(word["end_s"]))
        for word in record.get("words") or ()
        if word.get("start_s") is not None and word.get("end_s") is not None
    )
    return Transcript(str(record.get("text") or " ".join(word.text for word in words)), words)
