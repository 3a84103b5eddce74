"""Gain and bandpass tables on disk: one zarr group a table, readable by xarray as it is.

::

    RUN/context.zarr/<step>-<attempt>/<window>/bandpass    one time, all channels
    RUN/context.zarr/<step>-<attempt>/<window>/gain        many times, one channel
    RUN/context.zarr/<step>-<attempt>/<window>/delay       many times, DELAY [s] instead of GAIN

1. :func:`create_bandpass` makes an empty table; several tasks then write whole chunks of channels at the same time by
   :func:`write_solution_channels`. :func:`save_solution` writes a whole table at once.
2. :func:`load_solution` reads a table, or some of its channels, into memory.
3. What nobody wrote is flagged, with gain 1. All functions may be repeated: none takes away what another task wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from radps.data import stores
from radps.data.measurement_set import software
from radps.domain.delays import DelayTable
from radps.domain.gains import GainTable
from radps.domain.solver import StopReason
from radps.errors import DataError

SOLUTION_DIMS = ("time", "antenna_name", "frequency", "polarization")
_CELL_DIMS = ("time", "frequency", "polarization")
_TYPE = "gain_solution"
_FORMULA = "V_observed = g(antenna1) conj(g(antenna2)) V_model"
_DELAY_FORMULA = "GAIN = exp(2 pi i DELAY (f - frequency))"
_REASONS = {str(reason.value): reason.name.lower() for reason in StopReason}


class _Variable(NamedTuple):
    """A data variable of a table."""

    field: str
    """Its name in :class:`~radps.domain.gains.GainTable` or :class:`~radps.domain.delays.DelayTable`."""
    dims: tuple[str, ...]
    dtype: npt.DTypeLike
    fill_value: Any
    attrs: dict[str, Any]


_COMMON = {
    "FLAG": _Variable("flags", SOLUTION_DIMS, np.bool_, True, {"meaning": "true = do not use"}),
    "SNR": _Variable("snr", SOLUTION_DIMS, np.float64, 0.0, {"units": "", "meaning": "modulus over error of a gain"}),
    "STOP_REASON": _Variable("stop_reason", _CELL_DIMS, np.int8, int(StopReason.NO_DATA), {"meanings": _REASONS}),
    "N_ITERATIONS": _Variable("n_iterations", _CELL_DIMS, np.int32, 0, {"units": ""}),
    "OUTLIERS": _Variable(
        "outliers",
        _CELL_DIMS,
        np.float32,
        0.0,
        {"units": "", "meaning": "part of the data that a robust solution found off"},
    ),
}
_NEW = "OUTLIERS"
"""Not in tables of an earlier radps: nobody looked for outliers then."""

_GAIN_VARIABLES = {
    "GAIN": _Variable("gains", SOLUTION_DIMS, np.complex128, 1.0 + 0.0j, {"units": "", "formula": _FORMULA}),
    **_COMMON,
}
_DELAY_VARIABLES = {
    "DELAY": _Variable("delays_s", SOLUTION_DIMS, np.float64, 0.0, {"units": "s", "formula": _DELAY_FORMULA}),
    "DELAY_ERROR": _Variable(
        "errors_s", SOLUTION_DIMS, np.float64, 0.0, {"units": "s", "meaning": "against the reference antenna"}
    ),
    **_COMMON,
}


class SolutionDescription(NamedTuple):
    """What a table of gains is about."""

    kind: str
    """``delay``, ``bandpass``, ``phase`` or ``gain``."""
    window: str
    """Spectral window."""
    antenna_names: tuple[str, ...]
    """Antennas, in the order of the axis."""
    polarizations: tuple[str, ...]
    """Parallel hands, e.g. ``("RR", "LL")``: RR is the gain of the receptor R."""


class Solution(NamedTuple):
    """A table of gains with what it is about."""

    description: SolutionDescription
    table: GainTable
    fields: tuple[str, ...]
    """Field of each time: where the solution comes from."""
    scans: tuple[str, ...]
    """Scan of each time; scans that share a solution are joined by commas."""


class DelaySolution(NamedTuple):
    """A table of delays with what it is about; fields and scans as those of :class:`Solution`."""

    description: SolutionDescription
    table: DelayTable
    fields: tuple[str, ...]
    scans: tuple[str, ...]


def create_bandpass(url: str, description: SolutionDescription, store: str, field: str, channel_chunk: int) -> str:
    """Create the table of a bandpass over all times of a partition, with nothing written into it.

    Parameters
    ----------
    url : str
        The table.
    description : SolutionDescription
        What it is about.
    store : str
        MSv4 group of the partition that is solved: gives the channels, the scans and the mean time.
    field : str
        Name of its field.
    channel_chunk : int
        Channels of a zarr chunk: those of one task.

    Returns
    -------
    str
        The URL of the table.

    Raises
    ------
    DataError
        If there is no such partition, or another table at the URL.
    """
    times = stores.load_array(stores.join_url(store, "time"))
    scans = dict.fromkeys(stores.load_array(stores.join_url(store, "scan_name")).tolist())
    frequency_hz = stores.load_array(stores.join_url(store, "frequency"))
    # The mean of the times, as `solve_bandpass` puts it into the parts of the table.
    mean_time_s = np.array([np.mean(times)])
    _create(url, description, mean_time_s, frequency_hz, [field], [",".join(scans)], channel_chunk, _GAIN_VARIABLES)
    return url


def write_solution_channels(url: str, channels: slice, table: GainTable) -> None:
    """Write some channels of a table; tasks that write different chunks may do so at the same time.

    Parameters
    ----------
    url : str
        A table made by :func:`create_bandpass`.
    channels : slice
        Where; whole zarr chunks.
    table : GainTable
        The solutions of those channels, for all times and antennas of the table.

    Raises
    ------
    DataError
        If the channels cut a chunk, or the shape is wrong.
    """
    _write(url, table, _GAIN_VARIABLES, channels)


def save_solution(url: str, solution: Solution) -> str:
    """Write a whole table; one that a repeated task finds there is written over.

    Parameters
    ----------
    url : str
        The table.
    solution : Solution
        Its arrays as in :class:`~radps.domain.gains.GainTable`.

    Returns
    -------
    str
        The URL of the table.

    Raises
    ------
    DataError
        If fields, scans, antennas or polarizations do not fit to the arrays, or there is a table of another shape.
    """
    return _save(url, solution, _GAIN_VARIABLES)


def save_delays(url: str, solution: DelaySolution) -> str:
    """Write a whole table of delays; one that a repeated task finds there is written over.

    Parameters
    ----------
    url : str
        The table.
    solution : DelaySolution
        Its arrays as in :class:`~radps.domain.delays.DelayTable`.

    Returns
    -------
    str
        The URL of the table.

    Raises
    ------
    DataError
        If fields, scans, antennas or polarizations do not fit to the arrays, or there is a table of another shape.
    """
    return _save(url, solution, _DELAY_VARIABLES)


def load_solution(url: str, channels: slice | None = None) -> Solution:
    """Read a table of gains into memory.

    Parameters
    ----------
    url : str
        The table.
    channels : slice, optional
        Channels to read, all by default; a table of gains that do not depend on frequency has one channel.

    Returns
    -------
    Solution
        The table.

    Raises
    ------
    DataError
        If there is no table of gains at the URL.
    """
    part = slice(None) if channels is None else channels
    description, fields, scans, arrays = _load(url, part, _GAIN_VARIABLES)
    return Solution(description, GainTable(**arrays), fields, scans)


def load_delays(url: str) -> DelaySolution:
    """Read a table of delays into memory.

    Raises
    ------
    DataError
        If there is no table of delays at the URL.
    """
    description, fields, scans, arrays = _load(url, slice(None), _DELAY_VARIABLES)
    return DelaySolution(description, DelayTable(**arrays), fields, scans)


def _load(
    url: str, channels: slice, variables: dict[str, _Variable]
) -> tuple[SolutionDescription, tuple[str, ...], tuple[str, ...], dict[str, npt.NDArray[Any]]]:
    """Read what a table is about, its fields and scans, and its arrays by the names that they have in memory."""
    attrs = stores.open_group(url).attrs
    if attrs.get("type") != _TYPE:
        raise DataError(f"{url} is of type {attrs.get('type')!r}, not a table of gains ({_TYPE!r}); check the path")
    if (attrs.get("kind") == "delay") != ("DELAY" in variables):
        wanted = "delays" if "DELAY" in variables else "gains"
        raise DataError(f"{url} is a table of kind {attrs.get('kind')!r}, not one of {wanted}; check the path")

    def load(name: str, dims: tuple[str, ...]) -> npt.NDArray[Any]:
        region = tuple(channels if dim == "frequency" else slice(None) for dim in dims)
        return stores.load_array(stores.join_url(url, name), region)

    def words(name: str, dim: str) -> tuple[str, ...]:
        return tuple(load(name, (dim,)).tolist())

    description = SolutionDescription(
        kind=str(attrs["kind"]),
        window=str(attrs["window"]),
        antenna_names=words("antenna_name", "antenna_name"),
        polarizations=words("polarization", "polarization"),
    )
    arrays = {variable.field: load(name, variable.dims) for name, variable in variables.items() if name != _NEW}
    with _unless_missing(stores.join_url(url, _NEW)):
        arrays[variables[_NEW].field] = load(_NEW, variables[_NEW].dims)
    arrays |= {"time_s": load("time", ("time",)), "frequency_hz": load("frequency", ("frequency",))}
    return description, words("field_name", "time"), words("scan_name", "time"), arrays


@contextlib.contextmanager
def _unless_missing(url: str) -> Iterator[None]:
    """Pass over the error of an array that is not there."""
    try:
        yield
    except DataError:
        if stores.exists(url):
            raise


def _save(url: str, solution: Solution | DelaySolution, variables: dict[str, _Variable]) -> str:
    """Write a whole table of gains or delays."""
    _check(solution)
    table = solution.table
    n_channels = len(table.frequency_hz)
    coordinates = (table.time_s, table.frequency_hz, solution.fields, solution.scans)
    _create(url, solution.description, *coordinates, n_channels, variables)
    _write(url, table, variables, slice(0, n_channels))
    return url


def _write(url: str, table: GainTable | DelayTable, variables: dict[str, _Variable], channels: slice) -> None:
    """Write some channels of all arrays of a table."""
    for name, variable in variables.items():
        region = tuple(channels if dim == "frequency" else slice(None) for dim in variable.dims)
        values = getattr(table, variable.field)
        if values is None:  # nobody looked for outliers: the array stays at its fill value
            continue
        data = np.asarray(values, variable.dtype)
        stores.write_region(stores.join_url(url, name), region, data)


def _create(
    url: str,
    description: SolutionDescription,
    time_s: npt.NDArray[np.float64],
    frequency_hz: npt.NDArray[np.float64],
    fields: Iterable[str],
    scans: Iterable[str],
    channel_chunk: int,
    variables: dict[str, _Variable],
) -> None:
    """Create a table with its coordinates; the data variables come last, so that writers find them complete."""
    stores.require_parents(url)
    attrs = {"type": _TYPE, "kind": description.kind, "window": description.window, "creator": software()}
    stores.require_group(url, attrs)
    found = stores.open_group(url).attrs
    if any(found.get(key) != attrs[key] for key in ("type", "kind", "window")):
        raise DataError(
            f"{url} holds a {found.get('kind')} of window {found.get('window')}, not the {description.kind} of window "
            f"{description.window}; choose another place"
        )
    time_attrs = {"type": "time", "units": "s", "scale": "utc", "format": "unix"}
    for name, data, dim, attributes in (
        ("time", time_s, "time", time_attrs),
        ("antenna_name", description.antenna_names, "antenna_name", {}),
        ("frequency", frequency_hz, "frequency", {"type": "spectral_coord", "units": "Hz"}),
        ("polarization", description.polarizations, "polarization", {}),
        ("field_name", list(fields), "time", {}),
        ("scan_name", list(scans), "time", {}),
    ):
        stores.save_array(stores.join_url(url, name), data, dims=(dim,), attrs=attributes, overwrite=True)
    sizes = {
        "time": len(time_s),
        "antenna_name": len(description.antenna_names),
        "frequency": len(frequency_hz),
        "polarization": len(description.polarizations),
    }
    for name, variable in variables.items():
        stores.require_array(
            stores.join_url(url, name),
            [sizes[dim] for dim in variable.dims],
            chunks=[channel_chunk if dim == "frequency" else sizes[dim] for dim in variable.dims],
            dtype=variable.dtype,
            dims=variable.dims,
            attrs={**variable.attrs, "coordinates": "field_name scan_name"},
            fill_value=variable.fill_value,
        )


def _check(solution: Solution | DelaySolution) -> None:
    """Refuse a table whose parts do not fit together."""
    table, description = solution.table, solution.description
    sizes = (
        ("times", len(table.time_s)),
        ("antennas", len(description.antenna_names)),
        ("channels", len(table.frequency_hz)),
        ("polarizations", len(description.polarizations)),
    )
    problems = [
        f"{size} {name}, and solutions of length {length} along that axis"
        for (name, size), length in zip(sizes, table.flags.shape, strict=True)
        if size != length
    ]
    n_times = len(table.time_s)
    problems += [
        f"{len(words)} {name} for {n_times} times"
        for name, words in (("fields", solution.fields), ("scans", solution.scans))
        if len(words) != n_times
    ]
    if problems:
        raise DataError(f"{description.kind} table of window {description.window}: " + "; ".join(problems))
