"""Where each speaker's audio acts, on the latent grid.

A still portrait says where a face is, not where it will go, so its region is grown; several grown
regions are parted half way between their faces. In an edit the region follows the track. Growth is
ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from training.generation.editing import Region
from training.generation.inputs import Size

GROWTH = 0.75
"""Face sizes added on each side of a portrait's face, for the head to move."""


class SpeakerRegions(Protocol):
    """Regions of every speaker over a whole video."""

    def block(self, first_latent: int, num_latents: int) -> torch.Tensor:
        """Return those of some latent frames, [A, K, h, w], 0 to 1."""
        ...


class StillRegions:
    """The same region in every frame."""

    def __init__(self, regions_Ahw: torch.Tensor) -> None:
        self._regions_Ahw = regions_Ahw

    def block(self, first_latent: int, num_latents: int) -> torch.Tensor:
        """Return them for some latent frames."""
        return self._regions_Ahw[:, None].expand(-1, num_latents, -1, -1)


class TrackedRegions:
    """Regions of an edit, which follow their faces."""

    def __init__(self, regions: Sequence[Region], stride_px: int) -> None:
        """Take the regions, in frames of the model's size.

        Args:
            regions: one a speaker.
            stride_px: pixels of a latent cell.
        """
        self._regions = regions
        self._stride_px = stride_px

    def block(self, first_latent: int, num_latents: int) -> torch.Tensor:
        """Return them for some latent frames; a cell that several claim is shared equally."""
        latents = range(first_latent, first_latent + num_latents)
        masks_AKHW = np.stack(
            [np.stack([region.frame_mask(4 * k) for k in latents]) for region in self._regions]
        )
        regions_AKhw = F.max_pool2d(torch.from_numpy(masks_AKHW).float(), self._stride_px)
        return regions_AKhw / regions_AKhw.sum(dim=0, keepdim=True).clamp_min(1)


def portrait_regions(
    faces: Sequence[np.ndarray], num_speakers: int, size: Size, stride_px: int
) -> torch.Tensor:
    """Return the regions of speakers of a portrait, [A, h, w], 0 or 1.

    Args:
        faces: [478, 2] landmarks of all faces, the speakers' first.
        num_speakers: A.
        size: of the picture.
        stride_px: pixels of a latent cell.

    Returns:
        [A, h, w].
    """
    rows = (np.arange(size.height_px // stride_px) + 0.5) * stride_px
    columns = (np.arange(size.width_px // stride_px) + 0.5) * stride_px
    y, x = np.meshgrid(rows, columns, indexing="ij")
    centres = [(face.min(axis=0) + face.max(axis=0)) / 2 for face in faces]
    sizes = [np.ptp(face, axis=0) for face in faces]
    # Distance in sizes of each face: where two meet, the cell belongs to the relatively nearer.
    far = np.stack(
        [
            np.maximum(np.abs(x - c[0]) / s[0], np.abs(y - c[1]) / s[1])
            for c, s in zip(centres, sizes, strict=True)
        ]
    )
    owner = far.argmin(axis=0)
    regions = [(far[a] <= 0.5 + GROWTH) & (owner == a) for a in range(num_speakers)]
    return torch.from_numpy(np.stack(regions)).float()
