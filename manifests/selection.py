"""Selection: from stored measurements to verdicts; a pure function of the table and the gates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from manifests.gates import Gate, judge
from manifests.near_duplicates import Fingerprint, near_duplicates
from manifests.reasons import Reason
from manifests.records import FAILED_GATE_TYPE, ClipState, FailedGate


@dataclass(frozen=True)
class Change:
    """What a new selection changed.

    Attributes:
        num_won: clips kept now that were not before.
        num_lost: clips not kept now that were before.
        won_s: seconds of the former.
        lost_s: seconds of the latter.
    """

    num_won: int
    num_lost: int
    won_s: float
    lost_s: float


def select(clips: pa.Table, gates: Sequence[Gate], *, refuse_doubles: bool) -> pa.Table:
    """Judge every clip.

    Args:
        clips: table of measured clips, any earlier verdicts in it are replaced.
        gates: gates of the recipe, in the order of the measured columns.
        refuse_doubles: of clips that show the same footage, keep the best only.

    Returns:
        The same rows in the order of their ids, with ``state`` and ``failed_gates`` set.
    """
    clips = clips.sort_by("clip_id")
    rows = _judged_columns(clips, gates).to_pylist()
    verdicts = [judge(row, gates, row["measured_stages"]) for row in rows]
    states = [verdict.state for verdict in verdicts]
    failed = [[_plain(gate) for gate in verdict.failed] for verdict in verdicts]
    if refuse_doubles:
        kept = clips.filter(pa.array([state is ClipState.KEPT for state in states], pa.bool_()))
        doubles = near_duplicates([_fingerprint(row) for row in kept.to_pylist()])
        for number, row in enumerate(rows):
            original = doubles.get(row["clip_id"])
            if original is not None:
                states[number] = ClipState.REJECTED
                gate = FailedGate(
                    Reason.NEAR_DUPLICATE, "dedup.hashes", "equals", original, "no better copy"
                )
                failed[number] = [_plain(gate)]
    for name, kind, values in (
        ("state", pa.string(), [str(state) for state in states]),
        ("failed_gates", pa.list_(FAILED_GATE_TYPE), failed),
    ):
        index = clips.schema.get_field_index(name)
        clips = clips.set_column(index, clips.schema.field(index), pa.array(values, kind))
    return clips


def change(before: pa.Table, after: pa.Table) -> Change:
    """Compare two selections of the same run.

    Args:
        before: table of clips with earlier verdicts.
        after: table of clips with the new verdicts.

    Returns:
        What was won and lost.
    """
    old, new = _kept_seconds(before), _kept_seconds(after)
    won, lost = new.keys() - old.keys(), old.keys() - new.keys()
    return Change(len(won), len(lost), sum(new[key] for key in won), sum(old[key] for key in lost))


def reasons_of(clips: pa.Table) -> dict[str, float]:
    """Seconds of refused clips by the first gate that failed, the largest first."""
    seconds: Counter[str] = Counter()
    for row in clips.select(["state", "failed_gates", "duration_s"]).to_pylist():
        if row["state"] == ClipState.REJECTED:
            seconds[row["failed_gates"][0]["reason"]] += row["duration_s"]
        elif row["state"] == ClipState.PENDING:
            seconds["PENDING"] += row["duration_s"]
    return dict(seconds.most_common())


def _judged_columns(clips: pa.Table, gates: Sequence[Gate]) -> pa.Table:
    names = {gate.field.name for gate in gates}
    return clips.select(
        ["clip_id", "measured_stages", *(name for name in clips.schema.names if name in names)]
    )


def _fingerprint(row: dict[str, Any]) -> Fingerprint:
    """Of two copies the better has the clearly larger face, then lasts longer, then is sharper."""
    size = math.log2(max(row.get("faces.height_px") or 1.0, 1.0))
    return Fingerprint(
        clip_id=row["clip_id"],
        hashes=tuple(row["dedup.hashes"] or ()),
        activity=tuple(row["dedup.activity"] or ()),
        quality=(round(4 * size), row["duration_s"], row.get("faces.sharpness") or 0.0),
    )


def _plain(gate: FailedGate) -> dict[str, Any]:
    return {**asdict(gate), "reason": str(gate.reason)}


def _kept_seconds(clips: pa.Table) -> dict[str, float]:
    rows = clips.select(["clip_id", "state", "duration_s"]).to_pylist()
    return {row["clip_id"]: row["duration_s"] for row in rows if row["state"] == ClipState.KEPT}
