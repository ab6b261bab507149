"""Transitions are found where they were made, and nowhere else."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from manifests.records import Clip
from manifests.span import Span
from stages.contract import ClipView, Evidence
from stages.shots import ShotList, ShotsMeasurement, ShotsSettings, ShotsStage
from tests.stages.footage import (
    ASTRONAUT,
    COFFEE,
    ROCKET,
    SIZE,
    blended,
    facts_of,
    panned,
    real,
    watch,
    write_video,
)


def shots_of(path: Path) -> ShotList:
    found = watch(ShotsStage(ShotsSettings()), path)
    assert isinstance(found, ShotList)
    return found


def kinds(found: ShotList) -> list[str]:
    return [item.kind for item in found.transitions]


@pytest.mark.parametrize("fps", [10, 25, 30, 60])
def test_hard_cut_lies_on_its_very_frame_at_every_rate(tmp_path: Path, fps: int) -> None:
    frames = panned(ASTRONAUT, 2 * fps) + panned(COFFEE, 2 * fps)
    found = shots_of(write_video(tmp_path / "cut.mp4", frames, fps=fps))
    assert kinds(found) == ["cut"]
    first, second = found.shots
    assert first.start_s == 0
    assert first.end_time == second.start_time == 2
    assert second.end_time == 4


def test_cut_in_variable_frame_rate_is_timed_by_time_stamps(tmp_path: Path) -> None:
    steps = ([0.04] * 25 + [0.12] * 8) * 3
    times_s = np.concatenate([[0], np.cumsum(steps)[:-1]])
    frames = panned(ASTRONAUT, 40) + panned(COFFEE, len(times_s) - 40)
    found = shots_of(write_video(tmp_path / "vfr.mp4", frames, times_s=list(times_s)))
    assert kinds(found) == ["cut"]
    assert found.shots[1].start_s == pytest.approx(times_s[40], abs=1e-3)


@pytest.mark.parametrize("number", [1, 2, 98, 99])
def test_cut_near_either_end_is_found(tmp_path: Path, number: int) -> None:
    frames = panned(ASTRONAUT, number) + panned(COFFEE, 100 - number)
    found = shots_of(write_video(tmp_path / "edge.mp4", frames))
    assert [item.span.start_s for item in found.transitions] == [pytest.approx(number / 25)]


def test_moving_camera_is_one_shot(tmp_path: Path) -> None:
    found = shots_of(write_video(tmp_path / "pan.mp4", panned(ASTRONAUT, 150, step_px=4)))
    assert found.transitions == ()
    assert [shot.duration for shot in found.shots] == [Fraction(6)]


def test_dissolve_is_trimmed_from_both_shots(tmp_path: Path) -> None:
    a, b = panned(ASTRONAUT, 75, 0.2), panned(ROCKET, 75, 0.2)
    frames = a[:50] + blended(a[50:], b[:25]) + b[25:]
    found = shots_of(write_video(tmp_path / "dissolve.mp4", frames))
    assert kinds(found) == ["dissolve"]
    assert found.shots[0].end_s == pytest.approx(2.0, abs=0.2)
    assert found.shots[1].start_s == pytest.approx(3.0, abs=0.2)


def test_fade_through_black_is_trimmed_with_its_ramps(tmp_path: Path) -> None:
    a, b = panned(ASTRONAUT, 75), panned(COFFEE, 75)
    down = [
        (f * (1 - s)).astype(np.uint8) for f, s in zip(a[55:], np.linspace(0, 1, 20), strict=True)
    ]
    up = [(f * s).astype(np.uint8) for f, s in zip(b[:20], np.linspace(0, 1, 20), strict=True)]
    found = shots_of(write_video(tmp_path / "fade.mp4", a[:55] + down + up + b[20:]))
    assert kinds(found) == ["fade"]
    assert found.shots[0].end_s == pytest.approx(2.2, abs=0.2)
    assert found.shots[1].start_s == pytest.approx(3.8, abs=0.2)


def test_slide_is_a_transition(tmp_path: Path) -> None:
    a, b = panned(ASTRONAUT, 75, 0.1), panned(COFFEE, 75, 0.1)
    width = SIZE[0]
    pushed = []
    for number in range(15):
        edge = width - round(width * (number + 1) / 16)
        both = np.hstack([a[60 + number], b[number]])
        pushed.append(both[:, width - edge : 2 * width - edge])
    found = shots_of(write_video(tmp_path / "slide.mp4", a[:60] + pushed + b[15:]))
    assert found.shots[0].end_s <= 2.5
    assert found.shots[-1].start_s >= 2.9


@pytest.mark.parametrize("num_white", [1, 2, 3])
def test_flash_is_not_a_cut(tmp_path: Path, num_white: int) -> None:
    frames = panned(ASTRONAUT, 100)
    for number in range(50, 50 + num_white):
        frames[number] = np.full_like(frames[number], 255)
    assert shots_of(write_video(tmp_path / "flash.mp4", frames)).transitions == ()


def test_light_that_is_dimmed_is_not_a_cut(tmp_path: Path) -> None:
    frames = panned(ASTRONAUT, 100)
    frames[50:] = [(frame * 0.7 + 5).astype(np.uint8) for frame in frames[50:]]
    assert shots_of(write_video(tmp_path / "light.mp4", frames)).transitions == ()


def test_measurement_tells_of_the_shot_around_a_clip(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mp4", panned(ASTRONAUT, 50) + panned(COFFEE, 100))
    stage, facts = ShotsStage(ShotsSettings()), facts_of(path)
    evidence = Evidence(facts)
    evidence.put(watch(stage, path))
    spans = [Span.from_seconds(a, b, facts.video.time_base) for a, b in ((3, 5), (1, 3))]
    inside, across = stage.measure([ClipView(Clip("s", span, 0), evidence) for span in spans])
    assert inside == ShotsMeasurement(4.0, 1.0, 0)
    assert across.num_transitions_inside == 1


@pytest.mark.parametrize(
    ("name", "cuts_s"),
    [
        ("d_cuts_3x4s.mp4", [4.0, 8.0]),
        ("d_cuts_5x1.2s.mp4", [1.2, 2.4, 3.6, 4.8]),
        ("d_lcut_reaction.mp4", [4.0]),
        ("sv_full3.mp4", [9.2]),
        ("psd_issue195_voiceover_PAR.mp4", [2.8, 6.8, 12.04, 16.84, 19.36]),
        ("sv_half4.mp4", []),
        ("sv_half5.mp4", []),
        ("d_flash.mp4", []),
        ("d_vfr.mp4", []),
    ],
)
def test_real_cuts(name: str, cuts_s: list[float]) -> None:
    found = shots_of(real(name))
    starts = [item.span.start_s - found.shots[0].start_s for item in found.transitions]
    assert starts == pytest.approx(cuts_s, abs=0.011)


@pytest.mark.parametrize(
    ("name", "start_s", "end_s"),
    [
        ("d_dissolve_1s.mp4", 4.0, 5.0),
        ("d_fadeblack.mp4", 4.2, 5.8),
        ("d_wipe_slide.mp4", 4.4, 5.0),
        ("d_jumpcut.mp4", 4.5, 4.5),
    ],
)
def test_real_transitions_leave_no_trace_in_the_shots(
    name: str, start_s: float, end_s: float
) -> None:
    before, after = shots_of(real(name)).shots
    assert start_s - 0.4 <= before.end_s <= start_s + 0.03
    assert end_s - 0.03 <= after.start_s <= end_s + 0.4
