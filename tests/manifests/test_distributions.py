"""Quantiles and histograms are those of numpy on the sorted values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manifests.inspection.distributions import histogram, quantiles, ranked

RNG = np.random.default_rng(3)
LONG = {
    "normal": RNG.normal(0.7, 0.1, 50_001),
    "long tail": np.exp(RNG.normal(0, 6, 50_000)),
    "mostly zero": np.where(RNG.random(50_000) < 0.9, 0.0, RNG.random(50_000)),
    "two values": RNG.integers(0, 2, 50_000).astype(float),
    "one value": np.full(50_000, 25.0),
    "whole numbers": RNG.integers(-3, 1000, 50_000).astype(float),
    "one stray value": np.r_[RNG.random(50_000), 1e300],
    "as wide as numbers go": np.r_[RNG.random(50_000), 1.7e308, -1.7e308],
    "as narrow as numbers go": np.nextafter(1.0, 2.0) * RNG.integers(0, 2, 50_000) * 5e-324,
}


@pytest.mark.parametrize("name", LONG)
def test_ranks_of_long_columns_are_exactly_those_of_the_sort(name: str) -> None:
    values = LONG[name]
    ranks = np.r_[0, RNG.integers(0, len(values), 40), len(values) - 1]
    np.testing.assert_array_equal(ranked(values, ranks), np.sort(values)[ranks])


@pytest.mark.parametrize("name", ["normal", "mostly zero", "whole numbers"])
def test_quantiles_are_interpolated_as_numpy_does(name: str) -> None:
    shares = (0, 0.005, 0.05, 0.5, 0.95, 0.995, 1)
    assert quantiles(LONG[name], shares) == pytest.approx(np.quantile(LONG[name], shares))


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6)))
def test_quantiles_of_few_values_too(values: np.ndarray) -> None:
    expected = np.quantile(values, [0, 0.3, 1])
    np.testing.assert_allclose(quantiles(values, [0, 0.3, 1]), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["normal", "long tail", "mostly zero", "whole numbers"])
def test_bins_are_those_of_numpy_and_the_end_bins_hold_what_is_beyond(name: str) -> None:
    values = LONG[name]
    low, high = np.quantile(values, [0.1, 0.95])
    high += 0.37
    counted = histogram(values, float(low), float(high), 24)
    assert counted == np.histogram(np.clip(values, low, high), 24, (low, high))[0].tolist()
    assert sum(counted) == len(values)
