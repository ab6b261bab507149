"""Subtitles: what the files of downloaders and transcribers say, as cues of clean text.

WebVTT and SubRip are parsed by webvtt-py, YouTube's json3 and the JSON of Whisper and WhisperX by
their models below. In the room: markup, speaker tags and sound descriptions removed, rolling
captions told once. Not in the room: where a file lies, and which of several is taken
(:mod:`stages.sidecars`), and when each word is spoken (:mod:`stages.cues`).
"""

from __future__ import annotations

import html
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import webvtt
from pydantic import BaseModel, ConfigDict, ValidationError
from webvtt.errors import MalformedCaptionError, MalformedFileError

from stages.cues import Cue, Line, Piece
from stages.errors import StageError

MAX_TOUCH_S = 0.5
"""Gap up to which a cue may go on rolling what the one before it showed."""

MIN_ROLLING_RATIO = 0.25
"""Share of neighbours that scroll, from which a file is rolling. YouTube's captions have a half:
every second cue is a still of 10 ms."""

_INLINE_TIME = re.compile(r"<((?:\d+:)?\d{1,2}:\d{2}\.\d{3})>")
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_SOUND = re.compile(
    r"\[[^\[\]]*\]|\([^()]*\)|\uff08[^\uff08\uff09]*\uff09|\u3010[^\u3010\u3011]*\u3011|\*[^*]{1,40}\*"
)
_SIGNS = re.compile("[♩♪♫♬\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]|>>+")
_DASH = re.compile(r"\s*[-\u2010-\u2015]+\s+")
_SPEAKER = re.compile(r"\s*([^:]{2,30}):(\s+|$)")
_BOMS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


@dataclass(frozen=True)
class Subtitles:
    """A subtitle file.

    Attributes:
        cues: cues in order, apart from each other, each text told once.
        language: as the file states it; ``None`` if it does not.
    """

    cues: tuple[Cue, ...]
    language: str | None = None


def read_subtitles(data: bytes, extension: str) -> Subtitles:
    """Read a subtitle file.

    Args:
        data: the file.
        extension: ``srt``, ``vtt``, ``json3`` or ``json``.

    Returns:
        Its cues.

    Raises:
        StageError: the file is broken, or there is no cue in it; the message follows its name.
    """
    text = _decoded(data)
    if extension in ("vtt", "srt"):
        raw, language = _from_webvtt(text, extension)
    else:
        raw, language = _from_json(text)
    cues = [replace(cue, lines=lines) for cue in raw if (lines := _clean(cue.lines))]
    timed = sorted(
        (cue for cue in cues if 0 <= cue.start_s < cue.end_s < float("inf")),
        key=lambda cue: (cue.start_s, cue.end_s),
    )
    if not timed and not any(0 <= cue.start_s < cue.end_s for cue in raw):
        raise StageError("has no cue with a start before its end")
    return Subtitles(tuple(_apart(_told_once(timed))), language)


