"""Clips: the cutter, a pure function from what is known of a source to spans worth measuring.

A clip lies inside one shot and one track's presence, holds no frozen stretch, begins and ends on
frames, and is trimmed to speech. Whether it is good is not decided here: that is the gates'.

All decisions are made on numbers of frames (:mod:`stages.clip_borders`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from pydantic import Field as Setting
from pydantic import model_validator

from manifests.reasons import Reason
from manifests.span import Span
from stages.clip_borders import FrameGrid, split, utterances, widened
from stages.contract import Settings
from stages.speech import Voice

MAX_FRAME_S = 0.5
"""A frame that lasts longer is a frozen picture: no lip can be followed at two frames a second."""

_CAUSES = (
    Reason.NO_FACE,
    Reason.SEVERAL_SHOTS,
    Reason.PICTURE_FROZEN,
    Reason.NO_SPEECH,
    Reason.CLIP_TOO_SHORT,
)
"""Causes of loss; where several tracks lose a frame, the later cause is named."""


class ClipSettings(Settings):
    """How long clips are, and where they may be cut.

    Attributes:
        min_clip_s: shorter stretches are dropped; clips are widened to it where the shot allows.
        max_clip_s: longer stretches are split at pauses; at least twice ``min_clip_s``.
        max_pause_s: a longer silence splits; ours, about the longest pause of fluent speech.
        pad_s: silence kept before and after speech; ours. Lips move up to 0.2 s ahead of sound.
        max_frozen_s: a picture that stands still for longer ends a clip; ours, a few times the
            longest repetition that a change of frame rate leaves.
        whole_files: no cutting: each track gives one clip from the source's first frame to its
            last, and the lengths above are not looked at; for files that are clips already.
    """

    min_clip_s: float = Setting(3.0, gt=0)
    max_clip_s: float = Setting(15.0, gt=0)
    max_pause_s: float = Setting(1.2, gt=0)
    pad_s: float = Setting(0.25, ge=0)
    max_frozen_s: float = Setting(0.5, gt=0)
    whole_files: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> ClipSettings:
        if self.max_clip_s < 2 * self.min_clip_s:
            raise ValueError(
                f"max_clip_s {self.max_clip_s} is less than twice min_clip_s {self.min_clip_s}: "
                "what is too long could not be split"
            )
        if self.max_pause_s < 2 * self.pad_s:
            raise ValueError(
                f"max_pause_s {self.max_pause_s} is less than twice pad_s {self.pad_s}: "
                "neighbouring clips would overlap"
            )
        return self


@dataclass(frozen=True)
class CutSpan:
    """A clip to be.

    Attributes:
        span: exact time on the source's video clock.
        track: number of the face track.
    """

    span: Span
    track: int


@dataclass(frozen=True)
class CutLosses:
    """Where the seconds of a source went; ``kept_s`` and the losses add up to ``total_s``.

    Attributes:
        total_s: length of the frames.
        kept_s: seconds inside clips; time that clips of two tracks share counts once.
        lost_s: seconds by cause: ``NO_FACE``, ``SEVERAL_SHOTS`` (within a transition),
            ``PICTURE_FROZEN``, ``NO_SPEECH``, ``CLIP_TOO_SHORT``.
    """

    total_s: float
    kept_s: float
    lost_s: dict[Reason, float] = field(default_factory=dict)

    @classmethod
    def none(cls) -> CutLosses:
        """Nothing lost, for nothing was there."""
        return cls(0.0, 0.0)

    def by_reason(self) -> dict[Reason, float]:
        """Seconds lost by cause, only causes that took any."""
        return {reason: seconds for reason, seconds in self.lost_s.items() if seconds > 0}

    def main_reason(self) -> Reason:
        """The cause that took most, as the reason of a source without clips."""
        lost = self.by_reason()
        main = max(lost, key=lambda reason: lost[reason], default=Reason.CLIP_TOO_SHORT)
        return Reason.NO_SPAN_LONG_ENOUGH if main == Reason.CLIP_TOO_SHORT else main


def cut_clips(
    *,
    shots: Sequence[Span],
    presences: Sequence[tuple[int, int, int]],
    frozen: Sequence[Span],
    voice: Voice,
    frame_pts: np.ndarray,
    time_base: Fraction,
    settings: ClipSettings,
) -> tuple[list[CutSpan], CutLosses]:
    """Cut a source into clips.

    Args:
        shots: spans without a transition, apart.
        presences: track number, pts of the first and of the last frame of each presence.
        frozen: spans in which the picture stands still or cannot be used.
        voice: voiced segments, and the sound for cuts where no pause is.
        frame_pts: (N,) pts of all frames, ascending, at least one.
        time_base: seconds of a pts unit.
        settings: lengths.

    Returns:
        Clips in order of track and time, and where the rest went.
    """
    frames = FrameGrid.of(frame_pts, time_base, settings.min_clip_s, settings.max_clip_s)
    if settings.whole_files:
        return _whole(frames, presences)
    shot_of = np.full(frames.num, -1)
    for number, shot in enumerate(shots):
        shot_of[frames.inside(shot.start_time, shot.end_time)] = number
    is_frozen = frames.lasting_s() > MAX_FRAME_S
    for span in frozen:
        is_frozen[frames.inside(span.start_time, span.end_time)] = True
    cause = np.zeros(frames.num, int)
    cause[shot_of < 0] = _CAUSES.index(Reason.SEVERAL_SHOTS)
    cause[is_frozen] = _CAUSES.index(Reason.PICTURE_FROZEN)
    is_kept = np.zeros(frames.num, bool)
    clips = []
    for track in sorted({number for number, _, _ in presences}):
        is_usable = np.zeros(frames.num, bool)
        for number, first_pts, last_pts in presences:
            if number == track:
                is_usable |= (frames.pts[:-1] >= first_pts) & (frames.pts[:-1] <= last_pts)
        is_usable &= (shot_of >= 0) & ~is_frozen
        for stretch in _runs(np.where(is_usable, shot_of, -1)):
            found = _cut_stretch(stretch, frames, voice, settings, cause)
            for first, last in found:
                is_kept[first:last] = True
                span = Span(int(frames.pts[first]), int(frames.pts[last]), time_base)
                clips.append(CutSpan(span, track))
    return clips, _losses(frames, is_kept, cause)


def _whole(
    frames: FrameGrid, presences: Sequence[tuple[int, int, int]]
) -> tuple[list[CutSpan], CutLosses]:
    """One clip a track, as long as the source; without a track all of it is lost."""
    span = Span(int(frames.pts[0]), int(frames.pts[-1]), frames.time_base)
    clips = [CutSpan(span, track) for track in sorted({number for number, _, _ in presences})]
    causes = np.full(frames.num, _CAUSES.index(Reason.NO_FACE))
    return clips, _losses(frames, np.full(frames.num, bool(clips)), causes)


def _runs(labels: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of equal labels that are not -1, [first, last)."""
    borders = np.flatnonzero(np.diff(labels)) + 1
    starts, ends = [0, *borders.tolist()], [*borders.tolist(), len(labels)]
    return [(a, b) for a, b in zip(starts, ends, strict=True) if labels[a] >= 0]


