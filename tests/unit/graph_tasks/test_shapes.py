"""The shapes of graphs: keys, order, what goes in."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from dask.delayed import Delayed

from radps.context.model import Context, Workspace
from radps.graph_tasks.shapes import FAN_IN, count_tasks, map_chunks, reduce_tree, run_task


@pytest.fixture
def names() -> Context:
    """Names the tasks: step ``s``, attempt 2."""
    return Context(run_id="r").at(Workspace(url="memory://run", step="s", attempt=2))


def join(parts: list[str]) -> str:
    return "(" + "+".join(parts) + ")"


def spell(number: int, prefix: str = "", *, suffix: str = "") -> str:
    return f"{prefix}{number}{suffix}"


def add(left: float, right: float) -> float:
    return left + right


def value(graph: Delayed) -> object:
    return graph.compute(scheduler="synchronous")


def keys(graph: Delayed) -> list[str]:
    return sorted(dict(graph.__dask_graph__()))


def test_keys_name_step_task_attempt_and_chunk(names: Context) -> None:
    assert keys(run_task(names, spell, 1)) == ["s.spell-2"]
    assert keys(run_task(names, spell, 1, name="other")) == ["s.other-2"]
    parts = map_chunks(names, spell, [5, 6], name="part")
    assert [part.key for part in parts] == ["s.part-2-00000", "s.part-2-00001"]


def test_arguments_and_options_reach_the_task(names: Context) -> None:
    assert value(run_task(names, spell, 3, "a", suffix="z")) == "a3z"
    assert [value(part) for part in map_chunks(names, spell, [1, 2], "a", suffix="z")] == ["a1z", "a2z"]


def test_the_results_of_graphs_reach_the_task(names: Context) -> None:
    one, two = run_task(names, spell, 1, name="one"), run_task(names, spell, 2, name="two")
    assert value(run_task(names, join, [one, two])) == "(1+2)"


def test_a_task_after_others_runs_after_them_without_their_results(names: Context) -> None:
    done: list[str] = []

    def note(word: str) -> str:
        done.append(word)
        return word

    first = map_chunks(names, note, ["a", "b"], name="first")
    assert value(run_task(names, note, "last", name="last", after=first)) == "last"
    assert sorted(done[:2]) == ["a", "b"]
    assert done[2:] == ["last"]


@pytest.mark.parametrize("count", [1, FAN_IN, FAN_IN + 1, FAN_IN**2 + 1])
def test_a_reduction_takes_every_part_once_and_in_order(names: Context, count: int) -> None:
    text = str(value(reduce_tree(names, join, map_chunks(names, spell, range(count)))))
    numbers = text.replace("(", "").replace(")", "").split("+")
    assert numbers == [str(number) for number in range(count)]


def test_no_task_of_a_reduction_takes_many_parts(names: Context) -> None:
    text = str(value(reduce_tree(names, join, map_chunks(names, spell, range(3 * FAN_IN)))))
    groups = text[1:-1].split("+(")
    assert len(groups) == 3
    assert {group.count("+") for group in groups} == {FAN_IN - 1}


def test_tasks_are_counted(names: Context) -> None:
    parts = map_chunks(names, spell, range(FAN_IN + 1))
    assert count_tasks(parts[0]) == 1
    assert count_tasks(reduce_tree(names, join, parts)) == FAN_IN + 1 + 2 + 1


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((1, 1), bool)])
def test_arrays_are_refused_as_arguments(names: Context, array: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"s\.spell-2.*an array of shape .* as an argument; pass its address instead"):
        run_task(names, spell, array)
    with pytest.raises(TypeError, match="as an argument"):
        map_chunks(names, spell, [array])


def test_numbers_of_numpy_are_fine(names: Context) -> None:
    assert value(run_task(names, add, np.float64(1.0), np.float32(2.0))) == 3.0


def test_a_large_map_is_small_when_pickled(names: Context) -> None:
    graph = reduce_tree(names, join, map_chunks(names, spell, range(1000), "prefix"))
    assert len(pickle.dumps(dict(graph.__dask_graph__()))) < 2**20  # 1 MiB for 1,000 tasks, by the design
