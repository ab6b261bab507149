"""The data of a run: batches without end, the same whatever reads them, and exact resume.

Workers read whole batches of the plan in any order; what comes out is in the order of the plan, and
what has come out is the state. Bad clips are booked here, in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from training.data.books import DataBooks
from training.data.buckets import Bucket, assign, make_buckets, nearest_size
from training.data.clip_table import ClipTable, open_clips
from training.data.epoch_plan import (
    PlannedBatch,
    epoch_buckets,
    num_steps,
    plan_epoch,
    rank_steps,
)
from training.data.latent_making import find_fingerprint
from training.data.latent_shards import SIZE_COLUMNS
from training.data.sample_reader import BatchReader, CutClips, ReadBatch, Sample, StoredLatents
from training.data.settings import DataSettings
from training.errors import DataError

_STATE_VERSION = 1


class TrainingData:
    """Batches of clips from dataset manifests, for one rank.

    Iterating gives batches, tuples of samples of one shape, epoch after epoch without end:
    `ClipSample` from datasets of clips, `LatentSample` from datasets of latents, whose shapes,
    crops and mirrors were settled when they were made. `encode_clip` takes either.

    Args:
        manifests: paths or URLs of runs, datasets, or their ``dataset.json``.
        settings: how clips are chosen, cut, ordered and batched.
        rank: number of this rank.
        world_size: number of ranks.
        model_digest: names codec and encoders of the run; latents made with others are refused.

    Raises:
        DataError: the data cannot be trained on; nothing has been read then.
    """

    def __init__(
        self,
        manifests: Sequence[str],
        settings: DataSettings,
        *,
        rank: int = 0,
        world_size: int = 1,
        model_digest: str | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise DataError(f"rank {rank} of {world_size}: ranks count from 0 to one below")
        self.settings = settings
        self.rank, self.world_size = rank, world_size
        self.latents = find_fingerprint(manifests, model_digest)
        if self.latents is None:
            self.clips = open_clips(
                manifests,
                sources=settings.sources,
                min_frames=min(settings.num_frames),
                check=settings.check,
            )
            self.buckets, self._as_video, self._as_picture = _cut_buckets(self.clips, settings)
        else:
            self.clips = open_clips(
                manifests,
                sources=settings.sources,
                check=settings.check,
                size_columns=SIZE_COLUMNS,
            )
            self.buckets, self._as_video = _stored_buckets(self.clips)
            self._as_picture = self._as_video
        self.books = DataBooks()
        self._epoch, self._position = 0, 0
        self._plans: dict[int, tuple[PlannedBatch, ...]] = {}
        if len(self.plan(0)) < world_size:
            raise DataError(
                f"{len(self.clips)} clips make {len(self.plan(0))} batches of "
                f"{settings.batch_size}, too few for {world_size} ranks; use fewer ranks, a "
                "smaller batch_size, fewer buckets, or more data"
            )

    @property
    def epoch(self) -> int:
        """Number of the epoch of the next batch."""
        return self._epoch

    @property
    def num_steps_left(self) -> int:
        """Batches that this rank (and every other) has left in the epoch."""
        return num_steps(len(self.plan(self._epoch)), self._position, self.world_size)

    def plan(self, epoch: int) -> tuple[PlannedBatch, ...]:
        """The batches of an epoch in their order, over all ranks."""
        if epoch not in self._plans:
            ratio, seed = self.settings.picture_ratio, self.settings.seed
            bucket_N = epoch_buckets(self._as_video, self._as_picture, ratio, seed, epoch)
            plan = plan_epoch(
                bucket_N,
                self.clips.weight_N,
                self.settings.batch_size,
                seed,
                epoch,
                batches_together=self.settings.batches_together,
            )
            if not plan:
                raise DataError(
                    f"epoch {epoch} reads none of {len(self.clips)} clips: the weights of the "
                    "sources add up to too little; raise them"
                )
            # Reading ahead begins the next epoch while this one is still given out.
            self._plans = {**dict(list(self._plans.items())[-1:]), epoch: plan}
        return self._plans[epoch]

    def __iter__(self) -> Iterator[tuple[Sample, ...]]:
        """Give batches from the current place on, epoch after epoch."""
        yield from self._batches(self._planned())

    def rest_of_epoch(self) -> Iterator[tuple[Sample, ...]]:
        """Give the batches that are left of the current epoch."""
        plan = self.plan(self._epoch)
        yield from self._batches(rank_steps(plan, self._position, self.rank, self.world_size))

    def state_dict(self) -> dict[str, Any]:
        """Say where the data stands: behind the last batch that was given out."""
        return {
            "version": _STATE_VERSION,
            "epoch": self._epoch,
            "position": self._position,
            "order": self._order,
            "books": self.books.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stood; iterate anew afterwards.

        The next batches are, to the last bit, those that it would have given next; the number of
        workers does not matter. With another number of ranks the epoch goes on at the same place
        of the same sequence: every clip is still read once.

        Args:
            state: what `state_dict` returned, on any rank.

        Raises:
            DataError: the state is of other data, or of settings that order it otherwise.
        """
        if state.get("version") != _STATE_VERSION:
            raise DataError(
                f"state of the data has version {state.get('version')}, this talkreel reads "
                f"{_STATE_VERSION}; start a new run from the weights"
            )
        own, differs = self._order, []
        for name, value in state["order"].items():
            if own.get(name) != value:
                differs.append(f"{name} was {value}, is {own.get(name)}")
        if differs:
            raise DataError(
                f"the data is not that of the run to be resumed: {'; '.join(differs)}; give the "
                "same data and settings, or start a new run from its weights"
            )
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self.books = DataBooks.from_state(state["books"])

    @property
    def _order(self) -> dict[str, str]:
        """What the batches depend on, as texts."""
        ordered = (
            "batch_size",
            "batches_together",
            "seed",
            "picture_ratio",
            "sizes_px",
            "num_frames",
        )
        cut = ("flip_ratio", "face_height_ratio", "speech_crops")
        named = {name: str(getattr(self.settings, name)) for name in (*ordered, *cut)}
        return {"clips": f"{len(self.clips)} clips {self.clips.digest}", **named}

    def _planned(self) -> Iterator[PlannedBatch]:
        epoch, position = self._epoch, self._position
        while True:
            yield from rank_steps(self.plan(epoch), position, self.rank, self.world_size)
            epoch, position = epoch + 1, 0

    def _batches(self, planned: Iterator[PlannedBatch]) -> Iterator[tuple[Sample, ...]]:
        workers = self.settings.num_workers
        read = CutClips(self.settings) if self.latents is None else StoredLatents()
        loader = DataLoader(
            BatchReader(self.clips, self.buckets, self._as_video, read),
            batch_size=None,
            sampler=planned,
            num_workers=workers,
            prefetch_factor=self.settings.num_prefetched if workers else None,
            generator=torch.Generator(),  # the global one is left alone
            collate_fn=_as_it_is,
        )
        for batch in loader:
            if batch.failure:
                raise DataError(batch.failure)
            num_padding = sum(sample.is_padding for sample in batch.samples)
            self.books.book(len(batch.samples), num_padding, batch.bad)
            self.books.work.add(batch.work)
            self.books.check(self.settings.max_bad_ratio)
            self._epoch, self._position = batch.planned.epoch, batch.planned.next_position
            if self._position >= len(self.plan(self._epoch)):
                self._epoch, self._position = self._epoch + 1, 0
            yield batch.samples


def _cut_buckets(
    clips: ClipTable, settings: DataSettings
) -> tuple[tuple[Bucket, ...], np.ndarray, np.ndarray]:
    buckets = make_buckets(settings.sizes_px, settings.num_frames)
    size_N = nearest_size(clips.width_N, clips.height_N, settings.sizes_px)
    return buckets, *assign(clips.num_frames_N, size_N, settings.sizes_px, buckets)


def _stored_buckets(clips: ClipTable) -> tuple[tuple[Bucket, ...], np.ndarray]:
    shapes_N3 = np.stack([clips.num_frames_N, clips.height_N, clips.width_N], axis=1)
    shapes, number_N = np.unique(shapes_N3, axis=0, return_inverse=True)
    return tuple(Bucket(*map(int, shape)) for shape in shapes), number_N.reshape(-1)


def _as_it_is(batch: ReadBatch) -> ReadBatch:
    return batch
