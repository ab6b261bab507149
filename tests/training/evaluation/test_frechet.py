"""Frechet distance against closed forms and against scipy's matrix square root."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from tests.training.evaluation.media import noise
from training.evaluation.frechet import (
    FrameFeatures,
    FrechetDistance,
    PieceFeatures,
    as_batch,
    frechet_distance,
    load_network,
    pieces_of,
)


class _Given(torch.nn.Module):
    """Features that are given instead of pictures."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features_BD: torch.Tensor) -> torch.Tensor:
        return features_BD


def distance_of(generated: np.ndarray, reference: np.ndarray) -> float | None:
    distance = FrechetDistance(_Given(generated.shape[1]))
    for features, is_reference in ((generated, False), (reference, True)):
        for part in np.array_split(features, 3):
            distance.add(torch.from_numpy(part), "a", is_reference=is_reference)
    return distance.value()


def by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    mean = np.square(one.mean(0) - other.mean(0)).sum()
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    return float(mean + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


def test_it_is_what_scipy_computes():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12))
    other = rng.normal(1, 2, size=(300, 12)) @ rng.normal(size=(12, 12))
    assert distance_of(one, other) == pytest.approx(by_scipy(one, other), rel=1e-6)


def test_two_gaussians_on_a_line_have_the_closed_form():
    def exact(mean: float, spread: float) -> np.ndarray:
        values = np.linspace(-1, 1, 101)
        return (mean + spread * (values / values.std(ddof=1)))[:, None]

    # (m1 - m2)^2 + (s1 - s2)^2
    assert distance_of(exact(1, 2), exact(4, 6)) == pytest.approx(9 + 16, rel=1e-9)


def test_equal_sets_are_no_distance_apart():
    features = np.random.default_rng(1).normal(size=(200, 8))
    assert distance_of(features, features) == pytest.approx(0, abs=1e-6)


def test_one_picture_has_no_distribution():
    distance = FrechetDistance(_Given(2))
    distance.add(torch.zeros(1, 2, dtype=torch.float64), "a", is_reference=True)
    distance.add(torch.zeros(5, 2, dtype=torch.float64), "a", is_reference=False)
    assert distance.value() is None


@pytest.mark.parametrize("num", [5, 60])
def test_the_fast_form_is_the_same_distance_with_fewer_pictures_than_features_too(num):
    rng = np.random.default_rng(num)
    one, other = rng.normal(size=(num, 20)), rng.normal(0.5, 2, size=(num + 3, 20))
    assert frechet_distance(one, other) == pytest.approx(distance_of(one, other), rel=1e-5)


def test_the_jackknife_is_that_of_the_mean_where_the_distance_is_one():
    # One feature, no spread within a set: the distance is the squared difference of the means.
    rng = np.random.default_rng(0)
    means = rng.normal(10, 1, 12)
    distance = FrechetDistance(_Given(1))
    for number, mean in enumerate(means):
        for side, value in ((False, mean), (True, 0.0)):
            pictures = torch.full((3, 1), float(value), dtype=torch.float64)
            distance.add(pictures, str(number), is_reference=side)
    left_out = [
        frechet_distance(np.delete(means, n).repeat(3)[:, None], np.zeros((33, 1)))
        for n in range(12)
    ]
    error = np.sqrt(11 / 12 * np.square(left_out - np.mean(left_out)).sum())
    assert distance.half_width() == pytest.approx(1.96 * error)
    # For a mean, twice the mean times its standard error, but for the spread that counts as well.
    assert error == pytest.approx(2 * 10 * means.std(ddof=1) / np.sqrt(12), rel=0.15)


def test_two_clips_have_no_interval():
    distance = FrechetDistance(_Given(1))
    for name in ("a", "b"):
        for side in (True, False):
            distance.add(torch.rand(5, 1, dtype=torch.float64), name, is_reference=side)
    assert distance.half_width() is None


class _Pictures(torch.nn.Module):
    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features
        assert pictures.dtype == torch.uint8
        return pictures.float().mean(dim=(2, 3))


class _Pieces(torch.nn.Module):
    def forward(
        self,
        pieces: torch.Tensor,
        rescale: bool = True,
        resize: bool = True,
        return_features: bool = False,
    ) -> torch.Tensor:
        assert return_features and not rescale and not resize
        return pieces.mean(dim=(2, 3, 4))


def test_networks_of_the_registry_are_asked_for_features(tmp_path):
    path = tmp_path / "network.pt"
    torch.jit.script(_Pictures()).save(str(path))
    features = FrameFeatures(load_network(path), num_features=3)
    pictures = [noise(n) for n in range(4)]
    expected = np.stack([picture.reshape(-1, 3).mean(0) for picture in pictures])
    assert features(as_batch(pictures)).numpy() == pytest.approx(expected, rel=1e-5)


def test_pieces_are_sixteen_frames_in_order_and_the_rest_is_dropped(tmp_path):
    path = tmp_path / "network.pt"
    torch.jit.script(_Pieces()).save(str(path))
    features = PieceFeatures(load_network(path), num_features=3)
    frames = [np.full((8, 8, 3), n, np.uint8) for n in range(40)]
    pieces = list(pieces_of(frames))
    assert [tuple(piece.shape) for piece in pieces] == [(1, 3, 16, 8, 8)] * 2
    means = (np.array([7.5, 23.5]) / 127.5 - 1)[:, None].repeat(3, axis=1)
    assert torch.cat([features(piece) for piece in pieces]).numpy() == pytest.approx(
        means, abs=1e-5
    )
