"""Does the tiny model learn to move lips by what it hears?

    python -m benchmarks.learns_audio FOLDER [--clips 40] [--held-out 8]
    python -m benchmarks.learns_audio FOLDER --train DATASET... --test DATASET...

Without datasets it makes talking footage (demo style, every sentence said once) and curates it.
Then it precomputes latents, trains the recipe, and prints the error over the lips on clips that
were not trained on: with their own sound, with the sound of another clip, with none. Intervals are
95 % of a paired bootstrap over clips. What is in FOLDER already is used again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.talking_footage import make_footage
from manifests.dataset import find_dataset
from training.data.collate import collate
from training.data.encode import encode_clip
from training.data.encoded import EncodedBatch
from training.data.latent_making import PrecomputeSettings
from training.data.precompute import Workers
from training.data.training_data import TrainingData
from training.model.components import load_components
from training.model.conditions import transformer_input
from training.model.interfaces import Task
from training.model.saved import load_spec
from training.objective.curriculum import Source
from training.objective.flow import noisy_latent, velocity_target
from training.objective.losses import cell_error, region_mean
from training.objective.seeding import generator_of
from training.recipe import Recipe, load_recipe
from training.trainer.encoders import precompute_phase
from training.trainer.launch import TrainingJob, run_here
from training.trainer.phase_data import data_settings
from training.trainer.step import NUM_TIMESTEPS

SIGMAS = (0.3, 0.5, 0.7, 0.9)
"""Where on the path the error is taken; the mean over them is reported."""
NUM_CROPS = 3
NUM_BOOTSTRAPS = 10_000


def curated_footage(folder: Path, name: str, numbers: range) -> str:
    """Make and curate footage; return the run."""
    make_footage(folder / "footage" / name, numbers, seconds=8, side_px=256)
    # Five persons with one script each are near-duplicates by picture, and meant to be.
    return curated(folder, name, [folder / "footage" / name], ["--set", "dedup.enabled=false"])


def curated(folder: Path, name: str, inputs: list[Path], options: list[str]) -> str:
    """Curate files or folders; return the run."""
    run = folder / "curated" / name
    if not (run / "dataset" / "dataset.json").is_file():
        command = [sys.executable, "-m", "curation", "run", *map(str, inputs)]
        command += ["--out", str(run), "--engine", "inline", *options]
        with (folder / f"curate-{name}.log").open("w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return str(run)


def trained(
    recipe: Recipe, datasets: list[str], folder: Path, console: Console, num_variants: int = 12
) -> Path:
    """Precompute and train; return the folder of the model."""
    tasks = tuple(sorted({task for phase in recipe.phases for task in phase.tasks}))
    started = time.perf_counter(), time.process_time()
    latents = folder / "latents"
    made = precompute_phase(
        recipe,
        None,
        datasets,
        latents,
        PrecomputeSettings(tasks=tasks, num_variants=num_variants, dtype="float16"),
        Workers(),
    )
    console.print(f"{made.num_samples} crops precomputed, {_spent(*started)}")
    run = folder / f"run-{recipe.digest}"
    if not (run / "model" / "model.json").is_file():
        started = time.perf_counter(), time.process_time()
        job = TrainingJob(
            recipe.resolved(), (str(latents),), str(run), resume=(run / "checkpoints").is_dir()
        )
        result = run_here(job, console)
        console.print(f"{result.step} steps, {_spent(*started)}")
    return run / "model"


@torch.no_grad()
def lip_errors(
    recipe: Recipe, model: Path, datasets: list[str]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Error over the lips of every clip with its own sound, another clip's, and none."""
    components = load_components(load_spec(model))
    components.transformer.eval()
    settings = data_settings(recipe, recipe.phases[0]).model_copy(
        update={"batch_size": 1, "flip_ratio": 0.0, "picture_ratio": 0.0, "sources": (Source(),)}
    )
    data = TrainingData(datasets, settings)
    clips: dict[str, list[EncodedBatch]] = {}
    for _ in range(NUM_CROPS):
        for samples in data.rest_of_epoch():
            for sample in samples:
                encoded = encode_clip(sample, Task.IMAGE, components, recipe.encode)
                clips.setdefault(sample.clip_id, []).append(collate([encoded]))
    ids = sorted(clips)
    errors: dict[str, list[float]] = {"own": [], "other": [], "none": []}
    for index, clip_id in enumerate(ids):
        other = clips[ids[(index + 1) % len(ids)]]
        sums = dict.fromkeys(errors, 0.0)
        for crop, batch in enumerate(clips[clip_id]):
            heard = {
                "own": batch.audio_BAKVSD,
                "other": other[crop].audio_BAKVSD,
                "none": torch.zeros_like(batch.audio_BAKVSD),
            }
            for name, audio in heard.items():
                sums[name] += _error(components.transformer, batch, audio, clip_id, crop)
        for name, total in sums.items():
            errors[name].append(total / len(clips[clip_id]))
    return ids, {name: np.array(values) for name, values in errors.items()}


