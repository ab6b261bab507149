"""Averages over clips with their confidence intervals.

A clip is the unit: frames of one clip are alike, and an interval over frames would be far too
narrow. Intervals are bootstrap percentiles (Efron 1979; `scipy.stats.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean over clips.

    Attributes:
        mean: the mean.
        low: lower end of the interval; ``None`` for a single clip, which has none.
        high: upper end.
        num_clips: clips that have the figure; those that lack it are not zero but left out.
    """

    mean: float
    low: float | None
    high: float | None
    num_clips: int


def estimate(values: Sequence[float | None], seed: int = 0) -> Estimate | None:
    """Average a figure over clips.

    Args:
        values: one value a clip, ``None`` where it is missing.
        seed: seed of the resampling, so that two reports agree.

    Returns:
        Mean and interval; ``None`` if no clip has the figure.
    """
    from scipy.stats import bootstrap

    present = np.array([value for value in values if value is not None], float)
    if not len(present):
        return None
    mean = float(present.mean())
    if len(present) < 2:
        return Estimate(mean, None, None, 1)
    if np.ptp(present) == 0:
        return Estimate(mean, mean, mean, len(present))
    found = bootstrap(
        (present,),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=NUM_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high), len(present))
