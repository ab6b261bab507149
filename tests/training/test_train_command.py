"""``talk train`` and ``talk precompute`` from packed datasets to a model that opens again."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.training.data.made_dataset import (
    MadeClip,
    encode_sound,
    make_dataset,
    numbered_sound,
)
from tests.training.model.tiny_folders import write_transformer
from training.cli import app, main
from training.errors import InputError
from training.model.components import load_components
from training.model.saved import load_spec

FAST = (
    "phases.*.sizes_px=[[64,64]]",
    "phases.*.num_frames=[9]",
    "phases.*.micro_batch=2",
    "phases.*.face_height_ratio=0.0",
    "run.log_every_steps=1",
    "run.codec_clips=2",
    "model.base.num_layers=1",
    "model.base.num_heads=2",
    "phases.align.steps=2",
    "phases.hybrid.steps=2",
)


def _options(*overrides):
    return [part for override in (*FAST, *overrides) for part in ("--set", override)]


def _talk(*arguments):
    torch.set_num_threads(1)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    clips = [MadeClip(number, num_frames=17) for number in range(6)]
    return make_dataset(tmp_path_factory.mktemp("dataset"), clips)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A run that stopped in its first phase and went on; its folder and what it said."""
    folder = tmp_path_factory.mktemp("run") / "out"
    train = ("train", "--recipe", "tiny", "--data", dataset, "--out", folder, *_options())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        first = _talk(*train, "--stop-after", 1)
        second = _talk(*train, "--resume")
    return folder, first, second, [str(warning.message) for warning in warned]


def test_one_process_hears_nothing_of_process_groups(run):
    assert not [text for text in run[3] if "torch.distributed" in text]


def test_a_run_goes_through_its_phases_and_says_how_it_fares(run):
    _, first, second, _ = run
    assert "stopped; go on with --resume" in first and "4 steps, finished" in second
    said = " ".join(second.split())
    for word in ("loss", "face", "lips", "grad", "tokens/s", "clips/s", "data wait", "left"):
        assert word in said
    assert "phase hybrid" in said and "linear codec" in " ".join(first.split())
    assert re.search(r"align 2/4 .* hybrid 4/4", said)


def test_the_curves_are_there_for_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run[0] / "tensorboard")).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"loss/all", "loss/face", "loss/lips", "gradient_norm", "speed/clips_per_s"} <= tags
    assert [event.step for event in events.Scalars("loss/all")] == [1, 2, 3, 4]


def test_the_model_that_came_of_it_opens_with_its_codec(run):
    components = load_components(load_spec(run[0] / "model"))
    assert any(a.o.weight.any() for a in components.transformer.audio_blocks.values())
    picture = torch.zeros(1, 3, 5, 16, 16)
    assert components.codec.encode(picture).shape == (1, 16, 2, 2, 2)


def test_a_run_that_stopped_and_went_on_made_the_model_of_one_that_did_not(run, dataset, tmp_path):
    out = tmp_path / "whole"
    _talk("train", "--recipe", "tiny", "--data", dataset, "--out", out, *_options())
    weights = "model/transformer/diffusion_pytorch_model.safetensors"
    stopped, whole = load_file(run[0] / weights), load_file(out / weights)
    assert stopped.keys() == whole.keys()
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)


