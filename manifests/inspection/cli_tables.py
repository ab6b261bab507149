"""Sub-commands of `shards` that answer from the tables: `ls`, `stats`, `diff`, `what-if`, `sample`.

Exit codes: 0 done, 1 a difference where `diff --exit-code` asks for it, 2 wrong use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer
from pydantic import ValidationError

from manifests.errors import DatasetError, ManifestError
from manifests.inspection.drift import Difference, difference
from manifests.inspection.expressions import Condition, read_condition
from manifests.inspection.listing import Listing, listing
from manifests.inspection.options import AsJson, PlaceName, PlaceNames, find_all, refuse
from manifests.inspection.place import Place
from manifests.inspection.statistics import (
    NumberSummary,
    Statistics,
    ValueSummary,
    statistics,
)
from manifests.inspection.text_tables import histogram, lasting, number, print_table, size, states
from manifests.inspection.what_if import WhatIf, what_if
from manifests.records import ClipState
from manifests.refusals import Refusal

LS_EXAMPLE = "Example: shards ls runs/first s3://bucket/runs/second"
STATS_EXAMPLE = "Example: shards stats runs/first --field 'sync.*' --by probe.video_codec"
DIFF_EXAMPLE = "Example: shards diff runs/first runs/second --exit-code"
WHAT_IF_EXAMPLE = (
    "Example: shards what-if runs/first --set sync.min_confidence=0.7 --unset picture.max_noise"
)
SAMPLE_EXAMPLE = (
    "Example: shards sample runs/first -n 5 --where "
    "'sync.confidence < 0.6 and faces.height_px > 200'"
)

_WHERE_HELP = (
    "Condition on columns: < <= > >= == != in, 'is None', and or not, + - * /, abs(x), "
    "startswith(x, 'a'), contains(x, 'a'). A missing value is never true."
)
State = Annotated[ClipState | None, typer.Option("--state", help="Only clips of this state.")]


def list_places(where: PlaceNames, as_json: AsJson = False) -> None:
    """List runs and datasets: states, shards, samples, hours, bytes."""
    with refusing():
        found = [listing(place) for place in find_all(where)]
    if as_json:
        print_json({"places": [item.to_json() for item in found]})
        return
    print_table(
        ("place", "shards", "samples", "video", "bytes", "sources", "clips"),
        [_listing_row(item) for item in found],
    )
    for item in found:
        _print_details(item)


def stats(
    where: PlaceName,
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="GLOB", help="Only these fields, as 'sync.*'. Repeatable."),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="FIELD", help="Apart for each value of a field.")
    ] = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Show how the measurements are distributed, and what refused the clips.

    A bar in a histogram is the limit of a gate.
    """
    with refusing():
        (place,) = find_all([where])
        found = statistics(place, globs=fields or (), by=by, state=state)
    if as_json:
        print_json({"place": where, **asdict(found)})
        return
    print(
        f"{where}: {found.num_clips:,} clips of {lasting(found.clips_s)}, "
        f"{found.num_kept:,} of {lasting(found.kept_s)} kept"
    )
    _print_fields(found, by)
    _print_refusals(found.refusals)


