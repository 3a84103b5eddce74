"""Plots of how CLEAN went, and of what it left in each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ChannelTable(NamedTuple):
    """The channels of a cube; NaN where a channel has no data."""

    frequency_hz: NDArray[np.float64]
    """(channel,) each."""
    noise_jy: NDArray[np.float64]
    maximum_jy: NDArray[np.float64]
    beam_major_rad: NDArray[np.float64]
    beam_minor_rad: NDArray[np.float64]
    stop_reasons: Sequence[str]
    """In words."""


def plot_convergence(peak_residual: NDArray[np.float64]) -> Figure:
    """Plot the peak residual of each channel against the cycle, (channel, cycle) [Jy/beam], NaN after the last one."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(7.0, 4.0)
    axes = figure.add_subplot()
    n_cycles = int(np.isfinite(peak_residual).any(axis=0).sum())
    cycles = np.arange(n_cycles)
    alpha = min(1.0, max(0.05, 10 / max(len(peak_residual), 1)))
    for row in peak_residual[:, :n_cycles]:
        axes.plot(cycles, 1e3 * row, ".-", color="C0", alpha=alpha, linewidth=1)
    axes.set(xlabel="Cycle", ylabel="Peak residual [mJy/beam]", yscale="log" if (peak_residual > 0).any() else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3, which="both")
    return figure


def plot_channels(table: ChannelTable) -> Figure:
    """Plot noise, maximum, beam and stop reason against frequency."""
    figure = new_figure(9.0, 8.0)
    noise, maximum, beam, reason = figure.subplots(4, 1, sharex=True)
    frequency_mhz = table.frequency_hz / 1e6
    noise.plot(frequency_mhz, 1e3 * table.noise_jy, "o-", markersize=3, linewidth=1)
    noise.set_ylabel("Noise\n[mJy/beam]")
    maximum.plot(frequency_mhz, 1e3 * table.maximum_jy, "o-", markersize=3, linewidth=1)
    maximum.set_ylabel("Maximum\n[mJy/beam]")
    for values, name in ((table.beam_major_rad, "major"), (table.beam_minor_rad, "minor")):
        beam.plot(frequency_mhz, np.degrees(values) * 3600, "o-", markersize=3, linewidth=1, label=name)
    beam.set_ylabel("Beam\n[arcsec]")
    beam.legend(fontsize=7)
    kinds = sorted(set(table.stop_reasons))
    reason.plot(frequency_mhz, [kinds.index(one) for one in table.stop_reasons], "s", markersize=4)
    reason.set_yticks(range(len(kinds)), kinds)
    reason.set(ylim=(-0.5, len(kinds) - 0.5), xlabel="Frequency [MHz]")
    reason.ticklabel_format(axis="x", useOffset=False)
    for axes in (noise, maximum, beam, reason):
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
    return figure
