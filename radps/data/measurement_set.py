"""MSv4 partitions: what describes them, and how they are created and written.

One partition is one zarr group of a processing set: one spectral window, one polarization setup, one field, one data
set. The groups follow XRADIO's schema (``xradio.measurement_set.schema``), so that XRADIO, xarray and other programs
read them; they are written by zarr directly, because XRADIO takes seconds to import and workers do not need it.

1. :func:`create_processing_set` makes the empty root, :func:`create_measurement_set` a partition with all its metadata
   and arrays in which nothing is written yet: NaN visibilities, every flag set.
2. Many tasks write whole chunks of it at the same time: :func:`write_visibilities`, :func:`write_uvw`.
3. :func:`consolidate_processing_set` once all partitions exist; writing of chunks may go on.

They are read by :mod:`radps.data.measurement_set_metadata` and :mod:`radps.data.visibilities`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from radps.data import stores
from radps.errors import DataError

SCHEMA_VERSION = "4.0.1"
"""Version of XRADIO's MSv4 schema that is written."""

VISIBILITY_DIMS = ("time", "baseline_id", "frequency", "polarization")

OBSERVER_OF_FRAME = {"LSRK": "lsrk", "LSRD": "lsrd", "GEO": "gcrs"}
"""Spectral frames by casacore's name -> the schema's ``observer``; the others keep their name."""

_ROW_COORDINATES = "baseline_antenna1_name baseline_antenna2_name field_name scan_name"


class Antennas(NamedTuple):
    """The antennas of an array; all arrays have one entry (row) an antenna."""

    names: tuple[str, ...]
    """Unique names, e.g. ``VA15``."""
    stations: tuple[str, ...]
    """Names of the pads, e.g. ``VLA:N2``."""
    positions_m: npt.NDArray[np.float64]
    """(antenna, 3) geocentric ITRF [m]."""
    diameters_m: npt.NDArray[np.float64]
    """(antenna,) diameters of the dishes [m]; NaN = unknown."""
    mounts: tuple[str, ...]
    """``ALT-AZ``, ``EQUATORIAL``, ..."""
    receptors: tuple[str, str]
    """Polarization of the two receptors: ``("R", "L")`` or ``("X", "Y")``."""
    receptor_angles_rad: npt.NDArray[np.float64] | None = None
    """(antenna, 2) angles at which the receptors are mounted [rad]; NaN or None = unknown."""


class MeasurementSetDescription(NamedTuple):
    """All metadata of one MSv4 partition."""

    name: str
    """Name of the group in its processing set; letters, digits, ``_``, ``-``, ``.``."""
    field_name: str
    source_name: str
    phase_center_rad: tuple[float, float]
    """Right ascension and declination [rad]."""
    phase_center_frame: str
    """``icrs`` or ``fk5`` (J2000); the uvw are of this frame too."""
    intents: tuple[str, ...]
    """Scan intents, e.g. ``("OBSERVE_TARGET#ON_SOURCE",)``; empty = the data do not say."""
    time_s: npt.NDArray[np.float64]
    """(time,) middle of each integration, UTC [unix s], ascending."""
    integration_time_s: float
    """Nominal length of an integration [s]."""
    scan_names: tuple[str, ...]
    """Name of the scan of each time."""
    frequency_hz: npt.NDArray[np.float64]
    """(channel,) middle of each channel [Hz], in ``spectral_frame``."""
    channel_width_hz: float
    """Width of a channel [Hz], positive."""
    spectral_frame: str
    """``TOPO``, ``LSRK``, ``BARY``, ``LSRD``, ``GEO``, ..."""
    rest_frequency_hz: float
    """Rest frequency of the line [Hz]; NaN = none given."""
    spectral_window_name: str
    polarizations: tuple[str, ...]
    """e.g. ``("RR", "LL")``."""
    antennas: Antennas
    antenna1: npt.NDArray[np.int64]
    """(baseline,) index of the first antenna in ``antennas``."""
    antenna2: npt.NDArray[np.int64]
    """(baseline,) index of the second antenna."""
    telescope: str
    observer: str = ""
    project: str = ""
    is_moving: bool = False
    """True: the field follows an ephemeris; its phase centre is not known (0, 0)."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the visibilities: (time, baseline, channel, polarization)."""
        return len(self.time_s), len(self.antenna1), len(self.frequency_hz), len(self.polarizations)


