"""The books of a run: what became of every input, every second and every clip.

``inputs = done + rejected + dead`` is not a hope but a check, and so is the funnel: hours in are
hours kept plus the hours lost for each reason.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.engine import Outcome
from curation.errors import RunError
from curation.inputs import Source
from manifests.ledger import Commit
from manifests.reasons import Reason
from manifests.records import SOURCE_SCHEMA, ClipState, SourceState
from manifests.selection import reasons_of
from manifests.storage import Folder

DEAD_LETTER = "dead_letter.jsonl"


@dataclass(frozen=True)
class DeadLetter:
    """A source that could not be processed, or a shard that could not be packed.

    Attributes:
        uri: the source, or the shard's name.
        source_id: id of the source; empty for a shard.
        stage: ``read``, ``measure`` or ``pack``.
        cause: class of the exception, ``WorkerDied`` or ``DeadlineExceeded``.
        message: its message.
        traceback: where it happened; empty if the worker died.
        attempts: how often it was tried.
    """

    uri: str
    source_id: str
    stage: str
    cause: str
    message: str
    traceback: str = ""
    attempts: int = 1

    @classmethod
    def of(cls, outcome: Outcome, source: Source | None, stage: str) -> DeadLetter:
        """The letter of a failed outcome; without a source it is named by the outcome's key."""
        failure = outcome.failure
        assert failure is not None
        return cls(
            uri=source.uri if source else outcome.key,
            source_id=source.source_id if source else "",
            stage=stage,
            cause=failure.cause,
            message=failure.message,
            traceback=failure.traceback,
            attempts=failure.attempts,
        )


@dataclass(frozen=True)
class Funnel:
    """Where the time went, in seconds of source video.

    Attributes:
        in_s: length of all inputs whose length is known.
        lost_s: seconds lost by reason, the largest first.
        kept_s: seconds of kept clips.
        overlap_s: seconds that more than one track's clip covers, counted once in ``in_s``.
    """

    in_s: float
    lost_s: dict[str, float]
    kept_s: float
    overlap_s: float


@dataclass
class RunBooks:
    """What a run ended with.

    Attributes:
        counts: inputs by state.
        funnel: where the time went.
        num_clips: clips found.
        num_kept: clips kept.
        clips_s: seconds of the clips found, kept or not.
        work: counters of decoding.
        stage_s: CPU seconds by stage.
    """

    counts: dict[str, int]
    funnel: Funnel
    num_clips: int
    num_kept: int
    clips_s: float
    work: dict[str, int] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)


def source_table(
    sources: Sequence[Source],
    commits: Mapping[str, Sequence[Commit]],
    clips: pa.Table,
    dead: Mapping[str, DeadLetter],
    *,
    refuse_doubles: bool,
) -> pa.Table:
    """One row for every input.

    Two inputs with the same content share one measurement. With deduplication the later ones are
    rejected as doubles; without, the verdict on the content is the verdict on each of them.

    Args:
        sources: inputs in order.
        commits: commits by source id, segments in order.
        clips: judged clips.
        dead: dead letters by source id.
        refuse_doubles: reject an input whose content came before.

    Returns:
        Table with ``records.SOURCE_SCHEMA``.
    """
    found: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for clip in clips.select(["source_id", "state"]).to_pylist():
        found[clip["source_id"]] += 1
        kept[clip["source_id"]] += clip["state"] == ClipState.KEPT
    rows = []
    first_of: dict[str, str] = {}
    for source in sources:
        row: dict[str, Any] = {
            "uri": source.uri,
            "source_id": source.source_id,
            "num_bytes": max(0, source.num_bytes),
            "num_frames_decoded": 0,
            "num_clips_found": 0,
            "num_clips_kept": 0,
        }
        original = first_of.setdefault(source.source_id, source.uri)
        if source.source_id in dead:
            letter = dead[source.source_id]
            row |= {
                "state": SourceState.DEAD,
                "reason": letter.cause,
                "detail": letter.message.splitlines()[0] if letter.message else "",
            }
        elif source.source_id not in commits:
            row |= {"state": None, "reason": None, "detail": "no commit and no dead letter"}
        elif refuse_doubles and original != source.uri:
            row |= {
                "state": SourceState.REJECTED,
                "reason": Reason.DUPLICATE_SOURCE,
                "detail": f"same content as {original}",
            }
        else:
            row |= _source_verdict(commits[source.source_id])
            row["num_clips_found"] = found[source.source_id]
            row["num_clips_kept"] = kept[source.source_id]
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SOURCE_SCHEMA)


