"""MSv4 data of any origin: what is in a processing set, and blocks of its data in the order that is wanted.

1. :func:`describe_processing_set` finds the MSv4 groups of visibilities, and in each of them its fields.
2. :func:`load_cells` reads the data of one field at given times, baselines and channels. Cells that the group does not
   have come as NaN and flagged, and so do cells that are padded with NaN but not flagged, as XRADIO leaves them. Data
   without a positive weight are flagged.

The groups may be of any chunking. Nothing of them is ever changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zarr
from pydantic import BaseModel, ConfigDict

from radps.data import stores
from radps.data.damage import DAMAGE_ERRORS, describe_damaged_chunk
from radps.data.frames import rotate_uvw, to_modern_frame
from radps.data.measurement_set import VISIBILITY_DIMS, MeasurementSetDescription
from radps.data.measurement_set_metadata import read_field_description
from radps.errors import DataError

CORRECTIONS = {"system_calibration_xds": "system temperatures", "gain_curve_xds": "gain curves"}
"""Groups of an MSv4 with corrections of its data, that no stage applies."""


class Msv4Address(BaseModel):
    """One field of an MSv4 group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """The group."""
    field_name: str
    """As the group has it."""
    visibility: str
    """Name of the variable."""
    flag: str
    """Name of the variable; empty = nothing is flagged."""
    weight: str
    """Name of the variable; empty = all weights are 1."""
    uvw: str
    is_reversed: bool = False
    """True: the channels are stored downwards in frequency."""
    uvw_rotation_rad: float = 0.0
    """For :func:`~radps.data.frames.rotate_uvw`."""
    antenna_names: dict[str, str] = {}
    """Name in the group -> name that is wanted, where they differ."""


class Msv4Part(NamedTuple):
    """One field of an MSv4 group: its metadata, and where its data are."""

    description: MeasurementSetDescription
    address: Msv4Address
    is_whole: bool
    """True: the group has no other field, and its axes are as :mod:`radps.data.measurement_set` writes them."""
    chunks: tuple[int, int, int, int]
    """Of the visibilities."""


class Cells(NamedTuple):
    """Data in the order (time, baseline, channel, polarization)."""

    visibilities: npt.NDArray[np.complex64]
    flags: npt.NDArray[np.bool_]
    """True = do not use."""
    weights: npt.NDArray[np.float32]
    uvw_m: npt.NDArray[np.float64]
    """(time, baseline, 3) [m]; NaN where there are no data."""


def empty_cells(shape: tuple[int, int, int, int]) -> Cells:
    """Return a block without data: NaN, and every flag set."""
    return Cells(
        visibilities=np.full(shape, np.nan + 1j * np.nan, np.complex64),
        flags=np.ones(shape, np.bool_),
        weights=np.full(shape, np.nan, np.float32),
        uvw_m=np.full((*shape[:2], 3), np.nan),
    )


def describe_processing_set(url: str, *, data_group: str = "base") -> list[Msv4Part]:
    """Read the metadata of a processing set, or of one MSv4 group: one part for each field of each group.

    Parameters
    ----------
    url : str
        The processing set, or the group.
    data_group : str
        Which version of the data is meant: ``base``, ``corrected``, ...

    Returns
    -------
    list of Msv4Part
        Groups in the order of their names. Single-dish data are left out.

    Raises
    ------
    DataError
        There are no visibilities, or a group is damaged or of a kind that is not read.
    """
    root = stores.open_group(url)
    kind = root.attrs.get("type")
    if kind == "visibility":
        return _describe_group(url, root, data_group)
    parts: list[Msv4Part] = []
    found = []
    for name in sorted(root.group_keys()):
        group_url = stores.join_url(url, name)
        group = stores.open_group(group_url)
        found.append(f"{name} ({group.attrs.get('type', 'no type')})")
        if group.attrs.get("type") == "visibility":
            parts += _describe_group(group_url, group, data_group)
    if not parts:
        raise DataError(
            f"{url} holds no visibilities; its groups: {', '.join(found) or 'none'}. What is read is a processing set "
            "of MSv4 groups of type 'visibility', or one such group"
        )
    return parts


