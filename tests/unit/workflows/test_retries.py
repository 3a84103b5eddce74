"""Tasks that fail, hang or want more than there is: repeated, ended or refused, and recorded the same everywhere."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from radps.context.model import Context
from radps.context.records import StepState
from radps.errors import ClusterError
from radps.execution.client import OnClient
from radps.execution.clusters import LocalMachine, open_engine
from radps.execution.engine import Engine, InProcess
from radps.node_tasks.faults import Faults
from radps.node_tasks.guard import TaskEnd, TaskEvent
from radps.progress import LineObserver
from radps.run_folder.events import read_events
from radps.run_folder.task_records import TaskRecord, load_task_records, task_records_url
from radps.workflows.observers import Silent
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner


@pytest.fixture(scope="module")
def one_worker(user_stages: str) -> Iterator[OnClient]:
    """One worker process, which offers a resource."""
    config = LocalMachine(workers=1, memory_limit=2.0**29, resources={"GPU": 1.0})
    with open_engine(config, retries=2) as engine:
        assert isinstance(engine, OnClient)
        yield engine


@pytest.fixture(params=["process", "cluster"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """In this process, and on a worker."""
    if request.param == "process":
        return InProcess(2**30)
    one_worker: OnClient = request.getfixturevalue("one_worker")
    return one_worker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder that is not there yet."""
    return tmp_path / "run"


def make_runner(folder: Path, engine: Engine, step: dict[str, Any], observer: Any = None, **top: Any) -> Runner:
    config = {"run": str(folder), "cluster": "none", "steps": [{"id": "a", "after": [], **step}], **top}
    return Runner(load_workflow(config), engine=engine, observer=observer)


def run(folder: Path, engine: Engine, step: dict[str, Any], observer: Any = None, **top: Any) -> Context:
    return make_runner(folder, engine, step, observer, **top).run()


def flaky(tries: Path, failures: int = 2, which: tuple[int, ...] = (1,), **policy: Any) -> dict[str, Any]:
    """Return a step with tasks that fail so many times."""
    params = {"folder": str(tries), "failures": failures, "which": list(which)}
    return {"stage": "user_stages:flaky", "params": params, **policy}


def hangs(until: Path, **policy: Any) -> dict[str, Any]:
    """Return a step with a task that waits for a file which does not come."""
    return {"stage": "user_stages:waits", "params": {"until": str(until)}, **policy}


def tasks_of(folder: Path) -> dict[str, TaskRecord]:
    return {record.key: record for record in load_task_records(task_records_url(str(folder), "a", 1))}


def events_of(folder: Path, name: str) -> list[Any]:
    return [event.fields for event in read_events(str(folder)) if event.event == name]


class Tasks(Silent):
    """Notes the events of tasks."""

    def __init__(self) -> None:
        self.events: list[TaskEvent] = []

    def task(self, step: str, event: TaskEvent) -> None:
        self.events.append(event)


# --- repeated ---


def test_a_task_that_fails_twice_is_repeated_and_recorded(folder: Path, engine: Engine, tmp_path: Path) -> None:
    context = run(folder, engine, flaky(tmp_path / "tries", retries=2, retry_delay=0.05))
    record = context.steps["a"]
    assert record.state is StepState.DONE
    assert record.outcome is not None
    assert record.outcome.summary == {"sum": 5}
    assert (record.tasks, record.tasks_done, record.retries) == (5, 5, 2)
    assert record.last_error == "a.try-1-00001: OSError: try 2 of task 1 fails"
    tries = {key: (task.state, task.tries, task.error) for key, task in tasks_of(folder).items()}
    assert tries == {
        "a.try-1-00000": ("done", 1, ""),
        "a.try-1-00001": ("done", 3, "OSError: try 2 of task 1 fails"),
        "a.try-1-00002": ("done", 1, ""),
        "a.add-1-0-00000": ("done", 1, ""),
        "a.report-1": ("done", 1, ""),
    }


def test_each_retry_is_an_event_with_a_pause_that_doubles(folder: Path, engine: Engine, tmp_path: Path) -> None:
    run(folder, engine, flaky(tmp_path / "tries", retries=3, retry_delay=0.05))
    found = [
        (fields["task"], fields["tries"], fields["of"], fields["delay_s"]) for fields in events_of(folder, "task.retry")
    ]
    assert found == [("a.try-1-00001", 1, 4, 0.05), ("a.try-1-00001", 2, 4, 0.1)]


