"""The engine on a ``distributed.Client``: worker processes of this machine, or a cluster that runs already."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dask
from dask.delayed import Delayed
from distributed import CancelledError, Client, Future, KilledWorker, futures_of
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from radps.context.records import Resources
from radps.errors import ClusterError, ClusterLostError, TaskTimeoutError, WorkerKilledError
from radps.execution.engine import Order, Stop, StoppedError, TaskListener, ignore, memory_of_task
from radps.execution.task_recorder import TASKS, TaskRecorder
from radps.execution.worker_host import WorkerHost
from radps.graph_tasks.shapes import task_name
from radps.node_tasks.guard import TaskEnd, TaskEvent, TaskHost

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_LOOK_FOR_WORKERS_S = 2.0
_PATIENCE_WITHOUT_WORKERS_S = 60.0
_PATIENCE_WITHOUT_SCHEDULER_S = 10.0
_PATIENCE_FOR_EVENTS_S = 2.0

_LARGE_GRAPH = "distributed.admin.large-graph-warning-threshold"
_LARGE_GRAPH_BYTES = 10_000_000
"""Dask's default."""
_BYTES_OF_A_TASK = 1024
"""What a task of a graph takes at most: its function, addresses and small models."""

LOST = (CancelledError, FutureCancelledError, CommClosedError, concurrent.futures.CancelledError)
"""What a computation ends with when its scheduler is gone."""


