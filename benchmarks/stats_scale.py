"""How long `shards stats` takes on a large run, and how much memory.

    python -m benchmarks.stats_scale RUN [--rows 1000000] [--what-if]

The clips of RUN are repeated with noise on every number, each with an id of its own, as the table
of a run in a temporary folder. The command then runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BATCH_ROWS = 100_000


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
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=True)
        wall_s = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    num_clips = json.loads(done.stdout)["num_clips"]
    print(f"shards {words[0]} on {num_clips:,} clips")
    print(f"  {wall_s:.2f} s, of them {used.ru_utime + used.ru_stime:.2f} s of CPU")
    print(f"  {used.ru_maxrss / 1024:.0f} MiB at the peak")


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
