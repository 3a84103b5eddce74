"""The engine on a ``distributed.Client``: worker processes of this machine, or a cluster that runs already."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import logging
import platform
import threading
import time
from collections.abc import Iterator
from typing import Any

import dask
from dask.delayed import Delayed
from distributed import CancelledError, Client, KilledWorker, LocalCluster
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

import radps
from radps.context.model import Resources
from radps.errors import ClusterError
from radps.execution.engine import MEMORY_SHARE, TaskEvent, TaskListener
from radps.execution.events import TOPIC, TaskReporter

logger = logging.getLogger(__name__)

ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "DUCC0_NUM_THREADS")
}
"""Numeric libraries: as many threads compute as there are slots, not their square."""

KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}
"""glibc: a worker keeps up to 128 MiB of what it freed. Without this every image of a task is given back to the system
and fetched again, page by page: a third of the CPU time of cube imaging. 32 MiB is the most that glibc allows."""

WORKER_ENVIRONMENT = {**ONE_THREAD, **KEEP_MEMORY}
"""What worker processes of this machine are started with."""

_POLL_S = 1.0
_PATIENCE_WITHOUT_WORKERS_S = 60.0
_PATIENCE_FOR_EVENTS_S = 2.0


class OnClient:
    """Computes on the workers of a client.

    Parameters
    ----------
    client : distributed.Client
        Connected; it is not closed here.
    description : str
        Where it computes, in words.
    """

    def __init__(self, client: Client, description: str) -> None:
        self._client = client
        self._description = description
        self._listeners: dict[int, _Listener] = {}
        self._numbers = itertools.count()
        client.register_plugin(TaskReporter())
        client.subscribe_topic(TOPIC, self._dispatch)

    @property
    def description(self) -> str:
        """Where it computes, in words."""
        return self._description

    @property
    def dashboard_link(self) -> str:
        """Address of dask's dashboard."""
        return str(self._client.dashboard_link)

    def resources(self) -> Resources:
        """Return the threads of all workers, and the memory for one task on the smallest of them.

        Raises
        ------
        ClusterError
            There is no worker, and none comes for a minute.
        """
        # A worker that was lost is being replaced.
        with contextlib.suppress(TimeoutError):
            self._client.wait_for_workers(1, timeout=_PATIENCE_WITHOUT_WORKERS_S)
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            raise ClusterError(f"{self._description} has no workers; start some")
        # A worker without a limit has the memory of its machine, which the scheduler does not know.
        memory = min((worker["memory_limit"] or 4 * 2**30) * MEMORY_SHARE / worker["nthreads"] for worker in workers)
        return Resources(slots=sum(worker["nthreads"] for worker in workers), memory_bytes=int(memory))

    def compute(self, graph: Delayed, on_task: TaskListener | None = None) -> Any:
        """Return the result of a graph; see :class:`~radps.execution.engine.Engine`."""
        listener = _Listener({str(key) for key in dict(graph.__dask_graph__())}, on_task)
        number = next(self._numbers)
        self._listeners[number] = listener
        try:
            future = self._client.compute(graph)
            try:
                result = self._wait(future)
            except BaseException:
                # What is on its way says what happened; that a lost scheduler cannot cancel says nothing more.
                with contextlib.suppress(Exception):
                    self._client.cancel([future], force=True)
                raise
            listener.all_seen.wait(_PATIENCE_FOR_EVENTS_S)
            return result
        except KilledWorker as error:
            raise ClusterError(
                f"task {error.task!r} took its worker with it {error.allowed_failures + 1} times, the last one at "
                f"{error.last_worker.address}: most likely it needs more memory than the worker has. Use fewer workers "
                "with more memory each (--workers, cluster.memory_limit), or a smaller problem"
            ) from error
        except (CancelledError, FutureCancelledError, CommClosedError) as error:
            raise ClusterError(
                f"lost the scheduler of {self._description} ({_first_line(error)}); start the cluster again and run "
                "again: finished steps are skipped"
            ) from error
        finally:
            del self._listeners[number]

    def _wait(self, future: Any) -> Any:
        """Wait for a result, but not for ever on a cluster without workers."""
        last_seen = time.monotonic()
        while True:
            try:
                return future.result(timeout=_POLL_S)
            except (TimeoutError, concurrent.futures.TimeoutError):
                if future.done():
                    # The task itself raised a TimeoutError.
                    raise
            if self._client.scheduler_info(n_workers=-1)["workers"]:
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > _PATIENCE_WITHOUT_WORKERS_S:
                raise ClusterError(
                    f"{self._description} has had no worker for {_PATIENCE_WITHOUT_WORKERS_S:.0f} s; start workers and "
                    "run again: finished steps are skipped"
                )

    def _dispatch(self, event: tuple[float, dict[str, Any]]) -> None:
        """Hand an event to the graph that the task belongs to. Runs in the thread of the client's event loop."""
        task = TaskEvent(**event[1])
        for listener in list(self._listeners.values()):
            listener.take(task)