def _error(
    transformer: torch.nn.Module,
    batch: EncodedBatch,
    audio: torch.Tensor,
    clip_id: str,
    crop: int,
) -> float:
    """Mean error over the lips at all sigmas; the noise is the same for every sound."""
    num = len(SIGMAS)
    wide = {
        name: getattr(batch, name).expand(num, *getattr(batch, name).shape[1:])
        for name in ("latent_BCKhw", "condition_BCKhw", "keep_mask_BCKhw", "text_BLD", "image_BLD")
    }
    batch = replace(batch, **wide)
    noise = torch.randn(
        batch.latent_BCKhw.shape, generator=generator_of("learns audio", clip_id, crop)
    )
    sigmas = torch.tensor(SIGMAS)
    velocity = transformer(
        transformer_input(
            noisy_latent(batch.latent_BCKhw, noise, sigmas),
            batch.keep_mask_BCKhw,
            batch.condition_BCKhw,
        ),
        sigmas * NUM_TIMESTEPS,
        batch.text_BLD,
        batch.image_BLD,
        audio.expand(num, *audio.shape[1:]),
        audio_scope="window",
    )
    error = cell_error(velocity, velocity_target(batch.latent_BCKhw, noise))
    lips = batch.lip_mask_BKhw.expand(num, *batch.lip_mask_BKhw.shape[1:]).clone()
    lips[:, 0] = 0  # the first frame is given
    return float(region_mean(error, lips).mean())


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval over clips."""
    draw = np.random.default_rng(0).integers(0, len(values), (NUM_BOOTSTRAPS, len(values)))
    low, high = np.quantile(values[draw].mean(axis=1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def report(ids: list[str], errors: dict[str, np.ndarray], console: Console) -> None:
    """Print the table and the verdict."""
    console.print(f"error over the lips on {len(ids)} clips that were not trained on:")
    for name, values in errors.items():
        console.print(
            "  {:<12} {:.4f}  [{:.4f}, {:.4f}]".format(f"{name} sound", *interval(values))
        )
    for name in ("other", "none"):
        mean, low, high = interval(errors[name] - errors["own"])
        share = mean / errors["own"].mean()
        verdict = "above 0" if low > 0 else "NOT separated from 0"
        console.print(
            f"  {name} minus own: {mean:+.4f} [{low:+.4f}, {high:+.4f}], {share:+.1%} of own: "
            f"{verdict}; larger on {int((errors[name] > errors['own']).sum())} of {len(ids)} clips"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", nargs="+", default=None)
    parser.add_argument("--test", nargs="+", default=None)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--held-out", type=int, default=8)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=160, highlight=False)
    recipe = load_recipe(arguments.recipe, arguments.set)
    train, test = arguments.train, arguments.test
    if train is None or test is None:
        total = arguments.clips + arguments.held_out
        train = [curated_footage(arguments.folder, "train", range(arguments.clips))]
        test = [curated_footage(arguments.folder, "test", range(arguments.clips, total))]
        console.print("data: generated demo footage (synthetic voices and posed photographs)")
    else:
        console.print(f"data: given, trained on {', '.join(train)}, tested on {', '.join(test)}")
    for name, places in (("trained on", train), ("tested on", test)):
        data = [find_dataset(place) for place in places]
        console.print(f"{name}: {', '.join(str(folder) for folder in data)}")
    model = trained(recipe, train, arguments.folder, console)
    report(*lip_errors(recipe, model, test), console)


def _spent(wall_s: float, cpu_s: float) -> str:
    return (
        f"{time.perf_counter() - wall_s:.0f} s wall, {time.process_time() - cpu_s:.0f} s of one CPU"
    )


if __name__ == "__main__":
    main()
