"""How the Earth turns and moves (ERFA), for the baselines of an array and for the frequencies that it sees.

Times are UTC, unix seconds. IAU 2006/2000A precession and nutation with the Earth rotation angle; the pole does not
wander (0.3 arcsec), and UT1 - UTC is zero unless given, so that no table is read that changes with time. The value of a
time does not depend on which others are asked for.

References
----------
Urban & Seidelmann 2013, Explanatory Supplement to the Astronomical Almanac, chapters 6 and 7 (IAU 2006/2000A).
"""

from __future__ import annotations

import erfa  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

DAY_S = 86400.0
UNIX_EPOCH_JD = 2440587.5
UNIX_EPOCH_MJD = 40587.0

_TT_MINUS_UTC_S = 69.184
"""TT - UTC since 2017: precession and the orbit need it to minutes only, so that no table of leap seconds is read."""


def celestial_to_earth(time_s: NDArray[np.float64], ut1_utc_s: float = 0.0) -> NDArray[np.float64]:
    """Return the matrices that turn vectors along the ICRS axes to those of ITRF, shape (time, 3, 3)."""
    day_jd, fraction, terrestrial = _split(time_s)
    return np.asarray(erfa.c2t06a(day_jd, terrestrial, day_jd, fraction + ut1_utc_s / DAY_S, 0.0, 0.0))


def orbital_velocity(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the velocity of the Earth's centre against the barycentre along the ICRS axes, (time, 3) [au/day]."""
    day_jd, _, terrestrial = _split(time_s)
    return np.asarray(erfa.epv00(day_jd, terrestrial)[1]["v"])


def _split(time_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the Julian date of the day, the part of the day in UTC, and that in TT."""
    days = np.floor(time_s / DAY_S)
    fraction = time_s / DAY_S - days
    return UNIX_EPOCH_JD + days, fraction, fraction + _TT_MINUS_UTC_S / DAY_S
