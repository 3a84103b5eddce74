"""How feeds are turned against the sky, as the antennas of a data set say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import join_url, load_array
from radps.domain.array import horizontal_direction
from radps.errors import DataError


class FeedRule(NamedTuple):
    """A field whose feeds may turn against the sky, as those of alt-azimuth mounts do."""

    ra_rad: float
    """Field, ICRS or FK5 [rad]."""
    dec_rad: float
    always: bool = False
    """True = they turn; False = as the mounts of the antennas say."""
    remedy: str = "give parallactic_angle: true (as ALT-AZ) or false (the data are corrected)"
    """What to do where the mounts do not say it."""


def find_parallactic_angle(store: str, feeds: FeedRule, time_s: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the angle by which the feeds are turned against the sky, (time,) [rad]; None: they are not.

    Raises
    ------
    DataError
        The mounts are neither all ALT-AZ nor all EQUATORIAL.
    """
    antennas = join_url(store, "antenna_xds")
    if not feeds.always:
        mounts = {str(mount).upper() for mount in load_array(join_url(antennas, "mount")).tolist()}
        if mounts == {"EQUATORIAL"}:
            return None
        if mounts != {"ALT-AZ"}:
            raise DataError(
                f"the mounts of the antennas of {store} are {', '.join(sorted(mounts))}; how their feeds turn "
                f"against the sky is known for ALT-AZ and EQUATORIAL: {feeds.remedy}"
            )
    positions = load_array(join_url(antennas, "ANTENNA_POSITION"))
    return horizontal_direction(positions, time_s, feeds.ra_rad, feeds.dec_rad).parallactic_angle_rad
