"""The `shards` command: what its sub-commands print and how they end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from manifests.cli import app
from manifests.dataset import DatasetManifest, ShardEntry
from manifests.shards import ShardWriter
from manifests.storage import Folder
from tests.manifests.planting import Spoilt

TABULAR = ("ls", "stats", "diff", "what-if", "sample", "index", "verify")


def shards(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def read(*words: object) -> dict:
    result = shards(*words, "--json")
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


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


@pytest.fixture
def in_memory(demo_run: Path):
    """The demo run in an object store."""
    folder = Folder("memory://shards-test/run")
    for path in demo_run.rglob("*"):
        if path.is_file():
            folder.write_bytes(str(path.relative_to(demo_run)), path.read_bytes())
    yield folder.url
    for name in folder.list():
        folder.remove(name)


def test_ls_shows_datasets_and_runs(run: Path, demo_run: Path) -> None:
    result = shards("ls", run, demo_run)
    assert result.exit_code == 0
    for word in ("run [bold]", "shards/000000.tar", "2.50", "2048", "3 done, 1 rejected"):
        assert word in result.stdout
    dataset, whole = read("ls", run, demo_run)["places"]
    manifest = json.loads((run / "dataset" / "dataset.json").read_text())
    assert dataset["dataset"] == manifest
    assert dataset["is_finished"] is None
    assert whole["clips"] == {"kept": 3, "rejected": 1}
    assert whole["clips_s"]["kept"] == pytest.approx(whole["dataset"]["totals"]["duration_s"])


def test_ls_tells_of_a_run_that_has_not_ended(demo_copy: Path) -> None:
    for name in ("clips.parquet", "sources.parquet", "dataset/dataset.json"):
        (demo_copy / name).unlink()
    Spoilt(demo_copy).record(lambda record: record.update(ended_at=None))
    result = shards("ls", demo_copy)
    assert result.exit_code == 0
    assert "has not come to its end" in result.stdout
    refused = shards("stats", demo_copy)
    assert refused.exit_code == 2
    assert "curate run" in refused.stderr


def test_stats_shows_limits_and_the_funnel(demo_run: Path) -> None:
    result = shards("stats", demo_run, "--field", "sync.*", "--field", "probe.video_codec")
    assert result.exit_code == 0
    for word in ("sync.confidence", "min 0.5", "│", "h264 4", "SYNC_NOT_CONFIDENT"):
        assert word in result.stdout
    record = read("stats", demo_run, "--by", "state", "--state", "kept")
    assert (record["num_clips"], record["num_kept"]) == (3, 3)
    assert {item["group"] for item in record["fields"]} == {"kept"}


def test_diff_exits_1_only_where_it_is_asked_to(demo_run: Path, real_run: Path) -> None:
    assert shards("diff", demo_run, demo_run, "--exit-code").exit_code == 0
    assert "no difference in 4 clips" in shards("diff", demo_run, demo_run).stdout
    assert shards("diff", demo_run, real_run).exit_code == 0
    assert shards("diff", demo_run, real_run, "--exit-code").exit_code == 1
    assert read("diff", demo_run, real_run)["same"] is False


def test_what_if_tells_what_is_won_and_lost(demo_run: Path, demo_limit: float) -> None:
    rows = pq.read_table(demo_run / "clips.parquet").to_pylist()
    (lost,) = (r for r in rows if r["state"] == "kept" and r["sync.confidence"] < demo_limit)
    result = shards("what-if", demo_run, "--set", f"sync.min_confidence={demo_limit}")
    assert result.exit_code == 0
    assert f"1 lost ({lost['duration_s']:.1f} s)" in result.stdout
    assert f"sync.confidence: min 0.5 -> {demo_limit:g}" in result.stdout
    record = read("what-if", demo_run, "--unset", "sync.min_confidence")
    assert (record["num_kept"], record["num_won"], record["won_s"]) == (4, 1, 8.0)


def test_sample_draws_the_same_clips_for_the_same_seed(demo_run: Path) -> None:
    words = ("sample", demo_run, "--where", "sync.confidence > 0.5", "-n", 2)
    first, again, other = (read(*words, "--seed", seed) for seed in (1, 1, 3))
    assert first == again
    assert first["num_found"] == 3
    assert len(first["clips"]) == 2
    assert other["clips"] != first["clips"]
    shown = read("sample", demo_run, "--columns", "clip_id,sync.score", "--state", "rejected")
    assert [list(row) for row in shown["clips"]] == [["clip_id", "sync.score"]]
    assert "3 of 3 clips" in shards("sample", demo_run, "--state", "kept").stdout


def test_index_is_written_or_printed(demo_run: Path, tmp_path: Path) -> None:
    lines = shards("index", demo_run).stdout.splitlines()
    assert len([json.loads(line) for line in lines]) == 3
    out = tmp_path / "wids.json"
    assert shards("index", demo_run, "--wids", "--out", out).stdout == ""
    assert json.loads(out.read_text())["wids_version"] == 1


def test_verify_lists_faults_with_what_to_do_and_exits_1(run: Path) -> None:
    result = shards("verify", run)
    assert result.exit_code == 1
    assert "5 faults" in result.stdout
    for word in ("shards/000000.tar:a.mp4", "member_missing", "expected a member", "curate pack"):
        assert word in result.stdout
    (record,) = read("verify", run)["places"]
    assert record["whole"] is False
    kinds = sorted(fault["kind"] for fault in record["faults"])
    assert kinds == ["member_missing"] * 4 + ["table_invalid"]
    missing = [fault for fault in record["faults"] if fault["sample"] == "a"]
    assert {fault["file"] for fault in missing} == {"shards/000000.tar"}


def test_a_whole_run_exits_0_and_tells_its_threads(demo_run: Path) -> None:
    result = shards("verify", demo_run, demo_run / "dataset", "--threads", 3)
    assert result.exit_code == 0
    assert result.stdout.count("whole (3 threads)") == 2


def asked(command: str, place: object) -> Result:
    return shards(command, place, *((place,) if command == "diff" else ()))


@pytest.mark.parametrize("command", TABULAR)
def test_each_works_on_real_clips(real_run: Path, command: str) -> None:
    result = asked(command, real_run)
    assert result.exit_code == 0, result.output
    rows = pq.read_table(real_run / "clips.parquet").to_pylist()
    kept = [row["clip_id"] for row in rows if row["state"] == "kept"]
    told = {
        "ls": "3 kept, 1 rejected",
        "stats": "4 clips of 14.3 s, 3 of 11.3 s kept",
        "diff": "no difference in 4 clips",
        "what-if": "3 of 4 clips kept",
        "sample": "4 of 4 clips",
        "index": kept[0],
        "verify": "whole",
    }
    assert told[command] in result.stdout


@pytest.mark.parametrize("command", TABULAR)
def test_each_works_in_an_object_store(in_memory: str, command: str) -> None:
    result = asked(command, in_memory)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", TABULAR)
def test_what_is_not_there_is_one_line_and_exit_2(tmp_path: Path, command: str) -> None:
    for place, told in (
        (str(tmp_path / "absent"), "there is no such folder"),
        (str(tmp_path), "no dataset here"),
        ("nosuch://bucket/run", "cannot be reached"),
    ):
        result = asked(command, place)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("shards: ")
        assert told in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("what-if", "--set", "sync.min_confidense=1"), "did you mean sync.min_confidence"),
        (("sample", "--where", "sync.confidense < 1"), "did you mean sync.confidence"),
        (("sample", "--columns", "nothing"), "no column nothing"),
        (("stats", "--field", "nothing.*"), "no column"),
        (("stats", "--by", "caption.txt"), "did you mean caption.text"),
    ],
)
def test_wrong_use_is_one_line_with_the_way_out(
    demo_run: Path, words: tuple[str, ...], told: str
) -> None:
    command, *options = words
    result = shards(command, demo_run, *options)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["clips.parquet", "run.json"])
@pytest.mark.parametrize("command", ["stats", "what-if", "sample"])
def test_a_broken_file_is_one_line(demo_copy: Path, command: str, name: str) -> None:
    (demo_copy / name).write_bytes(b"{broken")
    result = shards(command, demo_copy)
    if command == "sample" and name == "run.json":
        assert result.exit_code == 0  # it asks for no gates
        return
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_no_arguments_is_wrong_use() -> None:
    assert shards("verify").exit_code == 2
    assert shards("ls", "--nonsense", "x").exit_code == 2


@pytest.mark.parametrize("command", TABULAR)
def test_help_has_an_example_that_names_the_command(command: str) -> None:
    result = shards(command, "--help")
    assert result.exit_code == 0
    assert f"Example: shards {command}" in " ".join(result.stdout.split())


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in shards("--help").stdout


def test_an_empty_dataset_is_whole(demo_copy: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(demo_copy / "dataset", tmp_path / "empty"))
    shutil.rmtree(dataset / "shards")
    table = pq.read_table(dataset / "clips.parquet")
    pq.write_table(table.slice(0, 0), dataset / "clips.parquet")
    DatasetManifest("talking_portrait", "d1", ()).write(Folder(str(dataset)))
    assert shards("verify", dataset).exit_code == 0
    assert shards("stats", dataset).exit_code == 0
    assert shards("what-if", dataset, "--set", "sync.min_confidence=1").exit_code == 0
    assert shards("sample", dataset, "--where", "sync.confidence > 0").exit_code == 0
    assert shards("diff", dataset, demo_copy).exit_code == 0


def test_the_index_is_lines_or_one_array(demo_run: Path) -> None:
    lines = [json.loads(line) for line in shards("index", demo_run).stdout.splitlines()]
    assert json.loads(shards("index", demo_run, "--json").stdout) == lines
    assert len(lines) == 3
