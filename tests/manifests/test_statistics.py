"""Summaries are held against numpy on the same values, and against the verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import SchemaError
from manifests.inspection.place import find_place
from manifests.inspection.statistics import NumberSummary, ValueSummary, statistics
from manifests.inspection.text_tables import histogram, lasting, size
from manifests.records import ClipState


def summary_of(run: Path, name: str, **options: object) -> NumberSummary | ValueSummary:
    (found,) = statistics(find_place(str(run)), globs=[name], **options).fields  # type: ignore[arg-type]
    return found


def with_values(run: Path, name: str, values: list) -> None:
    """Fill the table of a run with as many clips as there are values of one measurement."""
    table = pq.read_table(run / "clips.parquet")
    rows = table.to_pylist()
    new = [
        {**rows[number % len(rows)], "clip_id": f"{number:020d}", name: value}
        for number, value in enumerate(values)
    ]
    pq.write_table(pa.Table.from_pylist(new, table.schema), run / "clips.parquet")


def test_quantiles_bins_and_limits_are_those_of_the_values(demo_copy: Path) -> None:
    values = np.random.default_rng(0).normal(0.7, 0.1, 1000)
    with_values(demo_copy, "sync.confidence", [*values.tolist(), None, None])
    found = summary_of(demo_copy, "sync.confidence")
    assert isinstance(found, NumberSummary)
    assert (found.count, found.num_missing) == (1000, 2)
    quantiles = found.min, found.p5, found.median, found.p95, found.max
    assert quantiles == pytest.approx(np.quantile(values, [0, 0.05, 0.5, 0.95, 1]))
    assert sum(found.bins) == 1000
    (limit,) = found.limits
    assert (limit.bound, limit.text) == ("min", "0.5")
    assert limit.bin is not None
    width = (found.high - found.low) / len(found.bins)
    below = int((values < 0.5).sum())
    edge = found.low + limit.bin * width
    assert abs(edge - 0.5) <= width / 2
    assert sum(found.bins[: max(0, limit.bin - 1)]) <= below <= sum(found.bins[: limit.bin + 1])


@pytest.mark.parametrize("values", [[None, None], [float("nan")], [3.0, 3.0], [1e300, -1e300]])
def test_odd_columns_have_summaries_too(demo_copy: Path, values: list) -> None:
    with_values(demo_copy, "picture.noise", values)
    found = summary_of(demo_copy, "picture.noise")
    assert isinstance(found, NumberSummary)
    finite = [value for value in values if value is not None and np.isfinite(value)]
    assert (found.count, found.num_missing) == (len(finite), len(values) - len(finite))
    assert sum(found.bins) == len(finite)


def test_texts_and_truths_list_their_most_frequent_values(demo_copy: Path) -> None:
    codecs = ["h264"] * 5 + ["vp9"] * 3 + ["av1"] * 3 + ["a", "b", "c", "d", None]
    with_values(demo_copy, "probe.video_codec", codecs)
    found = summary_of(demo_copy, "probe.video_codec")
    assert isinstance(found, ValueSummary)
    assert (found.count, found.num_missing, found.num_values) == (15, 1, 7)
    assert found.top == (("h264", 5), ("av1", 3), ("vp9", 3), ("a", 1), ("b", 1))
    assert isinstance(summary_of(demo_copy, "probe.is_hdr"), ValueSummary)


def test_groups_and_states_part_the_clips(demo_run: Path) -> None:
    place = find_place(str(demo_run))
    rows = place.clips(["state", "sync.confidence"]).to_pylist()
    by_state = statistics(place, globs=["sync.confidence"], by="state").fields
    assert [(item.group, item.count) for item in by_state] == [("kept", 3), ("rejected", 1)]
    sources = {
        state: summary_of(demo_run, "source_id", state=state) for state in ("kept", "rejected")
    }
    assert [item.num_values for item in sources.values()] == [2, 1]  # type: ignore[union-attr]
    kept = summary_of(demo_run, "sync.confidence", state=ClipState.KEPT)
    assert isinstance(kept, NumberSummary)
    assert kept.min == min(r["sync.confidence"] for r in rows if r["state"] == "kept")


def test_the_funnel_is_that_of_the_run(real_run: Path) -> None:
    place = find_place(str(real_run))
    found = statistics(place)
    record = place.run_record
    assert found.num_clips == record["num_clips"]
    assert found.kept_s == pytest.approx(record["funnel"]["kept_s"])
    for refusal in found.refusals:
        assert record["funnel"]["lost_s"].get(refusal.reason, 0.0) >= refusal.first_s
    names = [item.name for item in found.fields]
    assert names[0] == "duration_s"
    assert "sync.confidence" in names
    assert "sync.curve" not in names


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"globs": ["sync.confidense"]}, "did you mean sync.confidence"),
        ({"globs": ["sync.curve"]}, "no column of numbers, texts or truths"),
        ({"by": "nothing"}, "no column"),
    ],
)
def test_wrong_fields_are_refused(demo_run: Path, options: dict, told: str) -> None:
    with pytest.raises(SchemaError, match=told):
        statistics(find_place(str(demo_run)), **options)


def test_too_many_groups_are_refused(demo_copy: Path) -> None:
    with_values(demo_copy, "picture.noise", [float(number) for number in range(40)])
    with pytest.raises(SchemaError, match="40 different values"):
        statistics(find_place(str(demo_copy)), by="picture.noise")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.integers(0, 40))
def test_a_histogram_has_a_block_a_bin_and_shows_every_count(bins: list[int], mark: int) -> None:
    drawn = histogram(bins, [mark])
    assert len(drawn) == len(bins) + 1
    assert drawn[min(mark, len(bins))] == "│"
    blocks = drawn.replace("│", "")
    assert [block == " " for block in blocks] == [count == 0 for count in bins]
    heights = [" ▁▂▃▄▅▆▇█".index(block) for block in blocks]
    assert sorted(heights) == [heights[number] for number in np.argsort(bins, kind="stable")]


def test_amounts_have_units_that_suit_them() -> None:
    assert [lasting(s) for s in (5.04, 600, 7200, 36e5)] == [
        "5.0 s",
        "10.0 min",
        "2.00 h",
        "1,000.00 h",
    ]
    assert [size(n) for n in (5, 2048, 3 << 20, 5 << 40)] == [
        "5 B",
        "2.0 KiB",
        "3.0 MiB",
        "5.0 TiB",
    ]
