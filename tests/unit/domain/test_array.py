"""Antennas, baselines and uvw; uvw against the transformations of astropy."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import erfa  # type: ignore[import-untyped]
import numpy as np
import pytest

from radps.domain.array import (
    VLA_PADS_M,
    alma_array,
    baselines,
    horizontal_direction,
    local_positions,
    meerkat_array,
    random_array,
    uvw_from_positions,
    vla_array,
)
from radps.errors import SelectionError

START_S = datetime(2016, 3, 20, 4, 0, tzinfo=UTC).timestamp()
TIME_S = START_S + 1800.0 * np.arange(8)
RA, DEC = math.radians(230.5), math.radians(5.07)


def longest(positions_m: np.ndarray) -> float:
    return float(np.linalg.norm(positions_m[:, None] - positions_m, axis=-1).max())


@pytest.mark.parametrize(
    ("configuration", "low_km", "high_km"), [("A", 36.0, 37.0), ("B", 11.0, 11.5), ("C", 3.3, 3.5), ("D", 1.0, 1.1)]
)
def test_the_vla_has_its_extent(configuration: str, low_km: float, high_km: float) -> None:
    # NRAO, Guide to Observing with the VLA: maximum baselines 36.4, 11.1, 3.4, 1.03 km
    array = vla_array(configuration)  # type: ignore[arg-type]
    assert low_km < longest(array.positions_m) / 1e3 < high_km
    assert len(set(array.stations)) == 27
    assert array.names[0] == "ea01"
    for station, position in zip(array.stations, array.positions_m, strict=True):
        assert tuple(position) == VLA_PADS_M[station]


def test_a_small_vla_keeps_its_extent() -> None:
    assert longest(vla_array("D", 6).positions_m) > 0.8 * longest(vla_array("D").positions_m)


@pytest.mark.parametrize(
    ("configuration", "count", "longest_m"),
    [("C-1", 43, 160.7), ("C-4", 43, 783.5), ("C-7", 43, 3637.8), ("7m", 10, 45.0)],
)
def test_alma_has_its_extent(configuration: str, count: int, longest_m: float) -> None:
    # ALMA Technical Handbook, Cycle 10, table 7.1: 160.7 m, 783.5 m, 3.6 km; 7 m array 45.0 m
    array = alma_array(configuration)  # type: ignore[arg-type]
    assert len(set(array.stations)) == len(set(array.names)) == count
    assert longest(array.positions_m) == pytest.approx(longest_m, abs=0.1)
    # the plateau is 5 km up: all antennas stand within 100 m of one level
    assert np.abs(local_positions(array.positions_m)[:, 2]).max() < 100.0


def test_meerkat_has_its_extent() -> None:
    # SARAO: 64 dishes of 13.5 m, longest baseline 7.7 km, about 70 % of them within 1 km of the core
    array = meerkat_array()
    assert array.names[:2] == ("m000", "m001")
    assert array.dish_diameter_m == 13.5
    assert longest(array.positions_m) == pytest.approx(7698, abs=2)
    reference_m = erfa.gd2gc(
        1, math.radians(21 + 26 / 60 + 38.0 / 3600), math.radians(-30 - 42 / 60 - 39.8 / 3600), 1086.6
    )
    radius = np.linalg.norm(array.positions_m - reference_m, axis=1)
    assert 0.65 < np.mean(radius < 1000.0) < 0.8
    # SARAO's description of m000 from that reference: east, north, up -8.264, -207.290, 8.597 m
    assert radius[0] == pytest.approx(math.hypot(8.264, 207.290, 8.597), abs=0.05)
    assert longest(meerkat_array(8).positions_m) > 0.4 * longest(array.positions_m)


def test_a_random_array_keeps_within_its_disc_and_its_dishes_apart() -> None:
    array = random_array(40, 800.0, np.random.default_rng(1))
    distance = np.linalg.norm(array.positions_m[:, None] - array.positions_m, axis=-1)
    assert distance.max() <= 800.0
    assert distance[~np.eye(40, dtype=bool)].min() > 25.0
    np.testing.assert_array_equal(array.positions_m, random_array(40, 800.0, np.random.default_rng(1)).positions_m)
    assert not np.array_equal(array.positions_m, random_array(40, 800.0, np.random.default_rng(2)).positions_m)


@pytest.mark.parametrize(("with_auto", "count"), [(False, 6), (True, 10)])
def test_baselines_are_all_pairs_once(with_auto: bool, count: int) -> None:
    pairs = baselines(4, autocorrelations=with_auto)
    found = list(zip(pairs.antenna1.tolist(), pairs.antenna2.tolist(), strict=True))
    assert len(set(found)) == count == len(found)
    assert found == sorted(found)
    assert all(first < second or (with_auto and first == second) for first, second in found)


def test_uvw_are_those_of_astropy() -> None:
    from astropy import units
    from astropy.coordinates import GCRS, ITRS, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    array, pairs = vla_array("D"), baselines(27)
    step = 1e-4
    with iers.conf.set_temp("auto_download", False):
        times = Time(TIME_S, format="unix")

        def to_source(ra: float, dec: float) -> np.ndarray:
            # so far away that it has no parallax; the geocentric frame brings the aberration
            direction = SkyCoord(ra * units.rad, dec * units.rad, distance=1e6 * units.kpc)
            moved = direction.transform_to(GCRS(obstime=times)).transform_to(ITRS(obstime=times)).cartesian
            return (moved.xyz.value / np.linalg.norm(moved.xyz.value, axis=0)).T

        w = to_source(RA, DEC)
        u = to_source(RA + step, DEC) - to_source(RA - step, DEC)
        v = to_source(RA, DEC + step) - to_source(RA, DEC - step)
        ut1_utc_s = float(np.mean(times.delta_ut1_utc))
    u, v = (axis / np.linalg.norm(axis, axis=1, keepdims=True) for axis in (u, v))
    baseline = array.positions_m[pairs.antenna1] - array.positions_m[pairs.antenna2]
    expected = np.stack([np.einsum("tx,bx->tb", axis, baseline) for axis in (u, v, w)], axis=-1)
    found = uvw_from_positions(array.positions_m, TIME_S, RA, DEC, pairs, ut1_utc_s=ut1_utc_s)
    # polar motion, which is left out, is 0.5 arcsec: 2.5 mm on 1 km
    np.testing.assert_allclose(found, expected, atol=3e-3)


def test_uvw_rotate_with_the_earth_and_keep_their_length() -> None:
    array, pairs = vla_array("D", 5), baselines(5, autocorrelations=True)
    uvw = uvw_from_positions(array.positions_m, TIME_S, RA, DEC, pairs)
    length = np.linalg.norm(array.positions_m[pairs.antenna1] - array.positions_m[pairs.antenna2], axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(uvw, axis=-1), np.broadcast_to(length, uvw.shape[:2]), rtol=1e-12, atol=1e-9
    )
    np.testing.assert_array_equal(uvw[:, pairs.antenna1 == pairs.antenna2], 0.0)
    a_day_later = uvw_from_positions(array.positions_m, TIME_S + 86164.0905, RA, DEC, pairs)
    # a sidereal day later only the aberration has changed, by 1 degree of the Earth's orbit: 20 arcsec / 57 of 1 km
    np.testing.assert_allclose(a_day_later, uvw, atol=2e-3)
    assert np.abs(uvw[3] - uvw[0]).max() > 100.0


def test_uvw_of_a_time_do_not_depend_on_the_other_times() -> None:
    array, pairs = vla_array("A"), baselines(27)
    whole = uvw_from_positions(array.positions_m, TIME_S, RA, DEC, pairs)
    for number, time in enumerate(TIME_S):
        np.testing.assert_array_equal(uvw_from_positions(array.positions_m, [time], RA, DEC, pairs)[0], whole[number])


def test_a_source_at_the_zenith_has_the_elevation_of_one() -> None:
    array = vla_array("D")
    latitude = math.radians(34.0784)
    found = horizontal_direction(array.positions_m, START_S + 60.0 * np.arange(1440), 0.0, latitude)
    # once a day; precession since J2000 moves declinations by up to 20 arcsec a year: 5 arcmin
    assert found.elevation_rad.max() == pytest.approx(math.pi / 2, abs=math.radians(0.15))
    assert found.elevation_rad.min() == pytest.approx(2 * latitude - math.pi / 2, abs=math.radians(0.15))


def test_the_parallactic_angle_follows_the_formula_of_the_sphere() -> None:
    array = vla_array("D")
    latitude, longitude = math.radians(34.0784), math.radians(-107.6177)
    found = horizontal_direction(array.positions_m, TIME_S, RA, DEC)
    # hour angle by Greenwich mean sidereal time and J2000 coordinates: good to the precession of 16 years, 0.2 degrees
    days = TIME_S / 86400 - 10957.5
    sidereal = np.radians(280.46062 + 360.98564737 * days)
    hour_angle = sidereal + longitude - RA
    expected = np.arctan2(np.sin(hour_angle), math.tan(latitude) * math.cos(DEC) - math.sin(DEC) * np.cos(hour_angle))
    difference = np.angle(np.exp(1j * (found.parallactic_angle_rad - expected)))
    assert np.abs(difference).max() < math.radians(0.5)
    elevation = np.arcsin(math.sin(latitude) * math.sin(DEC) + math.cos(latitude) * math.cos(DEC) * np.cos(hour_angle))
    np.testing.assert_allclose(found.elevation_rad, elevation, atol=math.radians(0.3))


def test_impossible_arrays_are_refused() -> None:
    with pytest.raises(SelectionError, match="no configuration 'E'; it has A, B, C and D"):
        vla_array("E")  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="28 antennas asked of the VLA; a configuration has 1 to 27"):
        vla_array("D", 28)
    with pytest.raises(SelectionError, match="ALMA has no configuration 'C-11' in radps; it has C-1, C-4, C-7, 7m"):
        alma_array("C-11")  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="12 antennas asked of ALMA's configuration 7m, which has 1 to 10"):
        alma_array("7m", 12)
    with pytest.raises(SelectionError, match="65 antennas asked of MeerKAT, which has 1 to 64"):
        meerkat_array(65)
    with pytest.raises(SelectionError, match=r"50 antennas of 25.0 m asked for within 100.0 m; 1 to 4 fit"):
        random_array(50, 100.0, np.random.default_rng(1))
