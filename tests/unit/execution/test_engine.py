"""Computing in the process: results, events, errors, and the thread that a debugger needs."""

from __future__ import annotations

import threading

import pytest

from radps.context.model import Context, Workspace
from radps.execution.engine import InProcess, TaskEvent
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task


@pytest.fixture
def names() -> Context:
    """Names the tasks: step ``s``, attempt 2."""
    return Context(run_id="r").at(Workspace(url="memory://run", step="s", attempt=2))


def double(number: int) -> int:
    return 2 * number


def add(parts: list[int]) -> int:
    return sum(parts)


def current_thread() -> int:
    return threading.get_ident()


def refuse(number: int) -> int:
    if number == 2:
        raise ValueError(f"not {number}")
    return number


def test_a_graph_gives_its_result(names: Context) -> None:
    graph = reduce_tree(names, add, map_chunks(names, double, range(20)))
    assert InProcess(2**30).compute(graph) == 380


def test_each_task_that_ends_is_an_event(names: Context) -> None:
    events: list[TaskEvent] = []
    graph = reduce_tree(names, add, map_chunks(names, double, [1, 2]))
    InProcess(2**30).compute(graph, events.append)
    assert sorted(event.key for event in events) == ["s.add-2-0-00000", "s.double-2-00000", "s.double-2-00001"]
    assert {(event.worker, event.failed) for event in events} == {("in-process", False)}
    assert all(1.6e9 < event.start_s <= event.stop_s for event in events)


def test_the_error_of_a_task_comes_through_and_its_task_is_named(names: Context) -> None:
    events: list[TaskEvent] = []
    with pytest.raises(ValueError, match="not 2"):
        InProcess(2**30).compute(reduce_tree(names, add, map_chunks(names, refuse, range(4))), events.append)
    assert [event.key for event in events if event.failed] == ["s.refuse-2-00002"]


def test_tasks_run_in_the_thread_of_the_caller_so_that_breakpoints_work(names: Context) -> None:
    assert InProcess(2**30).compute(run_task(names, current_thread)) == threading.get_ident()


def test_a_task_may_use_part_of_the_memory() -> None:
    resources = InProcess(10 * 2**30).resources()
    assert (resources.slots, resources.memory_bytes) == (1, 4 * 2**30)
