"""`what-if` says beforehand what `curate select` then does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from manifests.errors import SchemaError
from manifests.inspection.place import find_place
from manifests.inspection.what_if import WhatIf, what_if
from manifests.records import ClipState

CHANGES: tuple[tuple[str, ...], ...] = (
    (),
    ("sync.min_confidence=0.0",),
    ("sync.min_confidence=0.995",),
    ("faces.min_height_px=1000",),
    ("sync.max_abs_offset_ms=20", "picture.min_luma_range=180"),
    ("probe.equals_video_codec='vp9'",),
)


def selected(run: Path, sets: tuple[str, ...], tmp_path: Path) -> dict:
    """What `curate select` makes of a copy of the run."""
    from curation.driver import select_again
    from curation.recipe import check_recipe
    from curation.run_file import read_run_file
    from manifests.storage import Folder

    copy = Path(shutil.copytree(run, tmp_path / "selected"))
    stored = read_run_file(Folder(str(copy)))
    assert stored is not None
    result = select_again(Folder(str(copy)), check_recipe(stored["recipe"], "run.json"), sets)
    rows = pq.read_table(copy / "clips.parquet").to_pylist()
    kept_s = sum(row["duration_s"] for row in rows if row["state"] == ClipState.KEPT)
    return {**result, "kept_s": kept_s}


def assert_agrees(found: WhatIf, result: dict) -> None:
    for name in ("num_clips", "num_kept", "num_pending", "num_won", "num_lost"):
        assert getattr(found, name) == result[name], name
    for name in ("kept_s", "won_s", "lost_s"):
        assert getattr(found, name) == pytest.approx(result[name]), name


@pytest.mark.parametrize("sets", CHANGES)
def test_it_says_what_select_does(demo_run: Path, tmp_path: Path, sets: tuple[str, ...]) -> None:
    found = what_if(find_place(str(demo_run)), sets)
    assert_agrees(found, selected(demo_run, sets, tmp_path))


@pytest.mark.parametrize("sets", CHANGES[:3])
def test_it_says_what_select_does_on_real_clips(
    real_run: Path, tmp_path: Path, sets: tuple[str, ...]
) -> None:
    found = what_if(find_place(str(real_run)), sets)
    assert_agrees(found, selected(real_run, sets, tmp_path))


def test_nothing_is_written(demo_copy: Path) -> None:
    before = {path: path.read_bytes() for path in demo_copy.rglob("*") if path.is_file()}
    what_if(find_place(str(demo_copy)), ["sync.min_confidence=0.995"])
    assert {path: path.read_bytes() for path in demo_copy.rglob("*") if path.is_file()} == before


def test_a_gate_is_removed_and_its_closest_clips_are_named(demo_run: Path) -> None:
    place = find_place(str(demo_run))
    found = what_if(place, unsets=["sync.min_confidence"])
    values = place.clips(["clip_id", "sync.confidence"]).to_pylist()
    below = [row for row in values if row["sync.confidence"] < 0.5]
    assert found.num_won == len(below) == 1
    (limit,) = found.limits
    assert (limit.field, limit.bound, limit.before, limit.after) == (
        "sync.confidence",
        "min",
        "0.5",
        None,
    )
    (case,) = limit.failing
    assert (case.clip_id, case.value) == (below[0]["clip_id"], below[0]["sync.confidence"])
    assert case.distance == pytest.approx(0.5 - case.value)
    distances = [case.distance for case in limit.passing]
    assert distances == sorted(distances)
    assert len(distances) == 3


def test_near_duplicates_are_judged_too(demo_copy: Path) -> None:
    """A better copy that a gate refuses leaves its place to the other one."""
    table = pq.read_table(demo_copy / "clips.parquet")
    rows = [row for row in table.to_pylist() if row["state"] == ClipState.KEPT]
    one = rows[0]
    copy = {**one, "clip_id": "f" * 20, "faces.height_px": one["faces.height_px"] * 2}
    pq.write_table(table.from_pylist([one, copy], table.schema), demo_copy / "clips.parquet")
    place = find_place(str(demo_copy))
    assert what_if(place).num_kept == 1
    limit = one["faces.height_px"] * 1.5
    lower = what_if(place, [f"faces.max_height_px={limit}"])
    assert lower.num_kept == 1
    assert [refusal.reason for refusal in lower.reasons] == ["OUT_OF_BOUNDS"]
    assert [refusal.reason for refusal in what_if(place).reasons] == ["NEAR_DUPLICATE"]


@pytest.mark.parametrize(
    ("sets", "unsets", "told"),
    [
        (["sync.min_confidense=1"], [], "did you mean sync.min_confidence"),
        (["sync.confidence=1"], [], "no gate on a stored measurement"),
        (["sync.min_confidence"], [], "write it as"),
        (["sync.min_confidence=high"], [], "valid number"),
        (["faces.detect_every_s=1"], [], "changes what is measured"),
        (["dedup.enabled=false"], [], "changes what is measured"),
        ([], ["sync.max_confidence"], "no such gate; it has"),
    ],
)
def test_what_is_no_gate_is_refused(
    demo_run: Path, sets: list[str], unsets: list[str], told: str
) -> None:
    with pytest.raises(SchemaError, match=told):
        what_if(find_place(str(demo_run)), sets, unsets)


def test_a_dataset_alone_can_only_lose(demo_run: Path, demo_limit: float) -> None:
    place = find_place(str(demo_run / "dataset"))
    assert what_if(place).num_kept == 3
    found = what_if(place, [f"sync.min_confidence={demo_limit}"])
    assert (found.num_won, found.num_lost) == (0, 1)
