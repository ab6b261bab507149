"""Histograms of every measurement, kept clips apart from the others, with the limits that stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.gates import Gate
from manifests.inspection.clip_index import ClipIndex
from manifests.records import ClipState

NUM_BINS = 48
MAX_CATEGORIES = 16
_TAILS_PERCENT = (0.5, 99.5)
"""What lies beyond is counted in the bins at the ends, so that one stray value squeezes nothing."""
_MANY = 200  # with fewer clips none is left to the ends
_ROOM = 0.06
_MAX_LABEL = 40


def histograms(index: ClipIndex, gates: Sequence[Gate]) -> list[dict[str, Any]]:
    """Count every measurement.

    Args:
        index: The clips.
        gates: Gates of the recipe.

    Returns:
        One record a measurement that has any value: ``name``, ``unit``, ``meaning``,
        ``num_missing``, ``gates`` (bound, limit), ``kept`` and ``others`` counts, and
        either ``edges`` (one more than counts) or ``labels`` (one a count). Texts with more
        than :data:`MAX_CATEGORIES` different values, or with sentences, are left out.
    """
    kept = index.states == ClipState.KEPT
    found = []
    for name, field in index.fields.items():
        own = [gate for gate in gates if gate.field.name == name]
        if field.python_type in (float, int):
            counts = _numbers(index.numbers(name), kept, own)
        else:
            counts = _categories(index.table[name], kept)
        if counts is not None:
            limits = [{"bound": gate.bound, "limit": gate.limit} for gate in own]
            texts = {"name": name, "unit": field.unit, "meaning": field.meaning}
            found.append({**texts, "gates": limits, **counts})
    return found


def _numbers(values: np.ndarray, kept: np.ndarray, gates: Sequence[Gate]) -> dict[str, Any] | None:
    is_there = np.isfinite(values)
    if not is_there.any():
        return None
    lowest, highest = values[is_there].min(), values[is_there].max()
    low, high = lowest, highest
    if is_there.sum() >= _MANY:
        low, high = np.percentile(values[is_there], _TAILS_PERCENT)
    limits = [float(gate.limit) for gate in gates if isinstance(gate.limit, int | float)]
    low, high = min(low, *limits, low), max(high, *limits, high)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    room = _ROOM * (high - low)
    if low in limits:  # so that a limit can be moved outwards
        low = max(low - room, 0.0) if lowest >= 0 else low - room
    if high in limits:
        high += room
    edges = np.linspace(low, high, NUM_BINS + 1)
    inside = np.clip(values, low, high)
    return {
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "kept": np.histogram(inside[is_there & kept], edges)[0].tolist(),
        "others": np.histogram(inside[is_there & ~kept], edges)[0].tolist(),
        "lowest": float(lowest),
        "highest": float(highest),
        "num_missing": int((~is_there).sum()),
    }


def _categories(column: pa.ChunkedArray, kept: np.ndarray) -> dict[str, Any] | None:
    coded = pc.cast(column, pa.string()).combine_chunks().dictionary_encode()
    labels = coded.dictionary.to_pylist()
    if not 0 < len(labels) <= MAX_CATEGORIES or max(map(len, labels)) > _MAX_LABEL:
        return None
    codes = np.from_dlpack(pc.fill_null(coded.indices, len(labels)))
    counts = [np.bincount(codes[chosen], minlength=len(labels) + 1) for chosen in (kept, ~kept)]
    order = sorted(range(len(labels)), key=lambda number: labels[number])
    return {
        "labels": [labels[number] for number in order],
        "kept": counts[0][order].tolist(),
        "others": counts[1][order].tolist(),
        "num_missing": int(counts[0][-1] + counts[1][-1]),
    }
