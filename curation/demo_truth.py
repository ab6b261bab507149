"""Comparing a run over demo footage with the truth about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.books import read_table
from curation.demo import TRUTH_FILE, Truth
from curation.errors import RunError
from manifests.storage import Folder

OFFSET_TOLERANCE_MS = 60.0
"""A measured offset this near to the made one counts as right: one and a half frames at 25 fps."""


@dataclass(frozen=True)
class Found:
    """What a run decided about one demo file.

    Attributes:
        state: state of the source.
        num_kept: clips kept.
        reasons: typed reasons of the source or of its refused clips.
        offsets_ms: measured offsets of the kept clips.
        is_right: agrees with the truth.
    """

    state: str
    num_kept: int
    reasons: tuple[str, ...]
    offsets_ms: tuple[float, ...]
    is_right: bool


def read_truth(folder: Path) -> list[Truth]:
    """Read the truth that ``make_demo_footage`` wrote.

    Args:
        folder: folder of the footage.

    Returns:
        One truth a file.

    Raises:
        RunError: there is none.
    """
    path = folder / TRUTH_FILE
    if not path.is_file():
        raise RunError(f"{path}: no such file; make the footage first with `curate demo {folder}`")
    return [Truth(**values) for values in json.loads(path.read_text("utf-8"))]


def compare(truths: Sequence[Truth], run: Folder) -> list[tuple[Truth, Found | None]]:
    """Hold the verdicts of a run against the truth.

    Args:
        truths: what was made.
        run: run directory.

    Returns:
        Each truth with what was found; ``None`` if the run does not know the file.
    """
    sources = {
        row["uri"].rsplit("/", 1)[-1]: row for row in read_table(run, "sources.parquet").to_pylist()
    }
    clips = read_table(run, "clips.parquet").to_pylist()
    pairs: list[tuple[Truth, Found | None]] = []
    for truth in truths:
        row = sources.get(truth.file)
        if row is None:
            pairs.append((truth, None))
            continue
        mine = [clip for clip in clips if clip["source_id"] == row["source_id"]]
        reasons = {gate["reason"] for clip in mine for gate in clip["failed_gates"]}
        reasons |= {row["reason"]} if row["reason"] else set()
        offsets = tuple(
            clip["sync.offset_ms"]
            for clip in mine
            if clip["state"] == "kept" and clip.get("sync.offset_ms") is not None
        )
        is_right = (
            truth.min_kept <= row["num_clips_kept"] <= truth.max_kept
            and row["state"] == truth.state
            and (truth.reason is None or row["num_clips_kept"] > 0 or truth.reason in reasons)
            and all(
                abs(offset - truth.av_offset_ms) <= OFFSET_TOLERANCE_MS
                for offset in offsets
                if truth.av_offset_ms is not None
            )
        )
        pairs.append(
            (
                truth,
                Found(
                    row["state"], row["num_clips_kept"], tuple(sorted(reasons)), offsets, is_right
                ),
            )
        )
    return pairs


def truth_table(pairs: Sequence[tuple[Truth, Found | None]]) -> str:
    """What was made and what was decided, as text.

    Args:
        pairs: truths, with what was found if a run was made.

    Returns:
        One line a file.
    """
    lines = [f"{'file':<26} {'made':<66} {'keep':<5} decided"]
    for truth, found in pairs:
        keep = (
            f"{truth.min_kept}"
            if truth.min_kept == truth.max_kept
            else f"{truth.min_kept}-{truth.max_kept}"
        )
        decided = ""
        if found is not None:
            offsets = ", ".join(f"{offset:+.0f} ms" for offset in found.offsets_ms)
            reasons = ", ".join(found.reasons)
            mark = "right" if found.is_right else "WRONG"
            decided = f"{mark}: {found.state}, {found.num_kept} kept"
            decided += f" ({offsets})" if offsets else ""
            decided += f"; {reasons}" if reasons else ""
        lines.append(f"{truth.file:<26} {truth.made[:66]:<66} {keep:<5} {decided}")
    return "\n".join(lines)
