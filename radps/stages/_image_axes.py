"""The spectral axis of a cube: the channels of the data, or channels that the user chooses in a frame of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from radps.context.model import Context
from radps.context.records import Partition, SpectralWindow
from radps.data.virtual_windows import SAME_CHANNEL
from radps.domain.regridding import Interpolation, SpectralAxis
from radps.domain.spectral_frames import (
    DopplerRule,
    VelocityConvention,
    doppler_factors,
    frequency_of_velocity,
    velocity_of_frequency,
)
from radps.errors import SelectionError
from radps.stages._imaging import ImagingParams
from radps.units import Frequency, parse_quantity

_SAME_AXIS = 1e-3
"""An axis whose channels lie within this part of a channel on those of the data is that of the data."""


def _parse_spectral(text: str) -> tuple[float, bool]:
    """Return a frequency [Hz] or a velocity [m/s], and True for a velocity."""
    for unit, is_velocity in (("Hz", False), ("m / s", True)):
        try:
            return parse_quantity(text, unit), is_velocity
        except ValueError:
            continue
    raise ValueError(f"{text!r} is neither a frequency nor a velocity; write it like '1420.4 MHz' or '1500 km/s'")


def _check_spectral(text: str) -> str:
    _parse_spectral(text)
    return text


def _check_width(text: str) -> str:
    if _parse_spectral(text)[0] == 0.0:
        raise ValueError("a channel of no width; leave it open for the width of the data's channels")
    return text


SpectralValue = Annotated[str, AfterValidator(_check_spectral)]
SpectralWidth = Annotated[str, AfterValidator(_check_width)]


class SpectralAxisParams(ImagingParams):
    """Parameters of the spectral axis of a cube; with none of them it is that of the data."""

    frame: Literal["data", "LSRK", "BARY", "TOPO"] = "data"
    """Frame of the cube's frequencies: that of the data, the kinematic standard of rest, the barycentre, the
    observatory (CASA `outframe`). Data of another one are shifted integration by integration."""
    start: int | SpectralValue | None = None
    """Centre of the first channel: a channel of the data, a frequency or a velocity in `frame`, such as "1500 km/s"; by
    default the first that every integration covers (CASA `start`)."""
    width: SpectralWidth | None = None
    """Width of a channel as a frequency or a velocity; a negative one makes the axis descend; by default that of the
    data's channels (CASA `width`)."""
    n_channels: Annotated[int, Field(ge=1)] | None = None
    """Channels of the cube; by default as many as every integration covers (CASA `nchan`)."""
    rest_frequency: Annotated[Frequency, Field(gt=0.0)] | None = None
    """Of the line whose velocities are meant; by default that of the data (CASA `restfreq`)."""
    velocity_convention: VelocityConvention = "radio"
    """Of `start` and `width`: radio, v = c (1 - f / f0), or optical, v = c (f0 / f - 1) (CASA `veltype`)."""
    interpolation: Interpolation = "linear"
    """How channels of the data are brought to those of the cube (CASA `interpolation`)."""
    windows: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Spectral windows to image, each with those of other data sets that are the same virtual window; by default all
    (CASA `spw`)."""
    combine_windows: bool = False
    """One cube from all spectral windows of a field, on one axis; False = a cube for each of them."""

    @property
    def has_own_axis(self) -> bool:
        """True if channels were chosen."""
        return any(value is not None for value in (self.start, self.width, self.n_channels))


class AxisChoice(NamedTuple):
    """The channels of a cube."""

    axis: SpectralAxis | None
    """None: channels of the data."""
    channels: tuple[tuple[int, int], ...]
    """Of each partition: half-open channels that are used."""


class _Extent(NamedTuple):
    """Frequencies of a partition in the frame of the image [Hz]."""

    covered_hz: tuple[float, float]
    """Centres of the outermost channels that every integration covers."""
    reached_hz: tuple[float, float]
    """Edges of what any integration covers."""
    factor: float
    """Frequency in the image's frame over that in the data's, at the first integration."""


def choose_axis(
    context: Context, params: SpectralAxisParams, partitions: Sequence[Partition], channels: Sequence[tuple[int, int]]
) -> AxisChoice:
    """Return the channels of a cube.

    Parameters
    ----------
    context : Context
    params : SpectralAxisParams
    partitions : sequence of Partition
        What goes into the cube.
    channels : sequence of (start, stop)
        Of each partition: the half-open channels that may be used.

    Raises
    ------
    SelectionError
        The data have different channels and no axis is chosen; the axis lies outside of the data; a velocity is given
        and no rest frequency is known.
    """
    windows = [context.window(partition.window) for partition in partitions]
    frame = windows[0].frame if params.frame == "data" else params.frame
    is_native = all(window.frame == frame for window in windows)
    different = _find_different(partitions, windows)
    if is_native and not params.has_own_axis:
        if different is None:
            return AxisChoice(None, tuple(channels))
        if params.frame == "data" and not params.combine_windows:
            raise SelectionError(different)
    extents = [
        _extent(context, partition, window, used, frame)
        for partition, window, used in zip(partitions, windows, channels, strict=True)
    ]
    axis = _lay_axis(params, windows[0], extents, frame)
    if is_native and different is None and (found := _find_same(axis, windows[0], channels[0])):
        return AxisChoice(None, (found,) * len(partitions))
    _check_reached(axis, extents)
    return AxisChoice(axis, tuple(channels))


def make_doppler_rule(context: Context, partition: Partition, axis: SpectralAxis) -> DopplerRule:
    """Return what the shift of a partition to the frame of an axis depends on."""
    return _doppler_rule(context, partition, context.window(partition.window), axis.frame)


def sample_times(context: Context, partition: Partition, n_times: int) -> NDArray[np.float64]:
    """Return times in the scans of a partition that stand for equal parts of its data, UTC [unix s]."""
    ends = np.sort(_times(context, partition))
    pairs = ends.reshape(-1, 2) if ends.size % 2 == 0 else ends[[0, -1]][np.newaxis]
    observed_s = np.concatenate([[0.0], np.cumsum(pairs[:, 1] - pairs[:, 0])])
    middles = (np.arange(n_times) + 0.5) / n_times * observed_s[-1]
    return np.asarray(np.interp(middles, np.repeat(observed_s, 2)[1:-1], pairs.ravel()), np.float64)


def reaches(context: Context, partition: Partition, used: tuple[int, int], axis: SpectralAxis) -> tuple[int, int]:
    """Return the half-open channels of an axis that a partition may reach in any integration; maybe none."""
    low, high = _extent(context, partition, context.window(partition.window), used, axis.frame).reached_hz
    places = sorted((edge - axis.first_hz) / axis.step_hz for edge in (low, high))
    return max(0, math.floor(places[0] - 0.5)), min(axis.n_channels, math.ceil(places[1] + 0.5) + 1)


def shift_limits(context: Context, partition: Partition, frame: str) -> tuple[float, float]:
    """Return the smallest and the largest ratio of frequencies in a frame to those of a partition, over its scans."""
    window = context.window(partition.window)
    factors = doppler_factors(_times(context, partition), _doppler_rule(context, partition, window, frame))
    return float(factors.min()), float(factors.max())


def drift_channels(context: Context, partition: Partition, frame: str) -> float:
    """Return by how many of its channels a partition moves in the frame of an image while it is observed."""
    window = context.window(partition.window)
    least, most = shift_limits(context, partition, frame)
    return (most - least) * max(window.frequency_hz) / abs(window.channel_width_hz)


def _doppler_rule(context: Context, partition: Partition, window: SpectralWindow, frame: str) -> DopplerRule:
    direction, centre_m = context.field(partition.field).direction, context.require_observation().array_center_m
    return DopplerRule(window.frame, frame, direction.ra_rad, direction.dec_rad, centre_m)


def _times(context: Context, partition: Partition) -> NDArray[np.float64]:
    """Return the starts and ends of the scans of a partition, UTC [unix s]."""
    observation = context.require_observation()
    dataset = next(one for one in observation.project.datasets if one.name == partition.dataset)
    inside = [
        time
        for scan in observation.scans
        if scan.field == partition.field
        for time in (scan.start_s, scan.stop_s)
        if dataset.start_s - 1.0 <= time <= dataset.stop_s + 1.0
    ]
    return np.array(inside or [dataset.start_s, dataset.stop_s])


def _extent(
    context: Context, partition: Partition, window: SpectralWindow, used: tuple[int, int], frame: str
) -> _Extent:
    """Return what a partition covers in the frame of an image."""
    factors = doppler_factors(_times(context, partition), _doppler_rule(context, partition, window, frame))
    centres = np.linspace(*window.frequency_hz, window.n_channels)[used[0] : used[1]]
    low, high, half = float(centres.min()), float(centres.max()), abs(window.channel_width_hz) / 2
    least, most = float(factors.min()), float(factors.max())
    return _Extent((low * most, high * least), ((low - half) * least, (high + half) * most), float(factors[0]))


def _lay_axis(
    params: SpectralAxisParams, window: SpectralWindow, extents: Sequence[_Extent], frame: str
) -> SpectralAxis:
    """Return the axis that the parameters ask for; what they leave open comes from the data."""
    given_width = None if params.width is None else _parse_spectral(params.width)
    given_start = None if params.start is None or isinstance(params.start, int) else _parse_spectral(params.start)
    is_velocity = (given_width or given_start or (0.0, False))[1]
    rest_hz = _rest_frequency(params, window) if is_velocity or (given_start is not None and given_start[1]) else 0.0
    low = min(extent.covered_hz[0] for extent in extents)
    high = max(extent.covered_hz[1] for extent in extents)
    width_hz = abs(window.channel_width_hz) * extents[0].factor

    def to_hz(value: float, is_speed: bool = is_velocity) -> float:
        return float(frequency_of_velocity(value, rest_hz, params.velocity_convention)) if is_speed else value

    def from_hz(frequency_hz: float) -> float:
        speed = velocity_of_frequency
        return float(speed(frequency_hz, rest_hz, params.velocity_convention)) if is_velocity else frequency_hz

    start_hz = None if given_start is None else to_hz(*given_start)
    if isinstance(params.start, int):
        start_hz = _channel_frequency(params.start, window) * extents[0].factor
    if given_width is not None:
        width = given_width[0]
    elif is_velocity:
        middle = start_hz or 0.5 * (low + high)
        width = abs(from_hz(middle - width_hz) - from_hz(middle))
    else:
        width = width_hz if window.frequency_hz[-1] >= window.frequency_hz[0] else -width_hz
    ends = sorted((from_hz(low), from_hz(high)), reverse=width < 0)
    first = ends[0] if start_hz is None else from_hz(start_hz)
    n_channels = params.n_channels or math.floor((ends[1] - first) / width + 1e-6) + 1
    if n_channels < 1:
        raise SelectionError(_outside(first, width, is_velocity, ends, frame))
    # Evenly spaced in frequency between the two ends: exact for radio velocities.
    last_hz = to_hz(first + max(1, n_channels - 1) * width)
    first_hz = to_hz(first)
    step_hz = (last_hz - first_hz) / max(1, n_channels - 1)
    if not min(first_hz, last_hz) > 0:
        raise SelectionError(
            f"the spectral axis runs from {first_hz / 1e6:.6f} to {last_hz / 1e6:.6f} MHz; frequencies are positive: "
            "change start, width or n_channels"
        )
    return SpectralAxis(first_hz, step_hz, n_channels, frame, params.interpolation)


def _outside(first: float, width: float, is_velocity: bool, ends: Sequence[float], frame: str) -> str:
    unit, scale = ("km/s", 1e3) if is_velocity else ("MHz", 1e6)
    return (
        f"a spectral axis from {first / scale:.6f} {unit} in steps of {width / scale:.6g} {unit} leaves the data, of "
        f"which every integration covers {ends[0] / scale:.6f} to {ends[1] / scale:.6f} {unit} ({frame}); change "
        "start or the sign of width, or name the windows to image by `windows`"
    )


def _rest_frequency(params: SpectralAxisParams, window: SpectralWindow) -> float:
    """Return the rest frequency of the line [Hz]."""
    rest_hz = params.rest_frequency or window.rest_frequency_hz
    if rest_hz is None:
        raise SelectionError(
            f"start or width is a velocity and the data name no rest frequency for {window.name}; give rest_frequency"
        )
    return rest_hz


def _channel_frequency(channel: int, window: SpectralWindow) -> float:
    """Return the centre of a channel of the data [Hz]."""
    if not 0 <= channel < window.n_channels:
        raise SelectionError(
            f"the spectral axis starts at channel {channel} of {window.name}, which has channels "
            f"0~{window.n_channels - 1}"
        )
    return float(np.linspace(*window.frequency_hz, window.n_channels)[channel])


def _check_reached(axis: SpectralAxis, extents: Sequence[_Extent]) -> None:
    """Refuse an axis of which no channel has data."""
    ends = sorted((axis.first_hz, axis.first_hz + (axis.n_channels - 1) * axis.step_hz))
    low = min(extent.reached_hz[0] for extent in extents)
    high = max(extent.reached_hz[1] for extent in extents)
    if ends[1] < low or ends[0] > high:
        raise SelectionError(
            f"the spectral axis reaches from {ends[0] / 1e6:.6f} to {ends[1] / 1e6:.6f} MHz and the data from "
            f"{low / 1e6:.6f} to {high / 1e6:.6f} MHz ({axis.frame}); change start, width or n_channels, or name the "
            "windows to image by `windows`"
        )


def _find_same(axis: SpectralAxis, window: SpectralWindow, used: tuple[int, int]) -> tuple[int, int] | None:
    """Return the half-open channels of the data that an axis consists of; None if it is another one."""
    step = (window.frequency_hz[1] - window.frequency_hz[0]) / max(1, window.n_channels - 1)
    if window.n_channels == 1:
        step = window.channel_width_hz
    first = round((axis.first_hz - window.frequency_hz[0]) / step)
    last = first + axis.n_channels - 1
    wanted = axis.frequency_hz()[[0, -1]]
    apart = np.abs(wanted - (window.frequency_hz[0] + step * np.array([first, last]))).max() / abs(step)
    is_same = apart < _SAME_AXIS and abs(axis.step_hz / step - 1.0) < _SAME_AXIS and used[0] <= first <= last < used[1]
    return (first, last + 1) if is_same else None


def _find_different(partitions: Sequence[Partition], windows: Sequence[SpectralWindow]) -> str | None:
    """Return why data have no common channels; None if they have."""
    first = windows[0]
    for partition, window in zip(partitions, windows, strict=True):
        shift = max(abs(a - b) for a, b in zip(window.frequency_hz, first.frequency_hz, strict=True))
        is_same = window.frame == first.frame and window.n_channels == first.n_channels
        if not is_same or shift > SAME_CHANNEL * abs(first.channel_width_hz):
            return (
                f"{partition.name} and {partitions[0].name} have different channels ({window.n_channels} from "
                f"{window.frequency_hz[0] / 1e6:.6f} MHz, {first.n_channels} from "
                f"{first.frequency_hz[0] / 1e6:.6f} MHz); give the cube an axis of its own by `frame`, such as LSRK, "
                f"or import the data with virtual_windows: exact, so that each gets a cube of its own"
            )
    return None
