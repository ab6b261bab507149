"""LR-ASD: the published layout, and a score that depends on nothing but face and sound."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.errors import StageError
from stages.lr_asd import LrAsd
from stages.lr_asd_network import build_network
from tests.stages.torch_networks import settled

torch: Any = pytest.importorskip("torch")

NUM_FRAMES = 150


@pytest.fixture(scope="module")
def network() -> Any:
    return settled(build_network(), seed=7)


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 255, (NUM_FRAMES, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return (np.random.default_rng(2).normal(size=NUM_FRAMES * 640) * 0.1).astype(np.float32)


def test_layers_are_those_of_the_published_file() -> None:
    """Names and shapes of finetuning_TalkSet.model (sha256 6b4ef536...), sorted, as one digest."""
    state = build_network().state_dict()
    layout = sorted(f"{name} {tuple(value.shape)}" for name, value in state.items())
    digest = hashlib.sha256("\n".join(layout).encode()).hexdigest()
    assert (len(layout), sum(value.numel() for value in state.values())) == (168, 841_086)
    assert digest.startswith("4788af7e5cda55c0")


def test_a_long_track_is_scored_as_if_at_once(
    network: Any, faces: np.ndarray, sound: np.ndarray
) -> None:
    whole = LrAsd(network).score(faces, sound)
    assert whole.shape == (NUM_FRAMES,)
    assert np.ptp(whole) > 1e-3, "a flat score proves little"
    parts = LrAsd(network, run_frames=37).score(faces, sound)
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_face_and_sound_both_count(network: Any, faces: np.ndarray, sound: np.ndarray) -> None:
    judge = LrAsd(network)
    score = judge.score(faces[:40], sound)
    assert np.abs(judge.score(faces[40:80], sound) - score).max() > 1e-4
    assert np.abs(judge.score(faces[:40], sound[::-1]) - score).max() > 1e-4


def test_the_score_ends_with_the_sound(network: Any, faces: np.ndarray, sound: np.ndarray) -> None:
    assert len(LrAsd(network).score(faces[:40], sound[: 30 * 640 + 100])) == 30
    assert len(LrAsd(network).score(faces[:40], sound[:100])) == 0


def test_weights_come_back_from_a_file_and_others_are_refused(
    network: Any, faces: np.ndarray, sound: np.ndarray, tmp_path: Path
) -> None:
    torch.save(network.state_dict(), tmp_path / "own.model")
    loaded = LrAsd.load(tmp_path / "own.model")
    np.testing.assert_array_equal(
        loaded.score(faces[:30], sound), LrAsd(network).score(faces[:30], sound)
    )
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.model")
    with pytest.raises(StageError, match="not the weights of LR-ASD"):
        LrAsd.load(tmp_path / "other.model")
