"""The few shapes of graphs that stages are made of. Every call of ``dask.delayed`` stands here.

``run_task``      one task.
``map_chunks``    one task a chunk.
``reduce_tree``   many results to one, a few at a time, in an order that depends on their number only.
``count_tasks``   how many tasks a graph has.

Keys are readable on the dashboard: ``image_cube.clean_channels-2-00012`` is chunk 12 of attempt 2. The attempt is
a part of the key, so that a rerun never meets a result of the run before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import dask
from dask.delayed import Delayed


class TaskNames(Protocol):
    """What names the tasks of a step; the context is one."""

    def task_key(self, name: str) -> str:
        """Return the start of a task's key: step, name, attempt."""


FAN_IN = 8
"""How many results one task of a reduction takes."""


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
    return _delayed(function, key, arguments, options, after)


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
        _delayed(function, f"{key}-{number:05d}", (chunk, *arguments), options, after)
        for number, chunk in enumerate(chunks)
    ]


def reduce_tree(
    names: TaskNames, function: Callable[[list[Any]], Any], parts: Sequence[Delayed], *, name: str = ""
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
    """
    key = names.task_key(name or function.__name__)
    level = 0
    while True:
        parts = [
            _delayed(function, f"{key}-{level}-{start // FAN_IN:05d}", (list(parts[start : start + FAN_IN]),), {}, None)
            for start in range(0, len(parts), FAN_IN)
        ]
        level += 1
        if len(parts) == 1:
            return parts[0]


def count_tasks(graph: Delayed) -> int:
    """Return the number of tasks of a graph."""
    return len(dict(graph.__dask_graph__()))


def _delayed(
    function: Callable[..., Any], key: str, arguments: Sequence[Any], options: dict[str, Any], after: object
) -> Delayed:
    """Return the delayed call, refusing arrays, which belong into stores."""
    for argument in (*arguments, *options.values()):
        if type(argument).__module__.partition(".")[0] in ("numpy", "xarray") and getattr(argument, "ndim", None):
            raise TypeError(f"{key}: an array of shape {argument.shape} as an argument; pass its address instead")
    if after is None:
        return dask.delayed(function, pure=False, traverse=True)(*arguments, dask_key_name=key, **options)
    return dask.delayed(_run_after, pure=False)(after, function, *arguments, dask_key_name=key, **options)


def _run_after(after: object, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call ``function`` once ``after`` is computed; its value is dropped."""
    del after
    return function(*arguments, **options)
