"""The ledger: one file a source, written last, all or nothing.

``commits/<source_id>.parquet`` holds the clips of a source with every measurement, or none and
the reason. A long source has one file a segment, ``<source_id>.<k>-of-<n>.parquet``, and counts
as committed when all are there. A file that exists is whole: it was renamed into place.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.records import EVIDENCE_COLUMNS, SourceState, check_version
from manifests.storage import Folder

COMMITS = "commits"
_NAME = re.compile(r"commits/(?P<source>[0-9a-f-]+?)(\.(?P<part>\d+)-of-(?P<parts>\d+))?\.parquet")
_KEY = b"talkreel.commit"
NUM_READERS = 8


@dataclass(frozen=True)
class CommitHeader:
    """What a commit says of its source.

    Attributes:
        source_id: id of the source's content.
        uri: where it was read; the clips of a commit carry the same.
        state: ``done``, ``rejected``; dead sources have no commit.
        reason: typed reason of a rejected source.
        detail: the reason in words.
        measured: offending value, if there is one.
        limit: limit it broke, if there is one.
        duration_s: length of what was decoded.
        fingerprints: fingerprint of each stage that took part.
        num_passes: video decode passes of the analysis.
        num_frames: frames decoded by them.
        num_face_frames: faces meshed in them, one for each face and frame.
        num_corrupt: frames that the decoder marked as damaged.
        lost_s: seconds that no clip covers, by cause.
        stage_s: seconds of CPU time by stage.
        num_segments: into how many segments the source is cut; a source that only says so has
            no clips of its own.
        segment: number of this segment.
        facts: facts of the source as plain values; ``None`` for one that the probe refused.
    """

    source_id: str
    uri: str
    state: SourceState
    reason: str | None = None
    detail: str | None = None
    measured: float | None = None
    limit: float | None = None
    duration_s: float = 0.0
    fingerprints: dict[str, str] = field(default_factory=dict)
    num_passes: int = 0
    num_frames: int = 0
    num_face_frames: int = 0
    num_corrupt: int = 0
    lost_s: dict[str, float] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)
    num_segments: int = 1
    segment: int = 0
    facts: dict[str, Any] | None = None


@dataclass(frozen=True)
class Commit:
    """One source, or one segment of it: what was found out."""

    header: CommitHeader
    clips: pa.Table


class Ledger:
    """Commits of a run."""

    def __init__(self, run: Folder) -> None:
        self._run = run

    def write(self, commit: Commit) -> None:
        """Write one commit; from then on the source, or its segment, is done."""
        text = json.dumps(asdict(commit.header), sort_keys=True)
        metadata = {**(commit.clips.schema.metadata or {}), _KEY: text.encode()}
        table = commit.clips.replace_schema_metadata(metadata)
        buffer = io.BytesIO()
        # One row a group: packing reads the evidence of single clips.
        pq.write_table(table, buffer, compression="zstd", row_group_size=1)
        self._run.write_bytes(_name(commit.header), buffer.getvalue())

    def source_ids(self) -> set[str]:
        """Sources that are committed; one of which segments are missing is not."""
        return set(self._complete())

    def has_segment(self, source_id: str, segment: int, num_segments: int) -> bool:
        """Tell whether one segment is committed."""
        return self._run.exists(_segment_name(source_id, segment, num_segments))

    def forget(self, source_id: str, is_valid: Callable[[Commit], bool]) -> None:
        """Remove the commits of a source, or of its segments, that are not valid any more."""
        for name in self._run.list(f"{COMMITS}/{source_id}"):
            if not is_valid(self._read(name, False)):
                self._run.remove(name)

    def read(self, source_id: str, *, evidence: bool = False) -> list[Commit]:
        """Read the commits of one source, its segments in order.

        Args:
            source_id: id of the source.
            evidence: read the evidence columns too.

        Returns:
            One commit, or one for each segment.
        """
        names = self._complete(source_id).get(source_id, [])
        return [self._read(name, evidence) for name in names]

    def read_all(self) -> Iterator[Commit]:
        """Read all commits without their evidence, ordered by source id and segment."""
        names = [name for _, parts in sorted(self._complete().items()) for name in parts]
        with ThreadPoolExecutor(NUM_READERS) as pool:
            yield from pool.map(lambda name: self._read(name, False), names)

    def evidence(self, source_id: str, clip_id: str) -> dict[str, Any]:
        """Read the evidence of one clip.

        Args:
            source_id: source of the clip.
            clip_id: the clip.

        Returns:
            The clip's row with its evidence columns, and the facts of its source as ``facts``.

        Raises:
            KeyError: no commit of the source holds the clip.
        """
        for name in self._run.list(f"{COMMITS}/{source_id}"):
            with self._run.open_read(name) as file:
                parquet = pq.ParquetFile(file)
                ids = parquet.read(columns=["clip_id"])["clip_id"].to_pylist()
                if clip_id in ids:
                    row: dict[str, Any] = parquet.read_row_group(ids.index(clip_id)).to_pylist()[0]
                    header = json.loads(parquet.schema_arrow.metadata[_KEY])
                    return {**row, "facts": header["facts"]}
        raise KeyError(f"clip {clip_id}: not in the commits of source {source_id}")

    def _complete(self, source_id: str = "") -> dict[str, list[str]]:
        """Names of the commits of complete sources, segments in order.

        Where a source was cut differently in the past, segments of another number lie about.
        """
        cuts: dict[tuple[str, int], dict[int, str]] = {}
        for name in self._run.list(f"{COMMITS}/{source_id}"):
            match = _NAME.fullmatch(name)
            if match:
                cut = match["source"], int(match["parts"] or 1)
                cuts.setdefault(cut, {})[int(match["part"] or 0)] = name
        return {
            source: [parts[number] for number in range(count)]
            for (source, count), parts in sorted(cuts.items())
            if len(parts) == count
        }

    def _read(self, name: str, evidence: bool) -> Commit:
        with self._run.open_read(name) as file:
            parquet = pq.ParquetFile(file)
            schema = parquet.schema_arrow
            check_version(schema, self._run.join(name))
            columns = [c for c in schema.names if evidence or c not in EVIDENCE_COLUMNS]
            table = parquet.read(columns=columns)
        values = json.loads(schema.metadata[_KEY])
        values["state"] = SourceState(values["state"])
        return Commit(CommitHeader(**values), table)


def is_current(header: CommitHeader, fingerprints: Mapping[str, str]) -> bool:
    """Tell whether every measurement of a commit was made as the pipeline makes it now.

    Args:
        header: header of the commit.
        fingerprints: fingerprints of the pipeline.

    Returns:
        ``False`` if a stage was changed, added or removed.
    """
    return header.fingerprints == dict(fingerprints)


def _name(header: CommitHeader) -> str:
    return _segment_name(header.source_id, header.segment, header.num_segments)


def _segment_name(source_id: str, segment: int, num_segments: int) -> str:
    part = f".{segment:04d}-of-{num_segments:04d}" if num_segments > 1 else ""
    return f"{COMMITS}/{source_id}{part}.parquet"
