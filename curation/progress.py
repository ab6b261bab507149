"""Progress: what a person sees while a run works."""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

LINE_EVERY_S = 15.0
"""Without a terminal one line is printed so often."""


class Progress:
    """Live display of one phase after the other: done, kept, hours, speed, time left.

    On a terminal it is a bar; elsewhere a line now and then. Quiet, it shows nothing.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._bar: RichProgress | None = None
        self._phase = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def phase(self, name: str) -> None:
        """Name what comes next."""
        self._stop()
        self._phase = name

    def begin(self, total: int, num_done: int, *, unit: str = "sources") -> None:
        """Start counting.

        Args:
            total: number of units.
            num_done: units that are done already.
            unit: what is counted.
        """
        self._total, self._num_before, self._unit = total, num_done, unit
        self._done = Fraction(num_done)
        self._kept, self._in_s, self._kept_s = 0, 0.0, 0.0
        self._began = self._last_line = time.monotonic()
        if self._quiet:
            return
        if self._console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=8),
                TextColumn("{task.fields[num_done]}/{task.total} {task.fields[unit]}"),
                TextColumn("{task.fields[said]}"),
                TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
                TextColumn("left"),
                console=self._console,
            )
            self._task = self._bar.add_task(
                self._phase,
                total=total,
                completed=num_done,
                num_done=num_done,
                unit=unit,
                said="",
            )
            self._bar.start()
        elif num_done:
            print(f"{self._phase}: {num_done} of {total} {unit} done before", file=sys.stderr)

    def ended(
        self,
        duration_s: float,
        *,
        num_kept: int = 0,
        kept_s: float = 0.0,
        share: Fraction = Fraction(1),
    ) -> None:
        """Count one unit, or a part of one.

        Args:
            duration_s: seconds of video in it.
            num_kept: its clips that pass all gates.
            kept_s: their seconds.
            share: how much of a unit it is; less than 1 for a segment of a source.
        """
        self._done += share
        self._kept += num_kept
        self._in_s += duration_s
        self._kept_s += kept_s
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=float(self._done),
                num_done=int(self._done),
                said=self._said(),
            )
        elif not self._quiet and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._line()

    def _said(self) -> str:
        elapsed_s = max(time.monotonic() - self._began, 1e-3)
        speed = f"{self._in_s / elapsed_s:.1f}x real time"
        if self._unit != "sources":
            return speed
        hours = f"{self._kept_s / 3600:.2f} of {self._in_s / 3600:.2f} h"
        return f"{self._kept} clips, {hours} kept, {speed}"

    def _line(self) -> None:
        elapsed_s = time.monotonic() - self._began
        done = float(self._done - self._num_before)
        left = f"{elapsed_s / done * float(self._total - self._done):.0f} s" if done else "?"
        print(
            f"{self._phase}: {int(self._done)} of {self._total} {self._unit}, {self._said()}, "
            f"about {left} left",
            file=sys.stderr,
        )

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
