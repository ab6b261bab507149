"""Engines: how a task is applied to many items, in this process or on a Ray cluster.

An engine knows nothing of video. It gets a task (a picklable description that opens into a
callable) and items, and yields one outcome an item, in any order: a result, or the failure that
ended it. This is the one place where ``except Exception`` stands: the worker boundary.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol


@dataclass(frozen=True)
class Item:
    """One unit of work.

    Attributes:
        key: name, unique within one call.
        payload: picklable argument of the task.
    """

    key: str
    payload: Any


@dataclass(frozen=True)
class Failure:
    """Why an item gave no result.

    Attributes:
        cause: class of the exception, or ``WorkerDied`` or ``DeadlineExceeded``.
        message: its message.
        traceback: its traceback, empty if the worker died.
        attempts: how often the item was tried.
    """

    cause: str
    message: str
    traceback: str
    attempts: int


@dataclass(frozen=True)
class Outcome:
    """What became of an item: exactly one of result and failure is set."""

    key: str
    result: Any = None
    failure: Failure | None = None
    wall_s: float = 0.0


@dataclass(frozen=True)
class HandOver:
    """Result of a task that leaves the rest of an item to a second task.

    Attributes:
        payload: picklable argument of the second task.
    """

    payload: Any


@dataclass(frozen=True)
class SecondPool:
    """Where a second task runs.

    Attributes:
        python: interpreter of its workers, on every machine of the cluster; it has the same minor
            version and the same Ray as this one, which ``None`` names.
        num_workers: worker processes; each takes a GPU where the cluster has one, and no CPU, as
            the first pool has them all.
    """

    python: str | None = None
    num_workers: int = 1


class OpenTask(Protocol):
    """A task in a worker: what is heavy is loaded."""

    def __call__(self, payload: Any, /) -> Any:
        """Work on one item and return a small picklable result."""

    def close(self) -> None:
        """Free what was loaded."""


class Task(Protocol):
    """A picklable description of work."""

    def open(self) -> OpenTask:
        """Load what is heavy; called once in each worker."""


class Engine(Protocol):
    """Applies a task to items.

    Attributes:
        num_workers: worker processes.
        has_gpu: workers of a second task get a GPU.
    """

    num_workers: int
    has_gpu: bool

    def run(
        self, task: Task, items: Sequence[Item], deadline_s: float, then: Task | None = None
    ) -> Iterator[Outcome]:
        """Yield one outcome for each item, as they come.

        Args:
            task: what is done to every item.
            items: the items.
            deadline_s: time for one item in one task.
            then: goes on with the items whose result is a :class:`HandOver`.

        Returns:
            Outcomes, none of them with a :class:`HandOver`.
        """

    def close(self) -> None:
        """Leave the cluster."""


class Worker:
    """A task in one worker, opened with its first item."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._open_task: OpenTask | None = None

    def attempt(self, item: Item, attempts: int = 1) -> Outcome:
        """Work on one item and keep whatever goes wrong as a value: the worker boundary.

        Args:
            item: the item.
            attempts: number of this attempt, from 1.

        Returns:
            The outcome.
        """
        began = time.perf_counter()
        try:
            if self._open_task is None:
                self._open_task = self._task.open()
            result = self._open_task(item.payload)
        except Exception as error:  # noqa: BLE001 - the one worker boundary
            failure = Failure(type(error).__name__, str(error), traceback.format_exc(), attempts)
            return Outcome(item.key, failure=failure, wall_s=time.perf_counter() - began)
        return Outcome(item.key, result=result, wall_s=time.perf_counter() - began)

    def go_on(self, outcome: Outcome, attempts: int = 1) -> Outcome:
        """Go on with what a first task handed over; any other outcome stays as it is.

        Args:
            outcome: outcome of the first task.
            attempts: number of this attempt, from 1.

        Returns:
            The outcome of both.
        """
        if not isinstance(outcome.result, HandOver):
            return outcome
        second = self.attempt(Item(outcome.key, outcome.result.payload), attempts)
        return replace(second, wall_s=second.wall_s + outcome.wall_s)

    def close(self) -> None:
        """Free what the task loaded."""
        if self._open_task is not None:
            self._open_task.close()


class InlineEngine:
    """Runs everything in this process, one item after the other; for tests and debugging.

    An item that kills the process kills the run; a run can be resumed with the Ray engine.
    """

    num_workers = 1
    has_gpu = False

    def run(
        self, task: Task, items: Sequence[Item], deadline_s: float, then: Task | None = None
    ) -> Iterator[Outcome]:
        """Yield one outcome for each item, in order; the deadline is not watched."""
        worker = Worker(task)
        second = None if then is None else Worker(then)
        try:
            for item in items:
                outcome = worker.attempt(item)
                yield outcome if second is None else second.go_on(outcome)
        finally:
            worker.close()
            if second is not None:
                second.close()

    def close(self) -> None:
        """Nothing to leave."""
