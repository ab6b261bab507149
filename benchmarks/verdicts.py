"""How often a run agrees with what a person decided.

    python -m benchmarks.verdicts FOLDER --out RUN [--workers N]

FOLDER holds clips and an ``INDEX.csv`` with the columns ``file``, ``expected_usable_min``,
``expected_usable_max`` and ``expected_usable_max_if_resync``. A file agrees if the number of its
kept clips lies within. Near-duplicates are judged too: deduplication is off.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import pyarrow.parquet as pq

from curation.driver import run_all
from curation.recipe import load_recipe
from manifests.storage import Folder


def main() -> None:
    """Run over the folder and print every file that differs, then the share that agrees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--engine", default="ray")
    arguments = parser.parse_args()
    with (arguments.folder / "INDEX.csv").open(encoding="utf-8", newline="") as file:
        expected = {row["file"]: row for row in csv.DictReader(file)}
    run_all(
        [str((arguments.folder / name).resolve()) for name in expected],
        Folder(arguments.out),
        load_recipe("talking_portrait", ["dedup.enabled=false"]),
        engine=arguments.engine,
        num_workers=arguments.workers,
    )
    sources = pq.read_table(f"{arguments.out}/sources.parquet").to_pylist()
    clips = pq.read_table(f"{arguments.out}/clips.parquet").to_pylist()
    num_right = 0
    for source in sources:
        row = expected[Path(source["uri"]).name]
        low = int(row["expected_usable_min"])
        high = int(row["expected_usable_max_if_resync"] or row["expected_usable_max"])
        if low <= source["num_clips_kept"] <= high:
            num_right += 1
            continue
        print(
            f"{row['file']}: {source['num_clips_kept']} kept, expected {low} to {high}; "
            f"{source['state']} {source['reason'] or ''}; a person said: "
            f"{row['reject_reasons'] or row['description']}"
        )
        for clip in clips:
            if clip["source_id"] == source["source_id"]:
                failed = [f"{g['reason']} {g['measured']}" for g in clip["failed_gates"]]
                print(f"    {clip['start_s']:.2f} + {clip['duration_s']:.2f} s: {failed or 'kept'}")
    print(f"{num_right} of {len(sources)} files agree: {100 * num_right / len(sources):.1f} %")


if __name__ == "__main__":
    main()
