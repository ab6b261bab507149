"""Packed samples as plain files, byte for byte what the shards hold.

Names in tables and shards are not trusted: a file is written only under a name that the shard
writer itself would give, directly in the target folder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from manifests.errors import ShardError, StorageError
from manifests.inspection.clip_evidence import read_sample_member
from manifests.inspection.clip_rows import ClipRow
from manifests.inspection.place import Place
from manifests.storage import Folder

METADATA_NAME = "metadata.jsonl"
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[a-z0-9]+)+")
_NUM_LISTED = 3


class Layout(StrEnum):
    """How extracted files are laid out."""

    FILES = "files"
    HF = "hf"


@dataclass(frozen=True)
class Extracted:
    """What was written.

    Attributes:
        names: files below the target folder, in order.
        num_bytes: all of them together.
    """

    names: tuple[str, ...]
    num_bytes: int


def extract(
    place: Place, clips: Sequence[ClipRow], target: Folder, layout: Layout, *, force: bool
) -> Extracted:
    """Write the members of packed clips as files.

    Args:
        place: Run or dataset.
        clips: The clips, each packed.
        target: Folder to write into; it may be new.
        layout: `files`: the members alone. `hf`: beside them a `metadata.jsonl` with captions and
            measurements, so that `datasets.load_dataset("videofolder", data_dir=...)` opens it.
        force: Write over files that are there.

    Returns:
        What was written.

    Raises:
        ShardError: If a member's name is none that a shard may hold, or its bytes are not there.
        StorageError: If a file is there already.
    """
    for clip in clips:
        for ext in _exts(clip):
            _check_name(place, clip, ext)
    names = [f"{clip.clip_id}.{ext}" for clip in clips for ext in _exts(clip)]
    if layout is Layout.HF:
        names.append(METADATA_NAME)
    there = [] if force else sorted(set(names) & set(target.list()))
    if there:
        more = f" and {len(there) - _NUM_LISTED} more" if len(there) > _NUM_LISTED else ""
        raise StorageError(
            f"{target}: {', '.join(there[:_NUM_LISTED])}{more} exist already; "
            "give another folder, or --force to write over them"
        )
    num_bytes = 0
    lines = []
    for clip in clips:
        for ext in _exts(clip):
            data = read_sample_member(place, clip, ext)
            target.write_bytes(f"{clip.clip_id}.{ext}", data)
            num_bytes += len(data)
        lines.append(json.dumps(metadata_line(place, clip), ensure_ascii=False) + "\n")
    if layout is Layout.HF:
        data = "".join(lines).encode("utf-8")
        target.write_bytes(METADATA_NAME, data)
        num_bytes += len(data)
    return Extracted(tuple(names), num_bytes)


def metadata_line(place: Place, clip: ClipRow) -> dict[str, Any]:
    """Describe one sample for a folder of videos.

    `file_name` is what huggingface.co/docs/datasets/video_load asks for; all else are columns.

    Args:
        place: Run or dataset, for the names of the measurements.
        clip: The clip, packed.

    Returns:
        Values that JSON can hold; numbers that are not finite become `None`.
    """
    sample = clip.sample or {}
    record = {
        "file_name": f"{clip.clip_id}.mp4",
        "clip_id": clip.clip_id,
        "text": sample["caption"],
        "transcript": sample["transcript"],
        "audio": f"{clip.clip_id}.flac",
        **{name: clip.values[name] for name in ("source_id", "uri", "track", "start_s")},
        "duration_s": clip.values["duration_s"],
        "num_frames": sample["num_frames"],
    }
    record |= {name: sample[name] for name in place.fields if name in sample}
    return {name: _finite(value) for name, value in record.items()}


def _exts(clip: ClipRow) -> list[str]:
    assert clip.sample is not None
    return [member["ext"] for member in clip.sample["members"]]


def _check_name(place: Place, clip: ClipRow, ext: str) -> None:
    if not _NAME.fullmatch(f"{clip.clip_id}.{ext}"):
        raise ShardError(
            f"{place.given}: member {clip.clip_id}.{ext!r} of the table has no name that a shard "
            "may hold (KEY.EXT of letters, digits, '_', '-'); nothing was written"
        )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
