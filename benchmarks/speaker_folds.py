"""Split curated clips by speaker: datasets to train on, and of the speakers left out, in turn.

Not here: what is learned of them (`learns_audio.py`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.dataset import CLIPS_NAME, DatasetManifest, ShardEntry, find_dataset
from manifests.shards import ShardWriter
from manifests.storage import Folder

_SHARD = "shards/000000.tar"


@dataclass(frozen=True)
class Clip:
    """A packed clip: its row, where it lies, and who speaks."""

    row: dict[str, Any]
    folder: Folder
    speaker: str


def read_clips(places: Sequence[str], prefixes: Sequence[str]) -> list[Clip]:
    """Read the tables of datasets; a clip that is in two is taken once.

    A file is a speaker; files whose names begin with one of the prefixes are one speaker together.
    """
    clips: dict[str, Clip] = {}
    for place in places:
        folder = find_dataset(place)
        with folder.open_read(CLIPS_NAME) as file:
            rows = pq.read_table(file).to_pylist()
        for row in rows:
            name = row["uri"].rpartition("/")[2]
            speaker = next((prefix for prefix in prefixes if name.startswith(prefix)), name)
            clips.setdefault(row["clip_id"], Clip(row, folder, speaker))
    return [clips[clip_id] for clip_id in sorted(clips)]


def write_folds(clips: Sequence[Clip], num_folds: int, folder: Path) -> list[tuple[str, str]]:
    """Write for each fold what is trained on and what is left out; those there are kept."""
    speakers = sorted({clip.speaker for clip in clips})
    random.Random(0).shuffle(speakers)
    fold_of = {speaker: number % num_folds for number, speaker in enumerate(speakers)}
    places = []
    for fold in range(num_folds):
        train, test = folder / f"fold{fold}" / "train", folder / f"fold{fold}" / "test"
        _write([clip for clip in clips if fold_of[clip.speaker] != fold], train)
        _write([clip for clip in clips if fold_of[clip.speaker] == fold], test)
        places.append((str(train), str(test)))
    return places


def _write(clips: Sequence[Clip], place: Path) -> None:
    folder = Folder(str(place))
    if (place / "dataset.json").is_file():
        return
    rows = []
    with folder.writer(_SHARD) as file:
        writer = ShardWriter(file)
        for clip in clips:
            members = {
                member["ext"]: clip.folder.read_range(
                    clip.row["shard"], member["offset"], member["size"]
                )
                for member in clip.row["members"]
            }
            sample = writer.add(clip.row["clip_id"], members)
            where = [
                {**asdict(member), "sha256": hashlib.sha256(members[member.ext]).hexdigest()}
                for member in sample.members
            ]
            rows.append({**clip.row, "shard": _SHARD, "members": where})
        made = writer.finish()
    with clips[0].folder.open_read(CLIPS_NAME) as file:
        schema = pq.read_schema(file)
    with folder.writer(CLIPS_NAME) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema), file)
    seconds = sum(clip.row["duration_s"] for clip in clips)
    entry = ShardEntry(_SHARD, made.sha256, made.num_bytes, made.num_samples, seconds)
    DatasetManifest("talking_portrait", "speaker folds", (entry,)).write(folder)
