"""The metadata of MSv4 partitions, read: those that radps wrote and those of other programs.

1. A partition of one field is described by :func:`read_description`.
2. A group of another program may hold several fields: :func:`read_field_description` describes one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from radps.data import stores
from radps.data.measurement_set import OBSERVER_OF_FRAME, Antennas, MeasurementSetDescription
from radps.errors import DataError

_FRAME_OF_OBSERVER = {observer: frame for frame, observer in OBSERVER_OF_FRAME.items()} | {"icrs": "BARY"}


def read_description(url: str) -> MeasurementSetDescription:
    """Read the metadata of a partition of any MSv4 processing set, radps' own or another program's.

    Parameters
    ----------
    url : str
        The MSv4 group.

    Returns
    -------
    MeasurementSetDescription
        Metadata.

    Raises
    ------
    DataError
        If it is no MSv4 group of visibilities, or holds several fields.
    """
    names = set(np.unique(stores.load_array(stores.join_url(url, "field_name"))).tolist())
    if len(names) > 1:
        raise DataError(
            f"{url} holds {len(names)} fields ({', '.join(sorted(names))}), one field a partition is needed; import "
            "it with the stage import_data, which splits it"
        )
    return read_field_description(url, field_name=str(next(iter(names), "")))


def read_field_description(
    url: str, *, field_name: str, data_group: str = "base", allow_moving: bool = False
) -> MeasurementSetDescription:
    """Read the metadata of one field of a partition that may hold several; its times are those of that field.

    Parameters
    ----------
    url : str
        The MSv4 group.
    field_name : str
        One of its fields.
    data_group : str
        The data group whose field table is read.
    allow_moving : bool
        True: a field that follows a moving source is described, with ``is_moving``.

    Returns
    -------
    MeasurementSetDescription
        Metadata. The frame of the phase centre may also be ``fk4``, see :mod:`radps.data.frames`.

    Raises
    ------
    DataError
        If it is no MSv4 group of visibilities, has no such field, or follows a moving source and may not.
    """
    group = stores.open_group(url)
    _check_is_visibilities(group, url)

    def load(name: str) -> npt.NDArray[Any]:
        return stores.load_array(stores.join_url(url, name))

    here = np.flatnonzero(load("field_name") == field_name)
    if here.size == 0:
        raise DataError(f"{url} has no field {field_name!r}")
    antennas, telescope = _read_antennas(url)
    index = {name: number for number, name in enumerate(antennas.names)}
    frequency = _attributes(group, "frequency")
    observation: Mapping[str, Any] = _mapping(group.attrs.get("observation_info"))
    table = _find_field_table(url, group, data_group)
    is_moving = _is_moving(table)
    if is_moving and not allow_moving:
        kind = stores.open_group(table).attrs.get("type")
        raise DataError(f"{table} is of type {kind!r}: moving sources (ephemerides) are not supported")
    nothing = ((0.0, 0.0), "icrs", "", float("nan"))
    center, frame, source_name, rest_frequency = nothing if is_moving else _read_field(url, table, field_name)
    observer = str(frequency.get("observer", "TOPO"))
    return MeasurementSetDescription(
        name=stores.split_url(url)[1],
        field_name=field_name,
        source_name=source_name,
        phase_center_rad=center,
        phase_center_frame=frame,
        intents=tuple(str(intent) for intent in _attributes(group, "scan_name").get("scan_intents", ())),
        time_s=load("time")[here],
        integration_time_s=_scalar(_attributes(group, "time").get("integration_time")),
        scan_names=tuple(load("scan_name")[here].tolist()),
        frequency_hz=load("frequency"),
        channel_width_hz=abs(_scalar(frequency.get("channel_width"))),
        spectral_frame=_FRAME_OF_OBSERVER.get(observer, observer.upper()),
        rest_frequency_hz=rest_frequency,
        spectral_window_name=str(frequency.get("spectral_window_name", "")),
        polarizations=tuple(load("polarization").tolist()),
        antennas=antennas,
        antenna1=np.array([index[name] for name in load("baseline_antenna1_name").tolist()], dtype=np.int64),
        antenna2=np.array([index[name] for name in load("baseline_antenna2_name").tolist()], dtype=np.int64),
        telescope=telescope,
        observer=", ".join(str(name) for name in observation.get("observer", ())),
        project=str(observation.get("project_UID", "")),
        is_moving=is_moving,
    )


def _check_is_visibilities(group: zarr.Group, url: str) -> None:
    kind = group.attrs.get("type")
    if kind not in ("visibility", "radiometer"):
        raise DataError(f"{url} is of type {kind!r}, not an MSv4 group of visibilities; see its attribute 'type'")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _attributes(group: zarr.Group, name: str) -> Mapping[str, Any]:
    """Return the attributes of an array of a group."""
    return _mapping(dict(group[name].attrs))


def _scalar(value: Any) -> float:
    """Return the number of a quantity stored as an attribute; NaN where there is none."""
    value = _mapping(value).get("data", value)
    return float("nan") if value is None else float(np.ravel(value)[0])


def _read_antennas(url: str) -> tuple[Antennas, str]:
    root = stores.join_url(url, "antenna_xds")
    group = stores.open_group(root)
    names = tuple(group["antenna_name"][...].tolist())  # type: ignore[index, union-attr]

    def text(name: str) -> tuple[str, ...]:
        return tuple(stores.load_array(stores.join_url(root, name)).tolist()) if name in group else ("",) * len(names)

    unknown = np.full(len(names), np.nan)
    diameter, angle = "ANTENNA_DISH_DIAMETER", "ANTENNA_RECEPTOR_ANGLE"
    receptors = stores.load_array(stores.join_url(root, "polarization_type"))
    first, second = (str(receptors[0, 0]), str(receptors[0, -1]))
    antennas = Antennas(
        names=names,
        stations=text("station_name"),
        positions_m=stores.load_array(stores.join_url(root, "ANTENNA_POSITION")),
        diameters_m=stores.load_array(stores.join_url(root, diameter)) if diameter in group else unknown,
        mounts=text("mount"),
        receptors=(first, second),
        receptor_angles_rad=stores.load_array(stores.join_url(root, angle)) if angle in group else None,
    )
    telescope = str(group.attrs.get("overall_telescope_name") or text("telescope_name")[0])
    return antennas, telescope


def _find_field_table(url: str, group: zarr.Group, data_group: str) -> str:
    """Return the URL of the group that describes the fields."""
    data_groups = _mapping(group.attrs.get("data_groups"))
    name = str(_mapping(data_groups.get(data_group)).get("field_and_source", "field_and_source_base_xds"))
    return stores.join_url(url, name)


def _is_moving(table: str) -> bool:
    """Return True if the fields are not where a direction of theirs says."""
    fields = stores.open_group(table)
    return fields.attrs.get("type") != "field_and_source" or "FIELD_PHASE_CENTER_DIRECTION" not in fields


def _read_field(url: str, root: str, field_name: str) -> tuple[tuple[float, float], str, str, float]:
    """Return phase centre [rad], its frame, the name of the source, and the rest frequency [Hz] (NaN = none)."""
    fields = stores.open_group(root)

    def load(variable: str) -> npt.NDArray[Any]:
        return stores.load_array(stores.join_url(root, variable))

    row = load("field_name").tolist().index(field_name)
    direction = load("FIELD_PHASE_CENTER_DIRECTION")[row]
    frame = str(_attributes(fields, "FIELD_PHASE_CENTER_DIRECTION").get("frame", "icrs")).lower()
    if frame not in ("icrs", "fk5", "fk4"):
        raise DataError(
            f"the phase centre of field {field_name!r} of {url} is in frame {frame!r}; allowed are 'icrs', 'fk5', 'fk4'"
        )
    rest = float(np.ravel(load("LINE_REST_FREQUENCY")[row])[0]) if "LINE_REST_FREQUENCY" in fields else float("nan")
    source_name = str(load("source_name")[row])
    return (float(direction[0]), float(direction[1])), frame, source_name, rest
