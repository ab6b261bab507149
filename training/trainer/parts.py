"""What a run is made of, as the loop sees it; `assemble.py` makes it of a recipe and manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from training.data.encoded import EncodedBatch
from training.objective.curriculum import Phase


class PhaseData(Protocol):
    """Encoded micro-batches of one phase, for one rank."""

    def next_batches(self, step: int) -> list[EncodedBatch]:
        """Return the micro-batches of a step of the optimiser, counted from the run's start."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Say where the data stands, as plain values: behind the last batches given out."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stood."""
        ...

    def close(self) -> None:
        """Let go of workers and files; say what was bad."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a run is made of.

    Attributes:
        make_transformer: the transformer on the rank's device, the same on every rank and call.
        open_data: the data of a phase.
        null_text_LD: states of the empty caption.
        preview: renders validation clips with a transformer at a step; every rank calls it, for a
            sharded model needs them all, and the first one writes. ``None``: none.
        export: writes a transformer and whole weights by name into a folder; ``None``: nothing.
    """

    make_transformer: Callable[[], Any]
    open_data: Callable[[Phase], PhaseData]
    null_text_LD: torch.Tensor
    preview: Callable[[nn.Module, int, Path], None] | None = None
    export: Callable[[nn.Module, dict[str, torch.Tensor], Path], None] | None = None
