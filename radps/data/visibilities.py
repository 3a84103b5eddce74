"""Visibilities: read a block into numpy, open them lazily, write new versions of a variable.

1. A task reads its block by :func:`load_visibilities`, straight from zarr into numpy: no xarray object lives in a task.
2. Bad data are made safe on the way in: where a visibility, its weight or its uvw is not finite, or the weight is not
   positive, the flag is set and the number becomes 0, so that sums over flagged data stay finite.
3. A stage that makes a new version of a variable creates an array of the same shape and chunks by :func:`create_like`,
   its tasks fill it by :func:`write_chunk`, and the next stage gets an address with the new URL.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from radps.data import stores
from radps.data.addresses import VisibilityAddress
from radps.data.measurement_set import VISIBILITY_DIMS
from radps.errors import DataError

if TYPE_CHECKING:
    import xarray

ALL = slice(None)
_VARIABLES = ("visibility", "flag", "weight", "uvw")
_DTYPES: dict[str, tuple[Any, Any]] = {
    "VISIBILITY": (np.complex64, None),
    "FLAG": (np.bool_, True),
    "WEIGHT": (np.float32, None),
}


class VisibilityChunk(NamedTuple):
    """A block of visibilities in memory. Variables that were not asked for have no elements (shape 0)."""

    visibilities: npt.NDArray[np.complex64]
    """(time, baseline, channel, polarization) [Jy, or uncalibrated]; finite everywhere, 0 where it was not."""
    flags: npt.NDArray[np.bool_]
    """Same shape; True = do not use."""
    weights: npt.NDArray[np.float32]
    """Same shape: 1/sigma^2 of a real part [Jy^-2]; finite and >= 0 everywhere."""
    uvw_m: npt.NDArray[np.float64]
    """(time, baseline, 3) [m], position of antenna 1 minus that of antenna 2; 0 where there are no data."""
    time_s: npt.NDArray[np.float64]
    """(time,) UTC [unix s]."""
    frequency_hz: npt.NDArray[np.float64]
    """(channel,) [Hz]."""
    antenna1: npt.NDArray[np.int64]
    """(baseline,) index into the antennas of the partition."""
    antenna2: npt.NDArray[np.int64]
    """(baseline,) index into the antennas of the partition."""
    polarizations: tuple[str, ...]
    scan_names: tuple[str, ...]
    """(time,)"""

    def of_times(self, times: slice) -> VisibilityChunk:
        """Return some of the times, as views of the same arrays."""
        names = ("visibilities", "flags", "weights", "uvw_m", "time_s", "scan_names")
        return self._replace(**{name: getattr(self, name)[times] for name in names})


def load_visibilities(
    address: VisibilityAddress,
    *,
    times: slice = ALL,
    channels: slice = ALL,
    variables: Iterable[str] = _VARIABLES,
) -> VisibilityChunk:
    """Read a block of visibilities into memory.

    Parameters
    ----------
    address : VisibilityAddress
        Where the arrays lie.
    times, channels : slice
        What to read; reading whole zarr chunks is fastest.
    variables : iterable of str
        Any of ``visibility``, ``flag``, ``weight``, ``uvw``: only these are read, and only these take part in the rule
        that bad numbers are flagged. The arrays of the others have shape 0.

    Returns
    -------
    VisibilityChunk
        The block.

    Raises
    ------
    DataError
        If an array is missing or damaged, or a variable is not known.
    """
    wanted = set(variables)
    if wanted - set(_VARIABLES):
        raise DataError(
            f"no variables {sorted(wanted - set(_VARIABLES))} of visibilities; there are {list(_VARIABLES)}"
        )
    cells = (times, ALL, channels, ALL)
    store = address.store

    def load(name: str, part: slice) -> npt.NDArray[Any]:
        return stores.load_array(stores.join_url(store, name), (part,))

    visibilities = _load_or_empty(address.visibility, cells, "visibility" in wanted, np.complex64)
    flags = _load_or_empty(address.flag, cells, "flag" in wanted, np.bool_)
    weights = _load_or_empty(address.weight, cells, "weight" in wanted, np.float32)
    uvw = _load_or_empty(address.uvw, (times, ALL, ALL), "uvw" in wanted, np.float64)
    visibilities, flags, weights, uvw = _make_safe(visibilities, flags, weights, uvw)
    antenna1, antenna2 = load_baselines(store)
    return VisibilityChunk(
        visibilities=visibilities,
        flags=flags,
        weights=weights,
        uvw_m=uvw,
        time_s=load("time", times),
        frequency_hz=load("frequency", channels),
        antenna1=antenna1,
        antenna2=antenna2,
        polarizations=tuple(load("polarization", ALL).tolist()),
        scan_names=tuple(load("scan_name", times).tolist()),
    )


def load_baselines(store: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the two antenna indices of every baseline of an MSv4 group; two int64 arrays of shape (baseline,)."""
    names = stores.load_array(stores.join_url(store, "antenna_xds", "antenna_name"))
    index = {name: number for number, name in enumerate(names.tolist())}
    antennas = [
        np.array([index[name] for name in stores.load_array(stores.join_url(store, variable)).tolist()], dtype=np.int64)
        for variable in ("baseline_antenna1_name", "baseline_antenna2_name")
    ]
    return antennas[0], antennas[1]


