r"""What is left of errors in calibrated data of a known source: errors of single baselines, and scatter of the phases.

For every integration, baseline and hand the data are divided by the model, r = V / M: 1 without any error.

1. **Closure errors**: a gain of an antenna changes all its baselines, ln r_ij = a_i + a_j + i (p_i - p_j). What no
   choice of a and p explains belongs to the baseline: the correlator, a source that is not the model, polarization
   leakage, interference. :func:`remove_antennas` subtracts the weighted least-squares solution of each integration.
2. :func:`sum_baselines` adds up the logarithms of r and what is left of them, and their squares, over the
   integrations; sums of disjoint times merge by :func:`add_baseline_sums`.
3. :func:`measure_closure_errors` takes the mean over time of each baseline. Its own error, from the scatter in time, is
   taken off: sigma_c^2 = (<mean^2> - <error^2>) n / (n - k), with n baselines and the k numbers that were fitted to
   each integration. The result is the standard deviation of an error that stays, 0 where noise explains all.
4. :func:`measure_phase_scatter` gives the rms of the phases of each baseline about zero, noise included; where the
   atmosphere is not calibrated out, it grows with the length of the baseline: rms ~ length^slope, 0.3 < slope < 0.8.

The logarithms want a signal: below a signal-to-noise ratio of 2 in an integration, all channels together, phases wrap
and the amplitudes are biased. Errors that vary faster than the observation average out.

References
----------
Pearson & Readhead 1984, ARA&A 22, 97 (closure). Thompson, Moran & Swenson 2017, Interferometry and Synthesis in Radio
Astronomy, section 13.1 (phase structure function).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

AMPLITUDE, PHASE = 0, 1
"""Parts of a logarithm: ln |r|, and the phase [rad]."""

_MIN_INTEGRATIONS = 3
"""A baseline with fewer has no scatter in time to tell its error from its noise."""


class BaselineSums(NamedTuple):
    """Sums over the integrations that are not flagged."""

    n_integrations: NDArray[np.int64]
    """(baseline, hand)"""
    values: NDArray[np.float64]
    """Sum and sum of squares of the logarithms, (amplitude or phase, 2, baseline, hand)."""
    closures: NDArray[np.float64]
    """The same of what no antenna explains."""


class ClosureErrors(NamedTuple):
    """Errors of baselines that stay over the observation."""

    amplitude: float
    """Standard deviation over the baselines, relative; NaN without data."""
    phase_rad: float
    """[rad]"""
    baseline_amplitude: NDArray[np.float64]
    """Of each baseline, (baseline,), mean of the hands; NaN where there are too few data."""
    baseline_phase_rad: NDArray[np.float64]
    """[rad]"""


class PhaseScatter(NamedTuple):
    """Scatter of calibrated phases."""

    baseline_rms_rad: NDArray[np.float64]
    """About zero, of each baseline, (baseline,), both hands; NaN without data."""
    long_rms_rad: float
    """Median of the longest third of the baselines; NaN without data."""
    short_rms_rad: float
    """Of the shortest third."""
    slope: float
    """Of log rms against log length; NaN where all baselines are equally long."""


def remove_antennas(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    *,
    sign: int,
) -> NDArray[np.float64]:
    """Subtract what antennas explain.

    Parameters
    ----------
    values : ndarray, shape (n, baseline, hand)
        Logarithms of amplitudes, or phases [rad].
    weights : ndarray, same shape
        0 = do not use.
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices.
    sign : {1, -1}
        A value is the sum of its antennas' (amplitudes), or the difference (phases).

    Returns
    -------
    ndarray, same shape
        The rest; 0 where the weight is 0.
    """
    n_antennas = int(max(antenna1.max(), antenna2.max())) + 1
    design = np.zeros((len(antenna1), n_antennas))
    rows = np.arange(len(antenna1))
    design[rows, antenna1] += 1.0
    design[rows, antenna2] += sign
    weights, values = np.moveaxis(weights, 1, 2), np.moveaxis(values, 1, 2)
    normal = np.einsum("nhb,bi,bj->nhij", weights, design, design, optimize=True)
    right = np.einsum("nhb,bi->nhi", weights * values, design, optimize=True)
    # Antennas without data, and the phase of the reference, are free: the smallest solution.
    solution = np.einsum("nhij,nhj->nhi", np.linalg.pinv(normal, hermitian=True, rcond=1e-10), right)
    rest = np.where(weights > 0, values - np.einsum("nhi,bi->nhb", solution, design), 0.0)
    return np.moveaxis(rest, 2, 1)


def sum_baselines(
    ratio: NDArray[np.complexfloating[Any, Any]],
    weights: NDArray[np.float64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
) -> BaselineSums:
    """Sum the logarithms of data over model, and what is left of them without the antennas' part.

    Parameters
    ----------
    ratio : ndarray of complex, shape (integration, baseline, hand)
        Data over model.
    weights : ndarray, same shape
        1 / sigma^2 of the ratio, up to a factor; 0 = do not use.
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices; autocorrelations do not belong here.
    """
    used = (weights > 0) & (ratio != 0)
    weights = np.where(used, weights, 0.0)
    logarithm = np.log(np.where(used, ratio, 1.0))
    values = np.stack([logarithm.real, logarithm.imag])
    closures = np.stack(
        [
            remove_antennas(part, weights, antenna1, antenna2, sign=sign)
            for part, sign in zip(values, (1, -1), strict=True)
        ]
    )
    return BaselineSums(used.sum(axis=0), _moments(values), _moments(closures))


def add_baseline_sums(first: BaselineSums, second: BaselineSums) -> BaselineSums:
    """Merge the sums of disjoint times."""
    return BaselineSums(
        first.n_integrations + second.n_integrations, first.values + second.values, first.closures + second.closures
    )


def measure_closure_errors(sums: BaselineSums, n_antennas: int) -> ClosureErrors:
    """Return the errors of baselines that noise does not explain.

    Parameters
    ----------
    sums : BaselineSums
        Of all integrations.
    n_antennas : int
        Antennas that were fitted to each integration.
    """
    enough = sums.n_integrations >= _MIN_INTEGRATIONS
    count = np.where(enough, sums.n_integrations, _MIN_INTEGRATIONS)
    mean = sums.closures[:, 0] / count
    error_squares = np.maximum(sums.closures[:, 1] / count - mean**2, 0.0) / (count - 1)
    found = []
    for part, n_fitted in ((AMPLITUDE, n_antennas), (PHASE, n_antennas - 1)):
        squares = []
        for hand in range(enough.shape[1]):
            own = enough[:, hand]
            if own.sum() > max(n_fitted, 0):
                excess = np.mean(mean[part, own, hand] ** 2 - error_squares[part, own, hand])
                squares.append(excess * own.sum() / (own.sum() - n_fitted))
        found.append(math.sqrt(max(float(np.mean(squares)), 0.0)) if squares else math.nan)
    each = _mean_of_hands(mean, enough)
    return ClosureErrors(found[AMPLITUDE], found[PHASE], each[AMPLITUDE], each[PHASE])


def measure_phase_scatter(sums: BaselineSums, length_m: NDArray[np.float64]) -> PhaseScatter:
    """Return the rms of the phases, and how it goes with the length of the baselines, (baseline,) [m]."""
    count = sums.n_integrations.sum(axis=1)
    square = sums.values[PHASE, 1].sum(axis=1)
    rms = np.sqrt(np.divide(square, count, out=np.full(len(count), np.nan), where=count > 0))
    known = np.flatnonzero(np.isfinite(rms) & (length_m > 0))
    if known.size == 0:
        return PhaseScatter(rms, math.nan, math.nan, math.nan)
    order = known[np.argsort(length_m[known], kind="stable")]
    third = max(1, len(order) // 3)
    return PhaseScatter(
        baseline_rms_rad=rms,
        long_rms_rad=float(np.median(rms[order[-third:]])),
        short_rms_rad=float(np.median(rms[order[:third]])),
        slope=_log_slope(length_m[order], rms[order]),
    )


def _log_slope(length: NDArray[np.float64], rms: NDArray[np.float64]) -> float:
    """Return the slope of log rms against log length; NaN where it has no meaning."""
    positive = rms > 0
    if positive.sum() < 2 or np.ptp(length[positive]) == 0:
        return math.nan
    return float(np.polyfit(np.log(length[positive]), np.log(rms[positive]), 1)[0])


def _moments(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums and the sums of squares over the integrations, (2, 2, baseline, hand)."""
    return np.stack([values.sum(axis=1), np.square(values).sum(axis=1)], axis=1)


def _mean_of_hands(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean over the hands that have data, (2, baseline); NaN where none has."""
    n_hands = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=2)
    mean: NDArray[np.float64] = np.divide(total, n_hands, out=np.full(total.shape, np.nan), where=n_hands > 0)
    return mean
