"""The `shards` command: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from manifests.cli import app
from manifests.dataset import DatasetManifest, ShardEntry
from manifests.shards import ShardWriter
from manifests.storage import Folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose one sample is only a caption, so that it lists well and verifies badly."""
    folder = Folder(str(tmp_path / "run [bold]" / "dataset"))
    with folder.writer("shards/000000.tar") as file:
        writer = ShardWriter(file)
        writer.add("a", {"txt": b"caption"})
        digest = writer.finish()
    entry = ShardEntry("shards/000000.tar", digest.sha256, digest.num_bytes, 1, 2.5)
    DatasetManifest("talking_portrait", "d1", (entry,)).write(folder)
    return tmp_path / "run [bold]"


def test_ls_shows_shards_samples_seconds_and_bytes(run: Path) -> None:
    result = CliRunner().invoke(app, ["ls", str(run), str(run / "dataset")])
    assert result.exit_code == 0
    for word in ("run [bold]", "shards/000000.tar", "2.50", "2048", "1 shards"):
        assert result.stdout.count(word) >= 2


def test_ls_json_is_the_manifest(run: Path) -> None:
    result = CliRunner().invoke(app, ["ls", "--json", str(run)])
    (record,) = json.loads(result.stdout)["datasets"]
    assert record.pop("dataset") == str(run)
    assert record == json.loads((run / "dataset" / "dataset.json").read_text())


def test_verify_lists_faults_and_exits_1(run: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(run)])
    assert result.exit_code == 1
    assert f"{run}: 5 faults" in result.stdout
    assert "shards/000000.tar:a.mp4: member_missing: expected a member, found none" in result.stdout


def test_verify_json_has_every_fault(run: Path) -> None:
    result = CliRunner().invoke(app, ["verify", "--json", str(run)])
    assert result.exit_code == 1
    (record,) = json.loads(result.stdout)["datasets"]
    assert record["whole"] is False
    kinds = sorted(fault["kind"] for fault in record["faults"])
    assert kinds == ["member_missing"] * 4 + ["table_invalid"]


def test_a_whole_dataset_exits_0(tmp_path: Path) -> None:
    place = pa.struct([("ext", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
    columns = [("clip_id", pa.string()), ("shard", pa.string()), ("members", pa.list_(place))]
    pq.write_table(pa.schema(columns).empty_table(), tmp_path / "clips.parquet")
    DatasetManifest("talking_portrait", "d1", ()).write(Folder(str(tmp_path)))
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}: whole\n")


@pytest.mark.parametrize("command", ["ls", "verify"])
def test_what_is_no_dataset_is_one_line_and_exit_2(run: Path, tmp_path: Path, command: str) -> None:
    for place, told in (
        (str(tmp_path / "absent"), "there is no such folder"),
        (str(tmp_path), "no dataset here"),
        ("nosuch://bucket/run", "cannot be reached"),
    ):
        result = CliRunner().invoke(app, [command, str(run), place])
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.startswith("shards: ")
        assert told in result.stderr
        assert result.stderr.count("\n") == 1


def test_no_arguments_is_wrong_use() -> None:
    assert CliRunner().invoke(app, ["verify"]).exit_code == 2
    assert CliRunner().invoke(app, ["ls", "--nonsense", "x"]).exit_code == 2
