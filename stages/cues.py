"""Cues: what a subtitle shows for a while, and when each of its words is spoken."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stages.word_times import Voiced, Word, split_words, spoken_end, spread


@dataclass(frozen=True)
class Piece:
    """A stretch of text in a cue; its own times where the file has them.

    Attributes:
        text: clean text.
        start_s: when it begins; ``None`` if the file does not say.
        end_s: when it ends; ``None`` if the file does not say.
        confidence: of the transcriber, in [0, 1].
    """

    text: str
    start_s: float | None = None
    end_s: float | None = None
    confidence: float | None = None

    def moved(self, by_s: float) -> Piece:
        """The piece on a clock that shows so much more."""
        start_s, end_s = (
            None if time_s is None else time_s + by_s for time_s in (self.start_s, self.end_s)
        )
        return replace(self, start_s=start_s, end_s=end_s)


Line = tuple[Piece, ...]


@dataclass(frozen=True)
class Cue:
    """What is shown during ``[start_s, end_s)``, on the clock of a player."""

    start_s: float
    end_s: float
    lines: tuple[Line, ...]

    def moved(self, by_s: float) -> Cue:
        """The cue on a clock that shows so much more."""
        lines = tuple(tuple(piece.moved(by_s) for piece in line) for line in self.lines)
        return Cue(self.start_s + by_s, self.end_s + by_s, lines)

    @property
    def texts(self) -> tuple[str, ...]:
        """Each line as plain text."""
        return tuple(" ".join("".join(p.text for p in line).split()) for line in self.lines)


def words_of(cue: Cue, voiced: Voiced) -> list[Word]:
    """Words of a cue with their times.

    Words that the file times keep their start; all others are laid where voice is heard.

    Args:
        cue: the cue, on the clock of the voice.
        voiced: tells where voice is heard.

    Returns:
        Words in order, within the cue.
    """
    pieces: list[Piece] = []
    for piece in (piece for line in cue.lines for piece in (*line, Piece(" "))):
        if piece.start_s is None and pieces:
            pieces[-1] = _merged(pieces[-1], piece)
        else:
            pieces.append(piece)
    starts = [
        cue.start_s if piece.start_s is None else max(cue.start_s, piece.start_s)
        for piece in pieces
    ]
    words: list[Word] = []
    for piece, start_s, next_s in zip(pieces, starts, [*starts[1:], cue.end_s], strict=True):
        end_s = max(start_s, min(cue.end_s, next_s if piece.end_s is None else piece.end_s))
        texts = split_words(piece.text)
        if piece.start_s is not None and len(texts) == 1:
            is_stated = piece.end_s is not None
            spoken_s = end_s if is_stated else spoken_end(start_s, end_s, voiced)
            words.append(Word(texts[0], start_s, spoken_s, piece.confidence))
        elif end_s > start_s:
            stretches = voiced(start_s, end_s) or [(start_s, end_s)]
            words += [replace(w, confidence=piece.confidence) for w in spread(texts, stretches)]
    return words


def _merged(piece: Piece, untimed: Piece) -> Piece:
    text = piece.text + untimed.text
    if not untimed.text.strip():
        return replace(piece, text=text)
    return Piece(text, piece.start_s)
