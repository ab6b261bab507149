"""Sync of a measured clip: which estimator spoke, and what it said.

Sync-C and Sync-D are SyncNet's and nobody else's: where SyncNet has not measured they are missing.
The estimator that ships with curation gives a confidence and an offset under names of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Estimator = Literal["syncnet", "embedded"]

SYNCNET_STEP_MS = 40.0
"""A frame at 25 fps, the only rate that SyncNet knows."""


@dataclass(frozen=True)
class SyncCurve:
    """How well voice and lips go together at each shift.

    Attributes:
        estimator: whose curve it is.
        offsets_ms: shifts, ascending, + = audio later than picture.
        values: scores (embedded, higher is better) or distances (SyncNet, lower is better).
    """

    estimator: Estimator
    offsets_ms: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Sync:
    """What is known of a clip's sync.

    Attributes:
        offset_by: who gave the AV offset; ``None`` if nobody could tell.
        figures: metrics by name, ``None`` where missing.
        curve: the curve of whoever gave the offset.
    """

    offset_by: Estimator | None
    figures: dict[str, float | None]
    curve: SyncCurve | None


def sync_of(columns: dict[str, Any]) -> Sync:
    """Read sync from the columns of a measured clip.

    Args:
        columns: measurements by name.

    Returns:
        Offset, scores and curve.
    """
    embedded = _embedded_curve(columns)
    syncnet = _syncnet_curve(columns)
    offset_ms: float | None = columns.get("syncnet.offset_ms")
    offset_by: Estimator | None = None if offset_ms is None else "syncnet"
    if offset_ms is None and columns.get("sync.offset_ms") is not None:
        offset_ms, offset_by = columns["sync.offset_ms"], "embedded"
    at_zero = None
    if embedded is not None:
        at_zero = float(np.interp(0.0, embedded.offsets_ms, embedded.values))
    figures = {
        "sync_c": columns.get("syncnet.confidence"),
        "sync_d": columns.get("syncnet.distance"),
        "sync_confidence": columns.get("sync.confidence"),
        "sync_score": columns.get("sync.score"),
        "sync_score_at_zero": at_zero,
        "av_offset_ms": offset_ms,
        "abs_av_offset_ms": None if offset_ms is None else abs(offset_ms),
    }
    return Sync(offset_by, figures, syncnet or embedded)


def _embedded_curve(columns: dict[str, Any]) -> SyncCurve | None:
    """Where the estimator could not tell, the stage stores a curve of zeros, which is none."""
    if columns.get("sync.score") is None:
        return None
    offsets, values = columns.get("sync.curve_offsets_ms"), columns.get("sync.curve")
    if not offsets or not values:
        return None
    return SyncCurve("embedded", tuple(offsets), tuple(values))


def _syncnet_curve(columns: dict[str, Any]) -> SyncCurve | None:
    """The stage stores distances for the sound moved by -15 to 15 frames of 40 ms."""
    values = columns.get("syncnet.curve")
    if not values:
        return None
    middle = (len(values) - 1) / 2
    offsets_ms = tuple((place - middle) * SYNCNET_STEP_MS for place in range(len(values)))
    return SyncCurve("syncnet", offsets_ms, tuple(values))
