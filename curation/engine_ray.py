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
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import ray
import ray.data
from ray import cloudpickle
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import GetTimeoutError, RayError, WorkerCrashedError

from curation.engine import Failure, Item, Outcome, Task, Worker
from curation.errors import EngineError

DEADLINE_EXIT_CODE = 79
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

    Raises:
        EngineError: the cluster cannot be reached, or is too small for the plan.
    """

    def __init__(
        self, num_workers: int = 0, address: str | None = None, cpus_per_worker: float = 1.0
    ) -> None:
        _connect(address, num_workers)
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
        context = DataContext.get_current()
        context.max_errored_blocks = -1
        context.actor_task_retry_on_errors = False
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.log_internal_stack_trace_to_stdout = False

    def run(self, task: Task, items: Sequence[Item], deadline_s: float) -> Iterator[Outcome]:
        """Yield one outcome for each item, as they come; see ``engine.Engine``."""
        for first in range(0, len(items), ITEMS_PER_WAVE):
            wave = items[first : first + ITEMS_PER_WAVE]
            left = {item.key: item for item in wave}
            for outcome in self._main_pass(task, wave, deadline_s):
                left.pop(outcome.key, None)
                yield outcome
            for item in left.values():
                yield self._alone(task, item, deadline_s)

    def close(self) -> None:
        """Leave the cluster; a private one ends."""
        ray.shutdown()

    def _main_pass(self, task: Task, items: Sequence[Item], deadline_s: float) -> Iterator[Outcome]:
        rows = [{"item": pickle.dumps(item)} for item in items]
        source = ray.data.from_items(rows, override_num_blocks=len(rows))
        with warnings.catch_warnings():
            # Ray 2.60 announces the end of this argument and has no other way yet to say how
            # often an actor may be restarted; without it a poisonous item is retried for ever.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", message=".*ray_remote_args")
            dataset = source.map_batches(
                _PoolWorker,
                fn_constructor_args=(cloudpickle.dumps(task), deadline_s),
                batch_size=1,
                num_cpus=self._cpus_per_worker,
                compute=ActorPoolStrategy(size=min(self.num_workers, len(items))),
                runtime_env={"env_vars": _WORKER_ENV},
                ray_remote_args_fn=_actor_options,
            )
        try:
            for row in dataset.iter_rows():
                yield pickle.loads(row["outcome"])
        except RayError as error:
            # The last worker died and took the executor along; the rest is tried alone.
            if not isinstance(error, WorkerCrashedError) and "died" not in str(error):
                raise EngineError(f"Ray stopped the run: {error}") from error

    def _alone(self, task: Task, item: Item, deadline_s: float) -> Outcome:
        reference = _work_alone.options(num_cpus=self._cpus_per_worker).remote(
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


class _PoolWorker:
    """A task in an actor of the pool, with a watchdog on every item."""

    def __init__(self, task: bytes, deadline_s: float) -> None:
        self._worker = Worker(pickle.loads(task))
        self._deadline_s = deadline_s

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        item: Item = pickle.loads(batch["item"][0])
        watchdog = threading.Timer(self._deadline_s, os._exit, (DEADLINE_EXIT_CODE,))
        watchdog.daemon = True
        watchdog.start()
        try:
            outcome = self._worker.attempt(item)
        finally:
            watchdog.cancel()
        return {"outcome": [pickle.dumps(outcome)]}


@ray.remote(max_retries=0, max_calls=1, runtime_env={"env_vars": _WORKER_ENV})
def _work_alone(task: bytes, item: bytes) -> bytes:
    worker = Worker(pickle.loads(task))
    try:
        return pickle.dumps(worker.attempt(pickle.loads(item), attempts=2))
    finally:
        worker.close()


def _actor_options() -> dict[str, int]:
    """A dead worker is replaced; the item that killed it is not given to the next one."""
    return {"max_restarts": -1, "max_task_retries": 0}


def _connect(address: str | None, num_workers: int) -> None:
    if ray.is_initialized():
        return
    # Inside a submitted job Ray names the cluster in this variable.
    address = address or os.environ.get("RAY_ADDRESS")
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        if address:
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
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(f"--address {address}: no Ray cluster answers there: {error}") from error
