r"""Bandpasses that are smoother than single channels: averaged, smoothed, or polynomials.

All start from gains with errors: :math:`\sigma = |g| / \mathrm{snr}`, weights :math:`1 / \sigma^2`, 0 where flagged.

1. **Averaged** (:func:`radps.domain.gains.solve_bandpass`): n neighbouring channels, counted from channel 0, share a
   solution, and :func:`expand_bandpass` interpolates back to channels. So the signal-to-noise of a solution grows by
   the root of n (CASA ``solint="inf,4chan"``). :func:`choose_averaging` finds n from a solution channel by channel.
2. **Smoothed** (:func:`smooth_bandpass`): a straight line is fitted to the complex gains of a few channels around each
   channel, with their weights, and read off at the channel. In the middle of the band and for equal weights this is the
   running mean; at the edges it has no bias for a slope.
3. **Polynomials** (:func:`fit_bandpass`): Chebyshev polynomials of amplitude and phase over the band, as CASA's
   ``bandtype="BPOLY"`` (``degamp``, ``degphase``). The phase starts at the peak of the Fourier transform, a delay, and
   is fitted to the angles that are left (Gauss-Newton, so that no phase has to be unwrapped); the amplitude to the part
   of the gains along the fitted phase, which the noise does not bias.

Phases that are taken out before a bandpass (phase-up) are turned by :func:`center_phases` so that their mean is 0: the
bandpass then has the phases that it would have without them. Else it would lose the phase of its window against the
other windows, and neither phases of all windows together nor gains of another window could be used with it (in CASA,
ALMA's pipeline solves for these offsets by ``hifa_spwphaseup``).

Smoothing and polynomials fill flagged channels between unflagged ones; before the first and after the last unflagged
channel all stay flagged.

Where they fail: 1 and 2 lower the amplitude where the phase turns within the channels that are put together, so solve
delays first. Edges that fall off steeply need a high degree. Where the reference antenna is flagged in a channel, that
channel refers to another one, and its phases do not fit to those of its neighbours.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from radps.domain.gains import GainTable
from radps.domain.interpolation import interpolate_gains
from radps.domain.solver import StopReason

_MAX_STEPS = 20
"""Gauss-Newton steps of a phase: it converges in a few, or the phases are noise."""


def choose_averaging(snr: NDArray[np.float64], target_snr: float) -> int:
    """Return how many channels to average so that the median signal-to-noise of a solution reaches a target.

    Parameters
    ----------
    snr : ndarray
        Of solutions channel by channel, flagged ones too; 0 = no data.
    target_snr : float
        What is wanted.

    Returns
    -------
    int
        1 if there is no need, or nothing to go by. Below a signal-to-noise of about 2 the estimate is the noise's own,
        and n comes out too small.
    """
    median = float(np.median(snr[snr > 0])) if (snr > 0).any() else math.inf
    return max(1, math.ceil((target_snr / median) ** 2))


def center_phases(table: GainTable) -> GainTable:
    """Turn the gains of every antenna, channel and hand so that the phase of their mean over time is 0.

    Parameters
    ----------
    table : GainTable
        Gains of modulus 1 along time. Those that are flagged do not count, and stay as they are.

    Returns
    -------
    GainTable
        Where the mean is 0, or all are flagged, nothing is turned.
    """
    mean = np.where(table.flags, 0, table.gains).sum(axis=0, keepdims=True)
    modulus = np.abs(mean)
    turn = np.divide(mean.conj(), modulus, out=np.ones_like(mean), where=modulus > 0)
    return table._replace(gains=np.where(table.flags, table.gains, table.gains * turn))


def measure_misfit(solved: GainTable, used: GainTable) -> float:
    """Return by how much a bandpass differs from the solutions of single channels beyond their noise, relative.

    Parameters
    ----------
    solved : GainTable
        Solutions channel by channel.
    used : GainTable
        What is made of them, at the same channels: averaged, smoothed, or polynomials.

    Returns
    -------
    float
        Root of the mean of ``|used - solved|^2 / |solved|^2``, less the mean of ``1 / snr^2`` and twice its error; 0
        where nothing is left, or no channel is unflagged in both.
    """
    good = ~(solved.flags | used.flags) & (solved.snr > 0)
    if not good.any():
        return 0.0
    difference = np.abs(used.gains[good] / solved.gains[good] - 1) ** 2
    noise = 1 / solved.snr[good] ** 2
    # The square of a complex error has an exponential distribution: its scatter is its mean.
    allowed = noise.mean() + 2 * math.sqrt(float((noise**2).sum())) / noise.size
    return math.sqrt(max(0.0, float(difference.mean() - allowed)))


def expand_bandpass(table: GainTable, frequency_hz: NDArray[np.float64]) -> GainTable:
    """Interpolate a bandpass of groups of channels to channels, linear in amplitude and phase.

    Parameters
    ----------
    table : GainTable
        With one time.
    frequency_hz : ndarray, shape (channel,)
        Channels [Hz]. Outside of the centres of the first and last group their gains hold.

    Returns
    -------
    GainTable
        Signal-to-noise, reason and iterations are those of the nearest group; a channel is flagged if that is.
    """
    nearest = np.abs(frequency_hz[:, np.newaxis] - table.frequency_hz).argmin(axis=1)
    found = interpolate_gains(table, table.time_s, frequency_hz)
    flags = table.flags[:, :, nearest]
    return GainTable(
        time_s=table.time_s,
        frequency_hz=np.asarray(frequency_hz, np.float64),
        gains=np.where(flags, 1.0, found.gains),
        flags=flags,
        snr=table.snr[:, :, nearest],
        stop_reason=table.stop_reason[:, nearest],
        n_iterations=table.n_iterations[:, nearest],
        outliers=None if table.outliers is None else table.outliers[:, nearest],
    )


def smooth_bandpass(table: GainTable, width: int) -> GainTable:
    """Smooth a bandpass over frequency by straight lines through the channels around each one.

    Parameters
    ----------
    table : GainTable
        Channels in the order of frequency.
    width : int
        Channels of a line, an odd number.

    Returns
    -------
    GainTable
        With the signal-to-noise of the smoothed gains.
    """
    half = width // 2
    offset = np.arange(-half, half + 1, dtype=np.float64)
    gains, flags, snr = np.ones_like(table.gains), np.ones_like(table.flags), table.snr.copy()
    for time, antenna, hand in _columns(table):
        values, weights, inside = _column(table, time, antenna, hand)
        if not inside.any():
            continue
        around_w = np.lib.stride_tricks.sliding_window_view(np.pad(weights, half), width)
        around_v = np.lib.stride_tricks.sliding_window_view(np.pad(weights * values, half), width)
        s0, s1, s2 = (around_w @ offset**power for power in range(3))
        t0, t1 = (around_v @ offset**power for power in range(2))
        determinant = s0 * s2 - s1**2
        is_line = determinant > 1e-9 * s0 * s2
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(is_line, (s2 * t0 - s1 * t1) / determinant, t0 / s0)
            variance = np.where(is_line, s2 / determinant, 1 / s0)
        good = inside & (s0 > 0)
        place = (time, antenna, good, hand)
        gains[place], flags[place] = value[good], False
        snr[place] = np.abs(value[good]) / np.sqrt(variance[good])
    return _filled(table, gains, flags, snr)


def fit_bandpass(
    table: GainTable, amplitude_degree: int, phase_degree: int, frequency_hz: NDArray[np.float64] | None = None
) -> GainTable:
    """Fit polynomials of amplitude and phase over frequency.

    Parameters
    ----------
    table : GainTable
        Bandpass of channels, or of groups of them.
    amplitude_degree, phase_degree : int
        Degrees of the polynomials.
    frequency_hz : ndarray, shape (channel,), optional
        Channels to evaluate them at [Hz]; by default those of the table.

    Returns
    -------
    GainTable
        With the signal-to-noise of the polynomials. Antennas and hands with fewer channels than coefficients are
        flagged.
    """
    wanted = table.frequency_hz if frequency_hz is None else np.asarray(frequency_hz, np.float64)
    result = table if frequency_hz is None else expand_bandpass(table, wanted)
    centre, extent = 0.5 * (wanted.min() + wanted.max()), 0.5 * max(float(np.ptp(wanted)), 1.0)
    bases = [
        [chebvander((grid - centre) / extent, degree) for grid in (table.frequency_hz, wanted)]
        for degree in (amplitude_degree, phase_degree)
    ]
    gains, flags, snr = np.ones_like(result.gains), np.ones_like(result.flags), result.snr.copy()
    for time, antenna, hand in _columns(table):
        values, weights, _ = _column(table, time, antenna, hand)
        used = weights > 0
        if np.count_nonzero(used) < max(amplitude_degree, phase_degree) + 1:
            continue
        error = 1 / np.sqrt(weights[used])
        phase_basis, phase_wanted = bases[1][0][used], bases[1][1]
        phase, phase_covariance = _fit_phase(values, used, error, phase_basis)
        along = (values[used] * np.exp(-1j * (phase_basis @ phase))).real
        amplitude, covariance = _least_squares(bases[0][0][used], along, error)
        size = bases[0][1] @ amplitude
        size_variance = _quadratic(bases[0][1], covariance)
        # amplitude and phase have half of the variance of a complex gain each
        variance = 0.5 * (size_variance + size**2 * _quadratic(phase_wanted, phase_covariance))
        good = _between(~result.flags[time, antenna, :, hand]) & (size > 0)
        place = (time, antenna, good, hand)
        gains[place] = (size * np.exp(1j * (phase_wanted @ phase)))[good]
        flags[place] = False
        snr[place] = (size / np.sqrt(variance))[good]
    return _filled(result, gains, flags, snr)


def _fit_phase(
    values: NDArray[np.complex128],
    used: NDArray[np.bool_],
    error: NDArray[np.float64],
    basis: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients and covariance of the phase of a column of gains."""
    chosen = values[used]
    phase_error = error / np.abs(chosen)
    n_points = 8 * len(values)
    turns = np.fft.fftfreq(n_points)[np.abs(np.fft.fft(np.where(used, values, 0), n_points)).argmax()]
    line = 2 * np.pi * turns * np.flatnonzero(used)
    offset = np.angle(np.sum(chosen * np.exp(-1j * line)))
    coefficients, covariance = _least_squares(basis, line + offset, phase_error)
    for _ in range(_MAX_STEPS):
        left = np.angle(chosen * np.exp(-1j * (basis @ coefficients)))
        step, covariance = _least_squares(basis, left, phase_error)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-12:
            break
    return coefficients, covariance


