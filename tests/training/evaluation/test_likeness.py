"""PSNR and SSIM against scikit-image; LPIPS as the TorchScript that is given says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.training.evaluation.media import noise
from training.evaluation.likeness import MAX_PSNR_DB, Likeness, psnr_of_mse


def near(one: np.ndarray, seed: int, spread: float = 12.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(one + rng.normal(0, spread, one.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def smooth() -> np.ndarray:
    rows, columns = np.mgrid[:96, :128]
    waves = [127 + 100 * np.sin(rows / 9 + k) * np.cos(columns / 11) for k in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def test_psnr_is_scikit_images(smooth):
    other = near(smooth, 1)
    likeness = Likeness()
    likeness.add(smooth, other)
    expected = peak_signal_noise_ratio(smooth, other, data_range=255)
    assert likeness.means()[0] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("spread", [3.0, 12.0, 40.0])
def test_ssim_is_that_of_wang_as_scikit_image_has_it(smooth, spread):
    other = near(smooth, 2, spread)
    likeness = Likeness()
    likeness.add(smooth, other)
    expected = structural_similarity(
        smooth, other, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert likeness.means()[1] == pytest.approx(expected, abs=2e-4)


def test_equal_pictures_are_alike_without_an_infinity(smooth):
    likeness = Likeness()
    likeness.add(smooth, smooth)
    psnr_db, ssim, lpips = likeness.means()
    assert psnr_db == MAX_PSNR_DB
    assert ssim == pytest.approx(1, abs=1e-6)
    assert lpips is None
    assert psnr_of_mse(255.0**2) == 0


def test_only_what_is_outside_counts(smooth):
    changed = smooth.copy()
    changed[:48] = noise(3, (48, 128))
    outside_HW = np.zeros((96, 128), bool)
    outside_HW[48:] = True
    likeness = Likeness()
    likeness.add(smooth, changed, outside_HW=outside_HW)
    psnr_db, ssim, _ = likeness.means()
    assert psnr_db == MAX_PSNR_DB
    assert ssim == pytest.approx(1, abs=1e-6)
    likeness.add(smooth, changed, outside_HW=~outside_HW)
    assert min(likeness.psnr_db) < 15


def test_a_region_that_covers_all_gives_no_figure(smooth):
    likeness = Likeness()
    likeness.add(smooth, smooth, outside_HW=np.zeros((96, 128), bool))
    assert likeness.means() == (None, None, None)


class _Features(torch.nn.Module):
    """Stands for the TorchScript of LPIPS: the distance is that of scaled pixels."""

    def forward(
        self, pictures: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
    ) -> torch.Tensor:
        assert return_lpips and not resize_images
        return pictures.flatten(1) / 1000


def test_lpips_is_the_squared_distance_of_the_features(smooth):
    other = near(smooth, 4)
    likeness = Likeness(torch.jit.script(_Features()))
    likeness.add(smooth, other)
    expected = np.square((smooth.astype(float) - other) / 1000).sum()
    assert likeness.means()[2] == pytest.approx(expected, rel=1e-4)
