"""What a run or a dataset holds, in counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from manifests.dataset import CLIPS_NAME, DatasetManifest
from manifests.inspection.place import SOURCES_NAME, Place


@dataclass(frozen=True)
class Listing:
    """What is in one place.

    Attributes:
        place: what the user wrote.
        recipe: name and digest of the recipe.
        sources: inputs of a run by state; empty for a dataset alone.
        clips: clips by state, and the seconds of each; empty where no table of them is.
        clips_s: seconds by state.
        is_finished: whether the run came to its end; ``None`` for a dataset alone.
        manifest: the dataset, if something is packed.
    """

    place: str
    recipe: str
    sources: dict[str, int]
    clips: dict[str, int]
    clips_s: dict[str, float]
    is_finished: bool | None
    manifest: DatasetManifest | None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, the dataset with its totals."""
        record = {name: value for name, value in vars(self).items() if name != "manifest"}
        if self.manifest is None:
            return {**record, "dataset": None}
        dataset = asdict(self.manifest) | {"totals": asdict(self.manifest.totals)}
        return {**record, "dataset": dataset}


def listing(place: Place) -> Listing:
    """Count what is in one place.

    Args:
        place: a run or a dataset.

    Returns:
        The counts.
    """
    run = place.run
    sources: dict[str, int] = {}
    clips: dict[str, int] = {}
    seconds: dict[str, float] = {}
    if run is not None and run.exists(SOURCES_NAME):
        sources = _counted(place.sources()["state"].to_pylist())
    if run is not None and run.exists(CLIPS_NAME):
        table = place.clips(["state", "duration_s"])
        states, lasting_s = table["state"].to_pylist(), table["duration_s"].to_numpy()
        clips = _counted(states)
        labels = np.array(states)
        seconds = {state: float(lasting_s[labels == state].sum()) for state in clips}
    record, manifest = place.run_record, place.manifest
    name, digest = record.get("recipe", {}).get("name"), record.get("recipe_digest")
    if manifest is not None and not record:
        name, digest = manifest.recipe_name, manifest.recipe_digest
    return Listing(
        place=place.given,
        recipe=f"{name} ({digest})",
        sources=sources,
        clips=clips,
        clips_s=seconds,
        is_finished=record.get("ended_at") is not None if record else None,
        manifest=manifest,
    )


def _counted(states: list[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(str(state) for state in states).items()))
