"""Flags from simple rules, and the statistics of flags.

Each rule returns a mask, True = do not use, along the axes that it needs and with length 1 along the others, so that it
broadcasts to visibilities of shape (time, baseline, channel, polarization) and rules combine by ``|``.

Rules that need to know where the dishes are stand in :mod:`radps.domain.shadowing`.

Where it fails: no rule here looks at the statistics of the data; for interference see :mod:`radps.domain.rfi`. A zero
is taken for missing data only when it is exact in both parts.

References
----------
CASA ``flagdata``: modes ``manual``, ``quack``, ``clip`` with ``clipzeros``.
"""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.errors import SelectionError


class QuackMode(enum.StrEnum):
    """Which end of a scan is flagged."""

    BEGIN = "begin"
    """The first seconds: antennas may not be on source yet."""
    END = "end"
    """The last seconds."""


class FlagStatistics(NamedTuple):
    """Numbers of data and of flags; those of disjoint parts of the data merge by :func:`add_flag_statistics`."""

    n_data: int
    """Visibilities."""
    n_before: int
    """Flagged before."""
    n_after: int
    """Flagged after."""
    antenna_data: NDArray[np.int64]
    """Visibilities of each antenna, shape (antenna,); each one counts for both antennas of its baseline, once for an
    autocorrelation."""
    antenna_before: NDArray[np.int64]
    """Flagged before, shape (antenna,)."""
    antenna_after: NDArray[np.int64]
    """Flagged after, shape (antenna,)."""
    channel_data: NDArray[np.int64]
    """Visibilities of each channel of the whole window, shape (channel,)."""
    channel_before: NDArray[np.int64]
    """Flagged before, shape (channel,)."""
    channel_after: NDArray[np.int64]
    """Flagged after, shape (channel,)."""
    polarization_data: NDArray[np.int64]
    """Visibilities of each polarization, shape (polarization,)."""
    polarization_before: NDArray[np.int64]
    """Flagged before, shape (polarization,)."""
    polarization_after: NDArray[np.int64]
    """Flagged after, shape (polarization,)."""


