"""How a graph is computed: the seam between the runner and dask, and the engine that needs no cluster."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple, Protocol

import dask
from dask.delayed import Delayed

from radps.context.records import Resources
from radps.errors import TaskTimeoutError
from radps.node_tasks.guard import TaskEvent, TaskHost

MEMORY_SHARE = 0.7
"""Of a worker's memory, that its process may have: above this, Dask writes results to the disk, from 0.8 on a worker
gets no tasks, and at 0.95 it is killed."""

WORKER_BYTES = 450 * 2**20
"""What a worker process has besides the data of its tasks: interpreter, libraries (XRADIO and matplotlib are half of
it), and freed memory that it keeps."""

IN_PROCESS_SHARE = 0.4
"""Of the machine's memory, for a task in the process of the driver, where no worker has a limit."""

SMALLEST_SHARE = 0.25
"""For the data of tasks at least: workers of less than 1 GiB run small problems, without a promise."""

IN_PROCESS = "in-process"
"""Worker of a task that runs in the process of the driver."""

TaskListener = Callable[[TaskEvent], None]


def memory_of_task(worker_bytes: float, threads: int = 1) -> int:
    """Return the memory that a task may take on a worker [byte], if each of its threads has one.

    Parameters
    ----------
    worker_bytes : float
        Memory of the worker.
    threads : int
        Tasks that run in it at the same time.
    """
    return int(max(MEMORY_SHARE * worker_bytes - WORKER_BYTES, SMALLEST_SHARE * worker_bytes) / threads)


class Order(NamedTuple):
    """How a graph is to be computed."""

    retries: int = 0
    """How often a task that raises is repeated."""
    priority: int = 0
    """Graphs of a higher one go first."""
    resources: Mapping[str, float] = {}
    """What a worker must offer to run a task."""
    deadline_s: float | None = None
    """When to give up, by :func:`time.monotonic`."""


class Stop(threading.Event):
    """Set by who wants a computation to end."""


class StoppedError(Exception):
    """A computation was ended because its :class:`Stop` was set."""


def ignore(event: TaskEvent) -> None:
    """Take an event that nobody asked for."""


class Engine(Protocol):
    """Computes graphs."""

    concurrent: bool
    """True if graphs of several steps can be computed at the same time, each from a thread of its own."""

    @property
    def description(self) -> str:
        """Where it computes, in words."""
        ...

    @property
    def dashboard(self) -> str:
        """Address of dask's dashboard; empty where there is none."""
        ...

    def host(self, on_task: TaskListener) -> TaskHost:
        """Return what tasks need to know of where they run."""
        ...

    def resources(self) -> Resources:
        """Return what there is to compute with now."""
        ...

    def check_offers(self, wanted: Mapping[str, float]) -> None:
        """Refuse what no worker offers.

        Raises
        ------
        ClusterError
            Tasks that want it would wait for ever; lists what there is.
        """
        ...

    def compute(
        self,
        graph: Delayed,
        order: Order | None = None,
        on_task: TaskListener = ignore,
        stop: Stop | None = None,
    ) -> Any:
        """Return the result of a graph.

        Parameters
        ----------
        graph : Delayed
            Of one result.
        order : Order, optional
            How.
        on_task : callable, optional
            Called for each task of the graph that ends; from a thread of the engine.
        stop : Stop, optional
            Ends the computation soon after it is set.

        Raises
        ------
        ClusterError
            The cluster was lost (ClusterLostError), or a task took its workers with it. What a task itself raises comes
            through as it is.
        TaskTimeoutError
            The deadline has passed.
        StoppedError, KeyboardInterrupt
            Somebody asked to stop: what still waited is cancelled.
        """
        ...

    def keep(
        self,
        parts: Sequence[Delayed],
        order: Order | None = None,
        on_task: TaskListener = ignore,
        stop: Stop | None = None,
    ) -> list[Delayed]:
        """Compute graphs, leave their results where they are, and return handles for other graphs; see :meth:`compute`.

        The results are freed when the handles, and the graphs that hold them, are gone.
        """
        ...


