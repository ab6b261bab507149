"""Flow matching: the straight path from latent to noise, and which of its points are trained.

One direction of time: ``sigma`` 0 is clean, 1 is noise, and velocity is ``noise - latent``
(rectified flow, Liu et al. 2022, arXiv 2209.03003; the convention of diffusers'
``FlowMatchEulerDiscreteScheduler``). Not here: what is weighted (`losses.py`) and who draws
(`seeding.py`).
"""

from __future__ import annotations

from typing import Literal

import torch

SigmaDistribution = Literal["uniform", "logit_normal"]


def shift_sigma(sigma: torch.Tensor, shift: float) -> torch.Tensor:
    """Return ``shift * sigma / (1 + (shift - 1) * sigma)``.

    More noise for larger pictures, as Stable Diffusion 3 derives it (Esser et al. 2024, arXiv
    2403.03206, equation 23) and Wan2.1 uses it: 3 at 480p, 5 at 720p. A shift of 1 changes nothing.

    Args:
        sigma: values in [0, 1].
        shift: above 0.

    Returns:
        Shifted values in [0, 1]; 0 and 1 stay.

    Raises:
        ValueError: the shift is not above 0.
    """
    if shift <= 0:
        raise ValueError(f"shift {shift}: has to be above 0; 1 shifts nothing")
    return shift * sigma / (1 + (shift - 1) * sigma)


def sample_sigma(
    num: int, generator: torch.Generator, distribution: SigmaDistribution, shift: float
) -> torch.Tensor:
    """Draw sigmas to train on.

    ``uniform`` is what StableAvatar and the published fine-tunes of Wan use; ``logit_normal`` is
    the sigmoid of a standard normal, Esser et al. 2024, equation 19, with location 0 and width 1.

    Args:
        num: how many.
        generator: where they come from.
        distribution: how they lie before they are shifted.
        shift: as in `shift_sigma`.

    Returns:
        float32 sigmas [num] in [0, 1].
    """
    if distribution == "uniform":
        sigma = torch.rand(num, generator=generator)
    else:
        sigma = torch.sigmoid(torch.randn(num, generator=generator))
    return shift_sigma(sigma, shift)


def noisy_latent(
    latent_BCKhw: torch.Tensor, noise_BCKhw: torch.Tensor, sigma_B: torch.Tensor
) -> torch.Tensor:
    """Return ``(1 - sigma) * latent + sigma * noise``, a sigma a sample."""
    sigma_B1111 = sigma_B.view(-1, 1, 1, 1, 1).to(latent_BCKhw.dtype)
    return (1 - sigma_B1111) * latent_BCKhw + sigma_B1111 * noise_BCKhw


def velocity_target(latent_BCKhw: torch.Tensor, noise_BCKhw: torch.Tensor) -> torch.Tensor:
    """Return ``noise - latent``, the derivative of `noisy_latent` by sigma."""
    return noise_BCKhw - latent_BCKhw
