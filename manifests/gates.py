"""Gates: bounds on measurements, and the pure function that applies them.

Nothing is measured here. The same stored measurements can be judged again and again, with other
bounds, in seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from manifests.measurement import Field
from manifests.reasons import Reason
from manifests.records import ClipState, FailedGate

Bound = Literal["min", "max", "equals", "one_of"]
BOUNDS: tuple[Bound, ...] = ("min", "max", "equals", "one_of")


class Bounds(BaseModel):
    """The bounds that a recipe sets on one measurement.

    Attributes:
        min: smallest value that passes.
        max: largest value that passes.
        equals: the only value that passes.
        one_of: the values that pass.
        allow_missing: a missing value passes; it is refused otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: float | None = None
    max: float | None = None
    equals: bool | float | str | None = None
    one_of: tuple[str, ...] | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class Gate:
    """One bound on one measurement.

    Attributes:
        field: the measurement.
        bound: kind of bound.
        limit: its value.
        allow_missing: a missing value passes.
    """

    field: Field
    bound: Bound
    limit: Any
    allow_missing: bool = False

    @property
    def stage_name(self) -> str:
        """The stage that measures the field."""
        return self.field.name.split(".", 1)[0]

    def failure(self, value: Any) -> FailedGate | None:
        """Judge one value.

        Args:
            value: the measured value, ``None`` if missing.

        Returns:
            ``None`` if it passes, else what failed.
        """
        if value is None:
            if self.allow_missing:
                return None
            return self._failed(self.field.other or self.field.low or self.field.high, None)
        if self.bound == "min":
            return None if value >= self.limit else self._failed(self.field.low, value)
        if self.bound == "max":
            return None if value <= self.limit else self._failed(self.field.high, value)
        if self.bound == "equals":
            return None if value == self.limit else self._failed(self.field.other, value)
        return None if value in self.limit else self._failed(self.field.other, value)

    def _failed(self, reason: Reason | None, value: Any) -> FailedGate:
        return FailedGate(
            reason=reason or Reason.OUT_OF_BOUNDS,
            field=self.field.name,
            bound=self.bound,
            measured=None if value is None else text_of(value),
            limit=text_of(self.limit),
        )


@dataclass(frozen=True)
class Verdict:
    """What was decided about a clip, with every gate that failed."""

    state: ClipState
    failed: tuple[FailedGate, ...]


def bound_of(key: str, names: Collection[str]) -> tuple[str, Bound] | None:
    """Read the key of a gate: ``sync.min_confidence`` is the ``min`` of ``sync.confidence``.

    Args:
        key: ``stage.bound_field``.
        names: known measurements.

    Returns:
        Measurement and kind of bound; ``None`` if the key is no gate on any of them.
    """
    stage, _, rest = key.partition(".")
    for bound in BOUNDS:
        field = rest.removeprefix(f"{bound}_")
        if field != rest and f"{stage}.{field}" in names:
            return f"{stage}.{field}", bound
    return None


def gates_of(bounds: Mapping[str, Bounds], fields: Mapping[str, Field]) -> tuple[Gate, ...]:
    """Gates of a recipe, in the order of the measured columns.

    Args:
        bounds: bounds by name of the measurement; every name is in ``fields``.
        fields: all measurements by name.

    Returns:
        One gate for each bound that is set.
    """
    gates = []
    for name, field in fields.items():
        if name not in bounds:
            continue
        for bound in BOUNDS:
            limit = getattr(bounds[name], bound)
            if limit is not None:
                gates.append(Gate(field, bound, limit, bounds[name].allow_missing))
    return tuple(gates)


def judge(
    values: Mapping[str, Any],
    gates: Sequence[Gate],
    measured_stages: Collection[str],
    all_stages: Collection[str] = (),
) -> Verdict:
    """Decide about one clip.

    Gates of a stage that did not measure the clip are left out: it was spared because an
    earlier gate had refused the clip. If nothing refuses it now, it is pending.

    Args:
        values: measurements by name.
        gates: gates of the recipe.
        measured_stages: stages that measured the clip.
        all_stages: stages that measure every clip which is kept, with a gate or without.

    Returns:
        The verdict.
    """
    failed = []
    is_waiting = not {*all_stages, *(gate.stage_name for gate in gates)} <= {*measured_stages}
    for gate in gates:
        if gate.stage_name not in measured_stages:
            continue
        failure = gate.failure(values.get(gate.field.name))
        if failure is not None:
            failed.append(failure)
    if failed:
        return Verdict(ClipState.REJECTED, tuple(failed))
    return Verdict(ClipState.PENDING if is_waiting else ClipState.KEPT, ())


def text_of(value: Any) -> str:
    """Write a measured value or a limit as verdicts have it: numbers with six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
