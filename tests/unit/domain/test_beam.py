"""Beams against Gaussians of known shape, against CASA, and primary beams against measured widths."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from radps.domain.beam import (
    NO_BEAM,
    VLA_PRIMARY_BEAM,
    RestoringBeam,
    convolve_with_beam,
    correct_primary_beam,
    fit_restoring_beam,
    gaussian_image,
    primary_beam,
    restore_image,
)
from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid
from radps.errors import DataError

ARCSEC = math.radians(1 / 3600)
GRID = ImageGrid(96, 80, 3 * ARCSEC)


@pytest.mark.parametrize("angle", [-89, -45, 0, 16.8, 60, 90])
@pytest.mark.parametrize(("major", "minor"), [(20, 12), (60, 50), (90, 15)])
def test_a_gaussian_is_recovered(major: float, minor: float, angle: float) -> None:
    truth = RestoringBeam(major * ARCSEC, minor * ARCSEC, math.radians(angle))
    found = fit_restoring_beam(gaussian_image(truth, GRID).astype(np.float32), GRID)
    # cubic interpolation of 4 pixels a FWHM is wrong by 3e-3 of it
    assert found.major_rad == pytest.approx(truth.major_rad, rel=5e-3)
    assert found.minor_rad == pytest.approx(truth.minor_rad, rel=5e-3)
    turn = (found.position_angle_rad - truth.position_angle_rad + math.pi / 2) % math.pi - math.pi / 2
    assert abs(turn) < math.radians(0.3)
    assert -math.pi / 2 <= found.position_angle_rad <= math.pi / 2


def test_the_position_angle_counts_from_north_through_east() -> None:
    psf = np.zeros(GRID.shape, np.float32)
    for step in range(-6, 7):  # a ridge to the north-east: l to lower i, m to higher j
        psf[48 - step, 40 + step] = 1 - 0.01 * step**2
        psf[48 - step, 41 + step] = psf[47 - step, 40 + step] = 0.7 - 0.01 * step**2
        psf[48 - step, 39 + step] = psf[49 - step, 40 + step] = 0.7 - 0.01 * step**2
    assert math.degrees(fit_restoring_beam(psf, GRID).position_angle_rad) == pytest.approx(45, abs=1)


def test_the_fit_is_that_of_casa_on_its_own_psf(shared_data: Path) -> None:
    reference = shared_data / "ngc5921" / "reference"
    expected = json.loads((reference / "pb17_nocalwt_results.json").read_text())["images"]["ngc5921_cont_dirty_nat"]
    with np.load(reference / "pb17_nocalwt_images_crop.npz") as crops:
        psf = np.ascontiguousarray(crops["ngc5921_cont_dirty_nat__psf"].T)
    found = fit_restoring_beam(psf, ImageGrid(*psf.shape, 15 * ARCSEC))
    # CASA's fit stops at 1e-4 of chi squared
    assert found.major_rad / ARCSEC == pytest.approx(expected["beam"]["major"], rel=1e-5)
    assert found.minor_rad / ARCSEC == pytest.approx(expected["beam"]["minor"], rel=1e-5)
    assert math.degrees(found.position_angle_rad) == pytest.approx(expected["beam"]["positionangle"], abs=1e-3)


def test_sidelobes_above_the_cutoff_do_not_take_part() -> None:
    truth = RestoringBeam(20 * ARCSEC, 15 * ARCSEC, 0.3)
    psf = gaussian_image(truth, GRID).astype(np.float32)
    alone = fit_restoring_beam(psf, GRID)
    psf[70:74, 60:64] = 0.6
    assert fit_restoring_beam(psf, GRID) == alone


def test_a_beam_as_wide_as_the_image_is_found() -> None:
    truth = RestoringBeam(200 * ARCSEC, 180 * ARCSEC, 0.0)
    found = fit_restoring_beam(gaussian_image(truth, GRID).astype(np.float32), GRID)
    assert found.major_rad == pytest.approx(truth.major_rad, rel=1e-3)


@pytest.mark.parametrize("kind", ["delta", "nothing", "nan", "flat"])
def test_what_is_no_peak_has_no_beam(kind: str) -> None:
    psf = np.zeros(GRID.shape, np.float32)
    if kind == "delta":
        psf[48, 40] = 1
    elif kind != "nothing":
        psf[:] = math.nan if kind == "nan" else 1.0
    found = fit_restoring_beam(psf, GRID)
    assert not found.is_valid
    assert math.isnan(found.minor_rad)
    assert math.isnan(found.area_pixels(GRID))


def test_the_beam_area_is_the_sum_of_the_gaussian() -> None:
    beam = RestoringBeam(24 * ARCSEC, 15 * ARCSEC, 0.7)
    assert beam.is_valid
    assert beam.area_pixels(GRID) == pytest.approx(gaussian_image(beam, GRID).sum(), rel=1e-6)


def test_convolution_is_the_sum_of_shifted_gaussians() -> None:
    beam = RestoringBeam(24 * ARCSEC, 15 * ARCSEC, 0.7)
    places = {(40, 30): 1.0, (0, 79): 0.5, (95, 3): -0.3}
    model = np.zeros(GRID.shape, np.float32)
    expected = np.zeros(GRID.shape)
    wide = GRID.resized(2 * GRID.n_l, 2 * GRID.n_m)
    gaussian = gaussian_image(beam, wide)
    for (i, j), flux in places.items():
        model[i, j] = flux
        expected += flux * gaussian[96 - i : 192 - i, 80 - j : 160 - j]
    result = convolve_with_beam(model, beam, GRID)
    # the Gaussian is cut at 2e-5; single precision
    assert np.abs(result - expected).max() < 3e-5
    assert result.dtype == np.float32
    assert result.flags.c_contiguous


@pytest.mark.parametrize("pixels", [1.5, 1.8, 3.0])
def test_a_source_keeps_its_peak_in_a_beam_of_few_pixels(pixels: float) -> None:
    model = np.zeros(GRID.shape, np.float32)
    model[20, 30] = 1.0
    beam = RestoringBeam(1.1 * pixels * GRID.cell_size_rad, pixels * GRID.cell_size_rad, 0.3)
    # Single precision, and aliases from farther than one period: below 1e-4 at 1.5 pixels.
    assert convolve_with_beam(model, beam, GRID)[20, 30] == pytest.approx(1.0, abs=1e-3)


def test_the_restored_image_is_the_convolved_model_plus_the_residual() -> None:
    beam = RestoringBeam(24 * ARCSEC, 15 * ARCSEC, 0.7)
    rng = np.random.default_rng(1)
    model, residual = rng.random((2, *GRID.shape), np.float32)
    restored = restore_image(model, residual, beam, GRID)
    np.testing.assert_array_equal(restored, convolve_with_beam(model, beam, GRID) + residual)
    assert np.isnan(restore_image(model, residual, NO_BEAM, GRID)).all()


def test_the_primary_beam_of_the_vla_is_its_polynomial() -> None:
    grid = ImageGrid(128, 128, 20 * ARCSEC)
    pattern = primary_beam(grid, 1.42e9, "VLA")
    # AIPS PBCOR, L band: 1 - 1.343e-3 X + 6.579e-7 X^2 - 1.186e-10 X^3, X in (arcmin GHz)^2
    offset = 40  # pixels
    x = (math.degrees(math.asin(offset * 20 * ARCSEC)) * 60 * 1.42) ** 2
    expected = 1 - 1.343e-3 * x + 6.579e-7 * x**2 - 1.186e-10 * x**3
    assert pattern[64 - offset, 64] == pytest.approx(expected, rel=1e-6)
    assert pattern[64, 64 + offset] == pytest.approx(expected, rel=1e-6)
    assert pattern[64, 64] == 1
    assert pattern.dtype == np.float32


@pytest.mark.parametrize(("telescope", "frequency_hz"), [("VLA", 1.465e9), ("VLA", 4.885e9), ("EVLA", 3.052e9)])
def test_the_half_power_width_of_the_vla_is_as_measured(telescope: str, frequency_hz: float) -> None:
    # 45 arcmin / frequency [GHz] (VLA Observational Status Summary), to the few per cent by which the bands differ
    width = 45 / (frequency_hz / 1e9) * 60 * ARCSEC
    grid = ImageGrid(256, 256, width / 120)
    pattern = primary_beam(grid, frequency_hz, telescope)
    assert 2 * (pattern[128:, 128] > 0.5).sum() / 120 == pytest.approx(1, abs=0.08)


def test_a_vla_beam_falls_steadily_and_is_zero_beyond_the_cutoff() -> None:
    for telescope, table in VLA_PRIMARY_BEAM.items():
        for frequency_hz in table:
            width = 45 / (frequency_hz / 1e9) * 60 * ARCSEC
            pattern = primary_beam(ImageGrid(256, 256, width / 80), frequency_hz, telescope, cutoff=0.1)
            cut = pattern[128:, 128]
            inside = cut > 0
            assert (np.diff(cut[inside]) < 0).all(), (telescope, frequency_hz)
            assert cut[inside].min() >= 0.1
            assert not inside[inside.argmin() :].any()  # no second lobe
            assert pattern[0, 0] == 0


def test_elsewhere_the_pattern_is_that_of_a_round_dish() -> None:
    frequency_hz, diameter_m = 100e9, 12.0
    width = 1.0290 * SPEED_OF_LIGHT_M_S / frequency_hz / diameter_m  # FWHM of the Airy pattern
    grid = ImageGrid(256, 256, width / 100)
    pattern = primary_beam(grid, frequency_hz, "ALMA", dish_diameter_m=diameter_m)
    assert pattern[128 - 50, 128] == pytest.approx(0.5, abs=2e-4)
    assert pattern[128, 128] == 1
    # the VLA beyond its measured bands: a dish of 25 m
    between = primary_beam(ImageGrid(64, 64, 60 * ARCSEC), 0.6e9, "VLA")
    np.testing.assert_array_equal(
        between, primary_beam(ImageGrid(64, 64, 60 * ARCSEC), 0.6e9, "other", dish_diameter_m=25.0)
    )


def test_correction_divides_inside_and_blanks_outside() -> None:
    pattern = np.array([[1.0, 0.5], [0.25, 0.0]], np.float32)
    corrected = correct_primary_beam(np.ones((2, 2), np.float32), pattern)
    np.testing.assert_array_equal(corrected, np.array([[1, 2], [4, np.nan]], np.float32))


def test_unknown_telescopes_and_cutoffs_are_named() -> None:
    with pytest.raises(DataError, match=r"no primary beam for telescope 'GMRT' at 1\.4 GHz: known are VLA, EVLA"):
        primary_beam(GRID, 1.4e9, "GMRT")
    with pytest.raises(DataError, match=r"cutoff 0\.01: allowed are 0\.03"):
        primary_beam(GRID, 1.4e9, "VLA", cutoff=0.01)
