"""From a clip to what a training step sees of it: latents, what is given, features, regions.

The encoders and the codec are passed in; nothing here knows which they are. Condition dropping is
the objective's, and so is the weight of a region.
"""

from __future__ import annotations

from typing import Protocol

import torch
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic import Field as Setting

from training.data.clip_samples import ClipSample, Speaker
from training.data.edit_region import edit_region
from training.data.encoded import EncodedClip
from training.data.latent_samples import LatentSample
from training.data.speech_crops import FRAMES_PER_LATENT
from training.model.audio_windows import latent_audio_windows, num_latents
from training.model.conditions import latent_keep_mask, pixel_condition
from training.model.interfaces import AudioEncoder, ImageEncoder, Task, TextEncoder, VideoCodec
from training.objective.face_weights import latent_region


class Encoders(Protocol):
    """The parts of the model that turn a clip into tensors; `Components` has them."""

    @property
    def codec(self) -> VideoCodec:
        """Pixels to latents."""
        ...

    @property
    def text_encoder(self) -> TextEncoder:
        """Captions to states."""
        ...

    @property
    def image_encoder(self) -> ImageEncoder:
        """Pictures to states."""
        ...

    @property
    def audio_encoder(self) -> AudioEncoder:
        """Sound to features."""
        ...


