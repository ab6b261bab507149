"""The whole way: clips made here, measured by the real command, compared, written, printed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curation.cast import ANNA, ANNA_VOICE
from curation.talking_clip import render_talking_clip
from tests.training.evaluation.media import noise, write_video
from training.cli_evaluate import app
from training.errors import InputError
from training.evaluation.evaluate import Request, evaluate
from training.evaluation.measuring import measure, read_run
from training.evaluation.results import as_json, write_results
from training.evaluation.summary import summary_text

OFFSET_MS = 160.0


def render(path: Path, seconds: float, av_offset_ms: float = 0.0) -> None:
    render_talking_clip(
        path,
        seconds=seconds,
        size=(256, 256),
        person=ANNA,
        voice=ANNA_VOICE,
        av_offset_ms=av_offset_ms,
        face_ratio=0.6,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluate")
    for name in ("generated", "reference", "source"):
        (root / name).mkdir()
    render(root / "reference" / "late.mp4", 5)
    shutil.copy(root / "reference" / "late.mp4", root / "generated" / "same.mp4")
    shutil.copy(root / "reference" / "late.mp4", root / "reference" / "same.mp4")
    render(root / "generated" / "late.mp4", 4, OFFSET_MS)
    write_video(
        root / "generated" / "faceless.mkv",
        [noise(n) for n in range(30)],
        sound=np.zeros(16_000, np.int16),
    )
    (root / "generated" / "text.mp4").write_text("no video")
    (root / "reference" / "unused.mp4").write_bytes(b"")
    region = np.zeros((256, 256), bool)
    region[128:] = True
    np.savez_compressed(root / "generated" / "same.region.npz", region=region)
    (root / "generated" / "late.json").write_text(json.dumps({"windows": [[0, 60], [40, 100]]}))
    return root


@pytest.fixture(scope="module")
def results(folders):
    return evaluate(Request(folders / "generated", folders / "reference", None, folders / "out"))


def clip_of(results, stem):
    return next(clip for clip in results.clips if clip.stem == stem)


def test_every_file_ends_in_the_results_with_its_reason(results):
    assert [clip.stem for clip in results.clips] == ["faceless", "late", "same", "text"]
    assert clip_of(results, "faceless").unmeasured.startswith("NO_FACE")
    assert clip_of(results, "text").unmeasured.startswith("UNREADABLE")
    assert clip_of(results, "late").unmeasured is None
    assert results.reference_only == ("unused.mp4",)


def test_a_copy_of_the_reference_is_equal_in_everything(results):
    clip = clip_of(results, "same")
    assert clip.values["psnr_db"] == 100
    assert clip.values["ssim"] == pytest.approx(1, abs=1e-6)
    assert clip.values["mouth_landmark_distance"] == pytest.approx(0, abs=1e-6)
    assert clip.values["mouth_opening_correlation"] == pytest.approx(1)
    assert clip.values["outside_psnr_db"] == 100
    for name in ("sync_confidence", "av_offset_ms", "face_sharpness", "colour_drift"):
        assert clip.values[name] == clip.values[f"reference.{name}"]


def test_a_known_shift_is_found_and_differences_of_length_are_noted(results):
    clip = clip_of(results, "late")
    moved_ms = clip.values["av_offset_ms"] - clip.values["reference.av_offset_ms"]
    assert moved_ms == pytest.approx(OFFSET_MS, abs=40)
    assert clip.offset_by == "embedded"
    assert any("lasts 4.00 s, the reference 5.00 s" in note for note in clip.notes)
    assert clip.values["seam_ratio"] > 0


def test_what_cannot_be_had_is_missing_and_never_replaced(results):
    missing = {one.metric for one in results.missing}
    assert {"sync_c", "sync_d", "fid", "fvd", "lpips", "identity_similarity"} <= missing
    for clip in results.clips:
        assert not missing & set(clip.values)


def test_a_file_without_a_face_keeps_the_figures_that_need_none(results):
    values = clip_of(results, "faceless").values
    assert "sync_confidence" not in values
    assert values.keys() == set()  # 1.2 s is too short for drift too


def test_results_can_be_read_again_and_name_what_made_them(results, tmp_path):
    write_results(results, tmp_path)
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert stored == json.loads(json.dumps(as_json(results)))
    made = stored["made_with"]["generated_run"]
    assert made["recipe"] == "generated" and made["recipe_digest"] and made["fingerprints"]["faces"]
    assert pq.read_table(tmp_path / "clips.parquet").num_rows == 4
    assert "4 generated clips, 2 measured, 2 with a reference" in summary_text(results, tmp_path)


def test_a_finished_run_is_read_and_not_made_again(results, folders):
    paths = [clip.generated for clip in results.clips]
    stop = [sys.executable, "-c", "raise SystemExit(3)"]
    run = measure(paths, folders / "out" / "generated-run", command=stop)
    assert run.recipe_name == "generated"
    with pytest.raises(InputError, match="exit code 3"):
        measure(paths, folders / "elsewhere", command=stop)


def test_a_run_that_knows_nothing_of_a_file_is_refused(results, folders):
    with pytest.raises(InputError, match="has no input"):
        read_run(folders / "out" / "generated-run", [folders / "generated" / "other.mp4"])
    with pytest.raises(InputError, match="cannot be read as a run"):
        read_run(folders / "none", [])


def test_the_command_prints_writes_and_ends_with_its_exit_code(results, folders, tmp_path):
    run = CliRunner().invoke
    out = folders / "out"
    common = ["--generated", str(folders / "generated"), "--out", str(out), "--no-page"]
    done = run(app, [*common, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["num_generated"] == 4 and told["num_paired"] == 0
    wrong = run(app, [*common, "--window-frames", "9", "--overlap-frames", "9"])
    assert wrong.exit_code == 2 and "--overlap-frames 9 must be less" in wrong.output
    nowhere = run(app, ["--generated", str(tmp_path / "none"), "--out", str(out)])
    assert nowhere.exit_code == 2 and "is no folder" in nowhere.output


def test_figures_without_a_face_are_figures_and_none_at_all_is_exit_code_one(tmp_path):
    for name in ("faceless", "unreadable"):
        (tmp_path / name).mkdir()
    for folder in ("faceless", "reference"):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_video(
            tmp_path / folder / "still.mkv",
            [noise(0)] * 30,
            sound=np.zeros(16_000, np.int16),
        )
    (tmp_path / "unreadable" / "text.mp4").write_text("no video")
    codes = {}
    for name in ("faceless", "unreadable"):
        words = ["--generated", str(tmp_path / name), "--reference", str(tmp_path / "reference")]
        words += ["--out", str(tmp_path / f"{name}-out"), "--no-page"]
        codes[name] = CliRunner().invoke(app, words).exit_code
    assert codes == {"faceless": 0, "unreadable": 1}
