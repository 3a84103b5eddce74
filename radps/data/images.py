"""Images and cubes in XRADIO's image schema: create a store, write planes of channels, read them.

1. One task creates the store by :func:`create_image`: coordinates and the variables asked for, NaN everywhere.
2. Each task writes its channels by :func:`write_planes` and :func:`write_beams`. A zarr chunk is one channel plane, or
   a tile of a large one, so that no two tasks touch the same chunk.

Axes of a variable: (time, frequency, polarization, l, m) with one time. l grows to the east and so decreases with the
index, m grows to the north; the phase centre is pixel n // 2. Planes are handed over as (channel, n_l, n_m) for one
polarization, or (channel, polarization, n_l, n_m).

The store follows ``xradio.image.schema`` and passes ``xradio.image.check_image``. It is written by zarr directly:
importing XRADIO takes seconds, and the tasks that write planes do not need it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from radps.data import stores
from radps.domain.earth import DAY_S, UNIX_EPOCH_MJD
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import DataError

if TYPE_CHECKING:
    import xarray

SCHEMA_VERSION = "0.0.2"
"""Version of XRADIO's image schema that is written."""

IMAGE_DIMS = ("time", "frequency", "polarization", "l", "m")
TILE_PIXELS = 2048
"""Side of a zarr chunk at most: 16 MB, which viewers read and object stores take at once."""

BEAM_VARIABLE = "BEAM_FIT_PARAMS_SKY"
WEIGHT_VARIABLE = "VISIBILITY_NORMALIZATION"

_OBSERVERS = {"LSRK": "lsrk", "LSRD": "lsrd", "GEO": "gcrs"}

_KINDS: dict[str, tuple[str, str, Any, Any]] = {
    "SKY": ("sky", "Jy/beam", np.float32, None),
    "POINT_SPREAD_FUNCTION": ("point_spread_function", "", np.float32, None),
    "PRIMARY_BEAM": ("primary_beam", "", np.float32, None),
    "MASK": ("mask", "", np.bool_, False),
    "FLAG": ("flag", "", np.bool_, True),
}
"""First words of the name of a variable -> type, unit, dtype, fill value."""

_SUB_TYPES = {
    "SKY_SPECTRAL_INDEX": "SpectralIndex",
    "SKY_MOMENT_1": "Velocity",
    "SKY_MOMENT_2": "VelocityDispersion",
}
"""First words of the name of a variable -> what is in it (BTYPE of FITS), where it is no intensity."""


