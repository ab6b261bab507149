"""Quantiles and histograms of long columns, without sorting them.

A million numbers are sorted in a hundred milliseconds and counted in a few. So they are counted in
fine cells, and only the cells in which a wanted rank lies are sorted. The results are exact. The
work goes piece by piece, so that what lies between stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

NUM_CELLS = 4096
_FEW = 20_000  # of fewer values the sort is as quick
_PIECE = 1 << 15


def quantiles(values: np.ndarray, shares: Sequence[float]) -> list[float]:
    """Quantiles, interpolated between neighbours as `numpy.quantile` does.

    Args:
        values: finite numbers (V,), float64, in any order, at least one.
        shares: which quantiles, in [0, 1].

    Returns:
        One number a share.
    """
    places = np.multiply(shares, len(values) - 1)
    ranks = np.concatenate([np.floor(places), np.ceil(places)]).astype(np.int64)
    lower, upper = np.split(ranked(values, ranks), 2)
    return (lower + (upper - lower) * (places % 1)).tolist()


def ranked(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Return the values that a sort would put at given places.

    Args:
        values: finite numbers (V,), float64, in any order.
        ranks: places (R,), from 0, in any order.

    Returns:
        The values (R,).
    """
    low = values.min()
    with np.errstate(over="ignore", divide="ignore"):
        per_cell = NUM_CELLS / (values.max() - low)
    if len(values) < _FEW or not 0 < per_cell < np.inf:
        return np.sort(values)[ranks]
    # Differences and products are rounded, but never change order: equal or larger values lie in
    # equal or later cells.
    counts = np.zeros(NUM_CELLS + 1, np.intp)
    cells = []
    for piece in _pieces(values):
        cell = ((piece - low) * per_cell).astype(np.intp)
        counts += np.bincount(cell, minlength=len(counts))
        cells.append(cell.astype(np.uint16))
    wanted = np.searchsorted(np.cumsum(counts), ranks, side="right")
    is_wanted = np.zeros(len(counts), bool)
    is_wanted[wanted] = True
    near = [piece[is_wanted[cell]] for piece, cell in zip(_pieces(values), cells, strict=True)]
    num_skipped = np.cumsum(np.where(is_wanted, 0, counts))
    return np.sort(np.concatenate(near))[ranks - num_skipped[wanted]]


def histogram(values: np.ndarray, low: float, high: float, num_bins: int) -> list[int]:
    """Count values in equally wide bins; those beyond either end in the bin at that end.

    Args:
        values: finite numbers (V,).
        low: lower end of the first bin.
        high: upper end of the last bin, above `low`.
        num_bins: number of bins.

    Returns:
        One count a bin.
    """
    counts = np.zeros(num_bins, np.intp)
    with np.errstate(over="ignore"):
        for piece in _pieces(values):
            places = np.clip((piece - low) * (num_bins / (high - low)), 0, num_bins - 1)
            counts += np.bincount(places.astype(np.intp), minlength=num_bins)
    return counts.tolist()


def _pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    return (values[first : first + _PIECE] for first in range(0, len(values), _PIECE))
