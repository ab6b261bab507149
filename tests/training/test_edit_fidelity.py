"""`talk edit` on made footage of every kind: what is outside stays, and that is measured."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from benchmarks.edit_fidelity import LEAST_DB, edited, fidelity
from tests.training.generation.test_editing import made_face
from tests.training.generation.tiny import ADAPTER, SMALL, tiny_components
from training.cli import app
from training.evaluation.evaluate import Request, evaluate
from training.generation.pipeline import TalkingPortraitPipeline
from training.model.spec import tiny_spec

torch.set_num_threads(1)
NUM_FRAMES = 12
QUICK = ["--steps", "1", "--guidance", "none", "--size", "48x48", "--set", "window_latents=4"]
CLIPS = Path(__file__).parents[3] / "shared" / "data"
"""Beside a checkout; the clips are no part of the project."""
LIMITED, FULL = 1, 2
BT709, BT2020 = 1, 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edits")
    spec = tiny_spec(base=SMALL, adapter=ADAPTER)
    TalkingPortraitPipeline.of(tiny_components(), spec=spec).save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    soundfile.write(folder / "voice.wav", 0.2 * rng.standard_normal(16_000), 16_000)
    return folder


def take(
    path, size, pixel_format, *, matrix=BT709, color_range=LIMITED, aspect=Fraction(1), **options
):
    """Twelve frames of a textured picture that moves, with noise, and a face track beside it."""
    width, height = size
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.options = {"crf": "12", **options}
        context = stream.codec_context
        context.sample_aspect_ratio = aspect
        context.colorspace, context.color_range = matrix, color_range
        y, x = np.mgrid[:height, :width]
        for t in range(NUM_FRAMES):
            base = [
                127 + 90 * np.sin((x + 2 * t) / (7 + c)) * np.cos(y / (5 + c)) for c in range(3)
            ]
            rgb = np.stack(base, -1) + rng.normal(0, 10, (height, width, 3))
            frame = av.VideoFrame.from_ndarray(rgb.clip(0, 255).astype(np.uint8), format="rgb24")
            frame = frame.reformat(
                format=pixel_format,
                dst_colorspace="ITU709" if matrix == BT709 else "BT2020",
                dst_color_range="JPEG" if color_range == FULL else "MPEG",
            )
            frame.colorspace, frame.color_range = matrix, color_range
            frame.pts, frame.time_base = t, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # Landmarks are on the picture as it is shown, with square pixels.
    shown = round(width * aspect / 2) * 2 if aspect != 1 else width
    points = np.stack([made_face((shown / 2, height / 2), 0.6 * height)] * NUM_FRAMES)
    points = np.concatenate([points, np.zeros((NUM_FRAMES, 478, 1))], -1).astype(np.float32)
    np.savez(path.with_suffix(".face.npz"), landmarks=points, point_index=np.arange(478))
    return path


def edit(folder, source, out, *more):
    arguments = ["edit", "--model", folder / "model", "--video", source, "--out", out, *QUICK]
    arguments += ["--audio", folder / "voice.wav", *more]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


KINDS = {
    "half.mp4": {"size": (128, 96), "pixel_format": "yuv420p"},
    "rows.mkv": {"size": (128, 95), "pixel_format": "yuv422p"},
    "odd.mkv": {"size": (127, 95), "pixel_format": "yuv444p"},
    "deep.mkv": {"size": (128, 96), "pixel_format": "yuv420p10le", "matrix": BT2020},
    "full-range.mp4": {"size": (128, 96), "pixel_format": "yuv420p", "color_range": FULL},
    "narrow.mp4": {"size": (96, 96), "pixel_format": "yuv420p", "aspect": Fraction(64, 45)},
    "woven.mp4": {"size": (128, 96), "pixel_format": "yuv420p", "x264-params": "bff=1"},
}


@pytest.mark.parametrize("name", KINDS)
def test_outside_of_the_region_45_db_are_kept_by_the_command(folder, tmp_path, name):
    source = take(tmp_path / name, **KINDS[name])
    out = tmp_path / "out" / "edited.mp4"
    out.parent.mkdir()
    result = edit(folder, source, out)
    assert result.exit_code == 0, result.output
    found = fidelity(out, source)
    assert found.num_frames == NUM_FRAMES
    assert found.worst_db >= LEAST_DB
    assert 0.05 < found.region_ratio < 0.5
    assert found.change > 5, "a random model makes something else of the mouth"
    with av.open(str(source)) as before, av.open(str(out)) as after:
        frames = [next(container.decode(video=0)) for container in (before, after)]
        aspects = [c.streams.video[0].sample_aspect_ratio or 1 for c in (before, after)]
        orders = [c.streams.video[0].codec_context.field_order for c in (before, after)]
    for what in ("width", "height", "colorspace", "color_range", "interlaced_frame"):
        assert len({getattr(frame, what) for frame in frames}) == 1, what
    assert len({frame.format.name.replace("yuvj", "yuv") for frame in frames}) == 1
    assert aspects[0] == aspects[1]
    assert (orders[0] in (3, 4)) == (orders[1] in (3, 4)) == (name == "woven.mp4")


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no shared clips beside this checkout")
@pytest.mark.parametrize(
    "name", ["lp_d20_dark_offset.mp4", "d_hevc_hdr10.mp4", "d_interlaced_dvd.mpg", "d_vfr.mp4"]
)
def test_outside_of_the_region_45_db_are_kept_of_real_clips(folder, tmp_path, name):
    (tmp_path / "model").symlink_to(folder / "model")
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "voice.wav", 0.2 * rng.standard_normal(8_000), 16_000)
    found = edited(CLIPS / name, tmp_path, tmp_path / "voice.wav")
    assert not isinstance(found, str), found
    assert found.num_frames == 13
    assert found.worst_db >= LEAST_DB
    assert found.change > 5


def test_noise_that_the_rate_factor_alone_would_lose_is_kept_too(folder, tmp_path):
    path = take(tmp_path / "noise.mkv", (128, 96), "yuv444p")
    rng = np.random.default_rng(2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv444p"
        for t in range(NUM_FRAMES):
            values = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(values, format="rgb24").reformat(format="yuv444p")
            frame.pts, frame.time_base = t, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    out = tmp_path / "edited.mp4"
    assert edit(folder, path, out).exit_code == 0
    assert fidelity(out, path).worst_db >= LEAST_DB
    assert edit(folder, path, out, "--set", "crf=17").exit_code == 0
    assert fidelity(out, path).worst_db < LEAST_DB, "who asks for less gets less"


def test_evaluation_measures_the_fidelity_of_an_edit_with_no_option(folder, tmp_path):
    source = take(tmp_path / "take.mp4", **KINDS["half.mp4"])
    judged = tmp_path / "judged"
    (tmp_path / "edits").mkdir()
    out = tmp_path / "edits" / "edited.mp4"
    assert edit(folder, source, out).exit_code == 0
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["edited.json", "edited.mp4", "edited.region.npz"]
    assert json.loads(out.with_suffix(".json").read_text())["source"] == "../take.mp4"
    results = evaluate(Request(out.parent, None, None, judged))
    (clip,) = results.clips
    assert clip.source == source
    assert clip.values["outside_psnr_db"] >= LEAST_DB
    assert clip.values["outside_ssim"] > 0.99
    assert not {"outside_psnr_db", "outside_ssim"} & {one.metric for one in results.missing}


def test_a_film_generated_in_the_place_of_an_edit_has_no_region(folder, tmp_path):
    source = take(tmp_path / "take.mp4", **KINDS["half.mp4"])
    out = tmp_path / "film.mp4"
    assert edit(folder, source, out).exit_code == 0
    assert (tmp_path / "film.region.npz").exists()
    arguments = ["generate", "--model", folder / "model", "--audio", folder / "voice.wav"]
    arguments += ["--out", out, *QUICK]
    assert CliRunner().invoke(app, [str(argument) for argument in arguments]).exit_code == 0
    assert not (tmp_path / "film.region.npz").exists()
    assert "source" not in json.loads((tmp_path / "film.json").read_text())