class InProcess:
    """Computes in this process, one task after the other, by dask's synchronous scheduler.

    Parameters
    ----------
    memory_bytes : int
        Memory of the machine [bytes].
    """

    concurrent = False

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes

    @property
    def description(self) -> str:
        """Where it computes, in words."""
        return "in this process"

    @property
    def dashboard(self) -> str:
        """There is none."""
        return ""

    def host(self, on_task: TaskListener) -> TaskHost:
        """Return the host of tasks of this process."""
        return DriverProcess(on_task)

    def resources(self) -> Resources:
        """Return one slot, with less than half of the machine's memory: other processes need some, too."""
        return Resources(slots=1, memory_bytes=int(IN_PROCESS_SHARE * self._memory_bytes))

    def check_offers(self, wanted: Mapping[str, float]) -> None:
        """Accept everything: there is no choice of workers here."""

    def compute(
        self,
        graph: Delayed,
        order: Order | None = None,
        on_task: TaskListener = ignore,
        stop: Stop | None = None,
    ) -> Any:
        """Return the result of a graph; see :class:`Engine`. Tasks repeat themselves and report to their host."""
        return self._within(order, stop, functools.partial(graph.compute, scheduler="synchronous"))

    def keep(
        self,
        parts: Sequence[Delayed],
        order: Order | None = None,
        on_task: TaskListener = ignore,
        stop: Stop | None = None,
    ) -> list[Delayed]:
        """Compute graphs and return handles that hold their results; see :class:`Engine`."""
        return list(self._within(order, stop, functools.partial(dask.persist, *parts, scheduler="synchronous")))

    def _within(self, order: Order | None, stop: Stop | None, work: Callable[[], Any]) -> Any:
        """Return the result of some work, if there is time for it."""
        if stop is not None and stop.is_set():
            raise StoppedError
        if order is None or order.deadline_s is None:
            return work()
        try:
            with _time_limit(order.deadline_s - time.monotonic(), _DeadlineError):
                return work()
        except _DeadlineError as over:
            raise TaskTimeoutError("it ran longer than it may; give it more time (timeout)") from over


class _DeadlineError(BaseException):
    """The time of a step is over: no error of a task, to be repeated, but the end of all of them."""


class DriverProcess:
    """The process of the driver as the host of tasks; see :class:`~radps.node_tasks.guard.TaskHost`.

    Parameters
    ----------
    on_task : callable
        Is told of every task that ends.
    """

    repeats = False

    def __init__(self, on_task: TaskListener) -> None:
        self._on_task = on_task

    def name(self) -> str:
        """Return that there is no worker."""
        return IN_PROCESS

    def report(self, event: TaskEvent) -> None:
        """Tell who computes."""
        self._on_task(event)

    def pause(self, seconds: float) -> None:
        """Wait; Ctrl-C ends it."""
        time.sleep(seconds)

    def time_limit(self, seconds: float, expired: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """Raise TaskTimeoutError in a task that runs longer."""
        text = f"the task ran longer than {seconds:g} s; give it more time (task_timeout), or make the chunks smaller"
        return _time_limit(seconds, functools.partial(TaskTimeoutError, text))

    def die(self) -> None:
        """Stay alive: this process is the driver's."""


@contextlib.contextmanager
def _time_limit(seconds: float, error: Callable[[], BaseException]) -> Iterator[None]:
    """Raise an error in the block when its time is over; a limit around it that ends earlier counts alone.

    Only the main thread of a process can be interrupted; in others the error is raised at the end of the block.
    """
    start = time.monotonic()
    if seconds <= 0:
        raise error()
    if threading.current_thread() is not threading.main_thread():
        yield
        if time.monotonic() - start > seconds:
            raise error()
        return
    outer_s, _ = signal.getitimer(signal.ITIMER_REAL)
    if seconds == float("inf") or 0 < outer_s <= seconds:
        yield
        return

    def expire(number: int, frame: FrameType | None) -> None:
        raise error()

    handler = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if outer_s:
            signal.setitimer(signal.ITIMER_REAL, max(outer_s - (time.monotonic() - start), 1e-3))
