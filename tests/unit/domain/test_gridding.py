"""Transforms between visibilities and images against direct Fourier sums, which share no code with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.array import baselines, uvw_from_positions, vla_array
from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid, w_phase_error
from radps.domain.gridding import DirtySum, dirty_image, dirty_sum, point_spread_function, predict, psf_sum
from radps.errors import DataError

GRID = ImageGrid(72, 60, math.radians(16 / 3600))
FREQUENCY_HZ = np.array([1.40e9, 1.42e9])


@pytest.fixture(scope="module")
def uvw_m() -> NDArray[np.float64]:
    time_s = 1.7e9 + np.linspace(0, 3 * 3600, 4)
    return uvw_from_positions(vla_array("C", 9).positions_m, time_s, 1.0, 0.2, baselines(9)).reshape(-1, 3)


@pytest.fixture(scope="module")
def weights(uvw_m: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(0.5, 2.0, (len(uvw_m), 2)).astype(np.float32)


def observe(
    uvw_m: NDArray[np.float64], l: float, m: float, flux_jy: float = 1.0, *, w_term: bool = True
) -> NDArray[np.complex128]:
    """Return the visibilities of a point source, by the definition of the MSv4 sign."""
    n_minus_1 = math.sqrt(1 - l * l - m * m) - 1 if w_term else 0.0
    turns = uvw_m @ np.array([l, m, n_minus_1])
    return flux_jy * np.exp(2j * np.pi * turns[:, np.newaxis] * FREQUENCY_HZ / SPEED_OF_LIGHT_M_S)


def slow_dirty(
    uvw_m: NDArray[np.float64],
    visibilities: NDArray[np.complex128],
    weights: NDArray[np.float32],
    *,
    w_term: bool = True,
) -> NDArray[np.float64]:
    """Return the dirty image by a sum over all samples for each pixel."""
    image = np.zeros(GRID.shape)
    for i, l in enumerate(GRID.l):
        for j, m in enumerate(GRID.m):
            image[i, j] = (weights * (visibilities * observe(uvw_m, l, m, w_term=w_term).conj()).real).sum()
    return image / weights.sum(dtype=np.float64)


def draw_visibilities(uvw_m: NDArray[np.float64]) -> NDArray[np.complex128]:
    rng = np.random.default_rng(2)
    return rng.standard_normal((len(uvw_m), 2)) + 1j * rng.standard_normal((len(uvw_m), 2))


def test_the_w_term_matters_for_these_data(uvw_m: NDArray[np.float64]) -> None:
    assert w_phase_error(uvw_m, 1.42e9, GRID) > 0.1


@pytest.mark.parametrize("w_term", [True, False])
def test_dirty_image_is_the_direct_fourier_sum(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32], w_term: bool
) -> None:
    visibilities = draw_visibilities(uvw_m)
    expected = slow_dirty(uvw_m, visibilities, weights, w_term=w_term)
    single = dirty_image(
        uvw_m, FREQUENCY_HZ, visibilities.astype(np.complex64), weights, GRID, epsilon=1e-5, w_term=w_term
    )
    # epsilon is relative to the rms of the data, which is that of these noise-like images at full weight
    assert np.abs(single - expected).max() < 1e-5 * np.sqrt((np.abs(visibilities) ** 2).mean())
    double = dirty_image(uvw_m, FREQUENCY_HZ, visibilities, weights, GRID, epsilon=1e-9, w_term=w_term)
    np.testing.assert_allclose(double, expected, atol=1e-9 * np.abs(visibilities).max())
    assert single.dtype == np.float32
    assert double.dtype == np.float64


@pytest.mark.parametrize("w_term", [True, False])
def test_prediction_is_the_sum_over_the_pixels(uvw_m: NDArray[np.float64], w_term: bool) -> None:
    rng = np.random.default_rng(3)
    model = np.zeros(GRID.shape)
    places = rng.integers(0, 60, (12, 2))
    model[tuple(places.T)] = rng.uniform(-1, 2, 12)
    expected = sum(observe(uvw_m, GRID.l[i], GRID.m[j], model[i, j], w_term=w_term) for i, j in np.argwhere(model != 0))
    double = predict(model, uvw_m, FREQUENCY_HZ, GRID, epsilon=1e-9, w_term=w_term)
    np.testing.assert_allclose(double, expected, atol=1e-8)
    single = predict(model.astype(np.float32), uvw_m, FREQUENCY_HZ, GRID, epsilon=1e-5, w_term=w_term)
    assert np.abs(single - expected).max() < 1e-4 * np.abs(model).sum()
    assert (single.dtype, double.dtype) == (np.complex64, np.complex128)


def test_a_source_to_the_east_and_north_is_at_low_i_and_high_j(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32]
) -> None:
    cell = GRID.cell_size_rad
    visibilities = observe(uvw_m, 20 * cell, 7 * cell, 3.0).astype(np.complex64)
    image = dirty_image(uvw_m, FREQUENCY_HZ, visibilities, weights, GRID)
    assert np.unravel_index(image.argmax(), image.shape) == (GRID.n_l // 2 - 20, GRID.n_m // 2 + 7)
    assert image.max() == pytest.approx(3.0, rel=1e-5)


def test_without_the_w_term_a_source_at_the_corner_is_dimmed(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32]
) -> None:
    visibilities = observe(uvw_m, GRID.l[1], GRID.m[1]).astype(np.complex64)
    image = dirty_image(uvw_m, FREQUENCY_HZ, visibilities, weights, GRID, w_term=False)
    assert image.max() < 0.999
    assert dirty_image(uvw_m, FREQUENCY_HZ, visibilities, weights, GRID)[1, 1] == pytest.approx(1.0, rel=1e-5)


def test_one_jansky_at_the_phase_centre_peaks_at_one(uvw_m: NDArray[np.float64], weights: NDArray[np.float32]) -> None:
    ones = np.ones((len(uvw_m), 2), np.complex64)
    for w_term in (True, False):
        image = dirty_image(uvw_m, FREQUENCY_HZ, ones, weights, GRID, w_term=w_term)
        assert image[GRID.n_l // 2, GRID.n_m // 2] == pytest.approx(1.0, rel=1e-5)
        assert image.max() == image[GRID.n_l // 2, GRID.n_m // 2]


def test_the_psf_is_the_image_of_a_source_without_the_w_term(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32]
) -> None:
    psf = point_spread_function(uvw_m, FREQUENCY_HZ, weights, GRID)
    expected = slow_dirty(uvw_m, np.ones((len(uvw_m), 2), np.complex128), weights, w_term=False)
    np.testing.assert_allclose(psf, expected, atol=1e-5)
    np.testing.assert_allclose(psf[1:, 1:], psf[:0:-1, :0:-1], atol=1e-5)  # even, as the sky is real


def test_sums_of_chunks_add_up_to_the_sum_of_all(uvw_m: NDArray[np.float64], weights: NDArray[np.float32]) -> None:
    visibilities = draw_visibilities(uvw_m)
    whole = dirty_sum(uvw_m, FREQUENCY_HZ, visibilities, weights, GRID, epsilon=1e-10)
    parts = [
        dirty_sum(uvw_m[rows], FREQUENCY_HZ[c], visibilities[rows, c], weights[rows, c], GRID, epsilon=1e-10)
        for rows in (slice(0, 50), slice(50, None))
        for c in (slice(0, 1), slice(1, 2))
    ]
    np.testing.assert_allclose(sum(part.image for part in parts), whole.image, atol=1e-8 * np.abs(whole.image).max())
    assert sum(part.weight for part in parts) == pytest.approx(whole.weight, rel=1e-12)
    psf = psf_sum(uvw_m, FREQUENCY_HZ, weights, GRID)
    assert psf.weight == pytest.approx(whole.weight, rel=1e-12)


def test_samples_of_weight_zero_do_not_count(uvw_m: NDArray[np.float64], weights: NDArray[np.float32]) -> None:
    visibilities = draw_visibilities(uvw_m).astype(np.complex64)
    some = weights.copy()
    some[::3] = 0
    visibilities[::3] = 1e6
    used = some[:, 0] > 0
    without = dirty_image(uvw_m[used], FREQUENCY_HZ, visibilities[used], weights[used], GRID)
    # the same sums in another order, in single precision
    np.testing.assert_allclose(
        dirty_image(uvw_m, FREQUENCY_HZ, visibilities, some, GRID), without, atol=1e-5 * np.abs(without).max()
    )


def test_without_data_the_sum_is_zero_and_the_image_is_nan(uvw_m: NDArray[np.float64]) -> None:
    nothing = np.zeros((len(uvw_m), 2), np.float32)
    total = dirty_sum(uvw_m, FREQUENCY_HZ, np.ones((len(uvw_m), 2), np.complex64), nothing, GRID)
    assert total.weight == 0
    assert not total.image.any()
    assert np.isnan(total.normalised()).all()
    assert np.isnan(DirtySum(np.ones((2, 2), np.float32), 0.0).normalised()).all()


def test_wrong_arguments_are_named(uvw_m: NDArray[np.float64], weights: NDArray[np.float32]) -> None:
    visibilities = np.ones((len(uvw_m), 2), np.complex64)
    with pytest.raises(DataError, match=r"visibilities \(144, 1\), weights \(144, 2\)"):
        dirty_sum(uvw_m, FREQUENCY_HZ, visibilities[:, :1], weights, GRID)
    with pytest.raises(DataError, match=r"uvw of shape \(144, 2\)"):
        dirty_sum(uvw_m[:, :2], FREQUENCY_HZ, visibilities, weights, GRID)
    with pytest.raises(DataError, match=r"epsilon = 0\.5: allowed are 2e-13 to 0\.1"):
        dirty_sum(uvw_m, FREQUENCY_HZ, visibilities, weights, GRID, epsilon=0.5)
    with pytest.raises(DataError, match=r"model image of shape \(3, 3\) on a grid of \(72, 60\)"):
        predict(np.zeros((3, 3)), uvw_m, FREQUENCY_HZ, GRID)
