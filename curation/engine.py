"""Engines: how a task is applied to many items, in this process or on a Ray cluster.

An engine knows nothing of video. It gets a task (a picklable description that opens into a
callable) and items, and yields one outcome an item, in any order: a result, or the failure that
ended it. This is the one place where ``except Exception`` stands: the worker boundary.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    """Applies a task to items."""

    num_workers: int

    def run(self, task: Task, items: Sequence[Item], deadline_s: float) -> Iterator[Outcome]:
        """Yield one outcome for each item, as they come."""

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

    def close(self) -> None:
        """Free what the task loaded."""
        if self._open_task is not None:
            self._open_task.close()


class InlineEngine:
    """Runs everything in this process, one item after the other; for tests and debugging.

    An item that kills the process kills the run; a run can be resumed with the Ray engine.
    """

    num_workers = 1

    def run(self, task: Task, items: Sequence[Item], deadline_s: float) -> Iterator[Outcome]:
        """Yield one outcome for each item, in order; the deadline is not watched."""
        worker = Worker(task)
        try:
            for item in items:
                yield worker.attempt(item)
        finally:
            worker.close()

    def close(self) -> None:
        """Nothing to leave."""
