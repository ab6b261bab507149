"""The ``talk`` command: train, plan, precompute; generate, edit and evaluate.

Options and messages only; torch and everything that needs it is imported by the command that runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from training import cli_evaluate, cli_generate
from training.errors import TalkError

app = typer.Typer(
    name="talk",
    help="Train the talking-portrait model on curated datasets, and use it.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
)

Recipe = Annotated[
    str, typer.Option("--recipe", help="Name of a shipped recipe, or path of a .toml file.")
]
Data = Annotated[
    list[str],
    typer.Option("--data", help="dataset.json, folder of a dataset or of a run; may be repeated."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value, for instance run.seed=3 or phases.align.steps=500; repeatable."
    ),
]


@app.command()
def train(
    recipe: Recipe,
    data: Data,
    out: Annotated[str, typer.Option("--out", help="Folder of the run.")],
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the folder.")
    ] = False,
    stop_after: Annotated[
        int | None,
        typer.Option(min=1, help="Stop with a checkpoint after this many steps of the run."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Ranks; more than one are started by Ray Train.")
    ] = 1,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray cluster for several workers.")
    ] = None,
    preview_clips: Annotated[
        list[Path] | None,
        typer.Option(
            "--preview-clip",
            help="Video whose first frame and sound are rendered every "
            "run.preview_every_steps steps; repeatable.",
        ),
    ] = None,
) -> None:
    """Train by a recipe on datasets.

    Example: talk train --recipe tiny --data run/dataset/dataset.json --out training-run
    """
    from rich.console import Console

    from training.recipe import load_recipe
    from training.trainer.launch import TrainingJob, run_here, run_with_ray

    console = Console()
    checked = load_recipe(recipe, overrides or ())
    job = TrainingJob(checked.resolved(), tuple(data), out, resume, stop_after)
    make_preview = None
    if preview_clips:
        from training.previews import ClipPreviews
        from training.trainer.assemble import trained_with

        clips = tuple(str(clip.resolve()) for clip in preview_clips)
        make_preview = ClipPreviews(clips, trained_with(checked.phases[-1]))
        make_preview.check()
    if workers > 1 or address:
        import torch

        run_with_ray(
            job,
            workers,
            use_gpu=torch.cuda.is_available(),
            address=address,
            make_preview=make_preview,
        )
        return
    result = run_here(job, console, make_preview)
    state = "finished" if result.is_finished else "stopped; go on with --resume"
    console.print(f"{result.step} steps, {state}: {out}", highlight=False)


@app.command()
def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    gpus: Annotated[
        list[int] | None, typer.Option("--gpus", help="Numbers of GPUs; repeatable.")
    ] = None,
    mfu: Annotated[
        float | None, typer.Option(help="Share of the peak that is assumed, 0 to 1.")
    ] = None,
    price: Annotated[float | None, typer.Option(help="Price of a GPU hour.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print memory, tokens, speed and cost of a recipe on paper, before anything starts.

    Example: talk plan --recipe portrait_14b --gpus 8 --gpus 64
    """
    from training.recipe import load_recipe
    from training.trainer.plan import make_plan, plan_json, print_plan

    made = make_plan(load_recipe(recipe, overrides or ()), gpus or (1, 8, 64), mfu, price)
    if as_json:
        print(plan_json(made))
    else:
        print_plan(made)


@app.command()
def precompute(
    recipe: Recipe,
    data: Data,
    out: Annotated[str, typer.Option("--out", help="Folder of the latents.")],
    overrides: Overrides = None,
    phase: Annotated[
        str | None, typer.Option(help="Phase whose sizes and gates are used; the first by default.")
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", help="Task to encode for; repeatable."),
    ] = None,
    variants: Annotated[int, typer.Option(min=1, help="Crops and mirrors of each clip.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="More than one run on Ray.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="GPUs that a worker takes.")] = 0.0,
) -> None:
    """Encode every clip once: latents, text, picture and audio, for training to read.

    Example: talk precompute --recipe tiny --data run/dataset/dataset.json --out latents
    """
    from rich.console import Console

    from training.data.latent_making import PrecomputeSettings
    from training.data.precompute import Workers
    from training.errors import SettingError
    from training.model.interfaces import Task
    from training.recipe import load_recipe
    from training.trainer.encoders import precompute_phase

    known = [task.value for task in Task]
    for task in tasks or ():
        if task not in known:
            raise SettingError(f"--task {task!r}: known tasks are {', '.join(known)}")
    console = Console()
    chosen = tuple(Task(task) for task in tasks or known)
    made = precompute_phase(
        load_recipe(recipe, overrides or ()),
        phase,
        data,
        Path(out),
        PrecomputeSettings(tasks=chosen, num_variants=variants),
        Workers(
            engine="ray" if workers > 1 else "inline",
            num_workers=workers,
            gpus_per_worker=gpus_per_worker,
        ),
        lambda text: console.print(text, highlight=False),
    )
    console.print(
        f"{made.num_samples} samples in {made.num_shards} shards, {len(made.bad)} bad: "
        f"{made.dataset}",
        highlight=False,
    )
    for bad in made.bad[:5]:
        console.print(f"  {bad}", highlight=False)


app.registered_commands += cli_generate.app.registered_commands
app.registered_commands += cli_evaluate.app.registered_commands


def main(arguments: list[str] | None = None) -> None:
    """Run the command; what is refused is one line and exit code 2, a stopped run 1.

    Args:
        arguments: of the command line; ``None``: those of this process.
    """
    from training.errors import DivergedError

    try:
        app(arguments, standalone_mode=True)
    except DivergedError as error:
        print(f"talk: {error}", file=sys.stderr)
        sys.exit(1)
    except TalkError as error:
        print(f"talk: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
