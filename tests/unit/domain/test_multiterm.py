"""Taylor terms against direct sums, and CLEAN of them against a known sky."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid
from radps.domain.multiscale import scale_kernel
from radps.domain.multiterm import (
    dirty_terms,
    find_hessian,
    find_spectral_index,
    invert_hessian,
    predict_terms,
    psf_terms,
    solve_principal,
    spectral_powers,
)
from radps.domain.multiterm_clean import clean_terms
from radps.domain.normal_operator import large_grid
from radps.domain.wideband_operator import (
    MAX_SERIES_TERMS,
    apply_operators,
    make_spectrum,
    operator_sums,
    phase_of_w,
    plan_series,
)
from radps.errors import DataError

FREQUENCY_HZ = np.linspace(1.2e9, 1.7e9, 6)
REFERENCE_HZ = 1.45e9
EPSILON = 1e-5


class Data(NamedTuple):
    uvw_m: np.ndarray
    weights: np.ndarray
    grid: ImageGrid
    powers: np.ndarray


@pytest.fixture(scope="module")
def data() -> Data:
    rng = np.random.default_rng(5)
    uvw_m = rng.normal(0, [300, 300, 100], (1500, 3))
    grid = ImageGrid(48, 48, SPEED_OF_LIGHT_M_S / 1.7e9 / 1100 / 4)
    weights = rng.uniform(0.5, 1.5, (1500, 6)).astype(np.float32)
    return Data(uvw_m, weights, grid, spectral_powers(FREQUENCY_HZ, REFERENCE_HZ, 3))


def phases(data: Data, i: int, j: int) -> np.ndarray:
    """The phase factors of a pixel, (row, channel)."""
    l, m, n_minus_1 = data.grid.l[i], data.grid.m[j], data.grid.n_minus_1[i, j]
    path_m = data.uvw_m @ np.array([l, m, n_minus_1])
    return np.exp(2j * np.pi * path_m[:, np.newaxis] * FREQUENCY_HZ / SPEED_OF_LIGHT_M_S)


def test_powers_of_a_power_law() -> None:
    powers = spectral_powers(FREQUENCY_HZ, REFERENCE_HZ, 3)
    series = 1 - 0.7 * powers[1] + 0.7**2 / 2 * powers[2]
    # The third coefficient is 0.057, x^3 at the edge 0.007.
    np.testing.assert_allclose(series, (FREQUENCY_HZ / REFERENCE_HZ) ** -0.7, rtol=5e-4)


def test_prediction_and_images_of_terms_are_the_direct_sums(data: Data) -> None:
    model = np.zeros((2, 48, 48))
    model[:, 10, 30] = 1.0, -0.7
    model[:, 40, 8] = 0.4, 0.6
    predicted = predict_terms(model, data.uvw_m, FREQUENCY_HZ, data.grid, data.powers[:2], epsilon=1e-10, w_term=True)
    expected = sum(
        (model[0, i, j] + model[1, i, j] * data.powers[1]) * phases(data, i, j) for i, j in ((10, 30), (40, 8))
    )
    np.testing.assert_allclose(predicted, expected, atol=1e-8)
    images = dirty_terms(
        data.uvw_m, FREQUENCY_HZ, predicted, data.weights, data.grid, data.powers[:2], epsilon=1e-10, w_term=True
    ).normalised()
    for term in range(2):
        for i, j in ((10, 30), (20, 20)):
            weights = data.weights * data.powers[term]
            direct = (weights * expected * phases(data, i, j).conj()).real.sum() / data.weights.sum(dtype=float)
            assert images[term, i, j] == pytest.approx(direct, abs=1e-8)


def test_a_model_of_another_number_of_terms_is_refused(data: Data) -> None:
    with pytest.raises(DataError, match="3 Taylor terms for 2 powers"):
        predict_terms(
            np.zeros((3, 48, 48)), data.uvw_m, FREQUENCY_HZ, data.grid, data.powers[:2], epsilon=1e-5, w_term=False
        )


@pytest.mark.parametrize("stretch", [0.0, 1.0, 220.0])
def test_residuals_by_convolution_are_those_of_the_visibilities(data: Data, stretch: float) -> None:
    # stretch makes the phases of the w-term 0, 0.01 and 2.2 rad.
    uvw_m = data.uvw_m * [1, 1, stretch]
    rng = np.random.default_rng(2)
    model = np.zeros((2, 48, 48), np.float32)
    places = rng.integers(0, 48, (2, 12))
    model[:, places[0], places[1]] = rng.normal(0, 1, (2, 12))
    model[:, [1, -1], [2, -2]] = 1.0, 1.0
    waves = float(np.abs(uvw_m[:, 2]).max()) * FREQUENCY_HZ[-1] / SPEED_OF_LIGHT_M_S
    series = plan_series(waves, data.grid, 2, epsilon=EPSILON, w_term=True)
    assert series == {0.0: 1, 1.0: 3, 220.0: 10}[stretch]
    sums = operator_sums(uvw_m, FREQUENCY_HZ, data.weights, data.grid, data.powers, waves, series, epsilon=EPSILON)
    found = apply_operators(np.stack([make_spectrum(row, series) for row in sums.normalised()]), model, data.grid)
    exact = predict_terms(
        model.astype(float), uvw_m, FREQUENCY_HZ, data.grid, data.powers[:2], epsilon=1e-9, w_term=True
    )
    expected = dirty_terms(
        uvw_m, FREQUENCY_HZ, exact, data.weights, data.grid, data.powers[:2], epsilon=1e-9, w_term=True
    ).normalised()
    # Twice the accuracy, relative to the peak: the two ends of the w-series meet at the corners.
    np.testing.assert_allclose(found, expected, atol=2 * EPSILON * np.abs(expected).max())
    short = apply_operators(np.stack([make_spectrum(row, 1) for row in sums.normalised()]), model, data.grid)
    if stretch > 1:
        assert np.abs(short - expected).max() > 100 * EPSILON


def test_convolutions_are_given_up_where_the_series_or_its_images_are_too_large(data: Data) -> None:
    radian = 1.0 / phase_of_w(1.0, data.grid)
    assert 0 < plan_series(2.5 * radian, data.grid, 2, epsilon=EPSILON, w_term=True) <= MAX_SERIES_TERMS
    assert plan_series(8 * radian, data.grid, 2, epsilon=EPSILON, w_term=True) == 0
    assert plan_series(8 * radian, data.grid, 2, epsilon=EPSILON, w_term=False) == 1
    wide = ImageGrid(4096, 4096, data.grid.cell_size_rad / 100)
    assert plan_series(0.0, wide, 1, epsilon=EPSILON, w_term=True) == 1
    assert plan_series(0.0, wide, 2, epsilon=EPSILON, w_term=True) == 0


def make_images(data: Data, sky: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the dirty images of a sky of terms, and the PSFs."""
    seen = predict_terms(
        sky.astype(np.float32), data.uvw_m, FREQUENCY_HZ, data.grid, data.powers[:2], epsilon=EPSILON, w_term=False
    )
    dirty = dirty_terms(
        data.uvw_m, FREQUENCY_HZ, seen, data.weights, data.grid, data.powers[:2], epsilon=EPSILON, w_term=False
    )
    psfs = psf_terms(data.uvw_m, FREQUENCY_HZ, data.weights, large_grid(data.grid), data.powers, epsilon=EPSILON)
    return dirty.normalised().astype(np.float32), psfs.normalised().astype(np.float32)


