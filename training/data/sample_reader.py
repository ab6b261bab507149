"""Reads the batches of a plan; what travels to the workers.

A bad sample is a value here: it goes into the books of the batch, and another clip of the same
shape takes its place, marked as padding, so that every rank has something to do in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from training.data.books import BadSample, BadSampleError, ReadWork
from training.data.buckets import Bucket
from training.data.clip_samples import ClipSample, read_clip
from training.data.clip_table import ClipPlace, ClipTable
from training.data.epoch_plan import PlannedBatch
from training.data.latent_samples import LatentSample, read_latents
from training.data.settings import DataSettings
from training.errors import DataError

Sample = ClipSample | LatentSample


class ReadSample(Protocol):
    """Reads one sample of a shape; ``draw`` is the epoch, and how often it was read in it."""

    def __call__(
        self, place: ClipPlace, bucket: Bucket, draw: tuple[int, int], work: ReadWork
    ) -> Sample:
        """Return the sample, or raise a `BadSampleError`."""
        ...


@dataclass(frozen=True)
class CutClips:
    """Reads clips as curation packed them; a crop of any length up to the clip's own.

    Attributes:
        settings: how they are cut.
    """

    settings: DataSettings

    def __call__(
        self, place: ClipPlace, bucket: Bucket, draw: tuple[int, int], work: ReadWork
    ) -> Sample:
        """Read and cut one clip."""
        return read_clip(place, bucket, self.settings, draw, work)


@dataclass(frozen=True)
class StoredLatents:
    """Reads precomputed clips, which have the shape that they were made with."""

    def __call__(
        self, place: ClipPlace, bucket: Bucket, draw: tuple[int, int], work: ReadWork
    ) -> Sample:
        """Read one precomputed clip."""
        return read_latents(place, work)


@dataclass(frozen=True)
class ReadBatch:
    """A batch as it was read.

    Attributes:
        planned: what was to be read.
        samples: the clips; one that stands in for a bad one is marked as padding.
        bad: the clips that could not be used.
        work: what reading cost.
        failure: why training cannot go on; a value, as an exception that comes out of a worker is
            a page of its traceback.
    """

    planned: PlannedBatch
    samples: tuple[Sample, ...]
    bad: tuple[BadSample, ...]
    work: ReadWork
    failure: str = ""


class BatchReader:
    """Reads planned batches; what a `DataLoader` takes for a map of them.

    Args:
        clips: the clips.
        buckets: the shapes.
        bucket_N: number of the bucket that each clip fills.
        read: reads one sample.
    """

    def __init__(
        self,
        clips: ClipTable,
        buckets: tuple[Bucket, ...],
        bucket_N: np.ndarray,
        read: ReadSample,
    ) -> None:
        self._clips, self._buckets, self._bucket_N = clips, buckets, bucket_N
        self._read_sample = read

    def __getitem__(self, planned: PlannedBatch) -> ReadBatch:
        try:
            return self._batch(planned)
        except DataError as error:
            return ReadBatch(planned, (), (), ReadWork(), str(error))

    def _batch(self, planned: PlannedBatch) -> ReadBatch:
        work = ReadWork()
        bad: list[BadSample] = []
        samples = [
            self._read(row, (planned.epoch, turn), planned.bucket, work, bad)
            for row, turn in zip(planned.rows, planned.turns, strict=True)
        ]
        found = [sample for sample in samples if sample is not None]
        if bad:
            stand_in = found[0] if found else self._other(planned, work, bad)
            stand_in = replace(stand_in, is_padding=True)
            found = [stand_in if sample is None else sample for sample in samples]
        if planned.is_padding:
            found = [replace(sample, is_padding=True) for sample in found]
        return ReadBatch(planned, tuple(found), tuple(bad), work)

    def _read(
        self, row: int, draw: tuple[int, int], bucket: int, work: ReadWork, bad: list[BadSample]
    ) -> Sample | None:
        place = self._clips.place(row)
        try:
            return self._read_sample(place, self._buckets[bucket], draw, work)
        except BadSampleError as error:
            shard = place.folder.join(place.shard)
            bad.append(BadSample(place.clip_id, shard, error.reason, error.detail))
            return None

    def _other(self, planned: PlannedBatch, work: ReadWork, bad: Sequence[BadSample]) -> Sample:
        """Find a clip of the same bucket, the next in the table that can be read."""
        same = np.flatnonzero(self._bucket_N == self._bucket_N[planned.rows[0]])
        after = np.searchsorted(same, planned.rows[-1], side="right")
        tried: list[BadSample] = []  # booked when their own turn comes
        for row in np.roll(same, -after):
            sample = self._read(int(row), (planned.epoch, 0), planned.bucket, work, tried)
            if sample is not None:
                return sample
        raise DataError(
            f"no clip of the bucket {self._buckets[planned.bucket]} can be read; the first: "
            f"{bad[0]}; look with `shards verify`"
        )
