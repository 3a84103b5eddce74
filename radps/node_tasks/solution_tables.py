"""Tables of gains and of delays alike: some of their times, and the tables of several scans as one.

All arrays of a table but its frequencies have the times as their first axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from radps.domain.delays import DelayTable
from radps.domain.gains import GainTable

Table = TypeVar("Table", GainTable, DelayTable)


class Labels(NamedTuple):
    """Where the solutions of a table come from, one for each time."""

    fields: tuple[str, ...]
    scans: tuple[str, ...]


def choose_times(table: Table, rows: Sequence[int] | NDArray[np.int64]) -> Table:
    """Return a table of some of its times."""
    arrays = {name: values for name, values in table._asdict().items() if values is not None}
    chosen = {name: values[rows] for name, values in arrays.items() if name != "frequency_hz"}
    return table._replace(**chosen)


def join_times(tables: Sequence[Table], labels: Sequence[tuple[str, str]]) -> tuple[Table, Labels]:
    """Join tables in the order of time; ``labels`` are the field and the scan of each table."""
    names = [name for name, values in tables[0]._asdict().items() if name != "frequency_hz" and values is not None]
    joined = {name: np.concatenate([getattr(table, name) for table in tables]) for name in names}
    order = np.argsort(joined["time_s"], kind="stable")
    every = [label for label, table in zip(labels, tables, strict=True) for _ in table.time_s]
    found = Labels(tuple(every[number][0] for number in order), tuple(every[number][1] for number in order))
    return choose_times(tables[0]._replace(**joined), order), found
