"""Sub-commands of `shards` about the stored bytes: `verify`, `index`.

Exit codes: 0 done and whole, 1 faults found, 2 wrong use.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from manifests.faults import Fault
from manifests.inspection.cli_tables import print_json, refusing
from manifests.inspection.options import AsJson, PlaceName, PlaceNames, find_all
from manifests.inspection.random_access import byte_ranges, wids_index
from manifests.inspection.run_faults import verify_place
from manifests.inspection.text_tables import print_table
from manifests.storage import Folder
from manifests.verify import default_threads

VERIFY_EXAMPLE = "Example: shards verify runs/first --threads 8 --json"
INDEX_EXAMPLE = "Example: shards index runs/first --wids --out runs/first/dataset/wids.json"


def verify(
    where: PlaceNames,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Shards read at a time; 0: one a CPU.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Check that runs and datasets are whole; exit 1 with a list of faults if one is not."""
    num_threads = threads or default_threads()
    with refusing():
        places = find_all(where)
        faults = [verify_place(place, num_threads=num_threads) for place in places]
    if as_json:
        records = [
            {"place": name, "whole": not found, "faults": [_record(fault) for fault in found]}
            for name, found in zip(where, faults, strict=True)
        ]
        print_json({"num_threads": num_threads, "places": records})
    else:
        for name, found in zip(where, faults, strict=True):
            told = f"{len(found)} faults" if found else "whole"
            print(f"{name}: {told} ({num_threads} threads)")
            _print_faults(found)
    if any(faults):
        raise typer.Exit(1)


def index(
    where: PlaceName,
    wids: Annotated[
        bool, typer.Option("--wids", help="The shard list that wids.ShardListDataset opens.")
    ] = False,
    out: Annotated[
        str | None, typer.Option("--out", help="File to write, a path or any fsspec URL.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON array instead of a line for each sample.")
    ] = False,
) -> None:
    """Write byte ranges of all members, one sample a line (JSON Lines), for random access."""
    with refusing():
        (place,) = find_all([where])
        if wids:
            text = json.dumps(wids_index(place), indent=2) + "\n"
        elif as_json:
            text = f"[{', '.join(byte_ranges(place))}]\n"
        else:
            text = "".join(f"{line}\n" for line in byte_ranges(place))
        if out is None:
            typer.echo(text, nl=False)
            return
        folder, name = Folder.split(out)
        folder.write_bytes(name, text.encode())


def _record(fault: Fault) -> dict[str, Any]:
    derived = {"file": fault.file, "sample": fault.sample, "way_out": fault.way_out}
    return {**asdict(fault), **derived}


def _print_faults(faults: list[Fault]) -> None:
    """Print the faults file by file, and once for each kind what to do."""
    if not faults:
        return
    print_table(
        ("where", "fault", "what is wrong"),
        [
            (fault.place, str(fault.kind), f"expected {fault.expected}, found {fault.found}")
            for fault in faults
        ],
        left=2,
    )
    ways = {str(fault.kind): fault.way_out for fault in faults}
    print_table(("fault", "what to do"), sorted(ways.items()), left=2)