def test_who_watches_reads_that_a_task_is_up_for_retry(folder: Path, engine: Engine, tmp_path: Path) -> None:
    screen = Console(file=io.StringIO(), width=200)
    with LineObserver(screen) as observer:
        run(folder, engine, flaky(tmp_path / "tries", retries=2, retry_delay=0.05), observer)
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line for line in lines if "up for retry" in line] == [
        "a: try-1-00001 failed (OSError: try 1 of task 1 fails); up for retry 1 of 2 in 0.05 s",
        "a: try-1-00001 failed (OSError: try 2 of task 1 fails); up for retry 2 of 2 in 0.1 s",
    ]


def test_a_task_that_fails_more_often_fails_the_step_with_its_last_error(
    folder: Path, engine: Engine, tmp_path: Path
) -> None:
    record = run(folder, engine, flaky(tmp_path / "tries", failures=5, retries=1, retry_delay=0.0)).steps["a"]
    assert record.state is StepState.FAILED
    assert record.error == "OSError: try 2 of task 1 fails (in task a.try-1-00001)"
    assert record.retries == 1
    failed = tasks_of(folder)["a.try-1-00001"]
    assert (failed.state, failed.tries, failed.error) == ("failed", 2, "OSError: try 2 of task 1 fails")
    assert [fields["tries"] for fields in events_of(folder, "task.failed")] == [2]


def test_an_attempt_that_goes_on_goes_on_counting_its_retries(folder: Path, engine: Engine, tmp_path: Path) -> None:
    step = flaky(tmp_path / "tries", failures=3, retries=1, retry_delay=0.0)
    assert run(folder, engine, step).steps["a"].retries == 1
    done = {key for key, task in tasks_of(folder).items() if task.state == "done"}
    record = run(folder, engine, step).steps["a"]
    assert (record.state, record.attempt, record.resumed) == (StepState.DONE, 1, 1)
    assert record.retries == 2
    assert {key for key, task in tasks_of(folder).items() if task.state == "kept"} >= done


def test_other_tasks_use_the_slot_during_a_pause(folder: Path, one_worker: OnClient, tmp_path: Path) -> None:
    told = Tasks()
    step = flaky(tmp_path / "tries", failures=1, which=(0, 1, 2), retries=1, retry_delay=1.5)
    run(folder, one_worker, step, told)
    failed_s = [event.stop_s for event in told.events if event.end is TaskEnd.RETRY]
    assert len(failed_s) == 3
    assert max(failed_s) < min(failed_s) + 1.5  # all have had their first try before the first pause is over


# --- limits of time ---


def test_a_step_that_runs_too_long_is_ended(folder: Path, engine: Engine, tmp_path: Path) -> None:
    go = tmp_path / "go"
    start = time.monotonic()
    record = run(folder, engine, hangs(go, timeout=0.4, retries=2)).steps["a"]
    go.touch()  # a worker cannot leave what it has begun
    assert time.monotonic() - start < 20.0
    assert record.state is StepState.FAILED
    assert record.error is not None
    assert record.error.startswith("it ran longer than 0.4 s; give it more time (timeout of the step), or more workers")
    assert record.retries == 0


def test_a_stage_cannot_go_on_after_the_time_of_its_step(folder: Path, tmp_path: Path) -> None:
    step = {"stage": "user_stages:catches_all", "params": {"until": str(tmp_path / "go")}}
    record = run(folder, InProcess(2**30), {**step, "timeout": 0.2}).steps["a"]
    assert (record.state, record.outcome) == (StepState.FAILED, None)
    # The limit of a single task is something that it may know how to do without.
    record = run(tmp_path / "other", InProcess(2**30), {**step, "task_timeout": 0.2}).steps["a"]
    assert record.state is StepState.DONE
    assert record.outcome is not None
    assert record.outcome.message.startswith("the task ran longer than 0.2 s")


def test_a_task_that_hangs_in_the_process_is_ended_and_repeated(folder: Path, tmp_path: Path) -> None:
    step = hangs(tmp_path / "go", task_timeout=0.2, retries=1, retry_delay=0.0)
    record = run(folder, InProcess(2**30), step).steps["a"]
    assert record.error == (
        "the task ran longer than 0.2 s; give it more time (task_timeout), or make the chunks smaller "
        "(in task a.wait-1)"
    )
    assert (record.retries, tasks_of(folder)["a.wait-1"].tries) == (1, 2)


