"""The normal operator against prediction and transformation back in double precision."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.array import VlaConfiguration, baselines, uvw_from_positions, vla_array
from radps.domain.geometry import ImageGrid, w_phase_error
from radps.domain.gridding import dirty_image, predict
from radps.domain.normal_operator import (
    MAX_TERMS,
    NormalOperator,
    apply_normal_operator,
    choose_terms,
    count_terms,
    estimate_errors,
    large_grid,
    make_large_psf,
    make_normal_operator,
)

FREQUENCY_HZ = 1.42e9


def draw_uvw(configuration: VlaConfiguration, n_antennas: int, n_times: int) -> NDArray[np.float64]:
    array = vla_array(configuration, n_antennas)
    time_s = 1.7e9 + np.linspace(0, 4 * 3600, n_times)
    return uvw_from_positions(array.positions_m, time_s, 1.0, 0.09, baselines(n_antennas)).reshape(-1, 3)


def draw_model(grid: ImageGrid) -> NDArray[np.float32]:
    """Point sources at the centre, in two opposite corners and elsewhere, of both signs, and a plateau."""
    rng = np.random.default_rng(5)
    model = np.zeros(grid.shape, np.float32)
    model[grid.n_l // 2, grid.n_m // 2] = 1
    model[0, 0] = model[-1, -1] = 0.5
    model[tuple(rng.integers(0, min(grid.shape), (2, 8)))] = rng.uniform(-0.2, 0.6, 8)
    model[10:14, 20:24] += 0.03
    return model


def exact(
    model: NDArray[np.float32],
    uvw_m: NDArray[np.float64],
    weights: NDArray[np.float32],
    grid: ImageGrid,
    *,
    w_term: bool = True,
) -> NDArray[np.float64]:
    frequency_hz = np.array([FREQUENCY_HZ])
    visibilities = predict(model.astype(np.float64), uvw_m, frequency_hz, grid, epsilon=1e-10, w_term=w_term)
    return np.asarray(
        dirty_image(
            uvw_m,
            frequency_hz,
            visibilities,
            weights[:, np.newaxis].astype(np.float64),
            grid,
            epsilon=1e-10,
            w_term=w_term,
        )
    )


def make(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32], grid: ImageGrid, *, epsilon: float = 1e-5
) -> tuple[NormalOperator, tuple[float, ...]]:
    psf = make_large_psf(uvw_m, FREQUENCY_HZ, weights, grid)
    errors = estimate_errors(psf, uvw_m, FREQUENCY_HZ, weights, grid)
    return make_normal_operator(
        psf, uvw_m, FREQUENCY_HZ, weights, grid, errors[: choose_terms(errors, epsilon)]
    ), errors


@pytest.mark.parametrize(("n_l", "n_m"), [(64, 64), (72, 100), (62, 86)])
def test_without_the_w_term_it_is_exact_for_every_pair_of_pixels(n_l: int, n_m: int) -> None:
    grid = ImageGrid(n_l, n_m, math.radians(20 / 3600))
    uvw_m = draw_uvw("C", 9, 4)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(uvw_m)).astype(np.float32)
    psf = make_large_psf(uvw_m, FREQUENCY_HZ, weights, grid)
    operator = make_normal_operator(psf, uvw_m, FREQUENCY_HZ, weights, grid, (0.0,))
    assert operator.n_terms == 1
    model = draw_model(grid)
    result = apply_normal_operator(operator, model)
    # single precision sums of an image of 3 Jy
    assert np.abs(result - exact(model, uvw_m, weights, grid, w_term=False)).max() < 1e-5
    assert result.dtype == np.float32


@pytest.mark.parametrize(
    ("configuration", "n_antennas", "n_times", "cell_arcsec"),
    [("C", 27, 6, 6.0), ("C", 12, 10, 5.0), ("B", 27, 3, 2.0), ("D", 27, 4, 10.0)],
)
def test_with_the_w_term_it_is_as_exact_as_prediction_and_transformation_back(
    configuration: VlaConfiguration, n_antennas: int, n_times: int, cell_arcsec: float
) -> None:
    grid = ImageGrid(240, 216, math.radians(cell_arcsec / 3600))
    uvw_m = draw_uvw(configuration, n_antennas, n_times)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(uvw_m)).astype(np.float32)
    assert w_phase_error(uvw_m, FREQUENCY_HZ, grid) > 0.3  # without the w-term it would be wrong by per cents
    operator, errors = make(uvw_m, weights, grid)
    assert errors[operator.n_terms - 1] <= 1e-5
    model = draw_model(grid)
    truth = exact(model, uvw_m, weights, grid)
    # 1e-5 of the brightest of 12 sources, whose errors add up
    assert np.abs(apply_normal_operator(operator, model) - truth).max() < 2e-5
    plain = make_normal_operator(
        make_large_psf(uvw_m, FREQUENCY_HZ, weights, grid), uvw_m, FREQUENCY_HZ, weights, grid, (0.0,)
    )
    assert np.abs(apply_normal_operator(plain, model) - truth).max() > 5e-3


@pytest.mark.parametrize("n_terms", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("place", ["centre", "corner", "edge"])
def test_fewer_terms_are_as_good_as_estimated(n_terms: int, place: str) -> None:
    grid = ImageGrid(240, 240, math.radians(6 / 3600))
    uvw_m = draw_uvw("C", 27, 6)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(uvw_m)).astype(np.float32)
    operator, errors = make(uvw_m, weights, grid, epsilon=1e-7)
    model = np.zeros(grid.shape, np.float32)
    model[{"centre": (120, 120), "corner": (0, 0), "edge": (120, 239)}[place]] = 1
    error = np.abs(apply_normal_operator(operator, model, n_terms=n_terms) - exact(model, uvw_m, weights, grid)).max()
    assert error < errors[n_terms - 1] + 1e-6  # rounding in single precision
    if n_terms < 5 and place == "corner":
        assert error > 0.05 * errors[n_terms - 1]  # a bound that holds for any image would be of no use


def test_images_may_reach_almost_to_the_horizon() -> None:
    """The lags of a PSF of twice the size are no directions."""
    grid = ImageGrid(40, 40, 0.03)
    assert large_grid(grid).corner_radius_squared > 1
    rng = np.random.default_rng(2)
    uvw = rng.normal(scale=3.0, size=(300, 3))
    uvw[:, 2] = 0
    weights = rng.uniform(0.5, 2, 300).astype(np.float32)
    psf = make_large_psf(uvw, FREQUENCY_HZ, weights, grid)
    lag = np.array([25, -30]) * -grid.cell_size_rad
    phase = 2 * np.pi * FREQUENCY_HZ / 299792458.0 * (uvw[:, :2] @ (lag * [1, -1]))
    middle = psf.shape[0] // 2
    # the accuracy of the gridder is 1e-5
    assert psf[middle + 25, middle - 30] == pytest.approx(np.average(np.cos(phase), weights=weights), abs=3e-5)
    operator = make_normal_operator(psf, uvw, FREQUENCY_HZ, weights, grid, (0.0,))
    model = draw_model(grid)
    expected = exact(model, uvw, weights, grid, w_term=False)
    # single precision sums of an image of 3 Jy
    np.testing.assert_allclose(apply_normal_operator(operator, model), expected, atol=3e-5)


def test_errors_shrink_with_every_term() -> None:
    grid = ImageGrid(128, 128, math.radians(8 / 3600))
    uvw_m = draw_uvw("C", 12, 4)
    weights = np.ones(len(uvw_m), np.float32)
    _, errors = make(uvw_m, weights, grid)
    assert len(errors) == MAX_TERMS
    assert all(later < before for before, later in pairwise(errors))


def test_a_coplanar_array_at_the_zenith_needs_one_term() -> None:
    grid = ImageGrid(64, 64, math.radians(8 / 3600))
    uvw_m = draw_uvw("C", 12, 4) * [1, 1, 0]
    weights = np.ones(len(uvw_m), np.float32)
    operator, errors = make(uvw_m, weights, grid)
    assert errors == (0.0,) * MAX_TERMS
    assert operator.n_terms == count_terms(uvw_m, FREQUENCY_HZ, grid) == 1


def test_terms_are_planned_from_the_phase_error_alone() -> None:
    uvw_m = draw_uvw("C", 27, 6)
    for size in (64, 128, 256):
        grid = ImageGrid(size, size, math.radians(6 / 3600))
        half = w_phase_error(uvw_m, FREQUENCY_HZ, grid) / 2
        terms = count_terms(uvw_m, FREQUENCY_HZ, grid, epsilon=1e-5)
        assert 2 * half**terms / math.factorial(terms) <= 1e-5
        assert terms == 1 or 2 * half ** (terms - 1) / math.factorial(terms - 1) > 1e-5
        assert count_terms(uvw_m, FREQUENCY_HZ, grid, w_term=False) == 1
        weights = np.ones(len(uvw_m), np.float32)
        operator, _ = make(uvw_m, weights, grid)
        assert operator.n_terms <= terms  # memory is planned for these


def test_no_number_of_terms_may_be_enough() -> None:
    assert choose_terms((0.1, 1e-3, 1e-6), 1e-3) == 2
    assert choose_terms((0.1, 1e-3, 1e-6), 0.5) == 1
    assert choose_terms((0.1, 1e-3), 1e-5) is None


def test_making_it_leaves_the_psf_as_it_is() -> None:
    grid = ImageGrid(32, 48, math.radians(20 / 3600))
    uvw_m = draw_uvw("C", 9, 4)
    weights = np.ones(len(uvw_m), np.float32)
    psf = make_large_psf(uvw_m, FREQUENCY_HZ, weights, grid)
    before = psf.copy()
    make_normal_operator(psf, uvw_m, FREQUENCY_HZ, weights, grid, (0.1, 0.01))
    np.testing.assert_array_equal(psf, before)
    assert psf.shape == large_grid(grid).shape == (64, 96)
    assert psf[32, 48] == pytest.approx(1.0, rel=1e-5)