def load_cells(
    address: Msv4Address,
    *,
    time_s: npt.NDArray[np.float64],
    baselines: Sequence[tuple[str, str]],
    channels: slice,
) -> Cells:
    """Read the data of a field at given times, baselines and channels.

    Parameters
    ----------
    address : Msv4Address
        The field.
    time_s : ndarray, (time,)
        Times that are wanted [unix s], ascending; those that the field does not have come without data.
    baselines : sequence of (str, str)
        Names of the antennas of the baselines that are wanted.
    channels : slice
        In ascending order of frequency; without a step.

    Returns
    -------
    Cells
        Axes as they are wanted.

    Raises
    ------
    DataError
        An array is missing or damaged.
    """
    wanted_times, own_times = _match_times(address, time_s)
    wanted_baselines, own_baselines = _match_baselines(address, baselines)
    visibility = stores.open_array(stores.join_url(address.url, address.visibility))
    start, stop, _ = channels.indices(visibility.shape[2])
    n_channels, n_polarizations = stop - start, visibility.shape[3]
    cells = empty_cells((len(time_s), len(baselines), n_channels, n_polarizations))
    if not (wanted_times.size and wanted_baselines.size):
        return cells
    if address.is_reversed:
        start, stop = visibility.shape[2] - stop, visibility.shape[2] - start

    def load(name: str, dims: tuple[str, ...]) -> npt.NDArray[Any]:
        return _load(address, name, dims, own_times, own_baselines, slice(start, stop))

    place = np.ix_(wanted_times, wanted_baselines)
    visibilities = load(address.visibility, VISIBILITY_DIMS)
    weights = load(address.weight, VISIBILITY_DIMS) if address.weight else np.float32(1.0)
    flags = load(address.flag, VISIBILITY_DIMS) if address.flag else np.False_
    cells.visibilities[place] = visibilities
    cells.weights[place] = weights
    cells.flags[place] = flags | ~np.isfinite(visibilities) | ~(np.isfinite(weights) & (weights > 0))
    uvw_m = load(address.uvw, ("time", "baseline_id", "uvw_label"))
    cells.uvw_m[place] = rotate_uvw(uvw_m.astype(np.float64), address.uvw_rotation_rad)
    return cells


def _describe_group(url: str, group: zarr.Group, data_group: str) -> list[Msv4Part]:
    """Return a part for each field of a group."""
    groups = group.attrs.get("data_groups")
    groups = groups if isinstance(groups, Mapping) else {"base": {"correlated_data": "VISIBILITY"}}
    if data_group not in groups:
        raise DataError(f"{url} has no data group {data_group!r}; it has: {', '.join(map(str, groups)) or 'none'}")
    roles = groups[data_group]
    roles = roles if isinstance(roles, Mapping) else {}
    names = {
        role: str(roles.get(key, default)) if str(roles.get(key, default)) in group else ""
        for role, key, default in (
            ("visibility", "correlated_data", "VISIBILITY"),
            ("flag", "flag", "FLAG"),
            ("weight", "weight", "WEIGHT"),
            ("uvw", "uvw", "UVW"),
        )
    }
    for role in ("visibility", "uvw"):
        if not names[role]:
            raise DataError(f"{url} has no {role} array in its data group {data_group!r}; the data are damaged")
    fields = list(dict.fromkeys(stores.load_array(stores.join_url(url, "field_name")).tolist()))
    array = stores.open_array(stores.join_url(url, names["visibility"]))
    parts = []
    for field in fields:
        description = read_field_description(url, field_name=field, data_group=data_group, allow_moving=True)
        parts.append(_part(url, names, description, array, n_fields=len(fields)))
    return parts


