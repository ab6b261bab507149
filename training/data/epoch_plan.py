"""The order of an epoch, and who reads what: pure functions of seed, epoch and the clips' buckets.

An epoch is one sequence of batches, the same on every rank. Step ``i`` of ``R`` ranks from
``position`` on takes the batches ``position + i R + rank``, so that the sequence does not depend on
R: two ranks see in one step what one rank sees in two, and a run that goes on with another number
of ranks still reads every clip once. A clip of weight 1 is in
exactly one batch. Where the last step has
fewer batches than ranks, the ranks without one repeat batches from the front, marked as padding, so
that all of them take part in every step.

Not here: reading anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np


@dataclass(frozen=True)
class PlannedBatch:
    """Which clips make a batch.

    Attributes:
        epoch: number of the epoch, from 0.
        position: its place in the sequence of the epoch.
        next_position: what of the sequence is used up once all ranks have read this step.
        bucket: number of its bucket.
        rows: numbers of its clips.
        turns: for each how often the epoch read it before; 0 but for clips of a weight above 1.
        is_padding: a repetition that only keeps the ranks in step.
    """

    epoch: int
    position: int
    next_position: int
    bucket: int
    rows: tuple[int, ...]
    turns: tuple[int, ...]
    is_padding: bool = False


def epoch_buckets(
    as_video_N: np.ndarray, as_picture_N: np.ndarray, picture_ratio: float, seed: int, epoch: int
) -> np.ndarray:
    """Draw which clips are shown as pictures in this epoch.

    Args:
        as_video_N: bucket of each clip as a video.
        as_picture_N: bucket of each clip as a picture.
        picture_ratio: share of pictures.
        seed: of the run.
        epoch: number of the epoch.

    Returns:
        (N,) bucket of each clip in this epoch.
    """
    if picture_ratio == 0:
        return as_video_N
    is_picture = _generator(seed, epoch, 0).random(len(as_video_N)) < picture_ratio
    return np.where(is_picture, as_picture_N, as_video_N)


def plan_epoch(
    bucket_N: np.ndarray,
    weight_N: np.ndarray,
    batch_size: int,
    seed: int,
    epoch: int,
    *,
    batches_together: int = 1,
) -> tuple[PlannedBatch, ...]:
    """Put every clip, as often as its weight says, into exactly one batch of its bucket.

    The last batch of a bucket may be smaller.

    Args:
        bucket_N: bucket of each clip (N,).
        weight_N: how often each is read; a fraction is a probability of once more.
        batch_size: clips in a batch.
        seed: of the run.
        epoch: number of the epoch.
        batches_together: batches of one bucket that follow each other; those that a bucket has
            left over come at the end.

    Returns:
        The batches in their order.
    """
    generator = _generator(seed, epoch, 1)
    times_N = np.floor(weight_N + generator.random(len(weight_N))).astype(np.int64)
    row_M = np.repeat(np.arange(len(bucket_N)), times_N)
    turn_M = np.arange(len(row_M)) - np.repeat(np.cumsum(times_N) - times_N, times_N)
    order = generator.permutation(len(row_M))
    runs: list[list[tuple[int, np.ndarray]]] = []
    for bucket in np.unique(bucket_N[row_M]):
        own = order[bucket_N[row_M[order]] == bucket]
        parts = np.split(own, range(batch_size, len(own), batch_size))
        batches = [(int(bucket), part) for part in parts]
        runs += [
            batches[first : first + batches_together]
            for first in range(0, len(batches), batches_together)
        ]
    mixed = [runs[number] for number in generator.permutation(len(runs))]
    whole_first = sorted(mixed, key=lambda run: len(run) < batches_together)
    return tuple(
        PlannedBatch(
            epoch,
            position,
            position + 1,
            bucket,
            tuple(row_M[part].tolist()),
            tuple(turn_M[part].tolist()),
        )
        for position, (bucket, part) in enumerate(chain.from_iterable(whole_first))
    )


def rank_steps(
    batches: tuple[PlannedBatch, ...], position: int, rank: int, world_size: int
) -> Iterator[PlannedBatch]:
    """What one rank reads of an epoch from a position on; every rank gets equally many.

    Args:
        batches: the epoch, as `plan_epoch` gives it.
        position: batches of the epoch that are used up.
        rank: number of the rank.
        world_size: number of ranks.

    Yields:
        One batch a step.
    """
    total = len(batches)
    for first in range(position, total, world_size):
        used_up = min(first + world_size, total)
        own = first + rank
        batch = batches[own % total]
        yield replace(batch, position=own, next_position=used_up, is_padding=own >= total)


def num_steps(num_batches: int, position: int, world_size: int) -> int:
    """Steps that are left of an epoch.

    Args:
        num_batches: batches of the epoch.
        position: batches that are used up.
        world_size: number of ranks.

    Returns:
        The number, the same for every rank.
    """
    return -(-(num_batches - position) // world_size)


def _generator(seed: int, epoch: int, use: int) -> np.random.Generator:
    # Philox keeps its stream over NumPy's versions; the stream of default_rng may change.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, use])))
