"""A running cluster: `curate run --address` joins it, `ray job submit` runs on it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curation.driver import run_all
from curation.inputs import find_inputs
from curation.recipe import load_recipe
from manifests.storage import Folder
from tests.curation.conftest import digests

RAY = str(Path(sys.executable).with_name("ray"))
CURATE = str(Path(sys.executable).with_name("curate"))
LOCAL = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head node of its own, with the dashboard that takes jobs."""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_DISABLE_IMPORT_WARNING": "1"}
    environment.pop("RAY_ADDRESS", None)
    port, dashboard = free_port(), free_port()
    # A socket's path must be short, which pytest's folders are not.
    place = Path("/tmp") / f"ray-{os.getpid()}"
    command = [
        RAY, "start", "--head", f"--port={port}", f"--dashboard-port={dashboard}",
        f"--node-ip-address={LOCAL}", f"--dashboard-host={LOCAL}", "--num-cpus=2",
        # The agent that takes jobs would want one port for all clusters of a machine.
        f"--dashboard-agent-listen-port={free_port()}",
        f"--temp-dir={place}", "--disable-usage-stats", "--block",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield {"gcs": f"{LOCAL}:{port}", "jobs": f"http://{LOCAL}:{dashboard}", "env": environment}
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def wanted(footage, tmp_path_factory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("wanted")
    run_all(
        find_inputs([str(footage / "good_25fps.mp4")]),
        Folder(str(out)),
        load_recipe("talking_portrait"),
        engine="inline",
        quiet=True,
    )
    return digests(out / "dataset")


@pytest.mark.timeout(600)
def test_a_submitted_job_writes_the_same_dataset(head, footage, wanted, tmp_path):
    out = tmp_path / "job"
    submit = [
        RAY, "job", "submit", "--address", head["jobs"], "--",
        CURATE, "run", str(footage / "good_25fps.mp4"), "--out", str(out),
    ]  # fmt: skip
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        # The agent that takes jobs needs up to half a minute after the head is up, and more on a
        # busy machine.
        done = subprocess.run(
            submit, env=head["env"], capture_output=True, text=True, timeout=300, check=False
        )
        if (out / "dataset/dataset.json").exists() or "succeeded" in done.stdout:
            break
        time.sleep(4)
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(out / "dataset") == wanted


@pytest.mark.timeout(400)
def test_an_address_joins_the_running_cluster(head, footage, wanted, tmp_path):
    out = tmp_path / "joined"
    done = subprocess.run(
        [CURATE, "run", str(footage / "good_25fps.mp4"), "--out", str(out),
         "--address", head["gcs"], "--workers", "1"],
        env=head["env"], capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert digests(out / "dataset") == wanted


def test_an_address_where_nobody_answers_is_one_line(footage, tmp_path):
    done = subprocess.run(
        [CURATE, "run", str(footage / "good_25fps.mp4"), "--out", str(tmp_path / "run"),
         "--address", f"{LOCAL}:{free_port()}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no Ray cluster answers" in done.stderr.splitlines()[-1]
