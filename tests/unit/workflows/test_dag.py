"""The graph of steps: what runs at the same time, what starts when, what a failure, a pause and a stop leave behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from radps.context.model import Context
from radps.context.records import StepState
from radps.execution.client import OnClient
from radps.execution.engine import Engine, InProcess
from radps.run_folder.events import read_events
from radps.run_folder.store import RunStore
from radps.stages.base import find_stage
from radps.workflows import plan, step_work
from radps.workflows.model import Workflow
from radps.workflows.plan import Selection, plan_steps
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner


@pytest.fixture(params=["process", "cluster"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """In this process, and on two workers."""
    if request.param == "process":
        return InProcess(2**30)
    two_workers: OnClient = request.getfixturevalue("two_workers")
    return two_workers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder that is not there yet."""
    return tmp_path / "run"


def step(name: str, stage: str, *after: str, when: str = "success", **parameters: Any) -> dict[str, Any]:
    return {"id": name, "stage": f"user_stages:{stage}", "after": list(after), "when": when, "params": parameters}


def workflow(folder: Path, *steps: dict[str, Any]) -> Workflow:
    return load_workflow({"run": str(folder), "cluster": "none", "steps": list(steps)})


def run(folder: Path, engine: Engine, *steps: dict[str, Any], **options: Any) -> Context:
    return Runner(workflow(folder, *steps), engine=engine, **options).run()


def states(context: Context) -> dict[str, str]:
    return {name: str(record.state) for name, record in context.steps.items()}


def run_states(folder: Path) -> list[str]:
    """Return how each run in a folder ended."""
    return [event.fields["state"] for event in read_events(str(folder)) if event.event == "run.ended"]


def started(folder: Path) -> list[tuple[str, int, bool]]:
    """Return step, attempt and whether it went on, of every start of a step."""
    events = [event.fields for event in read_events(str(folder)) if event.event == "step.started"]
    return [(fields["step"], fields["attempt"], fields["resumed"]) for fields in events]


# --- at the same time ---


def test_independent_steps_run_at_the_same_time(folder: Path, two_workers: OnClient, tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    context = run(
        folder,
        two_workers,
        step("first", "waits", makes=one, until=two),  # each one ends only after the other one has begun
        step("second", "waits", makes=two, until=one),
    )
    assert states(context) == {"first": "done", "second": "done"}


def test_a_step_starts_when_its_own_inputs_are_there(folder: Path, two_workers: OnClient, tmp_path: Path) -> None:
    marker = str(tmp_path / "marker")
    context = run(
        folder,
        two_workers,
        step("slow", "waits", until=marker),
        step("fast", "squares"),
        step("after_fast", "waits", "fast", makes=marker),  # lets `slow` end
        step("after_both", "squares", "slow", "after_fast"),
    )
    assert set(states(context).values()) == {"done"}
    assert context.steps["after_fast"].start_s < (context.steps["slow"].stop_s or 0.0)
    assert context.steps["after_both"].start_s >= (context.steps["slow"].stop_s or 0.0)


def test_steps_in_this_process_run_one_after_the_other_in_the_order_of_the_config(folder: Path) -> None:
    names = ["c", "a", "b"]
    context = run(folder, InProcess(2**30), *(step(name, "squares") for name in names))
    assert [name for name, _, _ in started(folder)] == names
    records = list(context.steps.values())
    assert all((a.stop_s or 0.0) <= b.start_s for a, b in pairwise(records))


def test_only_the_main_thread_looks_for_stages(
    folder: Path, two_workers: OnClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    def find(name: str) -> Any:
        threads.add(threading.current_thread())
        return find_stage(name)

    for module in (step_work, plan):
        monkeypatch.setattr(module, "find_stage", find)
    run(folder, two_workers, step("a", "squares"), step("b", "squares"))
    assert threads == {threading.main_thread()}


# --- failures ---


def test_a_failed_step_blocks_only_what_needs_it(folder: Path, engine: Engine) -> None:
    context = run(
        folder,
        engine,
        step("bad", "task_fails"),
        step("needs_bad", "direct", "bad"),
        step("needs_that", "direct", "needs_bad"),
        step("aside", "squares"),
        step("after_aside", "squares", "aside"),
    )
    assert states(context) == {
        "bad": "failed",
        "aside": "done",
        "needs_bad": "blocked",
        "needs_that": "blocked",
        "after_aside": "done",
    }
    assert run_states(folder) == ["failed"]


def rescue_steps(marker: Path) -> list[dict[str, Any]]:
    """Return a step that fails without a file, and what happens then."""
    return [
        step("work", "needs_marker", marker=str(marker)),
        step("go_on", "squares", "work"),
        step("rescue", "squares", "work", when="failure"),
        step("after_rescue", "squares", "rescue"),
        step("report", "squares", "go_on", "rescue", when="always"),
    ]


def test_a_failure_starts_those_who_wait_for_it(folder: Path, engine: Engine, tmp_path: Path) -> None:
    context = run(folder, engine, *rescue_steps(tmp_path / "marker"))
    assert states(context) == {
        "work": "failed",
        "go_on": "blocked",
        "rescue": "done",
        "after_rescue": "done",
        "report": "done",
    }


def test_without_a_failure_they_are_skipped_and_nothing_is_left_to_do(
    folder: Path, engine: Engine, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    steps = rescue_steps(marker)
    context = run(folder, engine, *steps)
    assert states(context) == {
        "work": "done",
        "go_on": "done",
        "rescue": "skipped",
        "after_rescue": "skipped",
        "report": "done",
    }
    assert context.steps["rescue"].error == "no failure of work"
    assert context.steps["after_rescue"].error == "needs rescue (skipped)"
    assert run_states(folder) == ["done"]
    planned = {one.step.id: one for one in plan_steps(workflow(folder, *steps), context)}
    assert not any(one.runs for one in planned.values())
    assert planned["after_rescue"].reason == "needs rescue, which is skipped"
    assert run(folder, engine, *steps) == context


def test_a_handler_of_failures_runs_again_only_after_a_new_failure(folder: Path, tmp_path: Path) -> None:
    engine, marker = InProcess(2**30), tmp_path / "marker"
    steps = rescue_steps(marker)
    assert run(folder, engine, *steps).steps["rescue"].attempt == 1
    again = run(folder, engine, *steps)
    assert (again.steps["rescue"].state, again.steps["rescue"].attempt) == (StepState.DONE, 2)
    assert again.steps["rescue"].resumed == 0
    marker.touch()
    mended = run(folder, engine, *steps)
    assert states(mended) == {
        "work": "done",
        "go_on": "done",
        "rescue": "skipped",
        "after_rescue": "skipped",
        "report": "done",
    }
    assert mended.steps["rescue"].outcome is None
    before = started(folder)
    run(folder, engine, *steps)
    assert started(folder) == before


@pytest.mark.parametrize("fails", [True, False])
def test_the_command_says_by_its_table_and_its_code_what_became_of_the_steps(
    call: Callable[..., Any], folder: Path, tmp_path: Path, fails: bool
) -> None:
    marker = tmp_path / "marker"
    if not fails:
        marker.touch()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"run": str(folder), "cluster": "none", "steps": rescue_steps(marker)}))
    result = call(config)
    assert result.code == (1 if fails else 0)
    table = call("status", folder).output
    words = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    assert ("failed" if fails else "done") in words["work"]
    assert ("blocked" if fails else "done") in words["go_on"]
    assert ("done" if fails else "skipped") in words["rescue"]
    assert "done" in words["report"]


