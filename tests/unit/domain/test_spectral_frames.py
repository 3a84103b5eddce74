"""Doppler factors against astropy: its SpectralCoord, and its radial velocity correction."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import (
    ICRS,
    CartesianDifferential,
    CartesianRepresentation,
    EarthLocation,
    SkyCoord,
    SpectralCoord,
)
from astropy.time import Time
from astropy.utils import iers

from radps.domain.spectral_frames import (
    DopplerRule,
    doppler_factors,
    frequency_of_velocity,
    velocity_of_frequency,
)
from radps.errors import DataError

VLA_M = (-1601188.989, -5042000.519, 3554843.384)
ALMA_M = (2225142.180, -5440307.370, -2481029.852)
TIMES_S = 1.5e9 + 86400.0 * np.array([0.0, 0.13, 0.41, 30.2, 91.7, 200.3])
LIGHT_M_S = 299792458.0


def rule(data_frame: str, image_frame: str, place: tuple[float, float, float] = VLA_M) -> DopplerRule:
    return DopplerRule(data_frame, image_frame, 2.0, 0.7, place)


@pytest.mark.parametrize("place", [VLA_M, ALMA_M])
def test_the_barycentre_is_where_astropys_radial_velocity_correction_puts_it(place: tuple[float, float, float]) -> None:
    with iers.conf.set_temp("auto_download", False), iers.earth_orientation_table.set(iers.IERS_B.open()):
        correction = SkyCoord(2.0 * units.rad, 0.7 * units.rad).radial_velocity_correction(
            "barycentric",
            obstime=Time(TIMES_S, format="unix"),
            location=EarthLocation.from_geocentric(*place, unit="m"),
        )
    # astropy: v_bary = v + correction (1 + v / c), with the gravity of the Sun and the transverse shift, 5 m/s
    # together.
    expected = 1.0 / (1.0 + correction.to_value("m/s") / LIGHT_M_S)
    found = doppler_factors(TIMES_S, rule("TOPO", "BARY", place))
    np.testing.assert_allclose(found, expected, rtol=0, atol=7.0 / LIGHT_M_S)
    assert np.ptp(found) > 1e4 / LIGHT_M_S


@pytest.mark.parametrize(("frame", "name"), [("BARY", "icrs"), ("LSRK", "lsrk"), ("LSRD", "lsrd")])
def test_frames_are_those_of_spectral_coord(frame: str, name: str) -> None:
    # The observer as an ICRS coordinate with astropy's own position and velocity of the Earth and of the VLA on it.
    target = SkyCoord(
        2.0 * units.rad, 0.7 * units.rad, distance=1e6 * units.kpc, pm_ra_cosdec=0 * units.mas / units.yr,
        pm_dec=0 * units.mas / units.yr, radial_velocity=0 * units.km / units.s,
    )  # fmt: skip
    location = EarthLocation.from_geocentric(*VLA_M, unit="m")
    expected = []
    with iers.conf.set_temp("auto_download", False), iers.earth_orientation_table.set(iers.IERS_B.open()):
        from astropy.coordinates import get_body_barycentric_posvel

        for time in Time(TIMES_S, format="unix"):
            earth, earth_velocity = get_body_barycentric_posvel("earth", time, ephemeris="builtin")
            own, own_velocity = location.get_gcrs_posvel(time)
            position, velocity = earth + own, earth_velocity + own_velocity
            differential = CartesianDifferential(velocity.xyz)
            observer = SkyCoord(ICRS(CartesianRepresentation(position.xyz, differentials=differential)))
            seen = SpectralCoord(1.42e9 * units.Hz, observer=observer, target=target)
            expected.append(seen.with_observer_stationary_relative_to(name).to_value("Hz") / 1.42e9)
    # 5 cm/s for UT1 - UTC and polar motion.
    np.testing.assert_allclose(doppler_factors(TIMES_S, rule("TOPO", frame)), expected, rtol=0, atol=0.05 / LIGHT_M_S)


def test_there_and_back_is_nothing_and_steps_multiply() -> None:
    there, back = (doppler_factors(TIMES_S, rule(*frames)) for frames in (("TOPO", "LSRK"), ("LSRK", "TOPO")))
    np.testing.assert_allclose(there * back, 1.0, rtol=1e-15)
    steps = [doppler_factors(TIMES_S, rule(*frames)) for frames in (("TOPO", "GEO"), ("GEO", "BARY"), ("BARY", "LSRK"))]
    np.testing.assert_allclose(np.prod(steps, axis=0), there, rtol=1e-14)
    # The turning Earth carries the VLA with 0.38 km/s at most.
    assert 1e-7 < np.abs(steps[0] - 1.0).max() < 0.39e3 / LIGHT_M_S


def test_equal_frames_are_exactly_one_and_a_time_does_not_see_the_others() -> None:
    assert (doppler_factors(TIMES_S, rule("REST", "REST")) == 1.0).all()
    every = doppler_factors(TIMES_S, rule("TOPO", "LSRK"))
    assert [doppler_factors(TIMES_S[n : n + 1], rule("TOPO", "LSRK"))[0] for n in range(len(TIMES_S))] == every.tolist()


def test_a_frame_that_cannot_be_changed_is_named() -> None:
    with pytest.raises(DataError, match=r"frame 'REST' cannot be brought to another one; .*TOPO, GEO, BARY, LSRK"):
        doppler_factors(TIMES_S, rule("REST", "LSRK"))


def test_velocities_of_both_conventions() -> None:
    for convention, equivalency in (("radio", units.doppler_radio), ("optical", units.doppler_optical)):
        velocity = np.array([-3e5, 0.0, 1.5e6])
        expected = (velocity * units.m / units.s).to_value("Hz", equivalency(1.42e9 * units.Hz))
        frequency = frequency_of_velocity(velocity, 1.42e9, convention)
        np.testing.assert_allclose(frequency, expected, rtol=1e-14)
        np.testing.assert_allclose(velocity_of_frequency(frequency, 1.42e9, convention), velocity, atol=1e-6)
