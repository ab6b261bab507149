"""Explaining one decision: what was measured, which limits stood, what failed."""

from __future__ import annotations

from typing import Any

from curation.books import read_table
from curation.errors import RunError
from curation.recipe import Recipe
from manifests.gates import BOUNDS
from manifests.storage import Folder


def find_rows(run: Folder, what: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of a run that belong to a clip or a source.

    Args:
        run: run directory.
        what: clip id, source id, URI or the end of a URI.

    Returns:
        Rows under ``sources`` and ``clips``.

    Raises:
        RunError: nothing in the run matches.
    """
    sources = read_table(run, "sources.parquet").to_pylist()
    clips = read_table(run, "clips.parquet").to_pylist()
    chosen = [row for row in clips if row["clip_id"] == what]
    if chosen:
        ids = {row["source_id"] for row in chosen}
    else:
        ids = {
            row["source_id"]
            for row in sources
            if what in (row["uri"], row["source_id"]) or row["uri"].endswith(f"/{what}")
        }
        chosen = [row for row in clips if row["source_id"] in ids]
    if not ids:
        raise RunError(f"{run}: no clip or source is called {what!r}")
    return {"sources": [row for row in sources if row["source_id"] in ids], "clips": chosen}


def explain_text(found: dict[str, list[dict[str, Any]]], recipe: Recipe) -> str:
    """What became of sources and clips, in lines for people.

    Args:
        found: rows from :func:`find_rows`.
        recipe: recipe of the run.

    Returns:
        The text.
    """
    lines = []
    for row in found["sources"]:
        reason = f": {row['reason']} ({row['detail']})" if row["reason"] else ""
        lines.append(f"{row['uri']}\n  {row['state']}{reason}")
        lines.append(f"  {row['num_clips_kept']} of {row['num_clips_found']} clips kept")
    for row in found["clips"]:
        end_s = row["start_s"] + row["duration_s"]
        lines.append(
            f"\nclip {row['clip_id']}  {row['start_s']:.2f} to {end_s:.2f} s, "
            f"track {row['track']}: {row['state']}"
        )
        failed = {(gate["field"], gate["bound"]): gate["reason"] for gate in row["failed_gates"]}
        for name, bounds in recipe.gates.items():
            for bound in BOUNDS:
                limit = getattr(bounds, bound)
                if limit is None or name not in row:
                    continue
                mark = failed.get((name, bound), "pass")
                value = row[name]
                shown = "missing" if value is None else _short(value)
                lines.append(f"  {name:<32}{shown:>12}  {bound} {_short(limit):<10} {mark}")
        lines += [
            f"  {gate['reason']}: {gate['measured']}"
            for gate in row["failed_gates"]
            if gate["field"] not in recipe.gates
        ]
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
