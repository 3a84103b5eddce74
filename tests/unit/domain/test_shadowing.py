"""Shadowing against dishes looked at one by one, elevations against astropy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers

from radps.domain.array import VLA_PADS_M, baselines, horizontal_direction, uvw_from_positions, vla_array
from radps.domain.shadowing import find_shadowed_antennas, flag_elevation, flag_shadowed
from radps.errors import SelectionError

ARRAY = vla_array("D", 12)
PAIRS = baselines(12, autocorrelations=True)
TIME_S = 1.7e9 + 1200.0 * np.arange(72)
"""A day, every 20 minutes."""
RA, DEC = 3.539, 0.532
DIAMETERS_M = np.where(np.arange(12) % 3 == 0, 40.0, 25.0)
"""Dishes of two sizes."""


def test_antennas_are_shadowed_as_a_look_at_every_dish_says() -> None:
    uvw = uvw_from_positions(ARRAY.positions_m, TIME_S, RA, DEC, PAIRS)
    found = find_shadowed_antennas(uvw, *PAIRS, DIAMETERS_M)
    # Each dish by its own place, not by baselines: from the axes of the source as the baselines to a point show them.
    place = uvw_from_positions(
        np.vstack([ARRAY.positions_m, ARRAY.positions_m[:1] * 0]), TIME_S, RA, DEC, baselines(13)
    )
    center = np.flatnonzero(baselines(13).antenna2 == 12)
    expected = np.zeros((len(TIME_S), 12), bool)
    for time in range(len(TIME_S)):
        for dish in range(12):
            u, v, w = place[time, center[dish]]
            for other in range(12):
                other_u, other_v, other_w = place[time, center[other]]
                overlaps = (
                    np.sqrt((u - other_u) ** 2 + (v - other_v) ** 2) < (DIAMETERS_M[dish] + DIAMETERS_M[other]) / 2
                )
                expected[time, dish] |= overlaps and other_w > w
    np.testing.assert_array_equal(found, expected)
    assert 0.02 < expected.mean() < 0.5
    mask = flag_shadowed(uvw, *PAIRS, DIAMETERS_M)
    for number, (first, second) in enumerate(zip(*PAIRS, strict=True)):
        np.testing.assert_array_equal(mask[:, number, 0, 0], expected[:, first] | expected[:, second])


def test_the_dish_that_is_farther_from_a_rising_source_is_shadowed() -> None:
    places = np.array([VLA_PADS_M["E04"], VLA_PADS_M["W04"]])  # half a kilometre apart, the one east of the other
    pair = baselines(2)
    up = horizontal_direction(places, TIME_S, RA, 0.0).elevation_rad > 0
    rising, setting = np.flatnonzero(~up[:-1] & up[1:])[0] + 1, np.flatnonzero(up[:-1] & ~up[1:])[0]
    uvw = uvw_from_positions(places, TIME_S[[rising, setting]], RA, 0.0, pair)
    found = find_shadowed_antennas(uvw, *pair, np.full(2, 200.0))  # so large that they overlap at 5 degrees
    assert found.tolist() == [[False, True], [True, False]]


def test_a_tolerance_lets_dishes_overlap() -> None:
    uvw = np.array([[[24.0, 0.0, 5.0]]])
    pair = np.array([0]), np.array([1])
    for tolerance, expected in ((0.0, True), (0.5, True), (1.5, False)):
        assert find_shadowed_antennas(uvw, *pair, np.full(2, 25.0), tolerance).tolist() == [[False, expected]]
    assert find_shadowed_antennas(-uvw, *pair, np.full(2, 25.0)).tolist() == [[True, False]]
    assert find_shadowed_antennas(uvw + np.array([2.0, 0.0, 0.0]), *pair, np.full(2, 25.0), -2.0).any()


@pytest.mark.parametrize("uvw", [[0.0, 0.0, 0.0], [np.nan, 1.0, 1.0], [1.0, np.nan, 1.0], [np.nan] * 3])
def test_baselines_without_data_shadow_nothing(uvw: list[float]) -> None:
    assert not find_shadowed_antennas(np.array([[uvw]]), np.array([0]), np.array([1]), np.full(2, 25.0)).any()


def test_a_dish_of_unknown_size_is_refused() -> None:
    with pytest.raises(SelectionError, match=r"found a diameter of 0 m for antenna number 1; .* Give `dish_diameter`"):
        find_shadowed_antennas(np.ones((1, 1, 3)), np.array([0]), np.array([1]), np.array([25.0, 0.0]))


def test_low_and_high_elevations_are_flagged_as_astropy_sees_them() -> None:
    found = horizontal_direction(ARRAY.positions_m, TIME_S, RA, DEC).elevation_rad
    location = EarthLocation.from_geocentric(*ARRAY.positions_m.mean(axis=0), unit="m")
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        frame = AltAz(obstime=Time(TIME_S, format="unix"), location=location)
        truth = SkyCoord(RA * units.rad, DEC * units.rad).transform_to(frame).alt.rad
    mask = flag_elevation(found, np.deg2rad(20.0), np.deg2rad(80.0))
    assert mask.shape == (len(TIME_S), 1, 1, 1)
    np.testing.assert_array_equal(mask[:, 0, 0, 0], (truth < np.deg2rad(20.0)) | (truth > np.deg2rad(80.0)))
    assert 0.2 < mask.mean() < 0.9
    assert np.abs(found - truth).max() < np.deg2rad(20 / 3600)  # UT1 - UTC is left out: 0.9 s at most, 15 arcsec


def test_limits_that_leave_nothing_are_refused() -> None:
    with pytest.raises(SelectionError, match="found limits of 60 and 10 deg; the lower one has to come first"):
        flag_elevation(np.zeros(1), np.deg2rad(60.0), np.deg2rad(10.0))
