"""Visibilities of components against a sum that is written down from the definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.domain.sky import (
    Component,
    component_flux,
    direction_cosines,
    predict_components,
    sine_cosine_of_turns,
    sky_position,
)
from radps.errors import ModelError

FREQUENCY = np.array([1.40e9, 1.41e9, 1.45e9, 1.30e9])
ARCMIN = math.radians(1 / 60)


def draw_uvw(seed: int = 1, scale_m: float = 1000.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(scale=scale_m, size=(12, 3))


def phase_of(uvw_m: NDArray[np.float64], frequency_hz: float, l: float, m: float) -> NDArray[np.float64]:
    """Return the phase of docs/conventions.md: + 2 pi (u l + v m + w (n - 1))."""
    u, v, w = uvw_m.T * frequency_hz / SPEED_OF_LIGHT_M_S
    return 2 * np.pi * (u * l + v * m + w * (math.sqrt(1 - l**2 - m**2) - 1))


def test_points_are_summed_by_the_definition() -> None:
    uvw = draw_uvw()
    points = [(0.0, 0.0, 1.0, 0.0), (0.01, -0.02, 0.5, -0.7), (-0.3, 0.4, 2.0, 1.5)]
    components = [Component(l, m, flux, 1.4e9, index) for l, m, flux, index in points]
    found = predict_components(uvw, FREQUENCY, components)
    for channel, frequency in enumerate(FREQUENCY):
        expected = sum(
            flux * (frequency / 1.4e9) ** index * np.exp(1j * phase_of(uvw, frequency, l, m))
            for l, m, flux, index in points
        )
        # up to 2,000 turns of phase at 1e-15 of a turn each, times 2 pi
        np.testing.assert_allclose(found[:, channel], expected, atol=3e-11)


def test_the_opposite_sign_of_phase_would_not_pass() -> None:
    uvw = draw_uvw()
    found = predict_components(uvw, FREQUENCY, [Component(0.01, 0.02, 1.0)])
    assert np.abs(found[:, 0] - np.exp(-1j * phase_of(uvw, FREQUENCY[0], 0.01, 0.02))).max() > 0.5


@pytest.mark.parametrize("position_angle", [0.0, 0.6, 2.5])
def test_a_gaussian_is_the_transform_of_its_image(position_angle: float) -> None:
    major, minor, l0, m0 = 3 * ARCMIN, 1.5 * ARCMIN, 2 * ARCMIN, -ARCMIN
    uvw = draw_uvw(2, 100.0)
    uvw[:, 2] = 0.0  # the w-term across a Gaussian is left out by definition
    # the image: coordinates along the axes, position angle from north (m) through east (l)
    axis = np.linspace(-8 * ARCMIN, 8 * ARCMIN, 161)
    l, m = np.meshgrid(axis, axis, indexing="ij")
    along = l * math.sin(position_angle) + m * math.cos(position_angle)
    across = l * math.cos(position_angle) - m * math.sin(position_angle)
    image = np.exp(-4 * math.log(2) * ((along / major) ** 2 + (across / minor) ** 2))
    image /= image.sum()
    component = Component(l0, m0, 2.0, major_rad=major, minor_rad=minor, position_angle_rad=position_angle)
    found = predict_components(uvw, FREQUENCY, [component])
    for channel, frequency in enumerate(FREQUENCY):
        u, v, _ = uvw.T * frequency / SPEED_OF_LIGHT_M_S
        kernel = np.exp(2j * np.pi * (u[:, None, None] * l + v[:, None, None] * m))
        expected = 2.0 * np.sum(image * kernel, axis=(1, 2)) * np.exp(2j * np.pi * (u * l0 + v * m0))
        # the sum over pixels of a smooth function that ends at 1e-8 of its peak
        np.testing.assert_allclose(found[:, channel], expected, atol=1e-7)
    assert np.abs(found).min() < 1.0  # the source is resolved


def test_spectra_have_index_curvature_and_line() -> None:
    component = Component(
        0.0,
        0.0,
        2.0,
        1e9,
        -0.7,
        spectral_curvature=(0.1, -0.05),
        line_peak_jy=0.5,
        line_center_hz=1.41e9,
        line_width_hz=20e6,
    )
    found = component_flux([component], FREQUENCY)[0]
    for value, frequency in zip(found, FREQUENCY, strict=True):
        x = math.log10(frequency / 1e9)
        continuum = 2.0 * 10 ** (-0.7 * x + 0.1 * x**2 - 0.05 * x**3)
        line = 0.5 * 0.5 ** ((2 * (frequency - 1.41e9) / 20e6) ** 2)  # one half at half the full width
        assert value == pytest.approx(continuum + line, rel=1e-12)


def test_flux_densities_may_be_given() -> None:
    uvw = draw_uvw()
    flux = np.array([[1.0, 2.0, 3.0, 4.0]])
    found = predict_components(uvw, FREQUENCY, [Component(0.01, 0.0, 99.0)], flux)
    np.testing.assert_allclose(np.abs(found), np.broadcast_to(flux, found.shape), rtol=1e-13)


def test_sine_and_cosine_are_exact_to_rounding_at_any_turn() -> None:
    for turns in [*np.linspace(-0.5, 0.5, 1001), 0.25, 1e6 + 0.125, -3.75]:
        angle = 2 * math.pi * (turns - round(turns))
        sine, cosine = sine_cosine_of_turns.py_func(turns)
        # as the docstring says
        assert sine == pytest.approx(math.sin(angle), abs=1e-14)
        assert cosine == pytest.approx(math.cos(angle), abs=1e-14)


def test_no_components_give_zero_and_no_uvw_gives_nan() -> None:
    uvw = draw_uvw()
    np.testing.assert_array_equal(predict_components(uvw, FREQUENCY, []), 0.0)
    uvw[3] = np.nan
    found = predict_components(uvw, FREQUENCY, [Component(0.01, 0.0, 1.0)])
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


@pytest.mark.parametrize("rows", [slice(0, 5), slice(3, 4), slice(7, 12)])
@pytest.mark.parametrize("channels", [slice(0, 1), slice(1, 4), slice(37, 200)])
def test_an_element_has_the_same_bits_in_whatever_block_it_is_asked_for(rows: slice, channels: slice) -> None:
    uvw = draw_uvw()
    frequency = 1.4e9 + 24.4e3 * np.arange(200)
    components = [Component(0.01, -0.02, 1.0, major_rad=ARCMIN, minor_rad=ARCMIN / 2), Component(0.1, 0.2, 0.5)]
    flux = component_flux(components, frequency)
    whole = predict_components(uvw, frequency, components, flux)
    part = predict_components(uvw[rows], frequency[channels], components, flux[:, channels])
    np.testing.assert_array_equal(part, whole[rows, channels])


def test_direction_cosines_are_those_of_vectors() -> None:
    rng = np.random.default_rng(3)
    center = (4.0, 0.6)
    ra, dec = center[0] + rng.uniform(-0.5, 0.5, 20), center[1] + rng.uniform(-0.5, 0.5, 20)

    def vector(ra: Any, dec: Any) -> NDArray[np.float64]:
        return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])

    to_center = vector(*center)
    east = np.array([-math.sin(center[0]), math.cos(center[0]), 0.0])
    north = np.cross(to_center, east)
    l, m = direction_cosines(ra, dec, *center)
    np.testing.assert_allclose(l, east @ vector(ra, dec), atol=1e-15)
    np.testing.assert_allclose(m, north @ vector(ra, dec), atol=1e-15)
    back = sky_position(l, m, *center)
    np.testing.assert_allclose(back, (ra, dec), rtol=1e-12)


def test_right_ascensions_are_between_0_and_a_full_turn() -> None:
    ra, _ = sky_position(-0.01, 0.0, 0.005, 0.0)
    assert float(ra) == pytest.approx(2 * math.pi + 0.005 - math.asin(0.01))


def test_a_direction_behind_the_horizon_is_refused() -> None:
    with pytest.raises(ModelError, match=r"a sky component lies 120.0 degrees from the phase centre"):
        direction_cosines(math.radians(120), 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("component", "text"),
    [
        (Component(0.0, 0.0, 1.0, 0.0), "reference frequency 0.0 Hz; it must be positive"),
        (Component(0.0, 0.0, 1.0, line_peak_jy=0.1), "a line of 0.1 Jy and the width 0.0 Hz"),
        (Component(0.8, 0.7, 1.0), r"l = 0.8, m = 0.7; .* in radians, not in degrees"),
    ],
)
def test_impossible_components_are_refused(component: Component, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        predict_components(draw_uvw(), FREQUENCY, [component])


def test_flux_densities_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(4, 1\); 1 components and 4 channels need \(1, 4\)"):
        predict_components(draw_uvw(), FREQUENCY, [Component(0.0, 0.0, 1.0)], np.ones((4, 1)))
