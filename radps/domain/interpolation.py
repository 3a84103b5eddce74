"""Interpolate gains to the times and channels of the data, and apply them.

1. Along frequency, then along time, each gain of an antenna and hand is interpolated by itself. Flagged solutions are
   skipped: the interpolation runs between the unflagged ones on either side.
2. ``linear``: amplitude and phase are linear between two solutions, the phase going the shorter way round.
   ``nearest``: the nearest solution, the earlier one of two equally near. Outside the range of the solutions, both take
   the first or last one (CASA ``applycal``). A single solution holds everywhere.
3. Where an antenna and hand has no unflagged solution at all, its gains are flagged. CASA flags data beside a flagged
   solution, too: :func:`find_flagged_beside` finds them.
4. If asked for, phases are taken as those of a delay in air, which grow with frequency: those of solutions at the
   frequency f0 are, at f, the phases unwrapped in time times f / f0 (CASA ``linearPD`` and ``nearestPD``). The first
   solution is taken to be within half a turn of 0.
5. Corrected visibilities are V / (g_1 conj(g_2)); data with a flagged gain are flagged (CASA ``applymode="calflag"``).
   Calibrated weights are w |g_1|^2 |g_2|^2, since the noise is scaled with the data.

Where it fails: a phase that turns by more than half a turn between two solutions goes the wrong way round, and one
whose first solution is off by n turns is off by n (f / f0 - 1) turns where it is scaled; solutions of different fields
or bands must not share a table, as nothing here looks at fields.

References
----------
CASA ``applycal``: ``interp="linear"``, ``"nearest"``, ``"linearPD"`` and ``"nearestPD"``, ``calwt``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from radps.domain.gains import GainTable
from radps.domain.polarization import find_receptors
from radps.errors import SelectionError

_SAME_TIME_S = 1e-3
"""Solutions this near have the time of the data [s]: a weighted mean of times is rounded."""


class InterpolationMethod(enum.StrEnum):
    """How a gain between two solutions is found."""

    LINEAR = "linear"
    """Amplitude and phase linear between the solutions on either side."""
    NEAREST = "nearest"
    """The nearest solution."""


class InterpolatedGains(NamedTuple):
    """Gains at the times and channels of data."""

    gains: NDArray[np.complex128]
    """Shape (time, antenna, channel, polarization); 1 where flagged. Along an axis with one solution it is a view that
    repeats it, so the array may be read-only."""
    flags: NDArray[np.bool_]
    """True = no solution; same shape."""


class CorrectedVisibilities(NamedTuple):
    """Visibilities with the gains divided out."""

    visibilities: NDArray[np.complexfloating[Any, Any]]
    """Corrected where the gains are known, as they were where not; dtype of the input."""
    flags: NDArray[np.bool_]
    """Flags of the input, and of the gains."""
    weights: NDArray[np.floating[Any]]
    """As they were, or scaled to the corrected data; dtype of the input."""
    n_flagged: int
    """Data that were unflagged and have no gains."""


def interpolate_gains(
    table: GainTable,
    time_s: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    *,
    time_method: InterpolationMethod | str = InterpolationMethod.LINEAR,
    frequency_method: InterpolationMethod | str = InterpolationMethod.LINEAR,
    phase_frequency_hz: float | None = None,
) -> InterpolatedGains:
    """Interpolate a table to times and channels.

    Parameters
    ----------
    table : GainTable
        Solutions, ascending in time; frequencies ascending or descending.
    time_s : ndarray, shape (time,)
        Times of the data [s].
    frequency_hz : ndarray, shape (channel,)
        Channel frequencies of the data [Hz].
    time_method, frequency_method : InterpolationMethod or str
        ``"linear"`` or ``"nearest"``.
    phase_frequency_hz : float, optional
        Scale the phases, as those of a delay, to this frequency: the middle of the spectral window of the data [Hz].

    Returns
    -------
    InterpolatedGains
        Of shape (time, antenna, channel, polarization) of the data. Gains of several tables multiply by
        :func:`multiply_gains`.

    Raises
    ------
    SelectionError
        If a method is not known, or phases of a table with several channels are to be scaled.
    """
    along_time = parse_method(time_method, "time")
    along_frequency = parse_method(frequency_method, "frequency")
    gains, flags = _interpolate_axis(
        table.gains, table.flags, table.frequency_hz, frequency_hz, axis=2, method=along_frequency
    )
    gains, flags = _interpolate_axis(gains, flags, table.time_s, time_s, axis=0, method=along_time)
    if phase_frequency_hz is not None:
        gains = gains * _phase_delay_factors(table, time_s, phase_frequency_hz, along_time)
    n_times, n_channels = len(time_s), len(frequency_hz)
    shape = (n_times, table.gains.shape[1], n_channels, table.gains.shape[3])
    return InterpolatedGains(np.broadcast_to(gains, shape), np.broadcast_to(flags, shape))


def find_flagged_beside(
    solved_s: NDArray[np.float64],
    flags: NDArray[np.bool_],
    time_s: NDArray[np.float64],
    method: InterpolationMethod | str = InterpolationMethod.LINEAR,
) -> NDArray[np.bool_]:
    """Return the times of data beside a flagged solution, which CASA ``applycal`` flags and interpolation passes over.

    Parameters
    ----------
    solved_s : ndarray, shape (solution,)
        Times of the solutions, ascending [s].
    flags : ndarray of bool, shape (solution, ...)
        True = the solution is flagged.
    time_s : ndarray, shape (time,)
        Times of the data [s].
    method : InterpolationMethod or str
        ``"linear"`` looks at the solutions on either side, or at the one of that very time; ``"nearest"`` at the
        nearest one, the earlier of two.

    Returns
    -------
    ndarray of bool, shape (time, ...)
        True = flagged. Before the first and after the last solution these count.
    """
    method = parse_method(method, "time")
    last = len(solved_s) - 1
    after = np.searchsorted(solved_s, time_s)
    high = np.minimum(after, last)
    low = np.maximum(after - 1, 0)
    to_low, to_high = np.abs(time_s - solved_s[low]), np.abs(solved_s[high] - time_s)
    nearest = np.where(to_low <= to_high, low, high)
    is_between = np.minimum(to_low, to_high) > _SAME_TIME_S
    if method is InterpolationMethod.NEAREST:
        low = high = nearest
    low, high = np.where(is_between, low, nearest), np.where(is_between, high, nearest)
    return np.asarray(flags[low] | flags[high])


def multiply_gains(*factors: InterpolatedGains) -> InterpolatedGains:
    """Multiply gains of several tables (bandpass, time gains); flagged where any of them is.

    Parameters
    ----------
    *factors : InterpolatedGains
        At least one, all of the same shape.

    Returns
    -------
    InterpolatedGains
        Their product.
    """
    gains, flags = factors[0]
    for factor in factors[1:]:
        gains = gains * factor.gains
        flags = flags | factor.flags
    return InterpolatedGains(gains, flags)


def apply_gains(
    visibilities: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    gains: NDArray[np.complex128],
    gain_flags: NDArray[np.bool_],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    polarizations: Sequence[str],
    *,
    calibrate_weights: bool = False,
) -> CorrectedVisibilities:
    """Divide the gains out of visibilities.

    Parameters
    ----------
    visibilities : ndarray of complex, shape (time, baseline, channel, correlation)
        Of circular or linear feeds.
    flags : ndarray of bool, same shape
        True = do not use.
    weights : ndarray of float, same shape
        1 / sigma^2 [Jy^-2].
    gains, gain_flags : ndarray, shape (time, antenna, channel, hand)
        From :func:`interpolate_gains`; axes of length 1 hold for all. The hands are those of
        :func:`~radps.domain.polarization.parallel_hands`: RR before LL, XX before YY.
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices.
    polarizations : sequence of str
        Names of the correlations, in the order that the data have: MSv2 ``RR, RL, LR, LL``, UVFITS ``RR, LL, RL, LR``.
    calibrate_weights : bool
        True: scale the weights to the corrected data (CASA ``calwt``).

    Returns
    -------
    CorrectedVisibilities
        New arrays; the input is unchanged.

    Raises
    ------
    SelectionError
        If the gains have another number of hands than the data.
    DataError
        If there is no parallel hand, or a correlation is of a receptor without one.
    """
    hand1, hand2 = find_receptors(polarizations)
    n_hands = len({*hand1.tolist(), *hand2.tolist()})
    if gains.shape[3] != n_hands or visibilities.shape[3] != len(polarizations):
        raise SelectionError(
            f"gains of {gains.shape[3]} hands for data of {visibilities.shape[3]} correlations, "
            f"{', '.join(polarizations)}, of {n_hands} hands: solve the same hands that are to be corrected"
        )
    corrected = np.empty_like(visibilities)
    new_flags = np.empty_like(flags, dtype=np.bool_)
    new_weights = np.empty_like(weights)
    n_flagged = _divide(
        visibilities,
        flags,
        weights,
        _without_repeats(gains),
        _without_repeats(gain_flags),
        antenna1,
        antenna2,
        hand1,
        hand2,
        calibrate_weights,
        corrected,
        new_flags,
        new_weights,
    )
    return CorrectedVisibilities(corrected, new_flags, new_weights, int(n_flagged))


def parse_method(method: InterpolationMethod | str, axis: str) -> InterpolationMethod:
    """Return the method of that name; ``axis`` is named where it is refused.

    Raises
    ------
    SelectionError
        There is no such method; lists those there are.
    """
    try:
        return InterpolationMethod(method)
    except ValueError:
        allowed = ", ".join(repr(known.value) for known in InterpolationMethod)
        raise SelectionError(f"interpolation along {axis}: found {method!r}, allowed are {allowed}") from None


def interpolate_series(
    wanted: NDArray[np.float64],
    solved: NDArray[np.float64],
    values: NDArray[np.float64],
    method: InterpolationMethod,
) -> NDArray[np.float64]:
    """Return real values at coordinates, from those at ``solved``, which ascend; held before the first, after the last.

    Of two solutions that are equally near, the earlier one is the nearest.
    """
    if method is InterpolationMethod.LINEAR:
        return np.asarray(np.interp(wanted, solved, values))
    return np.asarray(values[np.abs(wanted[:, np.newaxis] - solved).argmin(axis=1)])


def _phase_delay_factors(
    table: GainTable, time_s: NDArray[np.float64], frequency_hz: float, method: InterpolationMethod
) -> NDArray[np.complex128]:
    """Return what turns gains at times to another frequency, shape (time, antenna, 1, hand); one time if steady."""
    if len(table.frequency_hz) != 1:
        raise SelectionError(
            f"phases of a table of {len(table.frequency_hz)} channels cannot be scaled with frequency; only those of "
            "one channel, as of the kinds phase and gain, can"
        )
    wanted = table.time_s if len(table.time_s) == 1 else np.asarray(time_s, np.float64)
    _, n_antennas, _, n_hands = table.gains.shape
    phase = np.zeros((len(wanted), n_antennas, 1, n_hands))
    for antenna, hand in np.ndindex(n_antennas, n_hands):
        valid = ~table.flags[:, antenna, 0, hand]
        if not valid.any():
            continue
        unwrapped = np.unwrap(np.angle(table.gains[valid, antenna, 0, hand]))
        phase[:, antenna, 0, hand] = interpolate_series(wanted, table.time_s[valid], unwrapped, method)
    factors: NDArray[np.complex128] = np.exp(1j * (frequency_hz / table.frequency_hz[0] - 1.0) * phase)
    return factors


def _interpolate_axis(
    gains: NDArray[np.complex128],
    flags: NDArray[np.bool_],
    solved: NDArray[np.float64],
    wanted: NDArray[np.float64],
    *,
    axis: int,
    method: InterpolationMethod,
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Interpolate from coordinates `solved` to `wanted`; one solution stays one, to be repeated by broadcasting."""
    if len(solved) == 1 or (not flags.any() and np.array_equal(solved, wanted)):
        return np.where(flags, 1.0, gains), flags
    order = np.argsort(solved, kind="stable")
    columns = np.moveaxis(gains, axis, -1)[..., order]
    column_flags = np.moveaxis(flags, axis, -1)[..., order]
    shape = columns.shape[:-1]
    n_rows = math.prod(shape)  # a table may have no solution at all: -1 would not be told
    new_gains, new_flags = _interpolate_columns(
        np.ascontiguousarray(columns.reshape(n_rows, len(solved))),
        np.ascontiguousarray(column_flags.reshape(n_rows, len(solved))),
        np.asarray(solved, np.float64)[order],
        np.asarray(wanted, np.float64),
        method is InterpolationMethod.LINEAR,
    )
    return (
        np.ascontiguousarray(np.moveaxis(new_gains.reshape(*shape, len(wanted)), -1, axis)),
        np.ascontiguousarray(np.moveaxis(new_flags.reshape(*shape, len(wanted)), -1, axis)),
    )


