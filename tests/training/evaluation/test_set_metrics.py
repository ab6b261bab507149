"""FID, FVD, LPIPS and identity through networks that stand in the places of the registry's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from tests.training.evaluation.media import face_of, measured, mesh, noise, trace_of, write_video
from tests.training.evaluation.tiny_onnx import write_flattening_model
from training.evaluation.identity import SIDE_PX, TEMPLATE, ArcFace
from training.evaluation.pair_metrics import Looks, add_identity, add_likeness
from training.evaluation.results import ClipResult, Results
from training.evaluation.set_metrics import add_fid, add_fvd
from training.evaluation.weights import Shelf, WeightFile


class _Colours(torch.nn.Module):
    """2048 features of which three are the mean colour, so that a distance can be written down."""

    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        means = pictures.float().mean(dim=(2, 3))
        return torch.nn.functional.pad(means, (0, 2045))


class _Motion(torch.nn.Module):
    def forward(
        self,
        pieces: torch.Tensor,
        rescale: bool = True,
        resize: bool = True,
        return_features: bool = False,
    ) -> torch.Tensor:
        assert pieces.shape[2:] == (16, 224, 224)
        return torch.nn.functional.pad(pieces.mean(dim=(2, 3, 4)), (0, 397))


def shelf_with(folder: Path, **networks: torch.nn.Module) -> Shelf:
    there = {}
    for name, network in networks.items():
        name = name.replace("_", "-")
        path = folder / f"{name}.pt"
        torch.jit.script(network).save(str(path))
        there[name] = WeightFile(name, path, "0" * 64, "free")
    return Shelf(there, {})


def coloured(seed: int, num: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.full((16, 24, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(num)]


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    mean = np.square(one.mean(0) - other.mean(0)).sum()
    return float(mean + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


@pytest.fixture
def pairs(tmp_path):
    """Two pairs and a clip without a reference, which may not count."""
    clips, mine, theirs = [], [], []
    for seed in (0, 1):
        frames = coloured(seed, 34), coloured(seed + 10, 40)
        paths = [
            write_video(tmp_path / f"{side}{seed}.mkv", f)
            for side, f in zip("gr", frames, strict=True)
        ]
        clips.append(ClipResult(str(seed), *paths))
        mine.append(np.array([f[0, 0] for f in frames[0]], float))
        theirs.append(np.array([f[0, 0] for f in frames[1]], float))
    clips.append(ClipResult("alone", write_video(tmp_path / "alone.mkv", coloured(5, 20))))
    return Results(clips), mine, theirs


def test_fid_is_the_frechet_distance_of_all_frames_looked_at(tmp_path, pairs):
    results, mine, theirs = pairs
    add_fid(results, shelf_with(tmp_path, inception_fid=_Colours()), 0.08, "cpu", print)
    found = results.of_set["fid"]
    expected = frechet(*(np.concatenate([one[::2] for one in side]) for side in (mine, theirs)))
    assert found.mean == pytest.approx(expected, rel=1e-4)
    assert (found.num_generated, found.num_reference) == (34, 40)


def test_fvd_is_that_of_whole_pieces_of_sixteen_frames(tmp_path, pairs):
    results, mine, theirs = pairs
    add_fvd(results, shelf_with(tmp_path, i3d_fvd=_Motion()), "cpu", print)
    found = results.of_set["fvd"]

    def pieces(side: list[np.ndarray]) -> np.ndarray:
        return np.array([one[n : n + 16].mean(0) / 127.5 - 1 for one in side for n in (0, 16)])

    assert (found.num_generated, found.num_reference) == (4, 4)
    expected = frechet(pieces(mine), pieces(theirs))
    assert found.mean == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert found.low is None  # two clips have no jackknife


def test_without_weights_nothing_is_decoded(pairs):
    results, _, _ = pairs
    add_fid(results, Shelf({}, {}), 0.2, "cpu", print)
    add_fvd(results, Shelf({}, {}), "cpu", print)
    assert results.of_set == {}


class _Pixels(torch.nn.Module):
    def forward(
        self, pictures: torch.Tensor, resize_images: bool = True, return_lpips: bool = False
    ) -> torch.Tensor:
        return pictures.flatten(1) / 255


def test_lpips_of_a_pair_is_the_mean_over_the_frames_looked_at(tmp_path):
    frames = [noise(n) for n in range(20)]
    other = [255 - frame for frame in frames]
    paths = [
        write_video(tmp_path / f"{side}.mkv", f)
        for side, f in zip("gr", (frames, other), strict=True)
    ]
    clip = ClipResult("a", *paths)
    looks = Looks(0.2, shelf_with(tmp_path, vgg16_lpips=_Pixels()))
    seen = trace_of(np.zeros((20, 3)))
    add_likeness(clip, seen, seen, looks)
    each = [
        np.square((one.astype(float) - two) / 255).sum()
        for one, two in zip(frames[::5], other[::5], strict=True)
    ]
    assert clip.values["lpips"] == pytest.approx(np.mean(each), rel=1e-4)


@pytest.fixture
def arcface(tmp_path):
    write_flattening_model(tmp_path / "tiny.onnx", SIDE_PX)
    return ArcFace(tmp_path / "tiny.onnx")


def test_arcface_is_given_red_green_blue_scaled_as_it_was_trained(arcface):
    face = noise(0, (SIDE_PX, SIDE_PX))
    scaled = ((face.astype(float) - 127.5) / 127.5).transpose(2, 0, 1).ravel()
    assert arcface(face) == pytest.approx(scaled / np.linalg.norm(scaled), abs=1e-5)


def test_identity_that_changes_drifts_and_one_that_stays_does_not(tmp_path, arcface):
    points_TPC, index = mesh(100)
    for numbers, place in zip(((33, 133), (362, 263), (1,), (61,), (291,)), TEMPLATE, strict=True):
        points_TPC[:, list(numbers), :2] = place + 40  # upright and of the template's size
    stays = [noise(0, (200, 200))] * 100
    changes = [noise(0, (200, 200))] * 50 + [noise(1, (200, 200))] * 50
    files = [write_video(tmp_path / f"{n}.mkv", f) for n, f in enumerate((changes, stays))]
    clip = ClipResult("a", *files)
    face = face_of(points_TPC, index)
    generated, reference = (measured(path, face) for path in files)
    add_identity(clip, generated, reference, Looks(0.2, Shelf({}, {})), arcface)
    assert clip.values["reference.identity_drift"] == pytest.approx(0, abs=1e-6)
    assert clip.values["identity_drift"] < -0.5
    assert clip.values["identity_drift_per_min"] < 0
    # Half of the frames are the reference's own face, the others are noise to it.
    assert clip.values["identity_similarity"] == pytest.approx(0.5, abs=0.1)