class _Listener:
    """Collects the events of one graph."""

    def __init__(self, keys: set[str], on_task: TaskListener | None) -> None:
        self._waiting = keys
        self._keys = frozenset(keys)
        self._on_task = on_task
        self.all_seen = threading.Event()

    def take(self, task: TaskEvent) -> None:
        """Pass on an event if the task is one of the graph."""
        if task.key not in self._keys:
            return
        if self._on_task is not None:
            self._on_task(task)
        if not task.failed:
            self._waiting.discard(task.key)
        if not self._waiting:
            self.all_seen.set()


@contextlib.contextmanager
def open_local(workers: int, memory_bytes: int) -> Iterator[OnClient]:
    """Start worker processes on this machine, reachable from this machine only.

    Parameters
    ----------
    workers : int
        Processes, one thread each.
    memory_bytes : int
        Memory of each.

    Raises
    ------
    ClusterError
        They do not start.
    """
    environment = {**dask.config.get("distributed.nanny.pre-spawn-environ"), **WORKER_ENVIRONMENT}
    with contextlib.ExitStack() as stack:
        try:
            with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
                cluster = stack.enter_context(
                    LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        memory_limit=memory_bytes,
                        dashboard_address="127.0.0.1:0",
                        # What a task raises comes back to the driver; printed by each worker, too, it would hide the
                        # message.
                        silence_logs=logging.CRITICAL,
                    )
                )
                client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ClusterError(
                f"cannot start {workers} worker processes on this machine: {_first_line(error)}; "
                "try fewer (--workers N) or --cluster none"
            ) from error
        yield OnClient(client, f"{workers} worker process{'es' if workers > 1 else ''} on this machine")


@contextlib.contextmanager
def open_running(address: str, timeout_s: float) -> Iterator[OnClient]:
    """Connect to a scheduler, and check that its workers run the same software.

    Parameters
    ----------
    address : str
        Of the scheduler.
    timeout_s : float
        How long to wait for its answer [s].

    Raises
    ------
    ClusterError
        No answer, no workers, or other versions than here.
    """
    try:
        client = Client(address, timeout=timeout_s, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no dask scheduler answers at {address} within {timeout_s:g} s ({_first_line(error)}); check the address, "
            "that the scheduler runs, and that this machine may reach it"
        ) from error
    with client:
        check_versions(client, address)
        yield OnClient(client, f"the cluster at {address}")


def check_versions(client: Client, address: str) -> None:
    """Compare the software of scheduler and workers with that of this process.

    Raises
    ------
    ClusterError
        Names every difference in the versions of Python (major.minor), dask, distributed and radps.
    """
    found = client.get_versions()
    here = own_versions()
    try:
        radps_versions = client.run(own_versions)
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"the workers at {address} have no radps ({error}); install radps {radps.__version__} in their environment"
        ) from error
    if not radps_versions:
        raise ClusterError(f"the cluster at {address} has no workers; start some")
    places = {f"worker {name}": versions for name, versions in radps_versions.items()}
    packages = found["scheduler"]["packages"]
    places["the scheduler"] = {
        "python": ".".join(packages["python"].split(".")[:2]),
        "dask": packages["dask"],
        "distributed": packages["distributed"],
    }
    differences = sorted(
        {
            f"{name} {version} at {place}, {here[name]} here"
            for place, versions in places.items()
            for name, version in versions.items()
            if version != here[name]
        }
    )
    if differences:
        raise ClusterError(
            f"the software at {address} differs from here: {'; '.join(differences)}; "
            "install the same versions on both sides"
        )


def own_versions() -> dict[str, str]:
    """Return the versions that have to be the same in all processes of a cluster."""
    # A worker runs this: what it needs is there already.
    import distributed

    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "dask": dask.__version__,
        "distributed": distributed.__version__,
        "radps": radps.__version__,
    }


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