def diff(
    first: PlaceName,
    second: PlaceName,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if anything differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two runs or datasets: clips, measurements, verdicts, recipes, bytes."""
    with refusing():
        a, b = find_all([first, second])
        found = difference(a, b)
    if as_json:
        print_json({"a": first, "b": second, "same": found.is_none, **asdict(found)})
    else:
        _print_difference(found)
    if exit_code and not found.is_none:
        raise typer.Exit(1)


def what_if_gates(
    where: PlaceName,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A gate: sync.min_confidence=0.7."),
    ] = None,
    unsets: Annotated[
        list[str] | None, typer.Option("--unset", metavar="KEY", help="A gate to leave out.")
    ] = None,
    num_closest: Annotated[
        int, typer.Option("--closest", min=0, help="Clips shown on either side of a limit.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Say what other gates would keep; nothing is decoded, nothing is written.

    The verdicts are those that `curate select` with the same --set would store.
    """
    with refusing():
        (place,) = find_all([where])
        found = what_if(place, sets or (), unsets or (), num_closest=num_closest)
    if as_json:
        print_json({"place": where, **found.to_json()})
        return
    _print_what_if(found)


def sample(
    where: PlaceName,
    condition: Annotated[str | None, typer.Option("--where", help=_WHERE_HELP)] = None,
    num: Annotated[int, typer.Option("-n", "--num", min=1, help="So many clips at most.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same clips.")] = 0,
    columns: Annotated[
        str | None,
        typer.Option("--columns", help="Columns to show, with commas; default: those of --where."),
    ] = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Draw clips at random, of those that meet a condition."""
    with refusing():
        (place,) = find_all([where])
        wanted = read_condition(condition, place.schema) if condition else None
        shown = _shown_columns(place, wanted, columns)
        rows, num_found = _drawn(place, wanted, shown, state, num, seed)
    if as_json:
        print_json({"place": where, "num_found": num_found, "clips": rows})
        return
    print(f"{len(rows)} of {num_found:,} clips")
    cells = [[_cell(row[name]) for name in shown] for row in rows]
    print_table(shown, cells, left=2)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what the user can mend into one line and exit code 2."""
    try:
        yield
    except ManifestError as error:
        refuse(error)
    except (pa.ArrowException, OSError) as error:
        refuse(DatasetError(f"a table cannot be read: {str(error).splitlines()[0]}"))
    except (json.JSONDecodeError, ValidationError) as error:
        refuse(DatasetError(f"run.json cannot be read: {str(error).splitlines()[0]}"))


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object; numbers that are none become null."""
    typer.echo(json.dumps(_plain(record), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _listing_row(item: Listing) -> tuple[str, ...]:
    totals = item.manifest.totals if item.manifest else None
    counted = (
        (f"{totals.num_shards}", f"{totals.num_samples:,}", lasting(totals.duration_s))
        if totals
        else ("-", "-", "-")
    )
    num_bytes = size(totals.num_bytes) if totals else "-"
    return item.place, *counted, num_bytes, states(item.sources), states(item.clips)


def _print_details(item: Listing) -> None:
    unfinished = "; it has not come to its end" if item.is_finished is False else ""
    print(f"\n{item.place}: recipe {item.recipe}{unfinished}")
    if item.clips_s:
        print("clips: " + ", ".join(f"{lasting(s)} {state}" for state, s in item.clips_s.items()))
    if item.manifest is not None:
        print_table(
            ("shard", "samples", "seconds", "bytes", "sha256"),
            [
                (
                    shard.path,
                    f"{shard.num_samples}",
                    f"{shard.duration_s:.2f}",
                    f"{shard.num_bytes}",
                    shard.sha256[:12],
                )
                for shard in item.manifest.shards
            ],
        )


def _print_fields(found: Statistics, by: str | None) -> None:
    numbers = [item for item in found.fields if isinstance(item, NumberSummary)]
    values = [item for item in found.fields if isinstance(item, ValueSummary)]
    group = [by] if by else []
    if numbers:
        print_table(
            ("field", *group, "unit", "count", "missing", *_QUANTILES, "", "limits"),
            [_number_row(item, bool(by)) for item in numbers],
        )
    if values:
        print_table(
            ("field", *group, "count", "missing", "values", "", "limits"),
            [_value_row(item, bool(by)) for item in values],
        )


_QUANTILES = ("min", "p5", "median", "p95", "max")


def _number_row(item: NumberSummary, with_group: bool) -> list[str]:
    quantiles = [number(getattr(item, name)) for name in _QUANTILES]
    marks = [limit.bin for limit in item.limits if limit.bin is not None]
    limits = ", ".join(f"{limit.bound} {limit.text}" for limit in item.limits)
    head = [item.name, *([item.group or ""] if with_group else []), item.unit]
    counts = [f"{item.count}", f"{item.num_missing}"]
    return [*head, *counts, *quantiles, histogram(item.bins, marks), limits]


def _value_row(item: ValueSummary, with_group: bool) -> list[str]:
    top = ", ".join(f"{_cell(value)} {count}" for value, count in item.top)
    limits = ", ".join(f"{limit.bound} {limit.text}" for limit in item.limits)
    head = [item.name, *([item.group or ""] if with_group else [])]
    return [*head, f"{item.count}", f"{item.num_missing}", f"{item.num_values}", top, limits]


def _print_refusals(found: tuple[Refusal, ...]) -> None:
    if not found:
        return
    print_table(
        ("refused for", "first gate", "video", "any gate", "video"),
        [
            (
                item.reason,
                f"{item.num_first}",
                lasting(item.first_s),
                f"{item.num_any}",
                lasting(item.any_s),
            )
            for item in found
        ],
    )


def _print_what_if(found: WhatIf) -> None:
    print(
        f"{found.num_kept:,} of {found.num_clips:,} clips kept ({lasting(found.kept_s)}): "
        f"{found.num_won:,} won ({lasting(found.won_s)}), "
        f"{found.num_lost:,} lost ({lasting(found.lost_s)})"
    )
    if found.num_pending:
        print(f"{found.num_pending:,} would wait for a stage they were spared: `curate run` again")
    for limit in found.limits:
        before, after = (text or "none" for text in (limit.before, limit.after))
        cases = [(side, case) for side in ("passing", "failing") for case in getattr(limit, side)]
        print_table(
            ("closest clip", "limit", "value", "distance", "verdict"),
            [
                (case.clip_id, side, number(case.value), number(case.distance), case.state)
                for side, case in cases
            ],
            left=2,
            title=f"{limit.field}: {limit.bound} {before} -> {after}",
        )
    _print_refusals(found.reasons)


def _print_difference(found: Difference) -> None:
    if found.is_none:
        print(f"no difference in {found.num_common:,} clips")
        return
    print(
        f"{found.num_common:,} clips in both, {len(found.added):,} added, "
        f"{len(found.removed):,} removed, {len(found.changed):,} changed"
    )
    for sign, ids in (("+", found.added), ("-", found.removed)):
        for clip_id in ids[:_MAX_IDS]:
            print(f"{sign} {clip_id}")
        if len(ids) > _MAX_IDS:
            print(f"{sign} and {len(ids) - _MAX_IDS:,} more; --json lists all")
    if found.drift:
        print_table(
            ("field", "changed", "appeared", "vanished", "median change", "p95 of |change|"),
            [
                (
                    item.name,
                    f"{item.num_changed}",
                    f"{item.num_appeared}",
                    f"{item.num_vanished}",
                    number(item.median_change),
                    number(item.p95_abs_change),
                )
                for item in found.drift
            ],
        )
    if found.verdicts:
        print_table(
            ("verdict", "before", "after", ""),
            [
                (item.clip_id, item.before, item.after, ", ".join(item.reasons))
                for item in found.verdicts[:_MAX_IDS]
            ],
            left=3,
        )
    for name in ("recipe", "versions"):
        changed: dict[str, tuple[Any, Any]] = getattr(found, name)
        rows = [(key, _cell(old), _cell(new)) for key, (old, new) in changed.items()]
        if rows:
            print_table((name, "A", "B"), rows, left=3)
    for ext, count in found.members.items():
        print(f"other bytes in {count} packed .{ext}")
    for name, fields in (("A", found.only_a), ("B", found.only_b)):
        if fields:
            print(f"measured in {name} only: {', '.join(fields)}")


_MAX_IDS = 20


def _shown_columns(place: Place, wanted: Condition | None, columns: str | None) -> list[str]:
    if columns:
        return [name.strip() for name in columns.split(",") if name.strip()]
    used = wanted.columns if wanted else ()
    return list(dict.fromkeys(["clip_id", "uri", "start_s", "duration_s", "state", *used]))


def _drawn(
    place: Place,
    wanted: Condition | None,
    shown: list[str],
    state: ClipState | None,
    num: int,
    seed: int,
) -> tuple[list[dict[str, Any]], int]:
    """Return rows drawn at random, in the order of the table, and how many there were."""
    used = wanted.columns if wanted else ()
    table = place.clips(list(dict.fromkeys(["state", *shown, *used])))
    if state is not None:
        table = table.filter(pc.equal(table["state"], str(state)))
    if wanted is not None:
        table = wanted.rows(table)
    drawn = np.random.default_rng(seed).permutation(table.num_rows)[:num]
    rows = table.select(shown).take(pa.array(np.sort(drawn))).to_pylist()
    return rows, table.num_rows


def _cell(value: Any) -> str:
    text = number(value) if isinstance(value, float) else "" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:28]}...{text[-29:]}"
