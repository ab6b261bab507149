"""Where the loss looks: face and lips on the latent grid, and the weight of each cell.

The regions come from the shard's face track. A frame without a face has an empty region, and so
weight one everywhere; StableAvatar gives ones for a missing file, which turns a loss on the lips
into a loss on everything.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def latent_region(
    region_BTHW: torch.Tensor, spatial_stride: int, temporal_stride: int = 4
) -> torch.Tensor:
    """Bring a region of pixels onto the latent grid.

    The maximum over the frames of a latent frame, for lips move inside of one; then the mean over
    a cell's pixels, so that an edge stays soft. Latent frame 0 is frame 0, latent frame ``k`` is
    frames ``4k - 3`` to ``4k``.

    Args:
        region_BTHW: 0 to 1 a pixel, float or bool; T = temporal_stride (K - 1) + 1.
        spatial_stride: pixels a cell on either axis.
        temporal_stride: frames a latent frame.

    Returns:
        float32 [B, K, h, w], 0 to 1.

    Raises:
        ValueError: frames or pixels do not divide.
    """
    num_frames, height_px, width_px = region_BTHW.shape[1:]
    if (num_frames - 1) % temporal_stride:
        raise ValueError(
            f"{num_frames} frames: have to be {temporal_stride} k + 1, as the codec takes them"
        )
    if height_px % spatial_stride or width_px % spatial_stride:
        raise ValueError(f"{width_px}x{height_px} px: has to be divisible by {spatial_stride}")
    region = region_BTHW.float()
    later = region[:, 1:].unflatten(1, (-1, temporal_stride)).amax(2)
    region_BKHW = torch.cat([region[:, :1], later], dim=1)
    return functional.avg_pool2d(region_BKHW, spatial_stride)


def loss_weights(
    face_BKhw: torch.Tensor, lip_BKhw: torch.Tensor, face_weight: float, lip_weight: float
) -> torch.Tensor:
    """Return ``1 + face_weight * face + lip_weight * lip``, the weight of each latent cell.

    The form is StableAvatar's and TalkVerse's; SkyReels-Audio names a facial mask loss and its
    formula was not available. How much is ours to set.

    Args:
        face_BKhw: share of each cell that is face.
        lip_BKhw: share of each cell that is lips.
        face_weight: 0 or more.
        lip_weight: 0 or more.

    Returns:
        Weights [B, K, h, w], at least 1; one everywhere in a sample without a face.
    """
    return 1 + face_weight * face_BKhw + lip_weight * lip_BKhw
