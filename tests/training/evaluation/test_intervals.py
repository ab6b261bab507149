"""Intervals over clips: right on what is known, and honest about too few."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.intervals import estimate


def test_the_interval_of_many_clips_is_the_normal_one():
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = estimate(values.tolist())
    half = 1.96 * values.std(ddof=1) / 20
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.03
    )


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = [estimate(rng.normal(0, 1, 30).tolist(), seed) for seed in range(60)]
    assert 0.8 < np.mean([one.low <= 0 <= one.high for one in found]) <= 1.0


def test_missing_clips_are_left_out_and_not_zero():
    found = estimate([2.0, None, 4.0, None])
    assert (found.mean, found.num_clips) == (3.0, 2)


def test_one_clip_has_no_interval_and_none_has_nothing():
    assert estimate([1.5]).low is None
    assert estimate([None, None]) is None


def test_the_same_seed_gives_the_same_interval():
    values = [0.1, 0.5, 0.4, 0.9]
    assert estimate(values, 3) == estimate(values, 3)
    many = np.random.default_rng(0).normal(size=40).tolist()
    assert estimate(many, 3) != estimate(many, 4)
