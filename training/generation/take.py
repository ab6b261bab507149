"""One video to be made: its size and length, and the conditions of each of its blocks.

A take is what `pipeline` builds from a user's inputs, and all that sampling needs to know of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch

from training.generation.audio_features import AudioFeatures, silence_like
from training.generation.denoising import BlockInputs
from training.generation.guidance import Condition
from training.generation.inputs import Size
from training.generation.regions import SpeakerRegions
from training.generation.streaming import BlockSpan
from training.generation.window_conditions import WindowConditions
from training.model.interfaces import AudioEncoder


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
        audio = {Condition.ON: heard, Condition.OFF: torch.zeros_like(heard)}
        audio[Condition.NEGATIVE] = silence_like(heard[0], self.audio_encoder, float(self.fps))[
            None
        ]
        regions = None
        if self.regions is not None:
            regions = self.regions.block(span.first, num_latents)[None]
        return BlockInputs(
            first_latent=span.first,
            text=self.text,
            image=self.image,
            audio=audio,
            audio_region_BAKhw=regions if self.audio_in_regions else None,
            face_region_BKhw=None if regions is None else regions.amax(dim=1),
            conditions=self.conditions,
        )
