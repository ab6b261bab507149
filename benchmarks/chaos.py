"""Kill a run again and again, at random moments; it must end with the bytes of a run left alone.

    python -m benchmarks.chaos [FOLDER] [--rounds 3] [--workers 2] [--seed 0]

Each round resumes one run of FOLDER (by default: demo footage, made here) until it ends. SIGKILL
hits the driver or one of Ray's busy workers, after a time drawn anew for each attempt,
so that measuring, judging and packing are all interrupted; the last attempt of a round is left
alone. Then the books have to balance with nobody dead, and `dataset/` has to be that of one
undisturbed run in one process, to the byte. The exit code is 1 where it is not. Linux only: workers
are found by their titles in ``/proc``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_KILLS = 4
"""Kills in a round; the attempt after the last is left alone."""


def main() -> None:
    """Print a line for every attempt and a verdict for every round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    place = Path(tempfile.mkdtemp(prefix="chaos-"))
    footage = arguments.folder or _demo_footage(place / "footage")
    began = time.monotonic()
    if _start(footage, place / "calm", ["--engine", "inline"]).wait():
        sys.exit(f"the undisturbed run of {footage} failed: see {place / 'calm.log'}")
    length_s = time.monotonic() - began
    wanted = digests(place / "calm")
    print(f"undisturbed: {len(wanted)} files of dataset/ in {length_s:.0f} s")
    failed = 0
    for number in range(arguments.rounds):
        out = place / f"round{number}"
        ended = survive(footage, out, arguments.workers, length_s, dice)
        same = ended == 0 and digests(out) == wanted and is_balanced(out)
        failed += not same
        print(f"round {number + 1}: {'same bytes, books balance' if same else 'DIFFERS'}")
    if failed:
        print(f"runs and logs are kept in {place}")
    else:
        shutil.rmtree(place)
    sys.exit(1 if failed else 0)


def survive(footage: Path, out: Path, workers: int, length_s: float, dice: random.Random) -> int:
    """Resume a run until it ends, killing the driver or a worker in all attempts but the last.

    Args:
        footage: inputs.
        out: run directory.
        workers: Ray workers.
        length_s: about how long a whole run takes; kills are drawn from it.
        dice: decides when and whom.

    Returns:
        Exit code of the last attempt.
    """
    for attempt in range(NUM_KILLS):
        process = _start(footage, out, ["--workers", str(workers)])
        after_s, hits_driver = dice.uniform(2.0, length_s), dice.random() < 0.5
        try:
            process.wait(timeout=after_s)
            print(f"  attempt {attempt + 1}: ended by itself before {after_s:.1f} s")
            continue
        except subprocess.TimeoutExpired:
            pass
        below = descendants(process.pid)
        busy = [pid for pid, title in below.items() if "PoolWorker" in title]
        victim = process.pid if hits_driver or not busy else dice.choice(sorted(busy))
        os.kill(victim, signal.SIGKILL)
        print(
            f"  attempt {attempt + 1}: {'driver' if victim == process.pid else 'worker'} "
            f"killed after {after_s:.1f} s, {len(list(out.glob('commits/*.parquet')))} commits"
        )
        process.wait(timeout=600)
        for pid in below if victim == process.pid else ():  # Ray outlives its driver for a while
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return _start(footage, out, ["--workers", str(workers)]).wait(timeout=1200)


def descendants(pid: int) -> dict[int, str]:
    """Titles of all processes below a process, by id."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it ended while we looked
        parents[int(folder.name)], titles[int(folder.name)] = parent, title
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: titles[child] for child in found - {pid}}


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of every file below ``dataset/``, by name."""
    root = out / "dataset"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def is_balanced(out: Path) -> bool:
    """Whether every input ended done, rejected or dead, and none dead."""
    counts = json.loads((out / "run.json").read_text())["counts"]
    return bool(
        counts["inputs"] == counts["done"] + counts["rejected"] + counts["dead"]
        and counts["dead"] == 0
    )


def _start(footage: Path, out: Path, words: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "curation", "run", str(footage), "--out", str(out), *words]
    # Several shards, and sources in several parts, so that both are interrupted half-way.
    command += ["--set", "pack.samples_per_shard=2", "--set", "run.segment_s=4"]
    log = (out.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log)


def _demo_footage(folder: Path) -> Path:
    from curation.demo import make_demo_footage

    make_demo_footage(folder)
    return folder


if __name__ == "__main__":
    main()
