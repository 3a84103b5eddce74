"""Imaging weights against a slow, direct writing of CASA's formulae, and against CASA's figures for real data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.array import baselines, uvw_from_positions, vla_array
from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid
from radps.domain.weights import DensityCells, Weighting, briggs_factor, density_grid, imaging_weights, taper_weights
from radps.errors import DataError

GRID = ImageGrid(96, 80, math.radians(12 / 3600))
FREQUENCY_HZ = np.array([1.40e9, 1.41e9, 1.42e9])


@pytest.fixture(scope="module")
def uvw_m() -> NDArray[np.float64]:
    time_s = 1.7e9 + np.linspace(0, 3 * 3600, 6)
    return uvw_from_positions(vla_array("C", 12).positions_m, time_s, 1.0, 0.6, baselines(12)).reshape(-1, 3)


@pytest.fixture(scope="module")
def weights(uvw_m: NDArray[np.float64]) -> NDArray[np.float32]:
    rng = np.random.default_rng(4)
    result = rng.uniform(0.5, 2.0, (len(uvw_m), len(FREQUENCY_HZ))).astype(np.float32)
    result[rng.random(result.shape) < 0.1] = 0
    return result


def find_cell(u: float, v: float, cells: DensityCells = DensityCells.BETWEEN) -> tuple[int, int] | None:
    """CASA's cell of a sample; l runs against the index, so u does too."""
    to_cell = math.floor if cells is DensityCells.BETWEEN else round
    i = to_cell(-GRID.n_l * GRID.cell_size_rad * u + GRID.n_l // 2)
    j = to_cell(GRID.n_m * GRID.cell_size_rad * v + GRID.n_m // 2)
    return (i, j) if 0 < i < GRID.n_l and 0 < j < GRID.n_m else None


def slow_density(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    weights: NDArray[np.float32],
    cells: DensityCells = DensityCells.BETWEEN,
) -> dict[tuple[int, int], float]:
    density: dict[tuple[int, int], float] = {}
    for row in range(len(uvw_m)):
        for channel, frequency in enumerate(frequency_hz):
            u, v = uvw_m[row, :2] * frequency / SPEED_OF_LIGHT_M_S
            for cell in (find_cell(u, v, cells), find_cell(-u, -v, cells)):
                if cell is not None:
                    density[cell] = density.get(cell, 0.0) + float(weights[row, channel])
    return density


def slow_weights(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    weights: NDArray[np.float32],
    density: dict[tuple[int, int], float],
    robust: float | None,
    cells: DensityCells = DensityCells.BETWEEN,
) -> NDArray[np.float64]:
    """Uniform weights if ``robust`` is None, else Briggs'."""
    squares, total = sum(w * w for w in density.values()), sum(density.values())
    factor = 0.0 if robust is None else (5 * 10**-robust) ** 2 / (squares / total)
    result = np.zeros(weights.shape)
    for row in range(len(uvw_m)):
        for channel, frequency in enumerate(frequency_hz):
            u, v = uvw_m[row, :2] * frequency / SPEED_OF_LIGHT_M_S
            cell = find_cell(u, v, cells)
            if cell is not None and weights[row, channel] > 0:
                below = density[cell] if robust is None else 1 + density[cell] * factor
                result[row, channel] = weights[row, channel] / below
    return result


def test_natural_weights_are_the_data_weights(uvw_m: NDArray[np.float64], weights: NDArray[np.float32]) -> None:
    result = imaging_weights(uvw_m, FREQUENCY_HZ, weights, GRID, weighting=Weighting.NATURAL)
    np.testing.assert_array_equal(result, weights)
    assert not np.shares_memory(result, weights)


def test_density_counts_each_sample_at_both_of_its_places(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32]
) -> None:
    expected = np.zeros(GRID.shape)
    for cell, value in slow_density(uvw_m, FREQUENCY_HZ, weights).items():
        expected[cell] = value
    np.testing.assert_allclose(density_grid(uvw_m, FREQUENCY_HZ, weights, GRID), expected, rtol=1e-12)


@pytest.mark.parametrize("robust", [None, -2.0, 0.0, 0.5, 2.0])
@pytest.mark.parametrize(
    ("n_channels", "cells"), [(1, DensityCells.BETWEEN), (1, DensityCells.AROUND), (3, DensityCells.BETWEEN)]
)
def test_uniform_and_briggs_are_the_formulae_of_casa(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32], robust: float | None, n_channels: int, cells: DensityCells
) -> None:
    frequency_hz, part = FREQUENCY_HZ[:n_channels], weights[:, :n_channels]
    density = slow_density(uvw_m, frequency_hz, part, cells)
    expected = slow_weights(uvw_m, frequency_hz, part, density, robust, cells)
    weighting = Weighting.UNIFORM if robust is None else Weighting.BRIGGS
    result = imaging_weights(uvw_m, frequency_hz, part, GRID, weighting=weighting, robust=robust or 0.0, cells=cells)
    np.testing.assert_allclose(result, expected, rtol=1e-6)  # single precision
    assert result.dtype == np.float32
    assert result.max() > 0


