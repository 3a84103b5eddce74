"""A dask worker as the host of tasks. Workers import this module: it imports nothing heavy."""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from distributed import get_worker, secede

from radps.node_tasks.guard import TaskEvent

MEASURED = "radps-measured"
"""Topic of dask's event log under which a worker reports the end of a task; the scheduler's plugin listens."""

_TIME_TO_REPORT_S = 0.2


class WorkerHost:
    """See :class:`~radps.node_tasks.guard.TaskHost`."""

    repeats = True

    def name(self) -> str:
        """Return the address of the worker."""
        return str(get_worker().address)

    def report(self, event: TaskEvent) -> None:
        """Tell the scheduler."""
        get_worker().log_event(MEASURED, {**event._asdict(), "end": str(event.end)})

    def pause(self, seconds: float) -> None:
        """Wait outside of the worker's threads: other tasks take the slot in the meantime."""
        if seconds > 0:
            secede()
            time.sleep(seconds)

    @contextlib.contextmanager
    def time_limit(self, seconds: float, expired: Callable[[], None]) -> Iterator[None]:
        """Kill the process of a task that runs longer; its nanny starts another one.

        A thread cannot be ended from outside, least of all in compiled code.
        """
        if seconds == float("inf"):
            yield
            return

        def end() -> None:
            try:
                expired()
                # What was reported goes out by the worker's event loop.
                time.sleep(_TIME_TO_REPORT_S)
            finally:
                self.die()

        # In the context of the task, by which a thread finds its worker.
        watchdog = threading.Timer(seconds, contextvars.copy_context().run, (end,))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def die(self) -> None:
        """Kill this process as the system would when the memory is used up."""
        os.kill(os.getpid(), signal.SIGKILL)