def test_an_error_of_the_stage_is_not_said_to_be_of_a_task(folder: Path, engine: Engine) -> None:
    assert run(folder, engine, step("a", "fails_by_itself")).steps["a"].error == "ValueError: of the stage"


# --- pauses ---


def paused_steps() -> list[dict[str, Any]]:
    return [
        step("first", "squares"),
        step("look", "squares", "first"),
        step("after_look", "squares", "look"),
        step("aside", "squares", "first"),
    ]


def test_a_pause_holds_only_what_needs_the_step(folder: Path, engine: Engine) -> None:
    selection = Selection(pause_before=("look", "after_look"))
    context = run(folder, engine, *paused_steps(), selection=selection)
    assert states(context) == {"first": "done", "look": "paused", "after_look": "pending", "aside": "done"}
    assert RunStore(str(folder)).load() == context
    assert run_states(folder) == ["paused"]
    paused = [event.fields["before"] for event in read_events(str(folder)) if event.event == "run.paused"]
    assert paused == ["look"]
    context = run(folder, engine, *paused_steps())
    assert set(states(context).values()) == {"done"}
    assert [name for name, _, _ in started(folder)][-2:] == ["look", "after_look"]
    assert run_states(folder) == ["paused", "done"]


def test_who_runs_is_asked_at_each_pause_when_nothing_else_is_left(folder: Path, engine: Engine) -> None:
    asked: list[tuple[str, list[str]]] = []

    def on_pause(name: str) -> bool:
        asked.append((name, [step for step, _, _ in started(folder)]))
        return name == "look"

    selection = Selection(pause_before=("after_look", "look"))
    context = run(folder, engine, *paused_steps(), selection=selection, on_pause=on_pause)
    assert [name for name, _ in asked] == ["look", "after_look"]
    assert set(asked[0][1]) == {"first", "aside"}
    assert states(context) == {"first": "done", "look": "done", "after_look": "paused", "aside": "done"}


# --- stops ---


@pytest.fixture
def stop_when() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Sends SIGINT to this process as soon as something is true."""
    over, threads = threading.Event(), []

    def begin(condition: Callable[[], bool]) -> None:
        def watch() -> None:
            while not over.wait(0.01):
                if condition():
                    os.kill(os.getpid(), signal.SIGINT)
                    return

        threads.append(threading.Thread(target=watch))
        threads[-1].start()

    yield begin
    over.set()
    for thread in threads:
        thread.join()


def test_a_stop_ends_all_steps_that_run_and_all_go_on(
    folder: Path, two_workers: OnClient, tmp_path: Path, stop_when: Callable[[Callable[[], bool]], None]
) -> None:
    began, go = [tmp_path / name for name in ("a", "b")], tmp_path / "go"
    steps = [
        step("one", "waits", makes=str(began[0]), until=str(go)),
        step("two", "waits", makes=str(began[1]), until=str(go)),
        step("last", "squares", "one", "two"),
    ]
    stop_when(lambda: all(path.exists() for path in began))
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(folder, two_workers, *steps)
    assert time.monotonic() - start < 20.0  # the tasks would wait for 30 s
    stopped = RunStore(str(folder)).load()
    assert states(stopped) == {"one": "stopped", "two": "stopped", "last": "pending"}
    assert run_states(folder) == ["stopped"]
    go.touch()
    context = run(folder, two_workers, *steps)
    assert set(states(context).values()) == {"done"}
    assert sorted(started(folder)[-3:-1]) == [("one", 1, True), ("two", 1, True)]
    assert started(folder)[-1] == ("last", 1, False)


def test_a_stage_that_raises_an_interrupt_ends_and_nobody_waits_for_it(folder: Path, two_workers: OnClient) -> None:
    context = run(folder, two_workers, step("a", "interrupts"), step("b", "squares"))
    assert states(context) == {"a": "stopped", "b": "done"}
