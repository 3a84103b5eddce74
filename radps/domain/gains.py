"""Gain and bandpass tables: sum the data of every solution interval, solve each sum, refer the phases.

1. :func:`accumulate_gain_sums` reduces the data of an interval to two numbers a baseline, channel and hand;
   :func:`radps.domain.robust_gains.sum_robustly` does so with outliers weighted down or left out.
2. :func:`solve_gain_sums` solves each of them by StefCal; see :mod:`radps.domain.stefcal` for the method, its errors
   and where it fails.
3. The phases are turned to the reference antenna, see :mod:`radps.domain.reference_antennas`.

:func:`solve_bandpass`, :func:`solve_time_gains` and :func:`solve_gains` do all three for data that fit into memory; for
more, sum the parts, merge them by :func:`add_gain_sums`, and solve.

References
----------
Salvini & Wijnholds 2014, A&A 571, A97 (StefCal); CASA ``gaincal`` and ``bandpass`` for the behaviour
(``minblperant`` 4, ``minsnr`` 3, ``solnorm`` False: a bandpass carries the flux scale).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.gain_sums import GainSums, align_model, place_empty_intervals
from radps.domain.reference_antennas import order_reference_antennas, reference_phases
from radps.domain.robust_gains import GainData, sum_robustly
from radps.domain.stefcal import GainOptions, GainSolution, solve_cell
from radps.errors import SelectionError


class GainTable(NamedTuple):
    """Gains of antennas on a grid of times and channels.

    A bandpass has one time, gains that vary with time have one channel.
    """

    time_s: NDArray[np.float64]
    """Times of the solutions, UTC unix seconds, shape (time,), ascending."""
    frequency_hz: NDArray[np.float64]
    """Channel frequencies, or the mean frequency of the selected channels, shape (channel,)."""
    gains: NDArray[np.complex128]
    """Shape (time, antenna, channel, polarization); V_observed = g_1 conj(g_2) V_model. 1 where flagged."""
    flags: NDArray[np.bool_]
    """True = do not use; same shape."""
    snr: NDArray[np.float64]
    """Modulus of the gain over the error of the complex gain; same shape; 0 where there is no solution."""
    stop_reason: NDArray[np.int8]
    """:class:`~radps.domain.solver.StopReason`, shape (time, channel, polarization)."""
    n_iterations: NDArray[np.int32]
    """Gain steps, shape (time, channel, polarization)."""
    outliers: NDArray[np.float32] | None = None
    """Part of the data that a robust solution found to be outliers, shape (time, channel, polarization); None: it did
    not look for any."""


def solve_gains(
    visibilities: NDArray[Any],
    model: NDArray[Any],
    weights: NDArray[Any],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    reference_antenna: int | Sequence[int] | NDArray[np.int64],
    options: GainOptions = GainOptions(),  # noqa: B008 - a NamedTuple is immutable
) -> GainSolution:
    """Solve for one gain of every antenna and hand of polarization.

    Parameters
    ----------
    visibilities : ndarray of complex, shape (n, baseline, polarization)
        n integrations and channels that share their gains [Jy].
    model : ndarray of complex
        The same shape, or any shape that broadcasts to it [Jy].
    weights : ndarray of float, same shape as `visibilities`
        1 / sigma^2; 0 = do not use.
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices. Autocorrelations are not used.
    n_antennas : int
        Number of antennas.
    reference_antenna : int or sequence of int
        Its phase will be 0. Of several, the first that has a solution; where none has, the antenna with the lowest
        index.
    options : GainOptions
        Mode, limits and tolerance.

    Returns
    -------
    GainSolution
        Antennas without enough data are flagged, and so are all antennas of a hand that did not converge.

    Raises
    ------
    SelectionError
        If the reference antenna is not one of the antennas.
    """
    weights = np.broadcast_to(weights, visibilities.shape)
    data = GainData(
        visibilities[:, :, np.newaxis, :],
        align_model(model, 3)[:, :, np.newaxis, :],
        np.zeros((*visibilities.shape[:2], 1, visibilities.shape[2]), np.bool_),
        weights[:, :, np.newaxis, :],
        time_s=np.zeros(len(visibilities)),
        interval=np.zeros(len(visibilities), np.int64),
        channel=np.zeros(1, np.int64),
    )
    sums = sum_robustly(lambda: [data], antenna1, antenna2, n_antennas, options).sums
    order = order_reference_antennas(reference_antenna, n_antennas)
    return solve_cell(
        sums.vis_model[0, :, 0], sums.model_power[0, :, 0], antenna1, antenna2, n_antennas, order, options
    )


def solve_bandpass(
    visibilities: NDArray[Any],
    model: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    reference_antenna: int | Sequence[int] | NDArray[np.int64],
    *,
    time_s: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    n_average: int = 1,
    options: GainOptions = GainOptions(),  # noqa: B008 - a NamedTuple is immutable
) -> GainTable:
    """Solve for one gain of every antenna, channel (or group of channels) and hand, over all times given.

    Every channel is a solution by itself: any split of the channels gives the same bits. The bandpass is not
    normalised, so it carries the flux scale (CASA ``solnorm=False``). Where the reference antenna is flagged in a
    channel, that channel is referred to the next one; phases between antennas are right there too.

    Parameters
    ----------
    visibilities, flags, weights : ndarray, shape (time, baseline, channel, polarization)
        Data of one field whose gains are constant over the times given. Parallel hands only.
    model : ndarray of complex
        The same shape, or any shape that broadcasts to it [Jy].
    antenna1, antenna2, n_antennas, reference_antenna, options
        As in :func:`solve_gains`.
    time_s : ndarray, shape (time,)
        Times [s]; the table has their mean.
    frequency_hz : ndarray, shape (channel,)
        Channel frequencies [Hz].
    n_average : int
        Channels that share a gain, counted from the first; the last group may have fewer.

    Returns
    -------
    GainTable
        With one time, and the mean frequencies of the groups.

    Raises
    ------
    SelectionError
        If the reference antenna is not one of the antennas.
    """
    group = np.arange(len(frequency_hz)) // n_average
    data = GainData(visibilities, model, flags, weights, time_s, np.zeros(len(time_s), np.int64), group)
    robust = sum_robustly(lambda: [data], antenna1, antenna2, n_antennas, options)
    # the mean of the times, not of the data: with flags that would depend on the chunk of channels
    sums = robust.sums._replace(weight=np.ones(1), weight_time=np.array([np.mean(time_s)]))
    mean_hz = np.bincount(group, frequency_hz) / np.bincount(group)
    table = solve_gain_sums(sums, antenna1, antenna2, n_antennas, reference_antenna, mean_hz, options)
    return table._replace(outliers=robust.outliers)


def solve_time_gains(
    visibilities: NDArray[Any],
    model: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    reference_antenna: int | Sequence[int] | NDArray[np.int64],
    *,
    time_s: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    interval: NDArray[np.int64],
    channels: NDArray[np.bool_] | None = None,
    options: GainOptions = GainOptions(),  # noqa: B008 - a NamedTuple is immutable
) -> GainTable:
    """Solve for one gain of every antenna, interval and hand, from the selected channels.

    The data must have the bandpass applied, with calibrated weights: ``apply_gains(..., calibrate_weights=True)`` of
    :mod:`radps.domain.interpolation`. So the gains are the least-squares ones (and those of CASA, whose ``gaincal``
    scales the weights by the tables that it applies on the fly).

    Parameters
    ----------
    visibilities, flags, weights : ndarray, shape (time, baseline, channel, polarization)
        Data of any number of fields. Parallel hands only.
    model : ndarray of complex
        The same shape, or any shape that broadcasts to it [Jy].
    antenna1, antenna2, n_antennas, reference_antenna, options
        As in :func:`solve_gains`.
    time_s : ndarray, shape (time,)
        Times [s].
    frequency_hz : ndarray, shape (channel,)
        Channel frequencies [Hz]; the table has the mean of the selected ones.
    interval : ndarray of int, shape (time,)
        The solution interval (scan) of each integration, from 0 up; -1 = not used.
    channels : ndarray of bool, shape (channel,), optional
        True = use; all by default.

    Returns
    -------
    GainTable
        With one channel, at the weighted mean times of the intervals; intervals without data are flagged and have the
        mean of their times.

    Raises
    ------
    SelectionError
        If no channel is selected, or the reference antenna is not one of the antennas.
    """
    selected = np.ones(len(frequency_hz), np.bool_) if channels is None else channels
    if not selected.any():
        raise SelectionError(
            f"none of the {len(selected)} channels is selected for the gain solution; select at least one"
        )
    data = GainData(visibilities, model, flags, weights, time_s, interval, np.where(selected, 0, -1))
    robust = sum_robustly(lambda: [data], antenna1, antenna2, n_antennas, options)
    sums = place_empty_intervals(robust.sums, time_s, interval)
    mean_hz = np.array([np.mean(frequency_hz[selected])])
    table = solve_gain_sums(sums, antenna1, antenna2, n_antennas, reference_antenna, mean_hz, options)
    return table._replace(outliers=robust.outliers)


def solve_gain_sums(
    sums: GainSums,
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    reference_antenna: int | Sequence[int] | NDArray[np.int64],
    frequency_hz: NDArray[np.float64],
    options: GainOptions = GainOptions(),  # noqa: B008 - a NamedTuple is immutable
) -> GainTable:
    """Solve every interval, channel and hand of the sums for the gains of the antennas.

    Parameters
    ----------
    sums : GainSums
        Of all data of the intervals, from :func:`accumulate_gain_sums`.
    antenna1, antenna2, n_antennas, reference_antenna, options
        As in :func:`solve_gains`.
    frequency_hz : ndarray, shape (channel,)
        Frequencies of the table [Hz].

    Returns
    -------
    GainTable
        At the weighted mean times of the intervals. Phases are 0 at the reference antenna; see
        :func:`reference_phases` for intervals without it.

    Raises
    ------
    SelectionError
        If the reference antenna is not one of the antennas.
    """
    order = order_reference_antennas(reference_antenna, n_antennas)
    n_times, _, n_channels, n_polarizations = sums.vis_model.shape
    shape = (n_times, n_antennas, n_channels, n_polarizations)
    gains = np.ones(shape, np.complex128)
    flags = np.ones(shape, np.bool_)
    snr = np.zeros(shape)
    stop_reason = np.zeros((n_times, n_channels, n_polarizations), np.int8)
    n_iterations = np.zeros((n_times, n_channels, n_polarizations), np.int32)
    for time, channel in np.ndindex(n_times, n_channels):
        cell = solve_cell(
            sums.vis_model[time, :, channel],
            sums.model_power[time, :, channel],
            antenna1,
            antenna2,
            n_antennas,
            order,
            options,
        )
        gains[time, :, channel] = cell.gains
        flags[time, :, channel] = cell.flags
        snr[time, :, channel] = cell.snr
        stop_reason[time, channel] = cell.stop_reason
        n_iterations[time, channel] = cell.n_iterations
    time_s = np.divide(sums.weight_time, sums.weight, out=np.zeros(n_times), where=sums.weight > 0)
    if n_times > 1:
        gains = reference_phases(gains, flags, order, time_s)
    return GainTable(time_s, np.asarray(frequency_hz, np.float64), gains, flags, snr, stop_reason, n_iterations)
