"""Starting a run: in this process for one worker, by Ray Train for many.

The only place of training where Ray starts something. Not here: anything that a worker does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from training.errors import SettingError, TalkError
from training.recipe import Recipe, check_recipe
from training.trainer.assemble import MakePreview, check_data, check_ranks, make_parts
from training.trainer.loop import TrainingResult, train
from training.trainer.world import World, current_world, sharing_clips


@dataclass(frozen=True)
class TrainingJob:
    """What is to be trained; plain values, for it travels to the workers.

    Attributes:
        recipe: resolved, as plain values.
        manifests: paths or URLs of datasets.
        folder: of the run; with several workers on storage that all of them share.
        resume: go on from the newest checkpoint.
        stop_after: stop after this many steps, with a checkpoint.
    """

    recipe: dict[str, Any]
    manifests: tuple[str, ...]
    folder: str
    resume: bool = False
    stop_after: int | None = None


def run_here(
    job: TrainingJob, console: Console | None = None, make_preview: MakePreview | None = None
) -> TrainingResult:
    """Train in this process, as the rank that its process group says it is.

    Args:
        job: what is to be trained.
        console: where lines go; ``None``: nowhere.
        make_preview: given the components, returns what renders validation clips.

    Returns:
        What the run came to.
    """
    recipe = check_recipe(job.recipe, "the job's recipe")
    return run_recipe(recipe, job, current_world(), console, make_preview)


def run_recipe(
    recipe: Recipe,
    job: TrainingJob,
    world: World,
    console: Console | None,
    make_preview: MakePreview | None = None,
) -> TrainingResult:
    """Train a checked recipe in a known world.

    Args:
        recipe: the job's.
        job: what is to be trained.
        world: the ranks.
        console: where the first rank's lines go.
        make_preview: given the components, returns what renders validation clips.

    Returns:
        What the run came to.
    """

    def say(text: str) -> None:
        if console is not None and world.is_first:
            console.print(text, highlight=False, soft_wrap=True)

    check_ranks(recipe, world.size, world.device, has_previews=make_preview is not None)
    world = sharing_clips(world, recipe.run.context_parallel)
    folder = Path(job.folder)
    parts = make_parts(recipe, job.manifests, folder, world, make_preview=make_preview, say=say)
    return train(
        recipe,
        parts,
        folder,
        world,
        resume=job.resume,
        stop_after=job.stop_after,
        console=console if world.is_first else None,
    )


def run_with_ray(
    job: TrainingJob,
    num_workers: int,
    *,
    use_gpu: bool,
    address: str | None = None,
    make_preview: MakePreview | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Train with many workers through Ray Train; FSDP2 spreads the model over them.

    Args:
        job: what is to be trained; its folder and datasets are seen by every worker.
        num_workers: ranks.
        use_gpu: a GPU a worker, or a CPU.
        address: of a running cluster; ``None``: Ray's own on this machine.
        make_preview: as for `run_here`; it travels to the workers.
        say: told what is going on.

    Raises:
        SettingError: the cluster has too few devices for the workers, or they cannot carry out the
            recipe.
        DataError: they cannot be trained on the data.
        TalkError: a worker refused or failed.
    """
    # A worker has a working directory of its own.
    folder = str(Path(job.folder).resolve())
    manifests = tuple(
        place if "://" in place else str(Path(place).resolve()) for place in job.manifests
    )
    job = replace(job, folder=folder, manifests=manifests)
    # What can be told without the workers is told before they start, in one line.
    recipe = check_recipe(job.recipe, "the job's recipe")
    device = torch.device("cuda" if use_gpu else "cpu")
    check_ranks(recipe, num_workers, device, has_previews=make_preview is not None)
    check_data(recipe, manifests, num_workers)

    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    if not ray.is_initialized():
        ray.init(address or "local", log_to_driver=True)
    kind = "GPU" if use_gpu else "CPU"
    there = int(ray.cluster_resources().get(kind, 0))
    if there < num_workers:
        raise SettingError(
            f"{num_workers} workers with a {kind} each, but the cluster has {there}; "
            f"use --workers {max(there, 1)}, or name a larger cluster with --address"
        )
    say(f"starting {num_workers} workers with a {kind} each")
    trainer = TorchTrainer(
        partial(_work, make_preview=make_preview),
        train_loop_config=asdict(job),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
        run_config=RunConfig(name="talk", storage_path=str(Path(folder) / "ray")),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise refusal_of(error) from error


def refusal_of(error: Exception) -> TalkError:
    """Return what a worker refused to do, as it said it; else that a worker failed.

    Args:
        error: Ray Train's, with the workers' failures by rank.

    Returns:
        The first worker's own error, of the class that decides the exit code.
    """
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    for _, failure in sorted(failures.items()):
        own = getattr(failure, "_base_exc", failure)  # Ray wraps what a worker raises
        if isinstance(own, TalkError):
            return own
    return TalkError(f"a worker failed: {error}")


def _work(job: dict[str, Any], make_preview: MakePreview | None = None) -> None:
    """What a Ray worker runs; its process group is there already."""
    whole = TrainingJob(**{**job, "manifests": tuple(job["manifests"])})
    run_here(whole, Console(width=160), make_preview)