def _part(
    url: str, names: dict[str, str], description: MeasurementSetDescription, array: zarr.Array[Any], *, n_fields: int
) -> Msv4Part:
    """Return the part of one field, its frame brought to a modern one."""
    direction = to_modern_frame(
        *description.phase_center_rad, description.phase_center_frame, telescope=description.telescope
    )
    frequency_hz = description.frequency_hz
    is_reversed = len(frequency_hz) > 1 and bool(frequency_hz[0] > frequency_hz[-1])
    order = np.argsort(description.time_s, kind="stable")
    address = Msv4Address(
        url=url,
        field_name=description.field_name,
        is_reversed=is_reversed,
        uvw_rotation_rad=direction.rotation_rad,
        **names,
    )
    is_whole = (
        n_fields == 1
        and not is_reversed
        and direction.rotation_rad == 0.0
        and all(names.values())
        and bool(np.all(np.diff(description.time_s) > 0))
    )
    description = description._replace(
        phase_center_rad=(direction.ra_rad, direction.dec_rad),
        phase_center_frame=direction.frame,
        frequency_hz=frequency_hz[::-1] if is_reversed else frequency_hz,
        time_s=description.time_s[order],
        scan_names=tuple(description.scan_names[index] for index in order),
    )
    return Msv4Part(description, address, is_whole, array.chunks)  # type: ignore[arg-type]


def _match_times(
    address: Msv4Address, time_s: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return indices into the wanted times, and into those of the group, of the times that both have."""
    own = stores.load_array(stores.join_url(address.url, "time"))
    fields = stores.load_array(stores.join_url(address.url, "field_name"))
    mine = np.flatnonzero(fields == address.field_name)
    _, wanted, found = np.intersect1d(time_s, own[mine], return_indices=True)
    return wanted, mine[found]


def _match_baselines(
    address: Msv4Address, baselines: Sequence[tuple[str, str]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return indices into the wanted baselines, and into those of the group, of the baselines that both have."""
    names = [
        [
            address.antenna_names.get(name, name)
            for name in stores.load_array(stores.join_url(address.url, key)).tolist()
        ]
        for key in ("baseline_antenna1_name", "baseline_antenna2_name")
    ]
    own = {pair: number for number, pair in enumerate(zip(*names, strict=True))}
    found = [(wanted, own[pair]) for wanted, pair in enumerate(baselines) if pair in own]
    indices = np.array(found, np.int64).reshape(-1, 2)
    return indices[:, 0], indices[:, 1]


def _load(
    address: Msv4Address,
    name: str,
    dims: tuple[str, ...],
    times: npt.NDArray[np.int64],
    baselines: npt.NDArray[np.int64],
    channels: slice,
) -> npt.NDArray[Any]:
    """Read a variable at some times, baselines and channels; axes that it lacks are of length 1."""
    url = stores.join_url(address.url, name)
    array = stores.open_array(url)
    own = _dims(array)
    picks = {"time": times, "baseline_id": _as_slice(baselines), "frequency": channels}
    try:
        data = np.asarray(array.oindex[tuple(picks.get(dim, slice(None)) for dim in own)])
    except DAMAGE_ERRORS as error:
        read = {"time": slice(int(times.min()), int(times.max()) + 1), "frequency": channels}
        region = tuple(read.get(dim, slice(None)) for dim in own)
        raise DataError(describe_damaged_chunk(array, url, region, error)) from error
    if address.is_reversed and "frequency" in own:
        data = np.flip(data, own.index("frequency"))
    shape = iter(data.shape)
    return data.reshape([next(shape) if dim in own else 1 for dim in dims])


def _dims(array: zarr.Array[Any]) -> tuple[str, ...]:
    """Return the names of the axes of an array, of zarr format 3 or 2."""
    names: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not names or len(names) != array.ndim:
        raise DataError(f"{array.store_path} has no names of its {array.ndim} axes; the data are damaged")
    return tuple(str(one) for one in names)


def _as_slice(indices: npt.NDArray[np.int64]) -> slice | npt.NDArray[np.int64]:
    """Return indices that follow each other as a slice, which reads faster."""
    if indices.size and np.all(np.diff(indices) == 1):
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return indices


def find_corrections(url: str) -> tuple[str, ...]:
    """Return what an MSv4 group brings of corrections that no stage applies, in words."""
    return tuple(what for group, what in CORRECTIONS.items() if stores.exists(stores.join_url(url, group)))
