"""A run does exactly what its plan said, and exactly what the edits of its workflow touch."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radps.context.records import StepRecord
from radps.data import stores
from radps.data.urls import join_url
from radps.run_folder.store import RunStore
from radps.workflows.model import Workflow
from radps.workflows.observers import Silent
from radps.workflows.plan import Selection, plan_steps
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner, run_workflow

STAGES = ("squares", "direct", "writes_product")
NAMES = ("a", "b", "c", "d", "e")

Steps = dict[str, dict[str, Any]]
"""Step -> what the config says of it; each one after those that it needs."""


class Started(Silent):
    """Notes which steps begin."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def started(self, step: StepRecord) -> None:
        """Note the step."""
        self.steps.append(step.id)


class Change:
    """A workflow that was edited after it was run, and what the edits touch."""

    def __init__(self, steps: Steps) -> None:
        self.before = steps
        self.steps = {name: {**step, "params": dict(step["params"])} for name, step in steps.items()}
        self.damaged: set[str] = set()
        self.redo: set[str] = set()
        self.log: list[str] = []

    def edit(self, kind: str, name: str) -> None:
        """Make one edit."""
        self.log.append(f"{kind} {name}")
        step = self.steps[name]
        if kind == "parameter":
            step["params"]["n"] = step["params"]["n"] + 1
        elif kind == "stage":
            step["stage"] = "cycles"
        elif kind == "order":
            step["after"] = step["after"][1:]
        elif kind == "redo":
            self.redo.add(name)
        elif kind == "damage":
            self.damaged.add(name)
        elif kind == "add":
            self.steps[f"{name}-more"] = {"stage": "direct", "after": [name], "params": {"n": 1}}

    def touched(self) -> set[str]:
        """Return what has to be done again: what was edited or damaged, and all that comes after it."""
        found = {name for name in self.damaged if self.before[name]["stage"] == "writes_product"} | self.redo
        for name, step in self.steps.items():
            if step != self.before.get(name) or found.intersection(step["after"]):
                found.add(name)
        return found


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Draw a small workflow, and edits of it."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    steps: Steps = {}
    for number, name in enumerate(names):
        after = draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=3)) if number else []
        steps[name] = {
            "stage": draw(st.sampled_from(STAGES)),
            "after": after,
            "params": {"n": draw(st.integers(1, 3))},
        }
    change = Change(steps)
    kinds = st.sampled_from(("parameter", "stage", "order", "redo", "damage", "add"))
    for kind, name in draw(st.lists(st.tuples(kinds, st.sampled_from(names)), max_size=3)):
        change.edit(kind, name)
    return change


def as_workflow(url: str, steps: Steps) -> Workflow:
    listed = [{"id": name, **step, "stage": f"user_stages:{step['stage']}"} for name, step in steps.items()]
    return load_workflow({"run": url, "cluster": "none", "steps": listed})


@pytest.mark.usefixtures("user_stages")
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=changes(), until=st.one_of(st.none(), st.sampled_from(NAMES)))
def test_a_run_does_what_its_plan_said_and_what_the_edits_touch(
    tmp_path: Path, change: Change, until: str | None
) -> None:
    url = str(tmp_path / uuid.uuid4().hex)
    before = run_workflow(as_workflow(url, change.before))
    assert {record.attempt for record in before.steps.values()} == {1}
    for name in change.damaged:
        stores.delete(join_url(url, "products", f"{name}-1"))
    workflow = as_workflow(url, change.steps)
    until = until if until in change.steps and not change.redo else None
    selection = Selection(until=until, redo=tuple(sorted(change.redo)))
    plan = plan_steps(workflow, RunStore(url).load(), selection)

    wanted = change.touched()
    if until is not None:
        wanted &= {until, *(step.id for step in workflow.ancestors(until))}
    assert {planned.step.id for planned in plan if planned.runs} == wanted, change.log

    observer = Started()
    context = Runner(workflow, selection=selection, observer=observer).run()
    assert sorted(observer.steps) == sorted(wanted), change.log
    for name, record in context.steps.items():
        was_done = name in change.before
        assert record.attempt == was_done + (name in wanted), change.log
    if until is None:
        assert {str(record.state) for record in context.steps.values()} == {"done"}
        assert not any(planned.runs for planned in plan_steps(workflow, context)), change.log
    else:
        # What was left out is done by the next run, and nothing besides.
        observer = Started()
        Runner(workflow, observer=observer).run()
        assert sorted(observer.steps) == sorted(change.touched() - wanted), change.log
