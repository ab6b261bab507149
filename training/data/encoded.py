"""Encoded clips: what a training step sees of a clip, made online or read from latent shards.

Not here: how they are made (`encode.py`) and stored (`latent_shards.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.model.interfaces import Task


@dataclass(frozen=True)
class EncodedClip:
    """One clip, ready for the transformer; shape letters as in `training.model.interfaces`.

    Attributes:
        clip_id: id of the clip, for messages and books.
        task: what is given of the video.
        latent_CKhw: clean normalised latents, what the model learns to make.
        condition_CKhw: latents of the pixels that are given, zeros encoded elsewhere.
        keep_mask_CKhw: 4 channels, one a frame within a latent frame; 1 = given.
        text_LD: text states.
        image_LD: image states, zeros where no picture is given.
        audio_AKVSD: audio features around each latent frame, a speaker on A; ``None``: no audio.
        audio_region_AKhw: where each speaker's audio may act, 0 to 1; ``None``: everywhere.
        face_mask_Khw: how much of each cell is face, 0 to 1; ``None``: no face was tracked.
        lip_mask_Khw: the same of the lips.
        fps: frames a second.
        is_padding: a repetition that only keeps ranks in step, or stands in for a bad clip; its
            loss has the weight 0.
    """

    clip_id: str
    task: Task
    latent_CKhw: torch.Tensor
    condition_CKhw: torch.Tensor
    keep_mask_CKhw: torch.Tensor
    text_LD: torch.Tensor
    image_LD: torch.Tensor
    audio_AKVSD: torch.Tensor | None
    audio_region_AKhw: torch.Tensor | None
    face_mask_Khw: torch.Tensor | None
    lip_mask_Khw: torch.Tensor | None
    fps: float
    is_padding: bool = False


@dataclass(frozen=True)
class EncodedBatch:
    """Clips of one bucket, stacked; every field of `EncodedClip` with B in front.

    Attributes:
        clip_ids: ids, in the order of the batch.
        tasks: tasks, in the order of the batch.
        latent_BCKhw: clean latents.
        condition_BCKhw: latents of what is given.
        keep_mask_BCKhw: 4 channels, 1 = given.
        text_BLD: text states.
        image_BLD: image states.
        audio_BAKVSD: audio features; zeros, the null audio, for a clip that has none.
        has_audio_B: bool, False for a clip without audio.
        audio_region_BAKhw: ones for a clip with one speaker.
        face_mask_BKhw: zeros where no face was tracked.
        lip_mask_BKhw: zeros where no face was tracked.
        is_padding_B: bool, True for a clip whose loss has the weight 0; ``None``: there is none.
    """

    clip_ids: tuple[str, ...]
    tasks: tuple[Task, ...]
    latent_BCKhw: torch.Tensor
    condition_BCKhw: torch.Tensor
    keep_mask_BCKhw: torch.Tensor
    text_BLD: torch.Tensor
    image_BLD: torch.Tensor
    audio_BAKVSD: torch.Tensor
    has_audio_B: torch.Tensor
    audio_region_BAKhw: torch.Tensor
    face_mask_BKhw: torch.Tensor
    lip_mask_BKhw: torch.Tensor
    is_padding_B: torch.Tensor | None = None
