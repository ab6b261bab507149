"""``curate weights``: see, fetch and check the model weights that stages and metrics use.

Exit codes: 0 done, 1 a fetch failed or a file is not what it should be, 2 wrong use.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from stages.errors import StageError
from stages.weights import REGISTRY, Weights, find_weights
from stages.weights_cache import cache_dir, digests, folder_of, state_of
from stages.weights_cache import verify as faults_of
from stages.weights_metrics import METRIC_WEIGHTS

ALL_WEIGHTS = (*REGISTRY, *METRIC_WEIGHTS)

app = typer.Typer(
    name="weights",
    help="See, fetch and check the model weights that stages and metrics use.",
    no_args_is_help=True,
)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Names, as `list` shows them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command("list", epilog="Example: curate weights list --json")
def list_weights(as_json: AsJson = False) -> None:
    """Show what there is: size, terms, what uses it, and whether it is in the cache."""
    if as_json:
        print(json.dumps([_described(weights) for weights in ALL_WEIGHTS], indent=2))
        return
    table = Table("name", "size", "state", "used by", "licence")
    for weights in ALL_WEIGHTS:
        table.add_row(
            weights.name, _size_of(weights), state_of(weights), weights.used_by, weights.licence
        )
    Console().print(table)
    print(f"cache: {cache_dir()}")


@app.command(epilog="Example: curate weights fetch syncnet lr-asd")
def fetch(
    names: Names = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Everything in the list.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch weights into the cache, as far as they are not there; hold them to their digests."""
    from stages.weights_fetch import fetch as fetch_one

    if bool(names) == all_of_them:
        print("curate: name what to fetch, or say --all: curate weights list", file=sys.stderr)
        raise typer.Exit(2)
    fetched, failed = [], {}
    for weights in ALL_WEIGHTS if all_of_them else _find_all(names):
        if not as_json:
            print(f"{weights.name}: {_size_of(weights)}, {weights.licence}")
        try:
            paths = fetch_one(weights)
        except StageError as error:
            failed[weights.name] = str(error)
            print(f"curate: {error}", file=sys.stderr)
            continue
        fetched.append(_described(weights))
        if not as_json:
            for path, sha256 in zip(paths, digests(weights), strict=True):
                print(f"  {path}  sha256 {sha256}")
    if as_json:
        print(json.dumps({"fetched": fetched, "failed": failed}, indent=2))
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: curate weights verify syncnet")
def verify(names: Names = None, as_json: AsJson = False) -> None:
    """Read weights whole and compare their digests; without a name, all that are in the cache."""
    chosen = (
        _find_all(names)
        if names
        else [weights for weights in ALL_WEIGHTS if state_of(weights) != "absent"]
    )
    faults = {weights.name: faults_of(weights) for weights in chosen}
    if as_json:
        print(json.dumps(faults, indent=2))
    else:
        for name, found in faults.items():
            print(f"{name}: {'; '.join(found) or 'right'}")
        if not faults:
            print("nothing is in the cache")
    if any(faults.values()):
        raise typer.Exit(1)


def _find_all(names: list[str] | None) -> list[Weights]:
    """Find every name before work on any begins."""
    try:
        return [find_weights(name, ALL_WEIGHTS) for name in names or ()]
    except StageError as error:
        print(f"curate: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


def _size_of(weights: Weights) -> str:
    sizes = [file.num_bytes for file in weights.files]
    known = sum(size for size in sizes if size is not None)
    if not known:
        return "size unknown"
    return f"{'over ' if None in sizes else ''}{known / 1e6:.1f} MB"


def _described(weights: Weights) -> dict[str, Any]:
    folder = folder_of(weights)
    return {
        "name": weights.name,
        "revision": weights.revision,
        "licence": weights.licence,
        "used_by": weights.used_by,
        "state": state_of(weights),
        "files": [
            {
                "path": str(folder / file.name),
                "url": file.url,
                "sha256": file.sha256,
                "num_bytes": file.num_bytes,
            }
            for file in weights.files
        ],
    }
