"""What the scheduler passes on of a task: what its worker measured, which worker that was, and which one it lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from radps.execution.task_recorder import TASKS, TaskRecorder
from radps.execution.worker_host import MEASURED

KEY = "s.x-1@m"


class Scheduler:
    """A scheduler with one task, and what the recorder tells through it."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.tasks = {KEY: SimpleNamespace(processing_on=SimpleNamespace(address="a"))}
        self.recorder = TaskRecorder()
        asyncio.run(self.recorder.start(self))

    def log_event(self, topic: str, event: dict[str, Any]) -> None:
        assert topic == TASKS
        self.told.append(event)

    def move(self, *states: str) -> None:
        """Let the task go from state to state, from ``waiting`` on."""
        before = "waiting"
        for state in states:
            self.recorder.transition(KEY, before, state, stimulus_id="")
            before = state

    def report(self, end: str, worker: str = "a") -> dict[str, Any]:
        """Report the end of a try, as a worker does."""
        measured = {"key": "s.x-1", "mark": "m", "end": end, "worker": worker, "bytes_written": 7}
        self.recorder.log_event(MEASURED, measured)
        return measured

    def lose(self, worker: str) -> None:
        self.recorder.remove_worker(self, worker, stimulus_id="")

    def ends(self) -> list[str]:
        return [event["end"] for event in self.told]


@pytest.fixture
def scheduler() -> Scheduler:
    """A scheduler that has given a task to worker ``a``."""
    scheduler = Scheduler()
    scheduler.move("processing")
    return scheduler


def test_a_task_that_was_stolen_is_of_the_worker_that_did_it(scheduler: Scheduler) -> None:
    measured = scheduler.report("done", worker="b")
    scheduler.recorder.transition(KEY, "processing", "memory", stimulus_id="")
    assert scheduler.told == [measured]


def test_a_task_of_which_no_worker_reported_is_of_the_one_that_it_was_given_to(scheduler: Scheduler) -> None:
    scheduler.recorder.transition(KEY, "processing", "memory", stimulus_id="")
    (event,) = scheduler.told
    assert (event["key"], event["end"], event["worker"]) == ("s.x-1", "done", "a")


def test_a_task_is_lost_with_its_worker(scheduler: Scheduler) -> None:
    scheduler.recorder.transition(KEY, "processing", "released", stimulus_id="")
    scheduler.lose("b")
    assert scheduler.told == []
    scheduler.lose("a")
    scheduler.lose("a")
    assert [(event["end"], event["worker"]) for event in scheduler.told] == [("lost", "a")]


def test_a_try_that_was_told_is_not_lost_when_its_worker_dies_of_it(scheduler: Scheduler) -> None:
    scheduler.report("retry")
    scheduler.recorder.transition(KEY, "processing", "released", stimulus_id="")
    scheduler.lose("a")
    assert scheduler.ends() == ["retry"]
    scheduler.move("processing", "released")  # the next try, of which nobody reports
    scheduler.lose("a")
    assert scheduler.ends() == ["retry", "lost"]


def test_a_worker_that_dies_after_a_failed_task_went_elsewhere_has_not_lost_it(scheduler: Scheduler) -> None:
    scheduler.report("retry")
    scheduler.move("processing", "released", "waiting", "processing")
    scheduler.lose("b")
    assert scheduler.ends() == ["retry"]


def test_the_last_failure_is_told_once_though_its_worker_died_of_it(scheduler: Scheduler) -> None:
    measured = scheduler.report("failed")
    scheduler.recorder.transition(KEY, "processing", "released", stimulus_id="")
    scheduler.lose("a")
    scheduler.move("processing", "erred")
    assert scheduler.told == [measured]


def test_a_task_that_was_cancelled_is_not_lost_later(scheduler: Scheduler) -> None:
    scheduler.move("processing", "released", "forgotten")
    scheduler.lose("a")
    assert scheduler.told == []


def test_tasks_of_others_are_passed_over(scheduler: Scheduler) -> None:
    scheduler.recorder.transition("theirs-1", "waiting", "processing", stimulus_id="")
    scheduler.recorder.transition("theirs-1", "processing", "memory", stimulus_id="")
    assert scheduler.told == []