def _least_squares(
    basis: NDArray[np.float64], values: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients of a weighted fit, and their covariance."""
    scaled = basis / error[:, np.newaxis]
    inverse = np.linalg.pinv(scaled.T @ scaled, hermitian=True)
    coefficients: NDArray[np.float64] = inverse @ (scaled.T @ (values / error))
    return coefficients, np.asarray(inverse, np.float64)


def _quadratic(basis: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of basis @ coefficients."""
    variance: NDArray[np.float64] = np.einsum("ij,jk,ik->i", basis, covariance, basis)
    return variance


def _columns(table: GainTable) -> Any:
    """Return all (time, antenna, hand) of a table."""
    n_times, n_antennas, _, n_hands = table.gains.shape
    return np.ndindex(n_times, n_antennas, n_hands)


def _column(
    table: GainTable, time: int, antenna: int, hand: int
) -> tuple[NDArray[np.complex128], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the gains along frequency, their weights, and which channels lie between unflagged ones."""
    values, snr = table.gains[time, antenna, :, hand], table.snr[time, antenna, :, hand]
    is_good = ~table.flags[time, antenna, :, hand] & (np.abs(values) > 0) & (snr > 0)
    weights = np.zeros(len(values))
    weights[is_good] = (snr[is_good] / np.abs(values[is_good])) ** 2
    return values, weights, _between(is_good)


def _between(is_good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return True from the first to the last True."""
    between = np.zeros(len(is_good), np.bool_)
    found = np.flatnonzero(is_good)
    if found.size:
        between[found[0] : found[-1] + 1] = True
    return between


def _filled(
    table: GainTable, gains: NDArray[np.complex128], flags: NDArray[np.bool_], snr: NDArray[np.float64]
) -> GainTable:
    """Return the table with new gains; cells that were empty and are filled count as converged."""
    is_filled = (table.stop_reason == StopReason.NO_DATA) & ~flags.all(axis=1)
    reason = np.where(is_filled, StopReason.THRESHOLD, table.stop_reason).astype(np.int8)
    return table._replace(gains=gains, flags=flags, snr=snr, stop_reason=reason)
