"""Is a run whole: do its tables, its counts, its verdicts and its dataset agree?

Not here: the shards themselves, which ``verify_dataset`` reads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.dataset import CLIPS_NAME
from manifests.errors import ManifestError, SchemaError
from manifests.faults import Fault, FaultKind
from manifests.inspection.place import RUN_NAME, SOURCES_NAME, Place
from manifests.inspection.what_if import columns_of
from manifests.ledger import Ledger
from manifests.reasons import Reason
from manifests.records import ClipState, SourceState
from manifests.selection import select
from manifests.verify import verify_dataset
from manifests.verify_sample import id_fault

_DEAD_LETTERS = "dead_letter.jsonl"
_ID_COLUMNS = (
    "clip_id",
    "source_id",
    "track",
    "start_pts",
    "end_pts",
    "time_base_num",
    "time_base_den",
)


def verify_place(place: Place, *, num_threads: int | None = None) -> list[Fault]:
    """List everything that is wrong with a run, its dataset, or a dataset alone.

    Args:
        place: what to look at.
        num_threads: shards that are read at a time; by default one a processor.

    Returns:
        The faults, those of the run first; none if all is whole.
    """
    faults = [] if place.run is None else list(run_faults(place))
    if place.dataset is not None:
        faults += verify_dataset(place.dataset, num_threads=num_threads)
    return faults


def run_faults(place: Place) -> Iterator[Fault]:
    """Yield what is wrong with a run beside its shards.

    Args:
        place: the run.

    Yields:
        Each fault.
    """
    run = place.needs_run("books")
    for name in (CLIPS_NAME, SOURCES_NAME):
        if not run.exists(name):
            yield Fault(FaultKind.RUN_UNFINISHED, name, "a table", "none")
            return
    if place.dataset is None:
        yield Fault(FaultKind.RUN_UNFINISHED, "dataset/dataset.json", "a packed dataset", "none")
    try:
        clips = place.clips(list(dict.fromkeys([*_ID_COLUMNS, *columns_of(place, place.gates)])))
        sources = place.sources()
    except SchemaError as error:
        name = CLIPS_NAME if f"/{CLIPS_NAME}" in str(error) else SOURCES_NAME
        found = str(error).partition(": ")[2].partition(",")[0]
        yield Fault(FaultKind.SCHEMA_VERSION, name, "a table of this version", found)
        return
    except (pa.ArrowException, OSError) as error:
        yield Fault(FaultKind.TABLE_INVALID, CLIPS_NAME, "a table", str(error).splitlines()[0])
        return
    except ValueError as error:  # run.json is no JSON, or its gates are none
        found = str(error).splitlines()[0]
        yield Fault(FaultKind.MANIFEST_INVALID, RUN_NAME, "the record of a run", found)
        return
    yield from _source_faults(place, sources, clips)
    yield from _count_faults(place, sources, clips)
    yield from _clip_faults(place, clips)
    if place.dataset is not None:
        yield from _packed_faults(place, clips)


def _source_faults(place: Place, sources: pa.Table, clips: pa.Table) -> Iterator[Fault]:
    """Yield inputs that ended nowhere, or whose clips do not add up."""
    found = Counter(clips["source_id"].to_pylist())
    is_kept = pc.equal(clips["state"], str(ClipState.KEPT))
    kept = Counter(clips.filter(is_kept)["source_id"].to_pylist())
    committed = Ledger(place.needs_run("commits")).source_ids()
    letters = _dead_sources(place)
    known = set()
    for row in sources.to_pylist():
        where = f"{SOURCES_NAME}:{row['source_id']}"
        known.add(row["source_id"])
        if row["state"] not in set(SourceState):
            rule = "done, rejected or dead"
            yield Fault(FaultKind.BOOKS_UNBALANCED, where, rule, str(row["state"]))
        if row["state"] != SourceState.DONE and not row["reason"]:
            yield Fault(
                FaultKind.BOOKS_UNBALANCED, where, f"a reason, being {row['state']}", "none"
            )
        if row["state"] == SourceState.DEAD:
            if row["source_id"] not in letters:
                rule = f"a dead letter in {_DEAD_LETTERS}"
                yield Fault(FaultKind.BOOKS_UNBALANCED, where, rule, "none")
            continue
        if row["reason"] == Reason.DUPLICATE_SOURCE:
            continue  # its clips are on the books of the first of the two
        if row["source_id"] not in committed:
            yield Fault(FaultKind.COMMIT_MISSING, where, "a commit in commits/", "none")
        counts = row["num_clips_found"], row["num_clips_kept"]
        counted = found[row["source_id"]], kept[row["source_id"]]
        if counts != counted:
            rule = f"{counts[0]} clips found and {counts[1]} kept"
            told = f"{counted[0]} and {counted[1]} in {CLIPS_NAME}"
            yield Fault(FaultKind.BOOKS_UNBALANCED, where, rule, told)
    for source_id in sorted(found.keys() - known):
        where = f"{CLIPS_NAME}:{source_id}"
        yield Fault(FaultKind.BOOKS_UNBALANCED, where, f"its source in {SOURCES_NAME}", "none")


def _count_faults(place: Place, sources: pa.Table, clips: pa.Table) -> Iterator[Fault]:
    """Yield counts of ``run.json`` that the tables do not bear out."""
    record = place.run_record
    if record.get("ended_at") is None:
        yield Fault(FaultKind.RUN_UNFINISHED, RUN_NAME, "a time at which it ended", "none")
    states = Counter(sources["state"].to_pylist())
    clip_states = Counter(clips["state"].to_pylist())
    counted: dict[str, Any] = {"inputs": sources.num_rows}
    counted |= {str(state): states[state] for state in SourceState}
    said: dict[str, Any] = dict(record.get("counts") or {})
    for name, number in (("num_clips", clips.num_rows), ("num_kept", clip_states["kept"])):
        counted[name], said[name] = number, record.get(name)
    for name, number in counted.items():
        if said.get(name) is not None and said[name] != number:
            rule = f"{name} {said[name]}"
            yield Fault(FaultKind.BOOKS_UNBALANCED, RUN_NAME, rule, f"{number} in the tables")


def _clip_faults(place: Place, clips: pa.Table) -> Iterator[Fault]:
    """Yield clips with another id or verdict than their row gives."""
    for row in clips.select(list(_ID_COLUMNS)).to_pylist():
        fault = id_fault(f"{CLIPS_NAME}:{row['clip_id']}", row)
        if fault is not None:
            yield fault
    counts = Counter(clips["clip_id"].to_pylist())
    for clip_id in sorted(clip_id for clip_id, count in counts.items() if count > 1):
        where = f"{CLIPS_NAME}:{clip_id}"
        yield Fault(FaultKind.ROW_DUPLICATE, where, "one row", f"{counts[clip_id]} rows")
    judged = select(clips, place.rules)
    stored = clips.sort_by("clip_id")
    for number in np.flatnonzero(judged["state"].to_numpy() != stored["state"].to_numpy()):
        where = f"{CLIPS_NAME}:{stored['clip_id'][int(number)]}"
        rule = f"{judged['state'][int(number)]}, by the gates of {RUN_NAME}"
        found = str(stored["state"][int(number)])
        yield Fault(FaultKind.VERDICT_DIFFERS, where, rule, found)


def _packed_faults(place: Place, clips: pa.Table) -> Iterator[Fault]:
    """Yield where the dataset is not what the run keeps now."""
    try:
        manifest, packed = place.manifest, place.packed(["clip_id"])
    except (ManifestError, pa.ArrowException, OSError):
        return  # verify_dataset names it
    recipe = place.run_record.get("recipe_digest")
    if manifest is not None and manifest.recipe_digest != recipe:
        where, rule = "dataset/dataset.json", f"{recipe}, the recipe of {RUN_NAME}"
        yield Fault(FaultKind.RECIPE_DIFFERS, where, rule, manifest.recipe_digest)
    is_kept = pc.equal(clips["state"], str(ClipState.KEPT))
    kept = set(clips.filter(is_kept)["clip_id"].to_pylist())
    in_shards = set(packed["clip_id"].to_pylist())
    for clip_id in sorted(kept - in_shards):
        where = f"{CLIPS_NAME}:{clip_id}"
        yield Fault(FaultKind.CLIP_NOT_PACKED, where, "a sample, being kept", "none")
    for clip_id in sorted(in_shards - kept):
        where = f"dataset/{CLIPS_NAME}:{clip_id}"
        yield Fault(FaultKind.PACKED_NOT_KEPT, where, "kept clips only", "one that is not kept")


def _dead_sources(place: Place) -> set[str]:
    run = place.needs_run("dead letters")
    if not run.exists(_DEAD_LETTERS):
        return set()
    found = set()
    for line in run.read_bytes(_DEAD_LETTERS).decode("utf-8", "replace").splitlines():
        with suppress(ValueError, AttributeError):  # a broken letter is none
            found.add(json.loads(line).get("source_id", ""))
    return found
