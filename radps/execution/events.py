"""Events of tasks, from the workers of any cluster to the driver, by dask's public event log.

A plugin on each worker logs one event for every task that ends. The scheduler passes it on to those who subscribed.
Workers import this module: it imports nothing but distributed.
"""

from __future__ import annotations

import time
from typing import Any

from distributed import Worker, WorkerPlugin

TOPIC = "radps-tasks"


class TaskReporter(WorkerPlugin):  # type: ignore[misc]
    """Logs key, start, stop and success of each task under :data:`TOPIC`."""

    name = "radps-task-reporter"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Remember the worker."""
        self._worker = worker
        self._start_s: dict[Any, float] = {}

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Log a task that leaves the state ``executing``."""
        if finish == "executing":
            self._start_s[key] = time.time()
        elif start == "executing":
            begin = self._start_s.pop(key, None)
            if begin is not None and finish in ("memory", "error"):
                self._worker.log_event(
                    TOPIC,
                    {
                        "key": str(key),
                        "start_s": begin,
                        "stop_s": time.time(),
                        "worker": self._worker.address,
                        "failed": finish == "error",
                    },
                )
