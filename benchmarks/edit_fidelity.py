"""Does `talk edit` leave alone what lies outside of its region?

    python -m benchmarks.edit_fidelity FOLDER [--out DIR] [--seconds 2] [NAME...]

FOLDER holds real clips. A randomly initialised tiny model is saved, and the command edits each clip
with the settings that it has by itself, but for one solver step without guidance on few pixels:
what the model makes is shown within the region only. What the command wrote is decoded again and
compared as evaluation does it: every frame with the one that shows at the same time in the source,
in RGB, in the size in which the source is stored, outside of the region that lies beside the film.
Printed: PSNR of all frames (of the mean squared error) and of the worst one. Exit code 1 if a frame
of any clip is below 45 dB, or if a region was left as it was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from typer.testing import CliRunner

from training.cli import app
from training.evaluation.frames import shown_at
from training.evaluation.likeness import psnr_of_mse
from training.evaluation.sidecars import read_region
from training.evaluation.traces import trace
from training.generation.pipeline import TalkingPortraitPipeline
from training.generation.recording import Recording
from training.model.components import load_components
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ
from training.model.spec import tiny_spec

LEAST_DB = 45.0
LEAST_CHANGE = 2.0
"""Grey steps by which a region changes at least, on average: a random model draws no mouth."""
CLIPS = {
    "sv_half1.mp4": "1008x1056, half body",
    "sv_head5.mp4": "1584x1088, close, sharp",
    "sv_side5.mp4": "1376x992, three-quarter view",
    "sv_full5.mp4": "784x1088, small face",
    "sv_dialogue1_1.mp4": "1120x960, very dark",
    "it_ref_video.mp4": "458x458, sharp",
    "lp_d10_music_lipsync.mp4": "512x512, 30 fps",
    "lp_d13_noaudio.mp4": "720x1280, selfie without sound",
    "lp_d20_dark_offset.mp4": "480x480, night",
    "grid_bbaf2n.mpg": "MPEG-1, 360x288",
    "d_noise.mp4": "strong noise",
    "d_odd_637x481_yuv444.mp4": "odd sides, 4:4:4",
    "d_anamorphic_sar.mp4": "pixels that are not square",
    "d_hevc_hdr10.mp4": "HEVC, 10 bits, BT.2020 PQ",
    "d_interlaced_dvd.mpg": "MPEG-2, interlaced, pixels that are not square",
    "d_mjpeg.mov": "full range",
    "d_rot_meta_upright.mp4": "stored turned",
    "d_vfr.mp4": "variable frame rate",
    "d_60fps_blend.mp4": "60 fps",
    "d_grayscale.mp4": "no colour",
    "d_streamcopy_editlist.mp4": "lead-in hidden by an edit list",
}
"""Each for what it is hard at; sizes as stored."""


class Fidelity(NamedTuple):
    """What became of one clip."""

    num_frames: int
    mean_db: float
    worst_db: float
    region_ratio: float
    change: float


def main() -> int:
    """Edit, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="clips of the folder; default: the list above")
    parser.add_argument("--out", type=Path, help="keep the edited films here")
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        spec = tiny_spec()
        pipeline = TalkingPortraitPipeline.of(load_components(spec), spec=spec)
        pipeline.save_pretrained(out / "model")
        voice = write_voice(arguments.folder, out / "voice.wav", arguments.seconds)
        print(
            f"{'clip':28} {'frames':>6} {'mean dB':>8} {'worst dB':>8} {'region':>7} {'change':>7}"
        )
        failed = 0
        for name in arguments.names or CLIPS:
            found = edited(arguments.folder / name, out, voice)
            if isinstance(found, str):
                print(f"{name:28} {found}", flush=True)
                failed += 1
                continue
            is_good = found.worst_db >= LEAST_DB and found.change >= LEAST_CHANGE
            failed += not is_good
            print(
                f"{name:28} {found.num_frames:6} {found.mean_db:8.2f} {found.worst_db:8.2f} "
                f"{found.region_ratio:7.1%} {found.change:7.1f}  {CLIPS.get(name, '')}"
                f"{'' if is_good else '  FAILED'}",
                flush=True,
            )
    print(f"{failed} below {LEAST_DB:g} dB, unchanged or refused")
    return int(failed > 0)


def write_voice(folder: Path, path: Path, seconds: float) -> Path:
    """Write some seconds of a real voice."""
    recording = Recording.open(sorted((folder / "speech").glob("*.mp4"))[0])
    samples = recording.read(0, round(seconds * AUDIO_SAMPLE_RATE_HZ))
    soundfile.write(path, samples, AUDIO_SAMPLE_RATE_HZ)
    return path


def edited(clip: Path, out: Path, voice: Path) -> Fidelity | str:
    """Run the command on a clip and measure, or say why it did not run."""
    film = out / f"{clip.stem}.mp4"
    options = ["--model", out / "model", "--video", clip, "--audio", voice, "--out", film]
    quick = ["--steps", "1", "--guidance", "none", "--set", "area_px=16384", "--json"]
    done = CliRunner().invoke(app, ["edit", *map(str, options), *quick])
    if done.exit_code != 0:
        return f"exit code {done.exit_code}: {done.stderr.strip() or done.exception!r}"
    return fidelity(film, clip)


def fidelity(film: Path, clip: Path) -> Fidelity:
    """Compare an edited film with its source, frame by frame."""
    seen = trace(film)
    times_s = seen.times_s.tolist()
    region = read_region(film)
    assert region is not None
    errors, ratios, changes = [], [], []
    frames = zip(
        shown_at(film, times_s),
        shown_at(clip, times_s, seen.size_px),
        region.outside(range(len(times_s)), seen.size_px),
        strict=True,
    )
    for mine, theirs, outside in frames:
        difference = mine.picture_HWC.astype(np.float32) - theirs.picture_HWC
        errors.append(float(np.square(difference[outside]).mean()))
        ratios.append(1 - float(outside.mean()))
        if not outside.all():
            changes.append(float(np.abs(difference[~outside]).mean()))
    return Fidelity(
        len(errors),
        psnr_of_mse(float(np.mean(errors))),
        psnr_of_mse(max(errors)),
        float(np.mean(ratios)),
        float(np.mean(changes)) if changes else 0.0,
    )


if __name__ == "__main__":
    sys.exit(main())
