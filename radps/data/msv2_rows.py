"""Rows of an MSv2 that XRADIO does not look at: those that are flagged as a whole, and those that come twice.

1. XRADIO takes the column FLAG and leaves out FLAG_ROW, which flags all channels of a row (CASA looks at both, as the
   definition of the MeasurementSet asks): :func:`flag_whole_rows` sets these flags in what XRADIO has made.
2. XRADIO has one place for each time and baseline of a field and window, where the last one of several rows stays:
   :func:`count_repeated_rows` counts the others.

References
----------
Kemball & Wieringa 2000, MeasurementSet definition version 2.0 (the columns FLAG and FLAG_ROW).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from radps.data import stores
from radps.domain.earth import DAY_S

_UNIX_EPOCH_MJD_S = 40587.0 * DAY_S
_SAME_TIME_S = 1e-4
"""XRADIO's times of 1970 differ from those of the rows by what rounding does, some 1e-6 s."""


class MainRows(NamedTuple):
    """Columns of the MAIN table that tell rows apart, each of shape (row,)."""

    time_s: npt.NDArray[np.float64]
    """[unix s]"""
    antenna1: npt.NDArray[np.int64]
    antenna2: npt.NDArray[np.int64]
    field: npt.NDArray[np.int64]
    description: npt.NDArray[np.int64]
    """Row of the table DATA_DESCRIPTION: a window with its correlations."""

    def take(self, chosen: npt.NDArray[Any]) -> MainRows:
        """Return some of the rows."""
        return MainRows(
            self.time_s[chosen],
            self.antenna1[chosen],
            self.antenna2[chosen],
            self.field[chosen],
            self.description[chosen],
        )


def count_repeated_rows(path: str) -> int:
    """Return how many rows of an MSv2 are of the same time, baseline, field and window as another one."""
    rows = _read_rows(path)
    order = np.lexsort(rows)
    is_same = np.ones(max(0, len(order) - 1), np.bool_)
    for column in rows:
        is_same &= np.diff(column[order]) == 0
    return int(np.count_nonzero(is_same))


def flag_whole_rows(path: str, url: str) -> int:
    """Set the flags of the rows that FLAG_ROW flags.

    Parameters
    ----------
    path : str
        The MSv2.
    url : str
        The processing set that :func:`radps.data.msv2.convert_msv2` made of it; its flags are changed. Doing so twice
        changes nothing more.

    Returns
    -------
    int
        Rows that are flagged as a whole.
    """
    wanted = np.flatnonzero(_column(path, "FLAG_ROW"))
    if not wanted.size:
        return 0
    rows = _read_rows(path).take(wanted)
    windows = _column(f"{path}/DATA_DESCRIPTION", "SPECTRAL_WINDOW_ID")[rows.description]
    antennas = _antenna_numbers(path)
    root = stores.open_group(url)
    for name in sorted(root.group_keys()):
        group_url = stores.join_url(url, name)
        group = stores.open_group(group_url)
        if "FLAG" not in group or "baseline_antenna1_name" not in group:
            continue
        window = _last_number(str(group["frequency"].attrs["spectral_window_name"]))
        for field in np.unique(stores.load_array(stores.join_url(group_url, "field_name"))).tolist():
            here = (windows == window) & (rows.field == _last_number(field))
            if here.any():
                _flag_group(group_url, rows.take(here), antennas)
    return len(wanted)


def _flag_group(url: str, rows: MainRows, antennas: dict[str, int]) -> None:
    """Set the flags of rows in one group; those of other times are in another group."""
    own_s = stores.load_array(stores.join_url(url, "time"))
    after = np.clip(np.searchsorted(own_s, rows.time_s - _SAME_TIME_S), 0, len(own_s) - 1)
    is_here = np.abs(own_s[after] - rows.time_s) < _SAME_TIME_S
    ends = [
        [antennas[name] for name in stores.load_array(stores.join_url(url, f"baseline_antenna{end}_name")).tolist()]
        for end in (1, 2)
    ]
    baselines = {pair: number for number, pair in enumerate(zip(*ends, strict=True))}
    places: dict[int, list[int]] = {}
    for time, pair in zip(after[is_here].tolist(), _pairs(rows, is_here), strict=True):
        if pair in baselines:
            places.setdefault(time, []).append(baselines[pair])
    flags: Any = stores.open_array(stores.join_url(url, "FLAG"), mode="r+")
    step = flags.chunks[0]
    for first in sorted({time // step * step for time in places}):
        block = np.asarray(flags[first : first + step])
        for time in range(first, first + len(block)):
            block[time - first, places.get(time, [])] = True
        flags[first : first + step] = block


def _pairs(rows: MainRows, chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    return list(zip(rows.antenna1[chosen].tolist(), rows.antenna2[chosen].tolist(), strict=True))


def _last_number(name: str) -> int:
    """Return the number that XRADIO appends to the name of a field or window; -1 = none."""
    found = re.search(r"_(\d+)$", name)
    return int(found[1]) if found else -1


def _antenna_numbers(path: str) -> dict[str, int]:
    """Return the number of each antenna, by either name that XRADIO gives it."""
    names, stations = (_column(f"{path}/ANTENNA", column).tolist() for column in ("NAME", "STATION"))
    with_station = {
        f"{name}_{station}": number for number, (name, station) in enumerate(zip(names, stations, strict=True))
    }
    return {name: number for number, name in enumerate(names)} | with_station


def _read_rows(path: str) -> MainRows:
    numbers = (_column(path, name).astype(np.int64) for name in ("ANTENNA1", "ANTENNA2", "FIELD_ID", "DATA_DESC_ID"))
    return MainRows(_column(path, "TIME") - _UNIX_EPOCH_MJD_S, *numbers)


def _column(table: str, name: str) -> npt.NDArray[Any]:
    from arcae.lib.arrow_tables import Table  # compiled; only MSv2 data need it

    return np.asarray(Table.from_filename(table).getcol(name))