def create_processing_set(url: str) -> None:
    """Create an empty processing set.

    Raises
    ------
    DataError
        If there is something at the URL already.
    """
    stores.create_group(url, {"type": "processing_set"})


def create_measurement_set(url: str, description: MeasurementSetDescription, *, chunks: tuple[int, int]) -> str:
    """Create one partition of a processing set, with all metadata and nothing written into its arrays.

    Parameters
    ----------
    url : str
        The processing set.
    description : MeasurementSetDescription
        Metadata; ``description.name`` is the name of the group.
    chunks : tuple of int
        Integrations and channels of a zarr chunk; all baselines and polarizations lie in one chunk.

    Returns
    -------
    str
        URL of the new group.

    Raises
    ------
    DataError
        If there is such a partition already, or the description contradicts itself.
    """
    check_description(description)
    target = stores.join_url(url, description.name)
    stores.create_group(target, _group_attributes(description))
    _write_coordinates(target, description)
    _create_data_variables(target, description, chunks)
    _write_antennas(stores.join_url(target, "antenna_xds"), description)
    _write_field(stores.join_url(target, "field_and_source_base_xds"), description)
    return target


def consolidate_processing_set(url: str) -> None:
    """Gather the metadata of all partitions in the root, so that the set opens with one read.

    Call it once, after all partitions are created.
    """
    stores.consolidate(url)


def write_visibilities(
    url: str,
    *,
    times: slice,
    channels: slice,
    visibilities: npt.NDArray[np.complexfloating[Any, Any]],
    flags: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.floating[Any]],
) -> None:
    """Write whole chunks of visibilities, flags and weights of a partition.

    Parameters
    ----------
    url : str
        The partition.
    times, channels : slice
        Where; both on chunk boundaries.
    visibilities, flags, weights : ndarray, (time, baseline, channel, polarization)
        The values; stored as complex64, bool (True = do not use), float32.

    Raises
    ------
    DataError
        If the slices cut a chunk or a shape is wrong.
    """
    region = (times, slice(None), channels, slice(None))
    stores.write_region(stores.join_url(url, "VISIBILITY"), region, visibilities.astype(np.complex64, copy=False))
    stores.write_region(stores.join_url(url, "FLAG"), region, flags)
    stores.write_region(stores.join_url(url, "WEIGHT"), region, weights.astype(np.float32, copy=False))


def write_uvw(url: str, *, times: slice, uvw_m: npt.NDArray[np.float64]) -> None:
    """Write whole chunks of the baseline vectors of a partition, with the times of the samples.

    The time centroids and effective integration times are set to the nominal ones.

    Parameters
    ----------
    url : str
        The partition.
    times : slice
        Where; on chunk boundaries.
    uvw_m : ndarray, (time, baseline, 3) float64
        Baseline vectors [m], position of antenna 1 minus that of antenna 2; NaN where there are no data.

    Raises
    ------
    DataError
        If the slice cuts a chunk or the shape is wrong.
    """
    time = stores.open_array(stores.join_url(url, "time"))
    interval = float(time.attrs["integration_time"]["data"])  # type: ignore[index, call-overload, arg-type]
    centroid = np.broadcast_to(np.asarray(time[times])[:, np.newaxis], uvw_m.shape[:2])
    stores.write_region(stores.join_url(url, "UVW"), (times, slice(None), slice(None)), uvw_m)
    stores.write_region(stores.join_url(url, "TIME_CENTROID"), (times, slice(None)), centroid)
    stores.write_region(
        stores.join_url(url, "EFFECTIVE_INTEGRATION_TIME"), (times, slice(None)), np.full(uvw_m.shape[:2], interval)
    )


def check_description(description: MeasurementSetDescription) -> None:
    """Refuse a description that contradicts itself.

    Raises
    ------
    DataError
        With every contradiction found.
    """
    problems = []
    n_time, n_baselines, _, _ = description.shape
    n_antennas = len(description.antennas.names)
    if not all(description.shape):
        problems.append(
            f"the shape (time, baseline, channel, polarization) is {description.shape}, nothing may be empty"
        )
    if len(description.scan_names) != n_time:
        problems.append(f"{len(description.scan_names)} scan names for {n_time} times")
    if len(description.antenna2) != n_baselines:
        problems.append(f"{n_baselines} first and {len(description.antenna2)} second antennas of baselines")
    indices = np.concatenate([description.antenna1, description.antenna2])
    if indices.size and (indices.min() < 0 or indices.max() >= n_antennas):
        problems.append(
            f"antenna indices {indices.min()}..{indices.max()} of baselines, there are {n_antennas} antennas"
        )
    if len(set(description.antennas.names)) != n_antennas:
        problems.append("antenna names are not unique")
    if description.antennas.positions_m.shape != (n_antennas, 3):
        problems.append(f"antenna positions of shape {description.antennas.positions_m.shape}, not ({n_antennas}, 3)")
    if np.any(np.diff(description.time_s) <= 0):
        problems.append("times do not ascend")
    if description.phase_center_frame not in ("icrs", "fk5"):
        problems.append(f"phase centre in frame {description.phase_center_frame!r}, allowed are 'icrs' and 'fk5'")
    if problems:
        raise DataError(f"measurement set {description.name!r}: " + "; ".join(problems))


