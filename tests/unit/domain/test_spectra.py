"""Spectra of regions and the lines in them, against known fluxes, widths and errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from radps.domain.spectra import make_circle, measure_line, measure_line_free, measure_region
from radps.errors import DataError

SIDE = 64
FWHM = 4.0
"""Of the beam [pixel]."""
AREA = math.pi / (4 * math.log(2)) * FWHM**2
TO_SIGMA = 1 / math.sqrt(8 * math.log(2))


def test_a_source_within_the_circle_has_its_flux_density() -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    source = 0.3 * np.exp(-4 * np.log(2) * ((rows - 30) ** 2 + (columns - 20) ** 2) / FWHM**2)
    circle = make_circle((SIDE, SIDE), (30, 20), 8.0)
    assert circle.sum() == np.sum((rows - 30) ** 2 + (columns - 20) ** 2 <= 64)
    found = measure_region(source.astype(np.float32), circle, 0.01, AREA)
    assert found.flux_jy == pytest.approx(0.3, rel=1e-4)  # two beams out nothing is left: exp(-11)
    assert found.error_jy == pytest.approx(0.01 * math.sqrt(circle.sum() / AREA))
    assert measure_region(source.astype(np.float32), ~circle, 0.01, AREA).flux_jy < 1e-4


def test_the_error_is_the_scatter_of_sums_over_noise_of_the_beam() -> None:
    rng = np.random.default_rng(1)
    circle = make_circle((SIDE, SIDE), (32, 32), 14.0)
    fluxes, errors = [], []
    for _ in range(300):
        # noise whose autocorrelation is the beam
        plane = gaussian_filter(rng.standard_normal((SIDE, SIDE)), FWHM / math.sqrt(2) * TO_SIGMA, mode="wrap")
        plane = (plane / plane.std()).astype(np.float32)
        found = measure_region(plane, circle, 1.0, AREA)
        fluxes.append(found.flux_jy)
        errors.append(found.error_jy)
    # 300 draws: 4 %; the noise at the edge of the circle has half of its neighbours outside: up to 15 %
    assert np.std(fluxes) == pytest.approx(np.mean(errors), rel=0.2)


def test_the_primary_beam_raises_the_error_and_blanked_pixels_do_not_count() -> None:
    plane = np.ones((8, 8), np.float32)
    plane[:, 6:] = np.nan
    pattern = np.full((8, 8), 0.5, np.float32)
    every = np.ones((8, 8), np.bool_)
    plain = measure_region(plane, every, 0.1, 4.0)
    corrected = measure_region(plane, every, 0.1, 4.0, pattern)
    assert (plain.flux_jy, plain.n_pixels) == (12.0, 48)
    assert corrected.error_jy == pytest.approx(2 * plain.error_jy)
    assert math.isnan(measure_region(plane, every, 0.1, math.nan).flux_jy)
    assert math.isnan(measure_region(plane, ~every, 0.1, 4.0).error_jy)
    one = np.zeros((8, 8), np.bool_)
    one[3, 3] = True
    assert measure_region(plane, one, 0.1, 4.0).error_jy == pytest.approx(0.1)  # never less than one beam


@pytest.mark.parametrize("step", [4.0, -4.0])
def test_a_gaussian_line_has_its_widths_and_velocity(step: float) -> None:
    velocity = 1400 + np.arange(50) * step
    middle = 1400 + 24.3 * step
    flux = 0.2 * np.exp(-4 * np.log(2) * ((velocity - middle) / 60) ** 2)
    found = measure_line(velocity, flux, np.full(50, 1e-4))
    assert found is not None
    # straight lines between channels of 4 km/s
    assert found.width_50_km_s == pytest.approx(60, abs=0.3)
    assert found.width_20_km_s == pytest.approx(60 * math.sqrt(math.log(5) / math.log(2)), abs=0.3)
    assert found.systemic_velocity_km_s == pytest.approx(middle, abs=0.05)
    assert found.peak_jy == pytest.approx(0.2, rel=1e-2)


def test_a_line_of_two_horns_has_its_outer_widths() -> None:
    velocity = np.arange(0, 400, 5.0)
    flux = np.where(np.abs(velocity - 200) <= 80, 0.03, 0.0) + np.where(
        np.abs(np.abs(velocity - 200) - 75) <= 5, 0.1, 0
    )
    found = measure_line(velocity, flux, np.full(velocity.size, 1e-3))
    assert found is not None
    assert found.width_50_km_s == pytest.approx(165, abs=2.5)
    assert found.systemic_velocity_km_s == pytest.approx(200, abs=0.1)


def test_errors_of_velocity_and_widths_are_no_smaller_than_their_scatter() -> None:
    rng = np.random.default_rng(2)
    velocity = np.arange(-150, 150, 5.0)
    truth = np.exp(-4 * np.log(2) * ((velocity - 3.7) / 80) ** 2)
    lines = [
        measure_line(velocity, truth + rng.normal(0, 0.04, velocity.size), np.full(velocity.size, 0.04))
        for _ in range(200)
    ]
    assert all(line is not None for line in lines)
    middles = np.array([line.systemic_velocity_km_s for line in lines if line])
    errors = np.array([line.systemic_velocity_error_km_s for line in lines if line])
    assert np.abs(middles.mean() - 3.7) < 0.5
    ratio = middles.std() / np.median(errors)
    assert 0.2 < ratio < 1.2  # the formula is an upper bound for smooth profiles: it was fitted to HI profiles


def test_noise_is_no_line_and_what_cannot_be_told_is_nan() -> None:
    velocity = np.arange(40) * 5.0
    noise = np.random.default_rng(3).normal(0, 1, 40)
    assert measure_line(velocity, noise, np.ones(40)) is None
    assert measure_line(velocity, np.full(40, np.nan), np.ones(40)) is None
    edge = np.where(np.arange(40) < 10, 10.0, 0.0)
    found = measure_line(velocity, edge, np.ones(40))
    assert found is not None
    assert math.isnan(found.width_50_km_s)
    assert math.isnan(found.systemic_velocity_error_km_s)
    weak = 6.0 * np.exp(-4 * np.log(2) * ((velocity - 100) / 30) ** 2)
    found = measure_line(velocity, weak, np.ones(40))
    assert found is not None
    assert math.isfinite(found.width_50_km_s)
    assert math.isnan(found.width_20_km_s)  # 20 % of the peak are 1.2 sigma


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (2.0, 1.0), (0.0, 3.0)])
def test_channels_beside_a_line_tell_its_base_and_whether_the_errors_are_right(offset: float, scale: float) -> None:
    velocity = np.arange(-400, 400, 2.0)
    line = 60 * np.exp(-4 * np.log(2) * (velocity / 80) ** 2)
    flux = line + offset + np.random.default_rng(4).normal(0, scale, velocity.size)
    flux[3] = np.nan
    flux[10] = 10.0  # interference below the level of W20
    error = np.ones(velocity.size)
    found = measure_line_free(velocity, flux, error, measure_line(velocity, flux, error))
    # 122 km/s on either side of the middle are left out
    assert 250 < found.n_channels < 285
    assert found.offset == pytest.approx(offset, abs=4 * scale / math.sqrt(270))
    assert found.scatter == pytest.approx(scale, rel=0.15)  # 4 sigma of 270 channels, and 1 % that is clipped
    # without knowing the line its wings count
    assert measure_line_free(velocity, flux, error, None).n_channels > found.n_channels


def test_too_few_channels_beside_a_line_say_nothing() -> None:
    velocity = np.arange(40) * 5.0
    flux = np.full(40, np.nan)
    flux[:4] = 1.0
    found = measure_line_free(velocity, flux, np.ones(40), None)
    assert found.n_channels == 4
    assert math.isnan(found.offset)
    assert math.isnan(found.scatter)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(DataError, match=r"region of shape \(2, 2\) for a plane of shape \(4, 4\)"):
        measure_region(np.zeros((4, 4), np.float32), np.ones((2, 2), np.bool_), 1.0, 1.0)
    with pytest.raises(DataError, match="3 velocities, 2 flux densities and 3 errors: must be equally many"):
        measure_line(np.zeros(3), np.zeros(2), np.zeros(3))
