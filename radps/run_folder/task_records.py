"""Records of single tasks: one zarr group for each attempt of a step.

They stand beside the context, in ``tasks.zarr/<step>-<attempt>`` of the run folder: a step may have ten thousand tasks,
which is nothing for an array and much for a JSON that is written at every commit.

``key`` has the names, (task); ``VALUES`` the numbers, (task, column). What few tasks differ in is in the attributes of
the group: ``columns``; ``states`` and ``workers``, which the columns of these names count in; ``errors``, number of the
task -> text. Two arrays instead of one a column, because each array is files of its own for every step of every run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from radps.data import stores
from radps.data.urls import join_url
from radps.errors import DataError

TASKS = "tasks.zarr"
"""Folder of the task records of a run."""

TASK_STATES = ("done", "failed", "kept")

_COLUMNS = ("state", "worker", "start_s", "stop_s", "tries", "bytes_written", "peak_memory_bytes")
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
    rows = sorted(records, key=lambda record: (record.start_s, record.key))
    workers = sorted({row.worker for row in rows})
    codes = {name: number for number, name in enumerate((*workers, *TASK_STATES))}
    values = [
        (codes[row.state] - len(workers), codes[row.worker], *(getattr(row, name) for name in _COLUMNS[2:]))
        for row in rows
    ]
    attributes = {
        "columns": list(_COLUMNS),
        "states": list(TASK_STATES),
        "workers": workers,
        "errors": {str(number): _shorten(row.error) for number, row in enumerate(rows) if row.error},
    }
    stores.require_parents(url)
    stores.create_group(url, attributes, overwrite=True)
    stores.save_array(join_url(url, "key"), np.asarray([row.key for row in rows], "U"), dims=["task"])
    table = np.asarray(values, np.float64).reshape(len(rows), len(_COLUMNS))
    stores.save_array(join_url(url, "VALUES"), table, dims=["task", "column"])


def load_task_records(url: str) -> tuple[TaskRecord, ...]:
    """Return the records of an attempt, in the order of start.

    Raises
    ------
    DataError
        There are none, or they are damaged (a driver that was killed while it wrote them).
    """
    attributes: Any = stores.open_group(url).attrs
    keys = stores.load_array(join_url(url, "key")).tolist()
    table = stores.load_array(join_url(url, "VALUES")).tolist()
    if len(keys) != len(table) or any(math.isnan(row[0]) for row in table):
        raise DataError(
            f"the task records at {url} are damaged: {len(keys)} names and {len(table)} rows of numbers, or rows that "
            "were never written; do the step again to have them"
        )
    states, workers, errors = (attributes[name] for name in ("states", "workers", "errors"))
    return tuple(
        TaskRecord(
            key=key,
            state=states[int(state)],
            worker=workers[int(worker)],
            start_s=start_s,
            stop_s=stop_s,
            tries=int(tries),
            bytes_written=int(written),
            peak_memory_bytes=int(peak),
            error=errors.get(str(number), ""),
        )
        for number, (key, (state, worker, start_s, stop_s, tries, written, peak)) in enumerate(
            zip(keys, table, strict=True)
        )
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_ERROR else f"{text[: _LONGEST_ERROR - 3]}..."
