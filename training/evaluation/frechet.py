"""FID and FVD: the Frechet distance of two sets of features, `torchmetrics`' implementation.

    |mu_g - mu_r|^2 + tr(S_g + S_r - 2 (S_g S_r)^(1/2))

of the means and covariances of the features of generated and reference pictures (Heusel et al.
2017) or of 16-frame pieces (Unterthiner et al. 2018). The networks are the TorchScript files of
the registry and resize as they always did; torchmetrics' own Inception needs torchvision.

Shape letters: B batch, C T H W pictures, D features.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

FID_FEATURES = 2048
FVD_FEATURES = 400
MIN_GROUPS, MAX_GROUPS = 3, 20
"""Groups of clips that the jackknife leaves out in turn."""
PIECE_FRAMES = 16
PIECE_PX = 224


class FrameFeatures(torch.nn.Module):  # type: ignore[misc]
    """Inception-v3 pool features of pictures.

    Args:
        network: the TorchScript of `inception-fid`.
        num_features: D.
    """

    def __init__(self, network: Any, num_features: int = FID_FEATURES) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features

    def forward(self, pictures_BCHW: torch.Tensor) -> torch.Tensor:
        """Return features (B, D) of uint8 pictures of any size."""
        features_BD: torch.Tensor = self.network(pictures_BCHW, return_features=True)
        return features_BD


class PieceFeatures(torch.nn.Module):  # type: ignore[misc]
    """I3D features of pieces of video.

    Args:
        network: the TorchScript of `i3d-fvd`.
        num_features: D.
    """

    def __init__(self, network: Any, num_features: int = FVD_FEATURES) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features

    def forward(self, pieces_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return features (B, D) of pieces in [-1, 1] at 224 px."""
        features_BD: torch.Tensor = self.network(
            pieces_BCTHW, rescale=False, resize=False, return_features=True
        )
        return features_BD


class _AsGiven(torch.nn.Module):  # type: ignore[misc]
    """Hands features on to torchmetrics, which asks for a network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features_BD: torch.Tensor) -> torch.Tensor:
        return features_BD


class FrechetDistance:
    """Gathers features of both sets, clip by clip, then compares them.

    Args:
        features: network with `num_features`.
        device: where it runs.
    """

    def __init__(self, features: torch.nn.Module, device: str = "cpu") -> None:
        self._features = features.eval().to(device)
        self._device = device
        self._kept: dict[str, dict[bool, list[np.ndarray]]] = {}

    @torch.inference_mode()
    def add(self, batch: torch.Tensor, clip: str, *, is_reference: bool) -> None:
        """Take a batch of pictures or pieces of one clip."""
        features_BD = self._features(batch.to(self._device)).double().cpu().numpy()
        self._kept.setdefault(clip, {True: [], False: []})[is_reference].append(features_BD)

    def num(self, *, is_reference: bool) -> int:
        """Pictures or pieces of one set."""
        return sum(len(part) for kept in self._kept.values() for part in kept[is_reference])

    def value(self) -> float | None:
        """The distance; ``None`` with fewer than two pictures or pieces in either set."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        if min(self.num(is_reference=side) for side in (True, False)) < 2:
            return None
        num_features = int(self._features.num_features)
        distance = FrechetInceptionDistance(_AsGiven(num_features)).set_dtype(torch.float64)
        for side in (True, False):
            distance.update(torch.from_numpy(self._set(side, frozenset())), real=side)
        return float(distance.compute())

    def half_width(self) -> float | None:
        """Half of a 95 % interval over clips, by the jackknife.

        Pairs of clips are left out in turn, in at most `MAX_GROUPS` groups (Efron and Tibshirani
        1993, chapter 11). A bootstrap would draw clips twice, which raises the distance by itself.

        Returns:
            1.96 standard errors; ``None`` with fewer than three clips, or where a group leaves too
            few pictures.
        """
        clips = list(self._kept)
        groups = [frozenset(clips[first::MAX_GROUPS]) for first in range(MAX_GROUPS)]
        groups = [group for group in groups if group]
        if len(groups) < MIN_GROUPS:
            return None
        left_out = []
        for group in groups:
            mine, theirs = self._set(False, group), self._set(True, group)
            if min(len(mine), len(theirs)) < 2:
                return None
            left_out.append(frechet_distance(mine, theirs))
        num = len(groups)
        return float(1.96 * np.sqrt((num - 1) * np.var(left_out)))

    def _set(self, side: bool, without: frozenset[str]) -> np.ndarray:
        parts = [p for clip, kept in self._kept.items() if clip not in without for p in kept[side]]
        return np.concatenate(parts) if parts else np.zeros((0, 1))


def frechet_distance(one_ND: np.ndarray, other_MD: np.ndarray) -> float:
    """Frechet distance of two sets of features, fast where pictures are fewer than features.

    The trace of ``(S_1 S_2)^(1/2)`` is the sum of the singular values of ``R_1 R_2^T``, where
    ``R^T R`` is the covariance; R comes from a QR factorisation of the centred features.

    Args:
        one_ND: (N, D) features, N >= 2.
        other_MD: (M, D) features, M >= 2.

    Returns:
        The distance.
    """
    means: list[np.ndarray] = []
    roots: list[np.ndarray] = []
    for features in (one_ND, other_MD):
        means.append(features.mean(axis=0))
        centred = (features - means[-1]) / np.sqrt(len(features) - 1)
        roots.append(np.asarray(np.linalg.qr(centred, mode="r")))
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(float(np.square(root).sum()) for root in roots)
    return float(np.square(means[0] - means[1]).sum() + spread - 2 * shared)


def load_network(path: Path, device: str = "cpu") -> Any:
    """Load a TorchScript file of the registry, whose digest was checked before.

    Args:
        path: the file.
        device: where it runs.

    Returns:
        The network, for inference.
    """
    return torch.jit.load(str(path), map_location=device).eval()


def as_batch(pictures: list[np.ndarray]) -> torch.Tensor:
    """Stack pictures (H, W, C) to (B, C, H, W) uint8."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def pieces_of(pictures: Iterable[np.ndarray]) -> Iterable[torch.Tensor]:
    """Cut a video into pieces of 16 successive frames; what is left over at the end is dropped.

    Args:
        pictures: frames (224, 224, C) uint8 of one clip, in order.

    Yields:
        (1, C, 16, 224, 224) in [-1, 1].
    """
    held: list[np.ndarray] = []
    for one in pictures:
        held.append(one)
        if len(held) == PIECE_FRAMES:
            piece_TCHW = as_batch(held).float() / 127.5 - 1
            yield piece_TCHW.permute(1, 0, 2, 3)[None].contiguous()
            held = []
