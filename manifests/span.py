"""Exact time: a span is two integers on a rational clock; seconds are for people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import total_ordering

from manifests.errors import SchemaError


@total_ordering
@dataclass(frozen=True)
class Span:
    """The half-open interval `[start, end)`, in ticks of `time_base` seconds.

    Spans are ordered by their exact times, whatever their bases. Two spans are equal only if their
    bases are: the same time on another clock is another record.

    Attributes:
        start: First tick inside; may be negative, as stream times may.
        end: First tick after it, greater than `start`.
        time_base: Seconds a tick, positive.

    Raises:
        SchemaError: If the span would be empty or the base is not positive.
    """

    start: int
    end: int
    time_base: Fraction

    def __post_init__(self) -> None:
        if self.time_base <= 0:
            raise SchemaError(f"time base {self.time_base}: has to be positive, as 1/90000")
        if self.end <= self.start:
            raise SchemaError(f"span [{self.start}, {self.end}): the end has to be after the start")

    @classmethod
    def from_seconds(
        cls, start_s: float | Fraction, end_s: float | Fraction, time_base: Fraction
    ) -> Span:
        """Take the ticks that lie within `[start_s, end_s)`: it never grows.

        The start is rounded up to a tick and the end down. A float that is the nearest float to a
        tick is that tick, so that `from_seconds(span.start_s, span.end_s, span.time_base)` is
        `span`; a Fraction is taken exactly.

        Args:
            start_s: Start in seconds.
            end_s: End in seconds.
            time_base: Seconds a tick of the span.

        Returns:
            The longest span within.

        Raises:
            SchemaError: If no tick lies within, or a value is not finite.
        """
        if time_base <= 0:
            raise SchemaError(f"time base {time_base}: has to be positive, as 1/90000")
        start = _tick(start_s, time_base, up=True)
        end = _tick(end_s, time_base, up=False)
        if end <= start:
            raise SchemaError(
                f"[{start_s}, {end_s}) seconds holds no whole tick of {time_base} s: "
                "give a longer span or a finer time base"
            )
        return cls(start, end, time_base)

    @property
    def start_time(self) -> Fraction:
        """Exact start in seconds."""
        return self.start * self.time_base

    @property
    def end_time(self) -> Fraction:
        """Exact end in seconds."""
        return self.end * self.time_base

    @property
    def duration(self) -> Fraction:
        """Exact length in seconds."""
        return (self.end - self.start) * self.time_base

    @property
    def start_s(self) -> float:
        """Start in seconds, rounded, for people."""
        return float(self.start_time)

    @property
    def end_s(self) -> float:
        """End in seconds, rounded, for people."""
        return float(self.end_time)

    @property
    def duration_s(self) -> float:
        """Length in seconds, rounded, for people."""
        return float(self.duration)

    def __lt__(self, other: Span) -> bool:
        if not isinstance(other, Span):
            return NotImplemented
        return self._order() < other._order()

    def contains(self, pts: int) -> bool:
        """Tell whether a tick of the same clock lies inside."""
        return self.start <= pts < self.end

    def intersect(self, other: Span) -> Span | None:
        """Cut two spans of one clock with each other.

        Args:
            other: A span in the same time base.

        Returns:
            What both share, or None.

        Raises:
            SchemaError: If their time bases differ.
        """
        if self.time_base != other.time_base:
            raise SchemaError(
                f"spans in time bases {self.time_base} and {other.time_base} do not intersect: "
                "bring both to one with Span.from_seconds(start_time, end_time, time_base)"
            )
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Span(start, end, self.time_base) if start < end else None

    def shift(self, ticks: int) -> Span:
        """Return the span moved by `ticks`, later if positive."""
        return Span(self.start + ticks, self.end + ticks, self.time_base)

    def _order(self) -> tuple[Fraction, Fraction, Fraction]:
        return self.start_time, self.end_time, self.time_base


def _tick(seconds: float | Fraction, time_base: Fraction, *, up: bool) -> int:
    if isinstance(seconds, float) and not math.isfinite(seconds):
        raise SchemaError(f"{seconds} seconds: has to be finite")
    ticks = Fraction(seconds) / time_base
    nearest = round(ticks)
    if isinstance(seconds, float) and float(nearest * time_base) == seconds:
        return nearest
    return math.ceil(ticks) if up else math.floor(ticks)