def test_clean_finds_fluxes_and_slopes_of_points(data: Data) -> None:
    sky = np.zeros((2, 48, 48))
    sky[:, 12, 30] = 1.0, -0.8
    sky[:, 33, 20] = 0.5, 0.3
    residuals, psfs = make_images(data, sky)
    found = clean_terms(residuals, psfs, goal=1e-3)
    assert found.peak <= 1e-3
    for place in ((12, 30), (33, 20)):
        # What is left is below the goal, in I_1 as much more as its noise is larger, 1 / sqrt(H_11) = 10.
        np.testing.assert_allclose(found.model[0][place], sky[0][place], atol=2e-3)
        np.testing.assert_allclose(found.model[1][place], sky[1][place], atol=2e-2)
    assert np.abs(found.model[0]).sum() < 1.52


def test_a_scale_takes_fewer_components_for_an_extended_source(data: Data) -> None:
    shape = scale_kernel(6.0)
    sky = np.zeros((2, 48, 48))
    sky[:, 20 - 5 : 20 + 6, 24 - 5 : 24 + 6] = np.array([10.0, -5.0])[:, np.newaxis, np.newaxis] * shape
    residuals, psfs = make_images(data, sky)
    points = clean_terms(residuals, psfs, goal=0.02)
    scales = clean_terms(residuals, psfs, scales_pixels=(0, 6), goal=0.02)
    assert scales.iterations < points.iterations / 3
    assert scales.model[0].sum() == pytest.approx(10.0, rel=0.01)
    assert scales.model[1].sum() == pytest.approx(-5.0, rel=0.05)
    assert np.abs(scales.model[0] - sky[0]).max() < 0.1 * sky[0].max()
    # A bias as strong as this one never takes the large scale as long as there are points to take.
    biased = clean_terms(residuals, psfs, scales_pixels=(0, 6), small_scale_bias=0.9, goal=0.02)
    assert biased.iterations > 2 * scales.iterations
    assert biased.peak <= 0.02


