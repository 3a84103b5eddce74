"""Histories of image solvers, one row a channel: how CLEAN went, and the statistics of what it left.

1. One task creates the table by :func:`create_convergence`; a chunk of each array is one channel.
2. The task that images a channel writes its row last, after the planes: a channel whose stop reason is not 0 is done,
   and is not imaged again when the task is retried.

The table is a zarr group with the coordinates ``frequency``, ``cycle``, ``quantity`` and ``statistic``; xarray
opens it: ``table.HISTORY.sel(quantity="peak_residual")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data import stores

QUANTITIES = ("peak_residual", "model_flux", "iterations")
STATISTICS = ("max", "min", "sum", "sum_squares", "n_pixels", "noise", "residual_rms", "residual_peak", "mask_pixels")


class PlaneStatistics(NamedTuple):
    """Statistics of the main image of a channel; 0 where it is blank, the noise too where it has no data.

    The residual is that in the image: smoothed to its beam, where that is not the one that is fitted to the PSF.
    """

    max: float
    """[Jy/beam]"""
    min: float
    """[Jy/beam]"""
    sum: float
    """[Jy/beam]"""
    sum_squares: float
    """[(Jy/beam)^2]"""
    n_pixels: float
    """Finite pixels."""
    noise: float
    """Robust standard deviation of the residual [Jy/beam]."""
    residual_rms: float = 0.0
    """Standard deviation of the residual [Jy/beam]; above the noise where sources or their sidelobes are left."""
    residual_peak: float = 0.0
    """Largest absolute value of the residual, inside of a mask or not [Jy/beam]."""
    mask_pixels: float = 0.0
    """Pixels where components were allowed at the end: those of the mask, or all."""


class Convergence(NamedTuple):
    """The rows of some channels."""

    stop_reasons: NDArray[np.uint8]
    """(channel,) values of :class:`radps.domain.solver.StopReason`; 0 = not imaged yet."""
    peak_residual: NDArray[np.float64]
    """(channel, cycle) [Jy/beam]; entry 0 is the dirty image; NaN after the last cycle."""
    model_flux: NDArray[np.float64]
    """(channel, cycle) [Jy]"""
    iterations: NDArray[np.float64]
    """(channel, cycle) iterations of the model update before."""
    statistics: NDArray[np.float64]
    """(channel, statistic), in the order of :data:`STATISTICS`; NaN where the radps that made it had no such column."""


def convergence_urls(url: str, stokes: Sequence[str]) -> tuple[str, ...]:
    """Return where the tables of the planes of an image are: that of the first at ``url``, the others beside it."""
    return (url, *(f"{url}_{name.lower()}" for name in stokes[1:]))


def create_convergence(url: str, frequency_hz: NDArray[np.float64], max_cycles: int, attrs: dict[str, str]) -> None:
    """Create the table for the channels of a cube, or for the one channel of a continuum image.

    Parameters
    ----------
    url : str
        The new group.
    frequency_hz : ndarray, shape (channel,)
        Channel centres [Hz].
    max_cycles : int
        Limit of cycles; the histories have one entry more.
    attrs : dict
        Attributes of the group: whose table it is.
    """
    stores.require_parents(url)
    stores.create_group(url, attrs)
    n_channels, n_entries = len(frequency_hz), max_cycles + 1
    for name, values, dim in (
        ("frequency", frequency_hz, "frequency"),
        ("cycle", np.arange(n_entries), "cycle"),
        ("quantity", list(QUANTITIES), "quantity"),
        ("statistic", list(STATISTICS), "statistic"),
    ):
        attributes = {"units": "Hz"} if name == "frequency" else {}
        stores.save_array(stores.join_url(url, name), values, dims=(dim,), attrs=attributes)
    stores.create_array(
        stores.join_url(url, "HISTORY"),
        (n_channels, n_entries, len(QUANTITIES)),
        chunks=(1, n_entries, len(QUANTITIES)),
        dtype=np.float64,
        dims=("frequency", "cycle", "quantity"),
        attrs={"units": "Jy/beam, Jy, 1"},
    )
    stores.create_array(
        stores.join_url(url, "STATISTICS"),
        (n_channels, len(STATISTICS)),
        chunks=(1, len(STATISTICS)),
        dtype=np.float64,
        dims=("frequency", "statistic"),
    )
    stores.create_array(
        stores.join_url(url, "STOP_REASON"), (n_channels,), chunks=(1,), dtype=np.uint8, dims=("frequency",)
    )


def write_convergence(
    url: str,
    channel: int,
    stop_reason: int,
    history: NDArray[np.float64],
    statistics: PlaneStatistics,
    max_cycles: int,
) -> None:
    """Write the row of a channel.

    Parameters
    ----------
    url : str
        The table.
    channel : int
        Its number in the image.
    stop_reason : int
        Why its solver stopped.
    history : ndarray, shape (cycle, 3)
        Peak residual, model flux and iterations of each cycle.
    statistics : PlaneStatistics
        Of the channel's main image.
    max_cycles : int
        As the table was created with.
    """
    row = slice(channel, channel + 1)
    padded = np.full((1, max_cycles + 1, len(QUANTITIES)), np.nan)
    padded[0, : len(history)] = history
    stores.write_region(stores.join_url(url, "HISTORY"), (row, slice(None), slice(None)), padded)
    write_statistics(url, channel, statistics)
    stores.write_region(stores.join_url(url, "STOP_REASON"), (row,), np.array([stop_reason], np.uint8))


def write_statistics(url: str, channel: int, statistics: PlaneStatistics) -> None:
    """Write the statistics of a channel alone, as when it is restored anew."""
    row = slice(channel, channel + 1)
    stores.write_region(stores.join_url(url, "STATISTICS"), (row, slice(None)), np.array([statistics], np.float64))


def load_stop_reasons(url: str, channels: slice = slice(None)) -> NDArray[np.uint8]:
    """Read the stop reasons of some channels, (channel,); 0 = not imaged yet."""
    return np.asarray(stores.load_array(stores.join_url(url, "STOP_REASON"), (channels,)), np.uint8)


def load_noise(url: str, channels: slice = slice(None)) -> NDArray[np.float64]:
    """Read the noise of some channels, (channel,) [Jy/beam]; NaN where the image is blank."""
    rows = _load_statistics(url, channels)
    noise, n_pixels = (rows[:, STATISTICS.index(name)] for name in ("noise", "n_pixels"))
    return np.where(n_pixels > 0, noise, np.nan)


def load_convergence(url: str) -> Convergence:
    """Read the whole table."""
    history = np.asarray(stores.load_array(stores.join_url(url, "HISTORY")), np.float64)
    peak, flux, iterations = np.moveaxis(history, -1, 0)
    return Convergence(load_stop_reasons(url), peak, flux, iterations, _load_statistics(url))


def _load_statistics(url: str, channels: slice = slice(None)) -> NDArray[np.float64]:
    """Read the statistics of some channels by the names of their columns: there were fewer once."""
    rows = np.asarray(stores.load_array(stores.join_url(url, "STATISTICS"), (channels, slice(None))), np.float64)
    names = stores.load_array(stores.join_url(url, "statistic")).tolist()
    found = np.full((len(rows), len(STATISTICS)), np.nan)
    for column, name in enumerate(STATISTICS):
        if name in names:
            found[:, column] = rows[:, names.index(name)]
    return found
