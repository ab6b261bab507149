"""Measurements: flat, typed records of what one stage found out, and the columns they become.

A stage declares its measurement as a frozen dataclass whose fields are made with
:func:`measured`. The dataclass is the single source of a column's name, Arrow type, unit,
meaning and of the reason a gate gives when it refuses a value. Missing is ``None``, in
Python and in the table; there are no magic numbers.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from manifests.errors import SchemaError
from manifests.reasons import Reason

_ARROW_TYPES: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    tuple[float, ...]: pa.list_(pa.float32()),
    tuple[str, ...]: pa.list_(pa.string()),
}


_COLUMN_METADATA = ("unit", "meaning", "low", "high", "other")


@dataclass(frozen=True)
class Field:
    """One column of measurements.

    Attributes:
        name: ``stage.field``, for example ``sync.offset_ms``.
        python_type: type of a value that is present.
        unit: unit of the value, empty for counts, ratios and text.
        meaning: what the value says, for people.
        low: reason given when a value falls below a gate's minimum.
        high: reason given when a value exceeds a gate's maximum.
        other: reason given when a value is not the one that a gate demands, or is missing.
    """

    name: str
    python_type: Any
    unit: str = ""
    meaning: str = ""
    low: Reason | None = None
    high: Reason | None = None
    other: Reason | None = None

    @property
    def arrow_type(self) -> pa.DataType:
        """Arrow type of the column."""
        return _ARROW_TYPES[self.python_type]

    def column(self) -> pa.Field:
        """Arrow column; unit, meaning and reasons are its metadata."""
        texts = {name: str(getattr(self, name) or "") for name in _COLUMN_METADATA}
        return pa.field(self.name, self.arrow_type, metadata=texts)


def measured(
    meaning: str,
    *,
    unit: str = "",
    low: Reason | None = None,
    high: Reason | None = None,
    other: Reason | None = None,
) -> Any:
    """Declare one field of a measurement record; its default is ``None``, for missing.

    Args:
        meaning: what the value says, for people.
        unit: unit of the value.
        low: reason for a value below a gate's minimum.
        high: reason for a value above a gate's maximum.
        other: reason for a value that is missing or not the demanded one.

    Returns:
        A dataclass field.
    """
    return dataclasses.field(
        default=None,
        metadata={"meaning": meaning, "unit": unit, "low": low, "high": high, "other": other},
    )


def fields_of(record_type: type, stage_name: str) -> tuple[Field, ...]:
    """Columns that a measurement record becomes.

    Args:
        record_type: frozen dataclass made of :func:`measured` fields.
        stage_name: name of the stage, the prefix of every column.

    Returns:
        One field a column, in the order of declaration.

    Raises:
        SchemaError: a field has a type that no column can hold.
    """
    hints = typing.get_type_hints(record_type)
    columns = []
    for field in dataclasses.fields(record_type):
        python_type = _without_none(hints[field.name])
        if python_type not in _ARROW_TYPES:
            raise SchemaError(
                f"{record_type.__name__}.{field.name}: type {python_type} cannot be a column; "
                f"use one of {', '.join(str(known) for known in _ARROW_TYPES)}"
            )
        columns.append(
            Field(name=f"{stage_name}.{field.name}", python_type=python_type, **field.metadata)
        )
    return tuple(columns)


def stored_fields(schema: pa.Schema) -> dict[str, Field]:
    """Read the measurements of a stored table back from its schema.

    Args:
        schema: schema of a table of clips.

    Returns:
        Fields by name, in the order of the columns.
    """
    fields = {}
    for column in schema:
        if not column.metadata or b"meaning" not in column.metadata:
            continue
        texts = {key.decode(): text.decode() for key, text in column.metadata.items()}
        # Parquet renames the items of lists, so that types are compared and not looked up.
        python_type = next(
            python for python, arrow in _ARROW_TYPES.items() if arrow.equals(column.type)
        )
        reasons = {
            key: Reason(texts[key]) if texts[key] else None for key in ("low", "high", "other")
        }
        fields[column.name] = Field(
            column.name, python_type, texts["unit"], texts["meaning"], **reasons
        )
    return fields


def values_of(record: Any, stage_name: str) -> dict[str, Any]:
    """Values of a measurement record by column name.

    Args:
        record: instance of a measurement record.
        stage_name: name of the stage.

    Returns:
        Column name to value; tuples become lists.
    """
    return {
        f"{stage_name}.{field.name}": _plain(getattr(record, field.name))
        for field in dataclasses.fields(record)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.item() if hasattr(value, "item") else value


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        present = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(present) == 1:
            return present[0]
    return hint
