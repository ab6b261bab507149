"""A precomputed clip: its tensors for every task it was encoded for, as they lie in a latent shard.

Not here: which clips are encoded and how shards are written (`precompute.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from training.data.books import BadReason, BadSampleError, ReadWork
from training.data.clip_table import ClipPlace
from training.data.encoded import EncodedClip
from training.data.sample_members import member, read_members
from training.errors import DataError
from training.model.interfaces import Task

TENSORS_EXT = "latents.safetensors"

_SHARED = {
    "latent": "latent_CKhw",
    "text": "text_LD",
    "image": "image_LD",
    "audio": "audio_AKVSD",
    "audio_region": "audio_region_AKhw",
    "face": "face_mask_Khw",
    "lips": "lip_mask_Khw",
}
"""Name in the shard to field of `EncodedClip`; those that are ``None`` are left out."""


@dataclass(frozen=True)
class LatentSample:
    """One precomputed clip.

    Attributes:
        clip_id: id of the clip.
        tensors: by name: those of `EncodedClip` once, ``condition.TASK`` and ``keep_mask.TASK``
            for each task.
        taken: for each task that was asked for, the one the clip could take.
        fps: frames a second.
        is_padding: a repetition that only keeps ranks in step or stands in for a bad clip.
    """

    clip_id: str
    tensors: Mapping[str, torch.Tensor]
    taken: Mapping[Task, Task]
    fps: float
    is_padding: bool = False

    def encoded(self, task: Task, device: torch.device | str = "cpu") -> EncodedClip:
        """Put together what was encoded for one task.

        Args:
            task: what is given of the clip.
            device: where the tensors go.

        Returns:
            The encoded clip, in float32.

        Raises:
            DataError: the clip was not encoded for this task.
        """
        if task not in self.taken:
            raise DataError(
                f"clip {self.clip_id} was not precomputed for task {task}, only for "
                f"{', '.join(self.taken)}; precompute with this task, or train without it"
            )
        taken = self.taken[task]
        tensors = {name: tensor.to(device, torch.float32) for name, tensor in self.tensors.items()}
        shared = {field: tensors.get(name) for name, field in _SHARED.items()}
        if taken is Task.TEXT:
            shared["image_LD"] = torch.zeros_like(tensors["image"])
        return EncodedClip(
            clip_id=self.clip_id,
            task=taken,
            condition_CKhw=tensors[f"condition.{taken}"],
            keep_mask_CKhw=tensors[f"keep_mask.{taken}"],
            fps=self.fps,
            is_padding=self.is_padding,
            **shared,  # type: ignore[arg-type]
        )


def latent_members(clips: Mapping[Task, EncodedClip], dtype: torch.dtype) -> dict[str, bytes]:
    """Make the members of a precomputed sample.

    Args:
        clips: the clip as encoded for each task that was asked for.
        dtype: of what is stored, but for masks, which are bytes.

    Returns:
        Members by extension.
    """
    first = next(iter(clips.values()))
    # Encoded for text alone, a clip has no image states; any other task has them.
    with_image = next((clip for clip in clips.values() if clip.task is not Task.TEXT), first)
    shared = {name: getattr(first, field) for name, field in _SHARED.items()}
    tensors = {
        name: tensor.to("cpu", dtype).contiguous()
        for name, tensor in (shared | {"image": with_image.image_LD}).items()
        if tensor is not None
    }
    for clip in clips.values():
        tensors[f"condition.{clip.task}"] = clip.condition_CKhw.to("cpu", dtype).contiguous()
        keep_mask = clip.keep_mask_CKhw.to("cpu", torch.uint8)
        tensors[f"keep_mask.{clip.task}"] = keep_mask.contiguous()
    said = {
        "clip_id": first.clip_id,
        "fps": first.fps,
        "taken": {str(task): str(clip.task) for task, clip in clips.items()},
    }
    return {
        TENSORS_EXT: save(dict(sorted(tensors.items()))),
        "json": json.dumps(said, sort_keys=True).encode(),
    }


def read_latents(place: ClipPlace, work: ReadWork) -> LatentSample:
    """Read one precomputed clip.

    Args:
        place: where its sample lies.
        work: what reading cost is added to it.

    Returns:
        The sample.

    Raises:
        BadSampleError: it cannot be used.
    """
    members = read_members(place, work)
    try:
        said: dict[str, Any] = json.loads(member(members, "json"))
        taken = {Task(wanted): Task(task) for wanted, task in said["taken"].items()}
        tensors = load(member(members, TENSORS_EXT))
        missing = _missing(tensors, list(taken.values()))
        if missing:
            raise BadSampleError(BadReason.LATENTS_UNREADABLE, f"no tensor {', '.join(missing)}")
        return LatentSample(said["clip_id"], tensors, taken, float(said["fps"]))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadSampleError(BadReason.LATENTS_UNREADABLE, str(error)) from error


def _missing(tensors: Mapping[str, torch.Tensor], tasks: Sequence[Task]) -> list[str]:
    of_tasks = [f"{kind}.{task}" for task in tasks for kind in ("condition", "keep_mask")]
    return [name for name in ("latent", "text", "image", *of_tasks) if name not in tensors]
