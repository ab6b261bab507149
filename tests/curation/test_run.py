"""The main road on footage made by the test: verdicts, books, bytes, resumption."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset

from curation.driver import pack_again, run_all, select_again
from curation.errors import RunError
from curation.inputs import find_inputs
from curation.recipe import load_recipe
from manifests.inspection.flags import FlagLog
from manifests.ledger import Ledger
from manifests.reasons import Reason
from manifests.records import ClipState
from manifests.storage import Folder
from manifests.verify import verify_dataset
from tests.curation.conftest import SHIFTED, digests

SETS = ["pack.samples_per_shard=2"]


def run(inputs: Path, out: Path, *sets: str, engine: str = "inline", **options):
    return run_all(
        find_inputs([str(inputs)]),
        Folder(str(out)),
        load_recipe("talking_portrait", [*SETS, *sets]),
        engine=engine,
        quiet=True,
        **options,
    )


def samples_of(out: Path) -> list[dict]:
    shards = sorted(str(path) for path in (out / "dataset/shards").glob("*.tar"))
    return list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))


def sources_of(out: Path) -> dict[str, dict]:
    rows = pq.read_table(out / "sources.parquet").to_pylist()
    return {Path(row["uri"]).name: row for row in rows}


@pytest.fixture(scope="module")
def finished(footage, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "inline"
    return run(footage, out), out


def test_every_input_ends_in_the_books_with_its_reason(finished):
    books, out = finished
    rows = sources_of(out)
    assert books.counts == {"inputs": 8, "done": 3, "rejected": 5, "dead": 0}
    assert {name: row["reason"] for name, row in rows.items() if row["state"] == "rejected"} == {
        "empty.mp4": "EMPTY_FILE",
        "good_copy.mp4": "DUPLICATE_SOURCE",
        "no_audio.mp4": "NO_AUDIO_STREAM",
        "text_named.mp4": "UNREADABLE",
        "truncated.mp4": "UNREADABLE",
    }
    kept = {name: row["num_clips_kept"] for name, row in rows.items() if row["state"] == "done"}
    assert kept == {"good_25fps.mp4": 1, "two_shots.mp4": 2, "dubbed.mp4": 0}


def test_the_funnel_adds_up(finished):
    funnel = finished[0].funnel
    lost_s = sum(funnel.lost_s.values())
    assert funnel.in_s + funnel.overlap_s == pytest.approx(funnel.kept_s + lost_s)
    assert funnel.overlap_s == pytest.approx(0, abs=0.05)


def test_each_source_is_decoded_once_and_each_kept_span_once(finished):
    books, out = finished
    work = books.work
    rows = sources_of(out)
    decoded = {
        name: row["num_frames_decoded"] for name, row in rows.items() if row["state"] == "done"
    }
    for name, num_frames in decoded.items():
        with av.open(rows[name]["uri"]) as container:
            assert num_frames == sum(1 for _ in container.decode(video=0))
    assert work["analysis_passes"] == work["sources_decoded"] == len(decoded)
    assert work["frames_analysed"] == sum(decoded.values())
    assert work["pack_passes"] == work["clips_packed"] == 3
    packed = pq.read_table(out / "dataset/clips.parquet").to_pylist()
    in_spans = 0
    for row in packed:
        with av.open(row["uri"]) as container:
            pts = [frame.pts for frame in container.decode(video=0)]
        in_spans += sum(row["start_pts"] <= p < row["end_pts"] for p in pts)
    assert work["frames_in_kept_spans"] == in_spans
    # Beyond the spans only the lead-in from the key frame before, and frames on the way out.
    assert in_spans <= work["frames_decoded_for_packing"] <= work["frames_analysed"] + 3


def test_samples_open_with_plain_webdataset_and_agree(finished):
    _, out = finished
    assert verify_dataset(Folder(str(out / "dataset"))) == []
    samples = samples_of(out)
    assert len(samples) == 3
    for sample in samples:
        described = json.loads(sample["json"])
        with av.open(io.BytesIO(sample["mp4"])) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert stream.average_rate == 25
            frames = list(container.decode(stream))
        assert [f.pts * f.time_base * 25 for f in frames] == list(range(len(frames)))
        sound, rate = soundfile.read(io.BytesIO(sample["flac"]))
        assert (rate, len(sound)) == (16000, len(frames) * 640)
        assert described["video"]["num_frames"] == len(frames)
        assert sample["txt"].decode().endswith(".")
        with np.load(io.BytesIO(sample["face.npz"])) as face:
            assert face["box"].shape == (len(frames), 4)
            assert face["lip_polygon"].shape == (len(frames), 20, 2)
            centre = face["lip_polygon"].mean(axis=(0, 1))
        assert 0 < centre[0] < frames[0].width
        assert 0 < centre[1] < frames[0].height


def test_a_second_run_changes_nothing_and_measures_nothing(finished, footage):
    _, out = finished
    before = digests(out / "dataset")
    times = {path: path.stat().st_mtime_ns for path in out.glob("commits/*")}
    run(footage, out)
    assert digests(out / "dataset") == before
    assert {path: path.stat().st_mtime_ns for path in out.glob("commits/*")} == times


def test_a_long_source_is_measured_in_segments_and_stitched(footage, finished, tmp_path):
    source = tmp_path / "long.mp4"
    source.symlink_to(footage / "good_25fps.mp4")
    out = tmp_path / "run"
    books = run(source, out, "run.segment_s=3", "clips.max_clip_s=6")
    assert books.counts["done"] == 1
    assert books.work["segments"] == 2
    rows = pq.read_table(out / "clips.parquet").to_pylist()
    rows.sort(key=lambda row: row["start_s"])
    assert len(rows) == 2
    assert rows[0]["start_pts"] < rows[0]["end_pts"] <= rows[1]["start_pts"]
    whole = sources_of(finished[1])["good_25fps.mp4"]
    assert books.funnel.in_s == pytest.approx(whole["duration_s"], abs=0.01)
    assert verify_dataset(Folder(str(out / "dataset"))) == []
    # The sound goes on beyond the end of a segment, for voices that are late.
    evidence = Ledger(Folder(str(out))).evidence(rows[0]["source_id"], rows[0]["clip_id"])
    sound, rate = soundfile.read(io.BytesIO(evidence["audio_flac"]))
    after = sound[-int(0.5 * rate) :]
    assert np.abs(after).max() > 0.001
    # Cut into other parts, it is measured anew.
    books = run(source, out, "run.segment_s=100", "clips.max_clip_s=6", change_recipe=True)
    assert books.work["segments"] == 1
    assert books.funnel.in_s == pytest.approx(whole["duration_s"], abs=0.01)
    assert len(list((out / "commits").iterdir())) == 1


def test_another_recipe_is_refused_until_told(finished, footage):
    _, out = finished
    with pytest.raises(RunError, match="--change-recipe"):
        run(footage, out, "sync.min_confidence=0.1")


def test_select_says_what_changed_and_pack_follows(footage, finished, tmp_path):
    import shutil

    out = tmp_path / "run"
    shutil.copytree(finished[1], out)
    folder = Folder(str(out))
    recipe = load_recipe("talking_portrait", SETS)
    result = select_again(folder, recipe, ["sync.min_confidence=1.1"])
    assert (result["num_lost"], result["num_won"], result["num_kept"]) == (3, 0, 0)
    result = select_again(folder, recipe, ["sync.min_confidence=0.0"])
    assert result["num_won"] >= 3
    again = load_recipe("talking_portrait", [*SETS, "sync.min_confidence=0.0"])
    pack_again(folder, again, engine="inline", num_workers=1, address=None, quiet=True)
    assert len(samples_of(out)) == result["num_kept"]
    with pytest.raises(RunError, match="what is measured"):
        select_again(folder, again, ["faces.detect_every_s=0.5"])


def test_clips_flagged_bad_are_refused_and_stay_refused(finished, tmp_path):
    import shutil

    out = tmp_path / "run"
    shutil.copytree(finished[1], out)
    folder = Folder(str(out))
    recipe = load_recipe("talking_portrait", SETS)
    clips = pq.read_table(out / "clips.parquet").to_pylist()
    bad = next(row["clip_id"] for row in clips if row["state"] == ClipState.KEPT)
    FlagLog(folder).set(bad, "bad")
    result = select_again(folder, recipe, [], str(out))
    assert (result["num_lost"], result["num_won"]) == (1, 0)
    select_again(folder, recipe, ["sync.min_confidence=0.0"])
    row = next(
        row for row in pq.read_table(out / "clips.parquet").to_pylist() if row["clip_id"] == bad
    )
    assert [gate["reason"] for gate in row["failed_gates"]] == [Reason.FLAGGED_BAD]
    (tmp_path / "none.csv").write_text(f"clip_id,flag\n{bad},good\n")
    result = select_again(folder, recipe, [], str(tmp_path / "none.csv"))
    assert result["num_won"] == 1


def test_the_measured_shift_is_applied_with_the_right_sign(shifted, tmp_path):
    # One person says the same in all of them: near-duplicates, as they should be.
    run(shifted, tmp_path / "first", "dedup.enabled=false")
    rows = {
        Path(row["uri"]).name: row
        for row in pq.read_table(tmp_path / "first/dataset/clips.parquet").to_pylist()
    }
    assert rows.keys() == SHIFTED.keys()
    for name, (_, offset_ms) in SHIFTED.items():
        assert rows[name]["sync.offset_ms"] == pytest.approx(offset_ms, abs=60)
    # What was packed is measured again: muxed together, it has to be in sync.
    muxed = tmp_path / "muxed"
    muxed.mkdir()
    for sample in samples_of(tmp_path / "first"):
        _mux(sample, muxed / f"{sample['__key__']}.mkv")
    run(muxed, tmp_path / "second", "dedup.enabled=false")
    again = pq.read_table(tmp_path / "second/clips.parquet").to_pylist()
    assert len(again) == len(SHIFTED)
    for row in again:
        assert abs(row["sync.offset_ms"]) <= 40


def _mux(sample: dict, path: Path) -> None:
    with (
        av.open(io.BytesIO(sample["mp4"])) as picture,
        av.open(io.BytesIO(sample["flac"])) as sound,
        av.open(str(path), "w") as out,
    ):
        given = [container.streams[0] for container in (picture, sound)]
        made = [out.add_stream_from_template(stream) for stream in given]
        for container, stream, target in zip((picture, sound), given, made, strict=True):
            for packet in container.demux(stream):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)


@pytest.mark.timeout(600)
def test_workers_crashes_and_engines_leave_no_trace_in_the_bytes(footage, tmp_path, local_ray):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("good_25fps.mp4", "two_shots.mp4", "text_named.mp4", "empty.mp4"):
        (few / name).symlink_to(footage / name)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "curation", "run", str(few), "--out", str(out)]
    command += ["--engine", "inline", "--set", SETS[0]]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not list(out.glob("commits/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert 1 <= len(list(out.glob("commits/*.parquet"))) < 4
    assert not (out / "dataset/dataset.json").exists()
    run(few, out)
    wanted = digests(out / "dataset")
    assert len(wanted) == 4
    for workers in (1, 2):
        out = tmp_path / f"ray{workers}"
        run(few, out, engine="ray", num_workers=workers)
        assert digests(out / "dataset") == wanted
