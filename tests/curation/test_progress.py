"""Progress: a source counts once, however many parts it was measured in."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from curation import progress
from curation.progress import Progress


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Print at every step; return what was printed since the last call."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", -1.0)
    return lambda: capsys.readouterr().err.splitlines()


def counts(printed: list[str]) -> list[str]:
    return [re.findall(r"(\d+ of \d+) sources", line)[0] for line in printed]


def test_a_source_counts_when_its_last_part_ends(lines) -> None:
    with Progress() as shown:
        shown.phase("measure")
        shown.begin(2, 0)
        shown.ended(60.0, num_kept=3, kept_s=30.0)
        for _ in range(3):
            shown.ended(120.0, num_kept=5, kept_s=50.0, share=Fraction(1, 3))
    printed = lines()
    assert counts(printed) == ["1 of 2", "1 of 2", "1 of 2", "2 of 2"]
    assert "18 clips, " in printed[-1]
    assert "about 0 s left" in printed[-1]


def test_what_was_done_before_says_nothing_of_the_pace(lines, monkeypatch) -> None:
    with Progress() as shown:
        shown.phase("measure")
        monkeypatch.setattr(progress.time, "monotonic", lambda: 100.0)
        shown.begin(12, 8)
        monkeypatch.setattr(progress.time, "monotonic", lambda: 110.0)
        shown.ended(5.0)
        shown.ended(5.0)
    assert "10 of 12 sources" in (last := lines()[-1])
    assert "about 10 s left" in last


def test_no_work_yet_no_promise(lines) -> None:
    with Progress() as shown:
        shown.phase("measure")
        shown.begin(1, 0)
        shown.ended(0.0, share=Fraction(0))
    assert lines()[-1].endswith("about ? left")
