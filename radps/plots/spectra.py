"""Plots of spectra, and of the search for line-free channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.plots.figures import new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SearchedSpectra(NamedTuple):
    """What line-free channels were found from, (channel,) each; NaN without data."""

    frequency_hz: NDArray[np.float64]
    mean_jy: NDArray[np.float64]
    """Mean visibility."""
    peak_jy: NDArray[np.float64]
    """Of a dirty image [Jy/beam]."""
    significance: NDArray[np.float64]
    line_free: NDArray[np.bool_]
    """True = no line."""


def plot_line_search(found: SearchedSpectra, title: str) -> Figure:
    """Plot the spectra that were searched; line-free channels are shaded."""
    figure = new_figure(9.0, 6.5)
    rows = figure.subplots(3, 1, sharex=True)
    frequency_mhz = found.frequency_hz / 1e6
    columns = (
        (1e3 * found.mean_jy, "Mean visibility\n[mJy]"),
        (1e3 * found.peak_jy, "Peak of the image\n[mJy/beam]"),
        (found.significance, "Significance"),
    )
    width = float(np.median(np.abs(np.diff(frequency_mhz)))) if len(frequency_mhz) > 1 else 1.0
    for axes, (values, label) in zip(rows, columns, strict=True):
        axes.step(frequency_mhz, values, where="mid", linewidth=1)
        for center in frequency_mhz[found.line_free]:
            axes.axvspan(center - width / 2, center + width / 2, color="C2", alpha=0.2, linewidth=0)
        axes.set_ylabel(label, fontsize=9)
        axes.grid(alpha=0.3)
    rows[-1].set_xlabel("Frequency [MHz]; line-free channels are shaded", fontsize=9)
    rows[-1].ticklabel_format(axis="x", useOffset=False)
    figure.suptitle(plain(title), fontsize=10)
    return figure


def plot_spectrum(
    velocity_km_s: NDArray[np.float64],
    flux_jy: NDArray[np.float64],
    error_jy: NDArray[np.float64] | None,
    title: str,
) -> Figure:
    """Plot a spectrum with its errors against velocity, (channel,) each."""
    figure = new_figure(8.0, 4.0)
    axes = figure.add_subplot()
    axes.step(velocity_km_s, flux_jy, where="mid", linewidth=1)
    if error_jy is not None:
        axes.errorbar(velocity_km_s, flux_jy, yerr=error_jy, fmt="none", ecolor="C0", alpha=0.5)
    axes.axhline(0.0, color="grey", linewidth=0.8)
    axes.set(xlabel="Velocity [km/s]", ylabel="Flux density [Jy]", title=plain(title))
    axes.grid(alpha=0.3)
    return figure
