"""A run pauses before steps: it asks when nothing else is left to do, or ends there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from radps.errors import ConfigError
from radps.run_folder.events import read_events
from radps.run_folder.store import RunStore
from radps.workflows.model import Workflow
from radps.workflows.plan import Selection, plan_steps
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner, run_workflow
from radps.workflows.runs import list_runs
from radps.workflows.status import load_status

STEPS: list[Any] = [
    {"id": "first", "stage": "user_stages:squares", "after": []},
    {"id": "left", "stage": "user_stages:squares", "after": ["first"]},
    {"id": "right", "stage": "user_stages:direct", "after": ["first"]},
    {"id": "last", "stage": "user_stages:direct", "after": ["left"]},
]


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    return load_workflow({"run": str(tmp_path / "run"), "cluster": "none", "steps": STEPS})


def pause(workflow: Workflow, *names: str, answers: dict[str, bool] | None = None, redo: tuple[str, ...] = ()) -> Any:
    """Run with break points; return the states, and the steps at which was asked."""
    asked: list[tuple[str, list[str]]] = []

    def ask(step: str) -> bool:
        ended = [name for name, record in RunStore(workflow.run).load().steps.items() if record.state == "done"]
        asked.append((step, ended))
        return (answers or {})[step]

    runner = Runner(
        workflow,
        selection=Selection(pause_before=names, redo=redo),
        on_pause=None if answers is None else ask,
    )
    context = runner.run()
    return {name: str(record.state) for name, record in context.steps.items()}, asked


def test_a_run_that_cannot_ask_ends_there_when_all_else_is_done(workflow: Workflow) -> None:
    states, _ = pause(workflow, "left")
    assert states == {"first": "done", "left": "paused", "right": "done", "last": "pending"}
    assert load_status(workflow.run).state == "paused"
    assert load_status(workflow.run).steps[1].message == "the run was to pause before this step"
    assert [one.state for one in list_runs(Path(workflow.run).parent, "paused")] == ["paused"]
    events = read_events(workflow.run)
    assert [event.fields["before"] for event in events if event.event == "run.paused"] == ["left"]
    assert events[-1].fields["state"] == "paused"


def test_the_next_run_goes_on_after_the_pause(workflow: Workflow) -> None:
    pause(workflow, "left")
    plan = {planned.step.id: planned for planned in plan_steps(workflow, RunStore(workflow.run).load())}
    assert [name for name, planned in plan.items() if planned.runs] == ["left", "last"]
    context = run_workflow(workflow)
    assert {record.attempt for record in context.steps.values()} == {1}
    assert load_status(workflow.run).state == "done"


def test_it_asks_when_nothing_else_is_left_and_goes_on(workflow: Workflow) -> None:
    states, asked = pause(workflow, "left", answers={"left": True})
    assert asked == [("left", ["first", "right"])]
    assert set(states.values()) == {"done"}


def test_it_asks_only_at_steps_that_could_start(workflow: Workflow) -> None:
    states, asked = pause(workflow, "left", "last", answers={"left": True, "last": False})
    assert [step for step, _ in asked] == ["left", "last"]
    assert states == {"first": "done", "left": "done", "right": "done", "last": "paused"}
    states, asked = pause(workflow, "last", answers={"last": True})
    assert set(states.values()) == {"done"}


def test_who_ends_at_one_step_is_not_asked_at_another(workflow: Workflow) -> None:
    states, asked = pause(workflow, "left", "right", "last", answers={"left": False})
    assert [step for step, _ in asked] == ["left"]
    assert states == {"first": "done", "left": "paused", "right": "paused", "last": "pending"}


def test_a_step_that_is_done_and_unchanged_is_no_reason_to_pause(workflow: Workflow) -> None:
    run_workflow(workflow)
    states, asked = pause(workflow, "left", answers={})
    assert asked == []
    assert set(states.values()) == {"done"}


def test_what_a_step_made_before_stays_when_the_run_pauses_before_it(workflow: Workflow) -> None:
    before = run_workflow(workflow)
    states, _ = pause(workflow, "left", redo=("left",))
    assert set(states.values()) == {"done"}
    assert RunStore(workflow.run).load().steps == before.steps
    assert read_events(workflow.run)[-1].fields["state"] == "paused"
    assert not any(planned.runs for planned in plan_steps(workflow, RunStore(workflow.run).load()))


def test_ctrl_c_at_the_question_ends_the_run(workflow: Workflow) -> None:
    def interrupt(step: str) -> bool:
        raise KeyboardInterrupt

    runner = Runner(workflow, selection=Selection(pause_before=("left",)), on_pause=interrupt)
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    assert load_status(workflow.run).state == "stopped"
    assert read_events(workflow.run)[-1].fields["state"] == "stopped"
    assert {record.attempt for record in run_workflow(workflow).steps.values()} == {1}


def test_a_pause_before_no_step_is_refused(workflow: Workflow) -> None:
    with pytest.raises(ConfigError, match=r"there is no step 'lft'; did you mean 'left'\?"):
        pause(workflow, "lft")
    assert not Path(workflow.run).exists()
