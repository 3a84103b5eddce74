"""Tables of an MSv2, read column by column by arcae."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from radps.errors import DataError

ROWS_AT_ONCE = 1_000_000
"""Rows of the MAIN table that are in memory together."""


class CasacoreTable(NamedTuple):
    """A casacore table that is read by calling it: a column, or some of its rows."""

    path: str
    table: Any

    @property
    def n_rows(self) -> int:
        """Number of its rows."""
        return int(self.table.nrow())

    def __call__(self, column: str, rows: slice | None = None) -> npt.NDArray[Any]:
        """Return a column.

        Raises
        ------
        DataError
            It is missing or damaged.
        """
        try:
            return np.asarray(self.table.getcol(column) if rows is None else self.table.getcol(column, (rows,)))
        except Exception as error:  # arcae raises its own classes, which differ between versions
            raise DataError(
                f"{self.path}: the column {column} cannot be read ({error}); the MSv2 is damaged"
            ) from error

    def pieces(self, columns: Sequence[str]) -> Iterator[list[npt.NDArray[Any]]]:
        """Yield columns, of :data:`ROWS_AT_ONCE` rows after the other."""
        for start in range(0, self.n_rows, ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, self.n_rows))
            yield [self(column, rows) for column in columns]


def open_table(path: str, name: str = "") -> CasacoreTable:
    """Open a table of an MSv2 by its name, by default the MAIN table.

    Raises
    ------
    DataError
        It is missing or damaged.
    """
    from arcae.lib.arrow_tables import Table  # compiled; only MSv2 data need it

    place = f"{path}/{name}" if name else path
    try:
        return CasacoreTable(place, Table.from_filename(place))
    except Exception as error:  # as above
        raise DataError(f"{place} is no casacore table ({error}); the MSv2 is damaged") from error
