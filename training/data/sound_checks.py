"""Is each clip's sound as long as its picture? Told by headers, before the first step.

A FLAC says in its first bytes how long it is, and the sample's description how long the video
lasts, so a clip costs two short reads. Datasets of more than `NUM_LOOKED_AT` clips are looked at
here and there, evenly: a packing that went wrong is found, and a single clip that is not is booked
when its turn comes (`sound.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.errors import ManifestError
from manifests.storage import Folder
from training.data.shard_checks import NUM_CHECKED_AT_ONCE
from training.errors import DataError
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ

NUM_LOOKED_AT = 512
"""Ours: about two seconds on an object store that answers in 30 ms."""

_HEADER_BYTES = 26  # of a FLAC: its mark, the head of the first block, and STREAMINFO to the length


def check_sounds(
    shards: Sequence[tuple[Folder, str]], table: pa.Table, num_looked_at: int = NUM_LOOKED_AT
) -> None:
    """Refuse clips whose sound ends before their picture.

    Args:
        shards: folder and name of every shard.
        table: clips, with numbers of their shards, their members and frames.
        num_looked_at: how many clips are looked at, evenly spread over the table.

    Raises:
        DataError: the first clip whose sound is too short, and how many more are.
    """
    rows = np.linspace(0, len(table) - 1, min(len(table), num_looked_at)).round().astype(int)
    clips = table.select(["clip_id", "shard", "members", "num_frames"]).take(pa.array(rows))

    def fault(clip: dict[str, Any]) -> str | None:
        folder, shard = shards[clip["shard"]]
        places = {member["ext"]: member for member in clip["members"]}
        sounds = [ext for ext in places if ext == "flac" or ext.endswith(".flac")]
        if not sounds or "json" not in places:
            return None

        def head(ext: str, size: int) -> bytes:
            return folder.read_range(shard, places[ext]["offset"], size)

        try:
            said = head("json", places["json"]["size"])
            heads = {ext: head(ext, _HEADER_BYTES) for ext in sounds}
        except ManifestError:
            return None
        wanted = _samples_of_video(said, clip["num_frames"])
        lengths = {ext: flac_samples(data) for ext, data in heads.items()}
        for ext, length in lengths.items():
            if wanted is not None and length is not None and length < wanted:
                seconds = (length / AUDIO_SAMPLE_RATE_HZ, wanted / AUDIO_SAMPLE_RATE_HZ)
                return (
                    f"{clip['clip_id']}.{ext} in {folder.join(shard)}: the sound lasts "
                    f"{seconds[0]:.3f} s, the video {seconds[1]:.3f} s"
                )
        return None

    with ThreadPoolExecutor(NUM_CHECKED_AT_ONCE) as pool:
        faults = [found for found in pool.map(fault, clips.to_pylist()) if found]
    if faults:
        raise DataError(
            f"{faults[0]} ({len(faults)} of {len(clips)} clips looked at are so); pack the dataset "
            "again, or leave these clips out with `curate select --flags`"
        )


def flac_samples(head: bytes) -> int | None:
    """Read how many samples a FLAC has of each channel (RFC 9639, section 8.2).

    Args:
        head: its first 26 bytes.

    Returns:
        The number; ``None`` where it does not tell, or is no FLAC of 16 kHz.
    """
    if len(head) < _HEADER_BYTES or head[:4] != b"fLaC" or head[4] & 0x7F:
        return None
    said = int.from_bytes(head[18:26], "big")
    rate_hz, num_samples = said >> 44, said & (1 << 36) - 1
    return num_samples if num_samples and rate_hz == AUDIO_SAMPLE_RATE_HZ else None


def _samples_of_video(description: bytes, num_frames: int) -> int | None:
    """Samples that the video lasts; ``None`` where the description does not tell its rate."""
    try:
        fps = float(json.loads(description)["video"]["frame_rate_fps"])
        return round(num_frames * AUDIO_SAMPLE_RATE_HZ / fps)
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
