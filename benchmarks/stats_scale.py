"""How long `shards stats` takes on a large run, and how much memory.

    python -m benchmarks.stats_scale RUN [--rows 1000000] [--what-if]

The clips of RUN are repeated with noise on every number, each with an id of its own, as the table
of a run in a temporary folder. The command then runs in a process of its own. A busy machine
stretches its seconds, so two figures that bear it better stand beside them: the CPU seconds, and
their ratio to those of a process that only reads the same columns of the same file with pyarrow.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BATCH_ROWS = 100_000
NUM_RUNS = 3


def main() -> None:
    """Make the table, run the command, print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run whose clips are repeated")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--what-if", action="store_true", help="`shards what-if` instead; take a run without dedup"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(arguments.run / "run.json", folder)
        repeat(arguments.run / "clips.parquet", folder / "clips.parquet", arguments.rows)
        words = ["stats", name, "--json"]
        if arguments.what_if:
            words = ["what-if", name, "--set", "sync.min_confidence=0.7", "--json"]
        code = "import sys; from manifests.cli import main; main()"
        bare = [_run(_BARE_READ, [f"{name}/clips.parquet"]) for _ in range(NUM_RUNS)]
        runs = [_run(code, words) for _ in range(NUM_RUNS)]
    read = min(bare, key=lambda run: run.cpu_s)
    best = min(runs, key=lambda run: run.cpu_s)
    num_clips = json.loads(best.output)["num_clips"]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"shards {words[0]} on {num_clips:,} clips, best of {NUM_RUNS} (load {load}, 1 to 15 min)"
    )
    print(f"  {min(run.wall_s for run in runs):.2f} s wall, {best.cpu_s:.2f} s of CPU")
    print(f"  {best.cpu_s / read.cpu_s:.2f} times the CPU of a bare read ({read.cpu_s:.2f} s)")
    print(f"  {max(run.peak_mib for run in runs):.0f} MiB at the peak")


@dataclass(frozen=True)
class _Run:
    """One process: seconds, the most memory, and what it printed."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: str


_BARE_READ = """
import sys
import pyarrow as pa
import pyarrow.parquet as pq
file = pq.ParquetFile(sys.argv[1])
for field in file.schema_arrow:
    if not pa.types.is_nested(field.type) and ("." in field.name or field.name == "duration_s"):
        file.read(columns=[field.name])
"""


def _run(code: str, words: list[str]) -> _Run:
    """Run Python code in a process of its own, and wait for it alone."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen([sys.executable, "-c", code, *words], stdout=out)
        _, status, used = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - began
        if status:
            raise SystemExit(f"{words}: ended with status {status}")
        out.seek(0)
        output = out.read().decode()
    return _Run(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, output)


def repeat(small: Path, large: Path, num_rows: int) -> None:
    """Write a table with `num_rows` rows like those of a small one."""
    table = pq.read_table(small)
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(large, table.schema, compression="zstd") as writer:
        for first in range(0, num_rows, BATCH_ROWS):
            num = min(BATCH_ROWS, num_rows - first)
            batch = table.take(pa.array(rng.integers(0, table.num_rows, num)))
            ids = pa.array([f"{first + number:020x}" for number in range(num)])
            for index, column in enumerate(batch.schema):
                if column.name == "clip_id":
                    batch = batch.set_column(index, column, ids)
                elif pa.types.is_float64(column.type) and column.name != "duration_s":
                    values = batch[column.name].combine_chunks()
                    noise = 1 + 0.05 * rng.standard_normal(num)
                    noisy = pc.multiply(values, pa.array(noise))
                    batch = batch.set_column(index, column, noisy)
            writer.write_table(batch)


if __name__ == "__main__":
    main()
