"""Mouths: pose taken out, lips compared, openings correlated; all against known movements."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.evaluation.media import face_of, mesh
from training.evaluation.landmarks import (
    LIPS,
    OUTER_EYE_CORNERS,
    RIGID,
    compare_mouths,
    correlation,
    match_times,
)


def moved(points_TPC: np.ndarray, angle: float, ratio: float, shift: tuple[float, float]):
    turn = ratio * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    changed = points_TPC.copy()
    changed[..., :2] = points_TPC[..., :2] @ turn.T + np.array(shift)
    return changed


def test_lips_and_rigid_points_are_apart():
    assert not set(LIPS) & set(RIGID)
    assert len(set(LIPS)) == 40


def test_a_face_elsewhere_in_another_size_and_turned_is_the_same_mouth():
    points_TPC, index = mesh(30)
    found = compare_mouths(
        face_of(moved(points_TPC, 0.4, 1.7, (30, -12)), index), face_of(points_TPC, index)
    )
    assert found.distance == pytest.approx(0, abs=1e-9)
    assert found.num_frames == 30


def test_lips_moved_by_a_tenth_of_the_eye_distance_measure_a_tenth():
    points_TPC, index = mesh(30)
    eyes = np.linalg.norm(np.subtract(*points_TPC[0, list(OUTER_EYE_CORNERS), :2]))
    other = points_TPC.copy()
    other[:, list(LIPS), 1] += 0.1 * eyes
    found = compare_mouths(
        face_of(moved(other, -0.2, 0.8, (5, 5)), index), face_of(points_TPC, index)
    )
    assert found.distance == pytest.approx(0.1, rel=1e-6)


def test_mouths_that_open_together_correlate_and_opposed_ones_anticorrelate():
    points_TPC, index = mesh(50)
    wave_T = np.sin(np.arange(50) / 3)
    together, opposed, still = points_TPC.copy(), points_TPC.copy(), points_TPC
    for face, sign in ((together, 1), (opposed, -1)):
        face[:, 14, :] = face[:, 13, :] + (20 + 5 * sign * wave_T)[:, None] * [0, 1, 0]
    reference = face_of(together, index)
    assert compare_mouths(face_of(together, index), reference).opening_correlation == pytest.approx(
        1
    )
    assert compare_mouths(face_of(opposed, index), reference).opening_correlation == pytest.approx(
        -1
    )
    assert compare_mouths(face_of(still, index), reference).opening_correlation is None


def test_rates_that_differ_are_matched_by_time():
    mine, theirs = match_times(np.arange(50) / 25, np.arange(60) / 30)
    assert np.abs(mine / 25 - theirs / 30).max() <= 0.02 + 1e-9
    assert len(mine) == 50


def test_frames_without_a_face_are_left_out():
    times_s = np.arange(50) / 25
    mine, theirs = match_times(times_s, times_s[(times_s < 0.5) | (times_s > 1.5)])
    assert not ((times_s[mine] > 0.55) & (times_s[mine] < 1.45)).any()
    assert len(mine) == len(theirs)


def test_too_few_frames_say_nothing():
    points_TPC, index = mesh(5)
    assert compare_mouths(face_of(points_TPC, index), face_of(points_TPC, index)) is None


def test_correlation_is_numpys():
    one, other = np.random.default_rng(1).normal(size=(2, 40))
    assert correlation(one, other) == pytest.approx(np.corrcoef(one, other)[0, 1])
