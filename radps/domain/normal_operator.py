"""The residual update without the visibilities: the normal operator of imaging as a few convolutions.

CLEAN needs, in every cycle, the dirty image of a model: predict, weight, transform back. For one set of samples this is
a fixed linear operator between images,

    (N I)(x) = sum_x' I(x') sum_k W_k cos 2 pi (u_k (l - l') + v_k (m - m') + w_k (n - n')) / sum_k W_k.

1. **Without the w-term** it is a convolution with the PSF. With a PSF of twice the image size it is exact, and one FFT
   pair does it.
2. **With the w-term** write y = 2 pi w (n - n') = X s t with s = w / max|w|, t = (n - n') / max(1 - n), so that |s t|
   <= 1, and X = 2 pi max|w| max(1 - n), the phase error of :func:`radps.domain.geometry.w_phase_error`. The Chebyshev
   series of cos(X z) and sin(X z) on [-1, 1], cut after K terms and written in powers of z, gives cos(phi + y) = sum_j
   c_j t^j s^j q_j(phi) with q = cos for even j and -sin for odd j. So

       N = sum_j c_j t^j P_j,
       P_j(l - l', m - m') = sum_k W_k s_k^j q_j(2 pi (u_k (l - l') + v_k (m - m'))) / sum_k W_k,

   and t^j by the binomial theorem is a sum of products of powers of n and n': K transforms forward, K back.
   P_0 is the PSF (without the w-term). An even and an odd P_j come from one transform of the samples,
   as their sum is cut apart by parity: in Fourier space one is the real part, the other the imaginary part.
3. **Accuracy**: the cut costs less than 2 (X/2)^K / K! of the flux of the model (:func:`count_terms`); K is chosen for
   that to be below epsilon, the accuracy of the gridder itself. So the result is as exact as prediction and
   transformation back, to which the tests compare it.

It stops being worth its memory, and loses digits in single precision, for large X (long baselines and wide fields
together): above ``MAX_TERMS`` terms the caller goes through the visibilities instead.

References
----------
Cornwell, Golap & Bhatnagar 2008, IEEE J. Sel. Topics Signal Process. 2, 647 (w-term).
Abramowitz & Stegun 1964, 9.1.44 to 9.1.47 (the series); 9.1.62 (bound of the Bessel functions).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import ducc0
import numba
import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import ImageGrid, find_good_size, w_phase_error
from radps.domain.gridding import DEFAULT_EPSILON, dirty_sum

MAX_TERMS = 8
"""Most terms that are used: phase errors up to 1.6 rad at epsilon 1e-5."""


class NormalOperator(NamedTuple):
    """The operator for one set of samples; apply it with :func:`apply_normal_operator`."""

    grid: ImageGrid
    """The image."""
    psf: NDArray[np.float32]
    """PSF without the w-term, peak 1 at ``p // 2``, at least twice the image size: covers every pair of pixels."""
    spectra: NDArray[np.float32]
    """c_j times the Fourier transform of P_j, its imaginary part for odd j; shape (K, p_l, p_m // 2 + 1)."""
    height: NDArray[np.float32]
    """(n - n_mid) / max(1 - n) of every pixel, -0.5 to 0.5, shape (n_l, n_m); used when K > 1."""

    @property
    def n_terms(self) -> int:
        """Number of terms K; 1 = no w-term."""
        return len(self.spectra)


def count_terms(
    uvw_m: NDArray[np.float64],
    frequency_hz: float,
    grid: ImageGrid,
    *,
    epsilon: float = DEFAULT_EPSILON,
    w_term: bool = True,
) -> int:
    """Return the number of terms K for an accuracy of epsilon: the first with 2 (X/2)^K / K! <= epsilon.

    Parameters
    ----------
    uvw_m : ndarray, shape (row, 3)
        Baseline coordinates [m].
    frequency_hz : float
        Frequency [Hz].
    grid : ImageGrid
        The image.
    epsilon : float
        Relative accuracy.
    w_term : bool
        False = one term.
    """
    if not w_term:
        return 1
    half = w_phase_error(uvw_m, frequency_hz, grid) / 2
    terms, size = 1, 2 * half
    while size > epsilon:
        terms += 1
        size *= half / terms
    return terms


