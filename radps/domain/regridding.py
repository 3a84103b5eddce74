"""Visibilities on another spectral axis: evenly spaced channels of a cube, in a frame of its own.

1. The axis (:class:`SpectralAxis`) gives the centre of each channel in the frame of the image. At each time a factor
   (:func:`radps.domain.spectral_frames.doppler_factors`) says where that is in the frame of the data.
2. A channel of the cube that is wider than those of the data is a row of equal parts, none wider than a channel of the
   data. Each part is a set of samples of its own, with the (u, v, w) of its own frequency, so that a wide channel is
   not smeared; their sum in the image is the average over the channel. CASA's gridder does the same for channels of two
   or more of the data; below, it interpolates at the centre.
3. A part takes its value from the channels around its centre: ``linear`` mixes two neighbours, v = (1 - t) v0 + t v1,
   and their weights alike, as CASA (``interpolation``) does. So all parts of a channel count the same, and the flux of
   a line is kept; a mixture has less noise than its weight says, by a half of the variance in the middle between two
   channels, and shares it with its neighbours. ``nearest`` takes the sample as it is. A centre within 1e-4 of a channel
   from that of a channel of the data is that channel: no mixture, no change.
4. A part between two channels of which one is flagged has no value (``linear``); one outside of the outermost centres
   (``linear``) or edges (``nearest``) has none either: nothing is extrapolated.

Where it fails: a line narrower than two channels of the data loses up to a half of its peak by ``linear``. Each channel
of the cube depends on its own frequency and the data alone, never on the channels that are made with it.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from radps.errors import DataError

Interpolation = Literal["linear", "nearest"]

SAME_PLACE = 1e-4
"""A distance from the centre of a channel, in channels, that is none."""


class SpectralAxis(NamedTuple):
    """The channels of a cube, evenly spaced in frequency."""

    first_hz: float
    """Centre of channel 0, in ``frame`` [Hz]."""
    step_hz: float
    """From channel to channel; negative where the frequency falls [Hz]."""
    n_channels: int
    frame: str
    """``TOPO``, ``GEO``, ``BARY``, ``LSRK`` or ``LSRD``."""
    interpolation: Interpolation = "linear"

    def frequency_hz(self, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Return the centres of channels [Hz]; those of a channel do not depend on which others are asked for."""
        numbers = np.arange(start, self.n_channels if stop is None else stop)
        return np.asarray(self.first_hz + self.step_hz * numbers, np.float64)


class ChannelData(NamedTuple):
    """Some neighbouring channels of a data set."""

    visibilities: NDArray[np.complex64]
    """(time, baseline, channel) [Jy]."""
    weights: NDArray[np.float32]
    """Same shape [Jy^-2]; 0 = do not use."""
    first: int
    """Number of the first channel in its spectral window."""
    window_hz: tuple[float, float]
    """Centres of channel 0 and of the last channel of the window, in the frame of the data [Hz]."""
    n_window: int
    """Channels of the window."""
    width_hz: float
    """Width of a channel of the window [Hz]."""
    usable: tuple[int, int]
    """First channel of the window that may be used, and one after the last."""

    @property
    def step_hz(self) -> float:
        """Signed distance of two channels of the window; 0 if it has one only."""
        return (self.window_hz[1] - self.window_hz[0]) / max(1, self.n_window - 1)


class ChannelSamples(NamedTuple):
    """The samples of one channel of a cube, part after part."""

    scale: NDArray[np.float64]
    """(part, time): the (u, v, w) of the data times this are those of the sample, at the centre of the cube's
    channel."""
    visibilities: NDArray[np.complex64]
    """(part, time, baseline) [Jy]; 0 where the weight is 0."""
    weights: NDArray[np.float32]
    """Same shape [Jy^-2]."""


def count_channel_parts(step_hz: float, data_width_hz: float) -> int:
    """Return how many parts a channel of a cube has: so many that none is wider than a channel of the data.

    A hundredth of a channel more does not count, because frames stretch the axis by up to 1e-4.
    """
    return max(1, math.ceil(abs(step_hz / data_width_hz) - 0.01))


def part_frequencies(axis: SpectralAxis, channel: int | NDArray[np.int64], n_parts: int) -> NDArray[np.float64]:
    """Return the centres of the parts of a channel in the frame of the axis, (part,) [Hz].

    Of channels (channel, 1) they are (channel, part).
    """
    offsets = (np.arange(n_parts) + 0.5) / n_parts - 0.5
    return np.asarray(axis.first_hz + axis.step_hz * (channel + offsets), np.float64)


