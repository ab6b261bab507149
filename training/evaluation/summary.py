"""The summary that the command prints: figures with intervals, what is missing, what is odd."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.evaluation.intervals import LEVEL
from training.evaluation.metrics import BY_NAME
from training.evaluation.results import CLIPS_NAME, RESULTS_NAME, Results, figures

WIDTH = 150


def summary_text(results: Results, out: Path, seed: int = 0) -> str:
    """Lay the results out for a terminal.

    Args:
        results: the evaluation.
        out: where it was written.
        seed: seed of the bootstrap.

    Returns:
        Text of several lines.
    """
    table = Table(box=None)
    for title in ("metric", "better", "generated", "clips", "reference", "difference"):
        table.add_column(title, no_wrap=True)
    for name, row in figures(results, seed).items():
        metric = BY_NAME[name]
        title = f"{metric.title} [{metric.unit}]" if metric.unit else metric.title
        of_set = row.get("of_set")
        table.add_row(
            escape(title),
            metric.better,
            interval_text(of_set or row.get("generated")),
            str(of_set["num_generated"] if of_set else row["generated"]["num_clips"]),
            interval_text(row.get("reference")),
            interval_text(row.get("difference")),
        )
    text = io.StringIO()
    console = Console(file=text, width=WIDTH)
    console.print(table)
    measured = sum(clip.clip_id is not None for clip in results.clips)
    paired = sum(clip.reference is not None for clip in results.clips)
    console.print(
        f"\n{len(results.clips)} generated clips, {measured} measured, {paired} with a reference; "
        f"intervals: {LEVEL:.0%}, bootstrap over clips"
    )
    for clip in results.clips:
        if clip.unmeasured:
            console.print(f"  not measured: {escape(clip.stem)}: {escape(clip.unmeasured)}")
    for name in dict.fromkeys((*results.reference_only, *results.source_only)):
        console.print(f"  without a generated clip: {escape(name)}")
    if results.missing:
        console.print("\nmissing:")
        by_cause: dict[tuple[str, str], list[str]] = {}
        for one in results.missing:
            by_cause.setdefault((one.why, one.how), []).append(BY_NAME[one.metric].title)
        for (why, how), titles in by_cause.items():
            console.print(f"  {', '.join(titles)}: {escape(why)}\n      {escape(how)}")
    console.print(f"\n{out / RESULTS_NAME}\n{out / CLIPS_NAME}", soft_wrap=True)
    return text.getvalue().rstrip()


def interval_text(row: dict[str, Any] | None) -> str:
    """One figure with its interval, empty where there is none.

    Args:
        row: mean, low, high, as `results.figures` gives them.

    Returns:
        For example ``0.91 (0.87 to 0.94)``.
    """
    if row is None:
        return ""
    mean = number_text(row["mean"])
    if row["low"] is None:
        return mean
    return f"{mean} ({number_text(row['low'])} to {number_text(row['high'])})"


def number_text(value: float) -> str:
    """A number with about three digits that count."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
