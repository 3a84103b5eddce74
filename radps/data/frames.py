"""Directions of older frames, brought to FK5 J2000, with the turn of the (u, v) axes that belongs to it.

1. The direction of the sky stays the same; only its coordinates change. So visibilities and w stay as they are.
2. The axes of (u, v) follow the pole of the frame: v points to its north. Seen in the new frame, the old north has the
   position angle theta, so that u' = u cos(theta) + v sin(theta), v' = -u sin(theta) + v cos(theta).
3. B1950 (FK4) positions hold for the epoch at which they were taken, as FK4 turns slowly against the galaxies. For the
   VLA that epoch is 1979.9, as casacore has it (``B1950_VLA``), for other telescopes 1950.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from radps.errors import DataError

_VLA_EPOCH = 1979.9
_EQUINOXES = (1800.0, 2100.0)
"""Years that an equinox can be of."""
_STEP_ARCMIN = 1.0


class ModernDirection(NamedTuple):
    """A direction in a frame that MSv4 partitions of radps have."""

    ra_rad: float
    dec_rad: float
    frame: str
    """``icrs`` or ``fk5`` (J2000)."""
    rotation_rad: float
    """Position angle of the old north in the new frame, for :func:`rotate_uvw` [rad]; 0 = nothing to turn."""


def to_modern_frame(
    ra_rad: float, dec_rad: float, frame: str, equinox: float | None = None, *, telescope: str = ""
) -> ModernDirection:
    """Bring a direction to ICRS or FK5 J2000.

    Parameters
    ----------
    ra_rad, dec_rad : float
        Direction [rad].
    frame : str
        ``icrs``, ``fk5`` or ``fk4``, small or capital letters.
    equinox : float, optional
        Of ``fk5`` (Julian year) and ``fk4`` (Besselian year); default 2000 and 1950.
    telescope : str
        Name of the array; the VLA has an epoch of its own for B1950.

    Returns
    -------
    ModernDirection
        ICRS and FK5 J2000 stay as they are, all else becomes FK5 J2000.

    Raises
    ------
    DataError
        The frame is another one, its equinox is no year of our times, or the direction is not finite.
    """
    name = frame.lower()
    if not (np.isfinite(ra_rad) and np.isfinite(dec_rad)):
        raise DataError(f"the phase centre is ({ra_rad}, {dec_rad}) rad ({frame}), not a direction; correct the data")
    if name == "icrs" or (name == "fk5" and equinox in (None, 2000.0)):
        return ModernDirection(float(np.mod(ra_rad, 2 * np.pi)), float(dec_rad), name, 0.0)
    if name not in ("fk4", "fk5"):
        raise DataError(
            f"the phase centre is in frame {frame!r}; frames that are read: icrs, fk5 (J2000 or another equinox), fk4 "
            "(B1950)"
        )
    if equinox is not None and not _EQUINOXES[0] <= equinox <= _EQUINOXES[1]:
        raise DataError(
            f"the phase centre is of the equinox {equinox:.6g}, allowed are {_EQUINOXES[0]:g} to {_EQUINOXES[1]:g}: "
            "correct it in the data (EPOCH or EQUINOX of a UVFITS file)"
        )
    # Seconds to import; only data of an old frame need them.
    from astropy import units
    from astropy.coordinates import FK4, FK5, SkyCoord
    from astropy.time import Time

    if name == "fk5":
        old = FK5(equinox=Time(equinox, format="jyear"))
    else:
        epoch = _VLA_EPOCH if "VLA" in telescope.upper() else 1950.0
        besselian = Time(equinox or 1950.0, format="byear")
        old = FK4(equinox=besselian, obstime=Time(epoch, format="byear"))
    center = SkyCoord(ra_rad, dec_rad, unit="rad", frame=old)
    north = center.directional_offset_by(0 * units.deg, _STEP_ARCMIN * units.arcmin)
    new_center, new_north = (one.transform_to(FK5(equinox="J2000")) for one in (center, north))
    return ModernDirection(
        float(new_center.ra.rad),
        float(new_center.dec.rad),
        "fk5",
        float(_signed(new_center.position_angle(new_north).rad)),
    )


def rotate_uvw(uvw_m: npt.NDArray[np.float64], rotation_rad: float) -> npt.NDArray[np.float64]:
    """Turn baseline coordinates of an old frame to the new one; w stays.

    Parameters
    ----------
    uvw_m : ndarray, shape (..., 3) float64
        Baseline coordinates [m].
    rotation_rad : float
        Of :func:`to_modern_frame` [rad].
    """
    if rotation_rad == 0.0:
        return uvw_m
    cosine, sine = np.cos(rotation_rad), np.sin(rotation_rad)
    u, v, w = (uvw_m[..., axis] for axis in range(3))
    return np.stack([u * cosine + v * sine, v * cosine - u * sine, w], axis=-1)


def _signed(angle_rad: float) -> float:
    """Return an angle between -pi and pi."""
    return (angle_rad + np.pi) % (2 * np.pi) - np.pi
