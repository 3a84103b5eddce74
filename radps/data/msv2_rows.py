"""Rows of an MSv2 that XRADIO does not look at: those that are flagged as a whole, and those that come twice.

1. XRADIO takes the column FLAG and leaves out FLAG_ROW, which flags all channels of a row (CASA looks at both, as the
   definition of the MeasurementSet asks): :func:`flag_whole_rows` sets these flags in what XRADIO has made.
2. XRADIO has one place for each time and baseline of a field and window, where the last one of several rows stays:
   :func:`count_repeated_rows` counts the others.

Rows are read piece by piece; of all of them together only a number each is kept.

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
from radps.data.casacore_tables import open_table
from radps.domain.earth import DAY_S, UNIX_EPOCH_MJD

_SAME_TIME_S = 1e-4
"""XRADIO's times of 1970 differ from those of the rows by what rounding does, some 1e-6 s."""

_KEYS = ("FIELD_ID", "DATA_DESC_ID", "ANTENNA1", "ANTENNA2")


class _Group(NamedTuple):
    """A partition that XRADIO has made."""

    url: str
    window: int
    fields: tuple[int, ...]
    time_s: npt.NDArray[np.float64]
    baseline_numbers: npt.NDArray[np.int64]
    """(antenna, antenna) -> baseline, -1 = none"""


def count_repeated_rows(path: str) -> int:
    """Return how many rows of an MSv2 are of the same time, baseline, field and window as another one."""
    main = open_table(path)
    times = np.unique(np.concatenate([np.empty(0), *(np.unique(time) for (time,) in main.pieces(["TIME"]))]))
    sizes = [open_table(path, name).n_rows for name in ("FIELD", "DATA_DESCRIPTION", "ANTENNA", "ANTENNA")]
    numbers = [
        np.ravel_multi_index((np.searchsorted(times, time), *keys), (len(times), *sizes))
        for time, *keys in main.pieces(["TIME", *_KEYS])
    ]
    rows = np.sort(np.concatenate([np.empty(0, np.int64), *numbers]))
    return int(np.count_nonzero(rows[1:] == rows[:-1]))


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
    windows = open_table(path, "DATA_DESCRIPTION")("SPECTRAL_WINDOW_ID")
    groups: list[_Group] = []
    n_flagged = 0
    for is_flagged, time, field, description, *ends in open_table(path).pieces(["FLAG_ROW", "TIME", *_KEYS]):
        flagged = is_flagged.astype(np.bool_)
        if not flagged.any():
            continue
        groups = groups or _find_groups(path, url)
        n_flagged += int(np.count_nonzero(flagged))
        time_s = time - UNIX_EPOCH_MJD * DAY_S
        for group in groups:
            is_here = flagged & (windows[description] == group.window) & np.isin(field, group.fields)
            _flag_group(group, time_s[is_here], ends[0][is_here], ends[1][is_here])
    return n_flagged


def _find_groups(path: str, url: str) -> list[_Group]:
    """Return the partitions that have flags and baselines."""
    antennas = _antenna_numbers(path)
    n_antennas = max(antennas.values(), default=-1) + 1
    found = []
    for name in sorted(stores.open_group(url).group_keys()):
        place = stores.join_url(url, name)
        group = stores.open_group(place)
        if "FLAG" not in group or "baseline_antenna1_name" not in group:
            continue
        numbers = np.full((n_antennas, n_antennas), -1)
        ends = [
            [antennas[one] for one in stores.load_array(stores.join_url(place, f"baseline_antenna{end}_name")).tolist()]
            for end in (1, 2)
        ]
        numbers[ends[0], ends[1]] = np.arange(len(ends[0]))
        window = _last_number(str(group["frequency"].attrs["spectral_window_name"]))
        fields = np.unique(stores.load_array(stores.join_url(place, "field_name"))).tolist()
        time_s = stores.load_array(stores.join_url(place, "time"))
        found.append(_Group(place, window, tuple(map(_last_number, fields)), time_s, numbers))
    return found


def _flag_group(
    group: _Group, time_s: npt.NDArray[np.float64], antenna1: npt.NDArray[Any], antenna2: npt.NDArray[Any]
) -> None:
    """Set the flags of rows of the field and window of a group; some may be of times that are in another group."""
    times = np.clip(np.searchsorted(group.time_s, time_s - _SAME_TIME_S), 0, len(group.time_s) - 1)
    baselines = group.baseline_numbers[antenna1, antenna2]
    is_here = (np.abs(group.time_s[times] - time_s) < _SAME_TIME_S) & (baselines >= 0)
    times, baselines = times[is_here], baselines[is_here]
    flags: Any = stores.open_array(stores.join_url(group.url, "FLAG"), mode="r+")
    step = flags.chunks[0]
    for number in np.unique(times // step).tolist():
        chosen = times // step == number
        block = np.asarray(flags[number * step : (number + 1) * step])
        block[times[chosen] - number * step, baselines[chosen]] = True
        flags[number * step : (number + 1) * step] = block


def _last_number(name: str) -> int:
    """Return the number that XRADIO appends to the name of a field or window; -1 = none."""
    found = re.search(r"_(\d+)$", name)
    return int(found[1]) if found else -1


def _antenna_numbers(path: str) -> dict[str, int]:
    """Return the number of each antenna, by either name that XRADIO gives it."""
    antennas = open_table(path, "ANTENNA")
    names, stations = antennas("NAME").tolist(), antennas("STATION").tolist()
    with_station = {
        f"{name}_{station}": number for number, (name, station) in enumerate(zip(names, stations, strict=True))
    }
    return {name: number for number, name in enumerate(names)} | with_station
