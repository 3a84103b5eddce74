"""What must hold for any samples, grid and model."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from radps.domain.deconvolution import clean_minor_cycle
from radps.domain.geometry import ImageGrid, find_good_size
from radps.domain.gridding import dirty_image, dirty_sum, point_spread_function, predict
from radps.domain.imaging import image_plane
from radps.domain.moments import (
    MomentSums,
    add_plane_to_moments,
    compute_moments,
    create_moment_sums,
    merge_moment_sums,
)
from radps.domain.normal_operator import apply_normal_operator, make_large_psf, make_normal_operator
from radps.domain.solver import IterationControl
from radps.domain.weights import Weighting, imaging_weights

# the same examples in every run: a failure can be looked into, and a run of the tests means the same everywhere
reproducible = settings(deadline=None, derandomize=True, max_examples=25)
FREQUENCY_HZ = np.array([1.3e9, 1.4e9])

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(16, 40).map(lambda half: 2 * half)
cells_arcsec = st.floats(1.0, 60.0)
grids = st.builds(lambda n_l, n_m, cell: ImageGrid(n_l, n_m, math.radians(cell / 3600)), sides, sides, cells_arcsec)
w_terms = st.booleans()


def draw_uvw(rng: np.random.Generator, grid: ImageGrid, n_rows: int = 60) -> NDArray[np.float64]:
    """Baselines that the grid can show, up to 80 % of its largest u and v, with any w."""
    reach = 0.8 * 0.5 / grid.cell_size_rad * 299_792_458.0 / FREQUENCY_HZ.max()
    return rng.uniform(-1, 1, (n_rows, 3)) * reach


def draw_visibilities(rng: np.random.Generator, n_rows: int = 60) -> NDArray[np.complex128]:
    return rng.standard_normal((n_rows, 2)) + 1j * rng.standard_normal((n_rows, 2))


@reproducible
@given(seeds, grids, w_terms)
def test_transformation_back_is_the_adjoint_of_prediction(seed: int, grid: ImageGrid, w_term: bool) -> None:
    rng = np.random.default_rng(seed)
    uvw_m, visibilities, model = draw_uvw(rng, grid), draw_visibilities(rng), rng.standard_normal(grid.shape)
    weights = rng.uniform(0.1, 2, visibilities.shape)
    predicted = predict(model, uvw_m, FREQUENCY_HZ, grid, epsilon=1e-10, w_term=w_term)
    image = dirty_sum(uvw_m, FREQUENCY_HZ, visibilities, weights, grid, epsilon=1e-10, w_term=w_term).image
    left = (weights * (predicted.conj() * visibilities).real).sum()
    right = (model * image).sum()
    scale = np.sqrt((weights * np.abs(predicted) ** 2).sum() * (weights * np.abs(visibilities) ** 2).sum())
    assert abs(left - right) < 1e-8 * scale


@reproducible
@given(seeds, grids, w_terms, st.floats(-10, 10))
def test_the_dirty_image_is_linear(seed: int, grid: ImageGrid, w_term: bool, factor: float) -> None:
    rng = np.random.default_rng(seed)
    uvw_m, first, second = draw_uvw(rng, grid), draw_visibilities(rng), draw_visibilities(rng)
    weights = rng.uniform(0.1, 2, first.shape)

    def image(visibilities: NDArray[np.complex128]) -> NDArray[np.float64]:
        return np.asarray(dirty_image(uvw_m, FREQUENCY_HZ, visibilities, weights, grid, epsilon=1e-10, w_term=w_term))

    expected = image(first) + factor * image(second)
    np.testing.assert_allclose(image(first + factor * second), expected, atol=1e-8 * (1 + abs(factor)))


@reproducible
@given(seeds, grids, w_terms, st.sampled_from(list(Weighting)))
def test_one_jansky_at_the_phase_centre_peaks_at_one_with_any_weighting(
    seed: int, grid: ImageGrid, w_term: bool, weighting: Weighting
) -> None:
    rng = np.random.default_rng(seed)
    uvw_m = draw_uvw(rng, grid)
    data_weights = rng.uniform(0.1, 2, (len(uvw_m), 2)).astype(np.float32)
    weights = imaging_weights(uvw_m, FREQUENCY_HZ, data_weights, grid, weighting=weighting)
    assert (weights >= 0).all()
    ones = np.ones(weights.shape, np.complex64)
    image = dirty_image(uvw_m, FREQUENCY_HZ, ones, weights, grid, w_term=w_term)
    centre = grid.n_l // 2, grid.n_m // 2
    assert abs(image[centre] - 1) < 3e-5  # single precision
    assert image.max() < 1 + 3e-5
    psf = point_spread_function(uvw_m, FREQUENCY_HZ, weights, grid)
    assert abs(psf[centre] - 1) < 3e-5


@reproducible
@given(seeds, grids)
def test_the_normal_operator_is_symmetric_and_not_negative(seed: int, grid: ImageGrid) -> None:
    rng = np.random.default_rng(seed)
    uvw_m = draw_uvw(rng, grid)
    weights = rng.uniform(0.1, 2, len(uvw_m)).astype(np.float32)
    psf = make_large_psf(uvw_m, 1.4e9, weights, grid)
    operator = make_normal_operator(psf, uvw_m, 1.4e9, weights, grid, (0.0,))
    first, second = rng.standard_normal((2, *grid.shape)).astype(np.float32)
    scale = grid.n_l * grid.n_m
    left = float((second * apply_normal_operator(operator, first)).sum(dtype=np.float64))
    right = float((first * apply_normal_operator(operator, second)).sum(dtype=np.float64))
    assert abs(left - right) < 1e-4 * scale  # single precision, sums of n_l n_m terms of either sign
    assert float((first * apply_normal_operator(operator, first)).sum(dtype=np.float64)) > -1e-4 * scale


@reproducible
@given(seeds, grids, st.floats(0.02, 1.0), st.integers(1, 300))
def test_a_minor_cycle_ends_at_its_goal_or_its_budget(seed: int, grid: ImageGrid, gain: float, iterations: int) -> None:
    rng = np.random.default_rng(seed)
    uvw_m = draw_uvw(rng, grid)
    weights = rng.uniform(0.1, 2, len(uvw_m)).astype(np.float32)
    psf = make_large_psf(uvw_m, 1.4e9, weights, grid)
    sky = np.zeros(grid.shape, np.float32)
    sky[tuple(rng.integers(0, min(grid.shape), (2, 4)))] = rng.uniform(0.1, 1, 4)
    dirty = apply_normal_operator(make_normal_operator(psf, uvw_m, 1.4e9, weights, grid, (0.0,)), sky)
    goal = 0.3 * float(np.abs(dirty).max())
    result = clean_minor_cycle(dirty, psf, gain=gain, goal=goal, max_iterations=iterations)
    assert result.iterations <= iterations
    assert result.peak <= goal or result.iterations == iterations
    assert np.isfinite(result.model).all()
    assert abs(result.flux - result.model.sum(dtype=np.float64)) < 1e-5 * np.abs(result.fluxes).sum()


@reproducible
@given(seeds, grids, w_terms)
def test_a_bright_point_source_is_cleaned_to_its_flux(seed: int, grid: ImageGrid, w_term: bool) -> None:
    rng = np.random.default_rng(seed)
    uvw_m = draw_uvw(rng, grid, n_rows=300)
    i, j = (int(rng.integers(4, n - 4)) for n in grid.shape)
    model = np.zeros(grid.shape, np.float32)
    model[i, j] = 2.5
    visibilities = predict(model, uvw_m, FREQUENCY_HZ[:1], grid)[:, 0].astype(np.complex64)
    weights = rng.uniform(0.5, 2, len(uvw_m)).astype(np.float32)
    plane = image_plane(
        uvw_m, float(FREQUENCY_HZ[0]), visibilities, weights, grid, IterationControl(threshold=0.01, max_cycles=30)
    )
    assert np.unravel_index(plane.model.argmax(), grid.shape) == (i, j)
    assert abs(plane.model[i, j] + plane.residual[i, j] - 2.5) < 0.02


@reproducible
@given(seeds, st.integers(1, 12), st.integers(0, 12))
def test_moments_do_not_depend_on_how_the_channels_are_cut(seed: int, n_channels: int, cut_at: int) -> None:
    rng = np.random.default_rng(seed)
    cube = rng.uniform(-0.2, 1, (n_channels, 5, 7)).astype(np.float32)
    velocity = 1000 + 10 * rng.random(n_channels)

    def add(channels: range) -> MomentSums:
        sums = create_moment_sums((5, 7))
        for k in channels:
            sums = add_plane_to_moments(sums, cube[k], float(velocity[k]), 2.0, cut=0.1)
        return sums

    middle = min(cut_at, n_channels)
    whole = compute_moments(add(range(n_channels)))
    parts = compute_moments(merge_moment_sums(add(range(middle)), add(range(middle, n_channels))))
    np.testing.assert_allclose(parts.intensity, whole.intensity, rtol=1e-6)
    np.testing.assert_allclose(parts.velocity, whole.velocity, rtol=1e-6)
    np.testing.assert_array_equal(parts.n_channels, whole.n_channels)
    counted = whole.n_channels > 0
    assert (whole.velocity[counted] >= velocity.min() * (1 - 1e-6)).all()
    assert (whole.velocity[counted] <= velocity.max() * (1 + 1e-6)).all()


@reproducible
@given(st.integers(1, 100_000))
def test_a_good_size_is_a_little_larger_and_has_small_factors(size: int) -> None:
    found = find_good_size(size)
    assert max(size, 32) <= found <= max(1.2 * size, 32)
    assert found % 2 == 0
    for factor in (2, 3, 5, 7):
        while found % factor == 0:
            found //= factor
    assert found == 1
