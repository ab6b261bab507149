"""Drift against closed forms, and colour against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2lab

from tests.training.evaluation.media import grey, write_video
from training.evaluation.drift import distance_from_start, drift, ratio_of_edges, slope_per_min
from training.evaluation.traces import trace

TIMES_S = np.arange(250) / 25


def test_a_steady_drift_has_its_own_slope():
    values_TD = np.stack([3 * TIMES_S, 4 * TIMES_S, 0 * TIMES_S], axis=1)  # 5 a second
    start = values_TD[TIMES_S < 1].mean(axis=0)
    moved_T = distance_from_start(TIMES_S, values_TD)
    assert moved_T == pytest.approx(np.linalg.norm(values_TD - start, axis=1))
    late = TIMES_S >= 1
    assert slope_per_min(TIMES_S[late], 5 * TIMES_S[late]) == pytest.approx(300)
    # From the middle of the first second to the middle of the last: 9 s of 10 s.
    assert drift(TIMES_S, values_TD) == pytest.approx(5 * 9.0, rel=0.005)


def test_what_stands_still_does_not_drift():
    still_TD = np.tile([50.0, 3.0, -2.0], (250, 1))
    assert drift(TIMES_S, still_TD) == 0
    assert slope_per_min(TIMES_S, distance_from_start(TIMES_S, still_TD)) == pytest.approx(0)
    assert ratio_of_edges(TIMES_S, np.full(250, 0.3)) == 1


def test_a_clip_too_short_for_two_ends_has_no_drift():
    short_s = TIMES_S[:40]
    values_TD = np.ones((40, 3))
    assert drift(short_s, values_TD) is None
    assert slope_per_min(short_s, values_TD[:, 0]) is None
    assert ratio_of_edges(short_s, values_TD[:, 0]) is None


def test_colour_drift_of_a_video_is_the_lab_distance_of_its_colours(tmp_path):
    begin, end = np.uint8([[[120, 60, 60]]]), np.uint8([[[60, 90, 160]]])
    frames = [np.tile(begin, (24, 32, 1))] * 30 + [np.tile(end, (24, 32, 1))] * 30
    seen = trace(write_video(tmp_path / "a.mkv", frames))
    expected = float(np.linalg.norm(rgb2lab(end)[0, 0] - rgb2lab(begin)[0, 0]))
    assert drift(seen.times_s, seen.lab_mean_T3) == pytest.approx(expected, abs=0.05)


def test_change_is_the_mean_difference_of_luma(tmp_path):
    seen = trace(write_video(tmp_path / "a.mkv", [grey(10), grey(10), grey(30), grey(25)]))
    assert np.isnan(seen.change_T[0])
    assert seen.change_T[1:] == pytest.approx([0, 20, 5], abs=0.01)
    assert seen.size_px == (48, 32)
    assert seen.frame_rate_fps == pytest.approx(25)
    assert seen.duration_s == pytest.approx(0.16)
