"""Spans are exact, never empty, and never grow on the way from seconds."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from manifests.errors import SchemaError
from manifests.span import Span

BASES = [
    Fraction(1, 90000),
    Fraction(1001, 30000),
    Fraction(1, 25),
    Fraction(1, 16000),
    Fraction(3),
]

bases = st.sampled_from(BASES)
ticks = st.integers(-(10**9), 10**9)
spans = st.builds(
    lambda start, num_ticks, base: Span(start, start + num_ticks, base),
    ticks,
    st.integers(1, 10**7),
    bases,
)
seconds = st.floats(-1e6, 1e6) | st.fractions(-1000, 1000)


@given(spans)
def test_times_are_ticks_times_base(span: Span) -> None:
    assert span.end_time - span.start_time == span.duration
    assert span.start_time / span.time_base == span.start
    assert span.duration > 0
    assert span.duration_s == pytest.approx(span.end_s - span.start_s, abs=1e-3)


@given(spans)
def test_seconds_for_people_lead_back_to_the_span(span: Span) -> None:
    assert Span.from_seconds(span.start_s, span.end_s, span.time_base) == span
    assert Span.from_seconds(span.start_time, span.end_time, span.time_base) == span


@given(seconds, seconds, bases)
def test_from_seconds_never_grows_and_loses_less_than_a_tick_at_each_end(
    start_s: float | Fraction, end_s: float | Fraction, base: Fraction
) -> None:
    try:
        span = Span.from_seconds(start_s, end_s, base)
    except SchemaError:
        assert Fraction(end_s) - Fraction(start_s) < 2 * base
        return
    # As numbers people see, nothing grows; as exact ones, a Fraction does not either.
    assert span.start_s >= float(start_s)
    assert span.end_s <= float(end_s)
    if isinstance(start_s, Fraction):
        assert span.start_time >= start_s
    if isinstance(end_s, Fraction):
        assert span.end_time <= end_s
    assert span.start_time - Fraction(start_s) < base
    assert Fraction(end_s) - span.end_time < base


def test_a_start_is_rounded_up_and_an_end_down() -> None:
    assert Span.from_seconds(0.01, 1.0, Fraction(1, 25)) == Span(1, 25, Fraction(1, 25))
    assert Span.from_seconds(0.0, 0.99, Fraction(1, 25)) == Span(0, 24, Fraction(1, 25))
    assert Span.from_seconds(0.1, 0.3, Fraction(1, 10)) == Span(1, 3, Fraction(1, 10))


@given(spans, ticks)
def test_half_open_start_is_inside_and_end_is_not(span: Span, pts: int) -> None:
    assert span.contains(span.start)
    assert span.contains(span.end - 1)
    assert not span.contains(span.end)
    assert not span.contains(span.start - 1)
    assert span.contains(pts) == (span.start <= pts < span.end)


small = st.builds(
    lambda start, n: Span(start, start + n, BASES[2]), st.integers(0, 20), st.integers(1, 9)
)


@given(small, small, st.integers(-2, 32))
def test_an_intersection_holds_the_ticks_of_both(one: Span, other: Span, pts: int) -> None:
    both = one.intersect(other)
    assert both == other.intersect(one)
    in_both = one.contains(pts) and other.contains(pts)
    assert (both is not None and both.contains(pts)) == in_both


def test_spans_of_two_clocks_are_not_intersected() -> None:
    with pytest.raises(SchemaError, match=r"1/25 and 1/30 do not intersect.*from_seconds"):
        Span(0, 25, Fraction(1, 25)).intersect(Span(0, 30, Fraction(1, 30)))


@given(spans, ticks)
def test_a_shift_keeps_the_length_and_comes_back(span: Span, by: int) -> None:
    assert span.shift(by).duration == span.duration
    assert span.shift(by).start == span.start + by
    assert span.shift(by).shift(-by) == span


@given(spans, spans)
def test_order_is_the_order_of_time_whatever_the_clock(one: Span, other: Span) -> None:
    assume(one.start_time != other.start_time)
    assert (one < other) == (one.start_time < other.start_time)
    assert (one > other) == (other < one)


def test_equal_times_of_two_clocks_are_two_spans_in_a_fixed_order() -> None:
    coarse, fine = Span(0, 25, Fraction(1, 25)), Span(0, 90000, Fraction(1, 90000))
    assert coarse != fine
    assert sorted([coarse, fine]) == sorted([fine, coarse]) == [fine, coarse]


@pytest.mark.parametrize(
    ("start", "end", "base", "rule"),
    [
        (5, 5, Fraction(1), "the end has to be after the start"),
        (5, 4, Fraction(1), "the end has to be after the start"),
        (0, 1, Fraction(0), "has to be positive"),
        (0, 1, Fraction(-1, 25), "has to be positive"),
    ],
)
def test_empty_spans_and_clocks_that_stand_still_are_refused(
    start: int, end: int, base: Fraction, rule: str
) -> None:
    with pytest.raises(SchemaError, match=rule):
        Span(start, end, base)
    with pytest.raises(SchemaError):
        Span.from_seconds(float(start * base), float(end * base), base)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_seconds_that_are_no_number_are_refused(bad: float) -> None:
    with pytest.raises(SchemaError, match="has to be finite"):
        Span.from_seconds(0.0, bad, Fraction(1, 25))
