"""The Ray Data engine.

Each trap that the design names is avoided here: a ``from_items`` source (a read task would
starve when actors hold every CPU), one item a row and a row a block, no retries by Ray beyond
fresh actors, errored blocks that cost only their own row. What the main pass lost because its
worker died is tried once more, alone, in a process of its own.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray import cloudpickle
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import GetTimeoutError, RayError, WorkerCrashedError

from curation.engine import Failure, HandOver, Item, Outcome, SecondPool, Task, Worker
from curation.errors import EngineError

DEADLINE_EXIT_CODE = 79
KNOCK_TIMEOUT_S = 10.0
ITEMS_PER_WAVE = 20_000
"""Items given to one dataset execution; bounds the blocks that the driver keeps track of."""

_LOGGERS = ("ray", "ray.data")
_WORKER_ENV = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "GLOG_minloglevel": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class RayEngine:
    """Runs tasks on Ray, on this machine or on a cluster.

    Args:
        num_workers: worker processes; ``0`` takes every CPU of the cluster.
        address: address of a running cluster; ``None`` starts a private one on this machine
            unless the process already runs inside a Ray job.
        cpus_per_worker: CPUs that a worker reserves.
        second: where second tasks run.
        env_vars: environment variables of every worker.

    Raises:
        EngineError: the cluster cannot be reached, or is too small for the plan.
    """

    def __init__(
        self,
        num_workers: int = 0,
        address: str | None = None,
        cpus_per_worker: float = 1.0,
        second: SecondPool = SecondPool(),  # noqa: B008 - frozen
        env_vars: dict[str, str] | None = None,
    ) -> None:
        self._owns_connection = _connect(address, num_workers)
        num_cpus = int(ray.cluster_resources().get("CPU", 0) // cpus_per_worker)
        if num_cpus < 1:
            raise EngineError("the Ray cluster has no free CPU; add a node or free one")
        if num_workers > num_cpus:
            raise EngineError(
                f"--workers {num_workers}: the Ray cluster has {num_cpus} CPUs, and a worker "
                f"takes {cpus_per_worker:g}; ask for at most {num_cpus}"
            )
        self.num_workers = num_workers or num_cpus
        self._cpus_per_worker = cpus_per_worker
        self._env_vars = {**_WORKER_ENV, **(env_vars or {})}
        self._second = second
        self.has_gpu = ray.cluster_resources().get("GPU", 0) >= 1
        context = DataContext.get_current()
        context.max_errored_blocks = -1
        context.actor_task_retry_on_errors = False
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.log_internal_stack_trace_to_stdout = False

    def run(
        self, task: Task, items: Sequence[Item], deadline_s: float, then: Task | None = None
    ) -> Iterator[Outcome]:
        """Yield one outcome for each item, as they come; see ``engine.Engine``."""
        for first in range(0, len(items), ITEMS_PER_WAVE):
            wave = items[first : first + ITEMS_PER_WAVE]
            left = {item.key: item for item in wave}
            for outcome in self._main_pass(task, wave, deadline_s, then):
                left.pop(outcome.key, None)
                yield outcome
            for item in left.values():
                yield self._alone(task, item, deadline_s, then)

    def close(self) -> None:
        """Leave the cluster; a private one ends. A connection made by others stays."""
        if self._owns_connection:
            ray.shutdown()

    def _main_pass(
        self, task: Task, items: Sequence[Item], deadline_s: float, then: Task | None
    ) -> Iterator[Outcome]:
        rows = [{"item": pickle.dumps(item)} for item in items]
        source = ray.data.from_items(rows, override_num_blocks=len(rows))
        with warnings.catch_warnings():
            # Ray 2.60 announces the end of this argument and has no other way yet to say how
            # often an actor may be restarted; without it a poisonous item is retried for ever.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", message=".*ray_remote_args")
            dataset = source.map_batches(
                _pool_worker(cloudpickle.dumps(task), deadline_s),
                batch_size=1,
                num_cpus=self._cpus_per_worker,
                compute=ActorPoolStrategy(size=min(self.num_workers, len(items))),
                runtime_env={"env_vars": self._env_vars},
                ray_remote_args_fn=_actor_options,
            )
            if then is not None:
                dataset = dataset.map_batches(
                    _second_worker(cloudpickle.dumps(then), deadline_s),
                    batch_size=1,
                    compute=ActorPoolStrategy(size=min(self._second.num_workers, len(items))),
                    ray_remote_args_fn=_actor_options,
                    **self._second_options(),
                )
        try:
            for row in dataset.iter_rows():
                yield pickle.loads(row["outcome"])
        except RayError as error:
            # The last worker died and took the executor along; the rest is tried alone.
            if not isinstance(error, WorkerCrashedError) and "died" not in str(error):
                raise EngineError(f"Ray stopped the run: {error}") from error

    def _second_options(self) -> dict[str, Any]:
        """Ray's options for workers of a second task."""
        environment: dict[str, Any] = {"env_vars": self._env_vars}
        if self._second.python is not None:
            environment["py_executable"] = self._second.python
        return {"num_cpus": 0, "num_gpus": int(self.has_gpu), "runtime_env": environment}

    def _alone(self, task: Task, item: Item, deadline_s: float, then: Task | None) -> Outcome:
        # No CPU is asked for: the main pass's actors end when Ray gets around to it, and until then
        # they may hold every CPU; only one item at a time is tried here.
        options = {"num_cpus": 0, "runtime_env": {"env_vars": self._env_vars}}
        outcome = self._attempt_alone(task, item, deadline_s, options)
        if then is None or not isinstance(outcome.result, HandOver):
            return outcome
        rest = Item(item.key, outcome.result.payload)
        return self._attempt_alone(then, rest, deadline_s, self._second_options())

    def _attempt_alone(
        self, task: Task, item: Item, deadline_s: float, options: dict[str, Any]
    ) -> Outcome:
        reference = _work_alone.options(**options).remote(
            cloudpickle.dumps(task), pickle.dumps(item)
        )
        try:
            return pickle.loads(ray.get(reference, timeout=deadline_s + 60))
        except GetTimeoutError:
            ray.cancel(reference, force=True)
            message = f"no result after {deadline_s:g} s, twice"
            return Outcome(item.key, failure=Failure("DeadlineExceeded", message, "", 2))
        except RayError as error:
            message = str(error).splitlines()[0]
            return Outcome(item.key, failure=Failure("WorkerDied", message, "", 2))


