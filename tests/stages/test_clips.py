"""The cutter: clips lie inside what they may show, and no second goes missing."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from manifests.reasons import Reason
from manifests.span import Span
from stages.audio import SAMPLE_RATE_HZ, Pcm
from stages.channels import ChannelChoice
from stages.clip_borders import ROUNDING_S
from stages.clips import ClipSettings, CutLosses, CutSpan, cut_clips
from stages.speech import Voice

TIME_BASE = Fraction(1, 12800)
FRAME = 512  # 25 fps


def voice_of(*segments: tuple[float, float], sound: np.ndarray | None = None) -> Voice:
    samples = np.zeros(0, np.float32) if sound is None else sound
    pcm = Pcm(samples, Fraction(0))
    return Voice(pcm, segments, np.zeros(0, np.float32), 0.032, ChannelChoice(1, "mono", 0.0, 1))


def span_s(start_s: float, end_s: float) -> Span:
    return Span.from_seconds(Fraction(start_s), Fraction(end_s), TIME_BASE)


def cut(
    num_frames: int,
    voice: Voice,
    *,
    shots: list[Span] | None = None,
    presences: list[tuple[int, int, int]] | None = None,
    frozen: list[Span] | None = None,
    **changes: float,
) -> tuple[list[CutSpan], CutLosses]:
    pts = np.arange(num_frames) * FRAME
    whole = Span(0, num_frames * FRAME, TIME_BASE)
    return cut_clips(
        shots=[whole] if shots is None else shots,
        presences=[(0, 0, int(pts[-1]))] if presences is None else presences,
        frozen=frozen or [],
        voice=voice,
        frame_pts=pts,
        time_base=TIME_BASE,
        settings=ClipSettings(**changes),
    )


def seconds(clips: list[CutSpan]) -> list[tuple[float, float]]:
    return [(clip.span.start_s, clip.span.end_s) for clip in clips]


def test_75_frames_of_25_fps_are_one_clip_of_three_seconds() -> None:
    clips, losses = cut(75, voice_of((0.6, 2.2)))
    assert seconds(clips) == [(0.0, 3.0)]
    assert losses.by_reason() == {}


def test_74_frames_are_not() -> None:
    clips, losses = cut(74, voice_of((0.6, 2.2)))
    assert clips == []
    assert losses.main_reason() == Reason.NO_SPAN_LONG_ENOUGH


@pytest.mark.parametrize(("rate", "num_frames"), [(Fraction(30000, 1001), 90), (Fraction(30), 90)])
def test_time_stamps_rounded_to_milliseconds_lose_no_clip(rate: Fraction, num_frames: int) -> None:
    pts = np.array([round(k / rate * 1000) for k in range(num_frames)])
    clips, _ = cut_clips(
        shots=[Span(0, 10_000, Fraction(1, 1000))],
        presences=[(3, 0, int(pts[-1]))],
        frozen=[],
        voice=voice_of((1.0, 2.0)),
        frame_pts=pts,
        time_base=Fraction(1, 1000),
        settings=ClipSettings(),
    )
    assert len(clips) == 1
    assert clips[0].track == 3


def test_a_clip_is_trimmed_to_speech_with_padding() -> None:
    clips, losses = cut(250, voice_of((3.0, 7.0)))
    assert seconds(clips) == [(2.72, 7.28)]  # frames that hold 2.75 s and 7.25 s
    assert losses.by_reason() == {Reason.NO_SPEECH: pytest.approx(10 - 4.56)}


def test_short_speech_is_widened_to_the_minimum_where_the_shot_allows() -> None:
    ((start_s, end_s),) = seconds(cut(250, voice_of((4.0, 5.0)))[0])
    assert end_s - start_s == pytest.approx(3.0)
    assert start_s < 3.75 and end_s > 5.25


def test_a_long_silence_splits() -> None:
    clips, _ = cut(500, voice_of((1.0, 6.0), (8.0, 14.0)))
    assert seconds(clips) == [(0.72, 6.28), (7.72, 14.28)]


def test_a_short_pause_does_not() -> None:
    assert len(cut(500, voice_of((1.0, 6.0), (7.0, 14.0)))[0]) == 1


def test_what_is_too_long_is_split_at_the_longest_pause() -> None:
    talk = voice_of((0.1, 9.0), (9.2, 11.0), (11.8, 13.0), (13.1, 24.9))
    assert seconds(cut(625, talk)[0]) == [(0.0, 11.28), (11.52, 25.0)]


def test_without_a_pause_it_is_cut_where_it_is_quietest() -> None:
    sound = np.full(20 * SAMPLE_RATE_HZ, 0.1, np.float32)
    sound[round(12.3 * SAMPLE_RATE_HZ) : round(12.42 * SAMPLE_RATE_HZ)] = 0.001
    clips, losses = cut(500, voice_of((0.0, 20.0), sound=sound))
    assert seconds(clips) == [(0.0, 12.36), (12.36, 20.0)]
    assert losses.by_reason() == {}


def test_no_clip_crosses_a_transition_or_a_frozen_stretch() -> None:
    clips, losses = cut(
        500,
        voice_of((0.0, 20.0)),
        shots=[span_s(0, 6), span_s(7, 20)],
        frozen=[span_s(10, 12)],
    )
    assert seconds(clips) == [(0.0, 6.0), (7.0, 10.0), (12.0, 20.0)]
    assert losses.by_reason() == {Reason.SEVERAL_SHOTS: 1.0, Reason.PICTURE_FROZEN: 2.0}


def test_each_track_gets_its_clips_and_shared_time_counts_once() -> None:
    clips, losses = cut(
        250, voice_of((0.0, 10.0)), presences=[(0, 0, 249 * FRAME), (1, 0, 99 * FRAME)]
    )
    assert [(clip.track, clip.span.end_s) for clip in clips] == [(0, 10.0), (1, 4.0)]
    assert losses.kept_s == losses.total_s == 10.0


def test_a_source_without_a_face_or_a_voice_says_so() -> None:
    assert cut(250, voice_of((0.0, 10.0)), presences=[])[1].main_reason() == Reason.NO_FACE
    assert cut(250, voice_of())[1].main_reason() == Reason.NO_SPEECH


def test_a_hole_in_the_frames_is_a_frozen_picture() -> None:
    pts = np.concatenate([np.arange(100), np.arange(175, 275)]) * FRAME
    clips, losses = cut_clips(
        shots=[Span(0, 275 * FRAME, TIME_BASE)],
        presences=[(0, 0, int(pts[-1]))],
        frozen=[],
        voice=voice_of((0.0, 11.0)),
        frame_pts=pts,
        time_base=TIME_BASE,
        settings=ClipSettings(),
    )
    assert seconds(clips) == [(0.0, 3.96), (7.0, 11.0)]
    assert losses.by_reason() == {Reason.PICTURE_FROZEN: pytest.approx(3.04)}


def test_lengths_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(ValidationError, match="twice min_clip_s"):
        ClipSettings(min_clip_s=10, max_clip_s=15)
    with pytest.raises(ValidationError, match="twice pad_s"):
        ClipSettings(pad_s=1.0)


@st.composite
def sources(draw: st.DrawFn) -> dict[str, object]:
    """Sources with any frame times, shots, presences and speech."""
    step = draw(st.sampled_from([FRAME, 427, 1280]))
    num_frames = draw(st.integers(1, 900))
    jitter = draw(st.lists(st.integers(0, 300), min_size=num_frames, max_size=num_frames))
    origin = draw(st.sampled_from([0, -600, 95_000 * 12800]))
    pts = origin + np.arange(num_frames) * step + (np.array(jitter) if draw(st.booleans()) else 0)
    if draw(st.booleans()):
        pts = pts + np.where(np.arange(num_frames) > num_frames // 2, 20_000, 0)
    end = int(pts[-1]) + step

    def spans(max_size: int) -> list[tuple[int, int]]:
        borders = sorted(
            draw(st.lists(st.integers(origin, end), max_size=2 * max_size, unique=True))
        )
        return list(zip(borders[::2], borders[1::2], strict=False))

    shots = [Span(a, b, TIME_BASE) for a, b in spans(4)] or [Span(origin, end, TIME_BASE)]
    presences = []
    for track in range(draw(st.integers(0, 2))):
        for a, b in spans(3):
            inside = pts[(pts >= a) & (pts < b)]
            if len(inside):
                presences.append((track, int(inside[0]), int(inside[-1])))
    second = float(TIME_BASE)
    segments = tuple((a * second, b * second) for a, b in spans(12))
    frozen = [Span(a, b, TIME_BASE) for a, b in spans(2)] if draw(st.booleans()) else []
    return {
        "shots": shots,
        "presences": presences,
        "frozen": frozen,
        "voice": voice_of(*segments),
        "frame_pts": pts,
        "time_base": TIME_BASE,
        "settings": ClipSettings(
            min_clip_s=draw(st.sampled_from([1.0, 3.0])),
            max_clip_s=draw(st.sampled_from([6.0, 15.0])),
        ),
    }


@settings(max_examples=80, deadline=None)
@given(sources())
def test_every_clip_keeps_the_rules_and_the_seconds_balance(source: dict[str, object]) -> None:
    clips, losses = cut_clips(**source)  # type: ignore[arg-type]
    assert cut_clips(**source) == (clips, losses)  # type: ignore[arg-type]
    pts = source["frame_pts"]
    assert isinstance(pts, np.ndarray)
    limits = source["settings"]
    assert isinstance(limits, ClipSettings)
    last_step = int(np.median(np.diff(pts))) if len(pts) > 1 else FRAME
    borders = {*pts.tolist(), int(pts[-1]) + last_step}
    for clip in clips:
        span = clip.span
        assert span.start in borders and span.end in borders
        assert limits.min_clip_s - ROUNDING_S <= span.duration_s <= limits.max_clip_s + ROUNDING_S
        shown = pts[(pts >= span.start) & (pts < span.end)]
        assert any(all(shot.contains(int(p)) for p in shown) for shot in source["shots"])  # type: ignore[attr-defined]
        assert not any(still.contains(int(p)) for still in source["frozen"] for p in shown)  # type: ignore[attr-defined]
        present = np.zeros(len(shown), bool)
        for track, first, last in source["presences"]:  # type: ignore[attr-defined]
            if track == clip.track:
                present |= (shown >= first) & (shown <= last)
        assert present.all()
        voice = source["voice"]
        assert isinstance(voice, Voice)
        assert voice.voiced(span.start_s, span.end_s)
    for before, after in pairwise(clips):
        assert before.track < after.track or before.span.end <= after.span.start
    total_s = float((int(pts[-1]) + last_step - int(pts[0])) * TIME_BASE)
    assert losses.total_s == pytest.approx(total_s, abs=1e-9)
    assert losses.kept_s + sum(losses.lost_s.values()) == pytest.approx(total_s, abs=1e-6)
    if len({clip.track for clip in clips}) <= 1:
        assert losses.kept_s == pytest.approx(sum(clip.span.duration_s for clip in clips), abs=1e-6)


def test_whole_files_are_not_cut_whatever_happens_in_them():
    clips, losses = cut(
        100,
        voice_of(),  # silence throughout
        shots=[span_s(0, 1), span_s(2, 4)],
        presences=[(0, 5 * FRAME, 20 * FRAME), (0, 60 * FRAME, 70 * FRAME), (2, 0, 99 * FRAME)],
        frozen=[span_s(1, 3)],
        whole_files=True,
    )
    assert seconds(clips) == [(0.0, 4.0), (0.0, 4.0)]
    assert [clip.track for clip in clips] == [0, 2]
    assert losses.kept_s == losses.total_s == 4.0


def test_a_whole_file_without_a_face_is_lost_for_want_of_one():
    clips, losses = cut(100, voice_of((0.0, 4.0)), presences=[], whole_files=True)
    assert clips == []
    assert losses.by_reason() == {Reason.NO_FACE: 4.0}
