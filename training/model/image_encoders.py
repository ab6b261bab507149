"""A picture to token states of identity and setting: CLIP vision, or a grid of thumbnails.

Not here: the picture's own latent, which the codec makes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange


class ClipVisionEncoder:
    """Penultimate hidden states of a CLIP vision model, as the Wan image-to-video models take them.

    Pictures are resized (shorter side, bicubic with antialiasing), cropped in the middle and
    normalised as the base's image processor says. It is done on tensors: transformers' own
    processor needs torchvision.

    Args:
        model: ``transformers.CLIPVisionModel``.
        mean: of each colour, in [0, 1].
        std: of each colour.
        device: where it runs.
    """

    def __init__(
        self,
        model: Any,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        device: torch.device | str = "cpu",
    ) -> None:
        self._model = model.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        self._mean_C11 = torch.tensor(mean, device=self.device)[:, None, None]
        self._std_C11 = torch.tensor(std, device=self.device)[:, None, None]
        self._side_px = int(model.config.image_size)
        self.num_tokens = (self._side_px // int(model.config.patch_size)) ** 2 + 1
        self.width = int(model.config.hidden_size)

    def pixels(self, pictures_BCHW: torch.Tensor) -> torch.Tensor:
        """Resize, crop and normalise pictures.

        Args:
            pictures_BCHW: in [-1, 1].

        Returns:
            What the model sees, [B, 3, side, side].
        """
        pictures = (pictures_BCHW.to(self.device).float() + 1) / 2
        height, width = pictures.shape[-2:]
        ratio = self._side_px / min(height, width)
        size = (max(self._side_px, int(height * ratio)), max(self._side_px, int(width * ratio)))
        pictures = F.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - self._side_px) // 2, (size[1] - self._side_px) // 2
        pictures = pictures[..., top : top + self._side_px, left : left + self._side_px]
        return (pictures - self._mean_C11) / self._std_C11

    @torch.no_grad()
    def encode(self, pictures_BCHW: torch.Tensor) -> torch.Tensor:
        """Encode pictures.

        Args:
            pictures_BCHW: in [-1, 1].

        Returns:
            States [B, L, D]; 257 tokens of 1280 for ViT-H/14.
        """
        pixels = self.pixels(pictures_BCHW).to(self._model.dtype)
        return self._model(pixels, output_hidden_states=True).hidden_states[-2]


class ThumbnailEncoder:
    """The picture itself, small, in patches, for the tiny model: nothing is learned.

    Args:
        side_px: side of the thumbnail.
        patch_px: side of a patch; a token is one patch.
        device: where states go.
    """

    def __init__(
        self, side_px: int = 32, patch_px: int = 8, device: torch.device | str = "cpu"
    ) -> None:
        self._side_px = side_px
        self._patch_px = patch_px
        self.device = torch.device(device)
        self.num_tokens = (side_px // patch_px) ** 2
        self.width = 3 * patch_px**2

    @torch.no_grad()
    def encode(self, pictures_BCHW: torch.Tensor) -> torch.Tensor:
        """Cut small pictures into patches.

        Args:
            pictures_BCHW: in [-1, 1].

        Returns:
            States [B, L, D].
        """
        small = F.interpolate(
            pictures_BCHW.to(self.device).float(),
            (self._side_px, self._side_px),
            mode="bilinear",
            antialias=True,
        )
        return rearrange(
            small,
            "b c (y py) (x px) -> b (y x) (c py px)",
            py=self._patch_px,
            px=self._patch_px,
        )
