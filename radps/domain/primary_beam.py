"""Primary beams: the power pattern of the antennas, pointed at the phase centre, and the image divided by it.

1. **VLA**: the polynomial of the nearest measured frequency (:mod:`radps.domain.vla_primary_beams`), as CASA and AIPS.
2. **ALMA**: the Airy pattern of a dish with a hole, [(e 2 J1(x)/x - 2 J1(y)/y) / (e - 1)]^2, x = pi D sin(r) f / c,
   y = x d / D, e = (D/d)^2. An illumination that falls towards the rim makes dishes of 12 m and 7 m as wide as
   D = 10.7 m and 6.25 m, with d = 0.75 m (as CASA).
3. **MeerKAT**: the field of an illumination that falls as a cosine, A = [cos(pi s) / (1 - 4 s^2)]^2, s = 1.189 r / t,
   with the width at half power t = 57.5 arcmin x 1.5 GHz / f.
4. **Elsewhere**: the Airy pattern of a full dish of the given diameter.

All hold for the main lobe, and for a beam that is round and the same for all antennas; beyond the radius where the
pattern falls below the cutoff the value is 0. The VLA's beams of R and L are offset by 6 % of their width: their mean,
Stokes I, is round.

References
----------
AIPS task PBCOR; Perley 2016, EVLA Memo 195. Remijan et al., ALMA Technical Handbook, section 3.2 (antennas); CASA
``vpmanager`` for the effective diameters. Mauch et al. 2020, ApJ 888, 61, equations 3 and 4 (MeerKAT).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import scipy.special
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid
from radps.domain.vla_primary_beams import VLA_PRIMARY_BEAM
from radps.errors import DataError

VLA_DISH_DIAMETER_M = 25.0
"""Used outside of the frequencies of the table."""

MAX_FREQUENCY_RATIO = 1.25
"""A measured pattern is used at frequencies up to this factor away from its own."""

MIN_CUTOFF = 0.03
"""The polynomials end there."""

_RISE = 1e-12
"""More than rounding errors."""

_MEERKAT_WIDTH_RAD_HZ = math.radians(57.5 / 60) * 1.5e9
_MEERKAT_TAPER = 1.189

Pattern: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From the distance from the pointing centre [rad] to the power, 1 at the centre."""


class _Dish(NamedTuple):
    """A dish with a round hole in its middle."""

    diameter_m: float
    """That of the even illumination which has the same beam."""
    blockage_m: float


_ALMA_DISHES = {12.0: _Dish(10.7, 0.75), 7.0: _Dish(6.25, 0.75)}
"""By the diameter that the data have [m]."""


def primary_beam(
    grid: ImageGrid,
    frequency_hz: float,
    telescope: str,
    *,
    dish_diameter_m: float | None = None,
    cutoff: float = 0.1,
) -> NDArray[np.float32]:
    """Return the power pattern of the antennas, pointed at the phase centre.

    Parameters
    ----------
    grid : ImageGrid
        The image.
    frequency_hz : float
        Frequency [Hz].
    telescope : str
        As the data have it: "VLA" (before 2010), "EVLA", "ALMA" and "MeerKAT" have patterns of their own.
    dish_diameter_m : float, optional
        Diameter of the dishes [m]: which of ALMA's antennas they are; elsewhere for an Airy pattern.
    cutoff : float
        Beyond the radius where the pattern falls below this, it is set to 0; 0.03 to 1.

    Returns
    -------
    ndarray of float32, shape (n_l, n_m)
        1 at the centre, 0 beyond the cutoff.

    Raises
    ------
    DataError
        For a telescope without pattern and without diameter, or a cutoff out of its range.
    """
    if not MIN_CUTOFF <= cutoff < 1:
        raise DataError(f"primary beam cutoff {cutoff}: allowed are {MIN_CUTOFF} (the polynomials end there) to 1")
    pattern = find_pattern(telescope, frequency_hz, dish_diameter_m)
    return keep_main_lobe(pattern, distance_from_centre(grid), cutoff).astype(np.float32)


def distance_from_centre(grid: ImageGrid, rows: int | slice = slice(None)) -> NDArray[np.float64]:
    """Return the angle of each pixel from the phase centre [rad], shape (n_l, n_m), or of some rows along l."""
    l = grid.l[rows]
    return np.asarray(np.arcsin(np.sqrt(l[..., np.newaxis] ** 2 + grid.m**2)), np.float64)