def test_latents_made_beforehand_train_the_same_recipe(dataset, tmp_path):
    said = _talk(
        "precompute",
        "--recipe",
        "tiny",
        "--data",
        dataset,
        "--out",
        tmp_path / "latents",
        *_options(),
    )
    assert "6 samples" in said
    out = ("--out", tmp_path / "run")
    said = _talk("train", "--recipe", "tiny", "--data", tmp_path / "latents", *out, *_options())
    assert "4 steps, finished" in said and "fitting" not in said


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs ``talk train``, which has to refuse, and returns its one line."""

    def refuses(data, *options):
        torch.set_num_threads(1)
        out = tmp_path / "out"
        arguments = ("train", "--recipe", "tiny", "--data", data, "--out", out, *options)
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        assert left.value.code == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("talk: ") and "\n" not in said and "Traceback" not in said
        assert not list(tmp_path.glob("out/checkpoints/step_*"))
        assert not (out / "model").exists()
        return said

    return refuses


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ['phases.hybrid.sources=[{where={"sync.confidence"={min=5}}}]'],
            "phase hybrid: .*no clip is left .*loosen the gates",
        ),
        (["phases.*.sizes_px=[[60,64]]"], "60 is no multiple of 16, .*; the nearest is 64"),
        (["phases.*.num_frames=[41]"], "6 shorter than 41 frames.*lengths"),
        (["phases.*.num_frames=[40]"], "4k \\+ 1, for instance 41"),
        (["run.context_parallel=2"], "does not divide 1 ranks; choose a divisor"),
        (["optimizer.kind=adamw_8bit"], "bitsandbytes package; install it, or"),
        (["model.transformer_checkpoint=nowhere"], "nowhere.*incomplete.*fetch it again"),
        (["run.sead=1"], "did you mean 'seed'"),
    ],
)
def test_bad_settings_are_refused_before_the_first_step(dataset, refused, overrides, said):
    assert re.search(said, refused(dataset, *_options(*overrides)))


def _newer(folder):
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))


def _without_a_shard(folder):
    (folder / "shards" / "000001.tar").unlink()


def _cut(folder):
    path = folder / "shards" / "000000.tar"
    path.write_bytes(path.read_bytes()[:-512])


def _changed(folder):
    path = folder / "shards" / "000000.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "options", "said"),
    [
        (_newer, (), "schema_version 99.*update talkreel"),
        (_without_a_shard, (), "000001.tar: .*not there.*copy the whole dataset"),
        (_cut, (), "000000.tar: .*cut or another one; copy it again"),
        (_changed, ("--set", "data.check=sha256"), "000000.tar: its SHA-256.*copy it again"),
    ],
)
def test_a_dataset_that_is_not_as_packed_is_refused(
    dataset, tmp_path, refused, damage, options, said
):
    folder = Path(shutil.copytree(Path(dataset).parent, tmp_path / "copy"))
    damage(folder)
    assert re.search(said, refused(folder, *_options(), *options))


def test_a_sound_shorter_than_its_clip_is_refused(tmp_path, refused):
    short = {"flac": encode_sound(numbered_sound(10))}
    clips = [MadeClip(number, num_frames=17) for number in range(5)]
    place = make_dataset(tmp_path / "d", [*clips, MadeClip(5, num_frames=17, members=short)])
    said = refused(place, *_options())
    assert re.search("lasts 0.400 s, the video 0.680 s .*pack the dataset again", said)


def test_too_few_clips_for_the_ranks_are_refused_before_they_start(dataset, refused):
    said = refused(dataset, *_options(), "--workers", 64)
    assert re.search("phase align: .*too few for 64 ranks; use fewer ranks", said)


def test_no_dataset_at_all_is_refused(tmp_path, refused):
    assert re.search("nothing.*no such folder", refused(tmp_path / "nothing", *_options()))


def _pretrained(repo):
    # The tiny base's own sizes mean nothing to a pretrained one.
    of_base = [key for key in FAST if key.startswith("model.base.")]
    overrides = [key for key in FAST if key not in of_base]
    base = f"model.base={{kind='pretrained', repo='{repo}'}}"
    return [part for override in (*overrides, base) for part in ("--set", override)]


def _without_a_part(folder):
    write_transformer(folder, "wan", shards=True)
    next(folder.glob("*.safetensors")).unlink()


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda folder: None, r"config\.json.*fetch it again"),
        (_without_a_part, r"\.safetensors.*fetch it again"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"is no base .*use .*/Wan2\.1"),
    ],
)
def test_a_wrong_or_incomplete_base_is_refused(dataset, tmp_path, refused, fill, said):
    folder = tmp_path / "base" / "transformer"
    folder.mkdir(parents=True)
    fill(folder)
    assert re.search(said, refused(dataset, *_pretrained(tmp_path / "base")))


def test_help_is_quick_because_it_imports_no_torch():
    code = (
        "import sys, contextlib, training.cli as c\n"
        "with contextlib.suppress(SystemExit): c.app(['train', '--help'])\n"
        "assert not {'torch', 'diffusers', 'ray', 'transformers'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_refusal_is_one_line_and_exit_code_two(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "training.cli", "plan", "--recipe", "tinny"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0 and "did you mean 'tiny'" in done.stderr


def test_preview_clips_are_rendered_with_sound_at_intervals(dataset, talking_mp4, tmp_path):
    folder = tmp_path / "out"
    steps = ("run.preview_every_steps=2", "phases.hybrid.steps=1")
    train = ("train", "--recipe", "tiny", "--data", dataset, "--out", folder, *_options(*steps))
    _talk(*train, "--preview-clip", talking_mp4)
    (made,) = (folder / "previews").rglob("*.mp4")
    assert made.relative_to(folder) == Path("previews/step_00000002/voice.mp4")
    with av.open(str(made)) as container:
        assert container.streams.video[0].width == 64
        num_frames = sum(1 for _ in container.decode(video=0))
        assert 25 <= num_frames <= 28  # as long as the sound, which AAC pads
        assert container.streams.audio


def test_a_preview_clip_without_sound_is_refused_before_the_first_step(dataset, tmp_path):
    film = tmp_path / "mute.mp4"
    _film(film, has_sound=False)
    train = ("train", "--recipe", "tiny", "--data", dataset, "--out", tmp_path / "out", *_options())
    with pytest.raises(InputError, match=r"mute\.mp4"):
        _talk(*train, "--preview-clip", film)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def talking_mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("preview") / "voice.mp4"
    _film(path, has_sound=True)
    return path


def _film(path, *, has_sound):
    """A second of a moving gradient, with a tone or without."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 128, 128, "yuv420p"
        audio = container.add_stream("aac", rate=16_000, layout="mono") if has_sound else None
        for number in range(25):
            ramp = (np.arange(128) + 5 * number) % 256
            picture = np.broadcast_to(ramp[None, :, None], (128, 128, 3)).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if audio is not None:
            tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
            frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
            frame.sample_rate = 16_000
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
