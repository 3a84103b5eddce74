"""Configurations, bands and the noise of antennas, against the observatories' own numbers."""

from __future__ import annotations

import pytest

from radps.domain.array import vla_array
from radps.domain.telescopes import (
    ALMA_BANDS_HZ,
    VLA_BANDS_HZ,
    find_alma_arrays,
    find_alma_band,
    find_vla_band,
    guess_vla_configuration,
    nominal_vla_sefd,
)


@pytest.mark.parametrize("configuration", ["A", "B", "C", "D"])
def test_the_configuration_follows_from_the_pads_that_the_vla_uses(configuration: str) -> None:
    positions = vla_array(configuration).positions_m
    longest = max(float(((one - other) ** 2).sum() ** 0.5) for one in positions for other in positions)
    assert guess_vla_configuration(longest) == configuration


def test_a_baseline_that_fits_to_no_configuration_is_not_guessed() -> None:
    assert guess_vla_configuration(1031.2) == "D"  # NGC 5921
    assert guess_vla_configuration(200.0) is None
    assert guess_vla_configuration(100e3) is None  # with Pie Town and beyond
    assert guess_vla_configuration(0.0) is None


@pytest.mark.parametrize(
    ("frequency_hz", "band"),
    [
        *((74e6, "4"), (350e6, "P"), (1.42e9, "L"), (3e9, "S"), (6e9, "C"), (10e9, "X"), (15e9, "Ku"), (22e9, "K")),
        *((33e9, "Ka"), (45e9, "Q"), (2e9, "S"), (700e6, None), (60e9, None)),
    ],
)
def test_letters_of_vla_bands(frequency_hz: float, band: str | None) -> None:
    assert find_vla_band(frequency_hz) == band


@pytest.mark.parametrize(
    ("frequency_hz", "band"),
    [
        *((40e9, 1), (75e9, 2), (100e9, 3), (140e9, 4), (183e9, 5), (230.5e9, 6), (345.8e9, 7), (461e9, 8)),
        *((691e9, 9), (809e9, 10), (120e9, None), (1e12, None)),
    ],
)
def test_numbers_of_alma_bands(frequency_hz: float, band: int | None) -> None:
    assert find_alma_band(frequency_hz) == band


def test_every_band_is_known_and_none_is_empty() -> None:
    assert sorted(ALMA_BANDS_HZ) == list(range(1, 11))
    assert len(VLA_BANDS_HZ) == 10
    assert all(low < high for low, high in (*ALMA_BANDS_HZ.values(), *VLA_BANDS_HZ.values()))


@pytest.mark.parametrize(
    ("antennas", "arrays"),
    [
        ({"DA41": 12.0, "DV01": 12.0, "PM01": 12.0}, ("12m",)),
        ({"CM01": 7.0, "CM02": 7.0}, ("7m",)),
        ({"PM01": 12.0, "PM02": 12.0}, ("TP",)),
        ({"CM01": 7.0, "PM02": 12.0}, ("7m", "TP")),
        ({"CM01": 7.0, "DA41": 12.0}, ("12m", "7m")),
        ({"DA41": 0.0}, ()),
    ],
)
def test_arrays_of_alma_by_the_diameters_of_their_dishes(antennas: dict[str, float], arrays: tuple[str, ...]) -> None:
    assert find_alma_arrays(list(antennas), list(antennas.values())) == arrays


def test_the_nominal_noise_gives_the_sensitivity_that_the_observatory_publishes() -> None:
    """Table 5 of the status summary of mid-2009: 25 antennas, 10 minutes, both hands."""
    from radps.domain.sensitivity import Exposure, expected_noise

    # The table does not say the bandwidth of each band: the ratio of two bands with the same one does not need it.
    noise = {
        band: expected_noise([Exposure(nominal_vla_sefd(band) or 0.0, 300, 2, 600.0, 86e6)]) for band in ("C", "X", "L")
    }
    assert noise["X"] / noise["C"] == pytest.approx(0.049 / 0.058, rel=0.02)
    assert noise["L"] / noise["C"] == pytest.approx(0.061 / 0.058, rel=0.1)
    assert nominal_vla_sefd("Ka") is None
