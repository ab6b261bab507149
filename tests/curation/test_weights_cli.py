"""The command sees, fetches and checks; its exit codes can be relied on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curation.weights_cli import ALL_WEIGHTS, app
from stages.weights import LR_ASD, SYNCNET
from stages.weights_cache import folder_of

run = CliRunner().invoke


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a network that ends at a closed port."""
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    return tmp_path


def test_list_shows_every_entry_and_its_state(cache: Path) -> None:
    listed = json.loads(run(app, ["list", "--json"]).stdout)
    assert [item["name"] for item in listed] == [weights.name for weights in ALL_WEIGHTS]
    assert {item["state"] for item in listed} == {"absent"}
    assert listed[0]["files"][0]["path"].startswith(str(cache))
    table = run(app, ["list"], terminal_width=200, env={"COLUMNS": "200"})
    assert table.exit_code == 0
    assert all(weights.name in table.stdout for weights in ALL_WEIGHTS)


def test_fetch_without_a_network_fails_with_the_way_out(cache: Path) -> None:
    result = run(app, ["fetch", "lr-asd", "--json"])
    assert result.exit_code == 1
    failed = json.loads(result.stdout)["failed"]["lr-asd"]
    assert LR_ASD.files[0].url in failed
    assert str(folder_of(LR_ASD)) in failed
    assert str(LR_ASD.files[0].sha256) in failed


@pytest.mark.parametrize(
    "arguments", [["fetch"], ["fetch", "syncnet", "--all"], ["fetch", "sync-net"], ["verify", "x"]]
)
def test_wrong_use_is_exit_2(arguments: list[str]) -> None:
    assert run(app, arguments).exit_code == 2


def test_the_nearest_name_is_offered() -> None:
    assert "did you mean 'syncnet'" in run(app, ["verify", "sync-net"]).output


def test_verify_finds_a_file_that_is_not_the_one(cache: Path) -> None:
    assert run(app, ["verify"]).exit_code == 0
    assert run(app, ["verify", "syncnet"]).exit_code == 1
    folder = folder_of(SYNCNET)
    folder.mkdir(parents=True)
    (folder / SYNCNET.files[0].name).write_bytes(b"not it")
    result = run(app, ["verify", "--json"])
    assert result.exit_code == 1
    (fault,) = json.loads(result.stdout)["syncnet"]
    assert str(SYNCNET.files[0].sha256) in fault