def open_visibilities(address: VisibilityAddress) -> xarray.Dataset:
    """Open visibilities lazily, with all coordinates, as an xarray Dataset; for users and notebooks, not for tasks.

    Parameters
    ----------
    address : VisibilityAddress
        Where the arrays lie.

    Returns
    -------
    xarray.Dataset
        The MSv4 group, in which VISIBILITY, FLAG, WEIGHT and UVW are those of the address.

    Raises
    ------
    DataError
        If there is no such group or array.
    """
    import xarray as xr  # 0.5 s; tasks that read blocks do not need it

    stores.open_group(address.store)
    dataset: xarray.Dataset = xr.open_zarr(
        stores.open_store(address.store, read_only=True), consolidated=False, chunks=None
    )
    own = VisibilityAddress.of_measurement_set(address.store)
    for name, url, own_url in (
        ("VISIBILITY", address.visibility, own.visibility),
        ("FLAG", address.flag, own.flag),
        ("WEIGHT", address.weight, own.weight),
        ("UVW", address.uvw, own.uvw),
    ):
        if url != own_url:
            folder, variable = stores.split_url(url)
            stores.open_array(url)
            store = stores.open_store(folder, read_only=True)
            overlay = xr.open_zarr(store, consolidated=False, chunks=None)[variable]
            dataset[name] = overlay.variable
    return dataset


def create_like(address: VisibilityAddress, url: str, variable: str) -> str:
    """Create an array for a new version of a variable, with the shape, chunks and axes of the visibilities.

    Parameters
    ----------
    address : VisibilityAddress
        Where the visibilities lie.
    url : str
        Folder of the new array: ``visibilities/<attempt>.zarr/<partition>``.
    variable : str
        Name that starts with ``VISIBILITY`` (complex64, NaN where unwritten), ``FLAG`` (bool, True where unwritten) or
        ``WEIGHT`` (float32, NaN where unwritten).

    Returns
    -------
    str
        URL of the new array, ``url/variable``.

    Raises
    ------
    DataError
        If the name is of another kind, or there is such an array already.
    """
    kind = variable.partition("_")[0]
    if kind not in _DTYPES:
        raise DataError(f"variable {variable!r}: the name must start with one of {', '.join(_DTYPES)}")
    dtype, fill_value = _DTYPES[kind]
    template = stores.open_array(address.visibility)
    stores.require_group(url)
    target = stores.join_url(url, variable)
    stores.create_array(
        target,
        template.shape,
        chunks=template.chunks,
        dtype=dtype,
        dims=VISIBILITY_DIMS,
        attrs={} if kind == "FLAG" else {"type": "quanta", "units": "Jy" if kind == "VISIBILITY" else "Jy^-2"},
        fill_value=fill_value,
    )
    return target


def write_chunk(url: str, data: npt.NDArray[Any], *, times: slice = ALL, channels: slice = ALL) -> None:
    """Write whole chunks of an array of shape (time, baseline, channel, polarization).

    Raises
    ------
    DataError
        If the slices cut a chunk or the shape is wrong.
    """
    stores.write_region(url, (times, ALL, channels, ALL), data)


def _load_or_empty(url: str, region: tuple[slice, ...], is_wanted: bool, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    if not is_wanted:
        return np.zeros((0,) * len(region), dtype=dtype)
    return stores.load_array(url, region).astype(dtype, copy=False)


def _make_safe(
    visibilities: npt.NDArray[np.complex64],
    flags: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float32],
    uvw_m: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.bool_], npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Flag what is not finite or has no weight, and put 0 there; the arrays are the caller's own, changed in place."""
    if visibilities.size:
        not_finite = ~np.isfinite(visibilities)
        visibilities[not_finite] = 0
        _flag(flags, not_finite)
    if weights.size:
        unusable = np.logical_not(np.isfinite(weights) & (weights > 0))
        weights[unusable] = 0
        _flag(flags, unusable)
    if uvw_m.size:
        nowhere = np.logical_not(np.isfinite(uvw_m).all(axis=-1))
        uvw_m[nowhere] = 0
        _flag(flags, nowhere[:, :, np.newaxis, np.newaxis])
    return visibilities, flags, weights, uvw_m


def _flag(flags: npt.NDArray[np.bool_], bad: npt.NDArray[np.bool_]) -> None:
    if flags.size:
        np.copyto(flags, True, where=bad)
