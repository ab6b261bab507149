"""Selection: from stored measurements to verdicts; a pure function of the table and the gates.

Gates are applied to whole columns: what comes out is what ``gates.judge`` says clip by clip.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.gates import Gate, text_of
from manifests.near_duplicates import Fingerprint, near_duplicates
from manifests.reasons import Reason
from manifests.records import FAILED_GATE_TYPE, ClipState
from manifests.refusals import refusals
from manifests.semantic_duplicates import semantic_duplicates

SELECTION_COLUMNS = (
    "clip_id",
    "duration_s",
    "state",
    "failed_gates",
    "measured_stages",
    "dedup.hashes",
    "dedup.activity",
    "faces.height_px",
    "faces.sharpness",
)
"""What a selection reads besides the measurements that the gates judge; the last four only where
doubles are refused, and where the table has them."""

VECTOR_COLUMN = "embedding.vector"
"""Read as well where ``Rules.max_similarity`` is set; 3 GB for a million clips."""


@dataclass(frozen=True)
class Rules:
    """What a selection goes by.

    Attributes:
        gates: gates of the recipe, in the order of the measured columns.
        stages: stages that measure every clip which is kept; one that they spared is pending.
        refuses_doubles: of clips that show the same footage, only the best is kept.
        flagged_bad: ids of clips that a person refused.
        max_similarity: of clips whose embeddings have this cosine or more, only the best is kept;
            ``None`` for no such comparison. Clips without an embedding are like no other.
    """

    gates: tuple[Gate, ...]
    stages: frozenset[str] = frozenset()
    refuses_doubles: bool = False
    flagged_bad: frozenset[str] = frozenset()
    max_similarity: float | None = None


@dataclass(frozen=True)
class Change:
    """What a new selection changed.

    Attributes:
        num_won: clips kept now that were not before.
        num_lost: clips not kept now that were before.
        won_s: seconds of the former.
        lost_s: seconds of the latter.
    """

    num_won: int
    num_lost: int
    won_s: float
    lost_s: float


@dataclass(frozen=True)
class _Failures:
    """Clips that failed one gate for one reason.

    Attributes:
        rows: (F,) their rows, each once.
        measured: their values as text, ``None`` for missing.
        reason, field, bound, limit: as in ``records.FailedGate``.
    """

    rows: np.ndarray
    measured: list[str | None]
    reason: Reason
    field: str
    bound: str
    limit: str


def select(clips: pa.Table, rules: Rules) -> pa.Table:
    """Judge every clip.

    Args:
        clips: table of measured clips, any earlier verdicts in it are replaced.
        rules: what the selection goes by.

    Returns:
        The same rows in the order of their ids, with ``state`` and ``failed_gates`` set.
    """
    clips = _by_id(clips)
    needed = {*rules.stages, *(gate.stage_name for gate in rules.gates)}
    stages = _measured_stages(clips, needed)
    is_waiting = ~np.logical_and.reduce([*stages.values(), np.ones(clips.num_rows, np.bool_)])
    is_failed = np.zeros(clips.num_rows, np.bool_)
    failures: list[_Failures] = []
    for gate in rules.gates:
        failures += _failures(clips, gate, np.flatnonzero(stages[gate.stage_name]))
    if rules.flagged_bad:
        failures.append(_flagged(clips, rules.flagged_bad))
    for found in failures:
        is_failed[found.rows] = True
    if rules.refuses_doubles:
        doubles = _doubles(clips, np.flatnonzero(~is_failed & ~is_waiting))
        is_failed[doubles.rows] = True
        failures.append(doubles)
    if rules.max_similarity is not None and VECTOR_COLUMN in clips.schema.names:
        alike = _alike(clips, np.flatnonzero(~is_failed & ~is_waiting), rules.max_similarity)
        is_failed[alike.rows] = True
        failures.append(alike)
    names = pa.array([str(state) for state in ClipState], pa.string())
    number = {state: index for index, state in enumerate(ClipState)}
    states = np.where(is_waiting, number[ClipState.PENDING], number[ClipState.KEPT])
    states[is_failed] = number[ClipState.REJECTED]
    for name, values in (
        ("state", names.take(pa.array(states))),
        ("failed_gates", _failed_gates(failures, clips.num_rows)),
    ):
        index = clips.schema.get_field_index(name)
        clips = clips.set_column(index, clips.schema.field(index), values)
    return clips


def change(before: pa.Table, after: pa.Table) -> Change:
    """Compare two selections of the same run.

    Args:
        before: table of clips with earlier verdicts.
        after: table of clips with the new verdicts.

    Returns:
        What was won and lost.
    """
    old, new = _kept(before), _kept(after)
    if old["clip_id"].equals(new["clip_id"]):
        return Change(0, 0, 0.0, 0.0)
    won = new.filter(pc.invert(pc.is_in(new["clip_id"], old["clip_id"])))
    lost = old.filter(pc.invert(pc.is_in(old["clip_id"], new["clip_id"])))
    seconds = [math.fsum(part["duration_s"].to_numpy()) for part in (won, lost)]
    return Change(won.num_rows, lost.num_rows, *seconds)


def reasons_of(clips: pa.Table) -> dict[str, float]:
    """Seconds of refused clips by the first gate that failed, the largest first."""
    found = refusals(clips)
    return {refusal.reason: refusal.first_s for refusal in found if refusal.num_first}


def _by_id(clips: pa.Table) -> pa.Table:
    ids = clips["clip_id"]
    is_sorted = pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py() if len(ids) > 1 else True
    return clips if is_sorted else clips.sort_by("clip_id")


def _measured_stages(clips: pa.Table, names: set[str]) -> dict[str, np.ndarray]:
    """For each stage, whether it measured each clip (R,)."""
    lists = clips["measured_stages"].combine_chunks()
    codes = pc.list_flatten(lists).dictionary_encode()
    known = codes.dictionary.to_pylist()
    numbers = codes.indices.to_numpy(zero_copy_only=False)
    parents = pc.list_parent_indices(lists).to_numpy()
    found = {name: np.zeros(clips.num_rows, np.bool_) for name in names}
    for name in names & set(known):
        found[name][parents[numbers == known.index(name)]] = True
    return found


def _failures(clips: pa.Table, gate: Gate, rows: np.ndarray) -> list[_Failures]:
    """Clips among ``rows`` that fail a gate: those without a value, and those out of bounds."""
    name = gate.field.name
    if name not in clips.schema.names:
        missing = pa.nulls(len(rows), gate.field.arrow_type)
        return _failures_by_value(gate, rows, missing)
    column = clips[name].combine_chunks()
    if not (pa.types.is_floating(column.type) and gate.bound in ("min", "max")):
        return _failures_by_value(gate, rows, column.take(pa.array(rows)))
    is_missing = column.is_null().to_numpy(zero_copy_only=False)[rows]
    values = column.fill_null(gate.limit).to_numpy(zero_copy_only=False)[rows]
    passes = values >= gate.limit if gate.bound == "min" else values <= gate.limit
    found = []
    for chosen in (is_missing, ~passes & ~is_missing):
        failed = rows[chosen]
        example = gate.failure(column[int(failed[0])].as_py()) if len(failed) else None
        if example is None:
            continue
        texts: list[str | None] = (
            [None] * len(failed)
            if example.measured is None
            else [text_of(value) for value in values[chosen].tolist()]
        )
        found.append(_group(gate, failed, texts, example.reason))
    return found


def _failures_by_value(gate: Gate, rows: np.ndarray, column: pa.Array) -> list[_Failures]:
    """Judge each distinct value of a column (one value for each of ``rows``) once."""
    if pa.types.is_nested(column.type):
        values, codes = column.to_pylist(), np.arange(len(column))
    else:
        encoded = column.dictionary_encode(null_encoding="encode")
        values, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    judged = [gate.failure(value) for value in values]
    found = []
    for reason in dict.fromkeys(failure.reason for failure in judged if failure):
        of_reason = [failure is not None and failure.reason is reason for failure in judged]
        chosen = np.array(of_reason, np.bool_)[codes]
        texts = [failure.measured if failure else None for failure in judged]
        measured = [texts[code] for code in codes[chosen].tolist()]
        found.append(_group(gate, rows[chosen], measured, reason))
    return found


def _group(gate: Gate, rows: np.ndarray, measured: list[str | None], reason: Reason) -> _Failures:
    return _Failures(rows, measured, reason, gate.field.name, gate.bound, text_of(gate.limit))


def _doubles(clips: pa.Table, rows: np.ndarray) -> _Failures:
    """Clips among ``rows`` that repeat a better one."""
    names = [name for name in SELECTION_COLUMNS if name in clips.schema.names]
    kept = clips.select(names).take(pa.array(rows)).to_pylist()
    originals = near_duplicates([_fingerprint(row) for row in kept])
    found = [(row, originals.get(clip["clip_id"])) for row, clip in zip(rows, kept, strict=True)]
    doubles = [(row, original) for row, original in found if original is not None]
    return _Failures(
        np.array([row for row, _ in doubles], np.int64),
        [original for _, original in doubles],
        Reason.NEAR_DUPLICATE,
        "dedup.hashes",
        "equals",
        "no better copy",
    )


def _alike(clips: pa.Table, rows: np.ndarray, max_similarity: float) -> _Failures:
    """Clips among ``rows`` whose embedding is that of a better one."""
    has_vector = clips[VECTOR_COLUMN].is_valid().to_numpy()[rows]
    rows = rows[has_vector]
    names = [name for name in SELECTION_COLUMNS if name in clips.schema.names]
    table = clips.select([*names, VECTOR_COLUMN]).take(pa.array(rows))
    described = [_fingerprint(row) for row in table.select(names).to_pylist()]
    order = sorted(
        range(len(rows)),
        key=lambda n: ([-value for value in described[n].quality], described[n].clip_id),
    )
    vectors = table[VECTOR_COLUMN].combine_chunks().flatten().to_numpy()
    ranked = vectors.reshape(len(rows), -1)[order] if len(rows) else np.zeros((0, 1), np.float32)
    original = semantic_duplicates(ranked, max_similarity)
    doubles = np.flatnonzero(original >= 0)
    pairs = sorted((order[d], described[order[original[d]]].clip_id) for d in doubles)
    return _Failures(
        rows[[row for row, _ in pairs]],
        [clip_id for _, clip_id in pairs],
        Reason.NEAR_DUPLICATE,
        VECTOR_COLUMN,
        "equals",
        "no better clip alike",
    )


def _flagged(clips: pa.Table, ids: Collection[str]) -> _Failures:
    is_flagged = pc.is_in(clips["clip_id"], pa.array(sorted(ids), pa.string()))
    rows = np.flatnonzero(is_flagged.to_numpy())
    return _Failures(rows, ["bad"] * len(rows), Reason.FLAGGED_BAD, "flags", "equals", "not bad")


def _fingerprint(row: dict[str, Any]) -> Fingerprint:
    """Of two copies the better has the clearly larger face, then lasts longer, then is sharper."""
    size = math.log2(max(row.get("faces.height_px") or 1.0, 1.0))
    return Fingerprint(
        clip_id=row["clip_id"],
        hashes=tuple(row.get("dedup.hashes") or ()),
        activity=tuple(row.get("dedup.activity") or ()),
        quality=(round(4 * size), row["duration_s"], row.get("faces.sharpness") or 0.0),
    )


def _failed_gates(failures: Sequence[_Failures], num_rows: int) -> pa.Array:
    """Column of failed gates: for each clip its failures, in the order of the gates."""
    rows = np.concatenate([np.zeros(0, np.int64), *(found.rows for found in failures)])
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=num_rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    group = np.repeat(np.arange(len(failures)), [len(found.rows) for found in failures])[order]
    texts = [text for found in failures for text in found.measured]
    parts = []
    for part in FAILED_GATE_TYPE:
        if part.name == "measured":
            parts.append(pa.array(texts, pa.string()).take(pa.array(order)))
        else:
            names = [str(getattr(found, part.name)) for found in failures]
            parts.append(pa.array(names, pa.string()).take(pa.array(group)))
    gates = pa.StructArray.from_arrays(parts, fields=list(FAILED_GATE_TYPE))
    return pa.ListArray.from_arrays(pa.array(offsets), gates)


def _kept(clips: pa.Table) -> pa.Table:
    columns = clips.select(["clip_id", "state", "duration_s"])
    return columns.filter(pc.equal(columns["state"], str(ClipState.KEPT)))
