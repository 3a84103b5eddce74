"""Workflows and the tasks of their steps as graphs: what is in them, and what is not known yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import pytest

from radps.errors import ConfigError, ContextError, StageError
from radps.workflows.graphs import Edge, task_graph, workflow_graph
from radps.workflows.model import Workflow
from radps.workflows.plan import Selection
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

STEPS: list[Any] = [
    {"id": "first", "stage": "user_stages:squares"},
    {"id": "bad", "stage": "user_stages:fails", "after": "first"},
    {"id": "alarm", "stage": "user_stages:direct", "after": "bad", "when": "failure"},
    {"id": "writes", "stage": "user_stages:writes", "after": "first"},
]


def workflow(folder: Path, steps: list[Any] | None = None) -> Workflow:
    return load_workflow({"run": str(folder), "cluster": "none", "project": "P", "steps": steps or STEPS})


def test_a_workflow_that_was_not_run_has_steps_and_no_states(tmp_path: Path) -> None:
    graph = workflow_graph(workflow(tmp_path / "run"))
    assert graph.title == "P: 4 steps"
    assert graph.nodes[0].text == ("first", "user_stages:squares")
    assert {node.state for node in graph.nodes} == {""}
    assert not (tmp_path / "run").exists()


def test_steps_have_the_states_of_the_run_and_arrows_say_when(tmp_path: Path) -> None:
    run_workflow(workflow(tmp_path))
    graph = workflow_graph(workflow(tmp_path))
    states = {node.id: node.state for node in graph.nodes}
    assert states == {"first": "done", "bad": "failed", "alarm": "done", "writes": "done"}
    assert all(node.text[-1] == node.state for node in graph.nodes)
    assert set(graph.edges) == {
        Edge("first", "bad"),
        Edge("bad", "alarm", "when: failure", is_dashed=True),
        Edge("first", "writes"),
    }


def test_the_tasks_of_a_step_are_grouped_and_nothing_is_computed(tmp_path: Path) -> None:
    steps = ["user_stages:squares", "user_stages:writes"]
    run_workflow(workflow(tmp_path, steps), selection=Selection(until="squares"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    before = sorted(tmp_path.rglob("*"))
    with dask.config.set(scheduler=refuse):
        graph = task_graph(workflow(tmp_path, steps), "writes")
    assert sorted(tmp_path.rglob("*")) == before
    assert graph.title == "step writes (stage user_stages:writes): 15 tasks"
    assert [node.text for node in graph.nodes] == [
        ("create", "1 task"),
        ("write", "10 tasks"),
        ("count", "3 tasks"),
        ("report", "1 task"),
    ]
    assert set(graph.edges) == {
        Edge("create", "write", "10"),
        Edge("write", "count", "10"),
        Edge("count", "report", "1"),
    }


def test_a_step_without_predecessors_needs_no_run(tmp_path: Path) -> None:
    assert len(task_graph(workflow(tmp_path / "run"), "first").nodes) == 3
    assert not (tmp_path / "run").exists()


def test_the_first_graph_of_several_is_shown_and_said_to_be_that(tmp_path: Path) -> None:
    graph = task_graph(workflow(tmp_path, ["user_stages:cycles"]), "cycles")
    assert [node.id for node in graph.nodes] == ["cycle-0"]
    assert "1 task; the first graph of several: what comes next depends on its result" in graph.title


def test_what_is_not_known_yet_or_is_no_graph_is_said(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match=r"step 'writes' depend on what first will find, .* --until first"):
        task_graph(workflow(tmp_path), "writes")
    with pytest.raises(ConfigError, match=r"there is no step 'frist'; did you mean 'first'"):
        task_graph(workflow(tmp_path), "frist")
    with pytest.raises(StageError, match=r"step 'direct' \(stage user_stages:direct\) has no tasks"):
        task_graph(workflow(tmp_path, ["user_stages:direct"]), "direct")
    with pytest.raises(StageError, match=r"stage user_stages:fails of step 'fails' cannot build .*ValueError: nothing"):
        task_graph(workflow(tmp_path, ["user_stages:fails"]), "fails")
    with pytest.raises(ContextError, match=r"no cube to make moments of"):
        task_graph(workflow(tmp_path, ["moments"]), "moments")