def test_the_common_density_of_channels_is_the_sum_of_theirs(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32]
) -> None:
    channels = [slice(k, k + 1) for k in range(len(FREQUENCY_HZ))]
    common = sum(density_grid(uvw_m, FREQUENCY_HZ[c], weights[:, c], GRID) for c in channels)
    whole = imaging_weights(uvw_m, FREQUENCY_HZ, weights, GRID)
    for c in channels:
        part = imaging_weights(uvw_m, FREQUENCY_HZ[c], weights[:, c], GRID, density=np.asarray(common))
        # the order of the sum differs: double precision, stored in single
        np.testing.assert_allclose(part, whole[:, c], rtol=1e-6)
    alone = imaging_weights(uvw_m, FREQUENCY_HZ[:1], weights[:, :1], GRID)
    assert not np.allclose(alone, whole[:, :1], rtol=0.1)


def test_briggs_lies_between_uniform_and_natural(uvw_m: NDArray[np.float64], weights: NDArray[np.float32]) -> None:
    def normalised(weighting: Weighting, robust: float = 0.0) -> NDArray[np.float32]:
        result = imaging_weights(uvw_m, FREQUENCY_HZ, weights, GRID, weighting=weighting, robust=robust)
        return result / result.sum()

    inside = normalised(Weighting.UNIFORM) > 0
    natural = np.where(inside, weights, 0) / weights[inside].sum()
    # f^2 W = 25e4 W^2/<W> and 25e-4 W^2/<W>: at the ends all but a percent is gone
    np.testing.assert_allclose(
        normalised(Weighting.BRIGGS, -2)[inside], normalised(Weighting.UNIFORM)[inside], rtol=0.01
    )
    np.testing.assert_allclose(normalised(Weighting.BRIGGS, 2)[inside], natural[inside], rtol=0.02)


def test_uniform_and_briggs_weights_do_not_depend_on_the_scale_of_the_data_weights(
    uvw_m: NDArray[np.float64], weights: NDArray[np.float32]
) -> None:
    uniform = imaging_weights(uvw_m, FREQUENCY_HZ, weights, GRID, weighting=Weighting.UNIFORM)
    scaled = imaging_weights(uvw_m, FREQUENCY_HZ, weights * 8, GRID, weighting=Weighting.UNIFORM)
    np.testing.assert_allclose(uniform, scaled, rtol=1e-6)
    briggs = imaging_weights(uvw_m, FREQUENCY_HZ, weights, GRID)
    np.testing.assert_allclose(8 * briggs, imaging_weights(uvw_m, FREQUENCY_HZ, weights * 8, GRID), rtol=1e-6)


def test_samples_outside_of_the_grid_and_unused_ones_get_no_weight(uvw_m: NDArray[np.float64]) -> None:
    some = uvw_m[:4].copy()
    half_grid_m = SPEED_OF_LIGHT_M_S / 1.4e9 / GRID.cell_size_rad / 2
    some[0] = [1.01 * half_grid_m, 0, 0]
    some[1] = [0, -1.01 * half_grid_m, 0]
    some[2] = np.nan
    weights = np.array([[1.0], [1.0], [0.0], [1.0]], np.float32)
    for weighting in (Weighting.UNIFORM, Weighting.BRIGGS):
        result = imaging_weights(some, np.array([1.4e9]), weights, GRID, weighting=weighting)
        assert (result[:, 0] > 0).tolist() == [False, False, False, True]


def test_a_taper_alone_makes_a_beam_of_its_width() -> None:
    """Of points that fill the uv-plane far beyond it, the PSF is the Gaussian itself."""
    width_rad, frequency_hz = 1e-3, np.array([1.4e9])
    axis = np.arange(-32, 33) / (8 * width_rad)  # [wavelengths], up to where the taper is 1e-25
    u, v = (one.ravel() for one in np.meshgrid(axis, axis))
    uvw_m = np.stack([u, v, 0 * u], axis=1) * SPEED_OF_LIGHT_M_S / frequency_hz[0]
    weights = taper_weights(uvw_m, frequency_hz, np.ones((len(u), 1), np.float32), width_rad)
    assert weights.dtype == np.float32
    for angle in (0.0, 0.7):
        l, m = 0.5 * width_rad * math.cos(angle), 0.5 * width_rad * math.sin(angle)
        psf = np.sum(weights[:, 0].astype(float) * np.cos(2 * np.pi * (u * l + v * m))) / weights.sum(dtype=float)
        assert psf == pytest.approx(0.5, rel=1e-6)  # weights of single precision


def test_a_taper_follows_the_frequency(uvw_m: NDArray[np.float64], weights: NDArray[np.float32]) -> None:
    """Channels of half the frequency see baselines of half the length."""
    low, high = (taper_weights(uvw_m * factor, FREQUENCY_HZ / factor, weights, 1e-3) for factor in (1.0, 2.0))
    np.testing.assert_allclose(low, high, rtol=1e-6)
    assert (low <= weights).all()


def test_without_samples_all_weights_are_zero() -> None:
    none = np.zeros((2, 1), np.float32)
    for weighting in Weighting:
        result = imaging_weights(np.ones((2, 3)), np.array([1e9]), none, GRID, weighting=weighting)
        assert (result == 0).all()
    assert briggs_factor(np.zeros((4, 4)), 0.0) == 0.0


def test_wrong_arguments_are_named(uvw_m: NDArray[np.float64], weights: NDArray[np.float32]) -> None:
    with pytest.raises(DataError, match=r"robustness 2\.5: allowed are -2"):
        imaging_weights(uvw_m, FREQUENCY_HZ, weights, GRID, robust=2.5)
    with pytest.raises(DataError, match=r"density of shape \(3, 3\) for an image of shape \(96, 80\)"):
        imaging_weights(uvw_m, FREQUENCY_HZ, weights, GRID, density=np.ones((3, 3)))
