"""Footage that several tests share, made once."""

from __future__ import annotations

import hashlib
import os
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from curation.cast import ANNA, ANNA_VOICE, BORIS, BORIS_VOICE
from curation.talking_clip import render_talking_clip
from tests.shared import demo_footage

SHIFTED = {
    "off_p160_25fps.mp4": (Fraction(25), 160.0),
    "off_m160_30fps.mp4": (Fraction(30), -160.0),
    "off_p240_24fps.mkv": (Fraction(24), 240.0),
    "off_m240_ntsc.mp4": (Fraction(30000, 1001), -240.0),
}
"""Clips shifted by known amounts, + = audio later than picture, on several frame rates."""


@pytest.fixture(scope="session")
def footage(tmp_path_factory) -> Path:
    """A few demo files, good and bad."""
    folder = tmp_path_factory.mktemp("footage")
    for file in demo_footage(tmp_path_factory).iterdir():
        shutil.copy(file, folder)
    (folder / "empty.mp4").write_bytes(b"")
    shutil.copy(folder / "good_25fps.mp4", folder / "good_copy.mp4")
    return folder


@pytest.fixture(scope="session")
def shifted(tmp_path_factory) -> Path:
    """One clip a known shift."""
    folder = tmp_path_factory.mktemp("shifted")
    for number, (name, (fps, offset_ms)) in enumerate(SHIFTED.items()):
        render_talking_clip(
            folder / name,
            seconds=6,
            fps=fps,
            person=(ANNA, BORIS)[number % 2],
            voice=(ANNA_VOICE, BORIS_VOICE)[number % 2],
            av_offset_ms=offset_ms,
        )
    return folder


@pytest.fixture(scope="module")
def local_ray():
    """A private Ray for the tests of one module; two clusters at once fight over ports."""
    import ray

    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def digests(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