def _pool_worker(task: bytes, deadline_s: float) -> type:
    """Make the class of the pool's actors: a task, with a watchdog on every item.

    The task lies in the class itself; as an argument of its constructor it would lie in the
    object store, from which a restarted actor may not get it again.
    """

    class PoolWorker:
        def __init__(self) -> None:
            self._worker = Worker(pickle.loads(task))

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            item: Item = pickle.loads(batch["item"][0])
            with _watchdog(deadline_s):
                outcome = self._worker.attempt(item)
            return {"outcome": [pickle.dumps(outcome)]}

    return PoolWorker


def _second_worker(task: bytes, deadline_s: float) -> type:
    """Make the class of the actors that go on with what the first pool handed over."""

    class SecondPoolWorker:
        def __init__(self) -> None:
            self._worker = Worker(pickle.loads(task))

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            first: Outcome = pickle.loads(batch["outcome"][0])
            with _watchdog(deadline_s):
                outcome = self._worker.go_on(first)
            return {"outcome": [pickle.dumps(outcome)]}

    return SecondPoolWorker


@contextmanager
def _watchdog(deadline_s: float) -> Iterator[None]:
    """End the process if what is done within takes too long."""
    timer = threading.Timer(deadline_s, os._exit, (DEADLINE_EXIT_CODE,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@ray.remote(max_retries=0, max_calls=1)
def _work_alone(task: bytes, item: bytes) -> bytes:
    worker = Worker(pickle.loads(task))
    try:
        return pickle.dumps(worker.attempt(pickle.loads(item), attempts=2))
    finally:
        worker.close()


def _actor_options() -> dict[str, int]:
    """A dead worker is replaced; the item that killed it is not given to the next one."""
    return {"max_restarts": -1, "max_task_retries": 0}


def _connect(address: str | None, num_workers: int) -> bool:
    """Connect unless the process is connected; tell whether it was done here."""
    if ray.is_initialized():
        return False
    # Inside a submitted job Ray names the cluster in this variable.
    address = address or os.environ.get("RAY_ADDRESS")
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        if address:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        else:
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            num_cpus = max(num_workers, os.cpu_count() or 1)
            # "local" starts a cluster of its own even where a stale address file lies around.
            ray.init(
                "local",
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(_unreachable(address, error)) from error
    return True


def _knock(address: str) -> None:
    """Fail where nobody listens; Ray itself would end the process instead of raising."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_TIMEOUT_S).close()


def _unreachable(address: str | None, error: Exception) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    if address is None:
        return f"Ray does not start on this machine: {first}; `--engine inline` does without"
    return f"--address {address}: no Ray cluster answers there: {first}"
