"""Each metric beside its reference: another implementation, or a figure that one gave.

`REFERENCES` names for every metric what it is held against, and the test that does it; a metric
without an entry fails here.
"""

from __future__ import annotations

import importlib

import cv2
import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import cosine
from scipy.stats import bootstrap, linregress, pearsonr
from skimage.color import deltaE_cie76, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image.lpips import NetLinLayer, _normalize_tensor, _spatial_average

from tests.training.evaluation.media import face_of, mesh, noise, write_video
from training.evaluation.drift import distance_from_start, drift, ratio_of_edges, slope_per_min
from training.evaluation.frechet import frechet_distance
from training.evaluation.identity import SIDE_PX, TEMPLATE, align
from training.evaluation.intervals import estimate
from training.evaluation.landmarks import LIPS, OUTER_EYE_CORNERS, RIGID, compare_mouths
from training.evaluation.likeness import Likeness
from training.evaluation.metrics import METRICS
from training.evaluation.traces import trace

STAGES = "the stage that measures it; taken over by its name"
REFERENCES = {
    "sync_c": ("SyncNetInstance.evaluate", "tests.stages.test_syncnet"),
    "sync_d": ("SyncNetInstance.evaluate", "tests.stages.test_syncnet"),
    "av_offset_ms": ("SyncNetInstance.evaluate; known shifts", "tests.stages.test_syncnet"),
    "abs_av_offset_ms": ("its size", "tests.training.evaluation.test_sync_columns"),
    "sync_confidence": (STAGES, "tests.training.evaluation.test_sync_columns"),
    "sync_score": (STAGES, "tests.training.evaluation.test_sync_columns"),
    "sync_score_at_zero": ("the stage's curve", "tests.training.evaluation.test_sync_columns"),
    "face_presence_ratio": (STAGES, "tests.training.evaluation.test_evaluate"),
    "mouth_motion": (STAGES, "tests.training.evaluation.test_metric_sanity"),
    "face_sharpness": (STAGES, "tests.training.evaluation.test_evaluate"),
    "picture_sharpness": (STAGES, "tests.training.evaluation.test_evaluate"),
    "sharpness_drift_ratio": ("numpy", "test_the_ratio_of_ends_is_numpys"),
    "colour_drift": ("scikit-image, deltaE_cie76", "test_colour_drift_is_cie76"),
    "colour_drift_per_min": ("scipy, linregress", "test_slopes_are_scipys"),
    "contrast_drift": ("scikit-image and numpy", "test_contrast_drift_is_that_of_the_spreads"),
    "identity_similarity": ("OpenCV's warp, scipy's cosine", "test_faces_are_cut_as_insightface"),
    "identity_drift": ("closed form", "tests.training.evaluation.test_set_metrics"),
    "identity_drift_per_min": ("scipy, linregress", "test_slopes_are_scipys"),
    "seam_ratio": ("closed forms", "tests.training.evaluation.test_seams"),
    "mouth_landmark_distance": ("scipy, procrustes", "test_lips_are_compared_as_procrustes"),
    "mouth_opening_correlation": ("scipy, pearsonr", "test_openings_correlate_as_pearson"),
    "psnr_db": ("scikit-image", "tests.training.evaluation.test_likeness"),
    "ssim": ("scikit-image", "tests.training.evaluation.test_likeness"),
    "lpips": ("richzhang/PerceptualSimilarity by torchmetrics", "test_lpips_is_zhangs"),
    "outside_psnr_db": ("scikit-image", "test_outside_figures_are_scikit_images"),
    "outside_ssim": ("scikit-image", "test_outside_figures_are_scikit_images"),
    "fid": ("torch-fidelity, pytorch-fid", "test_the_frechet_distance_is_torch_fidelitys"),
    "fvd": ("torch-fidelity, pytorch-fid", "test_the_frechet_distance_is_torch_fidelitys"),
}
TIMES_S = np.arange(150) / 25


@pytest.mark.parametrize("metric", [metric.name for metric in METRICS])
def test_every_metric_has_a_reference_and_a_test_that_exists(metric):
    _, where = REFERENCES[metric]
    if where.startswith("tests."):
        module = importlib.import_module(where)
        assert any(name.startswith("test_") for name in vars(module))
    else:
        assert any(name.startswith(where) for name in globals())


