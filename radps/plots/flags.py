"""Plots of flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from radps.plots.axes import show_times
from radps.plots.figures import new_figure, plain
from radps.plots.themes import NO_DATA_COLOUR

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_flag_fractions(names: Sequence[str], before: Sequence[float], after: Sequence[float], what: str) -> Figure:
    """Plot the flagged part of the data of each antenna, field, ..., before and after a step [0 to 1]."""
    figure = new_figure(max(5.0, 0.28 * len(names) + 1.5), 3.2)
    axes = figure.add_subplot()
    places = np.arange(len(names))
    axes.bar(places, 100 * np.asarray(after), color="C1", label="after")
    axes.bar(places, 100 * np.asarray(before), color="C0", width=0.5, label="before")
    axes.set(ylabel="Flagged [%]", ylim=(0, 100), xlim=(-0.7, len(names) - 0.3), title=f"Flags by {what}")
    axes.set_xticks(places, [plain(name) for name in names], rotation=90 if len(names) > 6 else 0, fontsize=7)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def plot_flag_map(
    fraction: NDArray[np.float64], time_s: NDArray[np.float64], frequency_hz: NDArray[np.float64], title: str
) -> Figure:
    """Plot the flagged part of the data over time and frequency.

    Parameters
    ----------
    fraction : ndarray
        (time, frequency), 0 to 1; NaN where there are no data.
    time_s, frequency_hz : ndarray
        Edges of the cells: one more than there are cells [unix s, Hz].
    title : str
    """
    figure = new_figure(8.0, 4.0)
    axes = figure.add_subplot()
    axes.set_facecolor(NO_DATA_COLOUR)
    used = np.flatnonzero(np.isfinite(fraction).any(axis=1))
    first, last = (int(used[0]), int(used[-1])) if used.size else (0, 0)
    shown = axes.pcolormesh(
        time_s[first : last + 2],
        frequency_hz / 1e6,
        100 * fraction[first : last + 1].T,
        vmin=0,
        vmax=100,
        cmap="viridis",
        rasterized=True,
    )
    axes.set(ylabel="Frequency [MHz]")
    axes.set_title(plain(title), fontsize=10)
    show_times(axes)
    figure.colorbar(shown, ax=axes, label="Flagged [%]")
    return figure
