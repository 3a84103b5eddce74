"""Counts of visibilities over two quantities: millions of points as a picture of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.domain.polarization import parallel_hands
from radps.node_tasks.blocks import Block

MOST_CELLS = 100
"""Of time, uv distance, or frequency."""

_DECADES = (-6, 6)
_N_AMPLITUDES = 480
_N_PHASES = 72


class HistogramRanges(NamedTuple):
    """What the cells of a partition cover; fixed before anything is read, so that blocks add up."""

    time_s: tuple[float, float]
    frequency_hz: tuple[float, float]
    longest_wavelengths: float
    n_cells: tuple[int, int, int]
    """Of time, uv distance and frequency: of time and frequency no more than there are integrations and channels, as
    every other cell would be empty."""


class VisibilityCounts(NamedTuple):
    """Counts of the parallel hands of the cross-correlations."""

    amplitudes: tuple[NDArray[np.int64], ...]
    """Unflagged ones, (x, amplitude), over time, uv distance and frequency."""
    phases: tuple[NDArray[np.int64], ...]
    """Unflagged ones, (x, phase), over the same."""
    data: NDArray[np.int64]
    """All, (time, frequency)."""
    flagged: NDArray[np.int64]
    """Of these, the flagged ones."""


def amplitude_edges() -> NDArray[np.float64]:
    """Return the edges of the cells of amplitudes: logarithmic, so that they suit Jy and raw numbers."""
    return np.logspace(*_DECADES, _N_AMPLITUDES + 1)


def phase_edges() -> NDArray[np.float64]:
    """Return the edges of the cells of phases [deg]."""
    return np.linspace(-180.0, 180.0, _N_PHASES + 1)


def range_edges(ranges: HistogramRanges) -> tuple[NDArray[np.float64], ...]:
    """Return the edges over time [s], uv distance [wavelengths] and frequency [Hz]."""
    spans = (ranges.time_s, (0.0, ranges.longest_wavelengths), ranges.frequency_hz)
    return tuple(np.linspace(low, high, n + 1) for (low, high), n in zip(spans, ranges.n_cells, strict=True))


def count_visibilities(block: Block, ranges: HistogramRanges) -> VisibilityCounts:
    """Count the cross-correlations of the parallel hands of a block."""
    data = block.load(("visibility", "flag", "uvw"))
    cross = data.antenna1 != data.antenna2
    hands = parallel_hands(data.polarizations)
    flags = data.flags[:, cross][..., hands]
    values = data.visibilities[:, cross][..., hands][~flags]
    length_m = np.hypot(data.uvw_m[:, cross, 0], data.uvw_m[:, cross, 1])
    distance = length_m[..., None] * data.frequency_hz / SPEED_OF_LIGHT_M_S
    n_times, n_distances, n_frequencies = ranges.n_cells
    time = find_cells(data.time_s, *ranges.time_s, n_times)
    frequency = find_cells(data.frequency_hz, *ranges.frequency_hz, n_frequencies)
    places = (
        time[:, None, None, None],
        find_cells(distance, 0.0, ranges.longest_wavelengths, n_distances)[..., None],
        frequency[None, None, :, None],
    )
    used = [np.broadcast_to(place, flags.shape)[~flags] for place in places]
    with np.errstate(divide="ignore"):  # zeros lie below all cells
        amplitude = find_cells(np.log10(np.abs(values)), *_DECADES, _N_AMPLITUDES)
    phase = find_cells(np.angle(values), -np.pi, np.pi, _N_PHASES)
    of_cell = np.int64(len(hands) * cross.sum())
    n_flagged = flags.sum(axis=(1, 3))
    return VisibilityCounts(
        amplitudes=tuple(_count(x, amplitude, n, _N_AMPLITUDES) for x, n in zip(used, ranges.n_cells, strict=True)),
        phases=tuple(_count(x, phase, n, _N_PHASES) for x, n in zip(used, ranges.n_cells, strict=True)),
        data=_sum_cells(time, frequency, np.broadcast_to(of_cell, n_flagged.shape), ranges),
        flagged=_sum_cells(time, frequency, n_flagged, ranges),
    )


def add_counts(parts: Sequence[VisibilityCounts]) -> VisibilityCounts:
    """Add up the counts of blocks."""
    return VisibilityCounts(
        amplitudes=tuple(sum(group[1:], start=group[0]) for group in zip(*(p.amplitudes for p in parts), strict=True)),
        phases=tuple(sum(group[1:], start=group[0]) for group in zip(*(p.phases for p in parts), strict=True)),
        data=np.sum([part.data for part in parts], axis=0),
        flagged=np.sum([part.flagged for part in parts], axis=0),
    )


def find_cells(values: NDArray[np.floating], low: float, high: float, n_cells: int) -> NDArray[np.int32]:
    """Return the cell of each value: 1 to ``n_cells`` from ``low`` to ``high``; those below and above are outside.

    ``numpy.histogram2d`` searches the edges for every value and every histogram, which takes ten times as long.
    """
    place = np.asarray((values - low) * (n_cells / ((high - low) or 1.0)))
    place[values == high] = n_cells - 1  # the last cell has both its edges
    cells: NDArray[np.int32] = (np.clip(np.floor(place), -1, n_cells) + 1).astype(np.int32)
    return cells


def _count(x: NDArray[np.int32], y: NDArray[np.int32], n_x: int, n_y: int) -> NDArray[np.int64]:
    """Return how many values lie in each pair of cells, without those outside."""
    shape = (n_x + 2, n_y + 2)
    counts: NDArray[np.int64] = np.bincount(x * shape[1] + y, minlength=shape[0] * shape[1]).reshape(shape)
    return counts[1:-1, 1:-1]


def _sum_cells(
    time: NDArray[np.int32], frequency: NDArray[np.int32], counts: NDArray[np.integer], ranges: HistogramRanges
) -> NDArray[np.int64]:
    """Add up counts, (time, channel), in cells."""
    sums = np.zeros((ranges.n_cells[0] + 2, ranges.n_cells[2] + 2), np.int64)
    np.add.at(sums, (time[:, None], frequency[None, :]), counts)
    return sums[1:-1, 1:-1]
