"""What can be wrong with a stored run or dataset, as values that can be counted and listed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What is wrong."""

    # the dataset's manifest and its shards
    MANIFEST_INVALID = "manifest_invalid"
    SHARD_MISSING = "shard_missing"
    SHARD_UNLISTED = "shard_unlisted"
    SHARD_SIZE = "shard_size"
    SHARD_SHA256 = "shard_sha256"
    SHARD_EMPTY = "shard_empty"
    SHARD_DURATION = "shard_duration"
    TAR_BROKEN = "tar_broken"
    NUM_SAMPLES = "num_samples"
    # the table of samples
    TABLE_INVALID = "table_invalid"
    SCHEMA_VERSION = "schema_version"
    ROW_DUPLICATE = "row_duplicate"
    ROW_WITHOUT_SAMPLE = "row_without_sample"
    SAMPLE_WITHOUT_ROW = "sample_without_row"
    CLIP_ID = "clip_id"
    # the members of a sample
    KEY_DUPLICATE = "key_duplicate"
    MEMBER_MISSING = "member_missing"
    MEMBER_DUPLICATE = "member_duplicate"
    MEMBER_UNLISTED = "member_unlisted"
    MEMBER_PLACE = "member_place"
    MEMBER_SHA256 = "member_sha256"
    # what the members hold
    VIDEO_UNDECODABLE = "video_undecodable"
    AUDIO_UNDECODABLE = "audio_undecodable"
    LENGTHS_DIFFER = "lengths_differ"
    NUM_FRAMES = "num_frames"
    CAPTION_DIFFERS = "caption_differs"
    JSON_INVALID = "json_invalid"
    JSON_DIFFERS = "json_differs"
    FACE_INVALID = "face_invalid"
    TRANSCRIPT_TIMES = "transcript_times"
    # the run beside its dataset
    RUN_UNFINISHED = "run_unfinished"
    RECIPE_DIFFERS = "recipe_differs"
    CLIP_NOT_PACKED = "clip_not_packed"
    PACKED_NOT_KEPT = "packed_not_kept"
    # the books of a run
    BOOKS_UNBALANCED = "books_unbalanced"
    COMMIT_MISSING = "commit_missing"
    VERDICT_DIFFERS = "verdict_differs"


_FETCH = "copy the shard anew from where it is whole, or write it anew: curate pack RUN"
_PACK = "pack again: curate pack RUN"
_BOTH = "take shards and clips.parquet from one pack; or pack again: curate pack RUN"
_RUN = "go on with the run: curate run INPUT... --out RUN"
_SELECT = "judge again, then pack: curate select RUN; curate pack RUN"

WAYS_OUT: dict[FaultKind, str] = {
    FaultKind.MANIFEST_INVALID: _PACK,
    FaultKind.SHARD_MISSING: _FETCH,
    FaultKind.SHARD_UNLISTED: "delete it, or list it with a dataset.json of its own pack",
    FaultKind.SHARD_SIZE: _FETCH,
    FaultKind.SHARD_SHA256: _FETCH,
    FaultKind.SHARD_EMPTY: _PACK,
    FaultKind.SHARD_DURATION: _BOTH,
    FaultKind.TAR_BROKEN: _FETCH,
    FaultKind.NUM_SAMPLES: _BOTH,
    FaultKind.TABLE_INVALID: _PACK,
    FaultKind.SCHEMA_VERSION: "read it with the version that wrote it, or run again",
    FaultKind.ROW_DUPLICATE: _BOTH,
    FaultKind.ROW_WITHOUT_SAMPLE: _BOTH,
    FaultKind.SAMPLE_WITHOUT_ROW: _BOTH,
    FaultKind.CLIP_ID: "do not use the sample: it is not the span that its row names",
    FaultKind.KEY_DUPLICATE: _PACK,
    FaultKind.MEMBER_MISSING: _FETCH,
    FaultKind.MEMBER_DUPLICATE: _FETCH,
    FaultKind.MEMBER_UNLISTED: "remove the member, or keep additions in shards of their own",
    FaultKind.MEMBER_PLACE: _BOTH,
    FaultKind.MEMBER_SHA256: "do not use the sample: a member is another one; " + _FETCH,
    FaultKind.VIDEO_UNDECODABLE: _FETCH,
    FaultKind.AUDIO_UNDECODABLE: _FETCH,
    FaultKind.LENGTHS_DIFFER: "do not use the sample: sound and picture part; " + _FETCH,
    FaultKind.NUM_FRAMES: _FETCH,
    FaultKind.CAPTION_DIFFERS: _BOTH,
    FaultKind.JSON_INVALID: _FETCH,
    FaultKind.JSON_DIFFERS: _BOTH,
    FaultKind.FACE_INVALID: _FETCH,
    FaultKind.TRANSCRIPT_TIMES: "do not train on the words of this sample; transcribe it anew",
    FaultKind.RUN_UNFINISHED: _RUN,
    FaultKind.RECIPE_DIFFERS: _PACK,
    FaultKind.CLIP_NOT_PACKED: "see dead_letter.jsonl, mend it and pack again: curate pack RUN",
    FaultKind.PACKED_NOT_KEPT: _PACK,
    FaultKind.BOOKS_UNBALANCED: _SELECT,
    FaultKind.COMMIT_MISSING: _RUN,
    FaultKind.VERDICT_DIFFERS: _SELECT,
}
"""What to do about a fault of each kind."""


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it should be.

    Attributes:
        kind: What is wrong.
        place: Where, below the dataset's or the run's folder: `shards/000000.tar:KEY.mp4`.
        expected: What should be there.
        found: What is.
    """

    kind: FaultKind
    place: str
    expected: str
    found: str

    @property
    def file(self) -> str:
        """The shard or table that the fault is in."""
        return self.place.partition(":")[0]

    @property
    def sample(self) -> str | None:
        """Key of the sample that it is in; `None` if it concerns the whole file."""
        return self.place.partition(":")[2].partition(".")[0] or None

    @property
    def way_out(self) -> str:
        """What to do."""
        return WAYS_OUT[self.kind]

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}: expected {self.expected}, found {self.found}"
