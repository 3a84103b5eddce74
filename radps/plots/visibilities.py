"""Plots of visibilities: densities of millions of points, and the errors of baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.plots.axes import show_times
from radps.plots.figures import new_figure, plain
from radps.plots.themes import counting_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class DensityPanel(NamedTuple):
    """How many visibilities fall into each cell of two quantities."""

    counts: NDArray[np.int64]
    """(x, y)"""
    x_edges: NDArray[np.float64]
    """(x + 1,)"""
    y_edges: NDArray[np.float64]
    """(y + 1,)"""
    x_label: str
    """``time`` for unix seconds."""
    y_label: str
    y_scale: str = "linear"
    """``linear`` or ``log``."""


def plot_densities(panels: Sequence[DensityPanel], columns: int, title: str) -> Figure:
    """Plot densities in rows of so many columns; the colour is the logarithm of the number of visibilities."""
    rows = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns, 3.2 * rows + 0.3)
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=True):
        _draw(axes, panel)
    figure.suptitle(plain(title), fontsize=10)
    return figure


def plot_baselines(
    length_m: NDArray[np.float64],
    phase_rms_rad: NDArray[np.float64],
    closure_phase_rad: NDArray[np.float64],
    closure_amplitude: NDArray[np.float64],
    title: str,
) -> Figure:
    """Plot what is left of errors after calibration against the length of the baselines, (baseline,) each."""
    figure = new_figure(12.0, 3.5)
    columns = (
        (np.degrees(phase_rms_rad), "Phase rms [deg]"),
        (np.degrees(closure_phase_rad), "Closure error of the phase [deg]"),
        (100 * closure_amplitude, "Closure error of the amplitude [%]"),
    )
    for axes, (values, label) in zip(figure.subplots(1, len(columns)), columns, strict=True):
        axes.plot(length_m / 1e3, values, ".", markersize=4)
        axes.set(xlabel="Baseline [km]", ylabel=label)
        axes.grid(alpha=0.3)
    figure.suptitle(plain(title), fontsize=10)
    return figure


class ModelPanel(NamedTuple):
    """Means of visibilities and of their model along one quantity."""

    x: NDArray[np.float64]
    """(cell,)"""
    x_label: str
    observed_jy: NDArray[np.complex128]
    """Mean of V conj(M) / abs(M), (cell,): real where the data agree with the model; NaN without data."""
    model_jy: NDArray[np.float64]
    """Mean of abs(M), (cell,)."""


def plot_model_comparison(panels: Sequence[ModelPanel], title: str) -> Figure:
    """Plot data and model, one column for each quantity: amplitudes above, the phase between the two below."""
    figure = new_figure(5.5 * len(panels), 5.5)
    grid = figure.subplots(2, len(panels), sharex="col", squeeze=False)
    for (upper, lower), panel in zip(grid.T, panels, strict=True):
        upper.plot(panel.x, panel.model_jy, "-", color="C1", label="model")
        upper.plot(panel.x, np.abs(panel.observed_jy), ".", color="C0", label="data")
        upper.set_ylabel("Amplitude [Jy]")
        upper.legend(fontsize=8)
        lower.plot(panel.x, np.degrees(np.angle(panel.observed_jy)), ".", color="C0")
        lower.axhline(0.0, color="C1", linewidth=1)
        lower.set(xlabel=panel.x_label, ylabel="Phase against the model [deg]")
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
    figure.suptitle(plain(title), fontsize=10)
    return figure


def _draw(axes: Axes, panel: DensityPanel) -> None:
    """Draw one panel, cut to where there are data."""
    from matplotlib.colors import LogNorm

    used_x, used_y = (np.flatnonzero(panel.counts.any(axis=axis)) for axis in (1, 0))
    axes.tick_params(labelsize=8)
    if used_x.size == 0:
        axes.text(0.5, 0.5, "no unflagged data", ha="center", va="center", transform=axes.transAxes)
        return
    x, y = slice(used_x[0], used_x[-1] + 1), slice(used_y[0], used_y[-1] + 1)
    counts = panel.counts[x, y]
    axes.pcolormesh(
        panel.x_edges[x.start : x.stop + 1],
        panel.y_edges[y.start : y.stop + 1],
        np.where(counts > 0, counts, np.nan).T,
        norm=LogNorm(vmin=1, vmax=max(2, int(counts.max()))),
        cmap=counting_colours(),
        rasterized=True,
    )
    axes.set_yscale(panel.y_scale)
    axes.set_ylabel(panel.y_label, fontsize=9)
    if panel.x_label == "time":
        show_times(axes)
    else:
        axes.set_xlabel(panel.x_label, fontsize=9)
