"""Image grids, good sizes and the need for the w-term, against numbers worked out by hand."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest

from radps.domain.geometry import (
    SPEED_OF_LIGHT_M_S,
    ImageGrid,
    find_good_size,
    needs_w_term,
    suggest_cell_size,
    suggest_image_size,
    w_phase_error,
)
from radps.errors import DataError

ARCSEC = math.radians(1 / 3600)


def test_l_decreases_m_increases_and_the_centre_is_pixel_n_half() -> None:
    grid = ImageGrid(64, 48, 2e-5)
    assert grid.shape == (64, 48)
    assert grid.l[32] == grid.m[24] == 0
    np.testing.assert_allclose(np.diff(grid.l), -2e-5, rtol=1e-12)
    np.testing.assert_allclose(np.diff(grid.m), 2e-5, rtol=1e-12)
    assert (grid.l[0], grid.m[0]) == pytest.approx((32 * 2e-5, -24 * 2e-5))


def test_n_minus_1_keeps_its_digits_close_to_the_centre() -> None:
    grid = ImageGrid(32, 32, 1e-7)
    getcontext().prec = 50
    l, m = Decimal(float(grid.l[20])), Decimal(float(grid.m[5]))
    exact = (1 - l * l - m * m).sqrt() - 1
    assert grid.n_minus_1[20, 5] == pytest.approx(float(exact), rel=1e-14)
    assert grid.n_minus_1[16, 16] == 0


def test_the_corner_has_the_largest_1_minus_n() -> None:
    grid = ImageGrid(64, 48, 1e-3)
    assert grid.max_1_minus_n == pytest.approx(float(-grid.n_minus_1.min()), rel=1e-12)
    assert grid.n_minus_1[0, 0] == grid.n_minus_1.min()


def test_a_resized_grid_keeps_its_cells() -> None:
    assert ImageGrid(64, 48, 1e-3).resized(128, 96) == ImageGrid(128, 96, 1e-3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((63, 64, 1e-5), "n_l = 63 pixels: must be even .* use 64"),
        ((64, 16, 1e-5), "n_m = 16 pixels.*at least 32; use 32"),
        ((64, 64, 0.0), "cell size 0.0 rad"),
        ((64, 64, math.nan), "cell size nan rad"),
        ((64, 64, 0.03), "beyond the horizon"),
    ],
)
def test_impossible_grids_are_refused_with_the_remedy(arguments: tuple[int, int, float], text: str) -> None:
    with pytest.raises(DataError, match=text):
        ImageGrid(*arguments)


def test_good_sizes_are_even_and_have_small_factors_only() -> None:
    assert [find_good_size(size) for size in (1, 32, 33, 101, 257)] == [32, 32, 36, 108, 270]
    products = {2**a * 3**b * 5**c * 7**d for a in range(1, 12) for b in range(7) for c in range(5) for d in range(4)}
    for size in range(1, 1200):
        found = find_good_size(size)
        assert found == min(product for product in products if product >= max(size, 32))


def test_the_cell_is_a_quarter_of_the_beam_of_the_longest_baseline() -> None:
    wavelength = SPEED_OF_LIGHT_M_S / 1.42e9
    assert suggest_cell_size(1030.0, 1.42e9) == pytest.approx(wavelength / 1030 / 4)
    with pytest.raises(DataError, match=r"longest baseline of 0\.0 m"):
        suggest_cell_size(0.0, 1.42e9)


def test_the_image_covers_the_field_of_view() -> None:
    assert suggest_image_size(512 * 3 * ARCSEC * 0.999, 3 * ARCSEC) == 512
    assert suggest_image_size(10 * ARCSEC, 3 * ARCSEC) == 32


def test_suggested_images_stay_above_the_horizon() -> None:
    # Dipoles of 2 m at 28 MHz would have beams of 5.4 radians.
    for cell in (0.027, 1e-3, 2.5e-4):
        size = suggest_image_size(2 * 5.4, cell)
        assert ImageGrid(size, size, cell).corner_radius_squared < 0.75
        assert size * cell > 1.0


def test_phase_error_of_the_longest_w_at_the_corner() -> None:
    grid = ImageGrid(512, 512, 3 * ARCSEC)
    uvw = np.array([[0.0, 0.0, 100.0], [0.0, 0.0, -2000.0], [np.nan, np.nan, np.nan]])
    radius = 256 * math.sqrt(2) * 3 * ARCSEC
    expected = 2 * math.pi * 2000 * 1.4e9 / SPEED_OF_LIGHT_M_S * (1 - math.sqrt(1 - radius**2))
    # 1 - sqrt(1 - r^2) loses 5 of its 16 digits here, the tested code none
    assert w_phase_error(uvw, 1.4e9, grid) == pytest.approx(expected, rel=1e-9)


def test_the_w_term_is_needed_above_the_allowed_phase_error() -> None:
    grid = ImageGrid(512, 512, 3 * ARCSEC)
    uvw = np.array([[0.0, 0.0, 2000.0]])
    error = w_phase_error(uvw, 1.4e9, grid)
    assert needs_w_term(uvw, 1.4e9, grid, max_phase_error=0.99 * error)
    assert not needs_w_term(uvw, 1.4e9, grid, max_phase_error=1.01 * error)
    assert not needs_w_term(np.zeros((5, 3)), 1.4e9, grid)
