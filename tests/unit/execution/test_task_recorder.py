"""What the scheduler passes on of a task: what its worker measured, and which worker that was."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from radps.execution.task_recorder import TASKS, TaskRecorder
from radps.execution.worker_host import MEASURED


def pass_on(measured: dict[str, Any] | None) -> dict[str, Any]:
    """Return what is told of a task that was given to the worker ``a`` and ended."""
    told: list[tuple[str, dict[str, Any]]] = []
    task = SimpleNamespace(processing_on=SimpleNamespace(address="a"))
    scheduler = SimpleNamespace(tasks={"s.x-1@m": task}, log_event=lambda topic, event: told.append((topic, event)))
    recorder = TaskRecorder()
    asyncio.run(recorder.start(scheduler))
    recorder.transition("s.x-1@m", "waiting", "processing", stimulus_id="")
    if measured is not None:
        recorder.log_event(MEASURED, measured)
    recorder.transition("s.x-1@m", "processing", "memory", stimulus_id="")
    ((topic, event),) = told
    assert topic == TASKS
    return event


def test_a_task_that_was_stolen_is_of_the_worker_that_did_it() -> None:
    measured = {"key": "s.x-1", "end": "done", "worker": "b", "bytes_written": 7}
    assert pass_on(measured) == measured


def test_a_task_of_which_no_worker_reported_is_of_the_one_that_it_was_given_to() -> None:
    event = pass_on(None)
    assert (event["key"], event["end"], event["worker"]) == ("s.x-1", "done", "a")