class OnClient:
    """Computes on the workers of a client.

    Parameters
    ----------
    client : distributed.Client
        Connected; it is not closed here.
    description : str
        Where it computes, in words.
    slots : int, optional
        Tasks at a time when all workers are there, where they come one after the other; default: those that are there.
    patience_without_workers_s : float, optional
        How long to wait for a worker when there is none; default: a minute.
    dashboard : str, optional
        Address of dask's dashboard, where it is not the client's.
    explain : callable, optional
        Says why workers are missing, as far as somebody knows; nothing otherwise.
    more_memory : str, optional
        How a user gives workers more memory.
    """

    concurrent = True

    def __init__(
        self,
        client: Client,
        description: str,
        *,
        slots: int | None = None,
        patience_without_workers_s: float | None = None,
        dashboard: str | None = None,
        explain: Callable[[], str] = str,
        more_memory: str = "Use fewer workers with more memory each (--workers, cluster.memory_limit)",
    ) -> None:
        self._client = client
        self._description = description
        self._slots = slots
        self._patience_s = patience_without_workers_s
        self._dashboard = dashboard
        self._explain = explain
        self._more_memory = more_memory
        self._listeners: dict[int, _Listener] = {}
        self._numbers = itertools.count()
        self._submitting = threading.Lock()
        """Dask's configuration, which each graph changes for its submission, is one for the threads of all steps."""
        client.register_plugin(TaskRecorder())
        client.subscribe_topic(TASKS, self._dispatch)

    @property
    def description(self) -> str:
        """Where it computes, in words."""
        return self._description

    @property
    def dashboard(self) -> str:
        """Address of dask's dashboard."""
        return str(self._client.dashboard_link or "") if self._dashboard is None else self._dashboard

    def host(self, on_task: TaskListener) -> TaskHost:
        """Return the host of tasks of workers; they report by way of the scheduler."""
        return WorkerHost()

    def resources(self) -> Resources:
        """Return the threads of all workers, and the memory for one task on the smallest of them.

        Raises
        ------
        ClusterError
            There is no worker, and none comes for a minute; or the scheduler is gone (ClusterLostError).
        """
        self._check_connected()
        # A worker that was lost is being replaced.
        with contextlib.suppress(TimeoutError):
            self._client.wait_for_workers(1, timeout=self._patience_s or _PATIENCE_WITHOUT_WORKERS_S)
        self._check_connected()
        workers = self._workers()
        if not workers:
            raise ClusterError(f"{self._description} has no workers; {self._why('start some')}")
        # A worker without a limit has the memory of its machine, which the scheduler does not know.
        memory = min(memory_of_task(worker["memory_limit"] or 4 * 2**30, worker["nthreads"]) for worker in workers)
        slots = self._slots or sum(worker["nthreads"] for worker in workers)
        return Resources(slots=slots, memory_bytes=memory)

    def check_offers(self, wanted: Mapping[str, float]) -> None:
        """Refuse what no worker offers; see :class:`~radps.execution.engine.Engine`."""
        offers = [worker.get("resources", {}) for worker in self._workers()]
        if any(all(offer.get(name, 0) >= amount for name, amount in wanted.items()) for offer in offers):
            return
        known = sorted({f"{name}: {amount:g}" for offer in offers for name, amount in offer.items()})
        raise ClusterError(
            f"no worker of {self._description} offers {_listing(wanted)}; the workers offer "
            f"{', '.join(known) or 'none'}: start workers with these resources (cluster.resources, or "
            "`dask worker --resources`), or ask for less"
        )

    def compute(
        self,
        graph: Delayed,
        order: Order | None = None,
        on_task: TaskListener = ignore,
        stop: Stop | None = None,
    ) -> Any:
        """Return the result of a graph; see :class:`~radps.execution.engine.Engine`."""
        # What is kept is done already: no end of it will be told.
        keys = {str(key) for key, task in dict(graph.__dask_graph__()).items() if not isinstance(task, Future)}
        with self._computation(keys, on_task) as listener:
            (future,) = self._run(self._client.compute, [graph], order or Order(), stop)
            listener.all_seen.wait(_PATIENCE_FOR_EVENTS_S)
            return future.result()

    def keep(
        self,
        parts: Sequence[Delayed],
        order: Order | None = None,
        on_task: TaskListener = ignore,
        stop: Stop | None = None,
    ) -> list[Delayed]:
        """Compute graphs on the workers and return handles; see :class:`~radps.execution.engine.Engine`."""
        keys = {str(key) for part in parts for key in dict(part.__dask_graph__())}
        with self._computation(keys, on_task) as listener:
            handles = self._run(self._client.persist, list(parts), order or Order(), stop)
            listener.all_seen.wait(_PATIENCE_FOR_EVENTS_S)
            return handles

    @contextlib.contextmanager
    def _computation(self, keys: set[str], on_task: TaskListener) -> Iterator[_Listener]:
        """Listen to the ends of tasks in the block, and say in words what is wrong with the cluster if it is left."""
        listener = _Listener(keys, on_task)
        number = next(self._numbers)
        self._listeners[number] = listener
        try:
            self._check_connected()
            yield listener
        except KilledWorker as error:
            raise WorkerKilledError(
                f"task {task_name(error.task)!r} took its worker with it {error.allowed_failures + 1} times, the last "
                f"one at {error.last_worker.address}: most likely it needs more memory than the worker has. "
                f"{self._more_memory}, or a smaller problem"
            ) from error
        except LOST as error:
            raise self._lost(first_line(error)) from error
        finally:
            del self._listeners[number]

    def _run(
        self, submit: Callable[..., list[Any]], graphs: list[Delayed], order: Order, stop: Stop | None
    ) -> list[Any]:
        """Submit graphs to be computed, wait for all of them, and return what ``submit`` returned."""
        with self._submitting, _large_for_its_tasks(sum(len(graph.__dask_graph__()) for graph in graphs)):
            submitted = submit(
                graphs, retries=order.retries, priority=order.priority, resources=dict(order.resources) or None
            )
        futures = futures_of(submitted)
        try:
            for future in futures:
                self._wait(future, order, stop)
                if future.status != "finished":
                    future.result()  # raises what happened
        except BaseException:
            # What is on its way says what happened; that a lost scheduler cannot cancel says nothing more.
            with contextlib.suppress(Exception):
                self._client.cancel(futures, force=True)
            raise
        return submitted

    def _check_connected(self) -> None:
        """Refuse to go on with a client that has given up its scheduler; one that still looks for it is waited for."""
        stop = time.monotonic() + _PATIENCE_WITHOUT_SCHEDULER_S
        while self._client.status != "running":
            if self._client.status in ("closing", "closed") or time.monotonic() > stop:
                raise self._lost("no connection")
            time.sleep(_POLL_S)

    def _lost(self, why: str) -> ClusterLostError:
        """Return the error that says that the scheduler is gone."""
        return ClusterLostError(
            f"lost the scheduler of {self._description} ({why}); start the cluster again and run again: finished steps "
            "and tasks are skipped"
        )

    def _wait(self, future: Future, order: Order, stop: Stop | None) -> None:
        """Wait for the end of a task, but not for ever on a cluster without workers."""
        ended = threading.Event()
        patience_s = self._patience_s or _PATIENCE_WITHOUT_WORKERS_S
        future.add_done_callback(lambda _: ended.set())
        looked = last_seen = connected = time.monotonic()
        while not ended.wait(_POLL_S):
            now = time.monotonic()
            if stop is not None and stop.is_set():
                raise StoppedError
            if order.deadline_s is not None and now > order.deadline_s:
                raise TaskTimeoutError("it ran longer than it may; give it more time (timeout), or more workers")
            if self._client.status == "running":
                connected = now
            elif now - connected > _PATIENCE_WITHOUT_SCHEDULER_S:
                raise CommClosedError(f"no connection for {_PATIENCE_WITHOUT_SCHEDULER_S:.0f} s")
            if now - looked < _LOOK_FOR_WORKERS_S:
                continue
            looked = now
            if self._workers():
                last_seen = now
            elif now - last_seen > patience_s:
                raise ClusterError(
                    f"{self._description} has had no worker for {patience_s:.0f} s; "
                    f"{self._why('start workers')} and run again: finished steps and tasks are skipped"
                )

    def _why(self, otherwise: str) -> str:
        """Return why there are no workers, or what to do if nobody knows it."""
        return self._explain() or otherwise

    def _workers(self) -> list[dict[str, Any]]:
        """Return what the scheduler knows of its workers."""
        return list(self._client.scheduler_info(n_workers=-1).get("workers", {}).values())

    def _dispatch(self, event: tuple[float, dict[str, Any]]) -> None:
        """Hand an event to the graph that the task belongs to. Runs in the thread of the client's event loop."""
        fields = dict(event[1])
        task = TaskEvent(end=TaskEnd(fields.pop("end")), **fields)
        for listener in list(self._listeners.values()):
            listener.take(task)


