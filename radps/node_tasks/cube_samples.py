"""The samples of each channel of a cube: as the data have them, or brought to the cube's own spectral axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import join_url, load_array
from radps.data.visibilities import load_visibilities
from radps.domain.polarization import to_stokes_i
from radps.domain.regridding import ChannelData, SpectralAxis, find_needed_channels, regrid_channel
from radps.domain.spectral_frames import doppler_factors
from radps.node_tasks.samples import Regridding, Samples, Source, load_samples


class _Block(NamedTuple):
    """What a partition has for some channels of a cube."""

    data: ChannelData
    uvw_m: NDArray[np.float64]
    """(time, baseline, 3), MSv4 sign [m]."""
    factors: NDArray[np.float64]
    """(time,) frequencies of the image over those of the data."""


class PlainPiece(NamedTuple):
    """Data in memory whose channels are those of the cube."""

    start: int
    """First channel of the cube."""
    all_channels: Samples

    def samples(self, channel: int) -> Samples:
        """Return the samples of one channel of the cube."""
        one = slice(channel - self.start, channel - self.start + 1)
        return self.all_channels._replace(
            frequency_hz=self.all_channels.frequency_hz[one],
            visibilities=np.ascontiguousarray(self.all_channels.visibilities[:, one]),
            weights=np.ascontiguousarray(self.all_channels.weights[:, one]),
        )


class RegriddedPiece(NamedTuple):
    """Data in memory that are brought to the axis of the cube, a channel at a time."""

    axis: SpectralAxis
    blocks: tuple[_Block, ...]

    def samples(self, channel: int) -> Samples:
        """Return the samples of one channel of the cube from all partitions, those without weight left out."""
        uvw_m, visibilities, weights = [], [], []
        for block in self.blocks:
            found = regrid_channel(block.data, block.factors, self.axis, channel)
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


def load_piece(sources: Sequence[Source], first: int, start: int, stop: int) -> PlainPiece | RegriddedPiece:
    """Read what some channels of a cube need.

    Parameters
    ----------
    sources : sequence of Source
        Partitions. Without ``regridding`` their channels are those of the cube from ``first`` on.
    first : int
        Channel of the cube that the first channel of the sources is.
    start, stop : int
        First channel of the cube that is wanted, and one after the last.
    """
    axes = [one.regridding.axis for one in sources if one.regridding is not None]
    if not axes:
        return PlainPiece(start, load_samples([_cut(one, start - first, stop - first) for one in sources]))
    blocks = [_load_block(one, one.regridding, (start, stop)) for one in sources if one.regridding is not None]
    return RegriddedPiece(axes[0], tuple(blocks))


def _cut(source: Source, start: int, stop: int) -> Source:
    """Return the channels of a source that a piece needs, counted from the start of the source."""
    first = source.channels[0]
    return source._replace(channels=(first + start, first + stop))


def _load_block(source: Source, rule: Regridding, channels: tuple[int, int]) -> _Block:
    """Read the channels of a partition that channels of a cube need; autocorrelations hold no sky."""
    store = source.address.store
    times = slice(*source.times)
    factors = doppler_factors(load_array(join_url(store, "time"), (times,)), rule.doppler)
    frequency_hz = np.asarray(load_array(join_url(store, "frequency")), np.float64)
    needed = find_needed_channels(rule.axis, channels, factors, frequency_hz, source.channels)
    read = load_visibilities(source.address, times=times, channels=slice(*needed))
    stokes = to_stokes_i(read.visibilities, read.flags, read.weights, read.polarizations)
    cross = read.antenna1 != read.antenna2
    data = ChannelData(
        visibilities=stokes.visibilities[:, cross],
        weights=stokes.weights[:, cross],
        first=needed[0],
        window_hz=(float(frequency_hz[0]), float(frequency_hz[-1])),
        n_window=len(frequency_hz),
        width_hz=rule.channel_width_hz,
        usable=source.channels,
    )
    return _Block(data, read.uvw_m[:, cross], factors)