def test_a_task_that_hangs_takes_its_worker_and_is_repeated_until_the_last_time(
    folder: Path, one_worker: OnClient, tmp_path: Path
) -> None:
    before = one_worker._client.run(_process)
    record = run(folder, one_worker, hangs(tmp_path / "go", task_timeout=0.5, retries=1, retry_delay=0.0)).steps["a"]
    assert record.state is StepState.FAILED
    assert record.error == (
        "task a.wait-1 ran longer than 0.5 s; give it more time (task_timeout), or make the chunks smaller "
        "(more workers, or less memory for each)"
    )
    assert record.retries == 1
    task = tasks_of(folder)["a.wait-1"]
    assert (task.state, task.tries) == ("failed", 2)
    assert task.error.startswith("TaskTimeoutError: task a.wait-1 ran longer than 0.5 s")
    assert [fields["tries"] for fields in events_of(folder, "task.retry")] == [1]
    assert run(tmp_path / "next", one_worker, {"stage": "user_stages:squares"}).steps["a"].state is StepState.DONE
    assert set(one_worker._client.run(_process).values()).isdisjoint(before.values())


def _process() -> int:
    import os

    return os.getpid()


def test_a_task_that_hangs_once_is_done_by_the_next_worker(folder: Path, one_worker: OnClient) -> None:
    key = "a.cycle-0-1"
    seed = next(seed for seed in range(100) if _strikes_once(Faults(rate=0.5, seed=seed), key))
    faults = {"rate": 0.5, "seed": seed, "kind": "slow", "delay": "30 s", "tasks": "cycle-0-1"}
    step = {"stage": "user_stages:cycles", "params": {"n": 2}, "task_timeout": 1.5, "retries": 1, "retry_delay": 0}
    record = run(folder, one_worker, step, faults=faults).steps["a"]
    assert record.state is StepState.DONE
    assert record.outcome is not None
    assert record.outcome.summary == {"number": 16}
    assert record.retries == 1
    assert {name: task.tries for name, task in tasks_of(folder).items()} == {key: 2, "a.cycle-1-1": 1}


def _strikes_once(faults: Faults, key: str) -> bool:
    return faults.strikes(key, 1) and not faults.strikes(key, 2)


# --- resources and priority ---


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"GPU": 2}, r"no worker of .* offers GPU: 2; the workers offer GPU: 1: start workers with these resources"),
        ({"GPU": 1, "disk": 0.5}, r"no worker of .* offers GPU: 1, disk: 0\.5; the workers offer GPU: 1: start"),
    ],
)
def test_what_no_worker_offers_is_refused_before_the_run(
    folder: Path, one_worker: OnClient, wanted: dict[str, float], message: str
) -> None:
    with pytest.raises(ClusterError, match=message):
        run(folder, one_worker, {"stage": "user_stages:squares", "resources": wanted})
    assert not folder.exists()


def test_workers_without_resources_are_said_to_offer_none(folder: Path, two_workers: OnClient) -> None:
    with pytest.raises(ClusterError, match=r"offers GPU: 1; the workers offer none: start workers with these"):
        run(folder, two_workers, {"stage": "user_stages:squares", "resources": {"GPU": 1}})


def test_without_a_cluster_resources_have_no_meaning(folder: Path) -> None:
    step = {"stage": "user_stages:squares", "resources": {"GPU": 7}}
    assert run(folder, InProcess(2**30), step).steps["a"].state is StepState.DONE


def test_priority_and_resources_of_a_step_reach_the_scheduler(
    folder: Path, one_worker: OnClient, tmp_path: Path
) -> None:
    makes, go = tmp_path / "made", tmp_path / "go"
    step = {
        "id": "asks",  # the scheduler may still know tasks of the test before
        "stage": "user_stages:waits",
        "params": {"makes": str(makes), "until": str(go)},
        "priority": 7,
        "resources": {"GPU": 1},
    }
    found: list[Context] = []
    thread = threading.Thread(target=lambda: found.append(run(folder, one_worker, step)))
    thread.start()
    _wait_for(makes.exists)
    waiting = one_worker._client.run_on_scheduler(_asked_for)
    go.touch()
    thread.join()
    assert found[0].steps["asks"].state is StepState.DONE
    assert {name: asked for name, asked in waiting.items() if name.startswith("asks.")} == {
        "asks.wait-1": (-7, {"GPU": 1}),
        "asks.end-1": (-7, {"GPU": 1}),
    }


def _asked_for(dask_scheduler: Any) -> dict[str, tuple[int, Any]]:
    return {
        str(key).partition("@")[0]: (task.priority[0], task.resource_restrictions)
        for key, task in dask_scheduler.tasks.items()
    }


def _wait_for(condition: Callable[[], bool]) -> None:
    stop = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < stop, "it never happened"
        time.sleep(0.02)
