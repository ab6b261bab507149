"""What the tests of `show`, `sheet`, `plot` and `extract` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from manifests.dataset import DatasetManifest
from manifests.inspection import cli_media
from manifests.inspection.clip_rows import ClipRow, filter_clips
from manifests.inspection.place import Place, find_place
from manifests.records import PACKED_COLUMNS, clip_schema
from manifests.storage import Folder

app = typer.Typer()
for command in (cli_media.show, cli_media.sheet, cli_media.plot, cli_media.extract):
    app.command()(command)


def clip_of(run: Path, state: str) -> tuple[Place, ClipRow]:
    """A run and its first clip of a state."""
    place = find_place(str(run))
    return place, filter_clips(place, where=state)[0]


def dataset_of(folder: Path, rows: list[dict[str, Any]]) -> Place:
    """A dataset of which there is nothing but the table."""
    DatasetManifest("talking_portrait", "d1", ()).write(Folder(str(folder)))
    usual = {
        "source_id": "0" * 20,
        "uri": "/footage/a.mp4",
        "track": 0,
        "start_pts": 0,
        "end_pts": 75,
        "time_base_num": 1,
        "time_base_den": 25,
        "start_s": 0.0,
        "duration_s": 3.0,
        "state": "kept",
        "failed_gates": [],
        "measured_stages": [],
    }
    table = pa.Table.from_pylist(
        [{**usual, **row} for row in rows], schema=clip_schema((), PACKED_COLUMNS)
    )
    pq.write_table(table, folder / "clips.parquet")
    return find_place(str(folder))
