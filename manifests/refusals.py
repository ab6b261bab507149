"""Refusals: for each reason, how many clips and seconds it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.records import ClipState

PENDING = "PENDING"
"""Stands in for the reason of clips that wait for a stage."""

_NONE_GIVEN = "NO_REASON_GIVEN"


@dataclass(frozen=True)
class Refusal:
    """What one reason costs.

    Attributes:
        reason: the reason, or ``PENDING``.
        num_first: clips whose first failed gate gives it.
        first_s: their seconds; these add up over all reasons to the seconds not kept.
        num_any: clips of which any failed gate gives it.
        any_s: their seconds.
    """

    reason: str
    num_first: int
    first_s: float
    num_any: int
    any_s: float


def refusals(clips: pa.Table) -> list[Refusal]:
    """Add up what is not kept, by reason.

    Args:
        clips: judged clips: ``state``, ``duration_s``, and of ``failed_gates`` the reasons.

    Returns:
        One entry a reason, the largest by ``first_s`` first; equal ones in the order of the rows.
    """
    states = clips["state"].combine_chunks()
    lists = clips["failed_gates"].combine_chunks()
    lasting_s = clips["duration_s"].to_numpy()
    is_rejected = _is(states, ClipState.REJECTED)
    is_pending = _is(states, ClipState.PENDING)
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    encoded = pc.struct_field(pc.list_flatten(lists), "reason").dictionary_encode()
    names = [*encoded.dictionary.to_pylist(), PENDING, _NONE_GIVEN]
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(counts)), counts)

    first = np.full(len(counts), len(names) - 1)
    has_gates = counts > 0
    first[has_gates] = codes[(np.cumsum(counts) - counts)[has_gates]]
    first[is_pending] = len(names) - 2
    refused = np.flatnonzero(is_rejected | is_pending)
    by_first = _added(first[refused], lasting_s[refused], len(names))

    of_rejected = is_rejected[rows]
    pairs = np.sort(rows[of_rejected] * len(names) + codes[of_rejected])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    spare = refused[(first[refused] >= len(names) - 2)]  # these have no gate to be listed by
    any_rows = np.concatenate([pairs // len(names), spare])
    any_codes = np.concatenate([pairs % len(names), first[spare]])
    by_any = _added(any_codes, lasting_s[any_rows], len(names))

    found = [
        Refusal(name, int(num_first), float(first_s), int(num_any), float(any_s))
        for name, num_first, first_s, num_any, any_s in zip(names, *by_first, *by_any, strict=True)
        if num_any
    ]
    seen, rows_seen = np.unique(first[refused], return_index=True)
    order = {names[code]: int(row) for code, row in zip(seen, rows_seen, strict=True)}
    last = len(counts)
    return sorted(found, key=lambda item: (-item.first_s, order.get(item.reason, last)))


def _is(states: pa.Array, state: ClipState) -> np.ndarray:
    return pc.fill_null(pc.equal(states, str(state)), False).to_numpy(zero_copy_only=False)


def _added(codes: np.ndarray, lasting_s: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Count and seconds by code, added in the order of the rows."""
    return np.bincount(codes, minlength=num), np.bincount(codes, lasting_s, minlength=num)
