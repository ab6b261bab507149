"""The `shards` command: look at datasets and check them.

Exit codes: 0 done and whole, 1 faults found, 2 wrong use or no dataset.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from manifests.dataset import DatasetManifest, find_dataset
from manifests.errors import ManifestError
from manifests.storage import Folder
from manifests.verify import verify_dataset

app = typer.Typer(name="shards", no_args_is_help=True, help="Look at datasets and check them.")

Datasets = Annotated[
    list[str],
    typer.Argument(
        metavar="DATASET...",
        help="A run's folder, a dataset's folder or its dataset.json; a path or any fsspec URL.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


@app.callback()
def shards() -> None:
    """Look at datasets and check them."""


@app.command("ls")
def list_shards(datasets: Datasets, as_json: AsJson = False) -> None:
    """List the shards of datasets: samples, seconds, bytes."""
    folders = _find_all(datasets)
    try:
        manifests = [DatasetManifest.read(folder) for folder in folders]
    except ManifestError as error:
        _refuse(error)
    if as_json:
        records = [
            {"dataset": place, **json.loads(manifest.to_json())}
            for place, manifest in zip(datasets, manifests, strict=True)
        ]
        typer.echo(json.dumps({"datasets": records}, indent=2, ensure_ascii=False))
        return
    console = Console()
    for place, manifest in zip(datasets, manifests, strict=True):
        typer.echo(f"{place} (recipe {manifest.recipe_name}, {manifest.recipe_digest})")
        console.print(_shard_table(manifest))


@app.command("verify")
def verify(datasets: Datasets, as_json: AsJson = False) -> None:
    """Check that datasets are whole; exit 1 with a list of faults if one is not."""
    folders = _find_all(datasets)
    try:
        faults = [verify_dataset(folder) for folder in folders]
    except ManifestError as error:
        _refuse(error)
    if as_json:
        records = [
            {"dataset": place, "whole": not found, "faults": [asdict(fault) for fault in found]}
            for place, found in zip(datasets, faults, strict=True)
        ]
        typer.echo(json.dumps({"datasets": records}, indent=2, ensure_ascii=False))
    else:
        for place, found in zip(datasets, faults, strict=True):
            typer.echo(f"{place}: {f'{len(found)} faults' if found else 'whole'}")
            for fault in found:
                typer.echo(f"  {fault}")
    if any(faults):
        raise typer.Exit(1)


def main() -> None:
    """Run the `shards` command."""
    app()


def _find_all(places: list[str]) -> list[Folder]:
    """Find every dataset before work on any begins."""
    try:
        return [find_dataset(place) for place in places]
    except ManifestError as error:
        _refuse(error)


def _refuse(error: ManifestError) -> NoReturn:
    typer.echo(f"shards: {error}", err=True)
    raise typer.Exit(2) from error


def _shard_table(manifest: DatasetManifest) -> Table:
    table = Table("shard", show_footer=True)
    totals = manifest.totals
    table.columns[0].footer = f"{totals.num_shards} shards"
    table.columns[0].overflow = "fold"
    for header, footer in (
        ("samples", f"{totals.num_samples}"),
        ("seconds", f"{totals.duration_s:.2f}"),
        ("bytes", f"{totals.num_bytes}"),
    ):
        table.add_column(header, footer=footer, justify="right", overflow="fold")
    for entry in manifest.shards:
        numbers = f"{entry.num_samples}", f"{entry.duration_s:.2f}", f"{entry.num_bytes}"
        table.add_row(Text(entry.path), *numbers)
    return table
