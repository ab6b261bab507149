"""Who takes part in a run: this rank, the others, its device, and the few sums they share.

Not here: how a model is spread over them (`parallel.py`) and who starts them (`launch.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh


@dataclass(frozen=True)
class World:
    """One rank's view of a run.

    Attributes:
        device: this rank's device.
        rank: number of this rank.
        size: number of ranks; 1 without any process group.
        checkpoint_group: a group of its own for checkpoints, for they are written by a thread
            whose messages must not mix with those of training; ``None`` with one rank.
        clip_ranks: neighbouring ranks that share the tokens of a clip.
        context_group: these ranks; ``None`` where each takes its own clips.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    checkpoint_group: Any = None
    clip_ranks: int = 1
    context_group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks for the run."""
        return self.rank == 0

    @property
    def context_rank(self) -> int:
        """Number of this rank among those that share its clips."""
        return self.rank % self.clip_ranks

    @property
    def data_rank(self) -> int:
        """Number of this rank's clips among those that are read at once."""
        return self.rank // self.clip_ranks

    @property
    def data_size(self) -> int:
        """How many ranks or groups of ranks read clips of their own."""
        return self.size // self.clip_ranks

    def total(self, values: list[float]) -> list[float]:
        """Return the sums of values over all ranks, in float64."""
        if self.size == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return sums.tolist()

    def gathered(self, value: Any) -> list[Any]:
        """Return every rank's value; small plain values only."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            distributed.barrier()


def sharing_clips(world: World, clip_ranks: int) -> World:
    """Return a world in which neighbouring ranks share clips.

    Args:
        world: the ranks, each with clips of its own.
        clip_ranks: how many share a clip; a divisor of the ranks.

    Returns:
        The same ranks.
    """
    if clip_ranks == 1:
        return world
    mesh = init_device_mesh(
        world.device.type,
        (world.size // clip_ranks, clip_ranks),
        mesh_dim_names=("data", "context"),
    )
    return replace(world, clip_ranks=clip_ranks, context_group=mesh["context"].get_group())


def current_world() -> World:
    """Return the world of the process group that is running, or of this process alone."""
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    else:
        device = torch.device("cpu")
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return World(device)
    return World(
        device,
        distributed.get_rank(),
        distributed.get_world_size(),
        distributed.new_group(backend="gloo"),
    )
