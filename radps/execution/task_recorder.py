"""What the scheduler knows of tasks, told to the driver: a plugin that works on every cluster.

A worker reports what only it can know (number of the try, bytes written, peak memory, error) before it tells the
scheduler that a task has ended. The plugin puts both together and passes on one event a try, by dask's event log, to
those who subscribed to :data:`TASKS`. Tasks that never came to an end, because their worker died, only the scheduler
knows of.

The scheduler imports this module: it imports nothing heavy.
"""

from __future__ import annotations

from typing import Any

from distributed import Scheduler, SchedulerPlugin

from radps.execution.worker_host import MEASURED

TASKS = "radps-tasks"
"""Topic of the events of tasks."""


class TaskRecorder(SchedulerPlugin):  # type: ignore[misc]
    """Passes on the ends of the tasks of radps; their keys carry the mark of a run."""

    name = "radps-task-recorder"
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        """Remember the scheduler."""
        self._scheduler = scheduler
        self._measured: dict[str, dict[str, Any]] = {}
        self._worker_of: dict[str, str] = {}
        """Task -> the worker that it was given to."""
        self._given_back: dict[str, str] = {}
        """Task that left its worker without an end -> that worker."""
        self._told: set[str] = set()
        """Tasks whose try, though the scheduler does not know yet, has ended: it is told."""

    def log_event(self, topic: str, msg: Any) -> None:
        """Take what a worker reports; a retry is passed on at once, while its pause lasts."""
        if topic != MEASURED:
            return
        key = f"{msg['key']}@{msg['mark']}"
        if msg["end"] == "retry":
            self._told.add(key)
            self._scheduler.log_event(TASKS, msg)
        else:
            self._measured[key] = msg

    def transition(self, key: Any, start: str, finish: str, *_: Any, stimulus_id: str, **details: Any) -> None:
        """Pass on a task that ended."""
        key = str(key)
        if "@" not in key:
            return
        if finish == "processing":
            self._told.discard(key)
            self._worker_of[key] = self._scheduler.tasks[key].processing_on.address
        elif start == "processing":
            worker = self._worker_of.pop(key, "")
            if finish in ("memory", "erred"):
                measured = self._measured.pop(key) if key in self._measured else _unmeasured(key, finish, details)
                self._tell(key, measured, worker)
            elif key not in self._told and key not in self._measured:
                self._given_back[key] = worker
        elif finish == "forgotten":
            self._given_back.pop(key, None)
            self._measured.pop(key, None)
            self._told.discard(key)

    def remove_worker(self, scheduler: Scheduler, worker: str, *, stimulus_id: str, **_: Any) -> None:
        """Pass on which tasks a worker took with it."""
        for key in [key for key, place in self._given_back.items() if place == worker]:
            self._tell(key, _unmeasured(key, "lost", {}), self._given_back.pop(key))

    def _tell(self, key: str, event: dict[str, Any], worker: str) -> None:
        self._given_back.pop(key, None)
        # Who did it knows best: an idle worker steals tasks that were given to another one.
        self._scheduler.log_event(TASKS, {**event, "worker": event["worker"] or worker})


def _unmeasured(key: str, finish: str, details: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a task of which no worker reported."""
    name, _at, mark = key.partition("@")
    compute: dict[str, Any] = next((one for one in details.get("startstops") or () if one["action"] == "compute"), {})
    return {
        "key": name,
        "mark": mark,
        "end": {"memory": "done", "erred": "failed"}.get(finish, finish),
        "start_s": compute.get("start", 0.0),
        "stop_s": compute.get("stop", 0.0),
        "worker": "",
        "error": str(details.get("exception_text") or ""),
    }