def _cut_stretch(
    stretch: tuple[int, int],
    frames: FrameGrid,
    voice: Voice,
    settings: ClipSettings,
    cause: np.ndarray,
) -> list[tuple[int, int]]:
    """Clips within one shot and one presence; writes the causes of its losses."""
    begin, end = stretch
    blame = cause[begin:end]
    if not frames.is_long_enough(begin, end):
        np.maximum(blame, _CAUSES.index(Reason.CLIP_TOO_SHORT), out=blame)
        return []
    np.maximum(blame, _CAUSES.index(Reason.NO_SPEECH), out=blame)
    voiced = voice.voiced(float(frames.times_s[begin]), float(frames.times_s[end]))
    groups = utterances(voiced, settings.max_pause_s)
    padded = [
        (
            max(begin, frames.until(group[0][0] - settings.pad_s)),
            min(end, frames.after(group[-1][1] + settings.pad_s)),
        )
        for group in groups
    ]
    clips: list[tuple[int, int]] = []
    for number, (first, last) in enumerate(padded):
        earliest = max(clips[-1][1] if clips else begin, padded[number - 1][1] if number else begin)
        latest = padded[number + 1][0] if number + 1 < len(padded) else end
        first = max(first, earliest)
        first, last = widened(first, max(first, last), earliest, latest, frames)
        pieces = split(first, last, groups[number], frames, voice.pcm, settings.pad_s)
        clips += [piece for piece in pieces if frames.is_long_enough(*piece)]
        for short in (piece for piece in pieces if not frames.is_long_enough(*piece)):
            cause[slice(*short)] = _CAUSES.index(Reason.CLIP_TOO_SHORT)
    return clips


def _losses(frames: FrameGrid, is_kept: np.ndarray, cause: np.ndarray) -> CutLosses:
    ticks = np.diff(frames.pts)
    seconds = [float(int(ticks[chosen].sum()) * frames.time_base) for chosen in (is_kept, ~is_kept)]
    lost = {
        reason: float(int(ticks[~is_kept & (cause == number)].sum()) * frames.time_base)
        for number, reason in enumerate(_CAUSES)
    }
    return CutLosses(sum(seconds), seconds[0], lost)
