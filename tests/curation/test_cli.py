"""The command line: one clear line and a code for wrong use, before any worker starts."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from curation import cli


def curate(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["curate", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "missing-folder", "--out", "{tmp}/run"], "missing-folder"),
        (["run", "{tmp}", "--out", "{tmp}/run"], "no media file"),
        (["run", "{tmp}/a.mp4", "--out", "{tmp}/run", "--recipe", "talking"], "talking_portrait"),
        (["run", "{tmp}/a.mp4", "--out", "{tmp}/run", "--set", "sync.min_conf=1"], "min_conf"),
        (["run", "{tmp}/a.mp4", "--out", "{tmp}/run", "--engine", "spark"], "'ray' and 'inline'"),
        (["run", "{tmp}/a.mp4", "--out", "{tmp}/file/run"], "cannot be written"),
        (["select", "{tmp}/nowhere"], "run.json"),
        (["explain", "{tmp}/nowhere", "x"], "run.json"),
        (["learn-sync", "{tmp}", "--out", "{tmp}/x.npz"], "no clip with a face and a sound"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(monkeypatch, capsys, tmp_path, arguments, says):
    (tmp_path / "file").write_text("a file, not a folder")
    if any("a.mp4" in argument for argument in arguments):
        (tmp_path / "a.mp4").write_text("x")
    code, said = curate(monkeypatch, capsys, *(a.format(tmp=tmp_path) for a in arguments))
    assert code == 2
    (line,) = said.err.strip().splitlines()
    assert says in line
    assert line.startswith("curate: ")


def test_every_command_has_help_with_an_example():
    for name in ("run", "select", "pack", "retry", "explain", "demo", "learn-sync"):
        result = CliRunner().invoke(cli.app, [name, "--help"])
        assert result.exit_code == 0
        assert f"curate {name}" in result.output


def test_dead_inputs_above_the_allowed_share_end_with_code_1(monkeypatch, capsys, tmp_path):
    (tmp_path / "text.mp4").write_text("text")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path}/text.mp4\n{tmp_path}/gone.mp4\n")
    arguments = ["run", str(listed), "--out", f"{tmp_path}/run", "--engine", "inline", "--json"]
    code, said = curate(monkeypatch, capsys, *arguments)
    assert code == 1
    assert json.loads(said.out)["counts"] == {
        "inputs": 2,
        "done": 0,
        "rejected": 1,
        "dead": 1,
    }
    letters = (tmp_path / "run/dead_letter.jsonl").read_text().splitlines()
    assert "gone.mp4" in json.loads(letters[0])["uri"]


def test_the_default_recipe_imports_no_torch(tmp_path):
    (tmp_path / "text.mp4").write_text("text")
    blocker = tmp_path / "torch"
    blocker.mkdir()
    (blocker / "__init__.py").write_text("raise AssertionError('torch was imported')")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "curation",
            "run",
            str(tmp_path),
            "--out",
            str(tmp_path / "run"),
            "--engine",
            "inline",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
