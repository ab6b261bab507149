"""What the page of a run says besides its clips: funnel, reasons, work, lineage, versions.

One record of plain values; the browser draws it. Not here: single clips (`clip_index`), and how
the record reaches the browser (`report`, `serve`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from manifests.errors import DatasetError
from manifests.inspection.clip_index import ClipIndex
from manifests.inspection.place import Place
from manifests.records import ClipState, SourceState

DEAD_LETTER = "dead_letter.jsonl"
MAX_INPUTS = 500
"""Inputs without a clip that the page lists; the table `sources.parquet` has all."""
MAX_DEAD = 200
MAX_SHARDS = 200


def overview(place: Place, index: ClipIndex) -> dict[str, Any]:
    """Gather what the page says of a run or dataset as a whole.

    Args:
        place: The run or dataset.
        index: Its clips.

    Returns:
        A record that `json.dumps` takes.
    """
    run = place.run_record
    return {
        "name": _name(place),
        "given": place.given,
        "is_run": place.run is not None,
        "clips": _clip_counts(index),
        "reasons": index.reasons(),
        "funnel": run.get("funnel"),
        "inputs": _inputs(place),
        "stage_cpu_s": run.get("stage_cpu_s", {}),
        "work": run.get("work", {}),
        "versions": run.get("versions", {}),
        "began_at": run.get("began_at"),
        "ended_at": run.get("ended_at"),
        "recipe": run.get("recipe"),
        "recipe_digest": run.get("recipe_digest"),
        "gates": [
            {"field": gate.field.name, "bound": gate.bound, "limit": gate.limit}
            for gate in place.gates
        ],
        "dataset": _dataset(place),
        "dead": _dead_letters(place),
    }


def _name(place: Place) -> str:
    folder = place.run or place.dataset
    assert folder is not None
    return folder.url.rstrip("/").rpartition("/")[2] or folder.url


def _clip_counts(index: ClipIndex) -> dict[str, Any]:
    seconds = index.numbers("duration_s")
    counts = {
        str(state): {
            "num": int((index.states == state).sum()),
            "seconds": float(seconds[index.states == state].sum()),
        }
        for state in ClipState
    }
    return {"num": len(index), "num_packed": int(index.is_packed.sum()), "states": counts}


def _inputs(place: Place) -> dict[str, Any] | None:
    """Count the inputs by state, and list those that gave no clip."""
    if place.run is None:
        return None
    try:
        rows = place.sources().to_pylist()
    except DatasetError:
        return None
    without = [row for row in rows if row["state"] != SourceState.DONE or not row["num_clips_kept"]]
    names = ("uri", "state", "reason", "detail", "duration_s", "num_clips_found", "num_clips_kept")
    return {
        "num": len(rows),
        "states": {str(s): sum(row["state"] == s for row in rows) for s in SourceState},
        "num_bytes": sum(row["num_bytes"] or 0 for row in rows),
        "num_without": len(without),
        "without": [{name: row[name] for name in names} for row in without[:MAX_INPUTS]],
    }


def _dataset(place: Place) -> dict[str, Any] | None:
    manifest = place.manifest
    if manifest is None:
        return None
    return {
        "recipe_name": manifest.recipe_name,
        "recipe_digest": manifest.recipe_digest,
        "totals": asdict(manifest.totals),
        "shards": [asdict(shard) for shard in manifest.shards[:MAX_SHARDS]],
    }


def _dead_letters(place: Place) -> dict[str, Any]:
    """What could not be processed; none for a dataset alone."""
    if place.run is None or not place.run.exists(DEAD_LETTER):
        return {"num": 0, "letters": []}
    lines = place.run.read_bytes(DEAD_LETTER).decode().splitlines()
    names = ("uri", "stage", "cause", "message", "traceback", "attempts")
    return {"num": len(lines), "letters": [_only(json.loads(x), names) for x in lines[:MAX_DEAD]]}


def _only(record: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: record.get(name) for name in names}
