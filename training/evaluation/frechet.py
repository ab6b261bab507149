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


class FrechetDistance:
    """Gathers features of both sets, then compares them.

    Args:
        features: network with `num_features`.
        device: where it runs.
    """

    def __init__(self, features: torch.nn.Module, device: str = "cpu") -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance

        self._device = device
        distance = FrechetInceptionDistance(feature=features.eval())
        self._distance = distance.set_dtype(torch.float64).to(device)
        self.num_generated = self.num_reference = 0

    @torch.inference_mode()
    def add(self, batch: torch.Tensor, *, is_reference: bool) -> None:
        """Take a batch of pictures or pieces."""
        self._distance.update(batch.to(self._device), real=is_reference)
        self.num_reference += len(batch) * is_reference
        self.num_generated += len(batch) * (not is_reference)

    def value(self) -> float | None:
        """The distance; ``None`` with fewer than two pictures or pieces in either set."""
        if min(self.num_generated, self.num_reference) < 2:
            return None
        return float(self._distance.compute())


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
