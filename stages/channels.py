"""Channels: which mix of which audio track carries the voice.

A plain downmix loses the voice where it is in antiphase, halves it where it is in one channel,
and buries it under the surround of a film. So mixes are candidates, heard in a documented order
until one has enough voice:

1. the only channel that is not silent, if there is but one;
2. the centre of a surround layout;
3. the middle, ``(L + R) / 2`` - or first the side, ``(L - R) / 2``, where it holds ten times
   the power, which only sound in antiphase does;
4. single channels, loudest first, then the side.

Silent mixes and mixes that sound like one already heard (correlation > 0.98) are not heard, so
that ordinary stereo costs one run of the voice detector. A later candidate wins only by clearly
more voice. The next track is decoded only if the one before had too little voice, and only one is
held in memory. Levels are not evened out: a mix is as loud as a player's mono output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from manifests.reasons import Reason
from stages.audio import SAMPLE_RATE_HZ, Pcm, Track, read_track
from stages.errors import MediaError
from stages.facts import SourceFacts
from stages.voice_activity import Hearing

SILENT_SHARE = 1e-4
"""A channel or mix 40 dB below the loudest channel is silent: crosstalk, dither, a codec's rest."""

SILENT_POWER = 1e-9
"""Mean square (-90 dBFS) below which there is nothing to hear."""

ANTIPHASE_RATIO = 10.0
"""Power of the side over the middle from which the side is heard first."""

SAME_SOUND = 0.98
"""Correlation from which two mixes are one sound to the detector."""

BLENDED = 0.8
"""A middle that correlates less than this with its loudest channel blends two sounds (music left,
voice right gives 0.71): the channels are heard, too, even if the middle has enough voice."""

CLEARLY_MORE = (1.2, 0.5)
"""A later candidate wins if it has this many times the voiced seconds, and this many more."""

WEAK_SIDE = 0.1
"""A side with less than this share of the middle's power is room and residue, not a voice."""

