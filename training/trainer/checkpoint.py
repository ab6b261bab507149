"""Checkpoints of a run: written beside, renamed when whole, pruned, and read back.

    checkpoints/step_00000120/     a whole one; its name appears by a rename
        *.distcp, .metadata        PyTorch's distributed checkpoint (DCP), readable by any number
                                   of ranks: weights that ever moved, their averages, AdamW's state
        run.json                   step, curriculum, data, seed and recipe's digest
    checkpoints/.step_00000140/    one that is being written; a crash leaves it, the next run
                                   removes it

Weights that never moved are not in it: they are read from the base again. Not here: what a run is
made of (`loop.py`) and the exported model.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

from training.errors import ModelError
from training.trainer.world import World

_RUN = "run.json"
_DIGITS = 8


@dataclass
class _Pending:
    """A checkpoint that is being written."""

    written: Future[Any]
    beside: Path
    place: Path


class Checkpoints:
    """The checkpoints of one run; every rank has one, the first renames and prunes.

    Args:
        folder: where; shared by all ranks. A rename there has to be atomic, as on POSIX.
        num_kept: how many of the newest stay.
        world: the ranks.
    """

    def __init__(self, folder: Path, num_kept: int, world: World) -> None:
        self.folder = folder
        self.num_kept = num_kept
        self.world = world
        self._pending: _Pending | None = None
        _expect_one_process()
        if world.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob(".step_*"):
                shutil.rmtree(left_over)
        world.barrier()

    def newest(self) -> Path | None:
        """Return the newest whole checkpoint, ``None`` if there is none; every rank calls it.

        It is what the first rank sees: others may see a shared folder as it was a moment ago.
        """
        seen = max((place.name for place in self.folder.glob("step_*")), default=None)
        name = self.world.gathered(seen)[0]
        return None if name is None else self.folder / name

    def save(self, step: int, tensors: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Begin to write a checkpoint; it is copied before this returns.

        Args:
            step: steps done.
            tensors: what DCP writes, nested by names.
            run: plain values; those of the first rank are written.
        """
        self.finish()
        place = self.folder / f"step_{step:0{_DIGITS}d}"
        beside = place.with_name(f".{place.name}")
        if self.world.is_first:
            beside.mkdir()
            (beside / _RUN).write_text(json.dumps(run, indent=1, sort_keys=True) + "\n", "utf-8")
        self.world.barrier()
        written = dcp.async_save(
            _copied(tensors),
            checkpoint_id=beside,
            process_group=self.world.checkpoint_group,
            async_checkpointer_type=AsyncCheckpointerType.THREAD,
            no_dist=self.world.size == 1,
        )
        self._pending = _Pending(written, beside, place)

    def poll(self) -> None:
        """Give a checkpoint that has been written its name; waits for nothing."""
        if self._pending is not None and self._pending.written.done():
            self.settle()

    def finish(self) -> None:
        """Wait until what is being written has its name, on every rank."""
        self.settle()
        self.world.barrier()

    def settle(self) -> None:
        """Give what is being written its name, although the run may be over for an error."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._close(pending)

    def _close(self, pending: _Pending) -> None:
        # DCP's first rank writes `.metadata` after all ranks have written: done here is done
        # everywhere, and the others need not be asked.
        try:
            pending.written.result()
        except dcp.api.CheckpointException as error:
            first = next(iter(error.failures.values()))[0]
            raise ModelError(
                f"{pending.place}: could not be written: {first}; mend the storage and go on with "
                "--resume from the checkpoint before it"
            ) from error
        if not self.world.is_first:
            return
        if pending.place.exists():
            shutil.rmtree(pending.place)
        pending.beside.rename(pending.place)
        for old in sorted(self.folder.glob("step_*"))[: -self.num_kept]:
            shutil.rmtree(old)


def read_run(place: Path) -> dict[str, Any]:
    """Read the plain values of a checkpoint.

    Args:
        place: its folder.

    Returns:
        What was saved as ``run``.

    Raises:
        ModelError: it is not whole.
    """
    if not (place / _RUN).is_file() or not (place / ".metadata").is_file():
        raise ModelError(
            f"{place}: not a whole checkpoint ({_RUN} or .metadata is missing); remove it, "
            "an earlier one is taken then"
        )
    return json.loads((place / _RUN).read_text("utf-8"))


def read_tensors(place: Path, tensors: dict[str, Any], world: World) -> dict[str, Any]:
    """Read a checkpoint into tensors of the same names and shapes, in place.

    Args:
        place: its folder.
        tensors: nested by names, as `Checkpoints.save` was given them; sharded in any way.
        world: the ranks.

    Returns:
        The same tree; plain values in it are replaced.

    Raises:
        ModelError: a name is missing, or a shape differs.
    """
    try:
        dcp.load(
            tensors,
            checkpoint_id=place,
            process_group=world.checkpoint_group,
            no_dist=world.size == 1,
        )
    except dcp.api.CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        raise ModelError(
            f"{place}: does not fit this model: {first}; train with the recipe that made it, "
            "or into a new folder"
        ) from error
    return tensors


def _expect_one_process() -> None:
    """Silence DCP's remark that there is no process group: with one rank there is none."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)


def _copied(tree: Any) -> Any:
    """Copy what lies in main memory: DCP copies only what lies on a GPU before it returns."""
    if isinstance(tree, Mapping):
        return {name: _copied(value) for name, value in tree.items()}
    if isinstance(tree, torch.Tensor):
        return tree.detach().clone() if tree.device.type == "cpu" else tree.detach()
    return tree
