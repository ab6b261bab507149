"""Plots: the series are what is stored, and the lines are the series."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from manifests.errors import DatasetError
from manifests.inspection.cli_media import _needs_look
from manifests.inspection.clip_evidence import Sound
from manifests.inspection.face_series import FaceSeries
from manifests.inspection.plot import envelope, make_figure, runs_of
from manifests.inspection.plot_series import (
    ACTIVE_MARGIN_DB,
    active_threshold_dbfs,
    level_dbfs,
    plot_series,
    with_gaps,
)
from manifests.inspection.words import Word
from manifests.ledger import Ledger
from stages.face_track import unpack_track
from tests.manifests.inspection.media import app, clip_of

RATE = 16000


def tone(seconds: float, amplitude: float) -> np.ndarray:
    """A sine that fits each hop of 32 ms a whole number of times."""
    return (amplitude * np.sin(2 * np.pi * 250 * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def test_series_of_a_packed_clip_are_what_its_members_hold(real_run) -> None:
    place, clip = clip_of(real_run, "kept")
    with tarfile.open(real_run / "dataset" / clip.sample["shard"]) as tar:
        members = {
            ext: tar.extractfile(f"{clip.clip_id}.{ext}").read()
            for ext in ("flac", "face.npz", "json")
        }
    series = plot_series(place, clip)
    samples, rate_hz = soundfile.read(io.BytesIO(members["flac"]), dtype="float32")
    assert (series.sound.samples == samples).all()
    assert series.sound.rate_hz == rate_hz
    description = json.loads(members["json"])
    assert series.sound.shifted_by_ms == description["audio"]["shifted_by_ms"]
    with np.load(io.BytesIO(members["face.npz"])) as arrays:
        boxes = arrays["box"]
    assert (series.faces.heights_px == boxes[:, 3] - boxes[:, 1]).all()
    assert series.faces.times_s == pytest.approx(np.arange(len(boxes)) / 25)
    assert series.sync.scores == pytest.approx(clip.values["sync.curve"])
    assert series.sync.offsets_ms == pytest.approx(clip.values["sync.curve_offsets_ms"])
    assert series.sync.peak_ms == clip.values["sync.offset_ms"]
    gates = place.run_record["recipe"]["gates"]
    assert series.sync.max_abs_offset_ms == gates["sync.abs_offset_ms"]["max"]
    assert series.min_face_height_px == gates["faces.height_px"]["min"]


def test_series_of_a_refused_clip_are_the_ledgers_evidence(real_run) -> None:
    place, clip = clip_of(real_run, "rejected")
    row = Ledger(place.run).evidence(clip.values["source_id"], clip.clip_id)
    stored, rate_hz = soundfile.read(io.BytesIO(row["audio_flac"]), dtype="float32")
    series = plot_series(place, clip)
    first = round((clip.values["start_s"] - row["audio_start_s"]) * rate_hz)
    length = round(clip.values["duration_s"] * rate_hz)
    assert (series.sound.samples == stored[first : first + length]).all()
    assert series.sound.shifted_by_ms == 0
    track = unpack_track(row["face_track_npz"])
    found = np.isfinite(series.faces.heights_px)
    assert series.faces.heights_px[found] == pytest.approx(track.heights_px, abs=0.002)


def test_lines_are_the_series(real_run) -> None:
    place, clip = clip_of(real_run, "kept")
    series = plot_series(place, clip)
    words = (Word("$one", 0.2, 0.6), Word("two", 0.7, 1.4))
    figure = make_figure(clip, dataclasses.replace(series, words=words))
    panels = {panel.get_label(): panel for panel in figure.axes}
    assert list(panels) == ["sound", "words", "mouth", "height", "yaw", "sync"]
    faces = series.faces
    for name, values in (
        ("mouth", faces.mouth_opening),
        ("height", faces.heights_px),
        ("yaw", faces.yaw_deg),
    ):
        line = panels[name].lines[0]
        assert (line.get_xdata() == faces.times_s).all()
        np.testing.assert_array_equal(line.get_ydata(), np.where(faces.found, values, np.nan))
        assert panels[name].get_xlim() == (0, series.duration_s)
    assert (panels["sync"].lines[0].get_ydata() == series.sync.scores).all()
    assert series.sync.peak_ms in [line.get_xdata()[0] for line in panels["sync"].lines[1:]]
    bars = [(bar.get_x(), bar.get_width()) for bar in panels["words"].patches]
    assert bars == [(0.2, pytest.approx(0.4)), (0.7, pytest.approx(0.7))]
    assert "words" not in [panel.get_label() for panel in make_figure(clip, series).axes]


@pytest.mark.parametrize("state", ["kept", "rejected"])
def test_no_text_lies_on_another(real_run, state) -> None:
    place, clip = clip_of(real_run, state)
    long = {**clip.values, "uri": "/a/" + "näme $x_" * 30 + ".mp4"}
    words = tuple(Word(f"word{n}", n * 0.3, n * 0.3 + 0.25) for n in range(9))
    figure = make_figure(
        dataclasses.replace(clip, values=long),
        dataclasses.replace(plot_series(place, clip), words=words),
    )
    figure.canvas.draw()
    texts = [figure._suptitle]
    for panel in figure.axes:
        texts += [
            panel.title,
            panel._left_title,
            panel.xaxis.label,
            panel.yaxis.label,
            *panel.texts,
        ]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) > 15
    for number, box in enumerate(boxes):
        assert figure.bbox.contains(box.x0, box.y0)
        assert figure.bbox.contains(box.x1, box.y1)
        for other in boxes[:number]:
            assert not box.overlaps(other)


def test_level_of_a_sine_is_3_db_below_its_peak() -> None:
    level = level_dbfs(Sound(tone(0.32, 0.5), RATE, 0.0))
    assert level == pytest.approx(np.full(10, 20 * np.log10(0.5) - 3.0103), abs=1e-3)


def test_activity_is_what_is_loud() -> None:
    loud, soft = tone(0.64, 0.5), tone(0.64, 0.5e-2)  # 40 dB apart
    level = level_dbfs(Sound(np.concatenate([loud, soft, loud, soft]), RATE, 0.0))
    threshold = active_threshold_dbfs(level)
    assert threshold == pytest.approx(level[0] - ACTIVE_MARGIN_DB, abs=1e-3)
    assert runs_of(level >= threshold) == [(0, 20), (40, 60)]
    near = level_dbfs(Sound(np.concatenate([loud, tone(0.64, 0.25)]), RATE, 0.0))  # 6 dB apart
    assert (near >= active_threshold_dbfs(near)).all()


def test_silence_has_no_activity() -> None:
    level = level_dbfs(Sound(np.zeros(RATE, np.float32), RATE, 0.0))
    assert active_threshold_dbfs(level) is None


def test_lines_break_where_frames_are_missing() -> None:
    times = np.array([0.0, 0.04, 0.08, 0.4, 0.44])
    faces = FaceSeries(times, np.ones((5, 4)), np.ones(5, bool), times, times)
    broken = with_gaps(faces)
    assert broken.times_s == pytest.approx([0, 0.04, 0.08, 0.24, 0.4, 0.44])
    assert np.isnan(broken.yaw_deg).tolist() == [False, False, False, True, False, False]
    assert np.isnan(broken.heights_px).tolist() == np.isnan(broken.yaw_deg).tolist()
    assert len(with_gaps(dataclasses.replace(faces, times_s=np.arange(5) / 25)).times_s) == 5


@pytest.mark.parametrize("num_samples", [0, 1, 7, 1000, 48001])
def test_the_envelope_holds_every_sample(num_samples) -> None:
    samples = np.random.default_rng(num_samples).uniform(-1, 1, num_samples)
    starts, low, high = envelope(samples, 100)
    assert len(starts) <= 100
    for number, start in enumerate(starts):
        part = samples[start : starts[number + 1] if number + 1 < len(starts) else None]
        assert (low[number], high[number]) == (part.min(), part.max())


@pytest.mark.parametrize("state", ["kept", "rejected"])
def test_a_plot_is_written(real_run, tmp_path, state) -> None:
    _, clip = clip_of(real_run, state)
    out = tmp_path / "bild.png"
    arguments = ["plot", str(real_run), clip.clip_id, "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(result.stdout) == {"clip_id": clip.clip_id, "plot": str(out)}
    with Image.open(out) as picture:
        assert picture.width == 1200
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100
    assert CliRunner().invoke(app, arguments).exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0


def test_a_library_that_is_missing_is_named_with_the_way_to_get_it() -> None:
    _needs_look("matplotlib", "PIL")
    with pytest.raises(DatasetError, match=r"nosuchlib, .* pip install 'talkreel\[look\]'"):
        _needs_look("matplotlib", "nosuchlib")


def test_a_dataset_alone_plots_what_it_holds(real_run, tmp_path) -> None:
    _, clip = clip_of(real_run, "kept")
    out = str(tmp_path / "a.png")
    result = CliRunner().invoke(
        app, ["plot", str(real_run / "dataset"), clip.clip_id, "--out", out]
    )
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
