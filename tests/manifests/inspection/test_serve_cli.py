import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from manifests.inspection.cli_page import report, serve


def run(command, *arguments: str):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


def test_report_writes_the_file_it_names(demo_run, tmp_path):
    out = tmp_path / "page.html"
    result = run(report, str(demo_run), "--out", str(out), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"report": str(out)}
    assert out.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("command", [report, serve])
def test_no_run_is_wrong_use(tmp_path, command):
    result = run(command, str(tmp_path))
    assert result.exit_code == 2
    assert str(tmp_path) in result.output


def test_a_folder_is_no_file_to_write(demo_run, tmp_path):
    result = run(report, str(demo_run), "--out", str(tmp_path))
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_told(demo_run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run(serve, str(demo_run), "--no-open", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2
    assert "cannot be listened on" in result.output


def test_serve_says_its_address_answers_there_and_ends_on_interrupt(demo_run):
    script = "import typer; from manifests.inspection.cli_page import serve; typer.run(serve)"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(demo_run), "--no-open"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split()[0]
        assert address.startswith("http://127.0.0.1:")
        port = int(address.rstrip("/").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
