from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.inspection.clip_index import ClipIndex, Query
from manifests.inspection.histograms import histograms
from manifests.inspection.page import overview
from manifests.inspection.place import Place, find_place
from manifests.records import FAILED_GATE_TYPE
from tests.manifests.inspection.serving import rename_sources


@pytest.fixture(scope="module")
def place(demo_run) -> Place:
    return find_place(str(demo_run))


@pytest.fixture(scope="module")
def index(place) -> ClipIndex:
    return ClipIndex(place)


def test_every_state_is_found_and_nothing_else(index):
    rows = index.table.to_pylist()
    for state in ("kept", "rejected"):
        expected = [number for number, row in enumerate(rows) if row["state"] == state]
        assert expected
        assert sorted(index.find(Query(state=state)).tolist()) == expected
    assert len(index.find(Query())) == len(index)


def test_a_reason_finds_the_clips_that_fell_by_it(index):
    rows = index.table.to_pylist()
    counts = index.reasons()
    assert counts
    for reason, num in counts.items():
        expected = {
            number
            for number, row in enumerate(rows)
            if any(gate["reason"] == reason for gate in row["failed_gates"])
        }
        assert set(index.find(Query(reason=reason)).tolist()) == expected
        assert num == len(expected)


def test_the_clip_nearest_to_its_limit_comes_first(demo_copy):
    """Limits are written so that the order is known: distances 3, 1 and 2 times the spread."""
    path = demo_copy / "clips.parquet"
    table = pq.read_table(path)
    gates = []
    for distance in (3, 1, 2, None)[: len(table)]:
        measured = None if distance is None else str(10 - distance)
        gates.append([("FACE_TOO_SMALL", "faces.height_px", "min", measured, "10")])
    plain = [
        [dict(zip(("reason", "field", "bound", "measured", "limit"), g, strict=True)) for g in gs]
        for gs in gates
    ]
    for name, values, kind in (
        ("failed_gates", plain, pa.list_(FAILED_GATE_TYPE)),
        ("state", ["rejected"] * len(table), pa.string()),
    ):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(name), pa.array(values, kind))
    pq.write_table(table, path)
    index = ClipIndex(find_place(str(demo_copy)))
    assert index.find(Query(reason="FACE_TOO_SMALL")).tolist() == [1, 2, 0, 3]
    assert index.find(Query(state="rejected")).tolist() == [1, 2, 0, 3]


def test_text_is_found_in_names_in_any_case_and_taken_literally(demo_copy):
    chosen = rename_sources(demo_copy)
    index = ClipIndex(find_place(str(demo_copy)))
    sources = index.table["source_id"].to_pylist()
    for text in (name.upper() for name in set(chosen.values())):
        holds = [text.lower() in chosen[source].lower() for source in sources]
        assert sorted(index.find(Query(text=text)).tolist()) == np.flatnonzero(holds).tolist()
    assert index.find(Query(text="gpj.*")).tolist() == []


def test_bounds_on_a_measurement_are_inclusive(index):
    name = "faces.height_px"
    values = index.numbers(name)
    middle = float(np.sort(values)[1])
    found = index.find(Query(field=name, low=middle, high=middle))
    assert values[found].tolist() == [middle]


def test_flagged_clips_are_found(index):
    ids = index.table["clip_id"].to_pylist()
    assert index.find(Query(flag="good"), [ids[2], "unknown"]).tolist() == [2]
    assert index.find(Query(flag="good"), []).tolist() == []


def test_every_histogram_counts_every_clip_once(index, place):
    found = histograms(index, place.gates)
    assert {"sync.confidence", "faces.height_px", "speech.snr_db"} <= {h["name"] for h in found}
    kept = int((index.states == "kept").sum())
    for record in found:
        total = sum(record["kept"]) + sum(record["others"]) + record["num_missing"]
        assert total == len(index), record["name"]
        assert sum(record["kept"]) <= kept


def test_limits_lie_inside_their_histogram(index, place):
    with_limit = [h for h in histograms(index, place.gates) if h["gates"] and "edges" in h]
    assert len(with_limit) > 10
    for record in with_limit:
        for gate in record["gates"]:
            assert record["edges"][0] <= gate["limit"] <= record["edges"][-1], record["name"]


def test_the_books_of_the_page_are_those_of_the_run(index, place):
    said = overview(place, index)
    assert said["clips"]["num"] == place.run_record["num_clips"]
    assert said["clips"]["states"]["kept"]["num"] == place.run_record["num_kept"]
    assert said["funnel"] == place.run_record["funnel"]
    assert said["inputs"]["num"] == place.run_record["counts"]["inputs"]
    assert said["dataset"]["totals"]["num_samples"] == said["clips"]["num_packed"]


def test_dead_letters_are_shown(demo_copy):
    letter = '{"uri": "/a/b.mp4", "stage": "measure", "cause": "WorkerDied", "message": "m"}\n'
    (demo_copy / "dead_letter.jsonl").write_text(letter)
    place = find_place(str(demo_copy))
    said = overview(place, ClipIndex(place))["dead"]
    assert said["num"] == 1
    assert said["letters"][0]["cause"] == "WorkerDied"


def test_a_dataset_without_its_run_is_shown(demo_run: Path):
    place = find_place(str(demo_run / "dataset"))
    index = ClipIndex(place)
    said = overview(place, index)
    assert said["is_run"] is False
    assert said["funnel"] is None
    assert said["clips"]["num"] == said["clips"]["num_packed"] > 0
