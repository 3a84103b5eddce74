"""Flux densities of the standard calibrators against published ones, and how fields are matched to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radps.domain.flux_models import (
    FLUX_MODELS,
    compute_flux_density,
    find_flux_model,
    get_flux_model,
    longest_point_baseline,
)
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.domain.sky import Component, mean_amplitude
from radps.errors import ModelError

CASA_FLUXES_JY = [
    ("J0133-3629", 21.3070, 8.32649, 4, 3.66325),
    ("3C48", 45.7912, 15.36863, 22, 1.22158),
    ("3C123", 154.8312, 45.65975, 22, 3.35776),
    ("J0444-2809", 25.4799, 6.45599, 2, 4.91227),
    ("3C138", 16.9801, 8.24598, 22, 1.28292),
    ("3C147", 55.8415, 21.04308, 22, 1.93015),
    ("3C196", 49.6178, 13.55650, 22, 0.76307),
    ("Hydra A", 173.9554, 41.23416, 12, 5.17139),
    ("3C286", 26.8844, 14.56651, 22, 2.54342),
    ("3C295", 63.4538, 21.20694, 22, 0.96989),
]
"""Name, flux density at 0.3 and 1.5 GHz, a third frequency [GHz] and the flux density there; from the coefficients of
CASA's table ``nrao/VLA/standards/PerleyButler2017Coeffs`` (package casadata 2025.9.22)."""


@pytest.mark.parametrize(("name", "at_low", "at_1p5_ghz", "high_ghz", "at_high"), CASA_FLUXES_JY)
def test_flux_densities_are_those_of_casa(
    name: str, at_low: float, at_1p5_ghz: float, high_ghz: float, at_high: float
) -> None:
    found = compute_flux_density(get_flux_model(name), np.array([0.3, 1.5, high_ghz]) * 1e9)
    # CASA keeps the coefficients in single precision: 6e-8 of a power of ten
    np.testing.assert_allclose(found, [at_low, at_1p5_ghz, at_high], rtol=1e-5)


def test_every_model_is_compared() -> None:
    assert [row[0] for row in CASA_FLUXES_JY] == [model.name for model in FLUX_MODELS]


def test_3c286_at_hi_is_that_of_casa_setjy() -> None:
    # CASA 6.7.0, setjy with Perley-Butler 2017 on the NGC 5921 data: 15.01183 Jy
    found = compute_flux_density(get_flux_model("1331+30500002_0"), 1413.42e6)
    assert float(found) == pytest.approx(15.0118, rel=5e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3C286", "3C286"),
        ("3c 286", "3C286"),
        ("3C48_bandpass", "3C48"),
        ("J0137+3309=3C48", "3C48"),
        ("3C048", "3C48"),
        ("1331+30500002_0", "3C286"),
        ("J1331+3030", "3C286"),
        ("0542+498", "3C147"),
        ("hydra_a", "Hydra A"),
        ("HYDRA A", "Hydra A"),
    ],
)
def test_fields_are_known_by_any_of_their_names(name: str, expected: str) -> None:
    assert get_flux_model(name).name == expected


@pytest.mark.parametrize("name", ["3C486", "3C2860", "N5921_2", "1445+09900002_0", "", "3C28"])
def test_other_names_are_nobody(name: str) -> None:
    assert find_flux_model(name) is None


def test_position_decides_where_it_is_known() -> None:
    ra, dec = math.radians(202.7845333), math.radians(30.5091553)
    arcmin = math.radians(1 / 60)
    assert get_flux_model("any name", ra, dec).name == "3C286"
    assert get_flux_model("any name", ra, dec + 1.9 * arcmin).name == "3C286"
    assert find_flux_model("3C286", ra, dec + 2.1 * arcmin) is None
    # right ascension counts by its length on the sky
    assert get_flux_model("any name", ra + 1.9 * arcmin / math.cos(dec), dec).name == "3C286"
    assert find_flux_model("3C48", ra, dec) == find_flux_model("3C286")


def test_an_unknown_calibrator_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ModelError, match=r"field 'J1445\+0958': no standard flux calibrator .* has this name; known are"
    ):
        get_flux_model("J1445+0958")
    with pytest.raises(ModelError, match=r"has this name at its position; known are J0133-3629, 3C48, .*3C295"):
        get_flux_model("3C286", 0.0, 0.0)


@pytest.mark.parametrize("frequency_hz", [0.04e9, 51e9, math.nan])
def test_frequencies_outside_of_the_fit_are_refused(frequency_hz: float) -> None:
    with pytest.raises(ModelError, match=r"3C286: the model .* holds from 0.05 to 50 GHz, asked for"):
        compute_flux_density(get_flux_model("3C286"), np.array([1.4e9, frequency_hz]))


def test_positions_of_aliases_agree_with_the_models() -> None:
    # J2000 names carry hours and minutes, degrees and minutes: those of the position must be the same
    for model in FLUX_MODELS:
        for alias in (name for name in (model.name, *model.aliases) if name.startswith("J")):
            sign = 1 if "+" in alias else -1
            hours, degrees = alias[1:].replace("-", "+").split("+")
            ra_minutes = int(hours[:2]) * 60 + int(hours[2:4])
            assert int(math.degrees(model.right_ascension_rad) * 4) == ra_minutes
            assert int(abs(math.degrees(model.declination_rad))) == int(degrees[:2])
            assert math.copysign(1, model.declination_rad) == sign


def test_a_source_is_a_point_up_to_the_baseline_on_which_it_loses_a_twentieth() -> None:
    size_rad = get_flux_model("3C286").size_rad
    assert size_rad == pytest.approx(math.radians(3 / 3600))
    baseline_m = longest_point_baseline(size_rad, 1.5e9)
    # the exact transform of the Gaussian, from the module that predicts it
    round_one = Component(0.0, 0.0, 2.0, 1.5e9, major_rad=size_rad, minor_rad=size_rad)
    assert mean_amplitude([round_one], baseline_m, 1.5e9) == pytest.approx(0.95 * 2.0, rel=1e-9)
    assert longest_point_baseline(0.0, 1.5e9) == math.inf
    # 3 arcsec at 20 cm: the C configuration (3.4 km) loses more, the D configuration (1 km) does not
    assert 1000 < baseline_m < 3400


def test_the_mean_amplitude_of_two_points_is_that_over_all_directions() -> None:
    pair = [Component(0.01, 0.0, 3.0), Component(0.0, 0.0, 1.0)]
    baseline_m = 3 / 0.01 * SPEED_OF_LIGHT_M_S / 1.4e9  # three fringes
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    expected = np.abs(1 + 3 * np.exp(2j * np.pi * 3 * np.sin(angle))).mean()
    # a smooth periodic function: the mean of 90 samples is exact but for harmonics from the 90th on
    assert mean_amplitude(pair, baseline_m, 1.4e9) == pytest.approx(expected, rel=1e-6)
    assert mean_amplitude(pair[:1], baseline_m, 1.4e9) == pytest.approx(3.0, rel=1e-12)