def find_needed_channels(
    axis: SpectralAxis,
    channels: tuple[int, int],
    factors: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    usable: tuple[int, int],
) -> tuple[int, int]:
    """Return the half-open channels of a window that channels of a cube need; empty (start = stop) if there are none.

    Parameters
    ----------
    axis : SpectralAxis
        The cube.
    channels : tuple of int
        First channel of the cube, and one after the last.
    factors : ndarray, shape (time,)
        Frequencies of the image over those of the data.
    frequency_hz : ndarray, shape (channel,)
        Centres of the window's channels, evenly spaced [Hz].
    usable : tuple of int
        Half-open channels that may be used.

    Raises
    ------
    DataError
        The channels of the window are not evenly spaced.
    """
    start, stop = usable
    if len(frequency_hz) == 1:
        return start, stop
    steps = np.diff(frequency_hz)
    step = float(frequency_hz[-1] - frequency_hz[0]) / (len(frequency_hz) - 1)
    if not np.allclose(steps, step, rtol=1e-3, atol=0.0):
        raise DataError(
            f"the channels of the data are {steps.min():.6g} to {steps.max():.6g} Hz apart; only evenly spaced ones "
            "can be brought to another spectral axis: leave frame, start, width and n_channels open"
        )
    edges = axis.first_hz + axis.step_hz * (np.array([channels[0] - 0.5, channels[1] - 0.5]))
    wanted = edges[:, np.newaxis] / np.array([factors.min(), factors.max()])
    places = (wanted - frequency_hz[0]) / step
    low, high = max(start, math.floor(places.min())), min(stop, math.ceil(places.max()) + 1)
    return (low, high) if low < high else (start, start)


def regrid_channel(data: ChannelData, factors: NDArray[np.float64], axis: SpectralAxis, channel: int) -> ChannelSamples:
    """Return the samples of a channel of a cube.

    Parameters
    ----------
    data : ChannelData
        At least the channels of :func:`find_needed_channels`.
    factors : ndarray, shape (time,)
        Frequencies of the image over those of the data.
    axis : SpectralAxis
        The cube.
    channel : int
        Its channel.
    """
    n_parts = count_channel_parts(axis.step_hz, data.width_hz)
    n_times, n_baselines, n_loaded = data.visibilities.shape
    visibilities = np.zeros((n_parts, n_times, n_baselines), np.complex64)
    weights = np.zeros(visibilities.shape, np.float32)
    center_hz = axis.first_hz + axis.step_hz * channel
    wanted_hz = part_frequencies(axis, channel, n_parts)[:, np.newaxis] / factors
    if data.n_window == 1:
        # A window of one channel has no neighbours: it is used where a part lies in it.
        places = np.where(np.abs(wanted_hz - data.window_hz[0]) <= data.width_hz / 2, 0.0, -1.0)
    else:
        places = (wanted_hz - data.window_hz[0]) / data.step_hz
    if n_loaded:
        loaded = (data.first, data.first + n_loaded)
        _mix(
            data.visibilities, data.weights, places, loaded, data.usable, axis.interpolation == "linear",
            visibilities, weights,
        )  # fmt: skip
    return ChannelSamples(wanted_hz / center_hz, visibilities, weights)


@numba.njit(cache=True, nogil=True)
def _mix(visibilities, weights, places, loaded, usable, is_linear, mixed, mixed_weights):  # type: ignore[no-untyped-def]
    """Fill ``mixed`` and ``mixed_weights`` in place; ``places`` (part, time) count channels of the window."""
    n_parts, n_times, n_baselines = mixed.shape
    first, last = usable[0], usable[1] - 1
    for part in range(n_parts):
        for t in range(n_times):
            place = places[part, t]
            low = math.floor(place + 0.5)
            offset = place - low
            if is_linear and abs(offset) > SAME_PLACE:
                low = math.floor(place)
                offset = place - low
                high = low + 1
            else:
                high = low
            if low < first or high > last or low < loaded[0] or high >= loaded[1]:
                continue
            one, other = low - loaded[0], high - loaded[0]
            near, far = np.float32(1.0 - offset), np.float32(offset)
            for b in range(n_baselines):
                weight_1, weight_2 = weights[t, b, one], weights[t, b, other]
                if not (weight_1 > 0 and weight_2 > 0):
                    continue
                if one == other:
                    mixed[part, t, b] = visibilities[t, b, one]
                    mixed_weights[part, t, b] = weight_1
                else:
                    mixed[part, t, b] = near * visibilities[t, b, one] + far * visibilities[t, b, other]
                    mixed_weights[part, t, b] = near * weight_1 + far * weight_2
