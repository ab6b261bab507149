"""Held-out trials of a lip-sync estimator: segments cut at random, with their own and other voices.

A segment of L seconds is cut out of a clip, its sound shifted by up to 400 ms; half of the
segments have 0.6 s of sound to spare on either end, half none. Nobody knows the native offset of
real footage, so the truth is the known shift plus what the same held-out estimator finds on the
*rest* of the clip. Seen this way a bias common to a speaker is invisible, and speakers of whom
less than L + 4 s is there have no truth.

Shape letters as in `sync_examples`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stages.landmarks import FloatArray
from stages.sync_curve import can_tell, curve_of, frames_in_common, peak_of
from stages.sync_estimator import Streams, evidence
from stages.sync_examples import TalkingClip
from stages.sync_features import GRID_FPS, HOP_S, MAX_LAG_FRAMES, hops_of, on_grid

LENGTHS_S = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
MAX_CUT_SHIFT_S = 0.4
REFERENCE_WINDOW_S = 4.0
SEGMENTS_A_LENGTH = 8
SPARE_S = 0.6
VOICES = ("own", "random", "matching", "shifted")


class Judge(Protocol):
    """What is put on trial."""

    def agreements(self, streams: Sequence[Any]) -> list[FloatArray]:
        """Return how well each frame agrees with the sound at each offset, (D, N) of each cut."""


class Cut(Protocol):
    """How a judge wants its cuts; `cut` is the one of estimators that read `Streams`."""

    def __call__(
        self,
        clip: TalkingClip,
        voice: TalkingClip,
        start_s: float,
        length_s: float,
        voice_start_s: float,
        spare_s: float,
    ) -> Any:
        """Return the picture of one clip and the sound of one; arguments as of `cut`."""


@dataclass(frozen=True)
class Trial:
    """One held-out segment with one voice, judged.

    Attributes:
        speaker: who is seen.
        length_s: length of the segment.
        voice: `own`, `random` (another speaker's), `matching` (the stretch of another speaker's
            voice whose loudness follows this one best: a dub with the same pauses) or `shifted`
            (the own voice, from at least 1 s elsewhere).
        evidence: what the confidence is made of.
        score: height of the peak.
        error_ms: against the rest of the clip; None for another voice or without a rest.
        reference_margin: how much the rest's curve stands out.
        clip: name of the clip that is seen.
    """

    speaker: str
    length_s: float
    voice: str
    evidence: FloatArray
    score: float
    error_ms: float | None = None
    reference_margin: float = 0.0
    clip: str = ""


def whole_clip(clip: TalkingClip) -> Streams:
    """Return a whole clip with all of its sound."""
    return cut(clip, clip, *_whole(clip))


def _whole(clip: TalkingClip) -> tuple[float, float, float, float]:
    first_s = float(clip.times_s[0])
    return first_s, clip.length_s + 1e-6, first_s, 1.0


def cut(
    clip: TalkingClip,
    voice: TalkingClip,
    start_s: float,
    length_s: float,
    voice_start_s: float,
    spare_s: float,
) -> Streams:
    """Cut the picture of one clip and the sound of one, laid together.

    Args:
        clip: who is seen.
        voice: who is heard.
        start_s: where the picture begins.
        length_s: how long it is.
        voice_start_s: which moment of the voice goes with the picture's beginning.
        spare_s: how much sound there is beyond either end.

    Returns:
        The streams.
    """
    part_T = (clip.times_s >= start_s) & (clip.times_s < start_s + length_s)
    grid_s, points_NPC, known_N = on_grid(clip.points_TPC[part_T], clip.times_s[part_T])
    num = len(grid_s)
    wide_s = grid_s[0] + np.arange(-MAX_LAG_FRAMES, num + MAX_LAG_FRAMES) / GRID_FPS
    hop_s = hops_of(wide_s) - start_s + voice_start_s
    index = np.rint((hop_s - voice.first_hop_s) / HOP_S).astype(int)
    inside_H = (index >= 0) & (index < len(voice.bands_HB))
    inside_H &= (hop_s >= voice_start_s - spare_s) & (hop_s < voice_start_s + length_s + spare_s)
    bands_HB = voice.bands_HB[np.clip(index, 0, len(voice.bands_HB) - 1)].astype(np.float64)
    bands_HB[~inside_H] = np.nan
    return Streams(points_NPC, known_N, bands_HB)


def trials(
    clips: Sequence[TalkingClip],
    judge_of: Callable[[TalkingClip], Judge],
    seed: int,
    lengths_s: Sequence[float] = LENGTHS_S,
    cut_of: Cut = cut,
) -> Iterator[Trial]:
    """Yield held-out trials of all clips.

    Args:
        clips: clips to cut segments out of; voices come from them too.
        judge_of: an estimator that has not seen the clip's speaker.
        seed: where the cuts come from.
        lengths_s: lengths of the segments.
        cut_of: makes what the estimator reads.

    Yields:
        The trials.
    """
    voices = _Voices(clips)
    for clip in clips:
        rng = np.random.default_rng([seed, int(clip.name[:12], 16) if _is_hex(clip.name) else 0])
        judge = judge_of(clip)
        whole = judge.agreements([cut_of(clip, clip, *_whole(clip))])[0]
        for length_s in (length for length in lengths_s if length + 0.1 < clip.length_s):
            num = min(SEGMENTS_A_LENGTH, max(1, int(1.5 * clip.length_s / length_s)))
            for _ in range(num):
                yield from _segment(clip, clips, voices, judge, whole, length_s, rng, cut_of)


def _segment(
    clip: TalkingClip,
    clips: Sequence[TalkingClip],
    voices: _Voices,
    judge: Judge,
    whole_DN: FloatArray,
    length_s: float,
    rng: np.random.Generator,
    cut_of: Cut,
) -> Iterator[Trial]:
    start_s = float(clip.times_s[0] + rng.uniform(0, clip.length_s - length_s))
    shift_s = float(rng.uniform(-1, 1) * MAX_CUT_SHIFT_S)
    spare_s = float(rng.choice([0.0, SPARE_S]))
    strangers = [c for c in clips if c.speaker != clip.speaker and _sound_s(c) > length_s + 0.2]
    cuts = [("own", clip, start_s + shift_s)]
    if strangers:
        other = strangers[rng.integers(len(strangers))]
        from_s = other.first_hop_s + float(rng.uniform(0, _sound_s(other) - length_s))
        cuts.append(("random", other, from_s))
        best = voices.matching(clip, start_s, length_s)
        if best is not None:
            cuts.append(("matching", *best))
    elsewhere = _elsewhere(clip, start_s, length_s, rng)
    if elsewhere is not None:
        cuts.append(("shifted", clip, elsewhere))
    streams = [cut_of(clip, voice, start_s, length_s, at_s, spare_s) for _, voice, at_s in cuts]
    reference = _rest(whole_DN, start_s - clip.times_s[0], length_s)
    for (voice, _, _), found in zip(cuts, judge.agreements(streams), strict=True):
        curve = curve_of(found)
        if not can_tell(curve):
            continue
        offset_ms, score, margin = peak_of(curve)
        error_ms = None
        if voice == "own" and reference is not None:
            error_ms = offset_ms + shift_s * 1000 - reference[0]
        yield Trial(
            clip.speaker,
            length_s,
            voice,
            evidence(score, margin, frames_in_common(found, curve)),
            score,
            error_ms,
            reference[1] if reference is not None else 0.0,
            clip.name,
        )


def _rest(agreement_DN: FloatArray, start_s: float, length_s: float) -> tuple[float, float] | None:
    """Return offset and margin of what lies outside of a segment, in whole windows of 4 s."""
    window = int(REFERENCE_WINDOW_S * GRID_FPS)
    first, last = int(np.floor(start_s * GRID_FPS)), int(np.ceil((start_s + length_s) * GRID_FPS))
    keep_N = np.zeros(agreement_DN.shape[1], bool)
    for begin, end in ((0, first), (last, agreement_DN.shape[1])):
        whole = (end - begin) // window * window
        keep_N[begin : begin + max(0, whole)] = True
    curve = curve_of(agreement_DN[:, keep_N])
    if not can_tell(curve) or keep_N.sum() < window:
        return None
    offset_ms, _, margin = peak_of(curve)
    return offset_ms, margin


def _elsewhere(
    clip: TalkingClip, start_s: float, length_s: float, rng: np.random.Generator
) -> float | None:
    """Return another moment of the own voice, at least 1 s away; None if there is none."""
    first, last = clip.first_hop_s, clip.first_hop_s + _sound_s(clip) - length_s
    room = [(first, min(last, start_s - 1.0)), (max(first, start_s + 1.0), last)]
    room = [(low, high) for low, high in room if high > low]
    if not room:
        return None
    low, high = room[int(rng.integers(len(room)))]
    return float(rng.uniform(low, high))


class _Voices:
    """Loudness of all clips at 25 fps, end to end, to find a stretch that follows another."""

    def __init__(self, clips: Sequence[TalkingClip]) -> None:
        self._clips = clips
        each = [_loudness(clip) for clip in clips]
        self._loudness_N = np.concatenate(each)
        self._clip_N = np.repeat(np.arange(len(clips)), [len(one) for one in each])
        self._first = np.cumsum([0, *(len(one) for one in each)])
        self._speaker_N = np.array([clip.speaker for clip in clips])[self._clip_N]

    def matching(
        self, clip: TalkingClip, start_s: float, length_s: float
    ) -> tuple[TalkingClip, float] | None:
        """Return whose voice, and from when, follows this segment's loudness best."""
        own_first = max(0, round((start_s - clip.first_hop_s) * GRID_FPS))
        own_N = _loudness(clip)[own_first : own_first + int(length_s * GRID_FPS) - 3]
        size = len(own_N)
        if size < GRID_FPS or size > len(self._loudness_N):
            return None
        x_N = self._loudness_N - self._loudness_N.mean()
        product = np.correlate(x_N, own_N - own_N.mean(), mode="valid")
        sums, squares = (np.cumsum([0.0, *v]) for v in (x_N, np.square(x_N)))
        mean = (sums[size:] - sums[:-size]) / size
        spread = np.sqrt(np.maximum((squares[size:] - squares[:-size]) / size - mean**2, 1e-6))
        whole = self._clip_N[size - 1 :] == self._clip_N[: len(product)]
        foreign = self._speaker_N[: len(product)] != clip.speaker
        likeness = np.where(whole & foreign, product / spread, -np.inf)
        place = int(likeness.argmax())
        if not np.isfinite(likeness[place]):
            return None
        other = self._clips[self._clip_N[place]]
        within = place - self._first[self._clip_N[place]]
        return other, other.first_hop_s + within / GRID_FPS


def _loudness(clip: TalkingClip) -> FloatArray:
    """Return the mean of the bands at 25 fps; unheard stretches at the mean."""
    num = len(clip.bands_HB) // 4 * 4
    loudness_N = clip.bands_HB[:num].mean(axis=1).reshape(-1, 4).mean(axis=1).astype(np.float64)
    return np.asarray(np.where(np.isfinite(loudness_N), loudness_N, np.nanmean(loudness_N)))


def _sound_s(clip: TalkingClip) -> float:
    return len(clip.bands_HB) * HOP_S


def _is_hex(name: str) -> bool:
    return len(name) >= 12 and all(c in "0123456789abcdef" for c in name[:12])
