"""Flags: what a person who looked at a clip said of it, good or bad, kept beside the run.

`flags/<session>.jsonl`: one file a session, rewritten whole at each flag, so that it works on an
object store and two people who look at one run at the same time lose nothing. Of several flags of
one clip the latest stands. Not here: what a selection makes of them.
"""

from __future__ import annotations

import csv
import io
import json
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, cast

from manifests.errors import SchemaError
from manifests.storage import Folder

FLAGS = "flags"
Mark = Literal["good", "bad", "none"]
MARKS: tuple[Mark, ...] = ("good", "bad", "none")
_COLUMNS = ["clip_id", "flag", "uri", "start_s", "duration_s", "state", "at"]


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        clip_id: The clip.
        mark: ``good``, ``bad``, or ``none`` where an earlier flag was taken back.
        at: When, as seconds since 1970.

    Raises:
        SchemaError: If the mark is another word.
    """

    clip_id: str
    mark: Mark
    at: float

    def __post_init__(self) -> None:
        if self.mark not in MARKS:
            raise SchemaError(f"flag {self.mark!r} of {self.clip_id}: use {', '.join(MARKS)}")


class FlagLog:
    """The flags of one session, and those it found.

    Args:
        folder: The run's folder, or that of a dataset alone.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._name = f"{FLAGS}/{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}.jsonl"
        self._own: list[Flag] = []
        self._found = read_flags(folder)
        self._lock = threading.Lock()

    @property
    def marks(self) -> dict[str, Mark]:
        """Mark of each flagged clip."""
        latest = _latest([*self._found.values(), *self._own])
        return {key: flag.mark for key, flag in latest.items() if flag.mark != "none"}

    def set(self, clip_id: str, mark: Mark) -> None:
        """Flag a clip; `none` takes a flag back."""
        with self._lock:
            flags = [*self._own, Flag(clip_id, mark, round(time.time(), 3))]
            lines = [json.dumps(asdict(flag), sort_keys=True) for flag in flags]
            self._folder.write_bytes(self._name, "".join(f"{line}\n" for line in lines).encode())
            self._own = flags


def read_flags(folder: Folder) -> dict[str, Flag]:
    """Read the flags that stand beside a run or dataset.

    Args:
        folder: Its folder.

    Returns:
        Latest flag of each clip, also those that were taken back.

    Raises:
        SchemaError: If a line is no flag.
    """
    flags = []
    for name in folder.list(f"{FLAGS}/"):
        if not name.endswith(".jsonl"):
            continue
        for number, line in enumerate(folder.read_bytes(name).decode().splitlines(), 1):
            try:
                flags.append(Flag(**json.loads(line)))
            except (TypeError, ValueError, SchemaError) as error:
                raise SchemaError(
                    f"{folder.join(name)}, line {number}: {error}; mend the line or remove it"
                ) from error
    return _latest(flags)


def flags_csv(flags: Mapping[str, Flag], clips: Mapping[str, Mapping[str, object]]) -> str:
    """The standing flags as a table for other programs.

    Args:
        flags: Flag of each clip.
        clips: What is known of the flagged clips: `uri`, `start_s`, `duration_s`, `state`.

    Returns:
        CSV with a header; `clip_id` and `flag` come first.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for key in sorted(flags):
        if flags[key].mark != "none":
            row = {"clip_id": key, "flag": flags[key].mark, "at": flags[key].at}
            writer.writerow({**clips.get(key, {}), **row})
    return buffer.getvalue()


def marks_of_csv(text: str) -> dict[str, Mark]:
    """Read the marks back from what :func:`flags_csv` wrote, or a list made by hand.

    Args:
        text: CSV with the columns `clip_id` and `flag`; others are ignored.

    Returns:
        Mark of each clip.

    Raises:
        SchemaError: If a column is missing or a mark is none.
    """
    reader = csv.DictReader(io.StringIO(text))
    missing = {"clip_id", "flag"} - set(reader.fieldnames or ())
    if missing:
        raise SchemaError(f"a list of flags needs the columns clip_id and flag, not {missing}")
    return {
        row["clip_id"]: Flag(row["clip_id"], cast(Mark, row["flag"]), 0.0).mark for row in reader
    }


def _latest(flags: Iterable[Flag]) -> dict[str, Flag]:
    return {flag.clip_id: flag for flag in sorted(flags, key=lambda flag: flag.at)}
