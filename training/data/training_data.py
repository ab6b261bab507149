"""The data of a run: batches without end, the same whatever reads them, and exact resume.

Workers read whole batches of the plan in any order; what comes out is in the order of the plan, and
what has come out is the state. Bad clips are booked here, in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from training.data.books import BadSample, BadSampleError, DataBooks, ReadWork
from training.data.buckets import Bucket, assign, make_buckets, nearest_size
from training.data.clip_samples import ClipSample, read_clip
from training.data.clip_table import ClipTable, open_clips
from training.data.epoch_plan import (
    PlannedBatch,
    epoch_buckets,
    num_steps,
    plan_epoch,
    rank_steps,
)
from training.data.settings import DataSettings
from training.errors import DataError

_STATE_VERSION = 1


@dataclass(frozen=True)
class ReadBatch:
    """A batch as it was read.

    Attributes:
        planned: what was to be read.
        samples: the clips; one that stands in for a bad one is marked as padding.
        bad: the clips that could not be used.
        work: what reading cost.
    """

    planned: PlannedBatch
    samples: tuple[ClipSample, ...]
    bad: tuple[BadSample, ...]
    work: ReadWork


class TrainingData:
    """Batches of clips from dataset manifests, for one rank.

    Iterating gives batches, tuples of `ClipSample` of one shape, epoch after epoch without end.

    Args:
        manifests: paths or URLs of runs, datasets, or their ``dataset.json``.
        settings: how clips are chosen, cut, ordered and batched.
        rank: number of this rank.
        world_size: number of ranks.

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
    ) -> None:
        if not 0 <= rank < world_size:
            raise DataError(f"rank {rank} of {world_size}: ranks count from 0 to one below")
        self.settings = settings
        self.rank, self.world_size = rank, world_size
        self.clips = open_clips(
            manifests,
            where=settings.where,
            min_frames=min(settings.num_frames),
            check=settings.check,
        )
        self.buckets = make_buckets(settings.sizes_px, settings.num_frames)
        size_N = nearest_size(self.clips.width_N, self.clips.height_N, settings.sizes_px)
        self._as_video, self._as_picture = assign(
            self.clips.num_frames_N, size_N, settings.sizes_px, self.buckets
        )
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
            buckets = epoch_buckets(
                self._as_video,
                self._as_picture,
                self.settings.picture_ratio,
                self.settings.seed,
                epoch,
            )
            plan = plan_epoch(buckets, self.settings.batch_size, self.settings.seed, epoch)
            self._plans = {**dict(list(self._plans.items())[-1:]), epoch: plan}
        return self._plans[epoch]

    def __iter__(self) -> Iterator[tuple[ClipSample, ...]]:
        """Give batches from the current place on, epoch after epoch."""
        yield from self._batches(self._planned())

    def rest_of_epoch(self) -> Iterator[tuple[ClipSample, ...]]:
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
        """Go on where another run stood.

        The next batches are, to the last bit, those that it would have given next; the number of
        workers does not matter. With another number of ranks the epoch goes on at the same place
        of the same sequence: every clip is still read once.

        Args:
            state: what `state_dict` returned.

        Raises:
            DataError: the state is of other data, or of settings that order it otherwise.
        """
        if state.get("version") != _STATE_VERSION:
            raise DataError(f"state of the data: version {state.get('version')}; start anew")
        if state["order"] != self._order:
            differs = {
                name: (value, self._order[name])
                for name, value in state["order"].items()
                if self._order.get(name) != value
            }
            raise DataError(
                "the data is not that of the run to be resumed: "
                + "; ".join(f"{name} was {was}, is {now}" for name, (was, now) in differs.items())
                + "; give the same data and settings, or start a new run from its weights"
            )
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self.books = DataBooks.from_state(state["books"])

    @property
    def _order(self) -> dict[str, str]:
        """What the batches depend on, as texts."""
        kept = ("batch_size", "seed", "sizes_px", "num_frames")
        drawn = ("picture_ratio", "flip_ratio", "speech_crops")
        named = {name: str(getattr(self.settings, name)) for name in (*kept, *drawn)}
        return {"clips": f"{len(self.clips)} clips {self.clips.digest}", **named}

    def _planned(self) -> Iterator[PlannedBatch]:
        epoch, position = self._epoch, self._position
        while True:
            yield from rank_steps(self.plan(epoch), position, self.rank, self.world_size)
            epoch, position = epoch + 1, 0

    def _batches(self, planned: Iterator[PlannedBatch]) -> Iterator[tuple[ClipSample, ...]]:
        workers = self.settings.num_workers
        loader = DataLoader(
            _Reader(self.clips, self.buckets, self._as_video, self.settings),
            batch_size=None,
            sampler=planned,
            num_workers=workers,
            prefetch_factor=self.settings.num_prefetched if workers else None,
            generator=torch.Generator(),  # the global one is left alone
            collate_fn=_as_it_is,
        )
        for batch in loader:
            self.books.book(
                len(batch.samples), sum(sample.is_padding for sample in batch.samples), batch.bad
            )
            self.books.work.add(batch.work)
            self.books.check(self.settings.max_bad_ratio)
            self._epoch, self._position = batch.planned.epoch, batch.planned.next_position
            if self._position >= len(self.plan(self._epoch)):
                self._epoch, self._position = self._epoch + 1, 0
            yield batch.samples


