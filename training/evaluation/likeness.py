"""Likeness of two pictures: PSNR, SSIM and LPIPS, whole or outside a region.

PSNR and SSIM are torchmetrics'. They say something only where both pictures should be the same:
reconstruction pairs, and what an edit must leave alone.

Shape letters: B batch, C H W pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from training.evaluation.frechet import as_batch

MAX_PSNR_DB = 100.0
"""Of equal pictures, whose PSNR is infinite, so that a mean stays a number; ours."""

_SSIM_MARGIN_PX = 5
"""Half of the 11 px window: SSIM beside a region's border sees into the region."""


@dataclass
class Likeness:
    """Sums likeness over the frames of a pair; a figure is the mean over frames.

    Attributes:
        lpips: the TorchScript of `vgg16-lpips`; ``None`` leaves LPIPS out.
        device: where it runs.
        psnr_db: PSNR of each frame.
        ssim: SSIM of each frame.
        lpips_values: LPIPS of each frame.
    """

    lpips: Any = None
    device: str = "cpu"
    psnr_db: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    lpips_values: list[float] = field(default_factory=list)

    def add(
        self,
        one_HWC: np.ndarray,
        other_HWC: np.ndarray,
        *,
        outside_HW: np.ndarray | None = None,
    ) -> None:
        """Compare two frames.

        Args:
            one_HWC: uint8 picture.
            other_HWC: uint8 picture of the same size.
            outside_HW: bool, pixels that count; ``None`` for all.
        """
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim

        one, other = (as_batch([picture]).float() for picture in (one_HWC, other_HWC))
        if outside_HW is None:
            outside_HW = np.ones(one_HWC.shape[:2], bool)
        if not outside_HW.any():
            return
        difference = (one - other)[0][:, torch.from_numpy(outside_HW)]
        self.psnr_db.append(psnr_of_mse(float(difference.square().mean())))
        if min(one_HWC.shape[:2]) > 2 * _SSIM_MARGIN_PX:
            _, map_BCHW = ssim(one, other, data_range=255.0, return_full_image=True)
            inner = _shrunk(outside_HW)
            if inner.any():
                self.ssim.append(float(map_BCHW[0][:, torch.from_numpy(inner)].mean()))
        if self.lpips is not None and outside_HW.all():
            with torch.inference_mode():
                first, second = (
                    self.lpips(x.to(self.device), resize_images=False, return_lpips=True)
                    for x in (one, other)
                )
            self.lpips_values.append(float((first - second).square().sum()))

    def means(self) -> tuple[float | None, float | None, float | None]:
        """Mean PSNR in dB, SSIM and LPIPS; ``None`` where nothing was summed."""
        return _mean(self.psnr_db), _mean(self.ssim), _mean(self.lpips_values)


def psnr_of_mse(mse: float) -> float:
    """PSNR in dB of the mean squared error of 8-bit pictures, at most `MAX_PSNR_DB`.

    Args:
        mse: mean squared error, 0 to 255^2.

    Returns:
        ``10 log10(255^2 / mse)``.
    """
    return MAX_PSNR_DB if mse <= 0 else min(MAX_PSNR_DB, 10 * float(np.log10(255**2 / mse)))


def _shrunk(outside_HW: np.ndarray) -> np.ndarray:
    """Leave out what SSIM's window mixes with the region or with the picture's border."""
    from scipy.ndimage import binary_erosion

    side = 2 * _SSIM_MARGIN_PX + 1
    shrunk: np.ndarray = binary_erosion(outside_HW, np.ones((side, side), bool), border_value=0)
    return shrunk


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
