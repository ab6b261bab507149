"""Results: what an evaluation found, and the files it is kept in.

`evaluation.json` holds the figures over all clips with their intervals, everything that is missing
and why, and what it was made with; `clips.parquet` a row a generated clip. Both name the clips, so
that a figure can be repeated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.storage import Folder
from training.evaluation.intervals import estimate
from training.evaluation.metrics import BY_NAME, METRICS, ON_BOTH, Missing
from training.evaluation.sync import SyncCurve

SCHEMA_VERSION = 1
RESULTS_NAME, CLIPS_NAME = "evaluation.json", "clips.parquet"
REFERENCE_PREFIX = "reference."


@dataclass
class ClipResult:
    """One generated clip.

    Attributes:
        stem: name of the pair.
        generated: its file.
        reference: file of the reference, if there is one.
        source: file of the source, if there is one.
        clip_id: id of the measured clip; ``None`` if it could not be measured.
        unmeasured: why not; ``None`` if it was.
        reference_clip_id: id of the reference's clip.
        offset_by: who gave the AV offset.
        duration_s: length of the generated video; ``None`` if it cannot be decoded.
        frame_rate_fps: its frames a second.
        notes: whatever a reader has to know: differing lengths, rates, sizes, several faces.
        values: metrics by name; those of the reference begin with ``reference.``.
        curves: sync curves by panel (`generated`, `reference`).
    """

    stem: str
    generated: Path
    reference: Path | None = None
    source: Path | None = None
    clip_id: str | None = None
    unmeasured: str | None = None
    reference_clip_id: str | None = None
    offset_by: str | None = None
    duration_s: float | None = None
    frame_rate_fps: float | None = None
    notes: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    curves: dict[str, SyncCurve] = field(default_factory=dict)

    def put(self, name: str, value: float | None, *, of_reference: bool = False) -> None:
        """Keep a figure; a missing one or one that is no number is left out."""
        assert name in BY_NAME, name
        if value is not None and math.isfinite(value):
            self.values[f"{REFERENCE_PREFIX if of_reference else ''}{name}"] = float(value)


@dataclass(frozen=True)
class SetFigure:
    """A figure of all clips together; biased by its sample size, which stands beside it.

    Attributes:
        mean: the figure.
        low: lower end of its interval over clips; ``None`` for too few.
        high: upper end.
        num_generated: pictures or pieces of the generated clips.
        num_reference: those of the references.
    """

    mean: float
    low: float | None
    high: float | None
    num_generated: int
    num_reference: int


@dataclass
class Results:
    """An evaluation.

    Attributes:
        clips: one entry a generated clip.
        of_set: figures of all clips together, with the pictures or pieces of either set.
        missing: metrics that could not be computed at all.
        reference_only: reference files without a generated clip.
        source_only: source files without one.
        made_with: recipe, versions, digests of weights, settings.
    """

    clips: list[ClipResult]
    of_set: dict[str, SetFigure] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    reference_only: tuple[str, ...] = ()
    source_only: tuple[str, ...] = ()
    made_with: dict[str, Any] = field(default_factory=dict)


def figures(results: Results, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Average every metric over the clips.

    Args:
        results: the evaluation.
        seed: seed of the bootstrap.

    Returns:
        For each metric that any clip has: `generated`, and where it was measured on both,
        `reference` and the mean of the paired `difference` (generated less reference); for a
        figure of all clips together `of_set`.
    """
    found: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        if metric.is_of_set:
            if metric.name in results.of_set:
                found[metric.name] = {"of_set": asdict(results.of_set[metric.name])}
            continue
        columns = {
            "generated": [clip.values.get(metric.name) for clip in results.clips],
            "reference": [clip.values.get(_theirs(metric.name)) for clip in results.clips],
        }
        if metric.name in ON_BOTH:
            columns["difference"] = [_difference(clip, metric.name) for clip in results.clips]
        row = {
            name: asdict(one)
            for name, values in columns.items()
            if (one := estimate(values, seed)) is not None
        }
        if "generated" in row:
            found[metric.name] = row
    return found