def test_components_stay_inside_the_mask_and_within_their_number(data: Data) -> None:
    sky = np.zeros((2, 48, 48))
    sky[0, 12, 30] = sky[0, 33, 20] = 1.0
    residuals, psfs = make_images(data, sky)
    mask = np.zeros((48, 48), np.bool_)
    mask[30:36, 18:24] = True
    found = clean_terms(residuals, psfs, mask=mask, goal=0.1, max_iterations=7)
    assert found.iterations == 7
    assert not found.model[:, ~mask].any()
    assert found.model[0, 33, 20] > 0.3
    blobs = clean_terms(residuals, psfs, mask=mask, scales_pixels=(0, 3), goal=0.1)
    assert np.abs(blobs.model[:, ~mask]).sum() <= 0.1 * np.abs(blobs.model).sum()
    empty = clean_terms(residuals, psfs, mask=np.zeros_like(mask), goal=0.1)
    assert (empty.iterations, empty.peak) == (0, 0.0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"psfs": np.zeros((2, 96, 96), np.float32)}, "2 point spread functions"),
        ({"mask": np.ones((4, 4), np.bool_)}, r"CLEAN mask of shape \(4, 4\)"),
        ({"gain": 2.5}, "CLEAN gain 2.5"),
        ({"scales_pixels": (30.0,)}, "below half of the image"),
    ],
)
def test_what_clean_cannot_do_is_refused(data: Data, change: dict, text: str) -> None:
    residuals, psfs = make_images(data, np.ones((2, 48, 48)))
    with pytest.raises(DataError, match=text):
        clean_terms(**{"residuals": residuals, "psfs": psfs, **change})


def test_terms_of_one_frequency_cannot_be_told_apart() -> None:
    with pytest.raises(DataError, match=r"cannot tell 2 Taylor terms apart .* image with n_terms: 1"):
        invert_hessian(np.array([[1.0, 1e-3], [1e-3, 1e-6]]))


def test_principal_solution_undoes_the_hessian(data: Data) -> None:
    _, psfs = make_images(data, np.zeros((2, 48, 48)))
    hessian = find_hessian(psfs)
    np.testing.assert_allclose(
        hessian,
        [[(data.weights * data.powers[i + j]).sum() / data.weights.sum() for j in range(2)] for i in range(2)],
        atol=1e-5,
    )
    terms = np.array([1.0, -0.7])[:, np.newaxis, np.newaxis] * np.ones((2, 3, 3))
    mixed = np.tensordot(hessian, terms, axes=1).astype(np.float32)
    np.testing.assert_allclose(solve_principal(mixed, invert_hessian(hessian)), terms, rtol=1e-4)


def test_error_of_the_spectral_index_is_its_scatter() -> None:
    rng = np.random.default_rng(8)
    hessian = np.array([[1.0, 0.05], [0.05, 0.02]])
    inverse = invert_hessian(hessian)
    noise = rng.multivariate_normal([0, 0], inverse * 0.01**2, (300, 300)).transpose(2, 0, 1)
    terms = (np.array([1.0, -0.7])[:, np.newaxis, np.newaxis] + noise).astype(np.float32)
    deviations = float(noise[0].std()), float(noise[1].std())
    found = find_spectral_index(terms, deviations, inverse, limit=0.5)
    # 300 x 300 samples give the scatter to 0.25 %; I_0 varies by 1 %.
    assert float(found.alpha.std()) == pytest.approx(float(np.median(found.error)), rel=0.02)
    assert float(found.alpha.mean()) == pytest.approx(-0.7, abs=0.002)
    faint = find_spectral_index(terms * np.float32(0.4), deviations, inverse, limit=0.5)
    assert np.isnan(faint.alpha).all()
    assert np.isnan(faint.error).all()