class ImageDescription(NamedTuple):
    """The coordinates and the origin of an image or cube."""

    n_l: int
    n_m: int
    cell_size_rad: float
    phase_center_rad: tuple[float, float]
    """Right ascension and declination of pixel (n_l // 2, n_m // 2) [rad]; the tangent point of the SIN projection."""
    phase_center_frame: str
    """``icrs`` or ``fk5`` (J2000)."""
    frequency_hz: npt.NDArray[np.float64]
    """(channel,) evenly spaced [Hz], in ``spectral_frame``."""
    channel_width_hz: float
    """Width of a channel [Hz]; of a continuum image its bandwidth."""
    spectral_frame: str
    """``LSRK``, ``TOPO``, ``BARY``, ..."""
    rest_frequency_hz: float
    """Rest frequency of the line [Hz]; NaN = none: then the middle channel stands in, as in CASA."""
    time_s: float
    """Start of the observation, UTC [unix s]."""
    telescope: str
    object_name: str
    polarizations: tuple[str, ...] = ("I",)
    telescope_position_m: tuple[float, float, float] | None = None
    """Geocentric ITRF position of the array [m]."""
    observer: str = ""

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape of a variable: (time, channel, polarization, n_l, n_m)."""
        return 1, len(self.frequency_hz), len(self.polarizations), self.n_l, self.n_m


def create_image(
    url: str,
    description: ImageDescription,
    *,
    variables: Sequence[str] = ("SKY", "SKY_RESIDUAL", "SKY_MODEL", "POINT_SPREAD_FUNCTION"),
    provenance: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
) -> None:
    """Create the store of an image or cube, in which nothing is written yet.

    Parameters
    ----------
    url : str
        Where.
    description : ImageDescription
        Coordinates and origin.
    variables : sequence of str
        Names that start with SKY, POINT_SPREAD_FUNCTION, PRIMARY_BEAM, MASK or FLAG. ``SKY`` is the main image
        (restored), ``SKY_RESIDUAL``, ``SKY_MODEL``, ``SKY_DIRTY`` its companions, each in a data group of its own.
    provenance : mapping, optional
        Who made it (step, stage, attempt, parameters, fingerprint, versions, lineage); JSON-able, stored in
        the attribute ``provenance``.
    units : mapping, optional
        Unit of a variable that is not in Jy/beam, such as a moment.

    Raises
    ------
    DataError
        If there is something at the URL already, a name is of no known kind, or the channels are not evenly spaced.
    """
    kinds = {variable: _kind(variable) for variable in variables}
    _check_even(description.frequency_hz)
    attributes = {
        "type": "image_dataset",
        "schema_version": SCHEMA_VERSION,
        "data_groups": _data_groups(variables),
        "coordinate_system_info": _coordinate_system(description),
        "provenance": dict(provenance or {}),
    }
    stores.create_group(url, attributes)
    _write_coordinates(url, description)
    n_time, n_channels, n_polarizations, n_l, n_m = description.shape
    for variable, (kind, unit, dtype, fill_value) in kinds.items():
        stores.create_array(
            stores.join_url(url, variable),
            description.shape,
            chunks=(1, 1, 1, min(n_l, TILE_PIXELS), min(n_m, TILE_PIXELS)),
            dtype=dtype,
            dims=IMAGE_DIMS,
            attrs=_variable_attributes(variable, kind, (units or {}).get(variable, unit), description, variables),
            fill_value=fill_value,
        )
    planes = (n_time, n_channels, n_polarizations)
    stores.create_array(
        stores.join_url(url, BEAM_VARIABLE),
        (*planes, 3),
        chunks=(1, 1, 1, 3),
        dtype=np.float64,
        dims=("time", "frequency", "polarization", "beam_params_label"),
        attrs={"type": "beam_fit_params_sky", "units": "rad"},
    )
    stores.create_array(
        stores.join_url(url, WEIGHT_VARIABLE),
        planes,
        chunks=(1, 1, 1),
        dtype=np.float64,
        dims=("time", "frequency", "polarization"),
        attrs={"type": "visibility_normalization", "units": "Jy^-2"},
    )
    stores.consolidate(url)


def write_planes(
    url: str, variable: str, channels: slice, planes: npt.NDArray[Any], *, polarization: int | None = None
) -> None:
    """Write the planes of some channels.

    Parameters
    ----------
    url : str
        The image store.
    variable : str
        e.g. ``SKY``.
    channels : slice
        Channels of the image.
    planes : ndarray, (channel, n_l, n_m) or (channel, polarization, n_l, n_m)
        Values; stored as float32 (masks as bool).
    polarization : int, optional
        The one that (channel, n_l, n_m) are planes of, where the image has several.

    Raises
    ------
    DataError
        If the image has no such variable, or the shape is wrong.
    """
    array = planes[:, np.newaxis] if planes.ndim == 3 else planes
    target = stores.join_url(url, variable)
    dtype = _kind(variable)[2]
    region = _region(channels, array.ndim, polarization)
    stores.write_region(target, region, array[np.newaxis].astype(dtype, copy=False))


def write_beams(
    url: str,
    channels: slice,
    major_rad: npt.NDArray[np.float64],
    minor_rad: npt.NDArray[np.float64],
    position_angle_rad: npt.NDArray[np.float64],
    *,
    polarization: int | None = None,
) -> None:
    """Write the restoring beams of some channels, for one polarization or for all.

    Parameters
    ----------
    url : str
        The image store.
    channels : slice
        Channels of the image.
    major_rad, minor_rad, position_angle_rad : ndarray, (channel,)
        Full widths at half maximum, and position angle north through east [rad]; NaN = the channel has no data.

    Raises
    ------
    DataError
        If the shape is wrong.
    """
    target = stores.join_url(url, BEAM_VARIABLE)
    n_polarizations = stores.open_array(target).shape[2] if polarization is None else 1
    beams = np.stack([major_rad, minor_rad, position_angle_rad], axis=-1)[np.newaxis, :, np.newaxis]
    stores.write_region(target, _region(channels, 3, polarization), np.repeat(beams, n_polarizations, axis=2))


def write_weight_sums(
    url: str, channels: slice, weight_sums: npt.NDArray[np.float64], *, polarization: int | None = None
) -> None:
    """Write the sum of the imaging weights of some channels, (channel,) [Jy^-2], for one polarization or for all."""
    target = stores.join_url(url, WEIGHT_VARIABLE)
    n_polarizations = stores.open_array(target).shape[2] if polarization is None else 1
    planes = np.repeat(weight_sums[np.newaxis, :, np.newaxis].astype(np.float64), n_polarizations, axis=2)
    stores.write_region(target, _region(channels, 2, polarization), planes)


def load_planes(
    url: str, variable: str, channels: slice = slice(None), *, polarization: int | None = 0
) -> npt.NDArray[Any]:
    """Read the planes of some channels.

    Parameters
    ----------
    url : str
        The image store.
    variable : str
        e.g. ``SKY``.
    channels : slice
        Channels of the image.
    polarization : int or None
        Index of the polarization; None reads all.

    Returns
    -------
    ndarray, (channel, n_l, n_m), or (channel, polarization, n_l, n_m)
        Values; NaN (masks: False) where nothing was written.

    Raises
    ------
    DataError
        If the image has no such variable.
    """
    wanted = slice(None) if polarization is None else slice(polarization, polarization + 1)
    planes = stores.load_array(stores.join_url(url, variable), (slice(0, 1), channels, wanted))
    return planes[0] if polarization is None else planes[0, :, 0]


def load_beams(url: str) -> npt.NDArray[np.float64]:
    """Read the beams of the first polarization, (channel, 3) major, minor, position angle [rad]; NaN = no beam."""
    beams = stores.load_array(stores.join_url(url, BEAM_VARIABLE))
    return np.asarray(beams[0, :, 0], dtype=np.float64)


def choose_middle_beam(beams: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return major axis, minor axis and position angle [rad] of the channel nearest to the middle that has a beam.

    ``beams`` is (channel, 3), as of :func:`load_beams`; NaN where no channel has one.
    """
    valid = np.flatnonzero(np.isfinite(beams[:, 0]))
    middle = len(beams) // 2
    major, minor, angle = beams[valid[np.abs(valid - middle).argmin()] if valid.size else middle].tolist()
    return major, minor, angle


