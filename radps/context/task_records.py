"""Records of single tasks: one zarr group for each attempt of a step, with one array a column.

They stand beside the context, in ``tasks.zarr/<step>-<attempt>`` of the run folder: a step may have ten thousand tasks,
which is nothing for an array and much for a JSON that is written at every commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from radps.data import stores
from radps.data.urls import join_url
from radps.errors import DataError

TASKS = "tasks.zarr"
"""Folder of the task records of a run."""

TASK_STATES = ("done", "failed", "kept")

_DTYPES = {int: "i8", float: "f8"}
_LONGEST_ERROR = 500
"""Characters of an error that are kept; the whole text stands in the record of the step and in the log."""


class TaskRecord(NamedTuple):
    """What became of one task in one attempt of a step."""

    key: str
    """As the dashboard shows it: step, name, attempt, number."""
    state: str
    """``done``, ``failed``, or ``kept``: a result of an earlier try of this attempt, not computed again."""
    worker: str
    """Address or name of the worker, ``in-process`` without a cluster."""
    start_s: float
    """Of the last try: UTC unix seconds, by the clock of the worker."""
    stop_s: float
    tries: int
    """How often it was started: 1 for a task that needed no retry."""
    bytes_written: int
    peak_memory_bytes: int
    """Of the worker's process while the task ran; 0 = not known."""
    error: str
    """Of the last try that failed; empty if none did."""


def task_records_url(run: str, step: str, attempt: int) -> str:
    """Return where the task records of an attempt of a step are."""
    return join_url(run, TASKS, f"{step}-{attempt}")


def save_task_records(url: str, records: Iterable[TaskRecord]) -> None:
    """Write the records of an attempt, in place of those that are there.

    Parameters
    ----------
    url : str
        Of the group, see :func:`task_records_url`.
    records : iterable of TaskRecord
        In any order; they are stored by the time of start.
    """
    short = (record._replace(error=_shorten(record.error)) for record in records)
    rows = sorted(short, key=lambda record: (record.start_s, record.key))
    stores.require_parents(url)
    stores.create_group(url, {"n_tasks": len(rows)}, overwrite=True)
    for number, (name, kind) in enumerate(get_type_hints(TaskRecord).items()):
        column = np.asarray([row[number] for row in rows], dtype=_DTYPES.get(kind, "U"))
        stores.save_array(join_url(url, name), column, dims=["task"])


def load_task_records(url: str) -> tuple[TaskRecord, ...]:
    """Return the records of an attempt, in the order of start.

    Raises
    ------
    DataError
        There are none, or they are damaged (a driver that was killed while it wrote them).
    """
    expected = stores.open_group(url).attrs.get("n_tasks")
    columns = [_load_column(url, name) for name in TaskRecord._fields]
    lengths = {name: len(column) for name, column in zip(TaskRecord._fields, columns, strict=True)}
    if set(lengths.values()) != {expected}:
        raise DataError(
            f"the task records at {url} are damaged: {expected} tasks, but columns of "
            f"{', '.join(f'{name} {length}' for name, length in lengths.items())}; do the step again to have them"
        )
    return tuple(map(TaskRecord._make, zip(*columns, strict=True)))


def _load_column(url: str, name: str) -> list[Any]:
    """Return a column as plain Python numbers or texts."""
    column: list[Any] = stores.load_array(join_url(url, name)).tolist()
    return column


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_ERROR else f"{text[: _LONGEST_ERROR - 3]}..."