def _decoded(data: bytes) -> str:
    encoding = next((name for bom, name in _BOMS.items() if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise StageError(f"is not {encoding} at byte {error.start}: save it as UTF-8") from error


def _from_webvtt(text: str, extension: str) -> tuple[list[Cue], str | None]:
    try:
        file = webvtt.from_buffer(io.BytesIO(text.encode()), format=extension)
        cues = [_from_caption(caption) for caption in file.captions]
    except (MalformedFileError, MalformedCaptionError) as error:
        raise StageError(f"is not a whole .{extension} file: {error}") from error
    stated = [line.partition(":") for line in file.metadata]
    return cues, next((v.strip() for k, _, v in stated if k.strip() == "Language"), None)


def _from_caption(caption: Any) -> Cue:
    lines = []
    for line in caption.raw_text.split("\n"):
        first, *rest = _INLINE_TIME.split(line)
        timed = [Piece(t, _seconds(at)) for at, t in zip(rest[::2], rest[1::2], strict=True)]
        # What stands before the first time is spoken from the start of the cue on.
        start_s = caption.start_time.in_milliseconds() / 1000 if timed else None
        lines.append((Piece(first, start_s), *timed))
    times = (caption.start_time, caption.end_time)
    start_s, end_s = (time.in_milliseconds() / 1000 for time in times)
    return Cue(start_s, end_s, tuple(lines))


def _seconds(stamp: str) -> float:
    seconds = 0.0
    for part in stamp.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Seg(_Loose):
    utf8: str = ""
    tOffsetMs: float = 0.0


class _Event(_Loose):
    tStartMs: float = 0.0
    dDurationMs: float = 0.0
    segs: tuple[_Seg, ...] = ()


class _Json3(_Loose):
    """YouTube's json3, as yt-dlp saves it."""

    events: tuple[_Event, ...]

    def cues(self) -> list[Cue]:
        return [self._cue(event) for event in self.events if event.segs]

    def _cue(self, event: _Event) -> Cue:
        start_s = event.tStartMs / 1000
        if any(seg.tOffsetMs for seg in event.segs):
            pieces = [Piece(seg.utf8, start_s + seg.tOffsetMs / 1000) for seg in event.segs]
            lines: tuple[Line, ...] = (tuple(pieces),)
        else:
            text = "".join(seg.utf8 for seg in event.segs)
            lines = tuple((Piece(line),) for line in text.split("\n"))
        return Cue(start_s, start_s + event.dDurationMs / 1000, lines)


class _WhisperWord(_Loose):
    word: str
    start: float | None = None
    end: float | None = None
    score: float | None = None
    probability: float | None = None


class _WhisperSegment(_Loose):
    start: float
    end: float
    text: str = ""
    words: tuple[_WhisperWord, ...] = ()


class _Whisper(_Loose):
    """The JSON of Whisper (``probability``) and WhisperX (``score``; numbers have no times)."""

    segments: tuple[_WhisperSegment, ...]
    language: str | None = None

    def cues(self) -> list[Cue]:
        return [Cue(s.start, s.end, (self._line(s),)) for s in self.segments]

    def _line(self, segment: _WhisperSegment) -> Line:
        if not segment.words:
            return (Piece(segment.text),)
        pieces = [
            Piece(
                f" {word.word.strip()}",
                word.start,
                word.end,
                word.probability if word.score is None else word.score,
            )
            for word in segment.words
        ]
        if pieces[0].start_s is None:
            pieces[0] = Piece(pieces[0].text, segment.start)
        return tuple(pieces)


def _from_json(text: str) -> tuple[list[Cue], str | None]:
    try:
        values = json.loads(text)
        if isinstance(values, dict) and "events" in values:
            return _Json3.model_validate(values).cues(), None
        if isinstance(values, dict) and "segments" in values:
            whisper = _Whisper.model_validate(values)
            return whisper.cues(), whisper.language
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StageError(f"is a broken transcript: {place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise StageError(f"is not valid JSON: {error}") from error
    raise StageError("is no transcript: neither `events` (json3) nor `segments` (WhisperX) in it")


def _clean(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Remove what is not spoken; empty lines go."""
    if all(piece.start_s is None for line in lines for piece in line):
        # A sound description may go on in the next line.
        whole = _spoken("\n".join("".join(piece.text for piece in line) for line in lines))
        lines = [(Piece(line),) for line in whole.split("\n")]
    kept = []
    for line in lines:
        pieces = [replace(piece, text=_spoken(piece.text)) for piece in line]
        pieces[0] = replace(pieces[0], text=_without_speaker(pieces[0].text))
        pieces = [piece for piece in pieces if piece.text.strip()]
        if pieces:
            kept.append(tuple(pieces))
    return tuple(kept)


def _spoken(text: str) -> str:
    text = html.unescape(_MARKUP.sub("", text)).replace("\xa0", " ")
    return _SIGNS.sub("", _SOUND.sub("", text))


def _without_speaker(text: str) -> str:
    text = _DASH.sub("", text, count=1) if _DASH.match(text) else text
    found = _SPEAKER.match(text)
    return text[found.end() :] if found and found[1].isupper() else text


def _told_once(cues: Sequence[Cue]) -> Iterator[Cue]:
    """Leave out the lines that rolling captions show again, and cues shown twice at once."""
    pairs = list(itertools.pairwise(cues))
    rolled = [0 < _num_repeated(before, cue) < len(cue.lines) for before, cue in pairs]
    is_rolling = bool(pairs) and sum(rolled) >= MIN_ROLLING_RATIO * len(pairs)
    before: Cue | None = None
    for cue in cues:
        num_old = _num_repeated(before, cue) if before is not None else 0
        is_double = before is not None and num_old == len(cue.lines) and cue.start_s < before.end_s
        before = cue
        if is_rolling and num_old:
            cue = replace(cue, lines=cue.lines[num_old:])
        elif is_double:
            continue
        if cue.lines:
            yield cue


def _num_repeated(before: Cue, cue: Cue) -> int:
    """Count the first lines that are the last lines of the cue before."""
    if cue.start_s - before.end_s > MAX_TOUCH_S:
        return 0
    old, new = before.texts, cue.texts
    counts = range(min(len(old), len(new)), 0, -1)
    return next((count for count in counts if old[-count:] == new[:count]), 0)


def _apart(cues: Iterator[Cue]) -> list[Cue]:
    """Join cues that start together; end each where the next one starts."""
    apart: list[Cue] = []
    for cue in cues:
        last = apart[-1] if apart else None
        if last is not None and last.start_s == cue.start_s:
            end_s = max(last.end_s, cue.end_s)
            apart[-1] = Cue(cue.start_s, end_s, last.lines + cue.lines)
            continue
        if last is not None:
            apart[-1] = replace(last, end_s=min(last.end_s, cue.start_s))
        apart.append(cue)
    return apart