def _source_verdict(parts: Sequence[Commit]) -> dict[str, Any]:
    headers = [part.header for part in parts]
    totals = {
        "duration_s": sum(header.duration_s for header in headers),
        "num_frames_decoded": sum(header.num_frames for header in headers),
    }
    if any(header.state is SourceState.DONE for header in headers):
        return {**totals, "state": SourceState.DONE}
    worst = max(headers, key=lambda header: header.duration_s)
    return {
        **totals,
        "state": SourceState.REJECTED,
        "reason": worst.reason,
        "detail": worst.detail,
        "measured": worst.measured,
        "limit": worst.limit,
    }


def check_books(table: pa.Table) -> dict[str, int]:
    """Check that every input ended in exactly one state.

    Args:
        table: table of sources.

    Returns:
        Number of inputs by state, and of all under ``inputs``.

    Raises:
        RunError: an input has no state.
    """
    states = Counter(table["state"].to_pylist())
    missing = states.pop(None, 0)
    if missing or sum(states.values()) != table.num_rows:
        uris = [row["uri"] for row in table.to_pylist() if row["state"] is None]
        raise RunError(f"broken books: {missing} inputs ended nowhere: {', '.join(uris[:5])}")
    return {"inputs": table.num_rows, **{str(state): states[state] for state in SourceState}}


def funnel_of(
    sources: pa.Table, commits: Mapping[str, Sequence[Commit]], clips: pa.Table
) -> Funnel:
    """Add up where the time went.

    Args:
        sources: table of sources.
        commits: commits by source id.
        clips: judged clips.

    Returns:
        The funnel; ``in_s + overlap_s = kept_s + sum(lost_s)``.
    """
    lost: Counter[str] = Counter()
    in_s = 0.0
    counted: set[str] = set()
    for row in sources.to_pylist():
        if row["source_id"] in counted:
            continue
        counted.add(row["source_id"])
        in_s += row["duration_s"] or 0.0
        for commit in commits.get(row["source_id"], []):
            lost.update(commit.header.lost_s)
    lost.update(reasons_of(clips))
    rows = clips.select(["state", "duration_s"]).to_pylist()
    kept_s = sum(row["duration_s"] for row in rows if row["state"] == ClipState.KEPT)
    overlap_s = kept_s + sum(lost.values()) - in_s
    return Funnel(in_s, dict(lost.most_common()), kept_s, round(overlap_s, 6))


def write_table(run: Folder, name: str, table: pa.Table) -> None:
    """Write a table as Parquet, whole or not at all; equal tables give equal bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    run.write_bytes(name, buffer.getvalue())


def read_table(run: Folder, name: str) -> pa.Table:
    """Read a Parquet table of a run."""
    with run.open_read(name) as file:
        return pq.read_table(file)


def write_dead_letters(run: Folder, letters: Sequence[DeadLetter]) -> None:
    """Write all dead letters of a run."""
    lines = [json.dumps(vars(letter), sort_keys=True, ensure_ascii=False) for letter in letters]
    run.write_bytes(DEAD_LETTER, "".join(f"{line}\n" for line in lines).encode())


def read_dead_letters(run: Folder) -> list[DeadLetter]:
    """Read the dead letters of a run; none if there is no file."""
    if not run.exists(DEAD_LETTER):
        return []
    lines = run.read_bytes(DEAD_LETTER).decode().splitlines()
    return [DeadLetter(**json.loads(line)) for line in lines]