def load_weight_sums(url: str) -> npt.NDArray[np.float64]:
    """Read the sums of the imaging weights of all channels, (channel,) [Jy^-2]; NaN where nothing was written."""
    return np.asarray(stores.load_array(stores.join_url(url, WEIGHT_VARIABLE))[0, :, 0], dtype=np.float64)


def load_frequencies(url: str) -> npt.NDArray[np.float64]:
    """Read the frequency of every channel, (channel,) [Hz]."""
    return np.asarray(stores.load_array(stores.join_url(url, "frequency")), dtype=np.float64)


def load_unit(url: str, variable: str) -> str:
    """Return the unit of a variable, such as ``Jy/beam``."""
    return str(stores.open_array(stores.join_url(url, variable)).attrs.get("units", ""))


def open_image(url: str) -> xarray.Dataset:
    """Open an image lazily as an xarray Dataset; for users, notebooks and export.

    Raises
    ------
    DataError
        If there is none.
    """
    import xarray as xr  # 0.5 s; tasks that write planes do not need it

    stores.open_group(url)
    dataset: xarray.Dataset = xr.open_zarr(stores.open_store(url, read_only=True), consolidated=False, chunks=None)
    return dataset


def image_bytes(description: ImageDescription, variables: Sequence[str]) -> int:
    """Return the bytes on disk of the variables of an image, uncompressed."""
    n_pixels = math.prod(description.shape)
    return sum(n_pixels * np.dtype(_kind(variable)[2]).itemsize for variable in variables)


