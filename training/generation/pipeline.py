"""The pipeline: text, picture or video and sound to a talking portrait of any length.

A diffusers pipeline in shape: components are registered, it is saved with ``save_pretrained`` and
read with ``from_pretrained``. Frames are given away as they are finished (`frames`, `edit`), so a
caller that writes them needs the memory of one block, whatever the length.

In the room: from a user's inputs to a take, and from a take to frames. Not in the room: sampling
(`streaming`, `denoising`), files on disk (`video_writer`) and the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from training.errors import InputError
from training.generation.audio_features import AudioFeatures
from training.generation.denoising import Sampling, Watcher
from training.generation.guidance import Condition
from training.generation.inputs import MODEL_FPS, Size, frames_for
from training.generation.portrait import Portrait
from training.generation.recording import LedRecording, Recording
from training.generation.regions import StillRegions, portrait_regions
from training.generation.schedulers import begin
from training.generation.streaming import count_passes, stream_frames, stream_latents
from training.generation.take import Take
from training.generation.window_conditions import (
    ReferenceConditions,
    WindowConditions,
    pixels,
)
from training.generation.windows import Share
from training.model.components import Components
from training.model.interfaces import AUDIO_SAMPLE_RATE_HZ, Task


@dataclass(frozen=True)
class Wishes:
    """What a video is to show and to say.

    Attributes:
        recordings: sound of each speaker, the speakers' faces from largest to smallest.
        prompt: what is seen.
        negative_prompt: what is not to be seen.
        portrait: picture that begins to speak; ``None``: from text or given frames.
        last_image: [H, W, 3] uint8, the last frame.
        given_frames: [H, W, 3] uint8 each, 4 m + 1 of them: the end of a video that goes on.
        given_sound_N: sound of the given frames, float32 at 16 kHz; ``None``: silence.
        size: of the video where there is no portrait.
        duration_s: seconds to make; ``None``: as long as the longest recording.
        fps: frames a second.
        seed: of the noise.
    """

    recordings: Sequence[Recording]
    prompt: str = ""
    negative_prompt: str = ""
    portrait: Portrait | None = None
    last_image: np.ndarray | None = None
    given_frames: Sequence[np.ndarray] = ()
    given_sound_N: np.ndarray | None = None
    size: Size | None = None
    duration_s: float | None = None
    fps: Fraction = Fraction(MODEL_FPS)
    seed: int = 0


@dataclass(frozen=True)
class TalkingPortraitOutput:
    """A finished video.

    Attributes:
        frames: [T, H, W, 3] uint8.
        fps: frames a second.
    """

    frames: np.ndarray
    fps: Fraction


class TalkingPortraitPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Audio-driven talking portraits."""

    model_cpu_offload_seq = "transformer"

    def __init__(
        self,
        transformer: Any,
        scheduler: Any,
        codec: Any,
        text_encoder: Any,
        image_encoder: Any,
        audio_encoder: Any,
    ) -> None:
        super().__init__()
        self.register_modules(
            transformer=transformer,
            scheduler=scheduler,
            codec=codec,
            text_encoder=text_encoder,
            image_encoder=image_encoder,
            audio_encoder=audio_encoder,
        )

    @classmethod
    def of(cls, components: Components, scheduler: Any) -> TalkingPortraitPipeline:
        """Make a pipeline of parts that are loaded already.

        Args:
            components: the model.
            scheduler: the solver.

        Returns:
            The pipeline.
        """
        return cls(
            components.transformer,
            scheduler,
            components.codec,
            components.text_encoder,
            components.image_encoder,
            components.audio_encoder,
        )

    @property
    def size_multiple_px(self) -> int:
        """What the sides of a video have to be multiples of."""
        return int(self.codec.spatial_stride) * int(self.transformer.config.patch_size[1])

    def __call__(
        self,
        wishes: Wishes,
        sampling: Sampling | None = None,
        *,
        watcher: Watcher | None = None,
    ) -> TalkingPortraitOutput:
        """Make a whole video in memory; for a long one, use `frames`.

        Args:
            wishes: what it shows and says.
            sampling: how it is sampled.
            watcher: hears about progress.

        Returns:
            The video.
        """
        frames = list(self.frames(wishes, sampling, watcher=watcher))
        return TalkingPortraitOutput(np.stack(frames), wishes.fps)

    def frames(
        self,
        wishes: Wishes,
        sampling: Sampling | None = None,
        *,
        share: Share | None = None,
        watcher: Watcher | None = None,
    ) -> Iterator[np.ndarray]:
        """Make a video, frame by frame.

        Args:
            wishes: what it shows and says.
            sampling: how it is sampled.
            share: which windows this process computes.
            watcher: hears about progress.

        Yields:
            [H, W, 3] uint8.
        """
        take = self.take(wishes)
        yield from self.sample(take, sampling or Sampling(), wishes.seed, share, watcher)

    def sample(
        self,
        take: Take,
        sampling: Sampling,
        seed: int,
        share: Share | None = None,
        watcher: Watcher | None = None,
    ) -> Iterator[np.ndarray]:
        """Sample a take, frame by frame.

        Args:
            take: the video to be made.
            sampling: how.
            seed: of the noise.
            share: which windows this process computes.
            watcher: hears about progress.

        Yields:
            [H, W, 3] uint8, without frames that were given or that only fill the last latent.
        """
        stride = int(self.codec.spatial_stride)
        shape = (
            int(self.codec.latent_channels),
            take.size.height_px // stride,
            take.size.width_px // stride,
        )
        latents = stream_latents(
            self.transformer,
            self.scheduler,
            take.num_latents,
            shape,
            take.inputs,
            sampling,
            torch.Generator().manual_seed(seed),
            device=self._where(),
            share=share,
            watcher=watcher,
        )
        for index, frame in enumerate(stream_frames(self.codec, latents)):
            if index == 0:
                self._anchor(take, frame)
            if index >= take.skip_frames + take.num_frames:
                return
            if index >= take.skip_frames:
                yield frame

    def count_passes(self, take: Take, sampling: Sampling) -> int:
        """Count passes of the transformer that a take needs, for the time that is left.

        Args:
            take: the video to be made.
            sampling: how.

        Returns:
            Passes, a batch counted by its rows.
        """
        sigmas = begin(self.scheduler, sampling.num_steps, strength=sampling.strength).tolist()
        return count_passes(take.num_latents, sampling, sigmas[:-1], take.conditions.pinned)

    def take(self, wishes: Wishes) -> Take:
        """Turn wishes into conditions.

        Args:
            wishes: what the video shows and says.

        Returns:
            The take.

        Raises:
            InputError: If they do not go together.
        """
        size = wishes.portrait.size if wishes.portrait else wishes.size
        if size is None and wishes.given_frames:
            size = Size(*wishes.given_frames[0].shape[1::-1])
        if size is None:
            raise InputError("neither portrait nor size: give one of them")
        given = list(wishes.given_frames)
        if wishes.portrait is not None:
            if given:
                raise InputError("a portrait and a video to go on from: give one of them")
            given = [wishes.portrait.rgb_HWC]
        num_given = len(given) if len(given) > 1 else 0
        duration_s = wishes.duration_s or max(r.duration_s for r in wishes.recordings)
        wanted, _ = frames_for(duration_s, wishes.fps)
        num_latents = (num_given + wanted + 2) // 4 + 1
        conditions = ReferenceConditions(
            self.codec, size, num_latents, first_frames=given, last_image=wishes.last_image
        )
        recordings = _led(wishes, num_given) if num_given else wishes.recordings
        take = self._take(recordings, conditions, size, wishes.fps, wanted, num_given, num_latents)
        self._describe(take, wishes.prompt, wishes.negative_prompt, given[0] if given else None)
        if wishes.portrait is not None and wishes.portrait.faces:
            num_speakers = len(wishes.recordings)
            take.regions = StillRegions(
                portrait_regions(
                    wishes.portrait.faces, num_speakers, size, int(self.codec.spatial_stride)
                )
            )
            take.audio_in_regions = len(wishes.portrait.faces) > 1
        elif len(wishes.recordings) > 1:
            raise InputError(
                f"{len(wishes.recordings)} recordings without as many faces: several speakers need "
                "a portrait that shows them, or a video to edit"
            )
        return take

    def _take(
        self,
        recordings: Sequence[Recording],
        conditions: WindowConditions,
        size: Size,
        fps: Fraction,
        num_frames: int,
        skip_frames: int,
        num_latents: int,
    ) -> Take:
        num_features = skip_frames + num_frames
        return Take(
            size=size,
            fps=fps,
            num_frames=num_frames,
            skip_frames=skip_frames,
            num_latents=num_latents,
            conditions=conditions,
            text={},
            image={},
            voices=[
                AudioFeatures(self.audio_encoder, recording, num_features, fps)
                for recording in recordings
            ],
            audio_encoder=self.audio_encoder,
            context_frames=int(self.transformer.config.audio_context_frames),
        )

    def _describe(
        self, take: Take, prompt: str, negative_prompt: str, picture: np.ndarray | None
    ) -> None:
        texts = self.text_encoder.encode([prompt, negative_prompt, ""])
        take.text = dict(
            zip(
                (Condition.ON, Condition.NEGATIVE, Condition.OFF),
                texts.split(1),
                strict=True,
            )
        )
        empty = torch.zeros(1, self.image_encoder.num_tokens, self.image_encoder.width)
        seen = empty
        if picture is not None:
            seen = self.image_encoder.encode(pixels(picture)[:, :, 0])
        take.image = {Condition.ON: seen, Condition.OFF: torch.zeros_like(seen)}

    def _anchor(self, take: Take, frame: np.ndarray) -> None:
        """Hold the blocks that follow to the first frame, where nothing else was given."""
        conditions = take.conditions
        if isinstance(conditions, ReferenceConditions) and conditions.task is Task.TEXT:
            conditions.anchor(frame)
            seen = self.image_encoder.encode(pixels(frame)[:, :, 0])
            take.image = {Condition.ON: seen, Condition.OFF: torch.zeros_like(seen)}

    def _where(self) -> torch.device:
        return next(self.transformer.parameters()).device


def _led(wishes: Wishes, num_given: int) -> list[Recording]:
    """Recordings with the sound of the given frames before them."""
    lead = np.zeros(round(num_given * AUDIO_SAMPLE_RATE_HZ / wishes.fps), np.float32)
    if wishes.given_sound_N is not None:
        known = wishes.given_sound_N[-len(lead) :]
        lead[len(lead) - len(known) :] = known
    return [LedRecording(recording, lead) for recording in wishes.recordings]