def flag_autocorrelations(antenna1: NDArray[np.integer[Any]], antenna2: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Flag the baselines of an antenna with itself.

    Parameters
    ----------
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices.

    Returns
    -------
    ndarray of bool, shape (1, baseline, 1, 1)
        True = do not use.
    """
    mask: NDArray[np.bool_] = antenna1 == antenna2
    return mask[np.newaxis, :, np.newaxis, np.newaxis]


def flag_invalid(
    visibilities: NDArray[Any], weights: NDArray[Any] | None = None, *, zeros: bool = True
) -> NDArray[np.bool_]:
    """Flag data that are not finite, are exactly zero, or have no positive, finite weight.

    Parameters
    ----------
    visibilities : ndarray of complex, shape (time, baseline, channel, polarization)
        Visibilities [Jy].
    weights : ndarray of float, optional
        Broadcasts to that shape; not looked at where not given.
    zeros : bool
        True: exact zeros are missing data (as correlators write them).

    Returns
    -------
    ndarray of bool, same shape as `visibilities`
        True = do not use.
    """
    mask: NDArray[np.bool_] = ~np.isfinite(visibilities)
    if zeros:
        mask |= visibilities == 0
    if weights is not None:
        mask |= ~(np.isfinite(weights) & (weights > 0))
    return mask


def flag_clip(
    visibilities: NDArray[Any],
    lowest: float = 0.0,
    highest: float = math.inf,
    *,
    polarizations: NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.bool_]:
    """Flag amplitudes outside of a range, each correlation by itself (CASA ``flagdata`` mode ``clip``).

    Parameters
    ----------
    visibilities : ndarray of complex, shape (time, baseline, channel, polarization)
        Visibilities, calibrated [Jy] or not.
    lowest, highest : float
        Amplitudes from the one to the other, both included, are used (CASA ``clipminmax``).
    polarizations : ndarray of int, optional
        Indices of the polarizations that are looked at, by default all (CASA ``correlation="ABS_RR"``).

    Returns
    -------
    ndarray of bool, same shape as `visibilities`
        True = do not use. What is not finite is flagged.

    Raises
    ------
    SelectionError
        If the range is empty, or a polarization is outside of the data.
    """
    if not lowest <= highest:
        raise SelectionError(f"clip: found a range from {lowest:g} to {highest:g}; the lower limit has to come first")
    amplitude = np.abs(visibilities)
    mask: NDArray[np.bool_] = ~((amplitude >= lowest) & (amplitude <= highest))
    if polarizations is not None:
        _check_inside(polarizations, visibilities.shape[3], "polarization", "clip")
        mask &= np.isin(np.arange(visibilities.shape[3]), polarizations)
    return mask


def flag_quack(
    time_s: NDArray[np.float64],
    scan: NDArray[np.integer[Any]],
    interval_s: float,
    *,
    mode: QuackMode | str = QuackMode.BEGIN,
    integration_s: float = 0.0,
) -> NDArray[np.bool_]:
    """Flag the begin or the end of every scan.

    Parameters
    ----------
    time_s : ndarray, shape (time,)
        Centres of the integrations [s].
    scan : ndarray of int, shape (time,)
        Scan of each integration.
    interval_s : float
        Integrations whose centres lie within this much of the begin (or end) of the scan are flagged [s].
    mode : QuackMode or str
        ``"begin"`` or ``"end"``.
    integration_s : float
        Length of an integration [s]: a scan begins half of it before its first centre and ends half of it after its
        last.

    Returns
    -------
    ndarray of bool, shape (time, 1, 1, 1)
        True = do not use.

    Raises
    ------
    SelectionError
        If the interval is negative or the mode is not known.
    """
    if not interval_s >= 0:
        raise SelectionError(f"quack: found an interval of {interval_s:g} s, allowed are 0 s and above")
    if mode not in tuple(QuackMode):
        allowed = ", ".join(repr(known.value) for known in QuackMode)
        raise SelectionError(f"quack: found mode {mode!r}, allowed are {allowed}")
    mask = np.zeros(len(time_s), np.bool_)
    for number in np.unique(scan):
        inside = scan == number
        times = time_s[inside]
        if mode == QuackMode.BEGIN:
            mask[inside] = times - (times.min() - 0.5 * integration_s) < interval_s
        else:
            mask[inside] = (times.max() + 0.5 * integration_s) - times < interval_s
    return mask[:, np.newaxis, np.newaxis, np.newaxis]


def flag_edge_channels(n_channels: int, n_low: int, n_high: int | None = None) -> NDArray[np.bool_]:
    """Flag channels at the ends of the window.

    Parameters
    ----------
    n_channels : int
        Channels of the whole window.
    n_low, n_high : int
        Channels to flag at the begin and at the end of the window; `n_high` is as `n_low` where not given.

    Returns
    -------
    ndarray of bool, shape (1, 1, channel, 1)
        True = do not use.

    Raises
    ------
    SelectionError
        If a number is negative, or no channel would be left.
    """
    last = n_low if n_high is None else n_high
    if n_low < 0 or last < 0 or n_low + last >= n_channels:
        raise SelectionError(
            f"edge channels: found {n_low} at the begin and {last} at the end of {n_channels} channels; "
            "allowed are numbers of 0 and above that leave at least one channel"
        )
    mask = np.zeros(n_channels, np.bool_)
    mask[:n_low] = True
    mask[n_channels - last :] = True
    return mask[np.newaxis, np.newaxis, :, np.newaxis]


def flag_selection(
    *,
    time_s: NDArray[np.float64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_channels: int,
    n_polarizations: int,
    antennas: NDArray[np.integer[Any]] | None = None,
    baselines: NDArray[np.integer[Any]] | None = None,
    time_ranges_s: NDArray[np.float64] | None = None,
    channel_ranges: NDArray[np.integer[Any]] | None = None,
    polarizations: NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.bool_]:
    """Flag what lies in all of the selections that are given (CASA ``flagdata`` mode ``manual``).

    Parameters
    ----------
    time_s : ndarray, shape (time,)
        Times [s].
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices.
    n_channels, n_polarizations : int
        Channels and polarizations of the data.
    antennas : ndarray of int, optional
        Baselines with any of these antennas.
    baselines : ndarray of int, shape (n, 2), optional
        Baselines between these pairs of antennas, in either order.
    time_ranges_s : ndarray, shape (n, 2), optional
        First and last time, both included [s].
    channel_ranges : ndarray of int, shape (n, 2), optional
        First and last channel, both included.
    polarizations : ndarray of int, optional
        Indices of polarizations.

    Returns
    -------
    ndarray of bool
        Length 1 along the axes without a selection; True = do not use.

    Raises
    ------
    SelectionError
        If nothing is selected (it would flag all data), or a channel or polarization is outside of the data.
    """
    selections = (antennas, baselines, time_ranges_s, channel_ranges, polarizations)
    if all(selection is None for selection in selections):
        raise SelectionError("manual flags: no antenna, baseline, time, channel or polarization given; give one")
    mask = np.ones((1, 1, 1, 1), np.bool_)
    if antennas is not None:
        mask = mask & (np.isin(antenna1, antennas) | np.isin(antenna2, antennas))[:, np.newaxis, np.newaxis]
    if baselines is not None:
        pairs = {(int(min(pair)), int(max(pair))) for pair in np.asarray(baselines).reshape(-1, 2)}
        ends = zip(np.minimum(antenna1, antenna2), np.maximum(antenna1, antenna2), strict=True)
        mask = mask & np.array([(int(a), int(b)) in pairs for a, b in ends], np.bool_)[:, np.newaxis, np.newaxis]
    if time_ranges_s is not None:
        mask = mask & _within(time_s, time_ranges_s)[:, np.newaxis, np.newaxis, np.newaxis]
    if channel_ranges is not None:
        _check_inside(channel_ranges, n_channels, "channel")
        mask = mask & _within(np.arange(n_channels), channel_ranges)[:, np.newaxis]
    if polarizations is not None:
        _check_inside(polarizations, n_polarizations, "polarization")
        mask = mask & np.isin(np.arange(n_polarizations), polarizations)
    return mask


def count_flags(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    *,
    present: NDArray[np.bool_] | None = None,
    first_channel: int = 0,
    n_channels: int | None = None,
) -> FlagStatistics:
    """Count data and flags by antenna, channel and polarization.

    Parameters
    ----------
    before, after : ndarray of bool, shape (time, baseline, channel, polarization)
        Flags, True = do not use, of a chunk of the data.
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices.
    n_antennas : int
        Number of antennas.
    present : ndarray of bool, shape (time, baseline), optional
        True where the baseline was observed; what is not there counts neither as data nor as flagged. Default: all is.
    first_channel : int
        Number of the first channel of the chunk in the window.
    n_channels : int, optional
        Channels of the whole window; by default the chunk is the window.

    Returns
    -------
    FlagStatistics
        Those of several chunks merge by :func:`add_flag_statistics`.

    Raises
    ------
    SelectionError
        If the chunk does not lie within the window.
    """
    chunk = before.shape[2]
    window = chunk if n_channels is None else n_channels
    if first_channel < 0 or first_channel + chunk > window:
        raise SelectionError(
            f"flag statistics: channels {first_channel} to {first_channel + chunk - 1} are outside of a window of "
            f"{window} channels; give the number of channels of the whole window"
        )
    if present is None:
        seen = np.full(before.shape[1], before.shape[0], np.int64)
    else:
        seen = np.asarray(np.count_nonzero(present, axis=0), np.int64)
        before, after = (flags & present[:, :, np.newaxis, np.newaxis] for flags in (before, after))
    tables = (
        np.broadcast_to(seen[:, np.newaxis, np.newaxis], before.shape[1:]),
        count_times(before),
        count_times(after),
    )
    data, flagged_before, flagged_after = (
        _sum_counts(table, antenna1, antenna2, n_antennas, first_channel, window) for table in tables
    )
    return FlagStatistics(
        n_data=int(data.polarization.sum()),
        n_before=int(flagged_before.polarization.sum()),
        n_after=int(flagged_after.polarization.sum()),
        antenna_data=data.antenna,
        antenna_before=flagged_before.antenna,
        antenna_after=flagged_after.antenna,
        channel_data=data.channel,
        channel_before=flagged_before.channel,
        channel_after=flagged_after.channel,
        polarization_data=data.polarization,
        polarization_before=flagged_before.polarization,
        polarization_after=flagged_after.polarization,
    )


def count_times(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return at how many times a mask (time, baseline, channel, polarization) is True; shape without the times.

    Sums of bytes along the first axis alone: a hundredth of the time of ``np.count_nonzero`` along several axes.
    """
    return np.asarray(mask.view(np.uint8).sum(axis=0, dtype=np.int64), np.int64)


def add_flag_statistics(first: FlagStatistics, second: FlagStatistics) -> FlagStatistics:
    """Merge the statistics of two disjoint parts of the same window and antennas."""
    sums: dict[str, Any] = {name: getattr(first, name) + getattr(second, name) for name in FlagStatistics._fields}
    return FlagStatistics(**sums)


class _Counts(NamedTuple):
    """Data by antenna, channel of the window and polarization."""

    antenna: NDArray[np.int64]
    channel: NDArray[np.int64]
    polarization: NDArray[np.int64]


def _sum_counts(
    counts: NDArray[np.int64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    n_antennas: int,
    first_channel: int,
    n_channels: int,
) -> _Counts:
    """Add up counts, (baseline, channel, polarization)."""
    by_baseline = counts.sum(axis=(1, 2))
    cross = antenna1 != antenna2
    # sums of whole numbers in float64, exact up to 2^53
    antenna = np.bincount(antenna1, by_baseline, n_antennas)
    antenna = antenna + np.bincount(antenna2[cross], by_baseline[cross], n_antennas)
    channel = np.zeros(n_channels, np.int64)
    channel[first_channel : first_channel + counts.shape[1]] = counts.sum(axis=(0, 2))
    return _Counts(antenna.astype(np.int64), channel, counts.sum(axis=(0, 1)))


def _within(values: NDArray[Any], ranges: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each value lies in any of the ranges, shape (n, 2), ends included."""
    low, high = np.asarray(ranges).reshape(-1, 2).T
    inside = (values[:, np.newaxis] >= low) & (values[:, np.newaxis] <= high)
    return np.asarray(np.any(inside, axis=1), np.bool_)


def _check_inside(indices: NDArray[Any], size: int, what: str, rule: str = "manual flags") -> None:
    """Raise where an index is outside of the data."""
    found = np.asarray(indices)
    outside = found[(found < 0) | (found >= size)]
    if outside.size:
        raise SelectionError(f"{rule}: found {what} {int(outside.flat[0])}, allowed are 0 to {size - 1}")
