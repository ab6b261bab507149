"""What is given of a video, and the transformer's input made of it: one mask, 1 = given.

Order of the input channels is noisy latent, keep mask, condition (diffusers,
``WanImageToVideoPipeline``; SkyReels-V4, arXiv 2602, states the same three for every task). The
base was trained with masks over time only; masks over space are learned.

Not here: encoding the given pixels (a codec's work) and dropping conditions (the objective's).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange

from training.errors import SettingError
from training.model.audio_windows import FRAMES_PER_LATENT, num_latents
from training.model.interfaces import Task


def pixel_condition(
    task: Task,
    frames_BCTHW: torch.Tensor,
    *,
    extension_frames: int | None = None,
    edit_region_BTHW: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the pixels that are given.

    Args:
        task: what is given beside text and audio.
        frames_BCTHW: pixels in [-1, 1]; only those that are given are looked at.
        extension_frames: how many first frames an extension is given, 4 m + 1.
        edit_region_BTHW: what an edit is to make anew, above 0; the rest is given.

    Returns:
        The given pixels [B, 3, T, H, W], zeros elsewhere; which they are, [B, T, H, W].

    Raises:
        SettingError: an option is missing, of the wrong size, or belongs to another task.
    """
    batch_size, _, length, height, width = frames_BCTHW.shape
    num_latents(length)
    if (extension_frames is not None) != (task is Task.EXTENSION):
        raise SettingError(
            f"task {task} with extension_frames={extension_frames}: an extension needs the number "
            "of its given frames, no other task has one"
        )
    if (edit_region_BTHW is not None) != (task is Task.EDIT):
        given = "no" if edit_region_BTHW is None else "an"
        raise SettingError(
            f"task {task} with {given} edit region: an edit needs one, no other task has one"
        )
    keep_BTHW = torch.zeros(batch_size, length, height, width, device=frames_BCTHW.device)
    if task in (Task.IMAGE, Task.FIRST_LAST):
        keep_BTHW[:, 0] = 1
    if task is Task.FIRST_LAST:
        keep_BTHW[:, -1] = 1
    if extension_frames is not None:
        num_latents(extension_frames)
        if extension_frames >= length:
            raise SettingError(
                f"an extension of {extension_frames} given frames to {length}: nothing is left to "
                "make; give fewer frames or make a longer clip"
            )
        keep_BTHW[:, :extension_frames] = 1
    if edit_region_BTHW is not None:
        if edit_region_BTHW.shape != keep_BTHW.shape:
            raise SettingError(
                f"edit region of shape {tuple(edit_region_BTHW.shape)} for frames of shape "
                f"{tuple(keep_BTHW.shape)} (samples, frames, height, width)"
            )
        keep_BTHW = (edit_region_BTHW.to(keep_BTHW.device) <= 0).float()
    kept = keep_BTHW[:, None].bool()
    return torch.where(kept, frames_BCTHW, torch.zeros_like(frames_BCTHW)), keep_BTHW


def latent_keep_mask(keep_BTHW: torch.Tensor, spatial_stride: int) -> torch.Tensor:
    """Bring the keep mask to the latent grid.

    The four channels are the frames of a latent frame; frame 0 stands in all four of the first. A
    cell is kept only if all of its pixels are.

    Args:
        keep_BTHW: 1 where a pixel is given.
        spatial_stride: pixels a cell on either axis.

    Returns:
        Keep mask [B, 4, K, h, w].

    Raises:
        SettingError: a size does not divide.
    """
    _, length, height, width = keep_BTHW.shape
    num_latents(length)
    if height % spatial_stride or width % spatial_stride:
        raise SettingError(
            f"a picture of {height} x {width} does not divide into cells of {spatial_stride} px; "
            f"use multiples of {2 * spatial_stride}"
        )
    given_BThw = 1 - F.max_pool2d(1 - keep_BTHW.float(), spatial_stride)
    first_BThw = given_BThw[:, :1].expand(-1, FRAMES_PER_LATENT, -1, -1)
    return rearrange(
        torch.cat((first_BThw, given_BThw[:, 1:]), dim=1),
        "b (k f) h w -> b f k h w",
        f=FRAMES_PER_LATENT,
    )


def transformer_input(
    noisy_BCKhw: torch.Tensor, keep_mask_BCKhw: torch.Tensor, condition_BCKhw: torch.Tensor
) -> torch.Tensor:
    """Stack what the transformer sees.

    Args:
        noisy_BCKhw: noisy latent.
        keep_mask_BCKhw: 4 channels, 1 = given.
        condition_BCKhw: latent of the given pixels.

    Returns:
        Input [B, 36, K, h, w] of a 16-channel latent.

    Raises:
        SettingError: the keep mask has not four channels.
    """
    if keep_mask_BCKhw.shape[1] != FRAMES_PER_LATENT:
        raise SettingError(
            f"keep mask of {keep_mask_BCKhw.shape[1]} channels, wanted {FRAMES_PER_LATENT}: one a "
            "frame of a latent frame (latent_keep_mask)"
        )
    dtype = noisy_BCKhw.dtype
    return torch.cat((noisy_BCKhw, keep_mask_BCKhw.to(dtype), condition_BCKhw.to(dtype)), dim=1)
