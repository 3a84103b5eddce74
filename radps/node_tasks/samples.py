"""Visibilities as imaging wants them: Stokes parameters of the cross-correlations, with imaging weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.addresses import VisibilityAddress
from radps.data.stores import load_array, require_parents, save_array
from radps.data.visibilities import VisibilityChunk, load_visibilities
from radps.domain.geometry import ImageGrid
from radps.domain.polarization import StokesI, to_stokes
from radps.domain.regridding import SpectralAxis
from radps.domain.spectral_frames import DopplerRule
from radps.domain.weights import DensityCells, Weighting, density_grid, imaging_weights, taper_weights
from radps.node_tasks.feeds import FeedRule, find_feed_angle


class Regridding(NamedTuple):
    """How the channels of a partition are brought to the axis of a cube."""

    axis: SpectralAxis
    doppler: DopplerRule
    channel_width_hz: float
    """Of the partition [Hz]."""


class Source(NamedTuple):
    """Data that go into an image: some times and channels of one partition."""

    address: VisibilityAddress
    times: tuple[int, int]
    """First time, and one after the last."""
    channels: tuple[int, int]
    """First channel of the partition, and one after the last; with ``regridding`` all that may be used."""
    regridding: Regridding | None = None
    """None: the channels are those of the image."""
    feeds: FeedRule | None = None
    """None: the feeds do not turn, or the data are corrected for it."""


class WeightingRule(NamedTuple):
    """How samples are weighted."""

    weighting: Weighting
    robust: float
    density_url: str | None = None
    """Common weight density of all channels; None: each channel has its own."""
    taper_rad: float = 0.0
    """Full width at half maximum of the Gaussian that the PSF is convolved with; 0: none."""


class Samples(NamedTuple):
    """A Stokes parameter of some channels."""

    uvw_m: NDArray[np.float64]
    """(row, 3) [m], MSv4 sign."""
    frequency_hz: NDArray[np.float64]
    """(channel,) [Hz]."""
    visibilities: NDArray[np.complex64]
    """(row, channel) [Jy]; 0 where the weight is 0."""
    weights: NDArray[np.float32]
    """(row, channel) [Jy^-2]; 0 = do not use."""


def load_samples(sources: Sequence[Source]) -> Samples:
    """Read Stokes I of the same channels of one or several partitions; their rows stand one after the other."""
    return load_stokes_samples(sources, ("I",))[0]


def load_stokes_samples(sources: Sequence[Source], stokes: Sequence[str]) -> tuple[Samples, ...]:
    """Read Stokes parameters of the same channels of partitions, one :class:`Samples` each; rows in the given order."""
    parts = [_load_source(source, stokes) for source in sources]
    if len(parts) == 1:
        return parts[0]
    return tuple(
        Samples(
            uvw_m=np.concatenate([part[number].uvw_m for part in parts]),
            frequency_hz=parts[0][number].frequency_hz,
            visibilities=np.concatenate([part[number].visibilities for part in parts]),
            weights=np.concatenate([part[number].weights for part in parts]),
        )
        for number in range(len(stokes))
    )


def weigh_samples(samples: Samples, rule: WeightingRule, grid: ImageGrid) -> NDArray[np.float32]:
    """Return imaging weights, (row, channel); without a common density, of each channel by itself."""
    weights = _weigh(samples, rule, grid)
    return taper_weights(samples.uvw_m, samples.frequency_hz, weights, rule.taper_rad) if rule.taper_rad else weights


def sum_density(source: Source, grid: ImageGrid) -> NDArray[np.float64]:
    """Return the weight density of a block, (n_l, n_m)."""
    samples = load_samples([source])
    return density_grid(samples.uvw_m, samples.frequency_hz, samples.weights, grid)


def add_densities(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Add up densities in their order."""
    total = np.zeros_like(parts[0])
    for part in parts:
        total += part
    return total


def save_density(density: NDArray[np.float64], url: str) -> None:
    """Write a weight density."""
    require_parents(url)
    save_array(url, density, dims=("u", "v"))


def find_stokes(source: Source, data: VisibilityChunk, stokes: Sequence[str]) -> tuple[StokesI, ...]:
    """Return Stokes parameters on the sky; feeds are turned back where the source says so."""
    angle = None
    if source.feeds is not None and set(stokes) & {"Q", "U"}:
        angle = find_feed_angle(source.address.store, source.feeds, data.time_s)
    return to_stokes(data.visibilities, data.flags, data.weights, data.polarizations, stokes, angle)


def _weigh(samples: Samples, rule: WeightingRule, grid: ImageGrid) -> NDArray[np.float32]:
    uvw_m, frequency_hz, weights = samples.uvw_m, samples.frequency_hz, samples.weights
    how: dict[str, Any] = {"weighting": rule.weighting, "robust": rule.robust}
    if rule.density_url is not None:
        return imaging_weights(uvw_m, frequency_hz, weights, grid, **how, density=load_array(rule.density_url))
    columns = [slice(channel, channel + 1) for channel in range(len(frequency_hz))]
    how["cells"] = DensityCells.AROUND
    return np.concatenate(
        [imaging_weights(uvw_m, frequency_hz[one], weights[:, one], grid, **how) for one in columns], axis=1
    )


def _load_source(source: Source, stokes: Sequence[str]) -> tuple[Samples, ...]:
    """Read one partition; autocorrelations hold no sky."""
    data = load_visibilities(source.address, times=slice(*source.times), channels=slice(*source.channels))
    planes = find_stokes(source, data, stokes)
    cross = data.antenna1 != data.antenna2
    n_channels = len(data.frequency_hz)
    uvw_m = data.uvw_m[:, cross].reshape(-1, 3)
    return tuple(
        Samples(
            uvw_m=uvw_m,
            frequency_hz=data.frequency_hz,
            visibilities=plane.visibilities[:, cross].reshape(-1, n_channels),
            weights=plane.weights[:, cross].reshape(-1, n_channels),
        )
        for plane in planes
    )
