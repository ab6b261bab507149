"""Clips that a user names or filters: their rows in the tables of a run or dataset."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import pyarrow.parquet as pq

from manifests.dataset import CLIPS_NAME
from manifests.errors import DatasetError, SchemaError
from manifests.inspection.place import Place
from manifests.reasons import Reason
from manifests.records import ClipState, SourceState
from manifests.span import Span
from manifests.storage import Folder

_NUM_LISTED = 5


@dataclass(frozen=True)
class ClipRow:
    """One clip as the tables have it.

    Attributes:
        values: its row in the table of all clips.
        sample: its row in the table of packed samples; `None` if it is not packed.
    """

    values: dict[str, Any]
    sample: dict[str, Any] | None

    @property
    def clip_id(self) -> str:
        """The clip's id."""
        return str(self.values["clip_id"])

    @cached_property
    def span(self) -> Span:
        """Exact place in its source."""
        base = Fraction(self.values["time_base_num"], self.values["time_base_den"])
        return Span(self.values["start_pts"], self.values["end_pts"], base)

    @property
    def source_name(self) -> str:
        """Last part of the source's URI."""
        return str(self.values["uri"]).rstrip("/").rpartition("/")[2]


def find_clips(place: Place, names: Sequence[str]) -> list[ClipRow]:
    """Find the clips that a user names.

    Args:
        place: Where to look.
        names: Clip ids, unique beginnings of them, or ends of source URIs, whole path parts
            (`talk.mp4`, `b/talk.mp4`); a source stands for all its clips.

    Returns:
        The clips in the order of the names, each once.

    Raises:
        DatasetError: If a name fits nothing, or more than one thing.
    """
    table = place.clips(["clip_id", "uri"])
    ids, uris = (table[name].to_pylist() for name in ("clip_id", "uri"))
    chosen: dict[str, None] = {}
    for name in names:
        chosen.update(dict.fromkeys(_ids_named(place, name, ids, uris)))
    return read_clips(place, list(chosen))


def find_clip(place: Place, name: str) -> ClipRow:
    """Find the one clip that a user names.

    Args:
        place: Where to look.
        name: As in `find_clips`.

    Returns:
        The clip.

    Raises:
        DatasetError: If the name fits nothing, or several clips.
    """
    found = find_clips(place, [name])
    if len(found) > 1:
        raise DatasetError(
            f"{place.given}: {name!r} has {len(found)} clips; give one of "
            f"{_listed([row.clip_id for row in found])}"
        )
    return found[0]


def filter_clips(
    place: Place,
    *,
    where: str | None = None,
    sort: str | None = None,
    reverse: bool = False,
    limit: int | None = None,
) -> list[ClipRow]:
    """Choose clips by their verdict.

    Args:
        place: Where to look.
        where: A state (`kept`, `rejected`, `pending`) or a reason (`FACE_TOO_SMALL`): clips that
            a gate refused for it. All clips by default.
        sort: Column to sort by; missing values last. By id by default.
        reverse: Largest first.
        limit: Most clips to return.

    Returns:
        The clips.

    Raises:
        DatasetError: If there is no such state or reason.
        SchemaError: If there is no such column, or it holds lists.
    """
    wanted = None if where is None else _state_or_reason(place, where)
    if sort is not None:
        _check_sort(place, sort)
    columns = ["clip_id", "state", "failed_gates"]
    if sort is not None and sort not in columns:
        columns.append(sort)
    rows = [
        row
        for row in place.clips(columns).to_pylist()
        if wanted is None
        or row["state"] == wanted
        or any(gate["reason"] == wanted for gate in row["failed_gates"] or ())
    ]
    key = sort or "clip_id"
    present = [row for row in rows if row[key] is not None]
    present.sort(key=lambda row: row[key], reverse=reverse)
    ordered = present + [row for row in rows if row[key] is None]
    return read_clips(place, [row["clip_id"] for row in ordered[:limit]])


