"""Plots of the array and of what it saw: antennas, elevations, uv coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.plots.axes import show_times
from radps.plots.figures import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NAMES = 80
"""More antennas than this are not named."""


class Track(NamedTuple):
    """The elevation of a field while it was observed."""

    name: str
    time_s: NDArray[np.float64]
    """UTC, unix seconds; NaN between scans breaks the line."""
    elevation_rad: NDArray[np.float64]


def plot_antennas(names: Sequence[str], east_m: NDArray[np.float64], north_m: NDArray[np.float64]) -> Figure:
    """Plot where the antennas stand, (antenna,) [m] from the centre of the array."""
    figure = new_figure(6.0, 6.0)
    axes = figure.add_subplot()
    axes.plot(east_m / 1e3, north_m / 1e3, "o", markersize=4)
    if len(names) <= _MOST_NAMES:
        for name, east, north in zip(names, east_m / 1e3, north_m / 1e3, strict=True):
            axes.annotate(plain(name), (east, north), xytext=(3, 3), textcoords="offset points", fontsize=6)
    axes.set(xlabel="East [km]", ylabel="North [km]", title=f"{len(names)} antennas")
    axes.margins(0.1)  # for the names at the edges
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.3)
    return figure


def plot_elevations(tracks: Sequence[Track]) -> Figure:
    """Plot the elevation of every field against time."""
    figure = new_figure(8.0, 4.0)
    axes = figure.add_subplot()
    for track in tracks:
        axes.plot(track.time_s, np.degrees(track.elevation_rad), ".-", markersize=3, label=plain(track.name))
    axes.set(ylabel="Elevation [deg]", ylim=(0, 90))
    show_times(axes)
    axes.grid(alpha=0.3)
    if tracks:
        axes.legend(fontsize=8)
    return figure


def plot_uv_coverage(u_wavelengths: NDArray[np.float64], v_wavelengths: NDArray[np.float64], title: str) -> Figure:
    """Plot baselines and their mirror images, (sample,) [wavelengths]."""
    figure = new_figure(6.0, 6.0)
    axes = figure.add_subplot()
    largest = float(np.hypot(u_wavelengths, v_wavelengths).max(initial=0.0))
    unit, name = (1e3, "kilo") if largest < 1e6 else (1e6, "mega")
    for sign in (1, -1):
        axes.plot(sign * u_wavelengths / unit, sign * v_wavelengths / unit, ",", color="C0")
    axes.set(xlabel=f"u [{name}wavelengths]", ylabel=f"v [{name}wavelengths]", title=plain(title))
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_xaxis()  # u grows to the east, as on the sky
    axes.grid(alpha=0.3)
    return figure
