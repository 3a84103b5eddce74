"""Beams against Gaussians of known shape, against CASA, and primary beams against measured widths."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from radps.domain.beam import (
    NO_BEAM,
    RestoringBeam,
    convolve_with_beam,
    fit_restoring_beam,
    gaussian_image,
    restore_image,
)
from radps.domain.geometry import ImageGrid

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
