"""The page: results side by side."""

from __future__ import annotations

from pathlib import Path

from training.evaluation.results import Results


def write_page(results: Results, out: Path, seed: int = 0) -> None:
    """Nothing yet."""
