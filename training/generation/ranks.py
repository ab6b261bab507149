"""Windows shared among processes: each predicts some, and sums are exchanged.

Windows of a step do not know each other, so this needs nothing of the model and one sum of a latent
a step; it is the context parallelism that a long video offers. Every process holds the whole model
and goes through the same steps from the same seed. Started by ``torchrun``.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist


class SharedWindows:
    """Windows dealt out in turn over the processes of a group that is up already."""

    def __init__(self) -> None:
        self._rank, self._world_size = dist.get_rank(), dist.get_world_size()

    def mine(self, index: int) -> bool:
        """Return whether this process predicts the window with this index."""
        return index % self._world_size == self._rank

    def total(self, sum_here: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes."""
        dist.all_reduce(sum_here)
        return sum_here


def join_ranks() -> SharedWindows | None:
    """Join the other processes, if ``torchrun`` started several.

    Returns:
        The share of this process; ``None`` if it is alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return SharedWindows()


def is_first_rank() -> bool:
    """Return whether this process writes files and talks."""
    return int(os.environ.get("RANK", "0")) == 0


def default_device() -> str:
    """Return the GPU of this process, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def is_there(device: str) -> bool:
    """Return whether torch can put a tensor on a device of this name."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        return False
    return True
