"""Visibilities of model images against the exact sum over their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from radps.domain.geometry import ImageGrid
from radps.domain.model_image import place_image, predict_model_image, predict_taylor_images
from radps.domain.multiterm import predict_terms, spectral_powers
from radps.domain.sky import Component, direction_cosines, predict_components, sky_position
from radps.errors import DataError

GRID = ImageGrid(48, 64, np.deg2rad(10 / 3600))
FREQUENCY = np.array([1.30e9, 1.38e9, 1.42e9])


def directions(grid: ImageGrid, center: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    l, m = (positions[[0, len(positions) // 2, -1]] for positions in (grid.l, grid.m))
    return sky_position(l[:, None], m[None, :], *center)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (2e-4, -1e-4)])
def test_visibilities_are_the_sum_over_the_pixels(offset: tuple[float, float]) -> None:
    rng = np.random.default_rng(5)
    uvw = rng.normal(scale=(600.0, 600.0, 200.0), size=(40, 3))
    center = (1.0, 0.6)
    field = center[0] + offset[0] / np.cos(center[1]), center[1] + offset[1]
    place = place_image(GRID, *direction_cosines(*directions(GRID, center), *field))
    image = np.zeros(GRID.shape)
    pixels = [(3, 60, 1.0), (24, 32, 2.0), (40, 10, -0.5)]
    for i, j, flux in pixels:
        image[i, j] = flux
    spectrum = np.array([1.1, 1.0, 0.9])
    found = predict_model_image(image, uvw, FREQUENCY, place, spectrum)
    exact = np.zeros_like(found)
    for i, j, flux in pixels:
        true_l, true_m = direction_cosines(*sky_position(GRID.l[i], GRID.m[j], *center), *field)
        l, m = place.center[0] + GRID.l[i], place.center[1] + GRID.m[j]
        assert np.hypot(l - true_l, m - true_m) < 0.1 * GRID.cell_size_rad
        exact += spectrum * predict_components(uvw, FREQUENCY, [Component(l, m, flux)])
    assert np.abs(found - exact).max() < 1e-6  # the accuracy of the gridder, 1e-7 of 3.5 Jy
    assert np.abs(place.center) == pytest.approx(np.abs(offset), rel=1e-3, abs=1e-12)
    if any(offset):
        centred = predict_model_image(image, uvw, FREQUENCY, place._replace(center=(0.0, 0.0)), spectrum)
        assert np.abs(centred - exact).max() > 0.5


def test_a_channel_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(6)
    uvw, image = rng.normal(scale=500.0, size=(20, 3)), rng.random(GRID.shape)
    place = place_image(GRID, *direction_cosines(*directions(GRID, (1.0, 0.6)), 1.0, 0.6))
    whole = predict_model_image(image, uvw, FREQUENCY, place, np.ones(3))
    part = predict_model_image(image, uvw, FREQUENCY[1:2], place, np.ones(1))
    np.testing.assert_array_equal(whole[:, 1:2], part)


def test_an_image_about_another_place_is_refused() -> None:
    l, m = direction_cosines(*directions(GRID, (1.05, 0.6)), 1.0, 0.6)
    with pytest.raises(DataError, match=r"pixels away from a grid about the phase centre .* degrees off it: regrid it"):
        place_image(GRID, l, m)


def test_taylor_terms_are_a_series_in_the_logarithm_of_frequency() -> None:
    rng = np.random.default_rng(7)
    uvw = rng.normal(scale=(600.0, 600.0, 200.0), size=(30, 3))
    place = place_image(GRID, *direction_cosines(*directions(GRID, (1.0, 0.6)), 1.0, 0.6))
    terms = np.zeros((2, *GRID.shape), np.float32)
    terms[:, 10, 40], terms[:, 30, 20] = (1.0, -0.7), (0.5, 0.2)
    found = predict_taylor_images(terms, uvw, FREQUENCY, place, 1.4e9)
    x = np.log(FREQUENCY / 1.4e9)
    exact = sum(
        (terms[0, i, j] + terms[1, i, j] * x)
        * predict_components(uvw, FREQUENCY, [Component(GRID.l[i], GRID.m[j], 1.0)])
        for i, j in ((10, 40), (30, 20))
    )
    assert np.abs(found - exact).max() < 3e-5  # single precision: 1e-5 of 1.5 Jy
    powers = spectral_powers(FREQUENCY, 1.4e9, 2)  # as continuum images have them
    imaged = predict_terms(terms, uvw, FREQUENCY, GRID, powers, epsilon=1e-5, w_term=True)
    assert np.abs(found - imaged).max() < 3e-5
    flat = predict_taylor_images(terms[:1], uvw, FREQUENCY, place, 1.4e9)
    assert np.abs(flat - exact).max() > 0.05
