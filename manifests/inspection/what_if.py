"""What other gates would keep, computed from stored measurements; nothing is written.

The verdicts are those of ``selection.select``, the same that ``curate select`` would store. The
page asks here too, so that a dragged limit and the command give one count.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from manifests.errors import SchemaError
from manifests.gates import BOUNDS, Bounds, Gate, bound_of, gates_of, text_of
from manifests.inspection.place import Place
from manifests.measurement import Field
from manifests.records import ClipState
from manifests.refusals import Refusal, refusals
from manifests.selection import SELECTION_COLUMNS, VECTOR_COLUMN, Rules, change, select

NUM_CLOSEST = 3
"""Clips shown on either side of a changed limit."""


@dataclass(frozen=True)
class CloseCase:
    """A clip near a limit.

    Attributes:
        clip_id: the clip.
        value: its measurement.
        distance: how far it is from the limit, in the unit of the measurement.
        state: its verdict under the new gates.
    """

    clip_id: str
    value: float
    distance: float
    state: str


@dataclass(frozen=True)
class ChangedLimit:
    """One bound that was set, moved or removed.

    Attributes:
        field: the measurement.
        bound: ``min``, ``max``, ``equals`` or ``one_of``.
        before: limit until now, as text; ``None`` if there was none.
        after: limit asked for; ``None`` if it is removed.
        passing: clips closest to the limit (to the earlier one if it is removed) that pass it.
        failing: clips closest to it that do not.
    """

    field: str
    bound: str
    before: str | None
    after: str | None
    passing: tuple[CloseCase, ...]
    failing: tuple[CloseCase, ...]


@dataclass(frozen=True)
class WhatIf:
    """What would be kept.

    Attributes:
        num_clips: all clips.
        num_kept, kept_s: clips that would be kept, and their seconds.
        num_pending: clips that would wait for a stage they were spared.
        num_won, won_s: clips that would be kept and are not now.
        num_lost, lost_s: clips that are kept now and would not be.
        reasons: what is not kept, by reason, the largest first.
        limits: the bounds that differ, with the closest cases.
    """

    num_clips: int
    num_kept: int
    kept_s: float
    num_pending: int
    num_won: int
    won_s: float
    num_lost: int
    lost_s: float
    reasons: tuple[Refusal, ...]
    limits: tuple[ChangedLimit, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def what_if(
    place: Place,
    sets: Sequence[str] = (),
    unsets: Sequence[str] = (),
    *,
    num_closest: int = NUM_CLOSEST,
) -> WhatIf:
    """Judge the clips of a run, or of a dataset, with changed gates.

    Args:
        place: the run; of a dataset alone only its packed clips are known.
        sets: ``key=value`` strings, as ``sync.min_confidence=0.7``.
        unsets: keys of gates to remove, as ``sync.min_confidence``.
        num_closest: clips to name on either side of a changed limit.

    Returns:
        What would be kept, won and lost.
    """
    gates = changed_gates(place, sets, unsets)
    clips = place.clips(columns_of(place, [*place.gates, *gates]))
    return compare(clips, place.rules, gates, num_closest=num_closest)


def columns_of(place: Place, gates: Sequence[Gate]) -> list[str]:
    """Name the columns that judging with some gates reads.

    Args:
        place: the run.
        gates: the gates.

    Returns:
        Names of columns that the table has, in its order.
    """
    wanted = {*SELECTION_COLUMNS, *(gate.field.name for gate in gates)}
    if place.rules.max_similarity is not None:
        wanted.add(VECTOR_COLUMN)
    return [name for name in place.schema.names if name in wanted]


def compare(
    clips: pa.Table,
    before: Rules,
    gates: Sequence[Gate],
    *,
    num_closest: int = NUM_CLOSEST,
) -> WhatIf:
    """Compare the stored verdicts with those of other gates; a pure function.

    Args:
        clips: table of clips with their stored verdicts, at least ``columns_of`` the gates.
        before: rules that the stored verdicts come from.
        gates: gates to judge with instead.
        num_closest: clips to name on either side of a changed limit.

    Returns:
        What would be kept, won and lost.
    """
    after = select(clips, replace(before, gates=tuple(gates)))
    changed = change(clips, after)
    states = after["state"].to_numpy()
    is_kept = states == str(ClipState.KEPT)
    return WhatIf(
        num_clips=after.num_rows,
        num_kept=int(is_kept.sum()),
        kept_s=math.fsum(after["duration_s"].to_numpy()[is_kept]),
        num_pending=int((states == str(ClipState.PENDING)).sum()),
        num_won=changed.num_won,
        won_s=changed.won_s,
        num_lost=changed.num_lost,
        lost_s=changed.lost_s,
        reasons=tuple(refusals(after)),
        limits=tuple(_changed_limits(after, before.gates, gates, num_closest)),
    )


def changed_gates(place: Place, sets: Sequence[str], unsets: Sequence[str]) -> tuple[Gate, ...]:
    """Change the gates of a run.

    Args:
        place: the run.
        sets: ``key=value`` strings; a value is read as TOML, else as text.
        unsets: keys of gates to remove.

    Returns:
        All gates, in the order of the measured columns.

    Raises:
        SchemaError: a key is no gate on a stored measurement, or a value does not fit.
    """
    fields = place.fields
    recipe = place.run_record.get("recipe", {})
    bounds: dict[str, dict[str, Any]] = {
        name: dict(values) for name, values in recipe.get("gates", {}).items()
    }
    for text in sets:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise SchemaError(f"--set {text!r}: write it as sync.min_confidence=0.7")
        name, bound = _gate_named(key, "--set", fields, recipe)
        bounds.setdefault(name, {})[bound] = _parsed(value)
    for key in unsets:
        name, bound = _gate_named(key.strip(), "--unset", fields, recipe)
        if bounds.get(name, {}).pop(bound, None) is None:
            raise SchemaError(f"--unset {key}: the recipe has no such gate{_gates_told(bounds)}")
    return gates_of({name: _checked(name, values) for name, values in bounds.items()}, fields)


def _gate_named(
    key: str, option: str, fields: Mapping[str, Field], recipe: Mapping[str, Any]
) -> tuple[str, str]:
    found = bound_of(key, fields)
    if found is not None:
        return found
    table, _, setting = key.partition(".")
    if table != "gates" and setting in (recipe.get(table) or {}):
        raise SchemaError(
            f"{option} {key}: changes what is measured or packed, not what is decided; "
            "use `curate run --change-recipe --set`"
        )
    known = [
        f"{stage}.{bound}_{name}"
        for stage, name in (field.split(".", 1) for field in fields)
        for bound in BOUNDS
    ]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SchemaError(f"{option} {key}: no gate on a stored measurement{hint}")


def _gates_told(bounds: Mapping[str, Mapping[str, Any]]) -> str:
    keys = [
        f"{stage}.{bound}_{field}"
        for name, values in bounds.items()
        for stage, field in [name.split(".", 1)]
        for bound in values
        if bound in BOUNDS
    ]
    return f"; it has {', '.join(keys)}" if keys else ", nor any other"


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _checked(name: str, values: Mapping[str, Any]) -> Bounds:
    try:
        return Bounds(**values)
    except ValidationError as error:
        first = error.errors()[0]
        bound = ".".join(str(part) for part in first["loc"])
        raise SchemaError(f"{name}: {bound} = {first['input']!r}: {first['msg']}") from error


def _changed_limits(
    clips: pa.Table, before: Sequence[Gate], after: Sequence[Gate], num_closest: int
) -> list[ChangedLimit]:
    old = {(gate.field.name, gate.bound): gate for gate in before}
    new = {(gate.field.name, gate.bound): gate for gate in after}
    limits = []
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key), new.get(key)
        if was is not None and now is not None and was.limit == now.limit:
            continue
        gate = now or was
        assert gate is not None
        passing, failing = _closest(clips, gate, num_closest)
        limits.append(
            ChangedLimit(
                field=gate.field.name,
                bound=gate.bound,
                before=None if was is None else text_of(was.limit),
                after=None if now is None else text_of(now.limit),
                passing=passing,
                failing=failing,
            )
        )
    return limits


def _closest(
    clips: pa.Table, gate: Gate, num: int
) -> tuple[tuple[CloseCase, ...], tuple[CloseCase, ...]]:
    """Clips nearest to a limit, passing and failing it; none if the limit is no number."""
    if gate.bound not in ("min", "max") or gate.field.name not in clips.schema.names:
        return (), ()
    column = clips[gate.field.name].combine_chunks().cast(pa.float64())
    values = column.to_numpy(zero_copy_only=False)
    above = values - float(gate.limit)
    passes = above >= 0 if gate.bound == "min" else above <= 0
    is_measured = np.isfinite(above)
    sides = []
    for chosen in (is_measured & passes, is_measured & ~passes):
        rows = np.flatnonzero(chosen)
        near = rows[np.argsort(np.abs(above[rows]), kind="stable")[:num]]
        found = clips.select(["clip_id", "state"]).take(pa.array(near)).to_pylist()
        sides.append(
            tuple(
                CloseCase(
                    clip["clip_id"], float(values[row]), abs(float(above[row])), clip["state"]
                )
                for row, clip in zip(near, found, strict=True)
            )
        )
    return sides[0], sides[1]
