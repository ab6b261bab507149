"""How the measurements of a run are distributed, and what refused its clips.

Read one column at a time by each of a few threads, so that a million clips need little memory.
Lists (curves, hashes) have no distribution and are left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.errors import SchemaError
from manifests.gates import Gate, text_of
from manifests.inspection.distributions import histogram, quantiles
from manifests.inspection.place import Place
from manifests.records import ClipState
from manifests.refusals import Refusal, refusals

NUM_BINS = 24
NUM_TOP = 5
MAX_GROUPS = 12
_TAILS = (0.005, 0.995)
"""Values beyond are counted in the bins at the ends, so that one stray value squeezes nothing."""
_NUM_READERS = 2


@dataclass(frozen=True)
class Limit:
    """A bound of a gate, for people.

    Attributes:
        bound: ``min``, ``max``, ``equals`` or ``one_of``.
        text: the limit.
        bin: bin before which it lies, 0 to the number of bins; ``None`` if it is no number.
    """

    bound: str
    text: str
    bin: int | None


@dataclass(frozen=True)
class NumberSummary:
    """Distribution of a number.

    Attributes:
        name, unit: of the measurement.
        group: value of the field that clips are grouped by; ``None`` without grouping.
        count, num_missing: clips with and without a value.
        min, p5, median, p95, max: of the values; ``None`` if there is none.
        low, high: ends of the histogram.
        bins: clips in each of its equally wide bins.
        limits: bounds of the recipe.
    """

    name: str
    unit: str
    group: str | None
    count: int
    num_missing: int
    min: float | None
    p5: float | None
    median: float | None
    p95: float | None
    max: float | None
    low: float | None
    high: float | None
    bins: tuple[int, ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class ValueSummary:
    """Distribution of a text, or of true and false.

    Attributes:
        name, group, count, num_missing, limits: as in :class:`NumberSummary`.
        num_values: different values.
        top: the most frequent values with their counts, equal ones by name.
    """

    name: str
    group: str | None
    count: int
    num_missing: int
    num_values: int
    top: tuple[tuple[str, int], ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Statistics:
    """What is in a run.

    Attributes:
        num_clips, clips_s: all clips that were asked for, and their seconds.
        num_kept, kept_s: those kept.
        fields: one summary a field, or a field and group.
        refusals: what is not kept, by reason.
    """

    num_clips: int
    clips_s: float
    num_kept: int
    kept_s: float
    fields: tuple[NumberSummary | ValueSummary, ...]
    refusals: tuple[Refusal, ...]


def statistics(
    place: Place,
    *,
    globs: Sequence[str] = (),
    by: str | None = None,
    state: ClipState | None = None,
) -> Statistics:
    """Summarise the clips of a run or a dataset.

    Args:
        place: where the clips are.
        globs: patterns of the fields wanted; by default the length and all measurements.
        by: field to group by, with at most ``MAX_GROUPS`` different values.
        state: only clips of this state.

    Returns:
        The summary.
    """
    names = _fields_wanted(place, globs)
    units = {name: field.unit for name, field in place.fields.items()}
    gates = place.gates
    groups: list[tuple[str | None, np.ndarray | None]] = [(None, None)]
    verdicts = _verdicts(place)
    chosen = None
    if state is not None:
        chosen = _equal(verdicts["state"], state)
        verdicts = verdicts.filter(pa.array(chosen))
    if by is not None:
        groups = _groups(place, by, chosen)

    def summarised(some: list[str]) -> dict[str, list[NumberSummary | ValueSummary]]:
        found = {}
        for name, column in _columns(place, some):
            if chosen is not None:
                column = column.filter(pa.array(chosen))
            own = [gate for gate in gates if gate.field.name == name]
            unit = units.get(name, "")
            found[name] = [
                _summary(name, unit, part, group, own)
                for group, rows in groups
                for part in [column if rows is None else column.take(pa.array(rows))]
            ]
        return found

    by_name: dict[str, list[NumberSummary | ValueSummary]] = {}
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        for part in pool.map(summarised, [names[k::_NUM_READERS] for k in range(_NUM_READERS)]):
            by_name |= part
    fields = tuple(found for name in names for found in by_name[name])
    lasting_s = verdicts["duration_s"].to_numpy()
    is_kept = _equal(verdicts["state"], ClipState.KEPT)
    return Statistics(
        num_clips=verdicts.num_rows,
        clips_s=float(lasting_s.sum()),
        num_kept=int(is_kept.sum()),
        kept_s=float(lasting_s[is_kept].sum()),
        fields=fields,
        refusals=tuple(refusals(verdicts)),
    )


def _fields_wanted(place: Place, globs: Sequence[str]) -> list[str]:
    scalars = [column.name for column in place.schema if not pa.types.is_nested(column.type)]
    if not globs:
        measured = place.fields
        return ["duration_s", *(name for name in scalars if name in measured)]
    found: dict[str, None] = {}
    for glob in globs:
        matching = [name for name in scalars if fnmatchcase(name, glob)]
        if not matching:
            near = difflib.get_close_matches(glob, scalars, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SchemaError(f"--field {glob}: no column of numbers, texts or truths{hint}")
        found.update(dict.fromkeys(matching))
    return list(found)


def _columns(place: Place, names: Sequence[str]) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Columns one by one; texts as dictionaries, as they are stored, so that equal ones are one."""
    folder, file_name = place.clips_file
    texts = [name for name in names if pa.types.is_string(place.schema.field(name).type)]
    with folder.open_read(file_name) as file:
        parquet = pq.ParquetFile(file, read_dictionary=texts)
        for name in names:
            column = parquet.read(columns=[name], use_threads=False)[name]
            yield name, column.unify_dictionaries() if name in texts else column