def _large_for_its_tasks(tasks: int) -> contextlib.AbstractContextManager[Any]:
    """Let dask warn of a graph that carries data, and not of one that has many tasks."""
    limit = max(_LARGE_GRAPH_BYTES, tasks * _BYTES_OF_A_TASK)
    set_for_a_while: contextlib.AbstractContextManager[Any] = dask.config.set({_LARGE_GRAPH: limit})
    return set_for_a_while


class _Listener:
    """Collects the events of one graph: its tasks are known by name and mark of the run."""

    def __init__(self, keys: set[str], on_task: TaskListener) -> None:
        self._waiting = keys
        self._keys = frozenset(keys)
        self._on_task = on_task
        self.all_seen = threading.Event()

    def take(self, task: TaskEvent) -> None:
        """Pass on an event if the task is one of the graph."""
        key = f"{task.key}@{task.mark}" if task.mark else task.key
        if key not in self._keys:
            return
        self._on_task(task)
        if task.end in (TaskEnd.DONE, TaskEnd.KEPT):
            self._waiting.discard(key)
        if not self._waiting:
            self.all_seen.set()


def _listing(wanted: Mapping[str, float]) -> str:
    return ", ".join(f"{name}: {amount:g}" for name, amount in wanted.items())


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its name if it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]
