"""Records: inputs, clips, failed gates, and the versioned Arrow schemas of their tables.

Columns of measurements are not listed here; they come from the stages of a run
(:func:`clip_schema` takes their fields), so that a new stage needs no change in this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from manifests.errors import SchemaError
from manifests.ids import clip_id
from manifests.measurement import Field
from manifests.reasons import Reason
from manifests.span import Span

SCHEMA_VERSION = 1
"""Version of the tables; raised when a column that older programs wrote would be misread."""


class SourceState(StrEnum):
    """How an input ended; every input ends in exactly one of them."""

    DONE = "done"
    REJECTED = "rejected"
    DEAD = "dead"


class ClipState(StrEnum):
    """How a clip was judged; ``pending`` waits for a stage that an earlier gate had spared it."""

    KEPT = "kept"
    REJECTED = "rejected"
    PENDING = "pending"


@dataclass(frozen=True)
class Clip:
    """A span of a source that shows one shot with one tracked speaker.

    Attributes:
        source_id: id of the source's content.
        span: exact time on the source's video clock.
        track: number of the face track within the source.
    """

    source_id: str
    span: Span
    track: int

    @property
    def clip_id(self) -> str:
        """Id derived from source, span and track."""
        return clip_id(self.source_id, self.span, self.track)


@dataclass(frozen=True)
class FailedGate:
    """One gate that a clip or a source did not pass.

    Attributes:
        reason: the fact.
        field: the measurement that was judged.
        bound: ``min``, ``max``, ``equals`` or ``one_of``.
        measured: the value as text; ``None`` if it is missing.
        limit: the bound's value as text.
    """

    reason: Reason
    field: str
    bound: str
    measured: str | None
    limit: str


FAILED_GATE_TYPE = pa.struct(
    [
        ("reason", pa.string()),
        ("field", pa.string()),
        ("bound", pa.string()),
        ("measured", pa.string()),
        ("limit", pa.string()),
    ]
)

MEMBER_TYPE = pa.struct(
    [("ext", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("sha256", pa.string())]
)
"""One member of a packed sample: extension, byte offset of its data in the tar, size, and the
SHA-256 of its data, by which a member that was exchanged is told in a tar that is whole."""

SOURCE_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("source_id", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("measured", pa.float64()),
        ("limit", pa.float64()),
        ("num_bytes", pa.int64()),
        ("duration_s", pa.float64()),
        ("num_frames_decoded", pa.int64()),
        ("num_clips_found", pa.int64()),
        ("num_clips_kept", pa.int64()),
    ],
    metadata={"talkreel.schema_version": str(SCHEMA_VERSION), "talkreel.table": "sources"},
)

_CLIP_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("clip_id", pa.string()),
    ("source_id", pa.string()),
    ("uri", pa.string()),
    ("track", pa.int32()),
    ("start_pts", pa.int64()),
    ("end_pts", pa.int64()),
    ("time_base_num", pa.int64()),
    ("time_base_den", pa.int64()),
    ("start_s", pa.float64()),
    ("duration_s", pa.float64()),
    ("state", pa.string()),
    ("failed_gates", pa.list_(FAILED_GATE_TYPE)),
    ("measured_stages", pa.list_(pa.string())),
]

EVIDENCE_COLUMNS: dict[str, pa.DataType] = {
    "audio_flac": pa.large_binary(),
    "audio_start_s": pa.float64(),
    "face_track_npz": pa.large_binary(),
}
"""What packing and learning need of a clip; kept in ``commits/`` only."""

PACKED_COLUMNS: dict[str, pa.DataType] = {
    "shard": pa.string(),
    "members": pa.list_(MEMBER_TYPE),
    "num_frames": pa.int64(),
    "caption": pa.string(),
    "transcript": pa.string(),
}
"""Where a packed sample lies, and its words; in ``dataset/clips.parquet`` only."""


def clip_schema(fields: Iterable[Field], extra: dict[str, pa.DataType] | None = None) -> pa.Schema:
    """Schema of a table of clips.

    Args:
        fields: measurement columns, from the stages of the run.
        extra: further columns, :data:`EVIDENCE_COLUMNS` or :data:`PACKED_COLUMNS`.

    Returns:
        The schema, with units and meanings as field metadata and the version as its own.
    """
    columns = [pa.field(name, kind) for name, kind in _CLIP_COLUMNS]
    for item in fields:
        columns.append(item.column())
    columns += [pa.field(name, kind) for name, kind in (extra or {}).items()]
    return pa.schema(
        columns,
        metadata={"talkreel.schema_version": str(SCHEMA_VERSION), "talkreel.table": "clips"},
    )


def check_version(schema: pa.Schema, place: str) -> None:
    """Refuse a table that another version wrote.

    Args:
        schema: schema as read.
        place: file name, for the message.

    Raises:
        SchemaError: the version is missing or another one.
    """
    found = (schema.metadata or {}).get(b"talkreel.schema_version")
    if found is None or int(found) != SCHEMA_VERSION:
        raise SchemaError(
            f"{place}: schema version {found.decode() if found else 'missing'}, this program reads "
            f"{SCHEMA_VERSION}; read it with the version that wrote it, or run again"
        )
