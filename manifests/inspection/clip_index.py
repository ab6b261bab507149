"""The table of clips held in memory, searched and ordered for the page that shows it.

In this room: columns of all clips, which rows a filter picks, and how near a refused clip came to
its limits. Not here: what is drawn, and the media of a clip.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.place import Place
from manifests.measurement import Field
from manifests.records import PACKED_COLUMNS, ClipState

PENDING = "PENDING"
"""Shown as the reason of a clip that waits for a stage; no gate has failed."""

ORDERS = ("nearest", "id", "name", "longest", "shortest")
_SHOWN = ("clip_id", "source_id", "uri", "track", "start_s", "duration_s", "state")
_SPAN = ("start_pts", "end_pts", "time_base_num", "time_base_den")
_CURVES = ("sync.curve_offsets_ms", "sync.curve")
_SPREAD_PERCENT = (5, 95)


@dataclass(frozen=True)
class Query:
    """Which clips to show, in which order.

    Attributes:
        state: only clips of this state; all if empty.
        reason: only clips that a gate refused for this reason; all if empty.
        text: only clips whose address, caption or id holds this text, in any case of letters.
        flag: only clips with this flag; all if empty.
        order: one of :data:`ORDERS`.
        field: only clips with a measurement of this name within the bounds; all if empty.
        low: smallest value of that measurement.
        high: largest value of that measurement.
    """

    state: str = ""
    reason: str = ""
    text: str = ""
    flag: str = ""
    order: str = "nearest"
    field: str = ""
    low: float = -np.inf
    high: float = np.inf


class ClipIndex:
    """All clips of a place.

    Args:
        place: the run or dataset.
    """

    def __init__(self, place: Place) -> None:
        self.fields: dict[str, Field] = {
            name: field
            for name, field in place.fields.items()
            if field.python_type in (float, int, bool, str)
        }
        self._place = place
        columns = [*_SHOWN, *_SPAN, "failed_gates", "measured_stages", *self.fields]
        self.table = place.clips(columns).combine_chunks()
        self._packed: pa.Table | None = None
        if place.dataset is not None:
            self._packed = place.packed(["clip_id", *PACKED_COLUMNS]).combine_chunks()
        self._rows = {key: row for row, key in enumerate(self.table["clip_id"].to_pylist())}
        keys = self._packed["clip_id"].to_pylist() if self._packed is not None else []
        self._packed_rows = {key: row for row, key in enumerate(keys)}

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._rows

    def clip(self, clip_id: str) -> ClipRow:
        """Return one clip with every single-valued measurement; `KeyError` if there is none."""
        values = self.table.slice(self._rows[clip_id], 1).to_pylist()[0]
        if self._packed is None or clip_id not in self._packed_rows:
            return ClipRow(values, None)
        return ClipRow(values, self._packed.slice(self._packed_rows[clip_id], 1).to_pylist()[0])

    def curves(self, clip_id: str) -> dict[str, Any]:
        """Return a clip's sync curve; empty if the run measured none."""
        if self._curves is None:
            return {}
        row: dict[str, Any] = self._curves.slice(self._rows[clip_id], 1).to_pylist()[0]
        return row

    @cached_property
    def _curves(self) -> pa.Table | None:
        if any(name not in self._place.schema.names for name in _CURVES):
            return None
        return self._place.clips(_CURVES)

    @cached_property
    def states(self) -> np.ndarray:
        """State of each clip (N,)."""
        return np.array(self.table["state"].to_pylist(), "U8")

    @cached_property
    def is_packed(self) -> np.ndarray:
        """Which clips are in the dataset (N,)."""
        return np.fromiter((key in self._packed_rows for key in self._rows), bool, len(self))

    @cached_property
    def failures(self) -> Failures:
        """Every failed gate of every clip."""
        return _failures(self)

    def numbers(self, name: str) -> np.ndarray:
        """Values of a measurement (N,) as float64, NaN where missing."""
        column = pc.cast(self.table[name], pa.float64()).combine_chunks()
        return np.from_dlpack(pc.fill_null(column, float("nan")))

    def summaries(self, rows: Collection[int]) -> list[dict[str, Any]]:
        """What a list shows of some clips.

        Args:
            rows: Numbers of the clips.

        Returns:
            One record a clip: who it is, its state, and its failed gates.
        """
        picked = self.table.select([*_SHOWN, "failed_gates"]).take(pa.array(rows, pa.int64()))
        packed = self.is_packed[np.asarray(rows, np.int64)]
        return [
            {**row, "failed_gates": row["failed_gates"] or [], "is_packed": bool(is_packed)}
            for row, is_packed in zip(picked.to_pylist(), packed, strict=True)
        ]

    def reasons(self) -> dict[str, int]:
        """Clips that fell by each reason, the most frequent first; one may fall by several."""
        counts = self.failures.counts
        num_pending = int((self.states == ClipState.PENDING).sum())
        if num_pending:
            counts[PENDING] = num_pending
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def find(self, query: Query, flagged: Collection[str] = ()) -> np.ndarray:
        """Pick clips.

        Args:
            query: What is wanted.
            flagged: Ids of the clips that carry the wanted flag.

        Returns:
            (M,) int32, numbers of the clips in the wanted order.
        """
        picked = np.ones(len(self), bool)
        if query.state:
            picked &= self.states == query.state
        if query.reason == PENDING:
            picked &= self.states == ClipState.PENDING
        elif query.reason:
            picked &= np.isfinite(self._distances(query.reason)) | self._falls_by(query.reason)
        if query.text:
            picked &= self._holds(query.text)
        if query.flag:
            chosen = np.zeros(len(self), bool)
            chosen[[self._rows[key] for key in flagged if key in self._rows]] = True
            picked &= chosen
        if query.field in self.fields and self.fields[query.field].python_type in (float, int):
            values = self.numbers(query.field)
            picked &= (values >= query.low) & (values <= query.high)
        rows = np.flatnonzero(picked)
        return rows[self._order(rows, query)].astype(np.int32)

    def _order(self, rows: np.ndarray, query: Query) -> np.ndarray:
        if query.order == "nearest":
            return np.argsort(self._distances(query.reason)[rows], kind="stable")
        if query.order in ("longest", "shortest"):
            seconds = self.numbers("duration_s")[rows]
            return np.argsort(-seconds if query.order == "longest" else seconds, kind="stable")
        if query.order == "name":
            names = self.table["uri"].take(pa.array(rows))
            starts = self.table["start_s"].take(pa.array(rows))
            both = pa.table({"name": names, "start": starts})
            order = pc.sort_indices(both, [("name", "ascending"), ("start", "ascending")])
            return np.from_dlpack(order)
        return np.arange(len(rows))

    def _falls_by(self, reason: str) -> np.ndarray:
        falls = np.zeros(len(self), bool)
        falls[self.failures.rows[self.failures.reasons == reason]] = True
        return falls

    def _distances(self, reason: str) -> np.ndarray:
        """How far each clip is beyond its limits (N,); 0 for a clip that nothing refused."""
        failures = self.failures
        chosen = failures.reasons == reason if reason else np.ones(len(failures.rows), bool)
        rows = failures.rows[chosen]
        distances = np.full(len(self), np.inf if reason and reason != PENDING else 0.0)
        distances[rows] = 0.0
        np.maximum.at(distances, rows, failures.distances[chosen])
        return distances

    def _holds(self, text: str) -> np.ndarray:
        found = np.zeros(len(self), bool)
        names = ["uri", "clip_id", *(name for name in ("caption.text",) if name in self.fields)]
        for name in names:
            lower = pc.utf8_lower(pc.fill_null(self.table[name], ""))
            holds = pc.cast(pc.match_substring(lower, text.lower()), pa.uint8())
            found |= np.from_dlpack(holds.combine_chunks()) > 0
        return found


