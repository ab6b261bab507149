"""``run.json``: what a run was begun with, and what it ended with.

It is written before the first source is measured and after the last shard; what lies between is in
the commits and tables.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from curation.books import RunBooks
from curation.errors import RunError
from curation.pipeline import Pipeline
from manifests.errors import ManifestError
from manifests.storage import Folder

RUN_FILE = "run.json"
_VERSIONS = ("talkreel", "av", "mediapipe", "scenedetect", "numpy", "onnxruntime", "pyarrow")


def open_run(folder: Folder, pipeline: Pipeline, *, may_change: bool) -> None:
    """Check that the run directory can be used, and note the recipe in it.

    Args:
        folder: run directory; may not exist yet.
        pipeline: the pipeline.
        may_change: replace the recipe of an earlier call.

    Raises:
        RunError: it cannot be written, or belongs to another recipe.
    """
    resolved = pipeline.recipe.resolved()
    known = read_run_file(folder)
    if known and known["recipe_digest"] != pipeline.recipe.digest and not may_change:
        raise RunError(
            f"{folder}: was begun with recipe {known['recipe']['name']!r} "
            f"({known['recipe_digest']}), now {pipeline.recipe.name!r} ({pipeline.recipe.digest}); "
            "take another --out, or give --change-recipe to go on with the new one"
        )
    began = known["began_at"] if known else _now()
    try:
        write_run_file(
            folder,
            {
                "recipe": resolved,
                "recipe_digest": pipeline.recipe.digest,
                "versions": {name: version(name) for name in _VERSIONS},
                "flagged_bad": sorted(flagged_bad(folder)),
                "began_at": began,
                "ended_at": None,
            },
        )
    except (ManifestError, OSError) as error:
        raise RunError(f"--out {folder}: cannot be written: {error}") from error


def finish_run_file(folder: Folder, books: RunBooks) -> None:
    """Write counts, funnel, work and times into ``run.json``."""
    known = read_run_file(folder) or {}
    write_run_file(
        folder,
        {
            **known,
            "ended_at": _now(),
            "counts": books.counts,
            "num_clips": books.num_clips,
            "num_kept": books.num_kept,
            "funnel": asdict(books.funnel),
            "work": books.work,
            "stage_cpu_s": books.stage_s,
        },
    )


def read_run_file(folder: Folder) -> dict[str, Any] | None:
    """Read ``run.json``; ``None`` if there is none."""
    if not folder.exists(RUN_FILE):
        return None
    values: dict[str, Any] = json.loads(folder.read_bytes(RUN_FILE))
    return values


def flagged_bad(folder: Folder) -> frozenset[str]:
    """Ids of the clips that a person refused, as ``curate select --flags`` took them over."""
    return frozenset((read_run_file(folder) or {}).get("flagged_bad", ()))


def write_run_file(folder: Folder, values: dict[str, Any]) -> None:
    """Write ``run.json``."""
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    folder.write_bytes(RUN_FILE, f"{text}\n".encode())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