class EncodeSettings(BaseModel):
    """How a clip is encoded.

    Attributes:
        extension_frames: given frames of an extension, 4m + 1; InfiniteTalk trains with 9 clean
            context frames (arXiv 2508.14033, as read for this project).
        audio_context_frames: frames on either side of a latent frame whose audio it hears; the
            model's.
        edit_margin_ratio: margin about the lower face, as a share of nose to chin; ours.
        edit_smooth_latents: latent frames over which the border of an edit is smoothed; ours.
        speaker_margin_ratio: margin about a face within which its voice acts, as a share of the
            face; ours. Only with several speakers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    extension_frames: int = Setting(default=9, ge=1)
    audio_context_frames: int = Setting(default=2, ge=0)
    edit_margin_ratio: float = Setting(default=0.15, ge=0)
    edit_smooth_latents: int = Setting(default=2, ge=0)
    speaker_margin_ratio: float = Setting(default=0.25, ge=0)

    @field_validator("extension_frames")
    @classmethod
    def _whole_latents(cls, value: int) -> int:
        if value % 4 != 1:
            raise ValueError(f"{value} is not 4m + 1; the nearest is {value // 4 * 4 + 1}")
        return value


DEFAULT_SETTINGS = EncodeSettings()


def fitting_task(task: Task, sample: ClipSample, settings: EncodeSettings) -> Task:
    """The task itself, or the nearest that this clip can take.

    A single frame that is given leaves nothing to make, so a picture is made from text; a clip no
    longer than an extension's given frames, or one without a face to edit, from its first frame.

    Args:
        task: what was drawn.
        sample: the clip.
        settings: how it is encoded.

    Returns:
        A task that leaves something to make.
    """
    num_frames = sample.frames_CTHW.shape[1]
    if num_frames == 1:
        return Task.TEXT
    is_short = task is Task.EXTENSION and settings.extension_frames >= num_frames
    is_faceless = task is Task.EDIT and not _faces(sample)
    return Task.IMAGE if is_short or is_faceless else task


@torch.no_grad()
def encode_clip(
    sample: ClipSample | LatentSample,
    task: Task,
    encoders: Encoders,
    settings: EncodeSettings = DEFAULT_SETTINGS,
    *,
    device: torch.device | str = "cpu",
) -> EncodedClip:
    """Encode one clip for one task; of a clip from latent shards, choose the task.

    Args:
        sample: the clip.
        task: what is given of it; see `fitting_task` for clips that cannot take it.
        encoders: codec and encoders.
        settings: how it is encoded.
        device: where the result is.

    Returns:
        The encoded clip; its ``task`` is the one that was taken.
    """
    if isinstance(sample, LatentSample):
        return sample.encoded(task, device)
    return encode_tasks(sample, (task,), encoders, settings, device=device)[0]


@torch.no_grad()
def encode_tasks(
    sample: ClipSample,
    tasks: tuple[Task, ...],
    encoders: Encoders,
    settings: EncodeSettings = DEFAULT_SETTINGS,
    *,
    device: torch.device | str = "cpu",
) -> list[EncodedClip]:
    """Encode one clip for several tasks, in float32; what they share is encoded once.

    Args:
        sample: the clip.
        tasks: what is given of it.
        encoders: codec and encoders.
        settings: how it is encoded.
        device: where the results are.

    Returns:
        One encoded clip a task, in their order.
    """
    frames_BCTHW = sample.frames_CTHW[None].to(device).float() / 127.5 - 1
    stride = encoders.codec.spatial_stride
    latent_CKhw = encoders.codec.encode(frames_BCTHW)[0].to(device, torch.float32)
    text_LD = encoders.text_encoder.encode([sample.caption])[0].to(device, torch.float32)
    image_LD = encoders.image_encoder.encode(frames_BCTHW[:, :, 0])[0].to(device, torch.float32)
    audio_AKVSD = encode_audio(sample, encoders.audio_encoder, settings)
    audio_AKVSD = audio_AKVSD.to(device, torch.float32)
    face, lips = (
        None if mask is None else latent_region(mask[None].to(device), stride)[0]
        for mask in (sample.face_mask_THW, sample.lip_mask_THW)
    )
    clips = []
    for wanted in tasks:
        task = fitting_task(wanted, sample, settings)
        given_BCTHW, keep_BTHW = pixel_condition(
            task,
            frames_BCTHW,
            extension_frames=settings.extension_frames if task is Task.EXTENSION else None,
            edit_region_BTHW=_edit_region(sample, settings, device) if task is Task.EDIT else None,
        )
        clips.append(
            EncodedClip(
                clip_id=sample.clip_id,
                task=task,
                latent_CKhw=latent_CKhw,
                condition_CKhw=encoders.codec.encode(given_BCTHW)[0].to(device, torch.float32),
                keep_mask_CKhw=latent_keep_mask(keep_BTHW, stride)[0],
                text_LD=text_LD,
                image_LD=torch.zeros_like(image_LD) if task is Task.TEXT else image_LD,
                audio_AKVSD=audio_AKVSD,
                audio_region_AKhw=_speaker_regions(sample, settings, stride, device),
                face_mask_Khw=face,
                lip_mask_Khw=lips,
                fps=sample.fps,
                is_padding=sample.is_padding,
            )
        )
    return clips


def encode_audio(
    sample: ClipSample, encoder: AudioEncoder, settings: EncodeSettings
) -> torch.Tensor:
    """Hear each speaker's whole recording once, and slice what the crop's latent frames hear.

    Args:
        sample: the clip.
        encoder: the audio encoder.
        settings: how it is encoded.

    Returns:
        [A, K, V, S, D].
    """
    num_frames = sample.frames_CTHW.shape[1]
    windows = []
    for speaker in sample.speakers:
        features_FSD = encoder.encode(speaker.pcm_N, sample.num_clip_frames, sample.fps)
        windows.append(
            latent_audio_windows(
                features_FSD,
                sample.first_frame // FRAMES_PER_LATENT,
                num_latents(num_frames),
                settings.audio_context_frames,
            )
        )
    return torch.stack(windows)


def _faces(sample: ClipSample) -> list[Speaker]:
    return [speaker for speaker in sample.speakers if speaker.face is not None]


def _edit_region(
    sample: ClipSample, settings: EncodeSettings, device: torch.device | str
) -> torch.Tensor:
    region_THW = edit_region(
        [speaker.face for speaker in sample.speakers if speaker.face is not None],
        sample.size_px,
        margin_ratio=settings.edit_margin_ratio,
        smooth_latents=settings.edit_smooth_latents,
    )
    return region_THW[None].to(device)


def _speaker_regions(
    sample: ClipSample, settings: EncodeSettings, stride: int, device: torch.device | str
) -> torch.Tensor | None:
    """Where each of several speakers' voices acts: about the own face; shared where faces meet."""
    if len(sample.speakers) < 2:
        return None
    width, height = sample.size_px
    regions = []
    for speaker in sample.speakers:
        region_THW = torch.zeros(sample.frames_CTHW.shape[1], height, width)
        if speaker.face is not None:
            oval = speaker.face.oval_TPC
            low, high = oval.min(axis=1), oval.max(axis=1)
            margin = settings.speaker_margin_ratio * (high - low)
            for frame, (start, end) in enumerate(zip(low - margin, high + margin, strict=True)):
                (left, top), (right, bottom) = start.clip(0).astype(int), end.clip(0).astype(int)
                region_THW[frame, top:bottom, left:right] = 1
        regions.append(latent_region(region_THW[None].to(device), stride)[0])
    region_AKhw = torch.stack(regions)
    return region_AKhw / region_AKhw.sum(0).clamp(min=1)
