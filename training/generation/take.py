"""One video to be made: its size and length, and the conditions of each of its blocks.

A take is built from a user's wishes, and is all that sampling needs to know of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from training.errors import InputError
from training.generation.audio_features import AudioFeatures, Heard
from training.generation.denoising import BlockInputs
from training.generation.guidance import Condition
from training.generation.inputs import Size, frames_for
from training.generation.recording import LedRecording, Recording
from training.generation.regions import (
    SpeakerRegions,
    StillRegions,
    TrackedRegions,
    portrait_regions,
)
from training.generation.streaming import BlockSpan
from training.generation.window_conditions import (
    ReferenceConditions,
    SourceConditions,
    WindowConditions,
    pixels,
)
from training.generation.wishes import EditWishes, Wishes
from training.model.audio_windows import FRAMES_PER_LATENT
from training.model.components import Components
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ, AudioEncoder, ImageEncoder


@dataclass
class Take:
    """One video to be made.

    Attributes:
        size: of the frames that the model makes.
        fps: frames a second.
        num_frames: frames to deliver.
        skip_frames: frames at the beginning that were given and are not delivered.
        num_latents: latent frames to make, given ones included.
        conditions: what is given of the video.
        text: prompt and negative prompt, states [1, L, D].
        image: states of the reference picture, and zeros.
        voices: features of each speaker.
        audio_encoder: for the features of silence.
        context_frames: frames on either side of a latent frame that the model hears.
        regions: where each speaker is, for guidance; ``None``: not known.
        audio_in_regions: whether each voice is also heard in its speaker's region only.
    """

    size: Size
    fps: Fraction
    num_frames: int
    skip_frames: int
    num_latents: int
    conditions: WindowConditions
    text: dict[Condition, torch.Tensor]
    image: dict[Condition, torch.Tensor]
    voices: list[AudioFeatures]
    audio_encoder: AudioEncoder
    context_frames: int
    regions: SpeakerRegions | None = None
    audio_in_regions: bool = False

    def inputs(self, span: BlockSpan) -> BlockInputs:
        """Return the conditions of one block.

        Args:
            span: the block.

        Returns:
            The conditions.
        """
        num_latents = span.stop - span.first
        heard = torch.stack(
            [v.around(span.first, num_latents, self.context_frames) for v in self.voices]
        )[None]
        regions = None
        if self.regions is not None:
            regions = self.regions.block(span.first, num_latents)[None]
        return BlockInputs(
            first_latent=span.first,
            text=self.text,
            image=self.image,
            audio=Heard(heard, self.audio_encoder, float(self.fps)),
            audio_region_BAKhw=regions if self.audio_in_regions else None,
            face_region_BKhw=None if regions is None else regions.amax(dim=1),
            conditions=self.conditions,
        )


def take_of(parts: Components, wishes: Wishes) -> Take:
    """Turn wishes for a new video into conditions.

    Args:
        parts: the model.
        wishes: what the video shows and says.

    Returns:
        The take.

    Raises:
        InputError: If they do not go together.
    """
    given = list(wishes.given_frames)
    if wishes.portrait is not None:
        if given:
            raise InputError("a portrait and a video to go on from: give one of them")
        given = [wishes.portrait.rgb_HWC]
    size = Size(*given[0].shape[1::-1]) if given else wishes.size
    if size is None:
        raise InputError("neither portrait nor size: give one of them")
    num_given = len(given) if len(given) > 1 else 0
    duration_s = wishes.duration_s or max(r.duration_s for r in wishes.recordings)
    num_frames, _ = frames_for(duration_s, wishes.fps)
    num_latents = _num_latents(num_given + num_frames)
    take = Take(
        size=size,
        fps=wishes.fps,
        num_frames=num_frames,
        skip_frames=num_given,
        num_latents=num_latents,
        conditions=ReferenceConditions(
            parts.codec, size, num_latents, first_frames=given, last_image=wishes.last_image
        ),
        text=_texts(parts, wishes.prompt, wishes.negative_prompt),
        image=image_states(parts.image_encoder, given[0] if given else None),
        voices=_voices(parts, _led(wishes, num_given), num_given + num_frames, wishes.fps),
        audio_encoder=parts.audio_encoder,
        context_frames=int(parts.transformer.config.audio_context_frames),
    )
    faces = wishes.portrait.faces if wishes.portrait is not None else ()
    if len(faces) < len(wishes.recordings) > 1:
        raise InputError(
            f"{len(wishes.recordings)} recordings without as many faces: several speakers need a "
            "portrait that shows them, or a video to edit"
        )
    if faces:
        stride_px = parts.codec.spatial_stride
        still = portrait_regions(faces, len(wishes.recordings), size, stride_px)
        take.regions, take.audio_in_regions = StillRegions(still), len(faces) > 1
    return take


def take_of_edit(
    parts: Components, wishes: EditWishes, *, with_source_latents: bool = False
) -> Take:
    """Turn wishes for an edit into conditions.

    Args:
        parts: the model.
        wishes: what the source is to say instead.
        with_source_latents: encode the source itself too, for sampling that looks at it.

    Returns:
        The take; it ends with the source or with the sound, whichever is shorter.

    Raises:
        InputError: If there is not one region for each voice.
    """
    if len(wishes.regions) != len(wishes.recordings):
        raise InputError(
            f"{wishes.source.path}: {len(wishes.regions)} faces followed for "
            f"{len(wishes.recordings)} recordings; give one recording for each speaker"
        )
    fps, size = wishes.source.fps, wishes.size
    spoken, _ = frames_for(max(r.duration_s for r in wishes.recordings), fps)
    num_frames = min(spoken, wishes.regions[0].num_frames)
    first = next(wishes.source.pictures(1), None)
    if first is None:
        raise InputError(f"{wishes.source.path}: no frame of it can be decoded")
    regions = [wishes.view.seen(region).drawn_in(size) for region in wishes.regions]
    return Take(
        size=size,
        fps=fps,
        num_frames=num_frames,
        skip_frames=0,
        num_latents=_num_latents(num_frames),
        conditions=SourceConditions(
            parts.codec,
            wishes.source,
            wishes.view,
            regions,
            size,
            with_latents=with_source_latents,
        ),
        text=_texts(parts, wishes.prompt, wishes.negative_prompt),
        image=image_states(parts.image_encoder, wishes.view.of(first)),
        voices=_voices(parts, wishes.recordings, num_frames, fps),
        audio_encoder=parts.audio_encoder,
        context_frames=int(parts.transformer.config.audio_context_frames),
        regions=TrackedRegions(regions, parts.codec.spatial_stride),
        audio_in_regions=len(regions) > 1,
    )


def image_states(
    encoder: ImageEncoder, rgb_HWC: np.ndarray | None
) -> dict[Condition, torch.Tensor]:
    """Return states of a picture, and the zeros that stand for none.

    Args:
        encoder: makes the states.
        rgb_HWC: uint8; ``None``: there is no picture.

    Returns:
        States [1, L, D] of ON and OFF.
    """
    none = torch.zeros(1, encoder.num_tokens, encoder.width)
    if rgb_HWC is None:
        return {Condition.ON: none, Condition.OFF: none}
    seen = encoder.encode(pixels(rgb_HWC)[:, :, 0])
    return {Condition.ON: seen, Condition.OFF: torch.zeros_like(seen)}


def _num_latents(num_frames: int) -> int:
    return -(-(num_frames - 1) // FRAMES_PER_LATENT) + 1


def _texts(parts: Components, prompt: str, negative_prompt: str) -> dict[Condition, torch.Tensor]:
    states = parts.text_encoder.encode([prompt, negative_prompt, ""]).split(1)
    return dict(zip((Condition.ON, Condition.NEGATIVE, Condition.OFF), states, strict=True))


def _voices(
    parts: Components, recordings: Sequence[Recording], num_frames: int, fps: Fraction
) -> list[AudioFeatures]:
    return [AudioFeatures(parts.audio_encoder, r, num_frames, fps) for r in recordings]


def _led(wishes: Wishes, num_given: int) -> Sequence[Recording]:
    """Recordings with the sound of the given frames before them."""
    if not num_given:
        return wishes.recordings
    lead = np.zeros(round(num_given * AUDIO_SAMPLE_RATE_HZ / wishes.fps), np.float32)
    if wishes.given_sound_N is not None:
        known = wishes.given_sound_N[-len(lead) :]
        lead[len(lead) - len(known) :] = known
    return [LedRecording(recording, lead) for recording in wishes.recordings]