def _region(channels: slice, n_axes: int, polarization: int | None = None) -> tuple[slice, ...]:
    """Return the region of some channels of a variable with ``n_axes`` axes after the time."""
    plane = slice(None) if polarization is None else slice(polarization, polarization + 1)
    return (slice(None), channels, plane, *(slice(None) for _ in range(n_axes - 2)))


def _kind(variable: str) -> tuple[str, str, Any, Any]:
    for prefix, kind in _KINDS.items():
        if variable == prefix or variable.startswith(prefix + "_"):
            return kind
    raise DataError(f"image variable {variable!r}: the name must start with one of {', '.join(_KINDS)}")


def _check_even(frequency_hz: npt.NDArray[np.float64]) -> None:
    steps = np.diff(frequency_hz)
    if steps.size and not np.allclose(steps, steps[0], rtol=1e-4, atol=0.0):
        raise DataError(
            f"the channels of the image are not evenly spaced (steps of {steps.min():.6g} to {steps.max():.6g} Hz); "
            "image each spectral window by itself"
        )


def _data_groups(variables: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the data groups: ``base`` with the main image and what belongs to all, one more for each companion."""
    shared = {
        role: name
        for role, name in (
            ("point_spread_function", "POINT_SPREAD_FUNCTION"),
            ("primary_beam", "PRIMARY_BEAM"),
            ("mask", "MASK"),
        )
        if name in variables
    }
    beams = {"beam_fit_params_sky": BEAM_VARIABLE}
    weights = {"visibility_normalization": WEIGHT_VARIABLE}
    main = {"sky": "SKY"} if "SKY" in variables else {}
    groups = {"base": main | shared | beams | weights}
    for variable in variables:
        if variable.startswith("SKY_"):
            groups[variable.removeprefix("SKY_").lower()] = {"sky": variable} | beams
    return groups


def _coordinate_system(description: ImageDescription) -> dict[str, Any]:
    return {
        "reference_direction": _direction(description),
        "native_pole_direction": _labelled(
            {"frame": "NATIVE_PROJECTION", "type": "location", "units": "rad"},
            (math.pi, 0.0),
            "ellipsoid_dir_label",
            ("lon", "lat"),
        ),
        "pixel_coordinate_transformation_matrix": [[1.0, 0.0], [0.0, 1.0]],
        "projection": "SIN",
        "projection_parameters": [0.0, 0.0],
    }


def _direction(description: ImageDescription) -> dict[str, Any]:
    """Return the phase centre, at which the antennas point, as the schema stores it."""
    direction = {"units": "rad", "frame": description.phase_center_frame, "type": "sky_coord"}
    if description.phase_center_frame == "fk5":
        direction["equinox"] = "j2000.0"
    return _labelled(direction, description.phase_center_rad, "sky_dir_label", ("ra", "dec"))


def _labelled(attrs: dict[str, Any], data: Sequence[float], dim: str, labels: Sequence[str]) -> dict[str, Any]:
    """Return a measure as the schema stores it in an attribute."""
    coords = {dim: {"data": list(labels), "dims": [dim]}}
    return {"attrs": attrs, "data": [float(value) for value in data], "dims": [dim], "coords": coords}


def _write_coordinates(url: str, description: ImageDescription) -> None:
    cell = description.cell_size_rad
    rest = _rest_frequency(description)
    observer = _OBSERVERS.get(description.spectral_frame, description.spectral_frame)
    frequency = description.frequency_hz
    reference = {"units": "Hz", "observer": observer, "type": "spectral_coord"}
    frequency_attrs = {
        "type": "spectral_coord",
        "units": "Hz",
        "frame": description.spectral_frame,
        "observer": observer,
        "rest_frequency": _quantity(rest),
        "reference_frequency": {"attrs": reference, "data": float(frequency[0]), "dims": []},
        "channel_width": _quantity(description.channel_width_hz),
    }
    velocity = SPEED_OF_LIGHT_M_S * (1.0 - frequency / rest)
    time = {"type": "time", "units": "d", "scale": "utc", "format": "mjd"}
    mjd = description.time_s / DAY_S + UNIX_EPOCH_MJD
    # Products that need the coordinate of a one-pixel axis find its step here.
    l_values = (description.n_l // 2 - np.arange(description.n_l)) * cell
    m_values = (np.arange(description.n_m) - description.n_m // 2) * cell
    doppler = {"type": "doppler", "units": "m/s", "doppler_type": "radio"}
    for name, data, dims, attrs in (
        ("time", [mjd], ("time",), time),
        ("frequency", frequency, ("frequency",), frequency_attrs),
        ("velocity", velocity, ("frequency",), doppler),
        ("polarization", list(description.polarizations), ("polarization",), {}),
        ("l", l_values, ("l",), {"cdelt": -cell}),
        ("m", m_values, ("m",), {"cdelt": cell}),
        ("beam_params_label", ["major", "minor", "pa"], ("beam_params_label",), {}),
    ):
        stores.save_array(stores.join_url(url, name), data, dims=dims, attrs=attrs)


def _rest_frequency(description: ImageDescription) -> float:
    """Return the rest frequency [Hz]; where none is known the middle channel, because the schema asks for one."""
    if math.isfinite(description.rest_frequency_hz):
        return float(description.rest_frequency_hz)
    return float(description.frequency_hz[len(description.frequency_hz) // 2])


def _quantity(value: float) -> dict[str, Any]:
    return {"data": float(value), "dims": [], "attrs": {"units": "Hz", "type": "quantity"}}


def _variable_attributes(
    variable: str, kind: str, units: str, description: ImageDescription, variables: Sequence[str]
) -> dict[str, Any]:
    is_versioned = kind not in ("sky", "flag") and variable.lower() != kind
    attrs: dict[str, Any] = {"type": variable.lower() if is_versioned else kind, "coordinates": "velocity"}
    if kind == "flag":
        return attrs
    attrs |= {
        "units": "Jy/pixel" if variable == "SKY_MODEL" else units,
        "telescope": _telescope(description),
        "object_name": description.object_name,
        "observer": description.observer,
        "pointing_center": _direction(description),
    }
    if kind == "sky":
        attrs["sub_type"] = _sub_type(variable)
        if variable != "SKY_MODEL":
            attrs["beam_fit_params"] = BEAM_VARIABLE
        if "FLAG_" + variable in variables:
            attrs["flag"] = "FLAG_" + variable
    return attrs


def _sub_type(variable: str) -> str:
    """Return what is in an image of the sky, in the words of the schema."""
    for prefix, found in _SUB_TYPES.items():
        if variable.startswith(prefix):
            return found
    return "Intensity"


def _telescope(description: ImageDescription) -> dict[str, Any]:
    telescope: dict[str, Any] = {"name": description.telescope}
    if description.telescope_position_m is None:
        return telescope
    x, y, z = description.telescope_position_m
    distance = math.sqrt(x * x + y * y + z * z)
    place = {"coordinate_system": "geocentric", "frame": "ITRF", "origin_object_name": "earth", "type": "location"}
    direction = (math.atan2(y, x), math.asin(z / distance))
    telescope["direction"] = _labelled(place | {"units": "rad"}, direction, "ellipsoid_dir_label", ("lon", "lat"))
    telescope["distance"] = _labelled(place | {"units": "m"}, (distance,), "ellipsoid_dis_label", ("dist",))
    return telescope
