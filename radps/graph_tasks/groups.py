"""The tasks of a graph by name: what a person wants to see of ten thousand tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from graphlib import TopologicalSorter
from typing import NamedTuple

from dask.delayed import Delayed


class TaskGroups(NamedTuple):
    """The tasks of a graph, those of one name together."""

    counts: dict[str, int]
    """Name -> number of tasks, in the order in which they can be computed."""
    edges: dict[tuple[str, str], int]
    """Name, name of what needs it -> number of results that go from one to the other. Inside of a group (a tree of
    sums) there are none."""


def group_tasks(graph: Delayed, name_of: Callable[[str], str]) -> TaskGroups:
    """Return the groups of the tasks of a graph.

    Parameters
    ----------
    graph : Delayed
        It is not computed.
    name_of : callable
        Key of a task -> name of its group.
    """
    needs = graph.__dask_graph__().get_all_dependencies()
    names = {key: name_of(str(key)) for key in needs}
    edges: Counter[tuple[str, str]] = Counter()
    for key, before in needs.items():
        edges.update((names[other], names[key]) for other in before if names[other] != names[key])
    depths = _depths(needs)
    order = sorted(needs, key=lambda key: (depths[key], str(key)))
    return TaskGroups(dict(Counter(names[key] for key in order)), dict(sorted(edges.items())))


def _depths(needs: dict[object, set[object]]) -> dict[object, int]:
    """Return for each task how many come before it, one after the other, at most."""
    depths: dict[object, int] = {}
    for key in TopologicalSorter(needs).static_order():
        depths[key] = max((depths[other] + 1 for other in needs[key]), default=0)
    return depths