_LAYOUTS = {
    1: ("FC",),
    2: ("FL", "FR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""FFmpeg's order of so many channels, where the file does not say: PCM in Matroska does not."""

MAX_TRACKS = 8
"""Tracks that are tried."""


@dataclass(frozen=True)
class ChannelChoice:
    """The mix that was chosen.

    Attributes:
        stream_index: audio stream.
        mix: ``mono``, ``middle``, ``side``, ``centre``, or the name of a channel.
        voiced_s: voiced seconds in it.
        num_heard: runs of the voice detector that the choice took.
    """

    stream_index: int
    mix: str
    voiced_s: float
    num_heard: int


def choose_voice(
    facts: SourceFacts,
    hear: Callable[[np.ndarray], Hearing],
    *,
    enough_ratio: float,
    start: Fraction | None = None,
    end: Fraction | None = None,
) -> tuple[Pcm, Hearing, ChannelChoice]:
    """Decode the audio and choose the mix that carries the voice.

    Args:
        facts: the source.
        hear: the voice detector.
        enough_ratio: share of voice from which no other mix is tried.
        start: start of the range, on the clock of the container; ``None`` for the whole.
        end: end of the range.

    Returns:
        The sound, what was heard in it, and the choice. A range without sound gives no samples.

    Raises:
        MediaError: the whole source was asked for, and no track of it could be decoded.
    """
    best: tuple[Pcm, Hearing, ChannelChoice] | None = None
    num_heard = 0
    for audio in facts.audio[:MAX_TRACKS]:
        track = read_track(facts, audio, start=start, end=end)
        if not track.rows.size:
            continue
        enough_s = enough_ratio * track.rows.shape[1] / SAMPLE_RATE_HZ
        for mix, weights, is_final in candidates(track):
            samples = weights @ track.rows
            hearing = (
                hear(samples) if is_final is not None else Hearing(np.zeros(0, np.float32), ())
            )
            num_heard += is_final is not None
            if best is None or _clearly_more(hearing.voiced_s, best[1].voiced_s):
                pcm = Pcm(samples, track.start_time, missing=track.missing)
                choice = ChannelChoice(audio.index, mix, hearing.voiced_s, num_heard)
                best = (pcm, hearing, choice)
            if is_final and hearing.voiced_s >= enough_s:
                break
        if best is not None and best[1].voiced_s >= enough_s:
            break
    if best is None:
        if start is None and end is None:
            raise MediaError(
                facts.uri, Reason.UNREADABLE, "no sample of the audio could be decoded"
            )
        pcm = Pcm(np.zeros(0, np.float32), facts.video.start_time if start is None else start)
        return pcm, hear(pcm.samples), ChannelChoice(facts.audio[0].index, "none", 0.0, 0)
    choice = ChannelChoice(best[2].stream_index, best[2].mix, best[2].voiced_s, num_heard)
    return best[0], best[1], choice


def candidates(track: Track) -> Iterator[tuple[str, np.ndarray, bool | None]]:
    """Mixes of a track in the order of preference.

    Args:
        track: the track.

    Yields:
        Name, weights (channels,), and whether enough voice in it ends the search; ``None`` in
        its place marks a silent track, which is not worth hearing.
    """
    rows = track.rows
    gram = (rows @ rows.T / max(1, rows.shape[1])).astype(np.float64)
    powers = np.diag(gram)
    if powers.max(initial=0.0) < SILENT_POWER:
        yield _named_middle(track), np.full(len(rows), 1 / len(rows), np.float32), None
        return
    floor = SILENT_SHARE * powers.max()
    yielded: list[np.ndarray] = []
    for name, weights in _ordered(_named(track.channels), gram, floor):
        power = weights @ gram @ weights
        if power < floor:
            continue
        if any(_correlation(gram, weights, other) > SAME_SOUND for other in yielded):
            continue
        yielded.append(weights)
        loudest = np.eye(len(rows))[int(powers.argmax())]
        blended = name in ("middle", "side") and _correlation(gram, weights, loudest) < BLENDED
        yield name, weights.astype(np.float32), not blended


def _ordered(
    channels: tuple[str, ...], gram: np.ndarray, floor: float
) -> list[tuple[str, np.ndarray]]:
    single = np.eye(len(channels))
    powers = np.diag(gram)
    audible = [number for number, power in enumerate(powers) if power >= floor]
    if len(channels) == 1:
        return [("mono", single[0])]
    if len(audible) == 1:
        return [(channels[audible[0]], single[audible[0]])]
    order: list[tuple[str, np.ndarray]] = []
    if len(channels) > 2 and "FC" in channels:
        order.append(("centre", single[channels.index("FC")]))
    left, right = _front(channels)
    middle, side = (single[left] + single[right]) / 2, (single[left] - single[right]) / 2
    pair = [("middle", middle), ("side", side)]
    middle_power, side_power = (weights @ gram @ weights for weights in (middle, side))
    if side_power > ANTIPHASE_RATIO * middle_power:
        pair.reverse()
    elif side_power < WEAK_SIDE * middle_power:
        pair[1:] = []
    loudest_first = sorted(audible, key=lambda number: -powers[number])
    singles = [(channels[n], single[n]) for n in loudest_first if channels[n] != "LFE"]
    return [*order, pair[0], *singles, *pair[1:]]


def _named(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) == len(names) and "NONE" not in names:
        return names
    unknown = tuple(f"channel {number + 1}" for number in range(len(names)))
    return _LAYOUTS.get(len(names), unknown)


def _front(channels: tuple[str, ...]) -> tuple[int, int]:
    if "FL" in channels and "FR" in channels:
        return channels.index("FL"), channels.index("FR")
    return 0, 1


def _named_middle(track: Track) -> str:
    return "mono" if len(track.channels) == 1 else "middle"


def _correlation(gram: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    both = (one @ gram @ one) * (other @ gram @ other)
    return abs(float(one @ gram @ other)) / float(np.sqrt(max(both, 1e-30)))


def _clearly_more(voiced_s: float, best_s: float) -> bool:
    factor, seconds = CLEARLY_MORE
    return voiced_s >= best_s * factor and voiced_s >= best_s + seconds
