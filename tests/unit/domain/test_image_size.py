"""What is given up of an image that is too large: first the field of view, then pixels a beam, never more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radps.domain.geometry import MIN_IMAGE_SIZE, find_good_size
from radps.domain.image_size import PixelGoal, choose_pixels, count_image_bytes

GOAL = PixelGoal(
    beam_rad=2e-4,
    primary_beam_rad=1e-2,
    field_of_view=2.0,
    min_field_of_view=1.0,
    pixels_per_beam=4.0,
    min_pixels_per_beam=3.0,
)
"""400 pixels wanted, 150 at least."""


def test_an_image_that_fits_is_as_wanted() -> None:
    found = choose_pixels(GOAL, 10, count_image_bytes(400, 10))
    assert found == (400, 5e-5, 2.0, 4.0)


def test_what_is_below_the_horizon_is_not_in_the_field_of_view() -> None:
    found = choose_pixels(GOAL._replace(beam_rad=0.04, primary_beam_rad=1.0), 10, 1e9)
    assert found.image_size * found.cell_size_rad <= 1.2
    assert found.field_of_view == pytest.approx(found.image_size * 0.01)


def test_the_field_of_view_shrinks_first() -> None:
    found = choose_pixels(GOAL, 10, count_image_bytes(300, 10))
    assert found.image_size == 300
    assert found.cell_size_rad == 5e-5
    assert found.field_of_view == pytest.approx(1.5)


def test_pixels_grow_once_the_field_of_view_is_at_its_limit() -> None:
    found = choose_pixels(GOAL, 10, count_image_bytes(160, 10))
    assert found.image_size == 160
    assert found.field_of_view == 1.0
    assert found.image_size * found.cell_size_rad == pytest.approx(1e-2)
    assert found.pixels_per_beam == pytest.approx(3.2)


def test_an_image_that_cannot_fit_stays_at_its_limits_and_too_large() -> None:
    found = choose_pixels(GOAL, 10, 1000.0)
    assert (found.image_size, found.field_of_view, found.pixels_per_beam) == (150, 1.0, 3.0)
    assert count_image_bytes(found.image_size, 10) > 1000.0


@given(st.floats(1e3, 1e9), st.integers(1, 5000), st.floats(0.5, 4.0), st.floats(2.0, 8.0))
def test_limits_hold_whatever_is_asked(max_bytes: float, n_channels: int, width: float, per_beam: float) -> None:
    goal = GOAL._replace(
        field_of_view=width,
        min_field_of_view=width / 2,
        pixels_per_beam=per_beam,
        min_pixels_per_beam=max(2.0, per_beam / 2),
    )
    found = choose_pixels(goal, n_channels, max_bytes)
    assert find_good_size(found.image_size) == found.image_size
    assert goal.min_field_of_view <= found.field_of_view <= goal.field_of_view
    assert goal.min_pixels_per_beam * (1 - 1e-9) <= found.pixels_per_beam <= goal.pixels_per_beam
    if found.image_size > MIN_IMAGE_SIZE and count_image_bytes(found.image_size, n_channels) > max_bytes:
        assert (found.field_of_view, found.pixels_per_beam) == (goal.min_field_of_view, goal.min_pixels_per_beam)
