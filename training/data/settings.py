"""Settings of the data: sources, shapes, crops, flips, order.

Not here: how clips become latents (`encode.EncodeSettings`).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as Setting

from training.data.buckets import SIZE_STEP_PX
from training.objective.curriculum import Source


class LoaderSettings(BaseModel):
    """How clips are read, alike in every phase of a run.

    Attributes:
        flip_ratio: share of the clips that are mirrored, drawn anew each epoch.
        speech_crops: place the crop where words are spoken, if the transcript tells.
        check: what is asked of every shard before the start: that its size is right, or its
            SHA-256 too, which reads everything.
        max_bad_ratio: share of the clips read that may turn out bad before training stops.
        num_workers: loader processes of a rank; 0 reads in the process itself.
        num_prefetched: batches that each of them reads ahead.
        batches_together: batches of one shape that follow each other. With the number of ranks
            times the batches that each accumulates, a step has one shape, and no rank waits for
            one with longer clips. It is part of the order, so a resumed run keeps it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_ratio: float = Setting(default=0.5, ge=0, le=1)
    speech_crops: bool = True
    check: Literal["size", "sha256"] = "size"
    max_bad_ratio: float = Setting(default=0.02, ge=0, le=1)
    num_workers: int = Setting(default=2, ge=0)
    num_prefetched: int = Setting(default=2, ge=1)
    batches_together: int = Setting(default=1, ge=1)


class DataSettings(LoaderSettings):
    """How samples are chosen, cut, ordered and batched, beside how they are read.

    Attributes:
        sizes_px: width and height of every bucket; a clip goes to the one nearest in aspect.
        num_frames: lengths of the buckets, each 4k + 1; a clip goes to the longest it fills.
        batch_size: clips in a batch of one rank.
        seed: of order, crops and flips.
        sources: which clips of which dataset are read, by gates on what curation measured, and how
            often: a clip of weight 1 is read once an epoch, one of 2.5 twice and, by
            a draw, in half of the epochs once more.
        picture_ratio: share of the clips that are shown as a single frame, drawn anew each epoch.
        face_height_ratio: share of the height that a face is brought to by scaling up; 0 keeps the
            framing of the clips.
    """

    sizes_px: tuple[tuple[int, int], ...] = ((832, 480), (480, 832), (624, 624))
    num_frames: tuple[int, ...] = (81,)
    batch_size: int = Setting(default=1, ge=1)
    seed: int = Setting(default=0, ge=0)
    sources: tuple[Source, ...] = (Source(),)
    picture_ratio: float = Setting(default=0.0, ge=0, le=1)
    face_height_ratio: float = Setting(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _shapes(self) -> Self:
        if not self.sizes_px or not self.num_frames:
            raise ValueError("sizes_px and num_frames: give one of each at least")
        for width, height in self.sizes_px:
            for side in (width, height):
                if side < SIZE_STEP_PX or side % SIZE_STEP_PX:
                    near = max(SIZE_STEP_PX, round(side / SIZE_STEP_PX) * SIZE_STEP_PX)
                    raise ValueError(
                        f"sizes_px {width}x{height}: {side} is no multiple of {SIZE_STEP_PX}; "
                        f"the nearest is {near}"
                    )
        for length in self.num_frames:
            if length < 1 or length % 4 != 1:
                near = max(1, (length - 1) // 4 * 4 + 1)
                raise ValueError(f"num_frames {length}: has to be 4k + 1; the nearest is {near}")
        return self
