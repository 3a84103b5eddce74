"""Flags from where the dishes are: one in front of another, and a source too near to the horizon.

1. **Shadowing.** Seen from the source, two dishes whose centres are closer than the mean of their diameters overlap.
   The distance of the centres is sqrt(u^2 + v^2) of their baseline, and w says which one is in front: with
   uvw = position(antenna1) - position(antenna2) and w towards the source, antenna 1 is in front where w > 0, and
   antenna 2 is shadowed. All data of a shadowed antenna at that time are flagged.
2. **Elevation.** Data are flagged where the source is below (or above) a limit, seen from the centre of the array and
   without refraction, which lifts a source at 10 degrees by 5 arcmin. The antennas of the VLA's A array differ from its
   centre by up to 0.2 degrees.

Where it fails: a pair of antennas without a baseline in the data is not looked at (CASA computes it from the
positions); an antenna that is not in the data shadows nobody. At long wavelengths a dish takes power from beyond its
geometric shadow, too: a negative tolerance flags more.

References
----------
CASA ``flagdata``: modes ``shadow`` (``tolerance``) and ``elevation`` (``lowerlimit``, ``upperlimit``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radps.errors import SelectionError


def find_shadowed_antennas(
    uvw_m: NDArray[np.float64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    diameters_m: NDArray[np.float64],
    tolerance_m: float = 0.0,
) -> NDArray[np.bool_]:
    """Return which antennas stand in the shadow of another one.

    Parameters
    ----------
    uvw_m : ndarray, shape (time, baseline, 3)
        Position of antenna 1 minus that of antenna 2, along (u, v, w) [m]. A baseline with uvw = 0 or not finite has no
        data and shadows nothing.
    antenna1, antenna2 : ndarray of int, shape (baseline,)
        Antenna indices.
    diameters_m : ndarray, shape (antenna,)
        Diameters of the dishes [m].
    tolerance_m : float
        Dishes may overlap by this much without being flagged [m] (CASA ``tolerance``).

    Returns
    -------
    ndarray of bool, shape (time, antenna)
        True = in the shadow. Each time is judged by itself.

    Raises
    ------
    SelectionError
        If a diameter is not positive and finite.
    """
    unknown = np.flatnonzero(~(np.isfinite(diameters_m) & (diameters_m > 0)))
    if unknown.size:
        raise SelectionError(
            f"shadowing: found a diameter of {diameters_m[unknown[0]]:g} m for antenna number {unknown[0]}; it has to "
            "be above 0 m. Give `dish_diameter` if the data do not say it"
        )
    separation = np.hypot(uvw_m[..., 0], uvw_m[..., 1])
    touching = 0.5 * (diameters_m[antenna1] + diameters_m[antenna2]) - tolerance_m
    # A comparison with NaN is False; a baseline of length 0 is an antenna with itself, or no data.
    overlap = (separation < touching) & (np.abs(uvw_m).max(axis=-1) > 0)
    first_in_front = uvw_m[..., 2] > 0
    shadowed = np.zeros((len(uvw_m), len(diameters_m)), np.bool_)
    for behind, antennas in ((overlap & first_in_front, antenna2), (overlap & ~first_in_front, antenna1)):
        time, baseline = np.nonzero(behind)
        shadowed[time, antennas[baseline]] = True
    return shadowed


def flag_shadowed(
    uvw_m: NDArray[np.float64],
    antenna1: NDArray[np.integer[Any]],
    antenna2: NDArray[np.integer[Any]],
    diameters_m: NDArray[np.float64],
    tolerance_m: float = 0.0,
) -> NDArray[np.bool_]:
    """Flag all data of antennas that stand in the shadow of another one.

    Parameters and errors are those of :func:`find_shadowed_antennas`.

    Returns
    -------
    ndarray of bool, shape (time, baseline, 1, 1)
        True = do not use.
    """
    shadowed = find_shadowed_antennas(uvw_m, antenna1, antenna2, diameters_m, tolerance_m)
    mask: NDArray[np.bool_] = shadowed[:, antenna1] | shadowed[:, antenna2]
    return mask[:, :, np.newaxis, np.newaxis]


def flag_elevation(
    elevation_rad: NDArray[np.float64], lowest_rad: float = 0.0, highest_rad: float = math.pi / 2
) -> NDArray[np.bool_]:
    """Flag times at which the source is too low or too high.

    Parameters
    ----------
    elevation_rad : ndarray, shape (time,)
        Of the source, above the horizon [rad], from :func:`radps.domain.array.horizontal_direction`.
    lowest_rad, highest_rad : float
        Elevations within these limits are used [rad] (CASA ``lowerlimit``, ``upperlimit``).

    Returns
    -------
    ndarray of bool, shape (time, 1, 1, 1)
        True = do not use.

    Raises
    ------
    SelectionError
        If no elevation is within the limits.
    """
    if not lowest_rad < highest_rad:
        raise SelectionError(
            f"elevation: found limits of {math.degrees(lowest_rad):g} and {math.degrees(highest_rad):g} deg; "
            "the lower one has to come first"
        )
    mask: NDArray[np.bool_] = ~((elevation_rad >= lowest_rad) & (elevation_rad <= highest_rad))
    return mask[:, np.newaxis, np.newaxis, np.newaxis]