def _without_repeats(array: NDArray[Any]) -> NDArray[Any]:
    """Return gains, contiguous, with time and channel cut to length 1 where one value is repeated (stride 0)."""
    times, channels = (slice(0, 1) if array.strides[axis] == 0 else slice(None) for axis in (0, 2))
    return np.ascontiguousarray(array[times, :, channels])


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _interpolate_columns(
    gains: NDArray[np.complex128],
    flags: NDArray[np.bool_],
    solved: NDArray[np.float64],
    wanted: NDArray[np.float64],
    linear: bool,
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Interpolate each row of gains, shape (row, solution), to `wanted`; `solved` ascends."""
    n_rows, n_solved = gains.shape
    result = np.ones((n_rows, len(wanted)), np.complex128)
    missing = np.ones((n_rows, len(wanted)), np.bool_)
    valid = np.empty(n_solved, np.int64)
    for row in range(n_rows):
        count = 0
        for k in range(n_solved):
            if not flags[row, k]:
                valid[count] = k
                count += 1
        if count == 0:
            continue
        for n in range(len(wanted)):
            x = wanted[n]
            after = np.searchsorted(solved[valid[:count]], x)
            missing[row, n] = False
            if after == 0:
                result[row, n] = gains[row, valid[0]]
                continue
            if after == count:
                result[row, n] = gains[row, valid[count - 1]]
                continue
            low, high = valid[after - 1], valid[after]
            fraction = (x - solved[low]) / (solved[high] - solved[low])
            if not linear:
                result[row, n] = gains[row, low] if fraction <= 0.5 else gains[row, high]
                continue
            amplitude = (1.0 - fraction) * abs(gains[row, low]) + fraction * abs(gains[row, high])
            turn = np.angle(gains[row, high] * gains[row, low].conjugate())
            result[row, n] = amplitude * np.exp(1j * (np.angle(gains[row, low]) + fraction * turn))
    return result, missing


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _divide(
    visibilities: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    gains: NDArray[np.complex128],
    gain_flags: NDArray[np.bool_],
    antenna1: NDArray[Any],
    antenna2: NDArray[Any],
    hand1: NDArray[np.int64],
    hand2: NDArray[np.int64],
    calibrate_weights: bool,
    corrected: NDArray[Any],
    new_flags: NDArray[np.bool_],
    new_weights: NDArray[Any],
) -> int:
    """Write corrected data, flags and weights, and return how many unflagged data were flagged."""
    n_times, n_baselines, n_channels, n_correlations = visibilities.shape
    # 0 for axes of length 1, whose only element holds for all
    gain_t, gain_c = int(gains.shape[0] > 1), int(gains.shape[2] > 1)
    flag_t, flag_c = int(gain_flags.shape[0] > 1), int(gain_flags.shape[2] > 1)
    n_flagged = 0
    for t in range(n_times):
        for b in range(n_baselines):
            i, j = antenna1[b], antenna2[b]
            for c in range(n_channels):
                for p in range(n_correlations):
                    product = (
                        gains[t * gain_t, i, c * gain_c, hand1[p]]
                        * gains[t * gain_t, j, c * gain_c, hand2[p]].conjugate()
                    )
                    power = product.real * product.real + product.imag * product.imag
                    bad = (
                        gain_flags[t * flag_t, i, c * flag_c, hand1[p]]
                        or gain_flags[t * flag_t, j, c * flag_c, hand2[p]]
                        or not power > 0
                    )
                    value = visibilities[t, b, c, p]
                    weight = weights[t, b, c, p]
                    corrected[t, b, c, p] = value if bad else value * (product.conjugate() / power)
                    new_weights[t, b, c, p] = weight * power if calibrate_weights and not bad else weight
                    new_flags[t, b, c, p] = flags[t, b, c, p] or bad
                    if bad and not flags[t, b, c, p]:
                        n_flagged += 1
    return n_flagged
