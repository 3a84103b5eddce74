"""What the search for line-free channels does on a worker: a small dirty cube, channel by channel; then the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import join_url, load_array, require_array, require_parents, save_array, write_region
from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid
from radps.domain.gridding import dirty_sum
from radps.domain.line_free import LineFreeChannels, find_channel_runs, find_line_free_channels
from radps.node_tasks.cube_imaging import CubePart
from radps.node_tasks.cube_samples import load_piece
from radps.node_tasks.samples import Samples

CUBE = "DIRTY"
"""Array of the dirty cube, (frequency, l, m) [Jy/beam]."""

MAX_UV_OF_CELL = 0.4
"""Longest baseline that is imaged, in units of one over the cell: above a half the sky would fold back."""


class ChannelMeans(NamedTuple):
    """What is measured of some channels besides their images, one number each."""

    frequency_hz: tuple[float, ...]
    mean_jy: tuple[float, ...]
    """Real part of the weighted mean visibility; NaN = no data."""
    mean_weights: tuple[float, ...]
    image_weights: tuple[float, ...]


class SearchRules(NamedTuple):
    """How the search is done."""

    order: int
    min_fraction: float


class SearchSummary(NamedTuple):
    """What the search found."""

    channels: tuple[tuple[int, int], ...]
    """Line-free channels, half-open ranges."""
    coverage: str
    threshold: float | None
    largest: float | None
    """Largest significance of a channel."""


def create_dirty_cube(url: str, n_channels: int, grid: ImageGrid) -> None:
    """Create the array of the dirty cube; doing it twice changes nothing."""
    cube_url = join_url(url, CUBE)
    require_parents(cube_url)
    require_array(
        cube_url,
        (n_channels, *grid.shape),
        chunks=(1, *grid.shape),
        dtype=np.float32,
        dims=("frequency", "l", "m"),
        attrs={"units": "Jy/beam"},
        fill_value=np.nan,
    )


def image_channels(part: CubePart, grid: ImageGrid, url: str) -> ChannelMeans:
    """Make and write the dirty images of the channels of a part with natural weights, and return their means."""
    rows: list[tuple[float, float, float, float]] = []
    for start, stop in part.pieces:
        data = load_piece(part.sources, part.channels[0], start, stop)
        for channel in range(start, stop):
            samples = data.samples(channel)
            image, weight = _image_short_baselines(samples, grid)
            where = (slice(channel, channel + 1), slice(None), slice(None))
            write_region(join_url(url, CUBE), where, image[np.newaxis])
            rows.append((float(samples.frequency_hz[0]), *_average(samples), weight))
    return ChannelMeans(*(tuple(column) for column in zip(*rows, strict=True)))


def join_means(parts: Sequence[ChannelMeans]) -> ChannelMeans:
    """Put the channels of parts one after the other."""
    return ChannelMeans(*(tuple(value for one in column for value in one) for column in zip(*parts, strict=True)))


def search_lines(means: ChannelMeans, url: str, rules: SearchRules) -> SearchSummary:
    """Find the line-free channels, and write the spectra that they were found from."""
    images = load_array(join_url(url, CUBE))
    found = find_line_free_channels(
        images,
        np.array(means.mean_jy),
        np.array(means.image_weights),
        np.array(means.mean_weights),
        order=rules.order,
        min_fraction=rules.min_fraction,
    )
    _save_spectra(url, means, images, found)
    with_data = np.isfinite(found.significance)
    return SearchSummary(
        find_channel_runs(found.line_free),
        str(found.coverage),
        found.threshold if np.isfinite(found.threshold) else None,
        float(found.significance[with_data].max()) if with_data.any() else None,
    )


def _save_spectra(url: str, means: ChannelMeans, images: NDArray[np.float32], found: LineFreeChannels) -> None:
    """Write what the decision was made on; a repeated task writes the same."""
    spectra = {
        "frequency": (np.array(means.frequency_hz), "Hz"),
        "MEAN_VISIBILITY": (np.array(means.mean_jy), "Jy"),
        "DIRTY_PEAK": (images.max(axis=(1, 2)).astype(np.float64), "Jy/beam"),
        "DIRTY_NOISE": (found.noise_jy, "Jy/beam"),
        "SIGNIFICANCE": (found.significance, ""),
        "LINE_FREE": (found.line_free, ""),
    }
    for name, (values, unit) in spectra.items():
        attrs = {"units": unit} if unit else {}
        save_array(join_url(url, name), values, dims=("frequency",), attrs=attrs, overwrite=True)


def _image_short_baselines(samples: Samples, grid: ImageGrid) -> tuple[NDArray[np.float32], float]:
    """Return the dirty image from the baselines that its cells can show, and the sum of its weights; NaN without data.

    Without the w-term: a line stays a line where its source is smeared.
    """
    longest_m = MAX_UV_OF_CELL / grid.cell_size_rad * SPEED_OF_LIGHT_M_S / float(samples.frequency_hz[0])
    short = np.hypot(samples.uvw_m[:, 0], samples.uvw_m[:, 1]) < longest_m
    used = short & (samples.weights[:, 0] > 0)
    total = dirty_sum(
        samples.uvw_m[used], samples.frequency_hz, samples.visibilities[used], samples.weights[used], grid, w_term=False
    )
    return total.normalised().astype(np.float32, copy=False), total.weight


def _average(samples: Samples) -> tuple[float, float]:
    """Return the real part of the weighted mean visibility (NaN without data), and the sum of weights."""
    weights = samples.weights[:, 0].astype(np.float64)
    total = float(weights.sum())
    if total <= 0:
        return float("nan"), 0.0
    return float((samples.visibilities[:, 0].real * weights).sum()) / total, total
