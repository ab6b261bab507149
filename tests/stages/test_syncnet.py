"""SyncNet's scores are those of the reference, and its signs are ours.

The reference is in the packages ``syncnet-python`` and ``python_speech_features``; the tests that
compare with it skip without them. The weights are random: what is compared is arithmetic.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import wavfile

from stages.errors import StageError
from stages.face_crops import square_of
from stages.mfcc import mfcc
from stages.syncnet import MAX_SHIFT, MIN_FRAMES, SyncNet, score_embeddings
from stages.syncnet_network import build_network
from tests.stages.torch_networks import settled

NUM_FRAMES = 75


def embeddings(num_windows: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(num_windows, 64)).astype(np.float32)


@pytest.mark.parametrize("late_by", [-7, 0, 3, 15])
def test_the_shift_of_the_sound_is_found_with_its_sign(late_by: int) -> None:
    lip = embeddings(200)
    voice = np.roll(lip, late_by, axis=0)
    score = score_embeddings(lip, voice)
    assert score.offset_frames == -late_by
    assert score.offset_ms == 40 * late_by
    assert score.curve_S.argmin() == MAX_SHIFT + late_by


def test_confidence_and_distance_have_their_closed_form() -> None:
    lip = np.zeros((40, 4), np.float32)
    lip[:, 0] = 3
    score = score_embeddings(lip, np.zeros((40, 4), np.float32))
    np.testing.assert_allclose(score.curve_S, 3, atol=1e-5)
    assert score.distance == pytest.approx(3, abs=1e-5)
    assert score.confidence == pytest.approx(0, abs=1e-5)
    # Sound like the lips: shift s leaves |s - 15| of 40 windows beside the sound, at distance 3.
    score = score_embeddings(lip, lip)
    beside = np.abs(np.arange(31) - MAX_SHIFT)
    np.testing.assert_allclose(score.curve_S, 3 * beside / 40, atol=1e-5)
    assert score.confidence == pytest.approx(3 * np.median(beside) / 40, abs=1e-5)


def reference(module: str) -> Any:
    """A module of the reference; importing it needs all that the reference needs."""
    pytest.importorskip("python_speech_features")
    return pytest.importorskip(f"syncnet_python.{module}")


def speech_like(num_samples: int) -> np.ndarray:
    """16-bit sound whose loudness and pitch change a few times a second."""
    rng = np.random.default_rng(5)
    time_s = np.arange(num_samples) / 16_000
    pitch = np.sin(2 * np.pi * (120 * time_s + 8 * np.sin(2 * np.pi * 1.3 * time_s)))
    loudness = np.clip(np.sin(2 * np.pi * 2.1 * time_s), 0, 1)
    sound = loudness * (pitch + 0.3 * rng.normal(size=num_samples)) + 0.003 * rng.normal(
        size=num_samples
    )
    return np.clip(np.round(sound * 20_000), -32768, 32767).astype(np.int16)


def moving_picture() -> np.ndarray:
    """(T, 224, 224, 3) of a spot that opens and closes over a slope, with noise."""
    rng = np.random.default_rng(6)
    rows, columns = np.mgrid[:224, :224]
    frames = []
    for t in range(NUM_FRAMES):
        frame = np.stack([rows, columns, 223 - rows], axis=2).astype(np.float64)
        opening = 12 + 10 * np.sin(t * 0.9)
        frame[((rows - 150) / opening) ** 2 + ((columns - 112) / 40) ** 2 < 1] = 30
        frames.append(frame + rng.normal(scale=12, size=frame.shape))
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of the real file.

    Its last layers are set so that distances are about as large as real ones, and smaller
    between two embeddings than to the zeros around the sound.
    """
    torch = pytest.importorskip("torch")
    network = settled(build_network(), seed=11)
    with torch.no_grad():
        untamed = SyncNet(network)
        embedded = {
            network.netfclip: untamed.embed_lips(moving_picture()[:24]),
            network.netfcaud: untamed.embed_voice(speech_like(16_000)),
        }
        for head, vectors_ND in embedded.items():
            size = np.linalg.norm(vectors_ND - vectors_ND.mean(axis=0), axis=1).mean()
            head[-1].weight *= 6 / size
            head[-1].bias[:] = (
                (head[-1].bias - torch.from_numpy(vectors_ND.mean(axis=0))) * 6 / size
            )
            head[-1].bias += 0.3
    path = tmp_path_factory.mktemp("weights") / "syncnet_v2.model"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s as the reference reads them: numbered JPEGs and a WAV."""
    folder = tmp_path_factory.mktemp("track")
    for number, frame in enumerate(moving_picture()):
        cv2.imwrite(str(folder / f"{number:06d}.jpg"), frame)
    wavfile.write(folder / "audio.wav", 16_000, speech_like(NUM_FRAMES * 640))
    return folder


def test_scores_are_those_of_the_reference(weights_file: Path, recorded: Path) -> None:
    pipeline = reference("syncnet_pipeline").SyncNetPipeline
    judge = pipeline._load_syncnet(SimpleNamespace(device="cpu"), str(weights_file))
    with contextlib.redirect_stdout(io.StringIO()):
        offset, confidence, distance = judge.evaluate(
            SimpleNamespace(tmp_dir=str(recorded), batch_size=20, vshift=15)
        )

    crops = np.stack([cv2.imread(str(path)) for path in sorted(recorded.glob("*.jpg"))])
    _, pcm = wavfile.read(recorded / "audio.wav")
    network = SyncNet.load(weights_file, batch_size=32)
    score = network.score(crops, pcm)
    assert score is not None
    assert score.offset_frames == offset
    assert score.confidence == pytest.approx(confidence, abs=1e-4)
    assert score.distance == pytest.approx(distance, abs=1e-4)
    assert abs(offset) < MAX_SHIFT, "a minimum at the end of the curve proves little"
    assert confidence > 0.01, "a flat curve proves little"
    np.testing.assert_array_equal(
        network.embed_voice(pcm / np.float32(32768)), network.embed_voice(pcm)
    )


def test_the_curve_is_that_of_the_reference() -> None:
    instance = reference("SyncNetInstance")
    import torch

    rng = np.random.default_rng(9)
    lip, voice = rng.normal(size=(2, 70, 1024)).astype(np.float32) * 0.3
    theirs = torch.stack(instance.calc_pdist(*map(torch.from_numpy, (lip, voice)), vshift=15), 1)
    curve = score_embeddings(lip, voice).curve_S
    np.testing.assert_allclose(curve, theirs.mean(1).numpy(), rtol=0, atol=1e-4)


def test_less_than_two_seconds_gives_no_score(weights_file: Path) -> None:
    network = SyncNet.load(weights_file)
    crops = np.zeros((MIN_FRAMES, 224, 224, 3), np.uint8)
    assert network.score(crops[:-1], np.zeros(MIN_FRAMES * 640, np.int16)) is None
    assert network.score(crops, np.zeros(MIN_FRAMES * 640 - 1, np.int16)) is None


def test_other_weights_are_refused(weights_file: Path, tmp_path: Path) -> None:
    import torch

    other = tmp_path / "other.model"
    torch.save({"layer.weight": torch.zeros(3)}, other)
    with pytest.raises(StageError, match="not the weights of SyncNet"):
        SyncNet.load(other)


def test_mfcc_are_those_of_the_reference() -> None:
    """Numbers of python_speech_features 0.6 for a sweep; where it is installed, a longer sound."""
    time = np.arange(1200)
    sweep = np.round(8000 * np.sin(time * time / 3000)).astype(np.int16)
    expected = [20.974798, 8.858992, -37.191234, -37.80823, 4.912383, 30.299442, 12.644992]
    expected += [-12.645718, -11.81141, -0.136166, 0.85849, -4.697223, -2.168463]
    np.testing.assert_allclose(mfcc(sweep)[:, 3], expected, atol=1e-6)
    assert np.isfinite(mfcc(np.zeros(1000, np.int16))).all()
    package = pytest.importorskip("python_speech_features")
    sound = speech_like(16_123)
    np.testing.assert_allclose(mfcc(sound), package.mfcc(sound, 16_000).T, rtol=0, atol=1e-9)


def test_the_square_is_that_of_the_reference(tmp_path: Path) -> None:
    """The reference cuts out and encodes; what differs beyond its codec would be geometry."""
    pipeline = reference("syncnet_pipeline")
    rng = np.random.default_rng(8)
    frames = []
    for t in range(60):
        rows, columns = np.mgrid[:240, :320]
        waves = [127 + 120 * np.sin(rows / 9 + t / 20), 127 + 120 * np.cos(columns / 7)]
        frames.append(np.stack([*waves, (rows + columns) / 2.2], axis=2).astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"{t:03d}.png"), frames[-1])
    centre = np.stack([20 + np.arange(60) * 3.1, 40 + np.arange(60) * 2.3], axis=1)
    half = 31.7 + 6 * np.sin(np.arange(60) / 8)
    boxes = np.concatenate([centre - half[:, None], centre + half[:, None]], axis=1)
    boxes[:, 3] += rng.uniform(0, 20, size=60)
    # It calls ffmpeg to join sound and picture: here a program that hands on the picture alone.
    join = tmp_path / "join"
    join.write_text('#!/bin/sh\nfor last; do :; done\ncp "$3" "$last"\n')
    join.chmod(0o755)
    (tmp_path / "any.wav").touch()
    cropped = pipeline.SyncNetPipeline._crop(
        SimpleNamespace(cfg=pipeline.PipelineConfig(ffmpeg_bin=str(join))),
        {"frame": np.arange(60), "bbox": boxes},
        [str(tmp_path / f"{t:03d}.png") for t in range(60)],
        str(tmp_path / "any.wav"),
        tmp_path / "out" / "0",
    )
    video = cv2.VideoCapture(cropped)
    theirs = np.stack([video.read()[1] for _ in range(60)]).astype(np.int16)
    ours = np.stack(
        [
            cut(frames[t], np.floor(square_of(boxes[t - 6 : t + 7])).astype(int))
            for t in range(6, 54)
        ]
    )
    theirs = theirs[6:54]
    error = np.abs(theirs - ours).mean(axis=(1, 2, 3))
    shifted = np.abs(theirs - np.roll(ours, 1, axis=1)).mean(axis=(1, 2, 3))
    assert error.max() < 3
    assert (error < shifted).all()


def cut(picture: np.ndarray, square: np.ndarray) -> np.ndarray:
    """A square of a picture, grey beyond its border, at the size of the network."""
    left, top, right, bottom = square
    grey = cv2.copyMakeBorder(
        picture, 400, 400, 400, 400, cv2.BORDER_CONSTANT, value=(110, 110, 110)
    )
    return cv2.resize(grey[top + 400 : bottom + 400, left + 400 : right + 400], (224, 224))
