"""`talk generate` and `talk edit` from files to mp4, with a tiny model that is saved and read."""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.training.generation.tiny import ADAPTER, SMALL, picture, tiny_components
from training.cli_generate import app
from training.generation.pipeline import TalkingPortraitPipeline
from training.generation.schedulers import Solver, make_scheduler
from training.generation.source_video import SourceVideo, rgb
from training.generation.video_writer import Encoding, VideoWriter
from training.model.spec import tiny_spec

torch.set_num_threads(1)
QUICK = ["--steps", "2", "--set", "window_latents=4", "--set", "overlap_latents=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    spec = tiny_spec(base=SMALL, adapter=ADAPTER)
    pipeline = TalkingPortraitPipeline.of(
        tiny_components(), make_scheduler(Solver.EULER, 2.0), spec
    )
    pipeline.save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    soundfile.write(folder / "voice.wav", 0.2 * rng.standard_normal(16_000), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    Image.fromarray(picture(96, 80)).save(folder / "portrait.png")
    with VideoWriter(
        folder / "take.mp4", 64, 48, 25, sound=[folder / "voice.wav"], encoding=Encoding(crf=5)
    ) as writer:
        for k in range(20):
            writer.write(picture(64, 48, seed=k))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def generate(folder, out, *more):
    return run(
        "generate", "--model", folder / "model", "--audio", folder / "voice.wav", "--out", out,
        "--no-face-check", *QUICK, *more,
    )  # fmt: skip


def frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([rgb(frame) for frame in container.decode(video=0)])


def test_a_saved_pipeline_is_the_same_when_it_is_read(folder):
    read = TalkingPortraitPipeline.from_pretrained(folder / "model")
    assert type(read.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
    assert read.scheduler.config.shift == 2.0
    saved = tiny_components().transformer.state_dict()
    for name, weight in read.transformer.state_dict().items():
        torch.testing.assert_close(weight, saved[name], atol=0, rtol=0)


def test_portrait_and_voice_become_a_film_with_sound(folder, tmp_path):
    out = tmp_path / "talk.mp4"
    result = generate(
        folder, out, "--image", folder / "portrait.png", "--size", "64x48", "--json",
        "--prompt", "a person talks",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["num_frames"], record["width_px"], record["height_px"]) == (25, 64, 48)
    assert frames_of(out).shape == (25, 48, 64, 3)
    assert SourceVideo.open(out).has_sound


def test_the_same_seed_gives_the_same_film_and_another_one_another(folder, tmp_path):
    options = ["--image", folder / "portrait.png", "--size", "48x48"]
    films = []
    for index, seed in enumerate((7, 7, 8)):
        out = tmp_path / f"{index}.mp4"
        assert generate(folder, out, *options, "--seed", seed).exit_code == 0
        films.append(frames_of(out))
    np.testing.assert_array_equal(films[0], films[1])
    assert (films[0] != films[2]).any()


def test_from_text_alone_with_previews(folder, tmp_path):
    out = tmp_path / "talk.mp4"
    more = ["--size", "48x32", "--set", "preview_every=1", "--duration-s", "0.5"]
    result = generate(folder, out, *more)
    assert result.exit_code == 0, result.output
    assert frames_of(out).shape == (13, 32, 48, 3)
    assert Image.open(tmp_path / "talk.preview.png").size == (5 * 48, 32)
    made = ["talk.json", "talk.mp4", "talk.preview.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == made
    record = json.loads((tmp_path / "talk.json").read_text())
    assert record["num_frames"] == 13
    assert record["latent_windows"] == [[0, 4]]


def test_a_film_goes_on(folder, tmp_path):
    out = tmp_path / "more.mp4"
    more = ["--video", folder / "take.mp4", "--size", "64x48", "--set", "window_latents=7"]
    result = generate(folder, out, *more)
    assert result.exit_code == 0, result.output
    assert frames_of(out).shape == (25, 48, 64, 3)


def face_track(path, num_frames):
    from tests.training.generation.test_editing import made_face

    points = np.stack([made_face((32, 24), 28.0)] * num_frames).astype(np.float32)
    points = np.concatenate([points, np.zeros((num_frames, 478, 1), np.float32)], -1)
    np.savez(path, landmarks=points, point_index=np.arange(478))
    return path


def edit(folder, out, *more):
    return run(
        "edit", "--model", folder / "model", "--video", folder / "take.mp4",
        "--audio", folder / "voice.wav", "--out", out, "--size", "64x48", *QUICK, *more,
    )  # fmt: skip


def test_an_edit_follows_the_packed_track_and_keeps_the_rest(folder, tmp_path):
    track = face_track(tmp_path / "take.face.npz", 20)
    out = tmp_path / "edited.mp4"
    result = edit(folder, out, "--face-track", track, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["num_frames"] == 20
    assert any("the result ends with the film" in said for said in record["notices"])
    before, after = frames_of(folder / "take.mp4").astype(float), frames_of(out)
    change = np.abs(before - after).mean(axis=(0, 3))
    assert change[:6].mean() < 3
    assert change[26:32, 28:36].mean() > 10


def test_a_track_of_another_film_is_refused(folder, tmp_path):
    track = face_track(tmp_path / "other.face.npz", 9)
    result = edit(folder, tmp_path / "edited.mp4", "--face-track", track)
    assert result.exit_code == 2
    assert "follows 9 frames" in result.stderr
    assert not (tmp_path / "edited.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--audio", "silent.wav"], "silent"),
        (["--size", "480"], "--size 480: give 480p"),
        (["--preset", "fastest"], "fastest"),
        (["--set", "num_step=3"], "did you mean num_steps"),
        (["--guidance", "multi"], "multitalk, echomimic"),
        (["--set", "shift=0"], "shift"),
    ],
)
def test_bad_inputs_end_with_code_2_and_one_line(folder, tmp_path, arguments, message):
    arguments = [folder / a if str(a).endswith(".wav") else a for a in arguments]
    out = tmp_path / "talk.mp4"
    base = ["--model", folder / "model", "--out", out, "--no-face-check", "--size", "32x32"]
    if "--audio" not in arguments:
        base += ["--audio", folder / "voice.wav"]
    result = run("generate", *base, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "talk.json"], "ends in .mp4"),
        (["--out", "talk"], "ends in .mp4"),
        (["--out", "none/talk.mp4"], "no such folder"),
        (["--out", "/proc/talk.mp4"], "cannot be written to"),
        (["--duration-s", "inf"], "duration inf s"),
        (["--duration-s", "4000"], "at most 3600 s"),
        (["--size", "100000x64"], "at most 4096 px"),
        (["--set", "area_px=1e12"], "area_px"),
        (["--device", "banana"], "torch finds none"),
        (["--last-image", "portrait.png"], "without a first one"),
        (["--audio", "numberless.wav"], "silent"),
    ],
)
def test_hostile_wishes_end_with_code_2_and_one_line(folder, tmp_path, arguments, message):
    numberless = np.full(16_000, np.nan, np.float32)
    soundfile.write(folder / "numberless.wav", numberless, 16_000, subtype="FLOAT")
    given = {"--out": tmp_path / "talk.mp4", "--audio": folder / "voice.wav", "--size": "32x32"}
    name, value = arguments
    given[name] = {
        "--out": tmp_path / value,
        "--audio": folder / value,
        "--last-image": folder / value,
    }.get(name, value)
    flat = [part for pair in given.items() for part in pair]
    result = run("generate", "--model", folder / "model", "--no-face-check", *flat)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_no_input_is_written_over(folder, tmp_path):
    take = tmp_path / "take.mp4"
    take.write_bytes((folder / "take.mp4").read_bytes())
    kept = take.read_bytes()
    face_track(tmp_path / "take.face.npz", 20)
    common = ["--model", folder / "model", "--out", take, *QUICK]
    for arguments in (
        ["edit", *common, "--video", take, "--audio", folder / "voice.wav"],
        ["generate", *common, "--size", "32x32", "--audio", take],
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "would be lost" in result.stderr
    assert take.read_bytes() == kept


def test_a_film_goes_on_within_a_short_window_and_from_broken_sound(folder, tmp_path):
    take = tmp_path / "take.mp4"
    brief = tmp_path / "brief.wav"
    soundfile.write(brief, np.full(1600, 0.1), 16_000)
    with VideoWriter(take, 64, 48, 25, sound=[brief]) as writer:
        for k in range(6):
            writer.write(picture(64, 48, seed=k))
    out = tmp_path / "more.mp4"
    result = generate(folder, out, "--video", take, "--size", "64x48", "--json")
    assert result.exit_code == 0, result.output
    assert any("as if it were silent" in said for said in json.loads(result.stdout)["notices"])
    assert frames_of(out).shape == (25, 48, 64, 3)


def test_libraries_do_not_announce_themselves(folder, tmp_path):
    code = (
        "import numpy as np; from training.generation.faces import FaceFinder\n"
        "with FaceFinder() as finder: finder.find(np.zeros((64, 64, 3), np.uint8))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_a_folder_without_a_model_is_refused(folder, tmp_path):
    result = run(
        "generate", "--model", tmp_path, "--audio", folder / "voice.wav", "--out", "talk.mp4"
    )
    assert result.exit_code == 2
    assert "model.json" in result.stderr


def test_importing_the_commands_imports_no_torch():
    code = "import sys, training.cli_generate; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
