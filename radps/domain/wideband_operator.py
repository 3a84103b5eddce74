"""The normal operator of a continuum image: sums over all channels, that chunks of data add to.

It is the operator of :mod:`radps.domain.normal_operator` for samples of many frequencies, and for Taylor terms: the
residual R_i loses sum_j N_(i+j) I_j, where N_q is the operator of the weights w x^q, x = ln(f / f0).

1. Each chunk makes, for each q, the images of :func:`operator_sums`: the point spread function P_0, and one image for
   each two further terms of the series in w. They are sums over samples, so that those of chunks add up.
2. :func:`make_spectrum` transforms the totals, once for each q.
3. :func:`apply_operators` then gives the dirty images of a model without any visibilities.

w is in wavelengths here, relative to the largest of all data; the phase X that the series is in is
2 pi max|w| max(1 - n).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid, w_phase_error
from radps.domain.gridding import DirtySum, Image, Visibilities, dirty_sum
from radps.domain.multiterm import stack_images, times_power
from radps.domain.normal_operator import (
    combine_powers,
    count_terms,
    large_grid,
    relative_height,
    series_coefficients,
    sum_powers,
    transform_centred,
    transform_powers,
)

MAX_SERIES_TERMS = 12
"""Most terms of the series in w: phases up to 3 rad at epsilon 1e-5. Beyond, visibilities are cheaper."""

MAX_SUM_BYTES = 400 * 2**20
"""Largest set of images that a chunk of data makes; fixed, because what is chosen may not depend on the cluster."""


def phase_of_w(longest_w: float, grid: ImageGrid) -> float:
    """Return X, the largest phase of the w-term [rad]; ``longest_w`` is max|w| in wavelengths."""
    return w_phase_error(np.array([[0.0, 0.0, longest_w]]), SPEED_OF_LIGHT_M_S, grid)


def plan_series(longest_w: float, grid: ImageGrid, n_terms: int, *, epsilon: float, w_term: bool) -> int:
    """Return how many terms of the series in w are needed; 0 = too many, residuals have to go through the visibilities.

    Parameters
    ----------
    longest_w : float
        max|w| of all data [wavelengths].
    grid : ImageGrid
        The image.
    n_terms : int
        Taylor terms.
    epsilon : float
        Accuracy relative to the flux of the brightest component.
    w_term : bool
        False = one term.
    """
    series = count_terms(np.array([[0.0, 0.0, longest_w]]), SPEED_OF_LIGHT_M_S, grid, epsilon=epsilon, w_term=w_term)
    large = large_grid(grid)
    n_images = (2 * n_terms - 1) * (1 + series // 2)
    fits = series <= MAX_SERIES_TERMS and 4 * n_images * large.n_l * large.n_m <= MAX_SUM_BYTES
    return series if fits else 0


def operator_sums(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    weights: NDArray[np.float32],
    grid: ImageGrid,
    powers: NDArray[np.float64],
    longest_w: float,
    series: int,
    *,
    epsilon: float,
) -> DirtySum:
    """Transform weights to the images that the operator is made of.

    Parameters
    ----------
    uvw_m : ndarray of float64, shape (row, 3)
        Baseline coordinates [m].
    frequency_hz : ndarray of float64, shape (channel,)
        Channel centres [Hz].
    weights : ndarray of float32, shape (row, channel)
        Imaging weights.
    grid : ImageGrid
        The image; the sums are on :func:`~radps.domain.normal_operator.large_grid`.
    powers : ndarray of float64, shape (2 n - 1, channel)
        x^q of every channel.
    longest_w : float
        max|w| of all data, not of this chunk alone [wavelengths].
    series : int
        Terms of the series, at least 1.
    epsilon : float
        Accuracy of the transforms.

    Returns
    -------
    DirtySum
        Images of shape (2 n - 1, 1 + series // 2, p_l, p_m), not yet divided, and the sum of weights.
    """
    large = large_grid(grid)
    coefficients = series_coefficients(phase_of_w(longest_w, grid), series)
    waves = uvw_m[:, 2:] * (frequency_hz / SPEED_OF_LIGHT_M_S)
    relative_w = (waves / longest_w if longest_w > 0 else waves).astype(np.float32)

    def image(values: Visibilities) -> Image:
        return dirty_sum(uvw_m, frequency_hz, values, weights, large, epsilon=epsilon, w_term=False).image

    def row(power: NDArray[np.float64]) -> Iterator[Image]:
        yield image(times_power(np.ones(weights.shape, np.complex64), power))
        raised = np.ones_like(relative_w)
        for odd in range(1, series, 2):
            raised = raised * relative_w
            values = np.empty(weights.shape, np.complex64)
            values.imag = -coefficients[odd] * raised
            raised = raised * relative_w
            values.real = coefficients[odd + 1] * raised if odd + 1 < series else 0
            yield image(times_power(values, power))

    n_images = 1 + series // 2
    made = stack_images((one for power in powers for one in row(power)), len(powers) * n_images)
    images: Image = made.reshape(len(powers), n_images, *large.shape)
    return DirtySum(images, float(weights.sum(dtype=np.float64)))


def make_spectrum(images: NDArray[Any], series: int) -> NDArray[np.float32]:
    """Transform the totals of :func:`operator_sums` for one q, divided by the sum of weights, to spectra.

    Returns
    -------
    ndarray of float32, shape (series, p_l, p_m // 2 + 1)
        c_j times the transform of P_j, its imaginary part for odd j.
    """
    spectrum = np.empty((series, images.shape[1], images.shape[2] // 2 + 1), np.float32)
    spectrum[0] = transform_centred(images[0].astype(np.float32)).real
    for number, odd in enumerate(range(1, series, 2), 1):
        transform = transform_centred(images[number].astype(np.float32))
        spectrum[odd] = transform.imag
        if odd + 1 < series:
            spectrum[odd + 1] = transform.real
    return spectrum


def apply_operators(spectra: NDArray[np.float32], model: NDArray[np.float32], grid: ImageGrid) -> NDArray[np.float32]:
    """Return the dirty images [Jy/beam] of a model of Taylor terms [Jy/pixel], both of shape (term, n_l, n_m).

    Parameters
    ----------
    spectra : ndarray of float32, shape (2 term - 1, series, p_l, p_m // 2 + 1)
        Of :func:`make_spectrum`, for each q.
    model : ndarray of float32, shape (term, n_l, n_m)
        The model. Each term is transformed once, and the terms are added up before they are transformed back.
    grid : ImageGrid
        The image.
    """
    height = relative_height(grid)
    powers = np.empty((len(model), *spectra.shape[1:]), np.complex64)
    for image, of_term in zip(model, powers, strict=True):
        transform_powers(image, grid, height, of_term)
    combine_powers(powers, spectra)
    return np.stack([sum_powers(of_term, grid, height) for of_term in powers])
