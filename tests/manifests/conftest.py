"""Runs that several tests look into, each made once a session; tests only read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.shared import demo_footage, once
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

    footage = demo_footage(tmp_path_factory)
    return _run_over(tmp_path_factory, "demo", [footage / name for name in DEMO_FILES])


@pytest.fixture(scope="session")
def real_run(tmp_path_factory) -> Path:
    """Folder of a run over real clips: `REAL_FILES`."""
    missing = [name for name in REAL_FILES if not (REAL_DATA / name).exists()]
    if missing:
        pytest.skip(f"needs {REAL_DATA / missing[0]}")

    return _run_over(tmp_path_factory, "real", [REAL_DATA / name for name in REAL_FILES])


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


def _run_over(tmp_path_factory, name: str, files: list[Path]) -> Path:
    """Make a run over some files; several tests look into it."""

    def make(folder: Path) -> None:
        (folder / "footage").mkdir()
        for file in files:
            (folder / "footage" / file.name).symlink_to(file)
        _curate(folder / "footage", folder / "run")

    return once(tmp_path_factory, f"{name}-run", make) / "run"


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
