"""A manifest is one canonical text, read back strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.dataset import DatasetManifest, ShardEntry, Totals, find_dataset
from manifests.errors import DatasetError, SchemaError
from manifests.storage import Folder

ENTRY = ShardEntry("shards/000000.tar", "0" * 64, 1024, 2, 3.5)
MANIFEST = DatasetManifest("talking_portrait", "abc123", (ENTRY,))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
entries = st.builds(
    ShardEntry,
    st.integers(0, 999999).map("shards/{:06d}.tar".format),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.integers(0, 10**12),
    st.integers(0, 10**6),
    st.floats(0, 1e9) | st.integers(0, 100),
)
manifests = st.builds(
    DatasetManifest,
    texts,
    texts,
    st.lists(entries, max_size=4, unique_by=lambda entry: entry.path).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(manifest=manifests)
def test_any_manifest_comes_back_and_has_one_text(manifest: DatasetManifest) -> None:
    text = manifest.to_json()
    assert DatasetManifest.from_json(text) == manifest
    assert DatasetManifest.from_json(text).to_json() == text
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def test_written_and_read_through_a_folder(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    MANIFEST.write(folder)
    assert DatasetManifest.read(folder) == MANIFEST
    assert str(tmp_path) not in (tmp_path / "dataset.json").read_text()


def test_totals_are_the_sums() -> None:
    other = ShardEntry("shards/000001.tar", "1" * 64, 10, 1, 0.25)
    totals = DatasetManifest("r", "d", (ENTRY, other)).totals
    assert totals == Totals(num_shards=2, num_samples=3, num_bytes=1034, duration_s=3.75)


def altered(**changes: Any) -> str:
    return json.dumps(json.loads(MANIFEST.to_json()) | changes)


def altered_shard(**changes: Any) -> str:
    record = json.loads(MANIFEST.to_json())
    record["shards"][0] |= changes
    return json.dumps(record)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "not JSON"),
        ("[]", "has to be an object"),
        ("{}", "'schema_version' is missing"),
        (altered(schema_version=2, new_key=1), "reads version 1; update talkreel"),
        (altered(schema_version=0), "reads version 1; pack the dataset again"),
        (altered(schema_version="1"), "schema_version has to be of type int, not '1'"),
        (altered(schema_version=True), "schema_version has to be of type int, not True"),
        (altered(recipe_nam="x"), "unknown key 'recipe_nam'; the nearest known one is 'recipe_n"),
        (altered(recipe_name=None), "recipe_name has to be of type str"),
        (altered(shards={}), "shards has to be of type list"),
        (altered(shards=[1]), r"shards\[0\]: has to be an object"),
        (altered(shards=[]), "the shards add up to"),
        (altered_shard(num_samples=3), "totals say .* the shards add up to"),
        (altered_shard(host="x"), r"shards\[0\]: unknown key 'host'"),
        (altered_shard(num_bytes=1.0), "num_bytes has to be of type int"),
        (altered_shard(num_bytes=-1), "cannot be negative"),
        (altered_shard(sha256="0" * 63), "is not 64 hexadecimal letters"),
        (altered_shard(duration_s=float("nan")), "no length of time"),
        (altered_shard(path="/tmp/000000.tar"), "below the dataset's folder"),
        (altered_shard(path="../000000.tar"), "below the dataset's folder"),
        (altered_shard(path="s3://bucket/000000.tar"), "below the dataset's folder"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(SchemaError, match=rule):
        DatasetManifest.from_json(text)


def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_bytes(b"\xff")
    with pytest.raises(SchemaError, match=r"dataset\.json"):
        DatasetManifest.read(Folder(str(tmp_path)))


def test_one_path_for_two_shards_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"shards/000000\.tar are listed more than once"):
        DatasetManifest("r", "d", (ENTRY, ENTRY))


def test_a_run_a_dataset_and_its_manifest_all_lead_to_the_dataset(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "run [1]" / "dataset"))
    MANIFEST.write(folder)
    for place in ("run [1]", "run [1]/", "run [1]/dataset", "run [1]/dataset/dataset.json"):
        assert find_dataset(f"{tmp_path}/{place}") == folder


def test_no_folder_and_no_dataset_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such folder"):
        find_dataset(str(tmp_path / "absent"))
    with pytest.raises(DatasetError, match=r"neither dataset\.json nor dataset/dataset\.json"):
        find_dataset(str(tmp_path))
    with pytest.raises(DatasetError, match="written last"):
        DatasetManifest.read(Folder(str(tmp_path)))
