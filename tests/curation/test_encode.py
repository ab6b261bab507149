"""Packed video: which source frame an output frame shows."""

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.encode import nearest


@dataclass
class Frame:
    pts: int
    time_base: Fraction = Fraction(1, 1000)


def shown(pts, num_wanted, start=0, rate=25):
    frames = (Frame(p) for p in pts)
    return [f.pts for f in nearest(frames, Fraction(start, 1000), rate, num_wanted)]


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
def test_every_output_frame_shows_the_nearest_source_frame(rate):
    pts = [round(1000 * k / rate) for k in range(2 * rate)]
    for number, chosen in enumerate(shown(pts, 40)):
        wanted = 40 * number
        assert abs(chosen - wanted) == min(abs(p - wanted) for p in pts)


def test_the_same_rate_shows_every_frame_once():
    pts = list(range(0, 2000, 40))
    assert shown(pts, 50) == pts


def test_a_gap_repeats_its_nearer_neighbour():
    assert shown([0, 40, 280, 320], 9) == [0, 40, 40, 40, 40, 280, 280, 280, 320]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=50, unique=True), st.integers(1, 80))
def test_exactly_as_many_frames_as_wanted(pts, num_wanted):
    found = shown(sorted(pts), num_wanted, start=min(pts))
    assert len(found) == num_wanted
    assert found == sorted(found)


def test_no_frame_gives_none():
    assert shown([], 5) == []
