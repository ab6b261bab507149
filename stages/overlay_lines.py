"""Lines of text over time: which are drawn over the footage, and how they behave.

Text that was drawn over the footage never went through a lens: its edges are crisper than any edge
of the scene around it (:func:`scene_crispness`), whatever the size and the encoding of the picture.
A sign, a book or a shirt is mostly no crisper than the rest, and moves with the scene; a sharp sign
in a soft scene that stands still is taken for a title. What changes at one place is a subtitle,
what runs through one row a ticker, what stays a title or a logo. Half-transparent marks whose edges
drown in the scene count as scene; letters set one below the other are not read.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

import cv2
import numpy as np

from stages.overlay_text import STRIP_PX, TextBox, TextReader

MIN_TEXT_SCORE = 0.6
MIN_LETTERS = 3
"""A reading below is no text. In 143 files the detector also took teeth, eyes and whole faces for
letters; they are read with 0.5 at most, or as one or two letters. The lines of subtitles and titles
are nearly all read with 0.69 or more."""

_ROW_STEP = 4
_SCENE_PERCENTILE = 99.9
_TEXT_PERCENTILE = 98.0
_CONTRAST_PERCENT = 3.0
_MIN_SCENE_RATIO = 0.02
"""Crispness of a line: its steepest edges over its contrast; of the scene: the steepest of all,
unless text leaves too little of it."""

_SAME_STRIP = 0.9
_SLACK_PX = 6
_SAME_TEXT = 0.5
_SAME_ROW = 0.5
_SAME_PLACE = 0.3
_RUN_LINES = 1.0
_DRIFT_LINES = 0.1
_MIN_BLOCK = 4
"""Two strips are one picture from this correlation on, found again within a quarter of the height;
two readings are one text from this share of the shorter on. Two boxes are at one place if they
share so much of the lower one's height and of the narrower one's width. Text runs if it moves along
its row by more than its height from sample to sample; its picture moves with the scene if it moves
by more than a tenth. So many letters must be found again to tell that a text runs, and two texts
must have as many to be different ones."""


class Behaviour(StrEnum):
    """What the text at one place does over a clip."""

    SCENE = "scene"
    STATIC = "static"
    CHANGING = "changing"
    SCROLLING = "scrolling"


@dataclass(frozen=True)
class SeenLine:
    """One line of text in one sampled frame.

    Attributes:
        pts: time of the frame.
        box: where it is.
        crispness: steepness of its edges over that of the scene's crispest edges.
        strip: luma of the line (48, W), uint8, for the reader.
    """

    pts: int
    box: TextBox
    crispness: float
    strip: np.ndarray


@dataclass(frozen=True)
class TextLine:
    """A line that was read.

    Attributes:
        seen: the line.
        text: what it says.
        behaviour: what the text at its place does over the clip.
    """

    seen: SeenLine
    text: str
    behaviour: Behaviour = Behaviour.SCENE


def scene_crispness(grey: np.ndarray, boxes: Sequence[TextBox]) -> float:
    """Crispness of the scene: the steepest edges outside the text over the range of brightness.

    Args:
        grey: luma of the picture (H, W), uint8.
        boxes: lines of text, which are left out.

    Returns:
        Steepest step from pixel to pixel (99.9th percentile) over the range of brightness, in
        [0, 1]; 1 where nearly all is text.
    """
    rows, columns = grey.shape
    is_scene = np.full(grey.shape, 255, np.uint8)
    for box in boxes:
        part = (box.top * rows, box.bottom * rows + 1, box.left * columns, box.right * columns + 1)
        top, bottom, left, right = (int(value) for value in part)
        is_scene[top:bottom, left:right] = 0
    in_scene = is_scene[::_ROW_STEP]
    if np.mean(in_scene) < _MIN_SCENE_RATIO * 255:
        return 1.0
    rows_kept = np.ascontiguousarray(grey[::_ROW_STEP])
    steps = cv2.absdiff(rows_kept[:, 1:], rows_kept[:, :-1])
    steepest = _percentiles(steps, in_scene[:, 1:], _SCENE_PERCENTILE)[0]
    low, high = _percentiles(rows_kept, in_scene, 1, 99)
    return steepest / max(high - low, 1)


def line_crispness(grey: np.ndarray, box: TextBox) -> float:
    """Steepest edges of a line over its contrast, in [0, 1]: 1 from one pixel to the next.

    Args:
        grey: luma of the picture (H, W), uint8.
        box: the line.

    Returns:
        The crispness; 0 for a line without contrast.
    """
    rows, columns = grey.shape
    part = grey[
        int(box.top * rows) : int(box.bottom * rows) + 1,
        int(box.left * columns) : int(box.right * columns) + 1,
    ]
    if part.shape[1] < 2:
        return 0.0
    low, high = np.percentile(part, [_CONTRAST_PERCENT, 100 - _CONTRAST_PERCENT])
    steepest = np.percentile(cv2.absdiff(part[:, 1:], part[:, :-1]), _TEXT_PERCENTILE)
    return float(steepest) / float(high - low) if high > low else 0.0


def read_lines(seen: Sequence[SeenLine], reader: TextReader, max_reads: int) -> list[TextLine]:
    """Read the lines of a clip; one that looks the same at the same place is read once.

    Args:
        seen: lines of a clip.
        reader: reads one line.
        max_reads: lines read at most, the largest of every frame first.

    Returns:
        The lines that could be read, in the order given.
    """
    rank: dict[int, int] = {}
    ranks = []
    for line in seen:
        ranks.append(rank.get(line.pts, 0))
        rank[line.pts] = ranks[-1] + 1
    read: list[tuple[SeenLine, str]] = []
    texts: dict[int, str] = {}
    for index in sorted(range(len(seen)), key=lambda n: (ranks[n], seen[n].pts)):
        line = seen[index]
        known = next((text for other, text in reversed(read) if _looks_same(line, other)), None)
        if known is None:
            if len(read) == max_reads:
                continue
            text, score = reader(line.strip)
            known = text.strip() if score >= MIN_TEXT_SCORE else ""
            read.append((line, known))
        texts[index] = known
    return [
        TextLine(seen[index], texts[index])
        for index in sorted(texts)
        if len(_letters(texts[index])) >= MIN_LETTERS
    ]


def with_behaviour(
    lines: Sequence[TextLine], aspect: float, min_crispness: float
) -> list[TextLine]:
    """Tell of each line whether it is drawn over the footage, and how it behaves.

    Args:
        lines: lines of a clip, in order of time.
        aspect: width of the picture over its height.
        min_crispness: a line is drawn over the footage if it is so much crisper than the scene.

    Returns:
        The same lines with their behaviour.
    """
    found: dict[int, Behaviour] = {}
    for place in _places(lines):
        behaviour = _behaviour([lines[index] for index in place], aspect, min_crispness)
        found |= dict.fromkeys(place, behaviour)
    return [TextLine(line.seen, line.text, found[n]) for n, line in enumerate(lines)]


def distinct_texts(lines: Sequence[TextLine], max_texts: int) -> tuple[str, ...]:
    """Texts in order of appearance; of readings of one text the longest.

    Args:
        lines: lines of a clip, in order of time.
        max_texts: texts returned at most.

    Returns:
        The texts.
    """
    texts: list[str] = []
    for line in lines:
        same = next((n for n, text in enumerate(texts) if is_same_text(text, line.text)), None)
        if same is None:
            texts.append(line.text)
        elif len(line.text) > len(texts[same]):
            texts[same] = line.text
    return tuple(texts[:max_texts])


def is_same_text(first: str, second: str) -> bool:
    """Tell whether two readings share half of the shorter one, in one piece.

    Args:
        first: a reading.
        second: another.

    Returns:
        True for the same text read twice, with a few letters wrong or cut off.
    """
    a, b = _letters(first), _letters(second)
    block = SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    return block.size >= _SAME_TEXT * min(len(a), len(b))


def _percentiles(picture: np.ndarray, is_counted: np.ndarray, *percents: float) -> list[int]:
    """Percentiles of the counted pixels of a grey picture, by its histogram."""
    counted = np.ascontiguousarray(is_counted)
    counts = np.cumsum(cv2.calcHist([picture], [0], counted, [256], [0, 256]).astype(np.int64))
    return [int(np.searchsorted(counts, percent / 100 * counts[-1])) for percent in percents]


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _looks_same(first: SeenLine, second: SeenLine) -> bool:
    return _is_same_place(first.box, second.box) and _match(first, second)[0] >= _SAME_STRIP


def _match(first: SeenLine, second: SeenLine) -> tuple[float, float, float]:
    """Correlation of two strips where they fit best, and that place.

    Args:
        first: a line.
        second: a line at about the same place, in another frame.

    Returns:
        Correlation in [-1, 1]; how far the second picture lies to the right and below the first, in
        heights of the line, each at most a quarter.
    """
    width = min(first.strip.shape[1], second.strip.shape[1])
    if max(first.strip.shape[1], second.strip.shape[1]) > 1.1 * width:
        return -1.0, 0.0, 0.0
    size = (width // 2, STRIP_PX // 2)
    a, b = (cv2.resize(line.strip, size, interpolation=cv2.INTER_AREA) for line in (first, second))
    slack = min(_SLACK_PX, width // 8)
    inner = a[_SLACK_PX:-_SLACK_PX, slack:-slack]
    _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(b, inner, cv2.TM_CCOEFF_NORMED))
    return best, (x - slack) / size[1], (y - _SLACK_PX) / size[1]


def _is_same_place(first: TextBox, second: TextBox) -> bool:
    rows = min(first.bottom, second.bottom) - max(first.top, second.top)
    columns = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom - first.top, second.bottom - second.top)
    width = min(first.right - first.left, second.right - second.left)
    return rows >= _SAME_ROW * height and columns >= _SAME_PLACE * width


def _places(lines: Sequence[TextLine]) -> list[list[int]]:
    """Groups of lines at one place: each joins the place where a line was seen last."""
    places: list[list[int]] = []
    for index, line in enumerate(lines):
        for place in places:
            last = lines[place[-1]].seen
            if last.pts != line.seen.pts and _is_same_place(last.box, line.seen.box):
                place.append(index)
                break
        else:
            places.append([index])
    return places


def _behaviour(lines: Sequence[TextLine], aspect: float, min_crispness: float) -> Behaviour:
    if np.median([line.seen.crispness for line in lines]) < min_crispness:
        return Behaviour.SCENE
    pairs = list(itertools.pairwise(lines))
    runs = np.array([run for a, b in pairs if (run := _run(a, b, aspect)) is not None])
    if len(runs) and max(np.mean(runs > _RUN_LINES), np.mean(runs < -_RUN_LINES)) > 0.5:
        return Behaviour.SCROLLING
    drifts = [drift for a, b in pairs if (drift := _drift(a.seen, b.seen, aspect)) is not None]
    if drifts and np.median(drifts) > _DRIFT_LINES:
        return Behaviour.SCENE
    if any(_is_change(a.text, b.text) for a, b in pairs):
        return Behaviour.CHANGING
    return Behaviour.STATIC


def _drift(first: SeenLine, second: SeenLine, aspect: float) -> float | None:
    """How far a picture of text moved, in heights of the line; None if it is another picture."""
    correlation, right, down = _match(first, second)
    if correlation < _SAME_STRIP:
        return None
    a, b = first.box, second.box
    height = a.bottom - a.top
    right += (b.left - a.left) * aspect / height
    return float(np.hypot(right, down + (b.top - a.top) / height))


def _is_change(first: str, second: str) -> bool:
    shorter = min(len(_letters(first)), len(_letters(second)))
    return shorter >= _MIN_BLOCK and not is_same_text(first, second)


def _run(first: TextLine, second: TextLine, aspect: float) -> float | None:
    """How far a text moved along its row, in heights of the line; None if it is another text."""
    block = SequenceMatcher(None, first.text, second.text, autojunk=False).find_longest_match()
    if block.size < min(_MIN_BLOCK, len(first.text), len(second.text)):
        return None
    a, b = first.seen.box, second.seen.box
    along = (b.left - a.left) * aspect / min(a.bottom - a.top, b.bottom - b.top)
    return along + block.b * _letter_lines(second) - block.a * _letter_lines(first)


def _letter_lines(line: TextLine) -> float:
    """Mean width of a letter, in heights of the line."""
    return line.seen.strip.shape[1] / STRIP_PX / len(line.text)
