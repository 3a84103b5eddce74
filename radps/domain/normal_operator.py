"""The residual update without the visibilities: the normal operator of imaging as a few convolutions.

CLEAN needs, in every cycle, the dirty image of a model: predict, weight, transform back. For one set of samples this is
a fixed linear operator between images,

    (N I)(x) = sum_x' I(x') sum_k W_k cos 2 pi (u_k (l - l') + v_k (m - m') + w_k (n - n')) / sum_k W_k.

1. **Without the w-term** it is a convolution with the PSF. With a PSF of twice the image size it is exact, and one FFT
   pair does it.
2. **With the w-term** write 2 pi w (n - n') = X s t with s = w / max|w|, t = (n - n') / max(1 - n), so that |s t| <= 1,
   and X = 2 pi max|w| max(1 - n), the phase error of :func:`radps.domain.geometry.w_phase_error`. The power series
   cos(phi + X s t) = sum_j c_j t^j s^j q_j(phi), q = cos for even j and -sin for odd j, |c_j| = X^j / j!, gives

       N = sum_j c_j t^j P_j,
       P_j(l - l', m - m') = sum_k W_k s_k^j q_j(2 pi (u_k (l - l') + v_k (m - m'))) / sum_k W_k,

   and t^j by the binomial theorem is a sum of products of powers of n and n': K transforms forward, K back.
   P_0 is the PSF (without the w-term). An odd and an even P_j come from one transform of the samples, as their sum is
   cut apart by parity: in Fourier space one is the imaginary part, the other the real part.
3. **Accuracy** (:func:`estimate_errors`): close to a source t is small, so the series is all but exact there; far from
   it a cut after K terms leaves X^K / K! |t^K P_K|, a sidelobe. P_K is not known before it is made, but its sidelobes
   are about those of the PSF times the rms of s^K. With that, K is chosen for an error below epsilon, relative to the
   flux of the brightest component: as exact as prediction and transformation back, to which the tests compare it.
4. A coarser residual, for the early cycles, uses the first few terms only.

It stops being worth its memory for large X (long baselines and wide fields together): above ``MAX_TERMS`` terms the
caller goes through the visibilities instead.

References
----------
Cornwell, Golap & Bhatnagar 2008, IEEE J. Sel. Topics Signal Process. 2, 647 (w-term).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import ducc0
import numba
import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import ImageGrid, find_good_size, w_phase_error
from radps.domain.gridding import DEFAULT_EPSILON, dirty_sum, point_spread_function

MAX_TERMS = 8
"""Most terms that are used: phase errors up to 1.6 rad at epsilon 1e-5."""

N_RINGS = 64
"""Rings of lags for which the largest sidelobe of the PSF is kept."""


class NormalOperator(NamedTuple):
    """The operator for one set of samples; apply it with :func:`apply_normal_operator`."""

    grid: ImageGrid
    """The image."""
    spectra: NDArray[np.float32]
    """c_j times the Fourier transform of P_j, its imaginary part for odd j; shape (K, p_l, p_m // 2 + 1)."""
    height: NDArray[np.float32]
    """(n - n_mid) / max(1 - n) of every pixel, -0.5 to 0.5, shape (n_l, n_m); used when K > 1."""
    errors: tuple[float, ...]
    """Error of the first 1, 2, ... K terms, relative to the flux of the brightest component."""

    @property
    def n_terms(self) -> int:
        """Number of terms K; 1 = no w-term."""
        return len(self.spectra)


def large_grid(grid: ImageGrid) -> ImageGrid:
    """Return the grid of a PSF that covers every pair of pixels of an image: at least twice its size."""
    return grid.resized(find_good_size(2 * grid.n_l), find_good_size(2 * grid.n_m), are_lags=True)


def count_terms(
    uvw_m: NDArray[np.float64],
    frequency_hz: float,
    grid: ImageGrid,
    *,
    epsilon: float = DEFAULT_EPSILON,
    w_term: bool = True,
) -> int:
    """Return how many terms are planned for an accuracy of epsilon: the first K with 2 (X/2)^K / K! <= epsilon.

    This needs uvw only, and is a little more than :func:`choose_terms` finds with the PSF of many samples: the factor
    2^(1 - K) stands for the sidelobe level and the rms of w.

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


def estimate_errors(
    psf: NDArray[np.float32],
    uvw_m: NDArray[np.float64],
    frequency_hz: float,
    weights: NDArray[np.float32],
    grid: ImageGrid,
    *,
    max_terms: int = MAX_TERMS,
) -> tuple[float, ...]:
    """Return the error of a series of 1, 2, ... ``max_terms`` terms, relative to the flux of the brightest component.

    For each K it is X^K / K! times the rms of s^K, times the largest ``|PSF(lag) t^K|`` over the lags inside the image,
    where t is the largest possible for the lag, min(1, 2 lag / corner radius). In tests it is 1 to 5 times the largest
    error of an image of point sources.

    Parameters
    ----------
    psf : ndarray of float32, shape of :func:`large_grid`
        PSF without the w-term.
    uvw_m, frequency_hz, weights, grid
        As for :func:`make_normal_operator`.
    max_terms : int
        Length of the result.
    """
    phase = w_phase_error(uvw_m, frequency_hz, grid)
    if phase == 0:
        return (0.0,) * max_terms
    radius = math.hypot(grid.n_l // 2, grid.n_m // 2)
    envelope = _find_envelope(psf, grid.n_l, grid.n_m, 2 * radius, N_RINGS)
    reach = np.minimum(1.0, 4 * np.arange(1, N_RINGS + 1) / N_RINGS)  # t at the outer edge of each ring
    relative_w = uvw_m[:, 2] / np.abs(uvw_m[:, 2]).max()
    total = float(weights.sum(dtype=np.float64))
    power = np.square(relative_w)
    sum_power = weights.astype(np.float64) / total
    errors, size = [], 1.0
    for terms in range(1, max_terms + 1):
        size *= phase / terms
        sum_power *= power
        errors.append(size * math.sqrt(float(sum_power.sum())) * float((envelope * reach**terms).max()))
    return tuple(errors)


def choose_terms(errors: tuple[float, ...], tolerance: float) -> int | None:
    """Return the smallest number of terms with an error up to the tolerance; None if there are not enough."""
    return next((terms for terms, error in enumerate(errors, 1) if error <= tolerance), None)


def make_normal_operator(
    psf: NDArray[np.float32],
    uvw_m: NDArray[np.float64],
    frequency_hz: float,
    weights: NDArray[np.float32],
    grid: ImageGrid,
    errors: tuple[float, ...],
    *,
    epsilon: float = DEFAULT_EPSILON,
) -> NormalOperator:
    """Transform the weights to the spectra of the operator.

    Parameters
    ----------
    psf : ndarray of float32, shape of :func:`large_grid`
        PSF without the w-term, from :func:`make_large_psf`.
    uvw_m : ndarray of float64, shape (row, 3)
        Baseline coordinates [m].
    frequency_hz : float
        Frequency [Hz].
    weights : ndarray of float32, shape (row,)
        Imaging weights, with a positive sum.
    grid : ImageGrid
        The image.
    errors : tuple of float
        From :func:`estimate_errors`, one for each term that is wanted; one entry = no w-term.
    epsilon : float
        Accuracy of the transforms.
    """
    n_terms = len(errors)
    large = large_grid(grid)
    spectra = np.empty((n_terms, large.n_l, large.n_m // 2 + 1), np.float32)
    spectra[0] = transform_centred(psf.copy()).real
    coefficients = series_coefficients(w_phase_error(uvw_m, frequency_hz, grid), n_terms)
    longest = float(np.abs(uvw_m[:, 2]).max())
    relative_w = (uvw_m[:, 2] / longest if longest > 0 else uvw_m[:, 2]).astype(np.float32)
    power = np.ones_like(relative_w)
    for odd in range(1, n_terms, 2):
        values = np.zeros((len(uvw_m), 1), np.complex64)
        power = power * relative_w
        values.imag[:, 0] = -coefficients[odd] * power
        if odd + 1 < n_terms:
            power = power * relative_w
            values.real[:, 0] = coefficients[odd + 1] * power
        total = dirty_sum(
            uvw_m, np.array([frequency_hz]), values, weights[:, np.newaxis], large, epsilon=epsilon, w_term=False
        )
        transform = transform_centred(total.normalised().astype(np.float32, copy=False))
        spectra[odd] = transform.imag
        if odd + 1 < n_terms:
            spectra[odd + 1] = transform.real
    return NormalOperator(grid, spectra, relative_height(grid), errors)


def make_large_psf(
    uvw_m: NDArray[np.float64],
    frequency_hz: float,
    weights: NDArray[np.float32],
    grid: ImageGrid,
    *,
    epsilon: float = DEFAULT_EPSILON,
) -> NDArray[np.float32]:
    """Return the PSF without the w-term on :func:`large_grid`, peak 1. Arguments as :func:`make_normal_operator`."""
    psf = point_spread_function(
        uvw_m, np.array([frequency_hz]), weights[:, np.newaxis], large_grid(grid), epsilon=epsilon
    )
    return psf.astype(np.float32, copy=False)


def apply_normal_operator(
    operator: NormalOperator, model: NDArray[np.float32], *, n_terms: int | None = None
) -> NDArray[np.float32]:
    """Return the dirty image [Jy/beam] of a model [Jy/pixel], both of shape (n_l, n_m).

    Parameters
    ----------
    operator : NormalOperator
        The operator.
    model : ndarray of float32, shape (n_l, n_m)
        The model [Jy/pixel].
    n_terms : int, optional
        Use the first terms only, with the error ``operator.errors[n_terms - 1]``; default: all.
    """
    terms = operator.n_terms if n_terms is None else min(n_terms, operator.n_terms)
    large = large_grid(operator.grid)
    powers = np.empty((terms, large.n_l, large.n_m // 2 + 1), np.complex64)
    transform_powers(model, operator.grid, operator.height, powers)
    combine_powers(powers[np.newaxis], operator.spectra[np.newaxis, :terms])
    return sum_powers(powers, operator.grid, operator.height)


def relative_height(grid: ImageGrid) -> NDArray[np.float32]:
    """Return (n - n_mid) / max(1 - n) of every pixel, shape (n_l, n_m): the coordinate that the series is in."""
    return (grid.n_minus_1 / grid.max_1_minus_n + 0.5).astype(np.float32)


def transform_powers(
    model: NDArray[np.float32], grid: ImageGrid, height: NDArray[np.float32], powers: NDArray[np.complex64]
) -> None:
    """Fill ``powers``, (K, p_l, p_m // 2 + 1), with the transforms of a model times (-height)^i on the large grid."""
    n_l, n_m = grid.shape
    raised = model.astype(np.float32)
    padded = np.zeros((n_l, large_grid(grid).n_m), np.float32)
    for transform in powers:
        padded[:, :n_m] = raised
        ducc0.fft.r2c(padded, axes=(1,), out=transform[:n_l], nthreads=1)
        transform[n_l:] = 0
        ducc0.fft.c2c(transform, axes=(0,), out=transform, nthreads=1)
        raised = raised * -height


def combine_powers(powers: NDArray[np.complex64], spectra: NDArray[np.float32]) -> None:
    """Multiply transforms of models by spectra of operators, in place: power a of what they are seen as.

    Parameters
    ----------
    powers : ndarray of complex64, shape (term, K, p_l, p_m // 2 + 1)
        From :func:`transform_powers`, for each Taylor term j; replaced, for each Taylor term i, by the sum over j and b
        of binomial(a + b, b) S_(i+j, a+b) powers_(j, b), times the imaginary unit for odd a + b.
    spectra : ndarray of float32, shape (2 term - 1, K, p_l, p_m // 2 + 1)
        S: those of :class:`NormalOperator`, for each sum of two Taylor terms.
    """
    terms = powers.shape[1]
    binomials = np.array([[math.comb(a + b, b) for b in range(terms)] for a in range(terms)], np.float32)
    _combine(powers, spectra, binomials)


def sum_powers(powers: NDArray[np.complex64], grid: ImageGrid, height: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image, the sum of height^a times the image of each transform, (n_l, n_m); changes the transforms."""
    n_l, n_m = grid.shape
    result = np.zeros((n_l, n_m), np.float32)
    for transform in powers[::-1]:
        ducc0.fft.c2c(transform, axes=(0,), forward=False, out=transform, nthreads=1)
        part = ducc0.fft.c2r(transform[:n_l], axes=(1,), lastsize=large_grid(grid).n_m, forward=False, nthreads=1)
        result = result * height + part[:, :n_m]
    return result


def series_coefficients(phase: float, n_terms: int) -> list[float]:
    """Return c_j: phase^j / j! with the signs of the cosine for even, of the sine for odd j."""
    return [(1, 1, -1, -1)[j % 4] * phase**j / math.factorial(j) for j in range(n_terms)]


def transform_centred(image: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return the Fourier transform of an image about pixel n // 2, over its size; changes the image.

    Lags of -n/2 have no opposite: without them parity is exact, and no pair of pixels needs them.
    """
    image[0, :] = 0
    image[:, 0] = 0
    transform: NDArray[np.complex64] = ducc0.fft.r2c(image, nthreads=1)
    _shift(transform, np.float32(1 / image.size))
    return transform


@numba.njit(cache=True, nogil=True)
def _shift(transform, scale):  # type: ignore[no-untyped-def]
    """Multiply by the scale, and by -1 where the sum of the indices is odd: a shift by half of an even size."""
    for x in range(transform.shape[0]):
        row = transform[x]
        for y in range(row.size):
            row[y] *= -scale if (x + y) % 2 else scale


@numba.njit(cache=True, nogil=True)
def _find_envelope(psf, n_l, n_m, longest, n_rings):  # type: ignore[no-untyped-def]
    """Return the largest |PSF| in rings of lags up to ``longest`` pixels, over the lags inside an image."""
    envelope = np.zeros(n_rings)
    centre_l, centre_m = psf.shape[0] // 2, psf.shape[1] // 2
    for lag_l in range(n_l):  # the other half is the same: the PSF is even
        row = psf[centre_l + lag_l]
        for lag_m in range(1 - n_m, n_m):
            ring = min(int(math.sqrt(lag_l**2 + lag_m**2) / longest * n_rings), n_rings - 1)
            envelope[ring] = max(envelope[ring], abs(row[centre_m + lag_m]))
    return envelope


@numba.njit(cache=True, nogil=True)
def _combine(powers, spectra, binomials):  # type: ignore[no-untyped-def]
    """Do what :func:`combine_powers` says, one row of the transforms after the other."""
    n_taylor, terms, n_l, half = powers.shape
    row = np.empty((n_taylor, terms, half), np.complex64)
    for x in range(n_l):
        row[:] = powers[:, :, x]
        for i in range(n_taylor):
            for a in range(terms):
                target = powers[i, a, x]
                target[:] = 0
                for j in range(n_taylor):
                    for b in range(terms - a):
                        spectrum = spectra[i + j, a + b, x]
                        factor = binomials[a, b]
                        source = row[j, b]
                        if (a + b) % 2 == 0:
                            for y in range(half):
                                target[y] += factor * spectrum[y] * source[y]
                        else:
                            for y in range(half):
                                product = factor * spectrum[y] * source[y]
                                target[y] += np.complex64(complex(-product.imag, product.real))