def as_json(results: Results, seed: int = 0) -> dict[str, Any]:
    """Describe an evaluation in plain values.

    Args:
        results: the evaluation.
        seed: seed of the bootstrap.

    Returns:
        A record that `json.dumps` takes.
    """
    shown = figures(results, seed)
    return {
        "schema_version": SCHEMA_VERSION,
        "num_generated": len(results.clips),
        "num_measured": sum(clip.clip_id is not None for clip in results.clips),
        "num_paired": sum(clip.reference is not None for clip in results.clips),
        "metrics": {
            name: {
                "title": BY_NAME[name].title,
                "unit": BY_NAME[name].unit,
                "better": BY_NAME[name].better,
                "meaning": BY_NAME[name].meaning,
                **row,
            }
            for name, row in shown.items()
        },
        "missing": [asdict(one) for one in results.missing],
        "unmeasured": {clip.stem: clip.unmeasured for clip in results.clips if clip.unmeasured},
        "without_reference": [clip.stem for clip in results.clips if clip.reference is None],
        "reference_only": list(results.reference_only),
        "source_only": list(results.source_only),
        "notes": {clip.stem: clip.notes for clip in results.clips if clip.notes},
        "clip_ids": {clip.stem: clip.clip_id for clip in results.clips},
        "reference_clip_ids": {clip.stem: clip.reference_clip_id for clip in results.clips},
        "made_with": results.made_with,
    }


def clip_table(clips: Sequence[ClipResult]) -> pa.Table:
    """A row a generated clip, a column a metric.

    Args:
        clips: the clips.

    Returns:
        The table; metrics carry unit, title and meaning as metadata of their column.
    """
    texts = ("stem", "clip_id", "unmeasured", "reference_clip_id", "offset_by")
    names = [metric.name for metric in METRICS if not metric.is_of_set]
    names += [_theirs(name) for name in ON_BOTH]
    schema = pa.schema(
        [
            *(pa.field(name, pa.string()) for name in texts),
            *(pa.field(name, pa.string()) for name in ("generated", "reference", "source")),
            *(pa.field(name, pa.float64()) for name in ("duration_s", "frame_rate_fps")),
            pa.field("notes", pa.list_(pa.string())),
            *(_column(name) for name in names),
        ],
        metadata={"talkreel.evaluation_version": str(SCHEMA_VERSION)},
    )
    rows = [
        {
            **{name: getattr(clip, name) for name in texts},
            **{
                name: None if (path := getattr(clip, name)) is None else str(path)
                for name in ("generated", "reference", "source")
            },
            "duration_s": clip.duration_s,
            "frame_rate_fps": clip.frame_rate_fps,
            "notes": clip.notes,
            **{name: clip.values.get(name) for name in names},
        }
        for clip in clips
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def write_results(results: Results, out: Path, seed: int = 0) -> None:
    """Write both files, each whole or not at all.

    Args:
        results: the evaluation.
        out: folder, made if need be.
        seed: seed of the bootstrap.
    """
    folder = Folder(str(out))
    buffer = pa.BufferOutputStream()
    pq.write_table(clip_table(results.clips), buffer)
    folder.write_bytes(CLIPS_NAME, buffer.getvalue().to_pybytes())
    text = json.dumps(as_json(results, seed), indent=2, ensure_ascii=False, allow_nan=False)
    folder.write_bytes(RESULTS_NAME, f"{text}\n".encode())


def _theirs(name: str) -> str:
    return f"{REFERENCE_PREFIX}{name}"


def _difference(clip: ClipResult, name: str) -> float | None:
    mine, theirs = clip.values.get(name), clip.values.get(_theirs(name))
    return None if mine is None or theirs is None else mine - theirs


def _column(name: str) -> pa.Field:
    metric = BY_NAME[name.removeprefix(REFERENCE_PREFIX)]
    texts = {"title": metric.title, "unit": metric.unit, "meaning": metric.meaning}
    return pa.field(name, pa.float64(), metadata=texts)
