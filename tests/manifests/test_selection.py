"""Selecting whole columns says what judging clip by clip says; sums follow."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.gates import Gate, judge
from manifests.measurement import Field
from manifests.near_duplicates import Fingerprint, near_duplicates
from manifests.reasons import Reason
from manifests.records import ClipState, clip_schema
from manifests.refusals import refusals
from manifests.selection import Rules, change, reasons_of, select

FIELDS = (
    Field("faces.height_px", float, low=Reason.FACE_TOO_SMALL, high=Reason.FACE_TOO_LARGE),
    Field("faces.num_others", int, high=Reason.SEVERAL_FACES),
    Field("faces.sharpness", float, low=Reason.FACE_BLURRED),
    Field("sync.confidence", float, low=Reason.SYNC_NOT_CONFIDENT, other=Reason.SYNC_UNKNOWN),
    Field("probe.codec", str),
    Field("probe.is_hdr", bool, other=Reason.COLOURLESS),
    Field("dedup.hashes", tuple[str, ...]),
    Field("dedup.activity", tuple[float, ...]),
)
SCHEMA = clip_schema(FIELDS)
ABSENT = Field("picture.noise", float, high=Reason.PICTURE_NOISY)
STAGES = frozenset({"faces", "sync", "probe", "dedup", "picture"})

limits = st.sampled_from([0.0, 0.5, 1.0, 64.0])
gates = st.builds(
    Gate,
    st.sampled_from(FIELDS[:4]),
    st.sampled_from(["min", "max", "equals"]),
    limits,
    st.booleans(),
)
other_gates = st.sampled_from(
    [
        Gate(FIELDS[4], "one_of", ("h264", "vp9")),
        Gate(FIELDS[4], "equals", "h264", True),
        Gate(FIELDS[5], "equals", False),
        Gate(ABSENT, "max", 3.0),
        Gate(ABSENT, "max", 3.0, True),
    ]
)
numbers = st.none() | st.sampled_from([0.0, 0.5, 1.0, 63.9999999, 64.0, math.nan, 1e300, 1 / 3])


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for number in draw(st.permutations(range(draw(st.integers(0, 8))))):
        rows.append(
            {
                "clip_id": f"{number:02d}",
                "duration_s": draw(st.sampled_from([3.0, 4.5, 0.1])),
                "state": draw(st.sampled_from(ClipState)),
                "failed_gates": [],
                "measured_stages": draw(st.lists(st.sampled_from(sorted(STAGES)), unique=True)),
                "faces.height_px": draw(numbers),
                "faces.num_others": draw(st.none() | st.integers(0, 2)),
                "faces.sharpness": draw(numbers),
                "sync.confidence": draw(numbers),
                "probe.codec": draw(st.none() | st.sampled_from(["h264", "vp9", "av1"])),
                "probe.is_hdr": draw(st.none() | st.booleans()),
                "dedup.hashes": draw(st.none() | st.just(["00ff00ff00ff00ff"])),
                "dedup.activity": draw(st.none() | st.just([0.0] * 30)),
            }
        )
    return pa.Table.from_pylist(rows, SCHEMA)


def one_by_one(clips: pa.Table, gates: list[Gate], refuse_doubles: bool) -> list[dict[str, Any]]:
    """The verdicts, clip by clip in plain Python."""
    rows = sorted(clips.to_pylist(), key=lambda row: row["clip_id"])
    for row in rows:
        verdict = judge(row, gates, row["measured_stages"], STAGES)
        row["state"] = str(verdict.state)
        row["failed_gates"] = [
            {**asdict(gate), "reason": str(gate.reason)} for gate in verdict.failed
        ]
    if refuse_doubles:
        kept = [row for row in rows if row["state"] == ClipState.KEPT]
        prints = [
            Fingerprint(
                row["clip_id"],
                tuple(row["dedup.hashes"] or ()),
                tuple(row["dedup.activity"] or ()),
                (
                    round(4 * math.log2(max(row["faces.height_px"] or 1.0, 1.0))),
                    row["duration_s"],
                    row["faces.sharpness"] or 0.0,
                ),
            )
            for row in kept
        ]
        for clip_id, original in near_duplicates(prints).items():
            row = next(row for row in rows if row["clip_id"] == clip_id)
            row["state"] = str(ClipState.REJECTED)
            row["failed_gates"] = [
                {
                    "reason": str(Reason.NEAR_DUPLICATE),
                    "field": "dedup.hashes",
                    "bound": "equals",
                    "measured": original,
                    "limit": "no better copy",
                }
            ]
    return rows


@settings(max_examples=200, deadline=None)
@given(tables(), st.lists(gates | other_gates, max_size=5), st.booleans())
def test_columns_are_judged_as_clips_are(
    clips: pa.Table, chosen: list[Gate], refuse_doubles: bool
) -> None:
    sane = refuse_doubles and not any(
        value is not None and math.isnan(value)
        for name in ("faces.height_px", "faces.sharpness")
        for value in clips[name].to_pylist()
    )
    selected = select(clips, Rules(tuple(chosen), STAGES, sane))
    assert selected.schema.equals(clips.schema)
    wanted = pa.Table.from_pylist(one_by_one(clips, chosen, sane), SCHEMA)
    assert repr(selected.to_pylist()) == repr(wanted.to_pylist())  # nan is not equal to itself


@settings(max_examples=100, deadline=None)
@given(tables(), st.lists(gates | other_gates, max_size=4), st.lists(gates, max_size=3))
def test_sums_by_reason_and_changes_add_up(
    clips: pa.Table, first: list[Gate], second: list[Gate]
) -> None:
    before = select(clips, Rules(tuple(first), STAGES))
    after = select(clips, Rules(tuple(second), STAGES))
    rows = after.to_pylist()
    kept_s = sum(row["duration_s"] for row in rows if row["state"] == ClipState.KEPT)
    assert math.isclose(
        kept_s + sum(reasons_of(after).values()), sum(row["duration_s"] for row in rows)
    )
    for refusal in refusals(after):
        if refusal.reason == "PENDING":
            having = [row for row in rows if row["state"] == ClipState.PENDING]
        else:
            having = [
                row
                for row in rows
                if any(gate["reason"] == refusal.reason for gate in row["failed_gates"])
            ]
        assert refusal.num_any == len(having)
        assert refusal.num_first <= refusal.num_any
    old = {row["clip_id"] for row in before.to_pylist() if row["state"] == ClipState.KEPT}
    new = {row["clip_id"] for row in rows if row["state"] == ClipState.KEPT}
    lasting_s = {row["clip_id"]: row["duration_s"] for row in rows}
    changed = change(before, after)
    assert (changed.num_won, changed.num_lost) == (len(new - old), len(old - new))
    assert math.isclose(changed.won_s, sum(lasting_s[key] for key in new - old))
    assert math.isclose(changed.lost_s, sum(lasting_s[key] for key in old - new))


def test_the_largest_reason_comes_first_and_the_first_gate_counts() -> None:
    stages = sorted(STAGES)
    rows = [
        {"clip_id": "a", "duration_s": 3.0, "faces.height_px": 10.0, "sync.confidence": 0.0},
        {"clip_id": "b", "duration_s": 9.0, "faces.height_px": 99.0, "sync.confidence": 0.0},
        {"clip_id": "c", "duration_s": 5.0, "faces.height_px": 99.0, "sync.confidence": 1.0},
    ]
    clips = pa.Table.from_pylist([{**row, "measured_stages": stages} for row in rows], SCHEMA)
    chosen = [Gate(FIELDS[0], "min", 64.0), Gate(FIELDS[3], "min", 0.5)]
    found = refusals(select(clips, Rules(tuple(chosen), STAGES)))
    assert [(r.reason, r.num_first, r.first_s, r.num_any, r.any_s) for r in found] == [
        ("SYNC_NOT_CONFIDENT", 1, 9.0, 2, 12.0),
        ("FACE_TOO_SMALL", 1, 3.0, 1, 3.0),
    ]


def test_a_clip_that_a_stage_without_gate_spared_is_pending() -> None:
    row = {"clip_id": "a", "duration_s": 3.0, "faces.height_px": 99.0}
    clips = pa.Table.from_pylist([{**row, "measured_stages": ["faces"]}], SCHEMA)
    gates = (Gate(FIELDS[0], "min", 64.0),)
    states = [
        select(clips, Rules(gates, frozenset(stages)))["state"][0].as_py()
        for stages in (["faces"], ["faces", "transcript"])
    ]
    assert states == [ClipState.KEPT, ClipState.PENDING]


def test_what_a_person_refused_is_refused_and_leaves_its_copy_alone() -> None:
    prints = {"dedup.hashes": ["0" * 16], "dedup.activity": [float(n % 7) for n in range(60)]}
    rows = [
        {"clip_id": name, "duration_s": 3.0, "measured_stages": [], **prints} for name in ("a", "b")
    ]
    clips = pa.Table.from_pylist(rows, SCHEMA)
    assert select(clips, Rules((), refuses_doubles=True))["state"].to_pylist() == [
        ClipState.KEPT,
        ClipState.REJECTED,
    ]
    judged = select(clips, Rules((), refuses_doubles=True, flagged_bad=frozenset({"a"})))
    assert judged["state"].to_pylist() == [ClipState.REJECTED, ClipState.KEPT]
    assert judged["failed_gates"][0].as_py()[0]["reason"] == Reason.FLAGGED_BAD
