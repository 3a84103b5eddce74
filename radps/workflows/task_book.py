"""What became of the tasks of a step: counts for those who watch, and a record of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radps.node_tasks.guard import TaskEnd, TaskEvent
from radps.node_tasks.ledger import Entry
from radps.run_folder.task_records import TaskRecord


class TaskBook:
    """Collects the events of the tasks of one attempt of a step.

    Parameters
    ----------
    retries : int
        What it counted before it was interrupted.
    last_error : str
        Of then.
    ended : mapping, optional
        Names of tasks that had ended then -> what the ledger has of them.
    """

    def __init__(self, retries: int = 0, last_error: str = "", ended: Mapping[str, Entry] | None = None) -> None:
        self._records = {key: _kept(key, entry) for key, entry in (ended or {}).items()}
        self._done: set[str] = set()
        self._tasks = 0
        self._retries = retries
        self._last_error = last_error

    def add_graph(self, tasks: int) -> None:
        """Count the tasks of one more graph."""
        self._tasks += tasks

    def add(self, event: TaskEvent) -> None:
        """Take the end of one try."""
        if event.end in (TaskEnd.RETRY, TaskEnd.LOST):
            self._retries += 1
        if event.end in (TaskEnd.DONE, TaskEnd.KEPT):
            self._done.add(event.key)
        error = event.error or ("its worker died" if event.end is TaskEnd.LOST else "")
        self._last_error = f"{event.key}: {error}" if error else self._last_error
        before = self._records.get(event.key)
        if event.end is TaskEnd.KEPT and before is not None and before.state == TaskEnd.DONE:
            return  # done in this run, and read again because its worker was lost
        tries = event.tries if before is None or event.end is TaskEnd.KEPT else max(event.tries, before.tries + 1)
        self._records[event.key] = TaskRecord(
            key=event.key,
            state=str(TaskEnd.FAILED if event.end in (TaskEnd.RETRY, TaskEnd.LOST) else event.end),
            worker=event.worker,
            start_s=event.start_s,
            stop_s=event.stop_s,
            tries=tries,
            bytes_written=event.bytes_written,
            peak_memory_bytes=event.peak_memory_bytes,
            error=error or (before.error if before else ""),
        )

    def counts(self) -> dict[str, Any]:
        """Return the fields of a StepRecord that tell of tasks."""
        return {
            "tasks": self._tasks,
            "tasks_done": len(self._done),
            "retries": self._retries,
            "last_error": self._last_error,
        }

    def records(self) -> tuple[TaskRecord, ...]:
        """Return the record of every task that ended."""
        return tuple(self._records.values())


def _kept(key: str, entry: Entry) -> TaskRecord:
    """Return the record of a task whose result is in the ledger."""
    return TaskRecord(
        key=key,
        state=str(TaskEnd.KEPT),
        worker=entry.worker,
        start_s=entry.start_s,
        stop_s=entry.stop_s,
        tries=entry.tries,
        bytes_written=entry.bytes_written,
        peak_memory_bytes=entry.peak_memory_bytes,
        error="",
    )
