"""Seams: where windows meet, and what a jump there measures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.seams import borders_of, seam_ratios, window_borders


def test_borders_are_every_start_and_end_inside():
    assert borders_of([(0, 81), (56, 137), (112, 193)]) == (56, 81, 112, 137)
    assert borders_of([(0, 81)]) == ()
    assert borders_of([]) == ()


def test_equal_windows_have_the_borders_that_a_list_of_them_has():
    assert window_borders(193, 81, 25) == borders_of([(0, 81), (56, 137), (112, 193)])


@given(st.integers(1, 400), st.integers(1, 100), st.integers(0, 99))
def test_borders_lie_inside_the_clip(num_frames, window_frames, overlap_frames):
    borders = window_borders(num_frames, window_frames, overlap_frames)
    assert all(0 < border < num_frames for border in borders)
    if window_frames >= num_frames or overlap_frames >= window_frames:
        assert borders == ()


def test_steady_motion_has_no_seam():
    change_T = np.full(100, 2.0)
    change_T[0] = np.nan
    assert seam_ratios(change_T, (40, 60)) == pytest.approx([1, 1])


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_a_jump_at_a_border_counts_by_its_size(late):
    change_T = np.full(100, 2.0)
    change_T[40 + late] = 10.0
    assert seam_ratios(change_T, (40,)) == pytest.approx([5])


def test_a_jump_elsewhere_is_no_seam():
    change_T = np.full(100, 2.0)
    change_T[50] = 10.0
    assert seam_ratios(change_T, (40,)) == pytest.approx([1])


def test_noise_in_a_still_picture_is_no_seam():
    change_T = np.zeros(100)
    change_T[40] = 0.04
    assert seam_ratios(change_T, (40,))[0] < 1
