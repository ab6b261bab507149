"""How the `shards` command writes numbers, tables and histograms for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_BLOCKS = " ▁▂▃▄▅▆▇█"
_MARK = "│"
_PIPED_WIDTH = 220
"""Letters a line where the output is no terminal: wide, so that no row is folded for `grep`."""


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, title: str = ""
) -> None:
    """Print a table without frames.

    Args:
        headers: of the columns.
        rows: cells as text, taken literally.
        left: so many first columns are aligned left, and the last one if it is longer text.
        title: a line above.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, header in enumerate(headers):
        is_left = number < left or header in ("", "what is wrong", "what to do")
        table.add_column(header, justify="left" if is_left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    if title:
        print(f"\n{title}")
    console = Console() if sys.stdout.isatty() else Console(width=_PIPED_WIDTH)
    console.print(table)


def lasting(seconds: float) -> str:
    """Write a length of time: seconds below two minutes, minutes below two hours, else hours."""
    for limit_s, unit_s, unit in ((120, 1, "s"), (7200, 60, "min")):
        if abs(seconds) < limit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds / 3600:,.2f} h"


def size(num_bytes: int) -> str:
    """Write a number of bytes with a binary unit."""
    value = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def number(value: float | None) -> str:
    """Write a measured value with four digits; nothing for a missing one."""
    return "" if value is None else f"{value:.4g}"


def states(counts: Mapping[str, int]) -> str:
    """Write counts by state: ``3 kept, 1 rejected``."""
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"


def histogram(bins: Sequence[int], marks: Iterable[int] = ()) -> str:
    """Draw a histogram as one line of blocks.

    Args:
        bins: counts.
        marks: bins before which a limit lies.

    Returns:
        A block a bin, its height a share of the highest; any count but 0 is seen. A bar stands at
        each mark.
    """
    highest = max(bins, default=0)
    steps = len(_BLOCKS) - 1
    drawn = [_BLOCKS[-(-count * steps // highest)] if highest else " " for count in bins]
    for mark in sorted(set(marks), reverse=True):
        drawn.insert(mark, _MARK)
    return "".join(drawn)
