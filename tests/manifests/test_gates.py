"""Verdicts are a pure function of values and bounds."""

import pytest

from manifests.gates import Bounds, Gate, gates_of, judge
from manifests.measurement import Field
from manifests.reasons import Reason
from manifests.records import ClipState

HEIGHT = Field("faces.height_px", float, low=Reason.FACE_TOO_SMALL)
OTHERS = Field("faces.num_others", int, high=Reason.SEVERAL_FACES)
OFFSET = Field("sync.abs_offset_ms", float, high=Reason.OFFSET_TOO_LARGE, other=Reason.SYNC_UNKNOWN)
FIELDS = {f.name: f for f in (HEIGHT, OTHERS, OFFSET)}
GATES = gates_of(
    {
        "faces.height_px": Bounds(min=64),
        "faces.num_others": Bounds(max=0),
        "sync.abs_offset_ms": Bounds(max=400),
    },
    FIELDS,
)
GOOD = {"faces.height_px": 64.0, "faces.num_others": 0, "sync.abs_offset_ms": 400.0}
ALL = ["faces", "sync"]


def test_values_on_the_bound_pass():
    assert judge(GOOD, GATES, ALL).state is ClipState.KEPT


@pytest.mark.parametrize(
    ("field", "value", "reason", "measured"),
    [
        ("faces.height_px", 63.9, Reason.FACE_TOO_SMALL, "63.9"),
        ("faces.num_others", 1, Reason.SEVERAL_FACES, "1"),
        ("sync.abs_offset_ms", 400.5, Reason.OFFSET_TOO_LARGE, "400.5"),
        ("sync.abs_offset_ms", None, Reason.SYNC_UNKNOWN, None),
    ],
)
def test_a_failed_gate_says_what_was_measured_and_the_limit(field, value, reason, measured):
    verdict = judge({**GOOD, field: value}, GATES, ALL)
    assert verdict.state is ClipState.REJECTED
    (failed,) = verdict.failed
    assert (failed.reason, failed.field, failed.measured) == (reason, field, measured)
    assert failed.limit in ("64", "0", "400")


def test_every_failed_gate_is_listed():
    values = {"faces.height_px": 1.0, "faces.num_others": 3, "sync.abs_offset_ms": None}
    assert len(judge(values, GATES, ALL).failed) == 3


def test_a_spared_stage_neither_refuses_nor_keeps():
    assert judge(GOOD, GATES, ["faces"]).state is ClipState.PENDING
    small = {**GOOD, "faces.height_px": 10.0}
    verdict = judge(small, GATES, ["faces"])
    assert verdict.state is ClipState.REJECTED
    assert [f.reason for f in verdict.failed] == [Reason.FACE_TOO_SMALL]


def test_missing_may_be_allowed():
    gate = Gate(OFFSET, "max", 400, allow_missing=True)
    assert gate.failure(None) is None


def test_equals_and_one_of():
    language = Field("transcript.language", str, other=Reason.OUT_OF_BOUNDS)
    assert Gate(language, "one_of", ("en", "de")).failure("en") is None
    assert Gate(language, "one_of", ("en", "de")).failure("fr") is not None
    assert Gate(language, "equals", "en").failure("en") is None
    assert Gate(language, "equals", "en").failure("de") is not None
