"""The pipeline: text, picture or video and sound to a talking portrait of any length.

A diffusers pipeline in shape: components are registered, it is saved with ``save_pretrained`` and
read with ``from_pretrained``. Frames are given away as they are finished (`frames`, `edit`), so a
caller that writes them needs the memory of one block, whatever the length.

In the room: from wishes to frames, and the folder. Not in the room: what wishes mean to the model
(`take`), sampling (`streaming`, `denoising`), files of pictures and sound, and the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline

from training.errors import ModelError
from training.generation.denoising import Sampling, Watcher
from training.generation.editing import joined_masks
from training.generation.paste import pasted
from training.generation.schedulers import Solver, begin, make_scheduler
from training.generation.streaming import count_passes, stream_frames, stream_latents
from training.generation.take import Take, image_states, take_of, take_of_edit
from training.generation.window_conditions import ReferenceConditions
from training.generation.windows import Share
from training.generation.wishes import EditWishes, Wishes
from training.model.components import Components, load_components
from training.model.interfaces import Task
from training.model.saved import load_spec, save_components
from training.model.spec import ModelSpec

DEFAULT_SHIFT = 3.0
"""Wan2.1's README, for 480p; a folder with a scheduler of its own says otherwise."""
_SCHEDULER = "scheduler"


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
        self.spec: ModelSpec | None = None

    @classmethod
    def of(
        cls, components: Components, scheduler: Any = None, spec: ModelSpec | None = None
    ) -> TalkingPortraitPipeline:
        """Make a pipeline of parts that are loaded already.

        Args:
            components: the model.
            scheduler: the solver; ``None``: UniPC.
            spec: what the model was built from; without it the pipeline cannot be saved.

        Returns:
            The pipeline.
        """
        pipeline = cls(
            components.transformer,
            scheduler or make_scheduler(Solver.UNIPC, DEFAULT_SHIFT),
            components.codec,
            components.text_encoder,
            components.image_encoder,
            components.audio_encoder,
        )
        pipeline.spec = spec
        return pipeline

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        device: torch.device | str = "cpu",
        torch_dtype: torch.dtype = torch.float32,
    ) -> TalkingPortraitPipeline:
        """Read a folder that `save_pretrained` or training wrote.

        Args:
            pretrained_model_name_or_path: the folder.
            device: where the model goes.
            torch_dtype: of the transformer and the encoders; the VAE stays in fp32.

        Returns:
            The pipeline; without a scheduler in the folder, with UniPC.

        Raises:
            ModelError: If it is no such folder, or a part is missing.
        """
        folder = Path(pretrained_model_name_or_path)
        spec = load_spec(folder)
        components = load_components(spec, device, torch_dtype)
        components.transformer.eval().requires_grad_(False)
        return cls.of(components, _scheduler_of(folder), spec)

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the model, its spec and the scheduler.

        Args:
            save_directory: the folder.

        Raises:
            ModelError: If it is not known what the model was built from.
        """
        if self.spec is None:
            raise ModelError(
                "a pipeline of loose parts cannot be saved: give `of` the spec they were built from"
            )
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        save_components(self.parts, self.spec, folder)
        self.scheduler.save_pretrained(folder / _SCHEDULER)
        self.save_config(folder)

    @property
    def parts(self) -> Components:
        """The model."""
        return Components(
            self.transformer,
            self.codec,
            self.text_encoder,
            self.image_encoder,
            self.audio_encoder,
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

        Returns:
            Frames [H, W, 3] uint8, each when it is finished.
        """
        take = take_of(self.parts, wishes)
        return self.sample(take, sampling or Sampling(), wishes.seed, share, watcher)

    def edit(
        self,
        wishes: EditWishes,
        sampling: Sampling | None = None,
        *,
        share: Share | None = None,
        watcher: Watcher | None = None,
    ) -> Iterator[av.VideoFrame]:
        """Make the lips of a source video anew, frame by frame.

        Outside of the regions every sample of every plane is the source's. An edit without any
        region is the source itself, and nothing is computed.

        Args:
            wishes: what the source is to say instead.
            sampling: how it is sampled.
            share: which windows this process computes.
            watcher: hears about progress.

        Yields:
            Frames in the source's stored size and pixel format.
        """
        if all(region.is_empty for region in wishes.regions):
            yield from wishes.source.frames(wishes.regions[0].num_frames)
            return
        sampling = sampling or Sampling()
        take = take_of_edit(self.parts, wishes, with_source_latents=sampling.needs_source)
        made = self.sample(take, sampling, wishes.seed, share, watcher)
        source = wishes.source
        masks = joined_masks([region.drawn_in(source.stored) for region in wishes.regions])
        for frame, part, mask in zip(source.frames(), made, masks, strict=False):
            yield pasted(frame, wishes.view.put_back(part, source.size), mask)

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
        if watcher is not None:
            watcher.on_start(self.count_passes(take, sampling))
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

    def _anchor(self, take: Take, frame: np.ndarray) -> None:
        """Hold the blocks that follow to the first frame, where nothing else was given."""
        conditions = take.conditions
        if isinstance(conditions, ReferenceConditions) and conditions.task is Task.TEXT:
            conditions.anchor(frame)
            take.image = image_states(self.image_encoder, frame)

    def _where(self) -> torch.device:
        return next(self.transformer.parameters()).device


def _scheduler_of(folder: Path) -> Any:
    file = folder / _SCHEDULER / "scheduler_config.json"
    if not file.exists():
        return None
    name = json.loads(file.read_text())["_class_name"]
    kind = getattr(diffusers, name, None)
    if kind is None:
        raise ModelError(f"{file}: diffusers {diffusers.__version__} has no {name}")
    return kind.from_pretrained(file.parent)
