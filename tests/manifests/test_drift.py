"""Two runs are compared by clip: nothing where nothing differs, and each change in its place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.inspection.drift import Difference, difference
from manifests.inspection.place import find_place
from tests.manifests.planting import Spoilt


def between(a: Path, b: Path) -> Difference:
    return difference(find_place(str(a)), find_place(str(b)))


def test_a_run_and_its_copy_do_not_differ(demo_run: Path, demo_copy: Path) -> None:
    assert between(demo_run, demo_copy).is_none
    assert between(demo_run / "dataset", demo_copy / "dataset").is_none


def test_added_removed_and_changed_clips_are_told_apart(demo_run: Path, demo_copy: Path) -> None:
    table = pq.read_table(demo_copy / "clips.parquet")
    first, second, *rest = table.to_pylist()
    first["sync.confidence"] += 0.25
    first["picture.noise"] = None
    first["sync.curve"][3] += 1.0
    first["probe.video_codec"] = "vp9"
    rows = [first, *rest, {**second, "clip_id": "f" * 20}]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), demo_copy / "clips.parquet")
    found = between(demo_run, demo_copy)
    assert found.num_common == 3
    assert (found.added, found.removed) == (("f" * 20,), (second["clip_id"],))
    assert found.changed == (first["clip_id"],)
    drift = {item.name: item for item in found.drift}
    assert drift.keys() == {"sync.confidence", "picture.noise", "sync.curve", "probe.video_codec"}
    assert {item.num_changed for item in drift.values()} == {1}
    assert drift["picture.noise"].num_vanished == 1
    assert drift["sync.confidence"].median_change == 0
    assert drift["sync.confidence"].p95_abs_change == pytest.approx(0.9 * 0.25)
    back = between(demo_copy, demo_run)
    assert (back.added, back.removed) == (found.removed, found.added)
    assert {item.name: item for item in back.drift}["picture.noise"].num_appeared == 1


def test_verdicts_recipe_and_versions_that_changed_are_listed(
    demo_run: Path, demo_copy: Path, demo_limit: float
) -> None:
    from curation.driver import select_again
    from curation.recipe import check_recipe
    from manifests.storage import Folder

    record = json.loads((demo_copy / "run.json").read_text())
    recipe = check_recipe(record["recipe"], "run.json")
    select_again(Folder(str(demo_copy)), recipe, [f"sync.min_confidence={demo_limit}"])
    Spoilt(demo_copy).record(lambda record: record["versions"].update(av="0.0"))
    found = between(demo_run, demo_copy)
    assert found.recipe == {"gates.sync.confidence.min": (0.5, demo_limit)}
    assert found.versions == {"av": (record["versions"]["av"], "0.0")}
    (verdict,) = found.verdicts
    assert (verdict.before, verdict.after) == ("kept", "rejected")
    assert verdict.reasons == ("SYNC_NOT_CONFIDENT",)
    (back,) = between(demo_copy, demo_run).verdicts
    assert (back.before, back.after, back.reasons) == ("rejected", "kept", verdict.reasons)


def test_other_bytes_of_packed_members_are_counted(demo_run: Path, demo_copy: Path) -> None:
    Spoilt(demo_copy).member("txt", lambda data: data + b"!")
    assert between(demo_run, demo_copy).members == {"txt": 1}


def test_runs_over_other_clips_have_none_in_common(demo_run: Path, real_run: Path) -> None:
    found = between(demo_run, real_run)
    assert found.num_common == 0
    assert (len(found.added), len(found.removed)) == (4, 4)
    assert found.drift == ()


def test_a_real_run_and_its_copy_do_not_differ(real_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(real_run, tmp_path / "run"))
    found = between(real_run, copy)
    assert found.is_none
    assert found.num_common == 4
