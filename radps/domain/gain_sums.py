"""Sums over the data of solution intervals: all that a least-squares solution for gains needs.

Per baseline, channel and hand they are the sum of w V conj(M) and that of w |M|^2 (see :mod:`radps.domain.stefcal`).
Sums of disjoint parts of the data merge by addition.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray


class GainSums(NamedTuple):
    """What the least-squares solution needs of the data; see :func:`accumulate_gain_sums`."""

    vis_model: NDArray[np.complex128]
    """Sum of w V conj(M), shape (interval, baseline, channel, polarization)."""
    model_power: NDArray[np.float64]
    """Sum of w |M|^2, same shape; 0 where there are no data."""
    weight: NDArray[np.float64]
    """Sum of the weights, shape (interval,)."""
    weight_time: NDArray[np.float64]
    """Sum of weight times time [s], shape (interval,)."""


def accumulate_gain_sums(
    visibilities: NDArray[Any],
    model: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    *,
    time_s: NDArray[np.float64],
    interval: NDArray[np.int64],
    channel: NDArray[np.int64],
    n_intervals: int | None = None,
) -> GainSums:
    """Sum the data of every solution interval and channel of a gain solution.

    Data that are flagged, not finite, or without positive weight do not count. The order of the sums over time depends
    on the data only, so that a channel has the same sums, to the bit, in whatever chunk of channels it comes.

    Parameters
    ----------
    visibilities : ndarray of complex, shape (time, baseline, channel, polarization)
        Parallel hands only [Jy].
    model : ndarray of complex
        The same shape, or any shape that broadcasts to it [Jy].
    flags : ndarray of bool, same shape as `visibilities`
        True = do not use.
    weights : ndarray of float, same shape as `visibilities`
        1 / sigma^2 of a real part; only ratios matter.
    time_s : ndarray, shape (time,)
        Times [s].
    interval : ndarray of int, shape (time,)
        The solution interval of each integration, from 0 up; -1 = not used.
    channel : ndarray of int, shape (channel,)
        The solution channel of each channel, from 0 up; -1 = not used.
    n_intervals : int, optional
        Intervals of the whole solution; by default the data hold the last one.

    Returns
    -------
    GainSums
        They merge by :func:`add_gain_sums`.
    """
    n_intervals = int(interval.max(initial=-1)) + 1 if n_intervals is None else n_intervals
    n_channels = int(channel.max(initial=-1)) + 1
    sums = empty_gain_sums((n_intervals, visibilities.shape[1], n_channels, visibilities.shape[3]))
    model = align_model(model, visibilities.ndim)
    _accumulate(visibilities, model, flags, weights, np.asarray(time_s, np.float64), interval, channel, *sums)
    return sums


def empty_gain_sums(shape: tuple[int, ...]) -> GainSums:
    """Return sums of no data, of shape (interval, baseline, channel, polarization)."""
    return GainSums(np.zeros(shape, np.complex128), np.zeros(shape), np.zeros(shape[0]), np.zeros(shape[0]))


def add_gain_sums(first: GainSums, second: GainSums) -> GainSums:
    """Merge the sums of two disjoint parts of the same intervals and channels."""
    return GainSums(
        vis_model=first.vis_model + second.vis_model,
        model_power=first.model_power + second.model_power,
        weight=first.weight + second.weight,
        weight_time=first.weight_time + second.weight_time,
    )


def place_empty_intervals(sums: GainSums, time_s: NDArray[np.float64], interval: NDArray[np.int64]) -> GainSums:
    """Give intervals without data the mean of their times, so that a table ascends in time whatever is flagged.

    Parameters
    ----------
    sums : GainSums
        Of all data of the intervals.
    time_s : ndarray, shape (time,)
        Times of the integrations [s].
    interval : ndarray of int, shape (time,)
        The solution interval of each integration, from 0 up; -1 = not used.

    Returns
    -------
    GainSums
        With positive ``weight`` wherever an interval has integrations.
    """
    empty = sums.weight <= 0
    used = interval >= 0
    count = np.bincount(interval[used], minlength=len(empty))
    total = np.bincount(interval[used], time_s[used], minlength=len(empty))
    return sums._replace(
        weight=np.where(empty, count, sums.weight), weight_time=np.where(empty, total, sums.weight_time)
    )


def align_model(model: NDArray[Any], n_dimensions: int) -> NDArray[Any]:
    """Return the model with all dimensions, those along which it does not change with length 1."""
    model = np.asarray(model)
    model = model.reshape((1,) * (n_dimensions - model.ndim) + model.shape)
    model = model[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in model.strides)]
    return model if model.dtype.kind == "c" else model.astype(np.complex128)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def measure_datum(
    value: np.complex128, expected: np.complex128, flag: bool, weight: np.float64
) -> tuple[bool, np.float64]:
    """Return True if a visibility is usable, and the square of its model."""
    power = expected.real * expected.real + expected.imag * expected.imag
    usable = bool(
        not flag
        and weight > 0
        and np.isfinite(weight)
        and np.isfinite(value.real)
        and np.isfinite(value.imag)
        and power > 0
        and np.isfinite(power)
    )
    return usable, power


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _accumulate(
    visibilities: NDArray[Any],
    model: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    time_s: NDArray[np.float64],
    interval: NDArray[np.int64],
    channel: NDArray[np.int64],
    vis_model: NDArray[np.complex128],
    model_power: NDArray[np.float64],
    weight_sum: NDArray[np.float64],
    weight_time: NDArray[np.float64],
) -> None:
    """Add the usable data to the sums, in the order of time for every baseline, channel and hand."""
    n_times, n_baselines, n_channels, n_polarizations = visibilities.shape
    # 0 for the axes along which the model does not change: its only element is used for all
    step_t, step_b = int(model.shape[0] > 1), int(model.shape[1] > 1)
    step_c, step_p = int(model.shape[2] > 1), int(model.shape[3] > 1)
    for t in range(n_times):
        i = interval[t]
        if i < 0:
            continue
        for b in range(n_baselines):
            for c in range(n_channels):
                k = channel[c]
                if k < 0:
                    continue
                for p in range(n_polarizations):
                    value = np.complex128(visibilities[t, b, c, p])
                    expected = np.complex128(model[t * step_t, b * step_b, c * step_c, p * step_p])
                    weight = np.float64(weights[t, b, c, p])
                    usable, power = measure_datum(value, expected, flags[t, b, c, p], weight)
                    if not usable:
                        continue
                    vis_model[i, b, k, p] += weight * (value * expected.conjugate())
                    model_power[i, b, k, p] += weight * power
                    weight_sum[i] += weight
                    weight_time[i] += weight * time_s[t]
