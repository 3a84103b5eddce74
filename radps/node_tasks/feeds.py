"""How feeds are turned against the sky, as the antennas of a data set say: by their mounts, and in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import exists, join_url, load_array
from radps.domain.array import horizontal_direction
from radps.errors import DataError

MOST_APART_RAD = np.radians(1.0)
"""Feeds whose angles differ by less are mounted alike: it turns Q into U by 3.5 %."""


class FeedRule(NamedTuple):
    """A field whose feeds may turn against the sky, as those of alt-azimuth mounts do."""

    ra_rad: float
    """Field, ICRS or FK5 [rad]."""
    dec_rad: float
    always: bool = False
    """True = they turn; False = as the mounts of the antennas say."""
    remedy: str = "give parallactic_angle: true (as ALT-AZ) or false (the data are corrected)"
    """What to do where the mounts do not say it."""


def find_feed_angle(store: str, feeds: FeedRule, time_s: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the angle by which the feeds are turned against the sky, (time,) [rad]; None: they are not.

    It is the parallactic angle, if the mounts turn, plus the angle at which the feeds are mounted: that of the first
    receptor (CASA: ``RECEPTOR_ANGLE`` of the FEED table), 0 where the data do not say it.

    Raises
    ------
    DataError
        The mounts are neither all ALT-AZ nor all EQUATORIAL, or the feeds are mounted at different angles.
    """
    antennas = join_url(store, "antenna_xds")
    mounted_rad = _find_mounted_angle(antennas, feeds.remedy)
    if not feeds.always:
        mounts = {str(mount).upper() for mount in load_array(join_url(antennas, "mount")).tolist()}
        if mounts == {"EQUATORIAL"}:
            return np.full(len(time_s), mounted_rad) if mounted_rad else None
        if mounts != {"ALT-AZ"}:
            raise DataError(
                f"the mounts of the antennas of {store} are {', '.join(sorted(mounts))}; how their feeds turn "
                f"against the sky is known for ALT-AZ and EQUATORIAL: {feeds.remedy}"
            )
    positions = load_array(join_url(antennas, "ANTENNA_POSITION"))
    where = horizontal_direction(positions, time_s, feeds.ra_rad, feeds.dec_rad)
    return where.parallactic_angle_rad + mounted_rad


def _find_mounted_angle(antennas: str, remedy: str) -> float:
    """Return the angle at which the feeds of all antennas are mounted [rad]."""
    url = join_url(antennas, "ANTENNA_RECEPTOR_ANGLE")
    if not exists(url):
        return 0.0
    angles = np.asarray(load_array(url), np.float64)[:, 0]
    known = angles[np.isfinite(angles)]
    if known.size == 0:
        return 0.0
    # Half a turn of a feed changes nothing of what it sees.
    apart = np.abs(np.angle(np.exp(2j * (known - known[0])))) / 2
    if apart.max() > MOST_APART_RAD:
        raise DataError(
            f"the feeds of {antennas} are mounted at different angles, {np.degrees(known.min()):.1f} to "
            f"{np.degrees(known.max()):.1f} degrees; one angle for all antennas of a partition is allowed, within "
            f"{np.degrees(MOST_APART_RAD):.0f} degree: {remedy}"
        )
    return float(known[0])
