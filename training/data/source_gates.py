"""The gates of a phase's sources, applied to what curation measured.

They are the gates of curation's recipes, read and judged by the manifests' own code.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import pyarrow as pa
from pydantic import ValidationError

from manifests.errors import SchemaError
from manifests.gates import Bounds, Gate, gates_of
from manifests.measurement import Field
from training.objective.curriculum import Source


def source_gates(source: Source, fields: Mapping[str, Field], place: str) -> tuple[Gate, ...]:
    """Read the gates of a source.

    Args:
        source: the source.
        fields: measurements of the dataset by name.
        place: the dataset's table, for messages.

    Returns:
        One gate for each bound.

    Raises:
        SchemaError: a gate is on what was not measured, or has no such bound.
    """
    bounds = {}
    for name, values in source.where.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.4)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise SchemaError(f"{place}: a source's gate is on {name}, not measured here{hint}")
        try:
            bounds[name] = Bounds(**values)
        except ValidationError as error:
            raise SchemaError(f"gate on {name}: {error}") from error
    return gates_of(bounds, fields)


def failed_rows(table: pa.Table, gates: tuple[Gate, ...]) -> dict[int, str]:
    """Find the clips that a source's gates refuse.

    Args:
        table: rows of clips with the columns that the gates judge.
        gates: the gates.

    Returns:
        Row to the reason of the first gate that refused it; a missing value is refused.
    """
    failed: dict[int, str] = {}
    for gate in gates:
        for row, value in enumerate(table[gate.field.name].to_pylist()):
            if row not in failed and (failure := gate.failure(value)) is not None:
                failed[row] = str(failure.reason)
    return failed
