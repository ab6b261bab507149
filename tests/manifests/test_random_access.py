"""Indexes lead to the very bytes that a sequential reader finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import webdataset

from manifests.errors import DatasetError
from manifests.inspection.place import find_place
from manifests.inspection.random_access import byte_ranges, wids_index


def assert_leads_to_the_bytes(run: Path) -> None:
    shards = sorted(str(path) for path in (run / "dataset/shards").glob("*.tar"))
    samples = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
    in_order = {sample["__key__"]: sample for sample in samples}
    lines = [json.loads(line) for line in byte_ranges(find_place(str(run)))]
    assert [line["key"] for line in lines] == list(in_order)
    for line in lines:
        data = (run / "dataset" / line["shard"]).read_bytes()
        members = {ext: data[at : at + size] for ext, (at, size) in line["members"].items()}
        assert members == {ext: in_order[line["key"]][ext] for ext in members}
        assert len(members) == 5


def test_byte_ranges_lead_to_the_members(demo_run: Path) -> None:
    assert_leads_to_the_bytes(demo_run)


def test_byte_ranges_lead_to_the_members_of_real_clips(real_run: Path) -> None:
    assert_leads_to_the_bytes(real_run)


def test_the_wids_index_lists_every_shard_as_it_is(demo_run: Path) -> None:
    index = wids_index(find_place(str(demo_run)))
    assert index["wids_version"] == 1
    for shard, num_samples in zip(index["shardlist"], (2, 1), strict=True):
        path = demo_run / "dataset" / shard["url"]
        assert (path.stat().st_size, num_samples) == (shard["filesize"], shard["nsamples"])


def test_wids_opens_its_index(demo_copy: Path) -> None:
    wids = pytest.importorskip("wids", reason="webdataset before 1.0 has it")
    place = demo_copy / "dataset" / "wids.json"
    place.write_text(json.dumps(wids_index(find_place(str(demo_copy)))))
    dataset = wids.ShardListDataset(str(place), transformations=[], keep=True)
    keys = [json.loads(line)["key"] for line in byte_ranges(find_place(str(demo_copy)))]
    assert [dataset[number]["__key__"] for number in range(len(dataset))] == keys


def test_an_empty_dataset_has_no_wids_index(demo_copy: Path) -> None:
    path = demo_copy / "dataset" / "dataset.json"
    record = json.loads(path.read_text())
    record |= {"shards": [], "totals": dict.fromkeys(record["totals"], 0) | {"duration_s": 0.0}}
    path.write_text(json.dumps(record))
    with pytest.raises(DatasetError, match="no shards to list"):
        wids_index(find_place(str(demo_copy)))
