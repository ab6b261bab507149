from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.epoch_plan import PlannedBatch, num_steps, plan_epoch, rank_steps

BUCKETS = st.lists(st.integers(0, 3), min_size=1, max_size=40).map(np.array)
SEEDS = st.integers(0, 2**32)


def ones(bucket_N: np.ndarray) -> np.ndarray:
    return np.ones(len(bucket_N))


def rows_of(batches: list[PlannedBatch]) -> Counter[int]:
    return Counter(row for batch in batches if not batch.is_padding for row in batch.rows)


@given(BUCKETS, st.integers(1, 5), SEEDS, st.integers(0, 3), st.integers(1, 7))
def test_every_clip_is_read_exactly_once_by_any_number_of_ranks(
    bucket_N: np.ndarray, batch_size: int, seed: int, epoch: int, world_size: int
) -> None:
    plan = plan_epoch(bucket_N, ones(bucket_N), batch_size, seed, epoch)
    steps = [list(rank_steps(plan, 0, rank, world_size)) for rank in range(world_size)]
    assert {len(own) for own in steps} == {num_steps(len(plan), 0, world_size)}
    assert rows_of([batch for own in steps for batch in own]) == dict.fromkeys(
        range(len(bucket_N)), 1
    )


@given(BUCKETS, st.integers(1, 5), SEEDS)
def test_a_batch_holds_clips_of_one_bucket_and_only_the_last_of_a_bucket_is_smaller(
    bucket_N: np.ndarray, batch_size: int, seed: int
) -> None:
    plan = plan_epoch(bucket_N, ones(bucket_N), batch_size, seed, 0)
    smaller = Counter()
    for batch in plan:
        assert {bucket_N[row] for row in batch.rows} == {batch.bucket}
        assert len(batch.rows) <= batch_size
        smaller[batch.bucket] += len(batch.rows) < batch_size
    assert max(smaller.values()) <= 1


@given(BUCKETS, SEEDS, st.integers(1, 4))
def test_batches_that_go_together_give_the_ranks_of_a_step_one_shape(
    bucket_N: np.ndarray, seed: int, world_size: int
) -> None:
    plan = plan_epoch(bucket_N, ones(bucket_N), 2, seed, 0, batches_together=world_size)
    assert rows_of(list(plan)) == dict.fromkeys(range(len(bucket_N)), 1)
    num_batches = Counter(batch.bucket for batch in plan)
    num_whole = sum(count // world_size for count in num_batches.values())
    for step in range(num_whole):
        own = plan[step * world_size : (step + 1) * world_size]
        assert len({batch.bucket for batch in own}) == 1


@given(BUCKETS, SEEDS, st.integers(1, 4), st.integers(1, 4), st.data())
def test_a_run_that_goes_on_with_other_ranks_still_reads_every_clip_once(
    bucket_N: np.ndarray, seed: int, before: int, after: int, data: st.DataObject
) -> None:
    plan = plan_epoch(bucket_N, ones(bucket_N), 1, seed, 0)
    done = data.draw(st.integers(0, num_steps(len(plan), 0, before)))
    first = [list(rank_steps(plan, 0, rank, before))[:done] for rank in range(before)]
    position = first[0][-1].next_position if done else 0
    rest = [list(rank_steps(plan, position, rank, after)) for rank in range(after)]
    read = rows_of([batch for own in (*first, *rest) for batch in own])
    assert read == dict.fromkeys(range(len(bucket_N)), 1)


@given(BUCKETS, SEEDS, st.integers(2, 5))
def test_one_step_of_many_ranks_is_as_many_steps_of_one(
    bucket_N: np.ndarray, seed: int, world_size: int
) -> None:
    plan = plan_epoch(bucket_N, ones(bucket_N), 2, seed, 0)
    alone = [batch.rows for batch in rank_steps(plan, 0, 0, 1)]
    ranks = [list(rank_steps(plan, 0, rank, world_size)) for rank in range(world_size)]
    in_turn = [batch.rows for step in zip(*ranks, strict=True) for batch in step]
    assert in_turn[: len(alone)] == alone


@given(BUCKETS, SEEDS)
def test_the_order_is_a_function_of_seed_and_epoch(bucket_N: np.ndarray, seed: int) -> None:
    plans = [plan_epoch(bucket_N, ones(bucket_N), 1, seed, 3) for _ in range(2)]
    assert plans[0] == plans[1]


def test_another_epoch_and_another_seed_are_another_order() -> None:
    bucket_N = np.zeros(50, int)
    orders = {
        tuple(batch.rows for batch in plan_epoch(bucket_N, ones(bucket_N), 1, seed, epoch))
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    }
    assert len(orders) == 3


def test_the_last_step_is_filled_up_with_marked_repetitions() -> None:
    plan = plan_epoch(np.zeros(5, int), np.ones(5), 1, 0, 0)
    last = [list(rank_steps(plan, 0, rank, 3))[-1] for rank in range(3)]
    assert [batch.is_padding for batch in last] == [False, False, True]
    assert last[2].rows == plan[0].rows


def test_a_weight_is_how_often_a_clip_is_read_on_average() -> None:
    weight_N = np.array([1.0, 2.0, 0.25, 0.0])
    counts = Counter()
    for epoch in range(400):
        batches = plan_epoch(np.zeros(4, int), weight_N, 2, 0, epoch)
        counts += rows_of(list(batches))
        turns = {
            (row, turn)
            for batch in batches
            for row, turn in zip(batch.rows, batch.turns, strict=True)
        }
        assert {(0, 0), (1, 0), (1, 1)} <= turns <= {(0, 0), (1, 0), (1, 1), (2, 0)}
    assert counts[0] == 400 and counts[1] == 800 and counts[3] == 0
    assert abs(counts[2] - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)
