"""Primary beams against published formulae and widths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import j0

from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid
from radps.domain.primary_beam import correct_primary_beam, find_pattern, primary_beam
from radps.domain.vla_primary_beams import VLA_PRIMARY_BEAM
from radps.errors import DataError

ARCSEC = math.pi / 180 / 3600
GRID = ImageGrid(64, 64, 20 * ARCSEC)


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


@pytest.mark.parametrize(
    ("telescope", "frequency_hz"),
    [("VLA", 1.465e9), ("VLA", 4.885e9), ("EVLA", 3.052e9), ("EVLA", 10e9), ("EVLA", 43e9)],
)
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
    pattern = primary_beam(grid, frequency_hz, "NOEMA", dish_diameter_m=diameter_m)
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


def test_alma_has_the_width_of_its_handbook() -> None:
    # ALMA Technical Handbook, section 3.2: 1.13 wavelengths over 12 m; the 7 m dishes 12 / 7 of that, to 2 %
    frequency_hz = 230e9
    for diameter_m, scale in ((12.0, 1.0), (7.0, 12 / 7)):
        width = 1.13 * SPEED_OF_LIGHT_M_S / frequency_hz / 12 * scale
        pattern = primary_beam(ImageGrid(256, 256, width / 100), frequency_hz, "ALMA", dish_diameter_m=diameter_m)
        assert 2 * (pattern[128:, 128] > 0.5).sum() / 100 == pytest.approx(1, abs=0.03)


def test_the_hole_of_a_dish_is_that_of_the_transform_of_its_aperture() -> None:
    # an independent way: Hankel transform of the ring between 0.375 and 5.35 m
    frequency_hz, radius = 100e9, np.deg2rad(np.array([0.001, 0.005, 0.01, 0.02]))
    pattern = find_pattern("ALMA", frequency_hz, 12.0)(radius)
    wave_number = 2 * np.pi * frequency_hz / SPEED_OF_LIGHT_M_S
    for angle, found in zip(radius, pattern, strict=True):
        ring = quad(lambda r, a=angle: r * j0(wave_number * r * np.sin(a)), 0.375, 5.35)[0]
        assert found == pytest.approx((ring / quad(lambda r: r, 0.375, 5.35)[0]) ** 2, rel=1e-6)


def test_meerkat_has_its_width_and_no_gap_where_the_formula_has_one() -> None:
    frequency_hz = 1.284e9
    width = np.deg2rad(57.5 / 60) * 1.5e9 / frequency_hz
    pattern = find_pattern("MeerKAT", frequency_hz)
    # Mauch et al. 2020: t is the full width at half power, to the three digits of 1.189
    assert pattern(np.array([0.0, width / 2])) == pytest.approx([1.0, 0.5], abs=2e-3)
    gap = 0.5 / 1.189 * width
    np.testing.assert_allclose(pattern(np.array([gap])), pattern(np.array([gap * (1 + 1e-5)])), rtol=1e-4)


def test_the_polynomial_of_p_band_has_four_terms() -> None:
    x = (30 * 0.312) ** 2
    expected = 1 - 1.030e-3 * x + 4.44e-7 * x**2 - 0.89e-10 * x**3 + 0.68e-14 * x**4
    assert find_pattern("EVLA", 0.312e9)(np.deg2rad(np.array([0.5])))[0] == pytest.approx(expected, rel=1e-12)


def test_unknown_telescopes_and_cutoffs_are_named() -> None:
    with pytest.raises(DataError, match=r"no primary beam for telescope 'GMRT' at 1\.4 GHz without the one diameter"):
        primary_beam(GRID, 1.4e9, "GMRT")
    with pytest.raises(DataError, match=r"'ALMA' at 100 GHz .*import the antennas of one diameter"):
        primary_beam(GRID, 100e9, "ALMA")
    with pytest.raises(DataError, match=r"cutoff 0\.01: allowed are 0\.03"):
        primary_beam(GRID, 1.4e9, "VLA", cutoff=0.01)
