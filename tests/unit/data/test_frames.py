"""Directions of old frames, and the turn of (u, v) that belongs to them."""

from __future__ import annotations

import numpy as np
import pytest

from radps.data.frames import rotate_uvw, to_modern_frame
from radps.errors import DataError

ARCSEC = np.deg2rad(1 / 3600)


def test_modern_directions_stay_as_they_are() -> None:
    assert to_modern_frame(-0.5, 0.3, "ICRS") == (2 * np.pi - 0.5, 0.3, "icrs", 0.0)
    assert to_modern_frame(1.0, 0.3, "fk5", 2000.0) == (1.0, 0.3, "fk5", 0.0)


def test_b1950_of_3c273_is_where_the_catalogue_has_it_in_j2000() -> None:
    # VLA calibrator manual: 1226+023 (B1950) = 1229+020 (J2000)
    ra_1950 = np.deg2rad(15 * (12 + 26 / 60 + 33.2481 / 3600))
    dec_1950 = np.deg2rad(2 + 19 / 60 + 43.290 / 3600)
    found = to_modern_frame(ra_1950, dec_1950, "fk4", 1950.0, telescope="VLA")
    ra, dec = np.deg2rad(15 * (12 + 29 / 60 + 6.6997 / 3600)), np.deg2rad(2 + 3 / 60 + 8.598 / 3600)
    assert found.frame == "fk5"
    # 0.1 arcsec: what the manual's B1950 positions are good for
    assert abs(found.ra_rad - ra) * np.cos(dec) < 0.1 * ARCSEC
    assert abs(found.dec_rad - dec) < 0.1 * ARCSEC


def test_epoch_of_the_vla_matters_by_a_good_part_of_an_arcsecond() -> None:
    one = to_modern_frame(3.2, 0.04, "fk4", 1950.0, telescope="EVLA")
    other = to_modern_frame(3.2, 0.04, "fk4", 1950.0, telescope="WSRT")
    assert 0.05 * ARCSEC < np.hypot(one.ra_rad - other.ra_rad, one.dec_rad - other.dec_rad) < 1.0 * ARCSEC


@pytest.mark.parametrize(("frame", "equinox"), [("fk4", 1950.0), ("fk5", 1975.0)])
def test_a_source_beside_the_centre_keeps_its_phase(frame: str, equinox: float) -> None:
    """The fringe of a source 3 arcmin away is the same, computed in the old and in the new frame."""
    from astropy.coordinates import FK4, FK5, SkyCoord
    from astropy.time import Time

    ra, dec, offset = 1.1, 0.9, (100 * ARCSEC, 150 * ARCSEC)
    if frame == "fk4":
        old = FK4(equinox=Time(equinox, format="byear"), obstime=Time(1950.0, format="byear"))
    else:
        old = FK5(equinox=Time(equinox, format="jyear"))
    center = SkyCoord(ra, dec, unit="rad", frame=old)
    source = SkyCoord(ra + offset[0] / np.cos(dec), dec + offset[1], unit="rad", frame=old)
    found = to_modern_frame(ra, dec, frame, equinox)

    def cosines(one: SkyCoord, middle: SkyCoord) -> np.ndarray:
        turn = one.ra.rad - middle.ra.rad
        l = np.cos(one.dec.rad) * np.sin(turn)
        m = np.sin(one.dec.rad) * np.cos(middle.dec.rad) - np.cos(one.dec.rad) * np.sin(middle.dec.rad) * np.cos(turn)
        return np.array([l, m])

    new = FK5(equinox="J2000")
    old_lm = cosines(source, center)
    new_lm = cosines(source.transform_to(new), center.transform_to(new))
    uvw = np.array([[5.0e4, -2.0e4, 1.0e4], [1.0e4, 7.0e4, 0.0]])
    turned = rotate_uvw(uvw, found.rotation_rad)
    before, after = (2 * np.pi * (vectors[:, :2] @ lm) for vectors, lm in ((uvw, old_lm), (turned, new_lm)))
    # 70 000 wavelengths at 180 arcsec are 380 rad; aberration differs over the offset by 1e-4 of it
    np.testing.assert_allclose(after, before, atol=0.05)
    unturned = 2 * np.pi * (uvw[:, :2] @ new_lm)
    assert np.abs(unturned - before).max() > 0.3, "without the turn the phases are wrong, so the test can fail"
    np.testing.assert_array_equal(turned[:, 2], uvw[:, 2])


def test_strange_frames_and_directions_are_refused() -> None:
    with pytest.raises(DataError, match=r"in frame 'galactic'; frames that are read: icrs, fk5 .*, fk4"):
        to_modern_frame(1.0, 0.1, "galactic")
    with pytest.raises(DataError, match=r"phase centre is \(nan, 0.1\) rad \(fk5\), not a direction"):
        to_modern_frame(float("nan"), 0.1, "fk5")
    with pytest.raises(DataError, match=r"of the equinox 2291\.34, allowed are 1800 to 2100: correct it in the data"):
        to_modern_frame(1.0, 0.1, "fk5", 2291.34057617)
