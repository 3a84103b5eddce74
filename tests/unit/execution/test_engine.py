"""Computing in the process: results, events, errors, and the thread that a debugger needs."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest

from radps.context.model import Context, Workspace
from radps.errors import StageError, TaskTimeoutError
from radps.execution.engine import DriverProcess, InProcess, Order, Stop, StoppedError, memory_of_task
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.guard import TaskEnd, TaskEvent, TaskRules


@pytest.fixture
def names() -> Context:
    """Names the tasks: step ``s``, attempt 2."""
    return guarded([])


def guarded(events: list[TaskEvent], **rules: Any) -> Context:
    """Return a context whose tasks report to a list."""
    host = InProcess(2**30).host(events.append)
    task_rules = TaskRules(ledger_url=f"memory://{uuid.uuid4().hex}/tasks", host=host, **rules)
    return Context(run_id="r").at(Workspace(url="memory://run", step="s", attempt=2, rules=task_rules))


def double(number: int) -> int:
    return 2 * number


def add(parts: list[int]) -> int:
    return sum(parts)


def wait(number: int) -> int:
    time.sleep(0.05)
    return number


def current_thread() -> int:
    return threading.get_ident()


def refuse(number: int) -> int:
    if number == 2:
        raise ValueError(f"not {number}")
    return number


def test_a_graph_gives_its_result(names: Context) -> None:
    graph = reduce_tree(names, add, map_chunks(names, double, range(20)))
    assert InProcess(2**30).compute(graph) == 380


def test_each_task_that_ends_is_an_event() -> None:
    events: list[TaskEvent] = []
    names = guarded(events)
    InProcess(2**30).compute(reduce_tree(names, add, map_chunks(names, double, [1, 2])))
    assert sorted(event.key for event in events) == ["s.add-2-0-00000", "s.double-2-00000", "s.double-2-00001"]
    assert {(event.worker, event.end) for event in events} == {("in-process", TaskEnd.DONE)}
    assert all(1.6e9 < event.start_s <= event.stop_s for event in events)
    assert all(event.peak_memory_bytes > 2**20 for event in events)  # an interpreter takes more than a MiB


def test_the_error_of_a_task_comes_through_and_its_task_is_named() -> None:
    events: list[TaskEvent] = []
    names = guarded(events)
    with pytest.raises(ValueError, match="not 2"):
        InProcess(2**30).compute(reduce_tree(names, add, map_chunks(names, refuse, range(4))))
    assert [event.key for event in events if event.end is TaskEnd.FAILED] == ["s.refuse-2-00002"]


def test_a_task_is_repeated_after_pauses_that_double(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(DriverProcess, "pause", lambda self, seconds: pauses.append(seconds))
    events: list[TaskEvent] = []
    names = guarded(events, retries=2, retry_delay_s=3.0)
    with pytest.raises(ValueError, match="not 2"):
        InProcess(2**30).compute(run_task(names, refuse, 2))
    assert pauses == [3.0, 6.0]
    assert [(event.end, event.tries, event.delay_s) for event in events] == [
        (TaskEnd.RETRY, 1, 3.0),
        (TaskEnd.RETRY, 2, 6.0),
        (TaskEnd.FAILED, 3, 0.0),
    ]


def test_a_task_that_runs_too_long_is_ended() -> None:
    names = guarded([], timeout_s=0.1)
    with pytest.raises(TaskTimeoutError, match=r"the task ran longer than 0\.1 s; give it more time"):
        InProcess(2**30).compute(run_task(names, time.sleep, 5.0))


def test_a_step_that_runs_too_long_is_ended_even_if_each_task_has_a_limit_of_its_own() -> None:
    names = guarded([], timeout_s=10.0)
    graph = reduce_tree(names, add, map_chunks(names, wait, range(100)))
    start = time.monotonic()
    with pytest.raises(TaskTimeoutError, match="it ran longer than it may"):
        InProcess(2**30).compute(graph, Order(deadline_s=start + 0.3))
    assert time.monotonic() - start < 2.0  # all tasks take 5 s


def test_nothing_starts_after_a_stop(names: Context) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(StoppedError):
        InProcess(2**30).compute(run_task(names, double, 2), stop=stop)


def test_tasks_run_in_the_thread_of_the_caller_so_that_breakpoints_work(names: Context) -> None:
    assert InProcess(2**30).compute(run_task(names, current_thread)) == threading.get_ident()


def test_a_task_may_use_part_of_the_memory() -> None:
    resources = InProcess(10 * 2**30).resources()
    assert (resources.slots, resources.memory_bytes) == (1, 4 * 2**30)


def test_two_tasks_of_one_name_are_refused() -> None:
    names = guarded([])
    run_task(names, double, 1)
    with pytest.raises(StageError, match=r"two tasks of step 's' are called 's.double-2'; give each of them a `name`"):
        run_task(names, double, 2)
    run_task(names, double, 2, name="double-again")


def test_nothing_cannot_be_merged(names: Context) -> None:
    with pytest.raises(StageError, match="nothing to merge by add: the step has no chunks; return an Outcome"):
        reduce_tree(names, add, [])


def test_a_worker_keeps_memory_for_its_libraries_and_below_what_makes_dask_spill() -> None:
    assert memory_of_task(4 * 2**30) == int(0.7 * 4 * 2**30 - 450 * 2**20)
    assert memory_of_task(8 * 2**30, threads=2) == int((0.7 * 8 * 2**30 - 450 * 2**20) / 2)
    # Small ones have to make do.
    assert memory_of_task(512 * 2**20) == 128 * 2**20
