"""Results: means over clips, differences pair by pair, and files that can be read again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from training.evaluation.metrics import METRICS, ON_BOTH, Missing
from training.evaluation.missing import missing_of
from training.evaluation.results import (
    ClipResult,
    Results,
    SetFigure,
    as_json,
    figures,
    write_results,
)
from training.evaluation.summary import summary_text
from training.evaluation.weights import NEEDED_BY, Shelf


def clip(stem: str, reference: bool = True, **values: float) -> ClipResult:
    made = ClipResult(stem, Path(f"/g/{stem}.mp4"), Path(f"/r/{stem}.mp4") if reference else None)
    made.clip_id = f"id-{stem}"
    for name, value in values.items():
        of_reference = name.startswith("reference_")
        made.put(name.removeprefix("reference_"), value, of_reference=of_reference)
    return made


def test_names_are_unique_and_what_is_on_both_exists():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    assert set(ON_BOTH) <= set(names)


def test_differences_are_taken_pair_by_pair():
    results = Results(
        [
            clip("a", sync_confidence=0.9, reference_sync_confidence=0.8),
            clip("b", sync_confidence=0.5, reference_sync_confidence=0.7),
            clip("c", sync_confidence=0.1),  # no reference figure: not in the difference
        ]
    )
    row = figures(results)["sync_confidence"]
    assert row["generated"]["mean"] == pytest.approx(0.5)
    assert row["reference"]["mean"] == pytest.approx(0.75)
    assert row["difference"]["mean"] == pytest.approx(-0.05)
    assert row["difference"]["num_clips"] == 2


def test_what_is_no_number_is_missing_and_not_written(tmp_path):
    results = Results([clip("a", psnr_db=math.nan, ssim=math.inf, colour_drift=1.0)])
    write_results(results, tmp_path)
    row = pq.read_table(tmp_path / "clips.parquet").to_pylist()[0]
    assert (row["psnr_db"], row["ssim"], row["colour_drift"]) == (None, None, 1.0)
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(stored["metrics"]) == ["colour_drift"]


def test_every_clip_is_named_whatever_became_of_it(tmp_path):
    lost = ClipResult("lost", Path("/g/lost.mp4"), unmeasured="NO_FACE: no clip")
    results = Results([clip("a", psnr_db=30.0), lost], reference_only=("z.mp4",))
    stored = as_json(results)
    assert stored["clip_ids"] == {"a": "id-a", "lost": None}
    assert stored["unmeasured"] == {"lost": "NO_FACE: no clip"}
    assert stored["without_reference"] == ["lost"]
    assert stored["reference_only"] == ["z.mp4"]
    assert (stored["num_generated"], stored["num_measured"], stored["num_paired"]) == (2, 1, 1)
    told = summary_text(results, tmp_path)
    assert "lost: NO_FACE" in told and "z.mp4" in told


def test_a_figure_of_the_set_says_how_many_pictures_it_saw(tmp_path):
    results = Results([clip("a")])
    results.of_set["fid"] = SetFigure(12.5, 11.5, 13.5, 100, 90)
    expected = {"mean": 12.5, "low": 11.5, "high": 13.5, "num_generated": 100, "num_reference": 90}
    assert figures(results) == {"fid": {"of_set": expected}}
    assert "12.5 (11.5 to 13.5)" in summary_text(results, tmp_path)


def test_every_metric_is_had_or_missing_with_reason_and_way_out():
    results = Results([clip("a", sync_confidence=0.9, psnr_db=30.0)])
    shelf = Shelf({}, {name: f"the weights {name!r} are not in the cache" for name in NEEDED_BY})
    missing = {one.metric: one for one in missing_of(results, shelf)}
    assert set(missing) | {"sync_confidence", "psnr_db"} == {metric.name for metric in METRICS}
    assert "curate weights fetch inception-fid" in missing["fid"].how
    assert "curate weights fetch syncnet" in missing["sync_c"].how
    assert "--window-frames" in missing["seam_ratio"].how
    assert all(one.why and one.how for one in missing.values())


def test_without_references_that_is_the_reason_and_not_the_weights():
    results = Results([clip("a", reference=False)])
    shelf = Shelf({}, dict.fromkeys(NEEDED_BY, "not in the cache"))
    missing = {one.metric: one for one in missing_of(results, shelf)}
    assert isinstance(missing["fid"], Missing)
    assert "--reference" in missing["fid"].how
