"""Plots of calibration solutions: one small panel an antenna."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.plots.figures import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_PANEL_IN = (2.6, 1.5)
_MARKER_LIMIT = 200
"""More points than this are drawn as pixels."""
_FEW = 20
"""Fewer points than this would be lost as dots, and get a line that leads from one to the next."""


class SolutionPanels(NamedTuple):
    """What the panels show."""

    x: NDArray[np.float64]
    """(n,) in the unit of ``x_label``."""
    gains: NDArray[np.complex128]
    """(n, antenna, hand)"""
    flags: NDArray[np.bool_]
    """True = not shown, same shape."""
    antennas: Sequence[str]
    hands: Sequence[str]
    x_label: str


def plot_amplitudes(panels: SolutionPanels) -> Figure:
    """Plot the moduli of solutions; all panels have the same scale."""
    return _plot(panels, np.abs(panels.gains), "Amplitude")


def plot_phases(panels: SolutionPanels) -> Figure:
    """Plot the phases of solutions [deg]."""
    return _plot(panels, np.degrees(np.angle(panels.gains)), "Phase [deg]", limits=(-180, 180))


def plot_delays(panels: SolutionPanels) -> Figure:
    """Plot delays [ns]; those of ``panels`` are real, in seconds."""
    values = 1e9 * panels.gains.real
    largest = float(np.nanmax(np.where(panels.flags, np.nan, np.abs(values)), initial=0.0)) or 1.0
    return _plot(panels, values, "Delay [ns]", limits=(-1.1 * largest, 1.1 * largest))


def _plot(
    panels: SolutionPanels, values: NDArray[np.float64], label: str, limits: tuple[float, float] | None = None
) -> Figure:
    """Draw one panel an antenna."""
    columns = min(_COLUMNS, max(len(panels.antennas), 1))
    rows = math.ceil(len(panels.antennas) / columns)
    figure = new_figure(_PANEL_IN[0] * columns, _PANEL_IN[1] * max(rows, 1) + 0.5)
    shown = np.where(panels.flags, np.nan, values)
    grid = figure.subplots(max(rows, 1), columns, sharex=True, sharey=True, squeeze=False)
    marker = "o-" if len(panels.x) < _FEW else "." if len(panels.x) <= _MARKER_LIMIT else ","
    for number, axes in enumerate(grid.flat):
        if number >= len(panels.antennas):
            axes.set_axis_off()
            continue
        for hand, name in enumerate(panels.hands):
            axes.plot(panels.x, shown[:, number, hand], marker, markersize=3, linewidth=0.6, label=name)
        axes.set_title(_title(panels, number), fontsize=8, pad=2)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=4)
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.grid(alpha=0.3)
    _label(grid[0, 0], limits or _range(shown))
    grid[0, 0].legend(fontsize=6, loc="upper right")
    figure.supxlabel(panels.x_label, fontsize=9)
    figure.supylabel(label, fontsize=9)
    return figure


def _title(panels: SolutionPanels, antenna: int) -> str:
    """Return the name of an antenna, and that it has no solution."""
    name = plain(panels.antennas[antenna])
    return f"{name}: no solution" if panels.flags[:, antenna].all() else name


def _range(shown: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return limits from 0 to a little above the largest value; None without any."""
    largest = np.nanmax(shown, initial=0.0)
    return (0.0, 1.1 * float(largest)) if largest > 0 else None


def _label(axes: Axes, limits: tuple[float, float] | None) -> None:
    """Set the limits that all panels share."""
    if limits is not None:
        axes.set_ylim(limits)
