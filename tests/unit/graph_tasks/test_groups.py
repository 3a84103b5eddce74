"""The tasks of a graph are grouped by name, in the order in which they can be computed."""

from __future__ import annotations

import pytest

from radps.context.model import Context, Workspace
from radps.graph_tasks.groups import group_tasks
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task


@pytest.fixture
def names() -> Context:
    return Context(run_id="r").at(Workspace(url="/nowhere", step="s"))


def name_of(key: str) -> str:
    return key.partition(".")[2].partition("-")[0]


def test_groups_have_counts_and_edges_and_none_inside_of_a_tree(names: Context) -> None:
    created = run_task(names, print, name="create")
    parts = map_chunks(names, abs, range(20), name="write", after=created)
    total = run_task(names, print, reduce_tree(names, sum, parts, name="add"), name="report")
    groups = group_tasks(total, name_of)
    assert list(groups.counts.items()) == [("create", 1), ("write", 20), ("add", 4), ("report", 1)]
    assert groups.edges == {("create", "write"): 20, ("write", "add"): 20, ("add", "report"): 1}


def test_a_graph_of_one_task_is_one_group(names: Context) -> None:
    assert group_tasks(run_task(names, print, name="alone"), name_of) == ({"alone": 1}, {})
