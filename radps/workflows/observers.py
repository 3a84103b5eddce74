"""Who is told what happens in a run: the terminal, the event log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from radps.context.records import StepRecord
from radps.node_tasks.guard import TaskEnd, TaskEvent
from radps.run_folder.events import EventLog
from radps.workflows.plan import PlannedStep

_BETWEEN_PROGRESS_S = 1.0


class Observer(Protocol):
    """Is told what happens in a run, always from the main thread."""

    def planned(self, plan: tuple[PlannedStep, ...], where: str) -> None:
        """Take the plan, and where it will be computed."""
        ...

    def started(self, step: StepRecord) -> None:
        """Take the record of a step that begins or goes on."""
        ...

    def graph(self, step: str, tasks: int) -> None:
        """Take the number of tasks of one more graph of a step."""
        ...

    def task(self, step: str, event: TaskEvent) -> None:
        """Take a try of a task that ended."""
        ...

    def ended(self, step: StepRecord) -> None:
        """Take the record of a step that ended, in whatever way."""
        ...

    def noted(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take what else happens: an event of ``docs/events.md`` that is of no step or task."""
        ...


class Silent:
    """An observer that tells nobody."""

    def planned(self, plan: tuple[PlannedStep, ...], where: str) -> None:
        """Take the plan."""

    def started(self, step: StepRecord) -> None:
        """Take a step that begins."""

    def graph(self, step: str, tasks: int) -> None:
        """Take a graph."""

    def task(self, step: str, event: TaskEvent) -> None:
        """Take a task."""

    def ended(self, step: StepRecord) -> None:
        """Take a step that ended."""

    def noted(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take an event."""


class LoggedObserver:
    """Writes everything to the event log, and passes it on.

    Parameters
    ----------
    inner : Observer
        Who is told, too.
    log : EventLog
        Of the run.
    """

    def __init__(self, inner: Observer, log: EventLog) -> None:
        self._inner = inner
        self._log = log
        self._tasks: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._last_progress_s: dict[str, float] = {}

    def planned(self, plan: tuple[PlannedStep, ...], where: str) -> None:
        """Write ``run.planned``."""
        reasons = {planned.step.id: planned.reason for planned in plan if planned.runs}
        self._log.write("run.planned", steps=reasons, where=where)
        self._inner.planned(plan, where)

    def started(self, step: StepRecord) -> None:
        """Write ``step.started``."""
        self._tasks[step.id] = self._done[step.id] = 0
        self._log.write("step.started", step=step.id, stage=step.stage, attempt=step.attempt, resumed=step.resumed > 0)
        self._inner.started(step)

    def graph(self, step: str, tasks: int) -> None:
        """Write ``step.graph``."""
        self._tasks[step] += tasks
        self._log.write("step.graph", step=step, tasks=tasks)
        self._inner.graph(step, tasks)

    def task(self, step: str, event: TaskEvent) -> None:
        """Write ``task.retry`` and ``task.failed``, and now and then ``step.progress``."""
        if event.end in (TaskEnd.RETRY, TaskEnd.LOST):
            self._log.write(
                "task.retry",
                step=step,
                task=event.key,
                tries=event.tries,
                of=event.of,
                error=event.error or "its worker died",
                delay_s=event.delay_s,
                worker=event.worker,
            )
        elif event.end is TaskEnd.FAILED:
            self._log.write(
                "task.failed", step=step, task=event.key, tries=event.tries, error=event.error, worker=event.worker
            )
        else:
            self._done[step] += 1
            now = time.monotonic()
            if now - self._last_progress_s.get(step, 0.0) >= _BETWEEN_PROGRESS_S:
                self._last_progress_s[step] = now
                self._log.write("step.progress", step=step, tasks_done=self._done[step], tasks=self._tasks[step])
        self._inner.task(step, event)

    def ended(self, step: StepRecord) -> None:
        """Write ``step.ended``."""
        message = step.error or ("" if step.outcome is None else step.outcome.message)
        seconds = None if step.seconds is None else round(step.seconds, 3)
        self._log.write(
            "step.ended", step=step.id, state=str(step.state), seconds=seconds, tasks=step.tasks, message=message
        )
        self._inner.ended(step)

    def noted(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write the event."""
        self._log.write(event, **fields)
        self._inner.noted(event, fields)