def make_normal_operator(
    uvw_m: NDArray[np.float64],
    frequency_hz: float,
    weights: NDArray[np.float32],
    grid: ImageGrid,
    *,
    n_terms: int,
    epsilon: float = DEFAULT_EPSILON,
) -> NormalOperator:
    """Transform the weights to the spectra of the operator.

    Parameters
    ----------
    uvw_m : ndarray of float64, shape (row, 3)
        Baseline coordinates [m].
    frequency_hz : float
        Frequency [Hz].
    weights : ndarray of float32, shape (row,)
        Imaging weights, with a positive sum.
    grid : ImageGrid
        The image.
    n_terms : int
        Number of terms, from :func:`count_terms`.
    epsilon : float
        Accuracy of the transforms.
    """
    large = grid.resized(find_good_size(2 * grid.n_l), find_good_size(2 * grid.n_m))
    frequencies = np.array([frequency_hz])
    phase = w_phase_error(uvw_m, frequency_hz, grid)
    coefficients = _expand_phase(phase, n_terms)
    longest = float(np.abs(uvw_m[:, 2]).max())
    relative_w = uvw_m[:, 2] / longest if longest > 0 else uvw_m[:, 2]
    spectra = np.empty((n_terms, large.n_l, large.n_m // 2 + 1), np.float32)
    psf = np.empty((0, 0), np.float32)
    for even in range(0, n_terms, 2):
        values = np.empty((len(uvw_m), 1), np.complex64)
        values.real[:, 0] = coefficients[even] * relative_w**even
        values.imag[:, 0] = -coefficients[even + 1] * relative_w ** (even + 1) if even + 1 < n_terms else 0.0
        total = dirty_sum(uvw_m, frequencies, values, weights[:, np.newaxis], large, epsilon=epsilon, w_term=False)
        pair = total.normalised().astype(np.float32, copy=False)
        pair[0, :] = 0  # lags of -n/2 have no opposite: without them parity is exact, and no pair of pixels needs them
        pair[:, 0] = 0
        if even == 0:
            psf = (pair + _reflect(pair)) / np.float32(2 * coefficients[0])
        transform = ducc0.fft.r2c(np.fft.ifftshift(pair), nthreads=1)
        spectra[even] = transform.real
        if even + 1 < n_terms:
            spectra[even + 1] = transform.imag
    spectra /= np.float32(large.n_l * large.n_m)
    n_minus_1 = grid.n_minus_1
    height = (n_minus_1 / grid.max_1_minus_n + 0.5).astype(np.float32)
    return NormalOperator(grid, psf, spectra, height)


def apply_normal_operator(operator: NormalOperator, model: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the dirty image [Jy/beam] of a model [Jy/pixel], both of shape (n_l, n_m)."""
    n_l, n_m = operator.grid.shape
    terms, p_l, half = operator.spectra.shape
    p_m = operator.psf.shape[1]
    forward = np.empty((terms, p_l, half), np.complex64)
    powers = model.astype(np.float32)
    padded = np.zeros((n_l, p_m), np.float32)
    for i in range(terms):
        padded[:, :n_m] = powers
        forward[i, :n_l] = ducc0.fft.r2c(padded, axes=(1,), nthreads=1)
        forward[i, n_l:] = 0
        ducc0.fft.c2c(forward[i], axes=(0,), out=forward[i], nthreads=1)
        powers = powers * -operator.height
    _combine(forward, operator.spectra, _binomials(terms))
    result = np.zeros((n_l, n_m), np.float32)
    for a in reversed(range(terms)):
        ducc0.fft.c2c(forward[a], axes=(0,), forward=False, out=forward[a], nthreads=1)
        part = ducc0.fft.c2r(forward[a, :n_l], axes=(1,), lastsize=p_m, forward=False, nthreads=1)
        result = result * operator.height + part[:, :n_m]
    return result


def _expand_phase(phase: float, n_terms: int) -> NDArray[np.float64]:
    """Return c_j of cos(phase z) + sin(phase z) ~ sum_j c_j z^j on [-1, 1]: even j are the cosine, odd j the sine."""
    if n_terms == 1:
        return np.ones(1)
    series = np.polynomial.chebyshev.chebinterpolate(lambda z: np.cos(phase * z) + np.sin(phase * z), n_terms + 16)
    coefficients = np.zeros(n_terms)
    powers = np.polynomial.chebyshev.cheb2poly(series[:n_terms])
    coefficients[: len(powers)] = powers
    return coefficients


def _reflect(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image mirrored about pixel n // 2 (row and column 0 have no opposite and stay)."""
    result = image.copy()
    result[1:, 1:] = image[:0:-1, :0:-1]
    return result


def _binomials(terms: int) -> NDArray[np.float32]:
    return np.array([[math.comb(a + i, i) for i in range(terms)] for a in range(terms)], np.float32)


@numba.njit(cache=True, nogil=True)
def _combine(forward, spectra, binomials):  # type: ignore[no-untyped-def]
    """Replace forward[a] by sum_i binomials[a, i] spectra[a + i] forward[i], times the imaginary unit for odd a + i."""
    terms, n_l, half = spectra.shape
    row = np.empty((terms, half), np.complex64)
    for x in range(n_l):
        row[:] = forward[:, x]
        for a in range(terms):
            target = forward[a, x]
            target[:] = 0
            for i in range(terms - a):
                spectrum = spectra[a + i, x]
                factor = binomials[a, i]
                source = row[i]
                if (a + i) % 2 == 0:
                    for y in range(half):
                        target[y] += factor * spectrum[y] * source[y]
                else:
                    for y in range(half):
                        product = factor * spectrum[y] * source[y]
                        target[y] += np.complex64(complex(-product.imag, product.real))
