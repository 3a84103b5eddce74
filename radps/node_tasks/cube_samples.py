"""The samples of each channel of a cube: as the data have them, or brought to the cube's own spectral axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import join_url, load_array
from radps.data.visibilities import load_visibilities
from radps.domain.regridding import ChannelData, SpectralAxis, find_needed_channels, regrid_channel
from radps.domain.spectral_frames import doppler_factors
from radps.node_tasks.samples import Regridding, Samples, Source, find_stokes, load_stokes_samples


class _Block(NamedTuple):
    """What a partition has for some channels of a cube."""

    data: tuple[ChannelData, ...]
    """Of each Stokes parameter."""
    uvw_m: NDArray[np.float64]
    """(time, baseline, 3), MSv4 sign [m]."""
    factors: NDArray[np.float64]
    """(time,) frequencies of the image over those of the data."""


class PlainPiece(NamedTuple):
    """Data in memory whose channels are those of the cube."""

    start: int
    """First channel of the cube."""
    all_channels: tuple[Samples, ...]
    """Of each Stokes parameter."""

    def samples(self, channel: int, stokes: int = 0) -> Samples:
        """Return the samples of one channel of the cube in a Stokes parameter, by its number."""
        one = slice(channel - self.start, channel - self.start + 1)
        every = self.all_channels[stokes]
        return every._replace(
            frequency_hz=every.frequency_hz[one],
            visibilities=np.ascontiguousarray(every.visibilities[:, one]),
            weights=np.ascontiguousarray(every.weights[:, one]),
        )


class RegriddedPiece(NamedTuple):
    """Data in memory that are brought to the axis of the cube, a channel at a time."""

    axis: SpectralAxis
    blocks: tuple[_Block, ...]

    def samples(self, channel: int, stokes: int = 0) -> Samples:
        """Return the samples of one channel of the cube from all partitions, those without weight left out."""
        uvw_m, visibilities, weights = [], [], []
        for block in self.blocks:
            found = regrid_channel(block.data[stokes], block.factors, self.axis, channel)
            used = found.weights > 0
            part, time, baseline = np.nonzero(used)
            uvw_m.append(block.uvw_m[time, baseline] * found.scale[part, time, np.newaxis])
            visibilities.append(found.visibilities[used])
            weights.append(found.weights[used])
        return Samples(
            uvw_m=np.concatenate(uvw_m),
            frequency_hz=self.axis.frequency_hz(channel, channel + 1),
            visibilities=np.concatenate(visibilities)[:, np.newaxis],
            weights=np.concatenate(weights)[:, np.newaxis],
        )


def load_piece(
    sources: Sequence[Source], first: int, start: int, stop: int, stokes: Sequence[str] = ("I",)
) -> PlainPiece | RegriddedPiece:
    """Read what some channels of a cube need.

    Parameters
    ----------
    sources : sequence of Source
        Partitions. Without ``regridding`` their channels are those of the cube from ``first`` on.
    first : int
        Channel of the cube that the first channel of the sources is.
    start, stop : int
        First channel of the cube that is wanted, and one after the last.
    stokes : sequence of str
        Any of I, Q, U, V.
    """
    axes = [one.regridding.axis for one in sources if one.regridding is not None]
    if not axes:
        cut = [_cut(one, start - first, stop - first) for one in sources]
        return PlainPiece(start, load_stokes_samples(cut, stokes))
    blocks = [_load_block(one, one.regridding, (start, stop), stokes) for one in sources if one.regridding is not None]
    return RegriddedPiece(axes[0], tuple(blocks))


def _cut(source: Source, start: int, stop: int) -> Source:
    """Return the channels of a source that a piece needs, counted from the start of the source."""
    first = source.channels[0]
    return source._replace(channels=(first + start, first + stop))


def _load_block(source: Source, rule: Regridding, channels: tuple[int, int], stokes: Sequence[str]) -> _Block:
    """Read the channels of a partition that channels of a cube need; autocorrelations hold no sky."""
    store = source.address.store
    times = slice(*source.times)
    factors = doppler_factors(load_array(join_url(store, "time"), (times,)), rule.doppler)
    frequency_hz = np.asarray(load_array(join_url(store, "frequency")), np.float64)
    needed = find_needed_channels(rule.axis, channels, factors, frequency_hz, source.channels)
    read = load_visibilities(source.address, times=times, channels=slice(*needed))
    cross = read.antenna1 != read.antenna2
    data = tuple(
        ChannelData(
            visibilities=plane.visibilities[:, cross],
            weights=plane.weights[:, cross],
            first=needed[0],
            window_hz=(float(frequency_hz[0]), float(frequency_hz[-1])),
            n_window=len(frequency_hz),
            width_hz=rule.channel_width_hz,
            usable=source.channels,
        )
        for plane in find_stokes(source, read, stokes)
    )
    return _Block(data, read.uvw_m[:, cross], factors)
