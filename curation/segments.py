"""Segments: into how many parts a long source falls, and in which pause each part ends.

A worker sees one part alone, so that what holds for both sides of a border (that no word is cut,
that every frame is measured once) has to follow from the source and the recipe: both sides listen
to the same few seconds around it, and find the same pause.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np

from stages.channels import choose_voice
from stages.clip_borders import ENVELOPE_S
from stages.facts import SourceFacts
from stages.pcm import Pcm
from stages.speech import SpeechSettings
from stages.voice_activity import VoiceDetector

REACH_S = 5
"""A border is moved by at most so much: hardly anybody talks for 10 s without a breath."""

MIN_PAUSE_S = 0.15
"""Shorter silences are within words: closures of stops take up to about 0.1 s."""


def num_segments(duration_s: float | None, segment_s: float) -> int:
    """Number of parts that a source is measured in.

    Args:
        duration_s: length that its header gives, if it does.
        segment_s: length of a part; up to one and a half of it a source stays whole.

    Returns:
        At least 1.
    """
    if duration_s is None or duration_s <= 1.5 * segment_s:
        return 1
    return round(duration_s / segment_s)


def segment_bounds(
    facts: SourceFacts,
    segment: int,
    count: int,
    pause_near: Callable[[SourceFacts, Fraction, Fraction], Fraction],
) -> tuple[Fraction | None, Fraction | None]:
    """Times at which a segment of a long source begins and ends.

    About equal parts of the length that the header gives, on the clock of the video's pts; a frame
    belongs to the part in which its time lies, so that every frame is measured once.

    Args:
        facts: the source.
        segment: number of the segment.
        count: number of segments.
        pause_near: gives the time of a pause, from the source, a time and how far from it.

    Returns:
        Start and end; ``None`` at the two ends of the source.
    """
    length = Fraction(str(facts.duration_s or 0)) / count
    reach = min(Fraction(REACH_S), length / 4)

    def border(number: int) -> Fraction | None:
        if not 0 < number < count:
            return None
        return pause_near(facts, facts.video.start_time + number * length, reach)

    return border(segment), border(segment + 1)


class PauseFinder:
    """Finds where in a source nobody speaks; decodes the sound of a few seconds.

    Args:
        settings: how voice is detected.
    """

    def __init__(self, settings: SpeechSettings) -> None:
        self._detector = VoiceDetector(settings)
        self._enough_ratio = settings.enough_voice_ratio

    def __call__(self, facts: SourceFacts, time: Fraction, reach: Fraction) -> Fraction:
        """Middle of the longest pause near a time.

        Args:
            facts: the source.
            time: the time, on the clock of the video's pts.
            reach: seconds to either side that are listened to.

        Returns:
            The time itself where nothing is heard; where the talk does not pause, its quietest
            moment.

        Raises:
            MediaError: the container cannot be opened.
        """
        start, end = time - reach, time + reach
        pcm, hearing, _ = choose_voice(
            facts, self._detector.hear, enough_ratio=self._enough_ratio, start=start, end=end
        )
        voiced = [(_time_at(pcm, first), _time_at(pcm, last)) for first, last in hearing.segments]
        borders = [start, *(edge for stretch in voiced for edge in stretch), end]
        pauses = list(pairwise(borders))[::2]
        first, last = max(pauses, key=lambda pause: pause[1] - pause[0])
        if last - first >= MIN_PAUSE_S:
            return (first + last) / 2
        return _quietest(pcm)


def _quietest(pcm: Pcm) -> Fraction:
    """Middle of the stretch with least energy."""
    size = round(ENVELOPE_S * pcm.sample_rate_hz)
    total = np.concatenate([[0.0], np.cumsum(np.square(pcm.samples, dtype=np.float64))])
    return _time_at(pcm, int(np.argmin(total[size:] - total[:-size])) + size // 2)


def _time_at(pcm: Pcm, index: int) -> Fraction:
    return pcm.start_time + Fraction(index, pcm.sample_rate_hz)
