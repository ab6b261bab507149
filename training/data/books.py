"""The books of the data: how many clips were read, and which turned out bad, by reason.

Not here: the clips that gates or lengths left out before the start; `ClipTable` counts those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from training.errors import DataError

_NUM_BAD_ALWAYS_ALLOWED = 3
"""So that one bad clip among the first few read does not look like a bad share."""

_NUM_EXAMPLES = 5


class BadReason(StrEnum):
    """Why a packed sample could not be used."""

    SAMPLE_BROKEN = "sample_broken"
    MEMBER_MISSING = "member_missing"
    DESCRIPTION_UNREADABLE = "description_unreadable"
    VIDEO_UNREADABLE = "video_unreadable"
    TOO_FEW_FRAMES = "too_few_frames"
    AUDIO_UNREADABLE = "audio_unreadable"
    AUDIO_TOO_SHORT = "audio_too_short"
    FACE_UNREADABLE = "face_unreadable"
    LATENTS_UNREADABLE = "latents_unreadable"


class BadSampleError(Exception):
    """A sample cannot be used; caught by the loader, which books it and puts another in its place.

    Args:
        reason: the fact.
        detail: measured value and limit, or what the decoder said.
    """

    def __init__(self, reason: BadReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.detail)


@dataclass(frozen=True)
class BadSample:
    """One sample that could not be used.

    Attributes:
        clip_id: its id.
        place: the shard it lies in.
        reason: the fact.
        detail: measured value and limit, or what the decoder said.
    """

    clip_id: str
    place: str
    reason: BadReason
    detail: str

    def __str__(self) -> str:
        return f"{self.clip_id} in {self.place}: {self.reason}: {self.detail}"


@dataclass
class ReadWork:
    """What reading cost.

    Attributes:
        num_bytes: bytes read from shards.
        num_frames_decoded: frames decoded, lead-in from key frames included.
        num_frames_used: frames that went into samples.
    """

    num_bytes: int = 0
    num_frames_decoded: int = 0
    num_frames_used: int = 0

    def add(self, other: ReadWork) -> None:
        """Add the work of another read."""
        self.num_bytes += other.num_bytes
        self.num_frames_decoded += other.num_frames_decoded
        self.num_frames_used += other.num_frames_used


@dataclass
class DataBooks:
    """Counts of one rank since its data was opened, resumed runs included.

    Attributes:
        num_read: clips read well, padding included.
        num_padding: of these, clips that only stand in for another.
        bad: clips that could not be used, by reason.
        examples: the first few bad ones.
        work: what reading cost.
    """

    num_read: int = 0
    num_padding: int = 0
    bad: Counter[BadReason] = field(default_factory=Counter)
    examples: list[BadSample] = field(default_factory=list)
    work: ReadWork = field(default_factory=ReadWork)

    @property
    def num_bad(self) -> int:
        """Clips that could not be used."""
        return sum(self.bad.values())

    def book(self, num_read: int, num_padding: int, bad: Iterable[BadSample]) -> None:
        """Enter one batch."""
        self.num_read += num_read
        self.num_padding += num_padding
        for sample in bad:
            self.bad[sample.reason] += 1
            if len(self.examples) < _NUM_EXAMPLES:
                self.examples.append(sample)

    def check(self, max_bad_ratio: float) -> None:
        """Refuse to go on when too many clips are bad.

        Args:
            max_bad_ratio: share of all clips read that may be bad.

        Raises:
            DataError: if more are.
        """
        total = self.num_read + self.num_bad
        if self.num_bad > max(_NUM_BAD_ALWAYS_ALLOWED, max_bad_ratio * total):
            raise DataError(
                f"{self.num_bad} of {total} clips cannot be used, but at most {max_bad_ratio:.1%} "
                f"may: {self}; look with `shards verify`, pack again, or raise max_bad_ratio"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {
            "num_read": self.num_read,
            "num_padding": self.num_padding,
            "bad": {str(reason): count for reason, count in self.bad.items()},
            "work": dict(vars(self.work)),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DataBooks:
        """Read what `state_dict` returned."""
        bad = Counter({BadReason(reason): count for reason, count in state["bad"].items()})
        work = ReadWork(**state["work"])
        return cls(state["num_read"], state["num_padding"], bad, [], work)

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.bad.most_common())
        first = f"; first: {self.examples[0]}" if self.examples else ""
        return f"{self.num_read} clips read, {self.num_bad} bad ({reasons or 'none'}){first}"
