"""Does the mouth of generated clips follow a voice that was never heard in training?

    python -m benchmarks.learns_to_talk FOLDER [--clips 40] [--held-out 10] [--real CLIPS]

The long version of the last step of `make demo`: footage is curated, latents are precomputed, the
recipe `tiny` is trained for longer (`--set` changes anything), and held-out clips are generated
from their first frame and

    right     their own sound
    swapped   the sound of another held-out clip
    none      no sound: the branch without audio

each with the same noise, longer than the clips of training, in windows. Printed: the correlation of
the mouth's opening over time with the opening of the true clip, with that of the clip whose sound
was given, and with the loudness of that sound; and the offset at which it is largest, + = the mouth
is late. Intervals are 95 % bootstraps over clips. `strip-*.png` shows the clip whose correlation
with the right sound is the median.

How the opening is read at 64 px is told in `mouth_reading`. Above the generated clips stand the
bounds: true frames, and true frames through the codec, both read as the generated ones are; the
second is the most that a perfect model could reach. Below stands a second opinion that nothing was
learned for, MediaPipe's mesh on enlarged frames, with its own, low, bound. Frame 0, which is given,
does not count.

Demo footage: five persons made from one photograph, all of them seen in training; new are the
sentences, and the voices are the synthesiser's. `--real`: a folder of real clips, one speaker a
file; every fifth file is held out, so its speaker is new as well. What is in FOLDER already is used
again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.learns_audio import curated, curated_footage, trained
from benchmarks.mouth_reading import (
    MouthReader,
    face_meshes,
    found_in,
    mesh_opening,
    mouth_numbers,
)
from benchmarks.talk_report import SOUNDS, Spoken, Take, median_clip, report, strip
from manifests.inspection.face_series import mouth_opening
from training.data.clip_samples import ClipSample
from training.data.training_data import TrainingData
from training.generation.denoising import Sampling
from training.generation.guidance import Branch, Condition, Guidance
from training.generation.pipeline import TalkingPortraitPipeline
from training.generation.portrait import Portrait
from training.generation.recording import Recording
from training.generation.settings import make_settings
from training.generation.wishes import Wishes
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ, VideoCodec
from training.objective.curriculum import Source
from training.recipe import Recipe, load_recipe
from training.trainer.phase_data import data_settings

LONG = {
    "demo": ("phases.align.steps=900", "phases.hybrid.steps=300"),
    "real": ("phases.align.steps=600", "phases.hybrid.steps=200"),
}
NUM_FRAMES = (129, 97, 65)
"""Frames of a take: the longest of these that the clip fills; training sees 33."""
READER_FRAMES = 65
"""Frames of each training clip that the reader learns from: a face is found in 10 ms."""
NUM_VARIANTS = 16
SAMPLING = {"guidance": "audio_only", "audio_guidance": 2.0, "num_steps": 20}
HELD_OUT_EVERY = 5


def takes_of(recipe: Recipe, dataset: str) -> list[Take]:
    """One long stretch of every clip of a dataset, framed as in training; ordered by id."""
    settings = data_settings(recipe, recipe.phases[0]).model_copy(
        update={
            "batch_size": 1, "num_frames": NUM_FRAMES, "flip_ratio": 0.0, "picture_ratio": 0.0,
            "sources": (Source(),),
        }
    )  # fmt: skip
    takes = []
    for samples in TrainingData([dataset], settings).rest_of_epoch():
        for sample in samples:
            assert isinstance(sample, ClipSample)
            (speaker,) = sample.speakers
            if speaker.face is None or sample.is_padding:
                continue
            first = round(sample.first_frame * AUDIO_SAMPLE_RATE_HZ / sample.fps)
            num_frames = sample.frames_CTHW.shape[1]
            last = first + round(num_frames * AUDIO_SAMPLE_RATE_HZ / sample.fps)
            takes.append(
                Take(
                    sample.clip_id,
                    sample.frames_CTHW.permute(1, 2, 3, 0).numpy(),
                    mouth_opening(speaker.face.landmarks_TPC, speaker.face.point_index_P),
                    speaker.face.lip_polygon_TPC[0],
                    speaker.pcm_N[first:last].numpy(),
                    sample.caption,
                    sample.fps,
                )
            )
    return sorted(takes, key=lambda take: take.clip_id)


def through_codec(codec: VideoCodec, frames: np.ndarray) -> np.ndarray:
    """Frames as the codec gives them back."""
    pixels = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    back = codec.decode(codec.encode(pixels))[0]
    return ((back + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0).numpy()


def generated(
    pipeline: TalkingPortraitPipeline, take: Take, pcm: np.ndarray, sampling: Sampling, seed: int
) -> np.ndarray:
    """Let the first frame of a take speak; (T, H, W, 3) uint8."""
    recording = Recording.from_samples(np.pad(pcm, (0, max(0, len(take.pcm) - len(pcm)))))
    wishes = Wishes(
        [recording],
        prompt=take.caption,
        portrait=Portrait(take.frames[0]),
        duration_s=len(take.frames) / take.fps,
        fps=Fraction(take.fps).limit_denominator(1001),
        seed=seed,
    )
    frames = np.stack(list(pipeline.frames(wishes, sampling)))
    recording.close()
    return frames[: len(take.frames)]


def learned_reader(codec: VideoCodec, takes: Sequence[Take]) -> MouthReader:
    """Learn to read mouths from training clips as the codec gives them back."""
    numbers, openings = [], []
    for take in takes:
        frames = through_codec(codec, take.frames[:READER_FRAMES])
        numbers.append(mouth_numbers(frames, take.lips, face_meshes(frames)))
        openings.append(take.opening[:READER_FRAMES])
    return MouthReader.fit(numbers, openings)


def spoken_by(
    pipeline: TalkingPortraitPipeline,
    reader: MouthReader,
    take: Take,
    given: Take,
    sampling: Sampling,
    seed: int,
) -> Spoken:
    """Let a take speak with its own sound, with another's and with none, and read its mouth."""
    without = replace(sampling, guidance=Guidance(Branch(audio=Condition.OFF)))
    frames = {
        "true": take.frames,
        "codec": through_codec(pipeline.codec, take.frames),
        "right": generated(pipeline, take, take.pcm, sampling, seed),
        "swapped": generated(pipeline, take, given.pcm, sampling, seed),
        "none": generated(pipeline, take, take.pcm, without, seed),
    }
    meshes = {name: face_meshes(shown) for name, shown in frames.items()}
    return Spoken(
        take,
        given,
        frames,
        {
            name: reader.read(mouth_numbers(shown, take.lips, meshes[name]))
            for name, shown in frames.items()
        },
        {name: mesh_opening(mesh) for name, mesh in meshes.items()},
        {name: len(found_in(mesh)) / len(mesh) for name, mesh in meshes.items()},
    )