@dataclass(frozen=True)
class Failures:
    """Failed gates of all clips, one after the other.

    Attributes:
        rows: (F,) number of the clip.
        reasons: (F,) its reason.
        distances: (F,) |measured - limit| over the spread of the measurement (5th to 95th
            percentile over all clips), so that limits in ms, px and dB compare; infinite where
            nothing was measured or the limit is no number.
    """

    rows: np.ndarray
    reasons: np.ndarray
    distances: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """Clips by reason; a clip with several counts for each."""
        names, codes = np.unique(self.reasons, return_inverse=True)
        pairs = np.unique(self.rows.astype(np.int64) * max(len(names), 1) + codes)
        counts = np.bincount(pairs % max(len(names), 1), minlength=len(names))
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _failures(index: ClipIndex) -> Failures:
    column = index.table["failed_gates"].combine_chunks()
    rows = np.from_dlpack(pc.list_parent_indices(column))
    flat = pc.list_flatten(column)
    texts = {name: _texts(pc.struct_field(flat, name)) for name in ("reason", "field")}
    measured, limit = (_floats(pc.struct_field(flat, name)) for name in ("measured", "limit"))
    distances = np.full(len(rows), np.inf)
    for name in np.unique(texts["field"]):
        chosen = texts["field"] == name
        apart = np.abs(measured[chosen] - limit[chosen]) / _spread(index, str(name))
        distances[chosen] = np.where(np.isfinite(apart), apart, np.inf)
    return Failures(rows, texts["reason"], distances)


def _spread(index: ClipIndex, name: str) -> float:
    if name not in index.fields or index.fields[name].python_type not in (float, int):
        return 1.0
    values = index.numbers(name)
    values = values[np.isfinite(values)]
    if not len(values):
        return 1.0
    low, high = np.percentile(values, _SPREAD_PERCENT)
    return float(high - low) or 1.0


def _texts(column: pa.Array) -> np.ndarray:
    coded = column.dictionary_encode()
    return np.array([*coded.dictionary.to_pylist()], "U128")[np.from_dlpack(coded.indices)]


def _floats(column: pa.Array) -> np.ndarray:
    """Read numbers from texts; NaN where there is none. Each different text is read once."""
    coded = pc.fill_null(column, "").dictionary_encode()
    numbers = np.full(len(coded.dictionary), np.nan)
    for number, text in enumerate(coded.dictionary.to_pylist()):
        with suppress(ValueError):
            numbers[number] = float(text)
    return numbers[np.from_dlpack(coded.indices)]