def read_clips(place: Place, clip_ids: Sequence[str]) -> list[ClipRow]:
    """Read the rows of clips.

    Args:
        place: Where they are.
        clip_ids: Their ids, each in the table of all clips.

    Returns:
        The clips in the same order.
    """
    all_rows = _rows(*place.clips_file, clip_ids)
    if place.dataset is None:
        samples: dict[str, dict[str, Any]] = {}
    elif place.run is None:
        samples = all_rows
    else:
        samples = _rows(place.dataset, CLIPS_NAME, clip_ids)
    samples = {clip_id: row for clip_id, row in samples.items() if row["shard"] is not None}
    return [ClipRow(all_rows[clip_id], samples.get(clip_id)) for clip_id in clip_ids]


def _rows(folder: Folder, name: str, clip_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not clip_ids:
        return {}
    with folder.open_read(name) as file:
        table = pq.read_table(file, filters=[("clip_id", "in", list(clip_ids))])
    return {row["clip_id"]: row for row in table.to_pylist()}


def _ids_named(place: Place, name: str, ids: list[str], uris: list[str]) -> list[str]:
    if name in ids:
        return [name]
    beginning = [clip_id for clip_id in ids if name and clip_id.startswith(name)]
    if len(beginning) == 1:
        return beginning
    if beginning:
        raise DatasetError(
            f"{place.given}: {len(beginning)} clip ids start with {name!r}: "
            f"{_listed(beginning)}; give more letters"
        )
    named = {uri for uri in uris if _is_end(uri, name)}
    if len(named) > 1:
        raise DatasetError(
            f"{place.given}: {len(named)} sources end in {name!r}: {_listed(sorted(named))}; "
            "give more of the path"
        )
    if named:
        return [clip_id for clip_id, uri in zip(ids, uris, strict=True) if uri in named]
    raise DatasetError(_unknown(place, name, ids, uris))


def _unknown(place: Place, name: str, ids: list[str], uris: list[str]) -> str:
    """Say why no clip has this name: its source gave none, or there is no such source."""
    if place.run is not None:
        for source in place.sources().to_pylist():
            if name and (_is_end(source["uri"], name) or source["source_id"] == name):
                why = f"{source['reason']} ({source['detail']})" if source["reason"] else "none"
                state = source["state"]
                cause = "no speaker was found" if state == SourceState.DONE else f"reason: {why}"
                return f"{place.given}: source {source['uri']} is {state} without a clip, {cause}"
    names = sorted({*ids, *(uri.rpartition("/")[2] for uri in uris)})
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; the nearest known one is {near[0]!r}" if near else ""
    return (
        f"{place.given}: no clip or source is called {name!r}{hint}; "
        "give a clip id, the beginning of one, or the end of a source's path"
    )


def _is_end(uri: str, name: str) -> bool:
    return uri == name or uri.endswith(f"/{name}")


def _state_or_reason(place: Place, where: str) -> str:
    known = {str(value).casefold(): str(value) for kind in (ClipState, Reason) for value in kind}
    if where.casefold() in known:
        return known[where.casefold()]
    near = difflib.get_close_matches(where.casefold(), known, n=1)
    hint = f"; the nearest known one is {known[near[0]]!r}" if near else ""
    raise DatasetError(
        f"{place.given}: {where!r} is neither a state ({', '.join(ClipState)}) nor a reason "
        f"as NOISY_SPEECH{hint}"
    )


def _check_sort(place: Place, sort: str) -> None:
    names = place.schema.names
    if sort not in names:
        near = difflib.get_close_matches(sort, names, n=1, cutoff=0.0)
        raise SchemaError(
            f"{place.given}: no column {sort!r} to sort by; the nearest known one is {near[0]!r}"
        )
    column = place.schema.field(sort)
    if "list" in str(column.type):
        raise SchemaError(f"{place.given}: column {sort!r} holds lists, which have no order")


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _NUM_LISTED} more" if len(values) > _NUM_LISTED else ""
    return ", ".join(values[:_NUM_LISTED]) + more
