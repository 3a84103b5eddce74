"""Counts of visibilities over two quantities: millions of points as a picture of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.domain.polarization import parallel_hands
from radps.node_tasks.blocks import Block

N_X = 100
"""Cells of time, frequency, or uv distance."""

_DECADES = (-6, 6)
_PER_DECADE = 40
_N_PHASES = 72


class HistogramRanges(NamedTuple):
    """What the cells of a partition cover; fixed before anything is read, so that blocks add up."""

    time_s: tuple[float, float]
    frequency_hz: tuple[float, float]
    longest_wavelengths: float


class VisibilityCounts(NamedTuple):
    """Counts of the unflagged parallel hands, (x, amplitude) and (x, phase)."""

    amplitudes: tuple[NDArray[np.int64], ...]
    """Over time, uv distance and frequency."""
    phases: tuple[NDArray[np.int64], ...]


def amplitude_edges() -> NDArray[np.float64]:
    """Return the edges of the cells of amplitudes: logarithmic, so that they suit Jy and raw numbers."""
    return np.logspace(*_DECADES, (_DECADES[1] - _DECADES[0]) * _PER_DECADE + 1)


def phase_edges() -> NDArray[np.float64]:
    """Return the edges of the cells of phases [deg]."""
    return np.linspace(-180.0, 180.0, _N_PHASES + 1)


def range_edges(ranges: HistogramRanges) -> tuple[NDArray[np.float64], ...]:
    """Return the edges over time [s], uv distance [wavelengths] and frequency [Hz]."""
    spans = (ranges.time_s, (0.0, ranges.longest_wavelengths), ranges.frequency_hz)
    return tuple(np.linspace(low, high, N_X + 1) for low, high in spans)


def count_visibilities(block: Block, ranges: HistogramRanges) -> VisibilityCounts:
    """Count the unflagged cross-correlations of the parallel hands of a block."""
    data = block.load()
    cross = data.antenna1 != data.antenna2
    hands = parallel_hands(data.polarizations)
    used = ~data.flags[:, cross][..., hands]
    values = data.visibilities[:, cross][..., hands][used]
    length_m = np.hypot(data.uvw_m[:, cross, 0], data.uvw_m[:, cross, 1])[:, :, None, None]
    frequency_hz = data.frequency_hz[None, None, :, None]
    places = [
        np.broadcast_to(where, used.shape)[used]
        for where in (
            data.time_s[:, None, None, None],
            length_m * frequency_hz / SPEED_OF_LIGHT_M_S,
            frequency_hz,
        )
    ]
    amplitude, phase = np.abs(values), np.degrees(np.angle(values))
    edges = range_edges(ranges)
    return VisibilityCounts(
        amplitudes=tuple(_count(x, amplitude, own, amplitude_edges()) for x, own in zip(places, edges, strict=True)),
        phases=tuple(_count(x, phase, own, phase_edges()) for x, own in zip(places, edges, strict=True)),
    )


def add_counts(parts: Sequence[VisibilityCounts]) -> VisibilityCounts:
    """Add up the counts of blocks."""
    return VisibilityCounts(
        amplitudes=tuple(sum(group[1:], start=group[0]) for group in zip(*(p.amplitudes for p in parts), strict=True)),
        phases=tuple(sum(group[1:], start=group[0]) for group in zip(*(p.phases for p in parts), strict=True)),
    )


def _count(
    x: NDArray[np.floating], y: NDArray[np.floating], x_edges: NDArray[np.float64], y_edges: NDArray[np.float64]
) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.histogram2d(x, y, bins=(x_edges, y_edges))[0].astype(np.int64)
    return counts
