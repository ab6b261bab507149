"""Which conditions a sample goes without, so that guidance has branches to subtract.

Drawn for each sample from the seed, the step and the clip's id, never once for a batch. Not here:
what stands in a dropped condition's place (null text is the encoded empty caption, null audio and
null image are zeros), which is the trainer's to put there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.objective.seeding import generator_of


class DropRates(BaseModel):
    """How often a sample goes without a condition.

    The defaults are those of StableAvatar and TalkVerse. Text alone, audio alone and both exclude
    each other; the image is drawn independently of them.

    Attributes:
        text: share of samples without their caption, but with audio.
        audio: share of samples without their audio, but with caption.
        text_and_audio: share of samples without both.
        image: share of samples without image states; the given frames stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: float = Field(default=0.1, ge=0, le=1)
    audio: float = Field(default=0.1, ge=0, le=1)
    text_and_audio: float = Field(default=0.05, ge=0, le=1)
    image: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _together_at_most_one(self) -> DropRates:
        total = self.text + self.audio + self.text_and_audio
        if total > 1:
            raise ValueError(
                f"text, audio and text_and_audio exclude each other and add up to {total:g} > 1"
            )
        return self


@dataclass(frozen=True)
class Dropped:
    """What each sample of a batch goes without; bool [B] each."""

    text_B: torch.Tensor
    audio_B: torch.Tensor
    image_B: torch.Tensor


def draw_dropped(rates: DropRates, seed: int, step: int, clip_ids: tuple[str, ...]) -> Dropped:
    """Draw what each sample goes without.

    Args:
        rates: how often.
        seed: of the run.
        step: of the optimiser, from the beginning of the run.
        clip_ids: the samples.

    Returns:
        The draws; a clip's own do not change with its neighbours, its rank or the batch's size.
    """
    draws_B2 = torch.stack(
        [
            torch.rand(2, generator=generator_of(seed, step, clip_id, "condition drop"))
            for clip_id in clip_ids
        ]
    )
    draw_B = draws_B2[:, 0]
    text_only_B = draw_B < rates.text
    audio_only_B = ~text_only_B & (draw_B < rates.text + rates.audio)
    total = rates.text + rates.audio + rates.text_and_audio
    both_B = ~text_only_B & ~audio_only_B & (draw_B < total)
    return Dropped(
        text_B=text_only_B | both_B,
        audio_B=audio_only_B | both_B,
        image_B=draws_B2[:, 1] < rates.image,
    )
