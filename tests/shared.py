"""What is made once a session, whichever worker of the session asks for it first."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

FOOTAGE_FILES = (
    "good_25fps.mp4",
    "dubbed.mp4",
    "two_shots.mp4",
    "no_audio.mp4",
    "truncated.mp4",
    "text_named.mp4",
)


def once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """Make something in a folder that all workers of the session share; the first makes it.

    Args:
        tmp_path_factory: pytest's.
        name: name of what is made.
        make: makes it, in a new folder.

    Returns:
        The folder.
    """
    base = tmp_path_factory.getbasetemp()
    if base.name.startswith("popen-"):  # of a pytest-xdist worker
        base = base.parent
    folder = base / f"{name}-once"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
            make(folder / name)
            (folder / "made").touch()
    return folder / name


def demo_footage(tmp_path_factory) -> Path:
    """A few demo files, good and bad; nobody writes into their folder."""

    def make(folder: Path) -> None:
        from curation.demo import make_demo_footage

        make_demo_footage(folder, only=FOOTAGE_FILES)
        (folder / "truth.json").unlink()

    return once(tmp_path_factory, "footage", make)