def test_the_frechet_distance_is_torch_fidelitys():
    rng = np.random.default_rng(7)
    one = rng.normal(size=(300, 16)) @ rng.normal(size=(16, 16))
    other = rng.normal(0.3, 1.5, size=(260, 16)) @ rng.normal(size=(16, 16))
    # torch-fidelity 0.4.0, fid_statistics_to_metric; pytorch-fid 0.3.0, calculate_frechet_distance.
    assert frechet_distance(one, other) == pytest.approx(272.64675169683, rel=1e-9)


class _SmallLpips(torch.nn.Module):
    """The layout of stylegan2-ada's `vgg16.pt` with ``return_lpips``: unit features, weighted."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.convolutions = torch.nn.ModuleList(
            [torch.nn.Conv2d(a, b, 3, stride=2) for a, b in ((3, 8), (8, 12))]
        )
        self.heads = torch.nn.ModuleList([NetLinLayer(8), NetLinLayer(12)])
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        for head in self.heads:
            head.model[-1].weight.data.abs_()
        self.eval()

    def layers(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        found, values = [], pictures / 127.5 - 1
        for convolution in self.convolutions:
            values = torch.relu(convolution(values))
            found.append(values)
        return found

    def forward(
        self, pictures: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
    ) -> torch.Tensor:
        parts = []
        for values, head in zip(self.layers(pictures), self.heads, strict=True):
            unit = _normalize_tensor(values)
            weight = head.model[-1].weight.sqrt()
            area = values.shape[2] * values.shape[3]
            parts.append((unit * weight.view(1, -1, 1, 1) / area**0.5).flatten(1))
        return torch.cat(parts, dim=1)


@torch.no_grad()
def test_lpips_is_zhangs():
    network = _SmallLpips()
    pictures = [noise(n, (40, 56)) for n in range(2)]
    likeness = Likeness(network)
    likeness.add(*pictures)
    one, other = (
        network.layers(torch.from_numpy(picture).permute(2, 0, 1)[None].float())
        for picture in pictures
    )
    # As _LPIPS.forward sums it: mean over the picture of the weighted squared differences.
    expected = sum(
        float(_spatial_average(head((_normalize_tensor(a) - _normalize_tensor(b)) ** 2)))
        for a, b, head in zip(one, other, network.heads, strict=True)
    )
    assert likeness.means()[2] == pytest.approx(expected, rel=1e-4)


def test_outside_figures_are_scikit_images():
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:80, :100]
    waves = [127 + 100 * np.sin(rows / 9 + k) * np.cos(columns / 11) for k in range(3)]
    one = np.stack(waves, axis=-1).astype(np.uint8)
    other = np.clip(one + rng.normal(0, 9, one.shape), 0, 255).astype(np.uint8)
    outside = (rows - 40) ** 2 + (columns - 50) ** 2 > 20**2
    likeness = Likeness()
    likeness.add(one, other, outside_HW=outside)
    expected_db = peak_signal_noise_ratio(one[outside], other[outside], data_range=255)
    assert likeness.means()[0] == pytest.approx(expected_db, abs=1e-3)
    _, full = structural_similarity(
        one, other, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    # Only windows of 11 px that lie outside and within the picture.
    inner = cv2.erode(outside.astype(np.uint8), np.ones((11, 11)), borderValue=0) > 0
    inner[:5], inner[-5:], inner[:, :5], inner[:, -5:] = False, False, False, False
    assert likeness.means()[1] == pytest.approx(float(full[inner].mean()), abs=2e-4)


def test_faces_are_cut_as_insightface_cuts_them_and_compared_by_their_cosine():
    turn = 1.3 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    points = TEMPLATE @ turn.T + [60, 30] + np.random.default_rng(0).normal(0, 1, (5, 2))
    picture = cv2.GaussianBlur(noise(1, (260, 300)), (0, 0), 3)
    cut = align(picture, points)
    # insightface/utils/face_align.py, norm_crop: Umeyama's fit, then OpenCV's warp.
    centred, template = points - points.mean(0), TEMPLATE - TEMPLATE.mean(0)
    rotation, scale = orthogonal_procrustes(centred, template)
    fit = scale / np.square(centred).sum() * rotation.T
    matrix = np.column_stack([fit, TEMPLATE.mean(0) - fit @ points.mean(0)])
    expected = cv2.warpAffine(picture, matrix, (SIDE_PX, SIDE_PX), borderValue=0.0)
    assert np.abs(cut.astype(float) - expected).mean() < 0.5
    one, other = np.random.default_rng(2).normal(size=(2, 512))
    ours = (one / np.linalg.norm(one)) @ (other / np.linalg.norm(other))
    assert ours == pytest.approx(1 - cosine(one, other))


def test_lips_are_compared_as_procrustes_lays_them():
    rng = np.random.default_rng(5)
    points_TPC, index = mesh(20)
    moved = 0.7 * points_TPC + rng.normal(0, 2, points_TPC.shape)
    found = compare_mouths(face_of(moved, index), face_of(points_TPC, index))
    distances = []
    for mine, theirs in zip(moved[..., :2], points_TPC[..., :2], strict=True):
        a, b = mine[list(RIGID)], theirs[list(RIGID)]
        rotation, scale = orthogonal_procrustes(a - a.mean(0), b - b.mean(0))
        scale /= np.square(a - a.mean(0)).sum()
        laid = scale * (mine[list(LIPS)] - a.mean(0)) @ rotation + b.mean(0)
        eyes = np.linalg.norm(np.subtract(*theirs[list(OUTER_EYE_CORNERS)]))
        distances.append(np.linalg.norm(laid - theirs[list(LIPS)], axis=1).mean() / eyes)
    assert found.distance == pytest.approx(np.mean(distances), rel=1e-6)


def test_openings_correlate_as_pearson():
    rng = np.random.default_rng(6)
    points_TPC, index = mesh(60)
    openings = rng.uniform(5, 20, (2, 60))
    faces = []
    for opening_T in openings:
        points = points_TPC.copy()
        points[:, 14] = points[:, 13] + opening_T[:, None] * [0, 1, 0]
        faces.append(face_of(points, index))
    found = compare_mouths(*faces).opening_correlation
    assert found == pytest.approx(pearsonr(*openings).statistic)


def test_slopes_are_scipys():
    values_T = np.random.default_rng(8).normal(size=150).cumsum()
    expected = linregress(TIMES_S, values_T).slope * 60
    assert slope_per_min(TIMES_S, values_T) == pytest.approx(expected)
    values_TD = np.random.default_rng(9).normal(size=(150, 3))
    moved_T = distance_from_start(TIMES_S, values_TD)
    start = values_TD[:25].mean(axis=0)
    assert moved_T == pytest.approx([np.linalg.norm(value - start) for value in values_TD])


def test_the_ratio_of_ends_is_numpys():
    values_T = np.random.default_rng(10).uniform(0.1, 1, 150)
    expected = np.median(values_T[-25:]) / np.median(values_T[:25])
    assert ratio_of_edges(TIMES_S, values_T) == pytest.approx(expected)


def test_colour_drift_is_cie76(tmp_path):
    pictures = [cv2.GaussianBlur(noise(n, (48, 64)), (0, 0), 4) for n in (1, 2)]
    frames = [pictures[0]] * 30 + [pictures[1]] * 30
    seen = trace(write_video(tmp_path / "a.mkv", frames))
    means = [rgb2lab(picture).mean(axis=(0, 1)) for picture in pictures]
    assert drift(seen.times_s, seen.lab_mean_T3) == pytest.approx(deltaE_cie76(*means), abs=0.02)


def test_contrast_drift_is_that_of_the_spreads(tmp_path):
    picture = noise(3, (48, 64))
    flat = (picture // 2 + 64).astype(np.uint8)
    seen = trace(write_video(tmp_path / "a.mkv", [picture] * 30 + [flat] * 30))
    spreads = [rgb2lab(one).reshape(-1, 3).std(axis=0) for one in (picture, flat)]
    expected = np.linalg.norm(spreads[1] - spreads[0])
    assert expected > 5
    assert drift(seen.times_s, seen.lab_std_T3) == pytest.approx(expected, abs=0.05)


def test_intervals_are_scipys_bootstrap():
    values = np.random.default_rng(11).gamma(2.0, 3.0, 40)
    found = estimate(values.tolist())
    expected = bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", rng=0
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.15)
