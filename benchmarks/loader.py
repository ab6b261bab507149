"""Samples a second against plain webdataset plus PyAV on the same shards.

    python -m benchmarks.loader DATASET... [--num-frames 81] [--size 512x288] [--repeats 3]

Both give the same number of frames of every clip at the same size, its whole sound, caption,
description and face track, in one process on one thread, in turns. The plain reader goes through
each tar with the ``webdataset`` package and decodes whole clips, once turning every frame into RGB
of that size (as reading whole clips does) and once only those that are used (the best that can be
done without seeking). Both cut, scale and convert in the same
way. Printed are samples a second, the ratios, and frames decoded.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable

import av
import numpy as np
import soundfile
import torch
import webdataset

from manifests.dataset import DatasetManifest, find_dataset
from training.data.picture_fit import fit_picture
from training.data.settings import DataSettings
from training.data.training_data import TrainingData
from training.data.video_frames import FrameShaper


def plain_epoch(urls: list[str], num_frames: int, size_px: tuple[int, int], only_used: bool) -> int:
    """Read every clip that is long enough as a plain loader would; returns how many."""
    num_read = 0
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        pictures = []
        with av.open(io.BytesIO(sample["mp4"])) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            size = stream.codec_context.width, stream.codec_context.height
            fit = fit_picture(size, size_px, None, is_mirrored=False)
            shape = FrameShaper(fit)
            first = max(0, (stream.frames - num_frames) // 2)
            for number, frame in enumerate(container.decode(stream)):
                if only_used and not first <= number < first + num_frames:
                    continue
                pictures.append(shape(frame))
        if len(pictures) < num_frames:
            continue
        used = pictures if only_used else pictures[first : first + num_frames]
        torch.stack(used).permute(3, 0, 1, 2)
        soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")
        json.loads(sample["json"])
        sample["txt"].decode()
        with np.load(io.BytesIO(sample["face.npz"])) as arrays:
            {name: arrays[name] for name in arrays}
        num_read += 1
    return num_read


def timed(work: Callable[[], int]) -> tuple[int, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    count = work()
    return count, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--num-frames", type=int, default=81)
    parser.add_argument("--size", default="512x288", help="width x height")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    width, height = map(int, options.size.split("x"))
    settings = DataSettings(
        sizes_px=((width, height),), num_frames=(options.num_frames,), num_workers=0
    )
    data = TrainingData(options.datasets, settings)
    urls = []
    for place in options.datasets:
        folder = find_dataset(place)
        urls += [folder.join(entry.path) for entry in DatasetManifest.read(folder).shards]

    def ours() -> int:
        return sum(len(batch) for batch in data.rest_of_epoch())

    readers = {
        "whole clips, every frame to RGB": lambda: plain_epoch(
            urls, options.num_frames, (width, height), only_used=False
        ),
        "whole clips, used frames to RGB": lambda: plain_epoch(
            urls, options.num_frames, (width, height), only_used=True
        ),
        "ours": ours,
    }
    for reader in readers.values():
        reader()  # files into the cache, codecs loaded
    wall_s: dict[str, list[float]] = {name: [] for name in readers}
    cpu_s: dict[str, list[float]] = {name: [] for name in readers}
    counts = dict.fromkeys(readers, 0)
    for _ in range(options.repeats):
        for name, reader in readers.items():
            counts[name], wall, cpu = timed(reader)
            wall_s[name].append(wall)
            cpu_s[name].append(cpu)
    if len(set(counts.values())) > 1:
        raise SystemExit(f"the readers read different clips: {counts}")
    total = int(data.clips.num_frames_N.sum())
    work = data.books.work
    num_epochs = options.repeats + 1
    print(
        f"{counts['ours']} clips of {total} frames, {options.num_frames} used of each, "
        f"{width}x{height}; median of {options.repeats} rounds in turns, one thread"
    )
    print(
        f"frames decoded an epoch: plain {total}, ours {work.num_frames_decoded / num_epochs:.0f} "
        f"({work.num_frames_used / num_epochs:.0f} used)"
    )
    print(f"{'':34s} samples/s   ours / this by wall time (rounds)   by CPU time (rounds)")
    for name in readers:
        wall, cpu = (np.array(took[name]) / took["ours"] for took in (wall_s, cpu_s))
        print(
            f"{name:34s} {counts[name] / np.median(wall_s[name]):9.2f}   "
            f"{np.median(wall):10.2f} ({wall.min():.2f} to {wall.max():.2f})"
            f"{np.median(cpu):21.2f} ({cpu.min():.2f} to {cpu.max():.2f})"
        )


if __name__ == "__main__":
    main()
