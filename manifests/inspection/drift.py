"""What differs between two runs, or two datasets: clips, measurements, verdicts, recipes, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.inspection.place import Place
from manifests.records import ClipState


@dataclass(frozen=True)
class Drift:
    """How one measurement moved over the clips that both sides have.

    Attributes:
        name: the measurement.
        num_changed: clips whose value is another one, missing counted as a value.
        num_appeared: clips that have a value only in B.
        num_vanished: clips that have a value only in A.
        median_change: median of B - A over the clips with both; ``None`` for texts, truths and
            lists, and where no clip has both.
        p95_abs_change: 95th percentile of the absolute change.
    """

    name: str
    num_changed: int
    num_appeared: int
    num_vanished: int
    median_change: float | None
    p95_abs_change: float | None


@dataclass(frozen=True)
class VerdictChange:
    """A clip that is judged otherwise.

    Attributes:
        clip_id: the clip.
        before, after: its states in A and B.
        reasons: why it is not kept, on the side where it is not.
    """

    clip_id: str
    before: str
    after: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """What differs between A and B.

    Attributes:
        num_common: clips in both.
        added: ids of clips in B only.
        removed: ids of clips in A only.
        changed: ids of common clips with another measurement, verdict or length.
        drift: measurements of which any value changed.
        verdicts: clips that are judged otherwise.
        recipe: values of the recipe that differ, by flattened key: A's and B's.
        versions: versions of programs that differ: A's and B's.
        members: packed clips of both whose bytes differ, by extension.
        only_a, only_b: measurements that one side does not have.
    """

    num_common: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    drift: tuple[Drift, ...]
    verdicts: tuple[VerdictChange, ...]
    recipe: dict[str, tuple[Any, Any]]
    versions: dict[str, tuple[Any, Any]]
    members: dict[str, int]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def is_none(self) -> bool:
        """Whether A and B are the same."""
        found = asdict(self)
        return not any(value for name, value in found.items() if name != "num_common")


def difference(a: Place, b: Place) -> Difference:
    """Compare two runs or datasets by the ids of their clips.

    Args:
        a: the first.
        b: the second.

    Returns:
        What differs.
    """
    ids_a, ids_b = (_ids(place) for place in (a, b))
    common, rows_a, rows_b = np.intersect1d(ids_a, ids_b, return_indices=True)
    fields_a, fields_b = a.fields, b.fields
    is_changed = np.zeros(len(common), np.bool_)
    drifts = []
    for name in ["duration_s", *(name for name in fields_a if name in fields_b)]:
        columns = [
            place.clips([name])[name].combine_chunks().take(pa.array(rows))
            for place, rows in ((a, rows_a), (b, rows_b))
        ]
        drift, differs = _drift(name, *columns)
        is_changed |= differs
        if drift.num_changed:
            drifts.append(drift)
    verdicts, differs = _verdicts(a, b, rows_a, rows_b)
    is_changed |= differs
    return Difference(
        num_common=len(common),
        added=tuple(np.setdiff1d(ids_b, ids_a).tolist()),
        removed=tuple(np.setdiff1d(ids_a, ids_b).tolist()),
        changed=tuple(common[is_changed].tolist()),
        drift=tuple(drifts),
        verdicts=verdicts,
        recipe=_differing(_recipe(a), _recipe(b)),
        versions=_differing(_versions(a), _versions(b)),
        members=_members(a, b),
        only_a=tuple(name for name in fields_a if name not in fields_b),
        only_b=tuple(name for name in fields_b if name not in fields_a),
    )


def _ids(place: Place) -> np.ndarray:
    # Of fixed width: sorting them is many times faster than sorting objects.
    return np.array(place.clips(["clip_id"])["clip_id"].to_pylist(), dtype=np.str_)


def _drift(name: str, a: pa.Array, b: pa.Array) -> tuple[Drift, np.ndarray]:
    """Drift of one measurement, and which clips (C,) have another value."""
    has_a, has_b = (column.is_valid().to_numpy(zero_copy_only=False) for column in (a, b))
    both = has_a & has_b
    appeared, vanished = has_b & ~has_a, has_a & ~has_b
    differs = appeared | vanished
    median = p95 = None
    if not both.any():
        pass
    elif a.type != b.type:
        differs = differs | both
    elif pa.types.is_integer(a.type) or pa.types.is_floating(a.type):
        old, new = (
            column.filter(pa.array(both)).to_numpy(zero_copy_only=False) for column in (a, b)
        )
        same = (old == new) | (np.isnan(old) & np.isnan(new))
        change = np.subtract(new, old, dtype=np.float64)
        finite = change[np.isfinite(change)]
        differs[np.flatnonzero(both)[~same]] = True
        if len(finite):
            median, p95 = float(np.median(finite)), float(np.quantile(np.abs(finite), 0.95))
    else:
        chosen = np.flatnonzero(both)
        parts = [column.take(pa.array(chosen)) for column in (a, b)]
        unequal = _lists_differ if pa.types.is_nested(a.type) else _texts_differ
        differs[chosen[unequal(*parts)]] = True
    num_changed, num_appeared, num_vanished = (
        int(part.sum()) for part in (differs, appeared, vanished)
    )
    return Drift(name, num_changed, num_appeared, num_vanished, median, p95), differs


def _texts_differ(a: pa.Array, b: pa.Array) -> np.ndarray:
    return pc.not_equal(a, b).to_numpy(zero_copy_only=False)


def _lists_differ(a: pa.Array, b: pa.Array) -> np.ndarray:
    """Which lists (C,) are not the same, none of them missing."""
    lengths = [pc.list_value_length(column).to_numpy() for column in (a, b)]
    differs = lengths[0] != lengths[1]
    equal_long = np.flatnonzero(~differs)
    items = [pc.list_flatten(column.take(pa.array(equal_long))) for column in (a, b)]
    unequal = pc.fill_null(pc.not_equal(*items), True).to_numpy(zero_copy_only=False)
    owners = np.repeat(equal_long, lengths[0][equal_long])
    differs[owners[unequal]] = True
    return differs


def _verdicts(
    a: Place, b: Place, rows_a: np.ndarray, rows_b: np.ndarray
) -> tuple[tuple[VerdictChange, ...], np.ndarray]:
    """Verdicts that changed, and which of the common clips they belong to."""
    names = ["clip_id", "state", "failed_gates"]
    old, new = (
        place.clips(names).take(pa.array(rows)) for place, rows in ((a, rows_a), (b, rows_b))
    )
    differs = pc.not_equal(old["state"], new["state"]).combine_chunks()
    differs = differs.to_numpy(zero_copy_only=False)
    chosen = pa.array(np.flatnonzero(differs))
    pairs = zip(old.take(chosen).to_pylist(), new.take(chosen).to_pylist(), strict=True)
    changes = []
    for before, after in pairs:
        refused = before if after["state"] == ClipState.KEPT else after
        reasons = dict.fromkeys(gate["reason"] for gate in refused["failed_gates"] or ())
        states = before["state"], after["state"]
        changes.append(VerdictChange(before["clip_id"], *states, tuple(reasons)))
    return tuple(changes), differs


def _recipe(place: Place) -> dict[str, Any]:
    recipe = place.run_record.get("recipe")
    if recipe is not None:
        return _flat(recipe)
    manifest = place.manifest
    return {} if manifest is None else {"name": manifest.recipe_name}


def _versions(place: Place) -> dict[str, Any]:
    versions: dict[str, Any] = place.run_record.get("versions", {})
    return versions


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, part in value.items():
        if isinstance(part, Mapping):
            found |= _flat(part, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = part
    return found


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Values that differ; nothing where one side knows none at all."""
    if not (a and b):
        return {}
    keys = sorted({*a, *b})
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


def _members(a: Place, b: Place) -> dict[str, int]:
    """Packed clips of both whose member has another digest, by extension."""
    if a.dataset is None or b.dataset is None:
        return {}
    sides = []
    for place in (a, b):
        rows = place.packed(["clip_id", "members"]).to_pylist()
        sides.append(
            {
                (row["clip_id"], member["ext"]): member.get("sha256")
                for row in rows
                for member in row["members"]
            }
        )
    counts = Counter(
        key[1] for key in sides[0].keys() & sides[1].keys() if sides[0][key] != sides[1][key]
    )
    return dict(sorted(counts.items()))
