"""SyncNet on trial: rows are cut where the clip and the voice are, and the truth is found."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.syncnet_trials import EmbeddedClip, SyncNetJudge, embed_source, embed_voice
from manifests.ids import content_id
from manifests.storage import Folder
from stages.errors import StageError
from stages.face_crops import square_of
from stages.face_track import FaceTrack, pack_track
from stages.landmarks import NUM_LANDMARKS
from stages.sync_curve import curve_of, peak_of
from stages.sync_examples import TalkingClip
from stages.sync_figures import auc, within_a_frame
from stages.sync_trials import trials
from stages.syncnet import SyncNet
from stages.syncnet_network import build_network
from tests.stages.footage import TIME_BASE, write_video
from tests.stages.torch_networks import settled

LENGTH_S = 12.0
ENTRIES = 24
DELAY_S = 0.13
RATE_HZ = 16_000


def clip(number: int) -> TalkingClip:
    """A clip of which only times and loudness are looked at."""
    bands_HB = np.random.default_rng(number).normal(size=(1200, 4)).astype(np.float32)
    times_s = np.arange(0, LENGTH_S, 0.04)
    points_TPC = np.zeros((len(times_s), 1, 3), np.float32)
    name = f"{number:016x}"
    return TalkingClip(name, name, name, f"speaker {number}", points_TPC, times_s, bands_HB, 0.0)


def wave(number: int, time_s: np.ndarray) -> np.ndarray:
    """Vectors that change at the pace of speech, (N, D)."""
    rng = np.random.default_rng(number)
    rate_hz, phase = rng.uniform(0.5, 4, (6, ENTRIES)), rng.uniform(0, 6.28, (6, ENTRIES))
    return np.sin(6.28 * rate_hz * time_s[:, None, None] + phase).sum(axis=1)


def embedded(number: int) -> EmbeddedClip:
    lip_s, voice_s = 0.02 + np.arange(295) / 25, -0.5 + np.arange(1280) / 100
    return EmbeddedClip(wave(number, lip_s), 0.02, wave(number, voice_s - DELAY_S), -0.5)


CLIPS = [clip(number) for number in range(4)]
KNOWING = SyncNetJudge({each.name: embedded(number) for number, each in enumerate(CLIPS)})


def test_sound_that_is_late_is_found_late() -> None:
    each = CLIPS[0]
    found = KNOWING.agreements([KNOWING.cut(each, each, 2.0, 5.0, 2.0, 0.6)])[0]
    # A window is 0.2 s long and has to lie within the cut.
    assert found.shape == (31, 120)
    assert peak_of(curve_of(found))[0] == pytest.approx(1000 * DELAY_S, abs=6)


def test_a_cut_hears_nothing_beyond_what_is_spared() -> None:
    each = CLIPS[0]
    exact = KNOWING.cut(each, each, 2.0, 5.0, 2.1, 0.0)
    known = np.isfinite(exact.voice_MD[:, 0])
    # 120 windows of picture; the sound begins 0.1 s later in the voice and is as long.
    assert known.sum() == pytest.approx(120, abs=1)
    assert known[15] and not known[14]
    wide = KNOWING.cut(each, each, 2.0, 5.0, 2.1, 0.4)
    assert np.isfinite(wide.voice_MD[:, 0]).sum() == pytest.approx(140, abs=1)


def test_on_trial_the_truth_is_found_and_strangers_are_told() -> None:
    judged = list(trials(CLIPS, lambda _: KNOWING, 0, (4.0,), KNOWING.cut))
    own = [t for t in judged if t.voice == "own"]
    assert within_a_frame(own) > 0.95
    others = np.array([t.score for t in judged if t.voice == "random"])
    assert auc(np.array([t.score for t in own]), others) > 0.95


def test_a_network_that_knows_nothing_is_at_chance() -> None:
    rng = np.random.default_rng(0)
    noise = {
        each.name: EmbeddedClip(rng.normal(size=(295, 8)), 0.0, rng.normal(size=(1280, 8)), -0.5)
        for each in CLIPS
    }
    judge = SyncNetJudge(noise)
    judged = list(trials(CLIPS, lambda _: judge, 0, (2.0, 3.0, 4.0), judge.cut))
    own = [t for t in judged if t.voice == "own"]
    assert within_a_frame(own) < 0.3
    others = np.array([t.score for t in judged if t.voice == "random"])
    assert auc(np.array([t.score for t in own]), others) == pytest.approx(0.5, abs=0.2)


def test_every_fourth_row_of_a_voice_is_a_row_of_syncnet() -> None:
    pytest.importorskip("torch")
    network = SyncNet(settled(build_network(), 1))
    pcm = np.random.default_rng(2).normal(0, 0.1, RATE_HZ).astype(np.float32)
    rows = embed_voice(network, pcm)
    theirs = network.embed_voice(pcm)
    assert rows.shape[1] == 1024
    np.testing.assert_allclose(rows[::4], theirs[: len(rows) // 4], rtol=1e-5, atol=1e-5)
    later = network.embed_voice(pcm[320:])
    np.testing.assert_allclose(rows[2::4], later[: len(rows) // 4], rtol=1e-5, atol=1e-5)
    assert not len(embed_voice(network, pcm[:3000]))


class Brightness:
    """In place of the network: how bright the first crop of each window is, how loud the sound."""

    def embed_lips(self, crops_THWC: np.ndarray) -> np.ndarray:
        assert crops_THWC.shape[1:] == (224, 224, 3)
        return crops_THWC[:-4, 60:100, 90:130].mean(axis=(1, 2))

    def embed_voice(self, pcm: np.ndarray) -> np.ndarray:
        num = (len(pcm) - 3200) // 640
        return np.array([[np.abs(pcm[640 * k : 640 * k + 3200]).max()] for k in range(num)])


def written(path: Path) -> dict[str, Any]:
    """A bright square that moves and brightens, and the row of its clip from 0.4 s on."""
    frames, boxes = [], []
    for number in range(50):
        frame = np.full((240, 320, 3), 30, np.uint8)
        x = 40 + 2 * number
        frame[90:150, x : x + 60] = 60 + 3 * number
        frames.append(frame)
        boxes.append((x, 90, x + 60, 150))
    write_video(path, frames, crf=5)
    landmarks_TPC = np.zeros((50, NUM_LANDMARKS, 3), np.float32)
    for number, (left, top, right, bottom) in enumerate(boxes):
        landmarks_TPC[number, ::2, :2], landmarks_TPC[number, 1::2, :2] = (
            (left, top),
            (right, bottom),
        )
    pts = np.array([round(number / 25 / TIME_BASE) for number in range(50)], np.int64)
    ones = np.ones(50, np.float32)
    track = FaceTrack(3, pts, landmarks_TPC, ones, ones, np.zeros((50, 0, 0), np.uint8), 1.0)
    pcm = np.zeros(3 * RATE_HZ, np.float32)
    pcm[round(1.5 * RATE_HZ)] = 0.5
    flac = io.BytesIO()
    soundfile.write(flac, pcm, RATE_HZ, format="FLAC")
    return {
        "clip_id": "one",
        "track": 3,
        "face_track_npz": pack_track(track),
        "audio_flac": flac.getvalue(),
        "audio_start_s": -0.5,
        "start_pts": int(pts[10]),
        "end_pts": int(pts[49]),
        "time_base_num": 1,
        "time_base_den": TIME_BASE.denominator,
    }


def id_of(path: Path) -> str:
    folder, name = Folder.split(str(path))
    return content_id(folder, name)


def test_crops_come_from_the_source_along_the_track(tmp_path) -> None:
    path = tmp_path / "one.mp4"
    row = written(path)
    found = embed_source(str(path), id_of(path), [row], Brightness())["one"]
    assert found.first_lip_s == pytest.approx(0.4, abs=0.001)
    # The square is followed: its middle shows the brightness of frame 10 and on.
    left, top, right, bottom = square_of(np.array([[60.0, 90.0, 120.0, 150.0]]))
    assert (right - left, bottom - top) == (84, 84)
    wanted = 60 + 3 * np.arange(10, 10 + len(found.lip_ND))
    np.testing.assert_allclose(found.lip_ND.mean(axis=1), wanted, atol=4)
    # A click at 1.0 s on the clock of the picture is in the 0.2 s after each row from 0.8 s on.
    loud_s = found.first_voice_s + np.flatnonzero(found.voice_MD[:, 0] > 0.3) / 100
    assert loud_s[[0, -1]] == pytest.approx([0.81, 1.0], abs=0.011)


def test_a_source_that_is_gone_or_has_changed_is_said_to_be(tmp_path) -> None:
    path = tmp_path / "one.mp4"
    row = written(path)
    with pytest.raises(StageError, match="has changed"):
        embed_source(str(path), "0" * 20, [row], Brightness())
    known = id_of(path)
    path.unlink()
    with pytest.raises(StageError, match="cannot be read any more"):
        embed_source(str(path), known, [row], Brightness())
