"""`shards extract`: the shards' own bytes, under safe names, never over other files."""

from __future__ import annotations

import json
import shutil
import tarfile
import uuid
from pathlib import Path

import av
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.manifests.inspection.media import app, clip_of


def run_extract(*arguments: str):
    return CliRunner().invoke(app, ["extract", *arguments])


def shard_files(dataset: Path) -> dict[str, bytes]:
    """All members of all shards by name."""
    found = {}
    for path in sorted((dataset / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return found


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change_table(dataset: Path, change) -> None:
    """Rewrite the table of packed samples, its first row changed."""
    table = pq.read_table(dataset / "clips.parquet")
    rows = table.to_pylist()
    change(rows[0])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), dataset / "clips.parquet")


def test_files_are_the_members_byte_for_byte(real_run, tmp_path) -> None:
    target = tmp_path / "clïps [1]"
    result = run_extract(str(real_run), "--to", str(target), "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    expected = shard_files(real_run / "dataset")
    assert files_in(target) == expected
    assert sorted(record["files"]) == sorted(expected)
    assert record["num_bytes"] == sum(len(data) for data in expected.values())
    for path in (*target.glob("*.mp4"), *target.glob("*.flac")):
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(container.streams[0])) > 10


def test_only_the_clips_that_are_named(real_run, tmp_path) -> None:
    _, clip = clip_of(real_run, "kept")
    assert (
        run_extract(str(real_run), "--to", str(tmp_path), "--clip", clip.clip_id[:9]).exit_code == 0
    )
    expected = shard_files(real_run / "dataset")
    assert files_in(tmp_path) == {
        name: data for name, data in expected.items() if name.startswith(clip.clip_id)
    }


def test_the_hf_layout_describes_every_video(real_run, tmp_path) -> None:
    result = run_extract(str(real_run), "--to", str(tmp_path), "--format", "hf", "--state", "kept")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert sorted(row["file_name"] for row in rows) == sorted(
        path.name for path in tmp_path.glob("*.mp4")
    )
    for row in rows:
        assert row["text"] == (tmp_path / f"{row['clip_id']}.txt").read_text()
        assert (tmp_path / row["audio"]).exists()
        inside = json.loads((tmp_path / f"{row['clip_id']}.json").read_text())
        assert row["sync.offset_ms"] == inside["measurements"]["sync.offset_ms"]


def test_files_that_are_there_stay_unless_forced(real_run, tmp_path) -> None:
    _, clip = clip_of(real_run, "kept")
    mine = tmp_path / f"{clip.clip_id}.txt"
    mine.write_text("mine")
    result = run_extract(str(real_run), "--to", str(tmp_path), "--clip", clip.clip_id)
    assert result.exit_code == 2
    assert f"{mine.name} exist already" in result.stderr
    assert files_in(tmp_path) == {mine.name: b"mine"}
    arguments = [str(real_run), "--to", str(tmp_path), "--clip", clip.clip_id, "--force"]
    assert run_extract(*arguments).exit_code == 0
    assert mine.read_bytes() == shard_files(real_run / "dataset")[mine.name]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row["members"][0].update(ext="/../../evil"),
        lambda row: row["members"][0].update(ext="../evil"),
        lambda row: row["members"][0].update(ext=""),
        lambda row: row.update(clip_id="../evil"),
        lambda row: row.update(clip_id="/tmp/evil"),
        lambda row: row.update(clip_id="..\\evil"),
        lambda row: row.update(shard="../../../etc/passwd"),
        lambda row: row.update(shard="/etc/passwd"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(demo_copy, tmp_path, change) -> None:
    change_table(demo_copy / "dataset", change)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    result = run_extract(str(demo_copy / "dataset"), "--to", str(tmp_path / "a" / "b"))
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("shards: ")
    assert result.stderr.count("\n") == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("harm", ["cut", "swapped", "elsewhere"])
def test_damage_is_one_line_and_exit_1(demo_copy, tmp_path, harm) -> None:
    dataset = demo_copy / "dataset"
    shard = dataset / pq.read_table(dataset / "clips.parquet")["shard"][0].as_py()
    data = bytearray(shard.read_bytes())
    if harm == "cut":
        shard.write_bytes(data[: len(data) // 4])
    elif harm == "swapped":
        member = pq.read_table(dataset / "clips.parquet")["members"][0].as_py()[0]
        data[member["offset"] + member["size"] // 2] ^= 1
        shard.write_bytes(data)
    else:
        change_table(dataset, lambda row: row["members"][0].update(offset=1 << 30))
    result = run_extract(str(dataset), "--to", str(tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "run `shards verify`" in result.stderr
    assert result.stderr.count("\n") == 1


def test_urls_are_read_and_written(real_run, tmp_path) -> None:
    memory = fsspec.filesystem("memory")
    root = f"/{uuid.uuid4().hex}"
    memory.put(str(real_run / "dataset"), f"{root}/dataset", recursive=True)
    assert run_extract(f"memory:/{root}/dataset", "--to", f"memory:/{root}/out").exit_code == 0
    written = {path.rpartition("/")[2]: memory.cat(path) for path in memory.find(f"{root}/out")}
    assert written == shard_files(real_run / "dataset")


def test_a_refused_clip_has_no_files(real_run, tmp_path) -> None:
    _, clip = clip_of(real_run, "rejected")
    for arguments in (["--clip", clip.clip_id], ["--state", "rejected"], ["--clip", "zzz"]):
        result = run_extract(str(real_run), "--to", str(tmp_path), *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_packed_nothing_says_so(demo_copy, tmp_path) -> None:
    shutil.rmtree(demo_copy / "dataset")
    result = run_extract(str(demo_copy), "--to", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "call `curate pack` first" in result.stderr
