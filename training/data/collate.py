"""Encoded clips of one bucket become one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from training.data.encoded import EncodedBatch, EncodedClip
from training.errors import DataError


def collate(clips: Sequence[EncodedClip]) -> EncodedBatch:
    """Stack clips.

    Clips with fewer speakers than others get silent ones that act nowhere. If no clip has audio,
    the audio has a width of 0 in place of features.

    Args:
        clips: clips of one shape, at least one.

    Returns:
        The batch.

    Raises:
        DataError: there are none, or their shapes differ.
    """
    if not clips:
        raise DataError("a batch of no clips; every batch of the data has one at least")
    shape = clips[0].latent_CKhw.shape
    for clip in clips:
        if clip.latent_CKhw.shape != shape:
            raise DataError(
                f"clip {clip.clip_id} has a latent of {tuple(clip.latent_CKhw.shape)}, but "
                f"{clips[0].clip_id} of {tuple(shape)}; a batch has clips of one bucket"
            )
    audio = [clip.audio_AKVSD for clip in clips if clip.audio_AKVSD is not None]
    num_speakers = max([len(audio_AKVSD) for audio_AKVSD in audio], default=1)
    zero_KVSD = (
        torch.zeros_like(audio[0][0])
        if audio
        else clips[0].latent_CKhw.new_zeros(shape[1], 0, 0, 0)
    )
    zero_Khw = torch.zeros_like(clips[0].latent_CKhw[0])
    return EncodedBatch(
        clip_ids=tuple(clip.clip_id for clip in clips),
        tasks=tuple(clip.task for clip in clips),
        latent_BCKhw=torch.stack([clip.latent_CKhw for clip in clips]),
        condition_BCKhw=torch.stack([clip.condition_CKhw for clip in clips]),
        keep_mask_BCKhw=torch.stack([clip.keep_mask_CKhw for clip in clips]),
        text_BLD=torch.stack([clip.text_LD for clip in clips]),
        image_BLD=torch.stack([clip.image_LD for clip in clips]),
        audio_BAKVSD=torch.stack(
            [_filled_up(clip.audio_AKVSD, num_speakers, zero_KVSD) for clip in clips]
        ),
        has_audio_B=torch.tensor([clip.audio_AKVSD is not None for clip in clips]),
        audio_region_BAKhw=torch.stack([_region(clip, num_speakers, zero_Khw) for clip in clips]),
        face_mask_BKhw=torch.stack([_or_zero(clip.face_mask_Khw, zero_Khw) for clip in clips]),
        lip_mask_BKhw=torch.stack([_or_zero(clip.lip_mask_Khw, zero_Khw) for clip in clips]),
        is_padding_B=torch.tensor([clip.is_padding for clip in clips]),
    )


def _filled_up(audio_AKVSD: torch.Tensor | None, num: int, zero: torch.Tensor) -> torch.Tensor:
    tracks = [] if audio_AKVSD is None else list(audio_AKVSD)
    return torch.stack([*tracks, *[zero] * (num - len(tracks))])


def _region(clip: EncodedClip, num: int, zero_Khw: torch.Tensor) -> torch.Tensor:
    own = clip.audio_region_AKhw
    regions = [torch.ones_like(zero_Khw)] if own is None else list(own.to(zero_Khw.dtype))
    return torch.stack([*regions, *[zero_Khw] * (num - len(regions))])


def _or_zero(region_Khw: torch.Tensor | None, zero_Khw: torch.Tensor) -> torch.Tensor:
    return zero_Khw if region_Khw is None else region_Khw.to(zero_Khw.dtype)
