"""What a long video costs beside a short one: memory, time a frame, repeated work.

    python -m benchmarks.long_video [--frames 200 1000] [--size 128] [--blocks 1]

Each length is made by a process of its own, from a wav file to an mp4 with sound, by a tiny model
with random weights. Peak memory is that of the whole process, libraries and model included; beside
it stands what is above the loaded model, after a first window has warmed everything up. Time is CPU
time of the process, so that neighbours on the machine do not count. Lengths are raised to where
windows fill the video exactly; there, latent frames predicted over latent frames gained is
window / (window - overlap).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WINDOW, OVERLAP = 21, 5
NUM_STEPS = 4
FPS = 25


def main() -> None:
    """Make both lengths and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs=2, default=(200, 1000))
    parser.add_argument("--size", type=int, default=128, help="side of a frame in pixels")
    parser.add_argument("--blocks", type=int, default=1, help="windows denoised together")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(_make(arguments.worker, arguments.size, arguments.blocks)))
        return
    rows = []
    for wanted in arguments.frames:
        command = [sys.executable, "-m", "benchmarks.long_video", "--worker", str(_filled(wanted))]
        command += ["--size", str(arguments.size), "--blocks", str(arguments.blocks)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(output.splitlines()[-1]))
    _print(rows, *rows)


def _print(rows: list[dict[str, Any]], short: dict[str, Any], long: dict[str, Any]) -> None:
    names = ("frames", "peak MiB", "above model MiB", "CPU ms a frame", "windows", "repeated work")
    print("".join(f"{name:>17}" for name in names))
    for row in rows:
        repeated = row["windows"] * WINDOW / (row["latents"] - OVERLAP)
        print(
            f"{row['frames']:17d}{row['peak_mib']:17.0f}{row['above_mib']:17.1f}"
            f"{row['ms_a_frame']:17.2f}{row['windows']:17d}{repeated:17.4f}"
        )
    blocks = np.array(long["ms_a_frame_of_blocks"])
    print(
        f"peak memory {long['frames']} over {short['frames']} frames: "
        f"{long['peak_mib'] / short['peak_mib']:.3f}"
    )
    print(f"time a frame, long over short: {long['ms_a_frame'] / short['ms_a_frame']:.3f}")
    half = len(blocks) // 2
    print(
        f"within the long video: CPU ms a frame, blocks of the second half over the first: "
        f"{np.median(blocks[half:]) / np.median(blocks[1:half]):.3f}"
    )
    print(f"window / (window - overlap) = {WINDOW / (WINDOW - OVERLAP):.4f}")


def _filled(num_frames: int) -> int:
    """Least number of frames from this one on that windows fill exactly."""
    latents = -(-(num_frames - 1) // 4) + 1
    windows = -(-(latents - OVERLAP) // (WINDOW - OVERLAP))
    return 4 * (OVERLAP + windows * (WINDOW - OVERLAP) - 1) + 1


def _make(num_frames: int, size_px: int, block_windows: int) -> dict[str, Any]:
    import soundfile
    import torch
    from PIL import Image

    from training.generation.denoising import Watcher
    from training.generation.inputs import Size
    from training.generation.making import generate_file
    from training.generation.pipeline import TalkingPortraitPipeline
    from training.generation.settings import make_settings
    from training.model.components import load_components
    from training.model.spec import AdapterSpec, BaseFromNothing, tiny_spec

    torch.set_num_threads(1)
    spec = tiny_spec(
        base=BaseFromNothing(num_heads=2, head_width=12, num_layers=2, ffn_width=64),
        adapter=AdapterSpec(audio_tokens_per_latent=4, audio_width=16, audio_hidden_width=32),
    )
    pipeline = TalkingPortraitPipeline.of(load_components(spec), spec=spec)
    settings = make_settings(
        "quality",
        {
            "num_steps": NUM_STEPS,
            "window_latents": WINDOW,
            "overlap_latents": OVERLAP,
            "block_windows": block_windows,
        },
    )

    class Passes(Watcher):
        num_passes = 0

        def on_passes(self, num_passes: int) -> None:
            self.num_passes += num_passes
            times.append(time.process_time())

    times: list[float] = []
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        Image.fromarray(rng.integers(0, 255, (size_px, size_px, 3), np.uint8)).save(
            place / "portrait.png"
        )

        def film(frames: int, watcher: Watcher) -> None:
            sound = rng.standard_normal(round(frames / FPS * 16_000)) * 0.1
            soundfile.write(place / "voice.wav", sound, 16_000)
            del sound
            made = generate_file(
                pipeline,
                place / "film.mp4",
                [place / "voice.wav"],
                settings,
                image=place / "portrait.png",
                size=Size(size_px, size_px),
                duration_s=frames / FPS,
                face_check=False,
                watcher=watcher,
            )
            assert made.num_frames == frames

        film(4 * (WINDOW - 1) + 1, Passes())
        loaded_mib = _peak_mib()
        times.clear()
        watcher = Passes()
        begun = time.process_time()
        film(num_frames, watcher)
        seconds = time.process_time() - begun
    branches = len(settings.rule().branches(0.5))
    windows = watcher.num_passes // (NUM_STEPS * branches)
    new_frames = 4 * (WINDOW - OVERLAP) * block_windows
    ends = times[NUM_STEPS * branches * block_windows - 1 :: NUM_STEPS * branches * block_windows]
    return {
        "frames": num_frames,
        "latents": (num_frames - 1) // 4 + 1,
        "peak_mib": _peak_mib(),
        "above_mib": _peak_mib() - loaded_mib,
        "ms_a_frame": 1e3 * seconds / num_frames,
        "windows": windows,
        "ms_a_frame_of_blocks": (1e3 * np.diff(ends) / new_frames).tolist(),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
