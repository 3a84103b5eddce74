r"""Fit the continuum of visibilities over line-free channels.

For every time, baseline and hand, the real and imaginary parts over the line-free channels are fitted by a polynomial
in frequency, each channel with its weight, and the polynomial is evaluated in all channels.

1. The frequency axis is scaled to -1..1 over the whole band.
2. For each row (time, baseline, hand), polynomials :math:`p_0, p_1, \ldots` that are orthogonal under the weights of
   its own unflagged line-free channels come from the recursion
   :math:`p_{k+1} = (x - \alpha_k) p_k - \beta_k p_{k-1}` (Forsythe 1957). So no matrix is inverted, and the fit is
   exact to rounding at any order.
3. The coefficient of :math:`p_k` is :math:`\sum w V p_k / \sum w p_k^2`; the model is their sum, in float64.
4. A row with fewer unflagged line-free channels than coefficients (or than ``min_channels``) has no fit: its model is
   0, and the row is flagged and counted, since its continuum would stay in the line cube.

Where it fails: line emission in the "line-free" channels is subtracted; an order above 1 on few channels follows the
noise and bends between them; at high order the continuum of sources far from the phase centre, whose phase turns over
the band, is fitted only up to about half a turn (Sault 1994).

References
----------
Cornwell, Uson & Haddad 1992, A&A 258, 583; Sault 1994, A&AS 107, 55; Forsythe 1957, J. SIAM 5, 74; CASA ``uvcontsub``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from radps.errors import SelectionError


class ContinuumFit(NamedTuple):
    """Continuum of visibilities."""

    model: NDArray[np.complexfloating[Any, Any]]
    """Continuum in all channels [Jy], shape (time, baseline, channel, polarization), dtype of the visibilities; 0 where
    there is no fit."""
    row_flags: NDArray[np.bool_]
    """True = no fit; shape (time, baseline, polarization)."""
    n_failed: int
    """Rows (time, baseline, polarization) that have unflagged data but too few of them line-free."""


class LineVisibilities(NamedTuple):
    """Visibilities without their continuum."""

    visibilities: NDArray[np.complexfloating[Any, Any]]
    """Shape (time, baseline, channel, polarization) [Jy], dtype of the input."""
    flags: NDArray[np.bool_]
    """True = do not use; the flags of the input, and rows without a fit."""
    n_failed: int
    """Rows that were flagged because they have too few line-free data."""


def fit_continuum(
    visibilities: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    frequency_hz: NDArray[np.float64],
    line_free: NDArray[np.bool_],
    order: int = 0,
    *,
    min_channels: int = 1,
) -> ContinuumFit:
    """Fit a polynomial in frequency to the line-free channels of every time, baseline and hand.

    Parameters
    ----------
    visibilities : ndarray of complex, shape (time, baseline, channel, polarization)
        All channels of the window [Jy].
    flags : ndarray of bool, same shape
        True = do not use. Data that are not finite or have no positive weight do not count either.
    weights : ndarray of float, same shape
        1 / sigma^2; only ratios within a row matter.
    frequency_hz : ndarray, shape (channel,)
        Channel frequencies [Hz].
    line_free : ndarray of bool, shape (channel,)
        True = continuum only.
    order : int
        Order of the polynomial, 0 or more.
    min_channels : int
        Rows with fewer usable line-free channels are flagged; at least ``order + 1`` are always needed.

    Returns
    -------
    ContinuumFit
        The model and the rows without one.

    Raises
    ------
    SelectionError
        If the order is negative, or the line-free channels are fewer than the coefficients, or of another number than
        the channels of the data.
    """
    n_channels = visibilities.shape[2]
    if order < 0:
        raise SelectionError(f"continuum fit: found order {order}, allowed are 0 and above")
    if line_free.shape != (n_channels,):
        raise SelectionError(
            f"continuum fit: the line-free mask has shape {line_free.shape}, the data have {n_channels} channels; "
            "give one value a channel"
        )
    if int(line_free.sum()) < max(order + 1, min_channels):
        raise SelectionError(
            f"continuum fit of order {order}: found {int(line_free.sum())} line-free channels of {n_channels}, "
            f"needs at least {max(order + 1, min_channels)}; widen the line-free ranges or lower the order"
        )
    middle = 0.5 * (float(frequency_hz.max()) + float(frequency_hz.min()))
    half_width = 0.5 * (float(frequency_hz.max()) - float(frequency_hz.min()))
    scaled = (np.asarray(frequency_hz, np.float64) - middle) / (half_width if half_width > 0 else 1.0)
    model = np.zeros_like(visibilities)
    row_flags = np.zeros((*visibilities.shape[:2], visibilities.shape[3]), np.bool_)
    n_failed = _fit_rows(
        visibilities, flags, weights, scaled, line_free, order, max(order + 1, min_channels), model, row_flags
    )
    return ContinuumFit(model, row_flags, int(n_failed))


def subtract_polynomial(
    visibilities: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    frequency_hz: NDArray[np.float64],
    line_free: NDArray[np.bool_],
    order: int = 0,
    *,
    min_channels: int = 1,
) -> LineVisibilities:
    """Subtract the continuum fit of :func:`fit_continuum`, whose arguments and errors these are.

    Returns
    -------
    LineVisibilities
        New arrays; rows without a fit keep their visibilities and are flagged.
    """
    fit = fit_continuum(visibilities, flags, weights, frequency_hz, line_free, order, min_channels=min_channels)
    return LineVisibilities(visibilities - fit.model, flags | fit.row_flags[:, :, np.newaxis, :], fit.n_failed)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _fit_rows(
    visibilities: NDArray[Any],
    flags: NDArray[np.bool_],
    weights: NDArray[Any],
    scaled: NDArray[np.float64],
    line_free: NDArray[np.bool_],
    order: int,
    min_channels: int,
    model: NDArray[Any],
    row_flags: NDArray[np.bool_],
) -> int:
    """Write the model and the flags of every row, and return the number of rows with data that have no fit."""
    n_times, n_baselines, n_channels, n_polarizations = visibilities.shape
    row_weights = np.empty(n_channels)
    values = np.empty(n_channels, np.complex128)
    total = np.empty(n_channels, np.complex128)
    n_failed = 0
    for t in range(n_times):
        for b in range(n_baselines):
            for p in range(n_polarizations):
                usable, unflagged = 0, 0
                for c in range(n_channels):
                    value = np.complex128(visibilities[t, b, c, p])
                    weight = np.float64(weights[t, b, c, p])
                    good = not flags[t, b, c, p] and weight > 0 and np.isfinite(weight)
                    good = good and np.isfinite(value.real) and np.isfinite(value.imag)
                    unflagged += int(good)
                    good = good and line_free[c]
                    usable += int(good)
                    row_weights[c] = weight if good else 0.0
                    values[c] = value if good else 0.0
                if usable < min_channels:
                    row_flags[t, b, p] = True
                    n_failed += int(unflagged > 0)
                    continue
                _fit_row(values, row_weights, scaled, order, total)
                for c in range(n_channels):
                    model[t, b, c, p] = total[c]
    return n_failed


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _fit_row(
    values: NDArray[np.complex128],
    weights: NDArray[np.float64],
    x: NDArray[np.float64],
    order: int,
    total: NDArray[np.complex128],
) -> None:
    """Write the weighted polynomial fit of one row, by polynomials orthogonal under its weights."""
    n = len(x)
    previous = np.zeros(n)
    present = np.ones(n)
    total[:] = 0
    previous_norm = 1.0
    for k in range(order + 1):
        norm, moment = 0.0, 0.0
        projection = 0j
        for c in range(n):
            if weights[c] > 0:
                squared = weights[c] * present[c] * present[c]
                norm += squared
                moment += squared * x[c]
                # of the residual, not of the data: takes out what rounding left of the lower orders
                projection += weights[c] * present[c] * (values[c] - total[c])
        coefficient = projection / norm
        alpha = moment / norm
        beta = norm / previous_norm if k > 0 else 0.0
        for c in range(n):
            total[c] += coefficient * present[c]
            following = (x[c] - alpha) * present[c] - beta * previous[c]
            previous[c] = present[c]
            present[c] = following
        previous_norm = norm