class _Reader(Dataset[ReadBatch]):
    """Reads a planned batch; travels to the workers."""

    def __init__(
        self,
        clips: ClipTable,
        buckets: tuple[Bucket, ...],
        bucket_N: Any,
        settings: DataSettings,
    ) -> None:
        self._clips, self._buckets, self._bucket_N = clips, buckets, bucket_N
        self._settings = settings

    def __getitem__(self, planned: PlannedBatch) -> ReadBatch:
        work = ReadWork()
        samples: list[ClipSample | None] = []
        bad: list[BadSample] = []
        for row in planned.rows:
            samples.append(self._read(row, planned, work, bad))
        if None in samples:
            stand_in = self._stand_in(samples, planned, work, bad)
            samples = [stand_in if sample is None else sample for sample in samples]
        found = tuple(sample for sample in samples if sample is not None)
        if planned.is_padding:
            found = tuple(replace(sample, is_padding=True) for sample in found)
        return ReadBatch(planned, found, tuple(bad), work)

    def _read(
        self, row: int, planned: PlannedBatch, work: ReadWork, bad: list[BadSample]
    ) -> ClipSample | None:
        place = self._clips.place(row)
        try:
            bucket = self._buckets[planned.bucket]
            return read_clip(place, bucket, self._settings, planned.epoch, work)
        except BadSampleError as error:
            shard = place.folder.join(place.shard)
            bad.append(BadSample(place.clip_id, shard, error.reason, error.detail))
            return None

    def _stand_in(
        self,
        samples: Sequence[ClipSample | None],
        planned: PlannedBatch,
        work: ReadWork,
        bad: list[BadSample],
    ) -> ClipSample:
        """Find a good clip of the same shape: of the same batch, else the next in the table."""
        for sample in samples:
            if sample is not None:
                return replace(sample, is_padding=True)
        total = len(self._clips)
        tried: list[BadSample] = []
        for row in ((planned.rows[-1] + step) % total for step in range(1, total)):
            if self._fits(row, planned.bucket):
                sample = self._read(row, planned, work, tried)
                if sample is not None:
                    return replace(sample, is_padding=True)
        raise DataError(
            f"no clip of the bucket {self._buckets[planned.bucket]} can be read; the last: "
            f"{bad[-1]}; look with `shards verify`"
        )

    def _fits(self, row: int, bucket: int) -> bool:
        own, wanted = self._buckets[self._bucket_N[row]], self._buckets[bucket]
        same_size = (own.height_px, own.width_px) == (wanted.height_px, wanted.width_px)
        return same_size and own.num_frames >= wanted.num_frames


def _as_it_is(batch: ReadBatch) -> ReadBatch:
    return batch