def _verdicts(place: Place) -> pa.Table:
    """State, length and reasons of all clips; of the failed gates nothing else is read."""
    folder, name = place.clips_file
    _ = place.schema  # checks the version
    with folder.open_read(name) as file:
        parquet = pq.ParquetFile(file)
        paths = (parquet.schema.column(number).path for number in range(len(parquet.schema)))
        reason = next(
            path for path in paths if path.startswith("failed_gates.") and path.endswith(".reason")
        )
        return parquet.read(columns=["state", "duration_s", reason])


def _groups(
    place: Place, by: str, chosen: np.ndarray | None
) -> list[tuple[str | None, np.ndarray | None]]:
    _fields_wanted(place, [by])
    column = place.clips([by])[by].combine_chunks()
    if chosen is not None:
        column = column.filter(pa.array(chosen))
    encoded = column.dictionary_encode(null_encoding="encode")
    values = encoded.dictionary.to_pylist()
    if len(values) > MAX_GROUPS:
        raise SchemaError(
            f"--by {by}: has {len(values)} different values, at most {MAX_GROUPS} can be shown; "
            "take one with fewer, such as state or probe.video_codec"
        )
    codes = encoded.indices.to_numpy()
    named = [
        ("missing" if value is None else str(value), code) for code, value in enumerate(values)
    ]
    return [(name, np.flatnonzero(codes == code)) for name, code in sorted(named)]


def _summary(
    name: str, unit: str, column: pa.ChunkedArray, group: str | None, gates: Sequence[Gate]
) -> NumberSummary | ValueSummary:
    kind = column.type
    if pa.types.is_boolean(kind) or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        limits = tuple(Limit(gate.bound, text_of(gate.limit), None) for gate in gates)
        return _of_values(name, group, column.combine_chunks(), limits)
    values = column.to_numpy().astype(np.float64, copy=False)  # a missing one is NaN
    is_there = np.isfinite(values)
    if not is_there.all():
        values = values[is_there]
    bounds = [float(gate.limit) for gate in gates if isinstance(gate.limit, int | float)]
    if not len(values):
        limits = tuple(Limit(gate.bound, text_of(gate.limit), None) for gate in gates)
        nothing = (None,) * 7
        return NumberSummary(name, unit, group, 0, len(column), *nothing, (), limits)
    lowest, tail_low, p5, median, p95, tail_high, highest = quantiles(
        values, (0, _TAILS[0], 0.05, 0.5, 0.95, _TAILS[1], 1)
    )
    low, high = min([tail_low, *bounds]), max([tail_high, *bounds])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    per_bin = NUM_BINS / (high - low)
    limits = tuple(
        Limit(
            gate.bound,
            text_of(gate.limit),
            round((float(gate.limit) - low) * per_bin)
            if isinstance(gate.limit, int | float)
            else None,
        )
        for gate in gates
    )
    return NumberSummary(
        name=name,
        unit=unit,
        group=group,
        count=len(values),
        num_missing=len(column) - len(values),
        min=lowest,
        p5=p5,
        median=median,
        p95=p95,
        max=highest,
        low=low,
        high=high,
        bins=tuple(histogram(values, low, high, NUM_BINS)),
        limits=limits,
    )


def _of_values(
    name: str, group: str | None, column: pa.Array, limits: tuple[Limit, ...]
) -> ValueSummary:
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    counts = np.bincount(encoded.indices.drop_null().to_numpy(), minlength=len(encoded.dictionary))
    # Of many values only those that may be among the most frequent become Python objects.
    least = max(1, np.sort(counts)[-NUM_TOP]) if len(counts) > NUM_TOP else 1
    likely = np.flatnonzero(counts >= least)[: 100 * NUM_TOP]
    named = zip(encoded.dictionary.take(pa.array(likely)).to_pylist(), counts[likely], strict=True)
    top = sorted(((str(value), int(count)) for value, count in named), key=lambda v: (-v[1], v[0]))
    count = int(counts.sum())
    num_missing, num_values = len(column) - count, int((counts > 0).sum())
    return ValueSummary(name, group, count, num_missing, num_values, tuple(top[:NUM_TOP]), limits)


def _equal(states: pa.ChunkedArray, state: ClipState) -> np.ndarray:
    return pc.equal(states, str(state)).combine_chunks().to_numpy(zero_copy_only=False)
