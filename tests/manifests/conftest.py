"""Runs that several tests look into, each made once a session; tests only read them."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.stages.footage import REAL_DATA

DEMO_FILES = ("good_25fps.mp4", "dubbed.mp4", "two_shots.mp4", "text_named.mp4")
REAL_FILES = (
    "sv_half5.mp4",
    "grid_brbk7n.mpg",
    "grid_lwbsza.mpg",
    "d_dub_short3s.mp4",
    "d_text.mp4",
)
"""Three that are kept, one whose clip is refused, one that is no video."""


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory) -> Path:
    """Folder of a run over footage made here: three clips kept, one refused, one source refused."""

    def make(run: Path, footage: Path) -> None:
        from curation.demo import make_demo_footage

        make_demo_footage(footage, only=DEMO_FILES)
        (footage / "truth.json").unlink()
        _curate(footage, run)

    return _once(tmp_path_factory, "demo", make)


@pytest.fixture(scope="session")
def real_run(tmp_path_factory) -> Path:
    """Folder of a run over real clips: `REAL_FILES`."""
    missing = [name for name in REAL_FILES if not (REAL_DATA / name).exists()]
    if missing:
        pytest.skip(f"needs {REAL_DATA / missing[0]}")

    def make(run: Path, footage: Path) -> None:
        footage.mkdir()
        for name in REAL_FILES:
            (footage / name).symlink_to(REAL_DATA / name)
        _curate(footage, run)

    return _once(tmp_path_factory, "real", make)


@pytest.fixture(scope="session")
def demo_limit(demo_run) -> float:
    """A least sync confidence that refuses just one of the demo run's kept clips."""
    rows = pq.read_table(demo_run / "clips.parquet").to_pylist()
    lowest, second, *_ = sorted(row["sync.confidence"] for row in rows if row["state"] == "kept")
    limit = round((lowest + second) / 2, 6)
    assert lowest < limit < second
    return limit


@pytest.fixture
def demo_copy(demo_run, tmp_path) -> Path:
    """A copy of the demo run that a test may spoil."""
    return Path(shutil.copytree(demo_run, tmp_path / "run"))


def _once(tmp_path_factory, name: str, make: Callable[[Path, Path], None]) -> Path:
    """Make a run in the folder that all workers of the session share; the first makes it."""
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-"):  # of a pytest-xdist worker
        base = base.parent
    folder = base / f"{name}-run-once"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            for part in ("run", "footage"):
                shutil.rmtree(folder / part, ignore_errors=True)
            make(folder / "run", folder / "footage")
            (folder / "made").touch()
    return folder / "run"


def _curate(footage: Path, run: Path) -> None:
    from curation.driver import run_all
    from curation.inputs import find_inputs
    from curation.recipe import load_recipe
    from manifests.storage import Folder

    run_all(
        find_inputs([str(footage)]),
        Folder(str(run)),
        load_recipe("talking_portrait", ["pack.samples_per_shard=2"]),
        engine="inline",
        quiet=True,
    )
