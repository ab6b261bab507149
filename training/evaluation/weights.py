"""Weights of metrics, as `curate weights` has them: one registry, one cache, one way to fetch.

Training may not import the registry (it lives with the stages), so it asks the command, which also
holds the files to their digests. Nothing is fetched unless asked for.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.evaluation.measuring import CURATE

NEEDED_BY: dict[str, tuple[str, ...]] = {
    "arcface": ("identity_similarity", "identity_drift", "identity_drift_per_min"),
    "inception-fid": ("fid",),
    "i3d-fvd": ("fvd",),
    "vgg16-lpips": ("lpips",),
    "syncnet": ("sync_c", "sync_d"),
}
"""Metrics by the weights without which they are missing."""


@dataclass(frozen=True)
class WeightFile:
    """One set of weights that is there, whole and right.

    Attributes:
        name: name in the registry.
        path: its file.
        sha256: digest, of the registry or of the first fetch.
        licence: terms.
    """

    name: str
    path: Path
    sha256: str
    licence: str


@dataclass(frozen=True)
class Shelf:
    """What is in the cache, and why the rest is not.

    Attributes:
        there: weights by name.
        lacking: why others cannot be used, by name.
    """

    there: dict[str, WeightFile]
    lacking: dict[str, str]


def how_to_get(name: str) -> str:
    """Say how weights come into the cache."""
    return f"`curate weights fetch {name}`, or `talk evaluate --fetch`"


def find_weights(*, fetch: bool = False, command: Sequence[str] = CURATE) -> Shelf:
    """Look into the cache.

    Args:
        fetch: fetch what is not there.
        command: the `curate` command.

    Returns:
        What there is; without curation nothing is, and that is said.
    """
    names = tuple(NEEDED_BY)
    if fetch:
        # What cannot be fetched is lacking below; the command has said why on its own stderr.
        subprocess.run(
            [*command, "weights", "fetch", *names], check=False, stdout=subprocess.DEVNULL
        )
    listed = _ask([*command, "weights", "list", "--json"])
    if listed is None:
        why = "curation, which keeps the weights, is not installed here"
        return Shelf({}, dict.fromkeys(names, why))
    entries = {entry["name"]: entry for entry in listed}
    present = [name for name in names if entries.get(name, {}).get("state") == "present"]
    faults = _ask([*command, "weights", "verify", *present, "--json"]) if present else {}
    there, lacking = {}, {}
    for name in names:
        if name not in present:
            lacking[name] = f"the weights {name!r} are not in the cache"
        elif faults is None or faults.get(name):
            lacking[name] = "; ".join((faults or {}).get(name, [f"{name}: cannot be verified"]))
        else:
            file = entries[name]["files"][0]
            sha256 = file["sha256"] or _recorded(Path(file["path"]))
            there[name] = WeightFile(name, Path(file["path"]), sha256, entries[name]["licence"])
    return Shelf(there, lacking)


def _recorded(path: Path) -> str:
    """The digest that the cache noted at the first fetch."""
    return str(json.loads(path.with_name(f"{path.name}.sha256.json").read_text())["sha256"])


def _ask(call: Sequence[str]) -> Any:
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return None
