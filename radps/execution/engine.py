"""How a graph is computed: the seam between the runner and dask, and the engine that needs no cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from dask.callbacks import Callback
from dask.delayed import Delayed

from radps.context.model import Resources

MEMORY_SHARE = 0.8
"""Of a worker's memory, for the data of its tasks; the rest is for the interpreter and libraries."""


class TaskEvent(NamedTuple):
    """A task that ended."""

    key: str
    start_s: float
    """UTC unix seconds, by the clock of the worker."""
    stop_s: float
    worker: str
    """Address of the worker, ``in-process`` without a cluster."""
    failed: bool


TaskListener = Callable[[TaskEvent], None]


class Engine(Protocol):
    """Computes graphs."""

    @property
    def description(self) -> str:
        """Where it computes, in words."""
        ...

    def resources(self) -> Resources:
        """Return what there is to compute with now."""
        ...

    def compute(self, graph: Delayed, on_task: TaskListener | None = None) -> Any:
        """Return the result of a graph.

        Parameters
        ----------
        graph : Delayed
            Of one result.
        on_task : callable, optional
            Called for each task of the graph that ends; from a thread of the engine.

        Raises
        ------
        ClusterError
            The cluster was lost, or a task took its workers with it. What a task itself raises comes through as it is.
        KeyboardInterrupt
            The user asked to stop: what still waited is cancelled.
        """
        ...


class InProcess:
    """Computes in this process, one task after the other, by dask's synchronous scheduler.

    Parameters
    ----------
    memory_bytes : int
        Memory of the machine [bytes].
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes

    @property
    def description(self) -> str:
        """Where it computes, in words."""
        return "in this process"

    def resources(self) -> Resources:
        """Return one slot, with half of the machine's memory: this process shares it with whatever else runs."""
        return Resources(slots=1, memory_bytes=int(self._memory_bytes * MEMORY_SHARE / 2))

    def compute(self, graph: Delayed, on_task: TaskListener | None = None) -> Any:
        """Return the result of a graph; see :class:`Engine`."""
        watch = _Watch(on_task or _ignore)
        try:
            with Callback(pretask=watch.started, posttask=watch.ended):
                return graph.compute(scheduler="synchronous")
        except BaseException:
            watch.failed()
            raise


class _Watch:
    """Turns the callbacks of dask's local scheduler into events."""

    def __init__(self, on_task: TaskListener) -> None:
        self._on_task = on_task
        self._running: tuple[str, float] | None = None

    def started(self, key: Any, graph: Any, state: Any) -> None:
        self._running = (str(key), time.time())

    def ended(self, key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
        self._report(failed=False)

    def failed(self) -> None:
        """Report the task that raised: dask has no callback for it."""
        self._report(failed=True)

    def _report(self, *, failed: bool) -> None:
        if self._running is not None:
            key, start = self._running
            self._running = None
            self._on_task(TaskEvent(key, start, time.time(), "in-process", failed))


def _ignore(event: TaskEvent) -> None:
    """Take an event that nobody asked for."""