def software() -> dict[str, str]:
    """Return who writes: the ``creator`` of the schema."""
    try:
        return {"software_name": "radps", "version": version("radps")}
    except PackageNotFoundError:  # a source tree that is not installed
        return {"software_name": "radps", "version": "unknown"}


def _group_attributes(description: MeasurementSetDescription) -> dict[str, Any]:
    # The date is that of the observation: the same input gives the same bytes, whenever it is imported.
    date = datetime.fromtimestamp(float(description.time_s[0]), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return {
        "schema_version": SCHEMA_VERSION,
        "creator": software(),
        "creation_date": date,
        "type": "visibility",
        "data_groups": {
            "base": {
                "correlated_data": "VISIBILITY",
                "flag": "FLAG",
                "weight": "WEIGHT",
                "uvw": "UVW",
                "field_and_source": "field_and_source_base_xds",
                "description": "The data as imported",
                "date": date,
            }
        },
        "observation_info": {
            "observer": [description.observer],
            "release_date": date,
            "project_UID": description.project,
        },
        "processor_info": {"type": "CORRELATOR", "sub_type": ""},
    }


def _quantity(value: float, units: str) -> dict[str, Any]:
    return {"data": value, "dims": [], "attrs": {"units": units, "type": "quantity"}}


def _time_attributes() -> dict[str, Any]:
    return {"type": "time", "units": "s", "scale": "utc", "format": "unix"}


def _write_coordinates(url: str, description: MeasurementSetDescription) -> None:
    observer = OBSERVER_OF_FRAME.get(description.spectral_frame, description.spectral_frame)
    names = description.antennas.names
    reference = {"units": "Hz", "observer": observer, "type": "spectral_coord"}
    frequency = {
        "type": "spectral_coord",
        "units": "Hz",
        "observer": observer,
        "spectral_window_name": description.spectral_window_name,
        "spectral_window_intents": ["UNSPECIFIED"],
        "reference_frequency": {"attrs": reference, "data": float(description.frequency_hz[0]), "dims": []},
        "channel_width": _quantity(description.channel_width_hz, "Hz"),
    }
    time = _time_attributes() | {"integration_time": _quantity(description.integration_time_s, "s")}
    n_time, n_baselines, _, _ = description.shape
    for name, data, dims, attrs in (
        ("time", description.time_s, ("time",), time),
        ("baseline_id", np.arange(n_baselines), ("baseline_id",), {}),
        ("baseline_antenna1_name", [names[index] for index in description.antenna1], ("baseline_id",), {}),
        ("baseline_antenna2_name", [names[index] for index in description.antenna2], ("baseline_id",), {}),
        ("frequency", description.frequency_hz, ("frequency",), frequency),
        ("polarization", list(description.polarizations), ("polarization",), {}),
        ("uvw_label", ["u", "v", "w"], ("uvw_label",), {}),
        ("field_name", [description.field_name] * n_time, ("time",), {}),
        ("scan_name", list(description.scan_names), ("time",), {"scan_intents": list(description.intents)}),
    ):
        stores.save_array(stores.join_url(url, name), data, dims=dims, attrs=attrs)


def _create_data_variables(url: str, description: MeasurementSetDescription, chunks: tuple[int, int]) -> None:
    n_time, n_baselines, _, n_polarizations = shape = description.shape
    time_chunk, channel_chunk = chunks
    cells = (time_chunk, n_baselines, channel_chunk, n_polarizations)
    rows = {"coordinates": _ROW_COORDINATES}
    visibility = rows | {"type": "quanta", "units": "Jy"}
    weight = rows | {"type": "quanta", "units": "Jy^-2"}
    uvw = rows | {"type": "uvw", "units": "m", "frame": description.phase_center_frame}
    for name, dtype, fill_value, attrs in (
        ("VISIBILITY", np.complex64, None, visibility),
        ("FLAG", np.bool_, True, rows),
        ("WEIGHT", np.float32, None, weight),
    ):
        stores.create_array(
            stores.join_url(url, name),
            shape,
            chunks=cells,
            dtype=dtype,
            dims=VISIBILITY_DIMS,
            attrs=attrs,
            fill_value=fill_value,
        )
    for name, extra, attrs in (
        ("UVW", ("uvw_label",), uvw),
        ("TIME_CENTROID", (), rows | _time_attributes()),
        ("EFFECTIVE_INTEGRATION_TIME", (), rows | {"type": "quantity", "units": "s"}),
    ):
        stores.create_array(
            stores.join_url(url, name),
            (n_time, n_baselines, *(3 for _ in extra)),
            chunks=(time_chunk, n_baselines, *(3 for _ in extra)),
            dtype=np.float64,
            dims=("time", "baseline_id", *extra),
            attrs=attrs,
        )


def _write_antennas(url: str, description: MeasurementSetDescription) -> None:
    antennas = description.antennas
    n_antennas = len(antennas.names)
    attrs = {"type": "antenna", "overall_telescope_name": description.telescope, "relocatable_antennas": True}
    stores.create_group(url, attrs)
    coordinates = {"coordinates": "mount station_name telescope_name polarization_type"}
    position = {
        "type": "location",
        "units": "m",
        "frame": "ITRS",
        "coordinate_system": "geocentric",
        "origin_object_name": "earth",
    }
    for name, data, dims, attributes in (
        ("antenna_name", list(antennas.names), ("antenna_name",), {}),
        ("station_name", list(antennas.stations), ("antenna_name",), {}),
        ("mount", list(antennas.mounts), ("antenna_name",), {}),
        ("telescope_name", [description.telescope] * n_antennas, ("antenna_name",), {}),
        ("receptor_label", ["pol_0", "pol_1"], ("receptor_label",), {}),
        ("polarization_type", [list(antennas.receptors)] * n_antennas, ("antenna_name", "receptor_label"), {}),
        ("cartesian_pos_label", ["x", "y", "z"], ("cartesian_pos_label",), {}),
        ("ANTENNA_POSITION", antennas.positions_m, ("antenna_name", "cartesian_pos_label"), position | coordinates),
        (
            "ANTENNA_DISH_DIAMETER",
            antennas.diameters_m,
            ("antenna_name",),
            {"type": "quantity", "units": "m"} | coordinates,
        ),
        (
            "ANTENNA_RECEPTOR_ANGLE",
            antennas.receptor_angles_rad,
            ("antenna_name", "receptor_label"),
            {"type": "quantity", "units": "rad"} | coordinates,
        ),
    ):
        if data is None:
            continue
        stores.save_array(stores.join_url(url, name), data, dims=dims, attrs=attributes)


def _write_field(url: str, description: MeasurementSetDescription) -> None:
    stores.create_group(url, {"type": "field_and_source"})
    direction = {
        "type": "sky_coord",
        "units": "rad",
        "frame": description.phase_center_frame,
        "coordinates": "source_name",
    }
    rest = {"type": "spectral_coord", "units": "Hz", "observer": "REST", "coordinates": "line_name source_name"}
    center = [list(description.phase_center_rad)]
    variables: list[tuple[str, npt.ArrayLike, Sequence[str], dict[str, Any]]] = [
        ("field_name", [description.field_name], ("field_name",), {}),
        ("source_name", [description.source_name], ("field_name",), {}),
        ("sky_dir_label", ["ra", "dec"], ("sky_dir_label",), {}),
        ("FIELD_PHASE_CENTER_DIRECTION", center, ("field_name", "sky_dir_label"), direction),
        ("SOURCE_DIRECTION", center, ("field_name", "sky_dir_label"), direction),
    ]
    if np.isfinite(description.rest_frequency_hz):
        variables += [
            ("line_label", ["line_0"], ("line_label",), {}),
            ("line_name", [["line_0"]], ("field_name", "line_label"), {}),
            ("LINE_REST_FREQUENCY", [[description.rest_frequency_hz]], ("field_name", "line_label"), rest),
        ]
    for name, data, dims, attrs in variables:
        stores.save_array(stores.join_url(url, name), data, dims=dims, attrs=attrs)