def spoken_of(
    model: Path, recipe: Recipe, train: str, test: str, sets: Sequence[str], console: Console
) -> list[Spoken]:
    """Learn to read mouths, and have every held-out clip spoken."""
    started = time.perf_counter()
    pipeline = TalkingPortraitPipeline.from_pretrained(model)
    settings = make_settings("quality", SAMPLING, list(sets))
    sampling = settings.for_model(pipeline.spec and pipeline.spec.trained_with).sampling()
    known, takes = takes_of(recipe, train), takes_of(recipe, test)
    if len(takes) < 2:
        raise SystemExit(
            f"{test}: {len(takes)} held-out clips; sounds are swapped among two or more"
        )
    reader = learned_reader(pipeline.codec, known)
    console.print(
        f"reader of mouths: ridge {reader.strength:g}, learned from {len(known)} training clips"
    )
    spoken = [
        spoken_by(pipeline, reader, take, takes[(number + 1) % len(takes)], sampling, number)
        for number, take in enumerate(takes)
    ]
    num_frames = sum(len(take.frames) for take in takes) * len(SOUNDS)
    console.print(
        f"{num_frames} frames generated and read in {time.perf_counter() - started:.0f} s: "
        f"{sampling.num_steps} steps, audio guidance {settings.audio_guidance:g}, windows of "
        f"{sampling.window_latents} latent frames that share {sampling.overlap_latents}"
    )
    return spoken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=40, help="demo clips of 8 s to train on")
    parser.add_argument("--held-out", type=int, default=10, help="demo clips held out")
    parser.add_argument("--real", type=Path, help="folder of real clips, one speaker a file")
    parser.add_argument("--only", choices=("demo", "real"))
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--set", action="append", default=[], help="of the recipe, key=value")
    parser.add_argument("--sampling", action="append", default=[], help="of generation, key=value")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    console = Console(width=160, highlight=False)
    kinds = [arguments.only] if arguments.only else ["demo"] + ["real"] * bool(arguments.real)
    for kind in kinds:
        started = time.perf_counter()
        folder = arguments.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "demo":
            total = arguments.clips + arguments.held_out
            console.print("demo footage: synthetic voices, five posed photographs of one person")
            train = curated_footage(folder, "train", range(arguments.clips))
            test = curated_footage(folder, "test", range(arguments.clips, total))
        else:
            files = sorted(path for path in arguments.real.iterdir() if path.is_file())
            held_out = files[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
            console.print(
                f"real clips: {len(files)} files, held out: {' '.join(f.stem for f in held_out)}"
            )
            train = curated(folder, "train", [f for f in files if f not in held_out], [])
            test = curated(folder, "test", held_out, [])
        recipe = load_recipe(arguments.recipe, [*LONG[kind], *arguments.set])
        model = trained(recipe, [train], folder, console, NUM_VARIANTS)
        spoken = spoken_of(model, recipe, train, test, arguments.sampling, console)
        told = report(spoken, console)
        shown, picture = median_clip(spoken), folder / f"strip-{kind}.png"
        strip(shown, picture)
        (folder / "learns_to_talk.json").write_text(json.dumps(told, indent=1))
        minutes = (time.perf_counter() - started) / 60
        console.print(f"{picture}: clip {shown.take.clip_id}, the median; {minutes:.1f} min in all")


if __name__ == "__main__":
    main()