def keep_main_lobe(pattern: Pattern, radius_rad: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    """Return a pattern at some distances [rad]; 0 from where it first falls below the cutoff, or rises."""
    samples = np.linspace(0, float(radius_rad.max()), 4096)
    values = pattern(samples)
    # Some polynomials turn upwards again before they are down at the cutoff: that is no longer the main lobe.
    beyond = np.flatnonzero((values < cutoff) | (np.diff(values, append=values[-1]) > _RISE))
    edge = samples[beyond[0]] if beyond.size else math.inf
    value = pattern(radius_rad)
    return np.where((radius_rad < edge) & (value >= cutoff), value, 0.0)


def find_pattern(telescope: str, frequency_hz: float, dish_diameter_m: float | None = None) -> Pattern:
    """Return the power pattern of a telescope's antennas at a frequency [Hz]; arguments as of :func:`primary_beam`.

    Raises
    ------
    DataError
        The telescope has no pattern, and there is no diameter.
    """
    name = telescope.upper()
    if name in VLA_PRIMARY_BEAM:
        coefficients = _find_coefficients(name, frequency_hz)
        if coefficients is not None:
            return partial(_polynomial_pattern, frequency_hz=frequency_hz, coefficients=coefficients)
        return partial(_airy_pattern, frequency_hz=frequency_hz, dish=_Dish(dish_diameter_m or VLA_DISH_DIAMETER_M, 0))
    if name == "MEERKAT":
        return partial(_tapered_pattern, width_rad=_MEERKAT_WIDTH_RAD_HZ / frequency_hz)
    if name in ("ALMA", "ACA") and dish_diameter_m in _ALMA_DISHES:
        return partial(_airy_pattern, frequency_hz=frequency_hz, dish=_ALMA_DISHES[dish_diameter_m])
    if dish_diameter_m is None:
        raise DataError(
            f"no primary beam for telescope {telescope!r} at {frequency_hz / 1e9:.4g} GHz without the one diameter of "
            f"its dishes: known are VLA, EVLA and MeerKAT, and ALMA's dishes of 12 m alone or of 7 m alone; leave out "
            f"`primary_beam_correction` and `mask_primary_beam`, or import the antennas of one diameter "
            f"(`import_data: {{antennas: [...]}}`)"
        )
    return partial(_airy_pattern, frequency_hz=frequency_hz, dish=_Dish(dish_diameter_m, 0))


def correct_primary_beam(image: NDArray[np.float32], pattern: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image divided by the primary beam; NaN where the beam is 0."""
    return np.divide(image, pattern, out=np.full(image.shape, np.nan, np.float32), where=pattern > 0)


def _find_coefficients(name: str, frequency_hz: float) -> tuple[float, ...] | None:
    """Return the row of the table that is nearest in the logarithm of the frequency, or None."""
    table = VLA_PRIMARY_BEAM[name]
    nearest = min(table, key=lambda row: abs(math.log(row / frequency_hz)))
    return None if abs(math.log(nearest / frequency_hz)) > math.log(MAX_FREQUENCY_RATIO) else table[nearest]


def _polynomial_pattern(
    radius_rad: NDArray[np.float64], *, frequency_hz: float, coefficients: tuple[float, ...]
) -> NDArray[np.float64]:
    x = (np.degrees(radius_rad) * 60 * frequency_hz / 1e9) ** 2
    powers = (1e-3, 1e-7, 1e-10, 1e-14)
    value = np.zeros_like(x)
    for coefficient, power in reversed(list(zip(coefficients, powers, strict=False))):
        value = x * (coefficient * power + value)
    return 1 + value


def _airy_pattern(radius_rad: NDArray[np.float64], *, frequency_hz: float, dish: _Dish) -> NDArray[np.float64]:
    argument = math.pi * dish.diameter_m * frequency_hz / SPEED_OF_LIGHT_M_S * np.sin(radius_rad)
    field = _airy_field(argument)
    if dish.blockage_m > 0:
        ratio = dish.diameter_m / dish.blockage_m
        field = (ratio**2 * field - _airy_field(argument / ratio)) / (ratio**2 - 1)
    return field**2


def _airy_field(argument: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 2 J1(x) / x, 1 at 0."""
    safe = np.where(argument > 0, argument, 1)
    return np.where(argument > 0, 2 * scipy.special.j1(safe) / safe, 1.0)


def _tapered_pattern(radius_rad: NDArray[np.float64], *, width_rad: float) -> NDArray[np.float64]:
    scaled = _MEERKAT_TAPER * radius_rad / width_rad
    # Both are 0 at scaled = 1/2, where the limit of the field is pi / 4.
    denominator = 1 - 4 * scaled**2
    regular = np.abs(denominator) > 1e-9
    field = np.where(regular, np.cos(math.pi * scaled) / np.where(regular, denominator, 1), math.pi / 4)
    return field**2
