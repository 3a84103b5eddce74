"""Wide-band imaging by Taylor terms: transforms, normal equations, spectral index (multi-term MFS, CASA ``mtmfs``).

1. The sky is a polynomial in x = ln(f / f0), f0 the reference frequency::

       I(f) = sum_q I_q x^q,    q = 0 ... n - 1

   A power law S (f / f0)^alpha = S exp(alpha x) has I_0 = S and I_1 = alpha S. With n = 1 this is plain multi-frequency
   synthesis: x^0 = 1.
2. :func:`dirty_terms`: the residual images R_q = sum of w x^q Re(V exp(-2 pi i ...)), and :func:`psf_terms`: the
   2 n - 1 point spread functions P_q of the weights w x^q. All are divided by the sum of w, so that P_0 has the peak 1.
3. Around a pixel the model answers to sum_j H_ij I_j = R_i with the Hessian H_ij = P_(i+j)(0) (:func:`find_hessian`);
   its inverse turns residuals into terms (:func:`solve_principal`, the principal solution).
4. Spectral index alpha = I_1 / I_0 where I_0 is above a limit, with its error from the noise of both
   (:func:`find_spectral_index`).

The basis. Rau & Cornwell and CASA take x = (f - f0) / f0, in which a power law has the second coefficient
alpha (alpha - 1) / 2; in ln(f / f0) it is alpha^2 / 2: for alpha = -0.7 what is cut off after two terms is 2.4 times
smaller. I_0 and I_1 have the same meaning in both. What is cut off moves I_0 by (alpha^2 / 2) <x^2>: 0.3 % for
alpha = -0.7 over 40 % of bandwidth, 2 % over an octave.

The primary beam is a part of what is measured: narrower at higher frequencies, it adds about
``-8 ln 2 (r / width)^2`` to alpha at the distance r from the pointing centre, -1.4 at its half-power point. These maps
are right at the centre only; :mod:`radps.domain.wideband_beam` corrects them.

References
----------
Rau & Cornwell 2011, A&A 532, A71. Sault & Wieringa 1994, A&AS 108, 585 (two terms).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import ImageGrid
from radps.domain.gridding import DirtySum, Image, Visibilities, dirty_sum, predict, psf_sum
from radps.errors import DataError

MAX_CONDITION = 1e8
"""Of a Hessian that can be inverted: reached with 0.03 % of bandwidth."""


class SpectralIndex(NamedTuple):
    """The spectral index of every pixel, float32; NaN where the image is too faint."""

    alpha: NDArray[np.float32]
    """S ~ f^alpha, shape (n_l, n_m)."""
    error: NDArray[np.float32]
    """Its standard deviation by the noise of the images, shape (n_l, n_m)."""


def spectral_powers(frequency_hz: NDArray[np.float64], reference_hz: float, n_powers: int) -> NDArray[np.float64]:
    """Return x^q of every channel for q = 0 ... ``n_powers`` - 1, x = ln(f / f0); shape (power, channel)."""
    logarithm = np.log(np.atleast_1d(frequency_hz) / reference_hz)
    return np.asarray(logarithm[np.newaxis, :] ** np.arange(n_powers)[:, np.newaxis], np.float64)


def dirty_terms(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    visibilities: Visibilities,
    weights: NDArray[Any],
    grid: ImageGrid,
    powers: NDArray[np.float64],
    *,
    epsilon: float,
    w_term: bool,
) -> DirtySum:
    """Transform visibilities to one image for each power of x.

    Parameters
    ----------
    uvw_m, frequency_hz, visibilities, weights, grid, epsilon, w_term
        As for :func:`radps.domain.gridding.dirty_sum`.
    powers : ndarray of float64, shape (term, channel)
        From :func:`spectral_powers`.

    Returns
    -------
    DirtySum
        Images of shape (term, n_l, n_m), not yet divided, and the sum of weights. Sums of chunks may be added.
    """
    images = (
        dirty_sum(
            uvw_m, frequency_hz, times_power(visibilities, power), weights, grid, epsilon=epsilon, w_term=w_term
        ).image
        for power in powers
    )
    return DirtySum(stack_images(images, len(powers)), float(weights.sum(dtype=np.float64)))


def psf_terms(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    weights: NDArray[Any],
    grid: ImageGrid,
    powers: NDArray[np.float64],
    *,
    epsilon: float,
) -> DirtySum:
    """Transform the weights to one point spread function for each power of x, without the w-term.

    The arguments are those of :func:`dirty_terms`; with n Taylor terms 2 n - 1 powers are needed.
    """
    first = psf_sum(uvw_m, frequency_hz, weights, grid, epsilon=epsilon)
    ones = np.ones(weights.shape, np.complex64 if first.image.dtype == np.float32 else np.complex128)
    others = (
        dirty_sum(uvw_m, frequency_hz, times_power(ones, power), weights, grid, epsilon=epsilon, w_term=False).image
        for power in powers[1:]
    )
    return DirtySum(stack_images(chain([first.image], others), len(powers)), first.weight)


def predict_terms(
    model: Image,
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    grid: ImageGrid,
    powers: NDArray[np.float64],
    *,
    epsilon: float,
    w_term: bool,
) -> Visibilities:
    """Transform a model of Taylor terms, shape (term, n_l, n_m) [Jy/pixel], to visibilities [Jy]: the sum of x^q V_q.

    The other arguments are those of :func:`dirty_terms`.

    Raises
    ------
    DataError
        The model does not have one image for each power.
    """
    if len(model) != len(powers):
        raise DataError(f"a model of {len(model)} Taylor terms for {len(powers)} powers of ln(f / f0): must be equal")
    parts = [
        times_power(predict(image, uvw_m, frequency_hz, grid, epsilon=epsilon, w_term=w_term), power)
        for image, power in zip(model, powers, strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def find_hessian(psfs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return H_ij = P_(i+j) at the centre pixel, shape (n, n), of the PSFs, shape (2 n - 1, p_l, p_m)."""
    n_terms = (len(psfs) + 1) // 2
    centre = psfs[:, psfs.shape[1] // 2, psfs.shape[2] // 2].astype(np.float64)
    order = np.arange(n_terms)
    return np.asarray(centre[order[:, np.newaxis] + order], np.float64)


def invert_hessian(hessian: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of a Hessian.

    Raises
    ------
    DataError
        The data say nothing of the higher terms: all are at one frequency.
    """
    if len(hessian) > 1 and not np.linalg.cond(hessian) < MAX_CONDITION:
        raise DataError(
            f"the data cannot tell {len(hessian)} Taylor terms apart (their Hessian has the condition number "
            f"{np.linalg.cond(hessian):.3g}): the channels are too close to each other; image with n_terms: 1"
        )
    return np.asarray(np.linalg.inv(hessian), np.float64)


def solve_principal(residuals: NDArray[np.float32], inverse: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the terms that each pixel by itself would need, H^-1 R, shape (term, n_l, n_m).

    Parameters
    ----------
    residuals : ndarray of float32, shape (term, n_l, n_m)
        R_q [Jy/beam].
    inverse : ndarray of float64, shape (term, term)
        From :func:`invert_hessian`.
    """
    if len(residuals) == 1:
        return residuals
    return np.tensordot(inverse, residuals.astype(np.float64), axes=1).astype(np.float32)


def find_spectral_index(
    terms: NDArray[np.float32], noise: tuple[float, float], inverse: NDArray[np.float64], *, limit: float
) -> SpectralIndex:
    """Return the spectral index I_1 / I_0 and its error.

    Parameters
    ----------
    terms : ndarray of float32, shape (2, n_l, n_m)
        Restored I_0 and I_1 [Jy/beam].
    noise : tuple of float
        Standard deviations of I_0 and of I_1.
    inverse : ndarray of float64, shape (2, 2)
        Inverse of the Hessian: gives the correlation of the errors of I_0 and I_1.
    limit : float
        Pixels with I_0 at or below this have no index [Jy/beam].

    Returns
    -------
    SpectralIndex
        error^2 = (s_1^2 - 2 alpha s_01 + alpha^2 s_0^2) / I_0^2. It holds the noise alone, not the errors of CLEAN.
    """
    bright = terms[0] > limit
    flux = np.where(bright, terms[0], np.nan).astype(np.float64)
    index = terms[1] / flux
    correlation = inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    covariance = correlation * noise[0] * noise[1]
    variance = noise[1] ** 2 - 2 * index * covariance + index**2 * noise[0] ** 2
    return SpectralIndex(index.astype(np.float32), (np.sqrt(variance) / flux).astype(np.float32))


def stack_images(images: Iterator[Image], count: int) -> Image:
    """Return images as one array, (image, n_l, n_m), that is filled as they are made: never are there two copies."""
    first = next(images)
    stacked: Image = np.empty((count, *first.shape), first.dtype)
    stacked[0] = first
    for number, image in enumerate(images, 1):
        stacked[number] = image
    return stacked


def times_power(visibilities: Visibilities, power: NDArray[np.float64]) -> Visibilities:
    """Return visibilities times x^q of their channel, in their own precision."""
    if (power == 1.0).all():
        return visibilities
    result: Visibilities = visibilities * power.astype(visibilities.real.dtype)
    return result
