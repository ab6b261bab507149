"""Engines: one outcome for each item, whatever an item does to its worker."""

import sys

import pytest

from curation.engine import InlineEngine, Item, SecondPool
from tests.curation.poison import Poison, Sort

ITEMS = [Item(str(n), n) for n in range(6)]


def outcomes(engine, items, deadline_s=60.0):
    found = list(engine.run(Poison(), items, deadline_s))
    assert len(found) == len(items)
    return {outcome.key: outcome for outcome in found}


def test_inline_gives_results_and_keeps_exceptions_as_values():
    found = outcomes(InlineEngine(), [*ITEMS, Item("bad", "raise")])
    assert [found[str(n)].result for n in range(6)] == [n * n for n in range(6)]
    failure = found["bad"].failure
    assert failure is not None
    assert (failure.cause, failure.message) == ("ValueError", "bad row")
    assert "poison.py" in failure.traceback


def test_no_items_open_nothing():
    class Unopenable:
        def open(self):
            raise AssertionError("opened")

    assert list(InlineEngine().run(Unopenable(), [], 1.0)) == []


@pytest.mark.timeout(400)
def test_ray_loses_only_the_rows_that_kill_their_worker(local_ray):
    from ray import cloudpickle

    from curation.engine_ray import RayEngine

    cloudpickle.register_pickle_by_value(sys.modules["tests.curation.poison"])
    bad = ["raise", "segfault", "hang"]
    engine = RayEngine(num_workers=2)
    items = [*ITEMS[:2], *(Item(name, name) for name in bad), *ITEMS[2:4]]
    found = outcomes(engine, items, deadline_s=3.0)
    engine.close()
    assert [found[str(n)].result for n in range(4)] == [n * n for n in range(4)]
    causes = {name: found[name].failure.cause for name in bad}
    assert causes["raise"] == "ValueError"
    assert causes["segfault"] == "WorkerDied"
    assert causes["hang"] in ("DeadlineExceeded", "WorkerDied")


def chained(engine, items, deadline_s=60.0):
    """Numbers are squared by the first task if they are odd, else by the second."""
    found = list(engine.run(Sort(), items, deadline_s, Poison()))
    assert sorted(outcome.key for outcome in found) == sorted(item.key for item in items)
    return {outcome.key: outcome for outcome in found}


def test_a_second_task_goes_on_with_what_the_first_hands_over():
    found = chained(InlineEngine(), [*ITEMS, Item("bad", "raise")])
    assert [found[str(n)].result for n in range(6)] == [0, "odd", 4, "odd", 16, "odd"]
    assert (found["bad"].failure.cause, found["bad"].failure.attempts) == ("ValueError", 1)


@pytest.mark.timeout(400)
def test_a_second_pool_loses_only_the_rows_that_kill_its_workers(local_ray):
    from ray import cloudpickle

    from curation.engine_ray import RayEngine

    cloudpickle.register_pickle_by_value(sys.modules["tests.curation.poison"])
    engine = RayEngine(num_workers=2, second=SecondPool(sys.executable))
    bad = ["raise", "segfault"]
    found = chained(engine, [*ITEMS[:3], *(Item(name, name) for name in bad), *ITEMS[3:5]])
    engine.close()
    assert [found[str(n)].result for n in range(5)] == [0, "odd", 4, "odd", 16]
    assert found["raise"].failure.cause == "ValueError"
    assert found["segfault"].failure.cause == "WorkerDied"
