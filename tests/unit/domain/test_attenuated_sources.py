"""Extended sources behind a primary beam, against the integral of their product over a fine grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.attenuated_sources import see_through_beam
from radps.domain.primary_beam import Pattern, find_pattern
from radps.domain.sky import Component, predict_components
from radps.errors import ModelError

FREQUENCY_HZ = 1.4e9
HALF_POWER = math.radians(31.5 / 60)
"""Full width of the VLA's beam at half power at 1.4 GHz."""
SOURCE = Component(l=0.0, m=0.0, flux_jy=2.0, major_rad=0.25 * HALF_POWER, minor_rad=0.15 * HALF_POWER,
                   position_angle_rad=0.6)  # fmt: skip


def gaussian_beam(radius_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp2(-4 * (np.asarray(radius_rad) / HALF_POWER) ** 2))


def integrate(component: Component, pattern: Pattern, uv: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return visibilities, (row,), by a sum over a fine grid; ``uv`` (row, 2) [wavelengths]."""
    half = 2.5 * component.major_rad
    offsets = np.linspace(-half, half, 161)
    east, north = np.meshgrid(offsets, offsets, indexing="ij")
    angle = component.position_angle_rad
    along, across = east * math.sin(angle) + north * math.cos(angle), east * math.cos(angle) - north * math.sin(angle)
    brightness = np.exp2(-4 * ((along / component.major_rad) ** 2 + (across / component.minor_rad) ** 2))
    brightness *= component.flux_jy / brightness.sum()
    l, m = component.l + east, component.m + north
    brightness *= pattern(np.arcsin(np.hypot(l, m)))
    turns = uv[:, :1] * l.ravel() + uv[:, 1:] * m.ravel()
    return np.asarray(np.exp(2j * np.pi * turns) @ brightness.ravel())


def predict(component: Component, factor: float, uv: NDArray[np.float64]) -> NDArray[np.complex128]:
    uvw_m = np.concatenate([uv, np.zeros((len(uv), 1))], axis=1) * 299792458.0 / FREQUENCY_HZ
    flux = np.array([[factor * component.flux_jy]])
    return predict_components(uvw_m, np.array([FREQUENCY_HZ]), (component,), flux)[:, 0]


def baselines() -> NDArray[np.float64]:
    """Up to where the source is resolved out."""
    length = np.linspace(0.0, 1.2 / SOURCE.major_rad, 12)
    turn = 2.4 * np.arange(12)
    return np.stack([length * np.cos(turn), length * np.sin(turn)], axis=1)


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.2, -0.1), (-0.1, 0.45)])
def test_what_is_seen_has_the_visibilities_of_the_product(place: tuple[float, float]) -> None:
    component = SOURCE._replace(l=place[0] * HALF_POWER, m=place[1] * HALF_POWER)
    real = find_pattern("VLA", FREQUENCY_HZ)
    for pattern, tolerance in ((gaussian_beam, 1e-6), (real, 1.1e-3)):  # exact; third moments are left
        expected = integrate(component, pattern, baselines())
        seen = see_through_beam([component], pattern)
        found = predict(seen.components[0], float(seen.factors[0]), baselines())
        np.testing.assert_allclose(found, expected, atol=tolerance * component.flux_jy)
    if place != (0.0, 0.0):
        at_centre = float(real(np.arcsin(np.hypot(component.l, component.m))))
        assert abs(predict(component, at_centre, baselines()) - expected).max() > 0.005 * component.flux_jy


def test_points_keep_their_place_and_have_the_beam_there() -> None:
    points = [Component(l=0.1 * HALF_POWER, m=0.3 * HALF_POWER, flux_jy=1.0), Component(l=0.0, m=0.0, flux_jy=1.0)]
    seen = see_through_beam(points, gaussian_beam)
    assert seen.components == tuple(points)
    np.testing.assert_allclose(seen.factors, [2.0 ** (-4 * 0.1), 1.0], rtol=1e-5)  # radius = arcsin of l, m
    far = see_through_beam([points[0]._replace(l=3 * HALF_POWER)], gaussian_beam)
    np.testing.assert_array_equal(far.factors, [0.0])
    assert see_through_beam([], gaussian_beam).components == ()


def test_a_source_across_the_edge_of_the_main_lobe_is_refused() -> None:
    wide = SOURCE._replace(l=0.9 * HALF_POWER)
    text = r"a source of 7\.88 x 4\.73 arcmin at .* has \d+ % of its flux density beyond the main lobe .* at most 1 %"
    with pytest.raises(ModelError, match=text):
        see_through_beam([wide], find_pattern("VLA", FREQUENCY_HZ))
