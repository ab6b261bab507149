"""Stages in an environment of their own: the same rows as in one process, and clear refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.engine import HandOver, InlineEngine, Item
from curation.inputs import identify
from curation.measure import Half, Measured, MeasureTask, Unit
from curation.measure_later import LaterTask
from curation.pipeline import build_pipeline, stages_elsewhere
from curation.recipe import load_recipe
from manifests.ledger import Ledger
from manifests.storage import Folder
from stages.environment import MODELS_PYTHON, absent_packages, lacks, models_python
from stages.errors import StageError
from stages.face_track import FaceTracks
from stages.picture_records import PictureTrace
from stages.speech import Voice

LATER = frozenset({"speaker", "caption"})
MODELS = Path(__file__).resolve().parents[2] / ".venv-models" / "bin" / "python"


@pytest.fixture(scope="module")
def source(footage):
    (found,) = identify([str(footage / "good_25fps.mp4")])
    return found


def rows_of(folder: Path, source) -> list[dict]:
    (part,) = Ledger(Folder(str(folder))).read(source.source_id)
    return part.clips.to_pylist()


@pytest.mark.timeout(300)
def test_two_tasks_commit_what_one_commits(source, tmp_path):
    recipe = load_recipe("talking_portrait")
    engine, item = InlineEngine(), Item("one", Unit(source))
    at_once = MeasureTask(Folder(str(tmp_path / "once")), recipe)
    (once,) = engine.run(at_once, [item], 60.0)
    folder = Folder(str(tmp_path / "twice"))
    first, then = MeasureTask(folder, recipe, LATER), LaterTask(folder, recipe, LATER)
    (twice,) = engine.run(first, [item], 60.0, then)
    assert isinstance(once.result, Measured)
    assert once.result == twice.result
    assert rows_of(tmp_path / "once", source) == rows_of(tmp_path / "twice", source)
    (part,) = Ledger(folder).read(source.source_id)
    assert {"speaker", "caption", "faces"} <= set(part.header.stage_s)


@pytest.mark.timeout(300)
def test_nothing_is_committed_before_the_end_and_little_is_handed_over(source, tmp_path):
    folder = Folder(str(tmp_path))
    measurer = MeasureTask(folder, load_recipe("talking_portrait"), LATER).open()
    handed = measurer(Unit(source))
    measurer.close()
    assert isinstance(handed, HandOver)
    half = handed.payload
    assert isinstance(half, Half)
    assert not folder.exists("commits")
    evidence = half.views[0].evidence
    assert evidence.has(FaceTracks)
    assert evidence.has(Voice)
    assert not evidence.has(PictureTrace)


def test_a_source_whose_clips_are_all_refused_is_not_handed_over(source, tmp_path):
    recipe = load_recipe("talking_portrait", ["faces.min_height_px=5000"])
    measurer = MeasureTask(Folder(str(tmp_path)), recipe, LATER).open()
    found = measurer(Unit(source))
    measurer.close()
    assert isinstance(found, Measured)
    assert (found.num_clips, found.num_passed) == (1, 0)
    assert len(rows_of(tmp_path, source)) == 1


def test_packages_are_looked_for_in_the_other_environment(monkeypatch):
    assert lacks(("no_such_package",), (), "buy it") is not None
    monkeypatch.setenv(MODELS_PYTHON, sys.executable)
    assert models_python() == sys.executable
    missing = lacks(("no_such_package", "json"), (), "buy it")
    assert missing == "no_such_package is not in this environment (buy it)"
    monkeypatch.setenv(MODELS_PYTHON, "/no/such/python")
    with pytest.raises(StageError, match="no Python answers there"):
        lacks(("no_such_package",), (), "buy it")


def test_everything_here_needs_no_other_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKREEL_CACHE", str(tmp_path))
    pipeline = build_pipeline(load_recipe("talking_portrait"))
    assert stages_elsewhere(pipeline) == []
    assert stages_elsewhere(pipeline, has_gpu=True) == []


def test_large_networks_go_where_the_gpus_are(tmp_path):
    (tmp_path / "own.model").touch()
    recipe = load_recipe(
        "talking_portrait",
        [f"syncnet.weights={tmp_path}/own.model", "syncnet.backend=syncnet"],
    )
    found = stages_elsewhere(build_pipeline(recipe), has_gpu=True)
    assert "syncnet" in [stage.name for stage in found]


MAKE_MODEL = """
import json, sys, open_clip, torch
from pathlib import Path
from safetensors.torch import save_file
folder = Path(sys.argv[1])
vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
torch.manual_seed(5)
save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
(folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
"""


@pytest.mark.skipif(not MODELS.exists(), reason="no environment of the model stages: make models")
@pytest.mark.skipif(not absent_packages(("open_clip",)), reason="open_clip is in this environment")
@pytest.mark.timeout(500)
def test_a_run_enters_the_environment_of_the_models(footage, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    subprocess.run([str(MODELS), "-c", MAKE_MODEL, str(model)], check=True)
    sets = [f"embedding.model={model}", "embedding.aesthetic=none", "embedding.backend=open_clip"]
    options = [part for value in sets for part in ("--set", value)]
    arguments = [str(footage / "good_25fps.mp4"), "--out", str(tmp_path / "run"), *options]
    environment = {**os.environ, MODELS_PYTHON: str(MODELS), "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-m", "curation", "run", *arguments, "--workers", "1"]
    inline = subprocess.run(
        [*command, "--engine", "inline"], env=environment, capture_output=True, text=True
    )
    assert inline.returncode == 2
    assert "the packages of embedding are in" in inline.stderr
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    books = json.loads(done.stdout)
    assert books["counts"] == {"inputs": 1, "done": 1, "rejected": 0, "dead": 0}
    assert books["stage_s"]["embedding"] > 0
    (clip,) = pq.read_table(tmp_path / "run/clips.parquet").to_pylist()
    assert clip["state"] == "kept"
    assert len(clip["embedding.vector"]) == 24
