"""Words with times: how a text is cut into words, and where in the voice its words lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Voiced = Callable[[float, float], Sequence[tuple[float, float]]]
"""Voiced stretches within a range, in seconds, ascending and apart, cut to the range."""

MIN_WORD_S = 0.1
"""Shorter stretches of voice are no word: a short "a" or "I" takes about so long."""

# Kana, Han: scripts without spaces, in which a letter stands for a word, as Whisper's tokenizer
# has it (whisper/tokenizer.py, split_to_word_tokens).
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
_TOKEN = re.compile(f"[{_UNSPACED}]|[^{_UNSPACED}]+")
_STARTS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ENDS_UNSPACED = re.compile(f"[{_UNSPACED}\u3001\u3002\uff01\uff0c\uff1f]$")


@dataclass(frozen=True)
class Word:
    """One spoken word.

    Attributes:
        text: the word with its punctuation.
        start_s: when it begins.
        end_s: when it ends.
        confidence: probability that it was heard rightly; ``None`` if nobody says.
        speaker: who says it; ``None`` if nobody tells.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None
    speaker: str | None = None


def split_words(text: str) -> list[str]:
    """Cut a text into words; punctuation stays with the word before it.

    Args:
        text: any text.

    Returns:
        Words, each with a letter or a digit in it.
    """
    words: list[str] = []
    for chunk in text.split():
        tokens = _TOKEN.findall(chunk)
        for number, token in enumerate(tokens):
            if any(letter.isalnum() for letter in token):
                words.append(token)
            elif words and number:
                words[-1] += token
    return words


def joined(words: Sequence[str]) -> str:
    """Join words to a text, with spaces between scripts that use them."""
    text = ""
    for word in words:
        is_glued = not text or (_ENDS_UNSPACED.search(text) and _STARTS_UNSPACED.match(word))
        text += word if is_glued else f" {word}"
    return text


def spread(words: Sequence[str], stretches: Sequence[tuple[float, float]]) -> list[Word]:
    """Give words that are spoken in voiced stretches their times.

    The longer a word is written, the longer it is taken to last; a stretch gets as many whole
    words as fit its share of the time best, so that no word reaches over a pause.

    Args:
        words: words in order.
        stretches: where they are spoken, in seconds, ascending and apart; at least one.

    Returns:
        The words with times.
    """
    if not words:
        return []
    boundaries = np.cumsum([0, *(len(word) for word in words)]) / sum(map(len, words))
    lengths = np.array([end - start for start, end in stretches])
    shares = np.cumsum(lengths) / lengths.sum()
    lasts = np.abs(boundaries[None] - shares[:, None]).argmin(axis=1)
    timed: list[Word] = []
    for (start_s, end_s), last in zip(stretches, lasts, strict=True):
        first = len(timed)
        if last <= first:
            continue
        places = boundaries[first : last + 1] - boundaries[first]
        times = start_s + (end_s - start_s) * places / places[-1]
        timed += [
            Word(text, float(begin), float(finish))
            for text, begin, finish in zip(words[first:last], times, times[1:], strict=False)
        ]
    return timed


def spoken_end(start_s: float, limit_s: float, voiced: Voiced) -> float:
    """When a word ends of which only the start is known, and the start of the next.

    Args:
        start_s: start of the word.
        limit_s: the latest end.
        voiced: tells where voice is heard.

    Returns:
        End of the first voiced stretch within that is more than the rest of the word before; the
        limit if there is none.
    """
    stretches = voiced(start_s, limit_s)
    return next((last for first, last in stretches if last - first >= MIN_WORD_S), limit_s)
