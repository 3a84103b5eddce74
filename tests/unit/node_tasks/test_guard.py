"""What surrounds a task: done once, repeated when it fails, told to who computes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from radps.data.measuring import count_written
from radps.errors import SelectionError, TaskTimeoutError
from radps.node_tasks import guard, ledger
from radps.node_tasks.faults import FaultKind, Faults, SimulatedFaultError
from radps.node_tasks.guard import LONGEST_PAUSE_S, TaskEnd, TaskEvent, TaskRules, load_result, run_guarded


class Host:
    """A worker that notes what happens: it repeats tasks by itself, as a scheduler does."""

    def __init__(self, *, repeats: bool = True) -> None:
        self.repeats = repeats
        self.events: list[TaskEvent] = []
        self.pauses: list[float] = []
        self.deaths = 0
        self.expired: Callable[[], None] | None = None

    def name(self) -> str:
        return "tcp://worker"

    def report(self, event: TaskEvent) -> None:
        self.events.append(event)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @contextlib.contextmanager
    def time_limit(self, seconds: float, expired: Callable[[], None]):  # type: ignore[no-untyped-def]
        self.expired = expired
        yield

    def die(self) -> None:
        self.deaths += 1
        raise SystemExit


class Work:
    """A function that fails so many times, and counts its calls."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error or ValueError("not yet")

    def __call__(self, number: int) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        count_written(80)
        return 2 * number


@pytest.fixture
def host() -> Host:
    """A worker."""
    return Host()


@pytest.fixture
def rules(tmp_path: Path, host: Host) -> TaskRules:
    """Two retries, after pauses of 3 s and 6 s."""
    return TaskRules(ledger_url=str(tmp_path / "ledger"), host=host, retries=2, retry_delay_s=3.0)


def test_a_task_that_has_ended_is_not_done_again(rules: TaskRules, host: Host) -> None:
    work = Work()
    assert run_guarded(rules, "s.a-1", work, 4) == 8
    assert run_guarded(rules, "s.a-1", work, 4) == 8
    assert load_result(rules, "s.a-1") == 8
    assert work.calls == 1
    assert [event.end for event in host.events] == [TaskEnd.DONE, TaskEnd.KEPT, TaskEnd.KEPT]
    first = host.events[0]
    assert (first.worker, first.tries, first.bytes_written) == ("tcp://worker", 1, 80)
    assert {(event.start_s, event.bytes_written) for event in host.events} == {(first.start_s, 80)}


def test_a_failure_is_raised_for_the_scheduler_after_the_pause_and_counted(rules: TaskRules, host: Host) -> None:
    work = Work(failures=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            run_guarded(rules, "s.a-1", work, 4)
    assert run_guarded(rules, "s.a-1", work, 4) == 8
    assert host.pauses == [3.0, 6.0]
    assert [(event.end, event.tries, event.error) for event in host.events] == [
        (TaskEnd.RETRY, 1, "ValueError: not yet"),
        (TaskEnd.RETRY, 2, "ValueError: not yet"),
        (TaskEnd.DONE, 3, ""),
    ]


def test_where_no_scheduler_repeats_the_guard_does(rules: TaskRules) -> None:
    alone = Host(repeats=False)
    assert run_guarded(rules.model_copy(update={"host": alone}), "s.a-1", Work(failures=2), 4) == 8
    assert alone.pauses == [3.0, 6.0]


def test_the_last_failure_is_kept_so_that_a_scheduler_that_repeats_it_gets_it_at_once(
    rules: TaskRules, host: Host
) -> None:
    work = Work(failures=9)
    for _ in range(3):
        with pytest.raises(ValueError, match="not yet"):
            run_guarded(rules, "s.a-1", work, 4)
    assert host.events[-1].end is TaskEnd.FAILED
    with pytest.raises(ValueError, match="not yet"):
        run_guarded(rules, "s.a-1", work, 4)
    assert work.calls == 3
    assert len(host.events) == 3


def test_a_mistake_of_the_user_is_not_repeated(rules: TaskRules, host: Host) -> None:
    with pytest.raises(SelectionError, match="no field"):
        run_guarded(rules, "s.a-1", Work(failures=9, error=SelectionError("no field")), 4)
    assert [event.end for event in host.events] == [TaskEnd.FAILED]
    assert host.pauses == []


def test_pauses_have_an_upper_limit(rules: TaskRules) -> None:
    assert rules.pause_before(100) == LONGEST_PAUSE_S
    assert rules.pause_before(5000) == LONGEST_PAUSE_S
    assert TaskRules(ledger_url="", host=None, retry_delay_s=0.0).pause_before(5000) == 0.0


def test_a_try_that_fails_has_its_time(rules: TaskRules, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 14.0])
    # Of the guard alone: other threads look at the clock, too.
    monkeypatch.setattr(guard, "time", SimpleNamespace(time=lambda: next(clock)))
    with pytest.raises(ValueError, match="not yet"):
        run_guarded(rules, "s.a-1", Work(failures=1), 4)
    assert [(event.start_s, event.stop_s) for event in host.events] == [(10.0, 14.0)]


def test_the_end_of_the_time_is_noted_before_the_process_ends(rules: TaskRules, host: Host) -> None:
    limited = rules.model_copy(update={"timeout_s": 5.0, "retries": 1})

    def hang() -> None:
        assert host.expired is not None
        host.expired()
        raise SystemExit  # the process is killed

    for _ in range(2):
        with pytest.raises(SystemExit):
            run_guarded(limited, "s.a-1", hang)
    assert [(event.end, event.tries) for event in host.events] == [(TaskEnd.RETRY, 1), (TaskEnd.FAILED, 2)]
    with pytest.raises(TaskTimeoutError, match=r"task s\.a-1 ran longer than 5 s; give it more time \(task_timeout\)"):
        run_guarded(limited, "s.a-1", hang)


def test_a_fault_kills_the_worker_as_often_as_there_are_retries(rules: TaskRules, host: Host) -> None:
    deadly = rules.model_copy(update={"faults": Faults(rate=1.0, kind=FaultKind.WORKER_DEATH)})
    for _ in range(2):
        with pytest.raises(SystemExit):
            run_guarded(deadly, "s.a-1", Work(), 4)
    assert host.deaths == 2
    message = r"simulated failure of try 3 of s\.a-1 \(faults: worker-death, seed 0\)"
    with pytest.raises(SimulatedFaultError, match=message):
        run_guarded(deadly, "s.a-1", Work(), 4)
    assert len(ledger.load_failures(deadly.ledger_url, "s.a-1")) == 3


def test_a_slow_task_is_late_and_right(rules: TaskRules, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(guard, "time", SimpleNamespace(time=time.time, sleep=waits.append))
    slow = rules.model_copy(update={"faults": Faults(rate=1.0, kind=FaultKind.SLOW, delay=7.0)})
    assert run_guarded(slow, "s.a-1", Work(), 4) == 8
    assert waits == [7.0]
