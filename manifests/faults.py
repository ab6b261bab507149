"""What can be wrong with a stored dataset, as values that can be counted and listed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What is wrong."""

    MANIFEST_INVALID = "manifest_invalid"
    SHARD_MISSING = "shard_missing"
    SHARD_UNLISTED = "shard_unlisted"
    SHARD_SIZE = "shard_size"
    SHARD_SHA256 = "shard_sha256"
    TAR_BROKEN = "tar_broken"
    NUM_SAMPLES = "num_samples"
    KEY_DUPLICATE = "key_duplicate"
    MEMBER_MISSING = "member_missing"
    MEMBER_DUPLICATE = "member_duplicate"
    MEMBER_PLACE = "member_place"
    TABLE_INVALID = "table_invalid"
    ROW_DUPLICATE = "row_duplicate"
    ROW_WITHOUT_SAMPLE = "row_without_sample"
    SAMPLE_WITHOUT_ROW = "sample_without_row"
    VIDEO_UNDECODABLE = "video_undecodable"
    AUDIO_UNDECODABLE = "audio_undecodable"
    LENGTHS_DIFFER = "lengths_differ"


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it should be.

    Attributes:
        kind: What is wrong.
        place: Where, below the dataset's folder: `shards/000000.tar:KEY.mp4`.
        expected: What should be there.
        found: What is.
    """

    kind: FaultKind
    place: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}: expected {self.expected}, found {self.found}"
