"""Arguments that the sub-commands of `shards` share, and how they refuse."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from manifests.errors import ManifestError
from manifests.inspection.place import Place, find_place

_WHERE = "A run's folder, a dataset's folder or its dataset.json; a path or any fsspec URL."

PlaceName = Annotated[
    str, typer.Argument(metavar="RUN_OR_DATASET", help=_WHERE, show_default=False)
]
PlaceNames = Annotated[
    list[str], typer.Argument(metavar="RUN_OR_DATASET...", help=_WHERE, show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def find_all(names: list[str]) -> list[Place]:
    """Find every place before work on any begins; exit 2 with one line if one is missing."""
    try:
        return [find_place(name) for name in names]
    except ManifestError as error:
        refuse(error)


def refuse(error: ManifestError) -> NoReturn:
    """Say in one line what is wrong and exit with code 2.

    Args:
        error: What is wrong.

    Raises:
        Exit: Always.
    """
    typer.echo(f"shards: {error}", err=True)
    raise typer.Exit(2) from error
