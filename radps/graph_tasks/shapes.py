"""The few shapes of graphs that stages are made of. Every call of ``dask.delayed`` stands here.

``run_task``      one task.
``map_chunks``    one task a chunk.
``reduce_tree``   many results to one, a few at a time, in an order that depends on their number only.
``count_tasks``   how many tasks a graph has.
``Keep``          results that stay where they were computed, for the graphs that follow.

Names of tasks are readable on the dashboard: ``image_cube.clean_channels-2-00012`` is chunk 12 of attempt 2. The
attempt is a part of the name, so that a rerun never meets a result of the run before. In a key a mark of the run
follows, ``...-00012@3fa9c1``: two runs on one scheduler never meet either.

Inside a run every task is guarded (:mod:`radps.node_tasks.guard`). One that has ended in an earlier run of the same
attempt becomes a task that reads its result, and needs nothing that it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import dask
from dask.delayed import Delayed

from radps.errors import StageError
from radps.node_tasks.guard import TaskRules, load_result, run_guarded


class TaskNames(Protocol):
    """What names the tasks of a step, and says how they are run; the context is one."""

    def task_key(self, name: str) -> str:
        """Return the start of a task's name: step, name, attempt."""

    def task_rules(self) -> TaskRules | None:
        """Return how tasks are run; None outside a run: plainly."""

    def run_mark(self) -> str:
        """Return what tells the keys of this run from those of others; empty outside a run."""

    def is_finished(self, key: str) -> bool:
        """Return True if the result of a task is kept."""

    def claim(self, key: str) -> None:
        """Give a name to one task; raises StageError if another one has it."""


class Keep(NamedTuple):
    """What a stage yields to keep results in the memory of the workers: it is answered by handles, one for each part.

    A handle goes into later graphs like the graph that it stands for, without computing it again. What is lost with a
    worker is computed again by the scheduler. Results are freed when the stage ends.
    """

    parts: Sequence[Delayed]


FAN_IN = 8
"""How many results one task of a reduction takes, if it is not told."""


def run_task(
    names: TaskNames,
    function: Callable[..., Any],
    *arguments: Any,
    name: str = "",
    after: object = None,
    **options: Any,
) -> Delayed:
    """Return a graph of one task.

    Parameters
    ----------
    names : TaskNames
        The context, bound to a step: gives the key of the task.
    function : callable
        A function of a module (workers import it by name).
    *arguments, **options
        Numbers, small frozen models, or other graphs, whose results the task then gets.
    name : str
        What the task does, if not the name of the function.
    after : Delayed or sequence of Delayed, optional
        Graphs that have to be computed first, and whose results are not needed.
    """
    key = names.task_key(name or function.__name__)
    return _delayed(names, function, key, arguments, options, after)


def map_chunks(
    names: TaskNames,
    function: Callable[..., Any],
    chunks: Sequence[Any],
    *arguments: Any,
    name: str = "",
    after: object = None,
    **options: Any,
) -> list[Delayed]:
    """Return a graph for each chunk: ``function(chunk, *arguments, **options)``; parameters as of :func:`run_task`."""
    key = names.task_key(name or function.__name__)
    return [
        _delayed(names, function, f"{key}-{number:05d}", (chunk, *arguments), options, after)
        for number, chunk in enumerate(chunks)
    ]


def reduce_tree(
    names: TaskNames,
    function: Callable[[list[Any]], Any],
    parts: Sequence[Delayed],
    *,
    name: str = "",
    fan_in: int = FAN_IN,
) -> Delayed:
    """Return a graph that merges many results into one.

    The order of the merging depends on the number of the parts only, never on which is ready first: sums come out the
    same to the last bit on every cluster.

    Parameters
    ----------
    function : callable
        ``function(list of results) -> result``; it has to accept its own results again.
    parts : sequence of Delayed
        At least one.
    fan_in : int
        How many results one task takes; few where they are large, because all of them are in its memory.

    Raises
    ------
    StageError
        There are no parts.
    """
    if not parts:
        raise StageError(
            f"nothing to merge by {function.__name__}: the step has no chunks; return an Outcome that says so"
        )
    key = names.task_key(name or function.__name__)
    level = 0
    while True:
        parts = [
            _delayed(
                names,
                function,
                f"{key}-{level}-{start // fan_in:05d}",
                (list(parts[start : start + fan_in]),),
                {},
                None,
            )
            for start in range(0, len(parts), fan_in)
        ]
        level += 1
        if len(parts) == 1:
            return parts[0]


def count_tasks(graph: Delayed) -> int:
    """Return the number of tasks of a graph."""
    return len(dict(graph.__dask_graph__()))


def task_name(key: object) -> str:
    """Return the name of the task of a key, without the mark of the run."""
    return str(key).partition("@")[0]


def _delayed(
    names: TaskNames,
    function: Callable[..., Any],
    name: str,
    arguments: Sequence[Any],
    options: dict[str, Any],
    after: object,
) -> Delayed:
    """Return the delayed call, refusing arrays, which belong into stores."""
    for argument in (*arguments, *options.values()):
        if type(argument).__module__.partition(".")[0] in ("numpy", "xarray") and getattr(argument, "ndim", None):
            raise TypeError(f"{name}: an array of shape {argument.shape} as an argument; pass its address instead")
    names.claim(name)
    mark, rules = names.run_mark(), names.task_rules()
    key = f"{name}@{mark}" if mark else name
    if rules is not None and names.is_finished(name):
        return dask.delayed(load_result, pure=False)(rules, name, dask_key_name=key)
    call: tuple[Any, ...] = (function, *arguments) if after is None else (_run_after, after, function, *arguments)
    if rules is not None:
        call = (run_guarded, rules, name, *call)
    return dask.delayed(call[0], pure=False)(*call[1:], dask_key_name=key, **options)


def _run_after(after: object, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call ``function`` once ``after`` is computed; its value is dropped."""
    del after
    return function(*arguments, **options)
