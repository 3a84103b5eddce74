"""Frequencies in the rest frames of an observer: where a spectral line is, whoever looks, and whenever.

1. The observatory moves with the Earth's rotation (omega x r, Earth rotation angle of IAU 2006) and with the Earth
   around the Sun (ERFA ``epv00``, a few mm/s); the kinematic standard of rest (LSRK) moves against the barycentre by 20
   km/s away from 18h, +30 deg (1900), the dynamical one (LSRD) by (9, 12, 7) km/s in galactic coordinates. The numbers
   are those of astropy's frames.
2. A frame whose velocity v has the component b = v.n / c towards the source sees the frequency

       f = f_bary sqrt((1 + b) / (1 - b))

   which is how astropy's ``SpectralCoord`` and casacore's ``MFrequency`` go from frame to frame: velocities along the
   line of sight, one frame after the other. The transverse Doppler shift, 5e-9, is left out as there.
3. The factor from one frame to another is the ratio of the two.

UT1 is taken for UTC and the pole of the Earth does not wander (:mod:`radps.domain.earth`): 4 cm/s.
The direction may be ICRS or FK5 (J2000); they differ by 0.02 arcsec.

Velocities of a line of rest frequency f0: radio v = c (1 - f / f0), optical v = c (f0 / f - 1), relativistic
v = c (f0^2 - f^2) / (f0^2 + f^2).

References
----------
Greisen, Calabretta, Valdes & Allen 2006, A&A 446, 747. Schoenrich et al. 2010, MNRAS 403, 1829 (for other values of the
Sun's motion, which neither casacore nor this module takes).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radps.domain.earth import DAY_S, celestial_to_earth, orbital_velocity
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import DataError

SpectralFrame = Literal["TOPO", "GEO", "BARY", "LSRK", "LSRD"]
SPECTRAL_FRAMES: tuple[SpectralFrame, ...] = ("TOPO", "GEO", "BARY", "LSRK", "LSRD")

VelocityConvention = Literal["radio", "optical"]
DopplerConvention = Literal["radio", "optical", "relativistic"]

LSRK_VELOCITY_M_S = (-289.99707, 17317.26479, -10001.41200)
"""Of the kinematic standard of rest against the barycentre, along the ICRS axes (astropy's ``LSRK``)."""

LSRD_VELOCITY_M_S = (638.23064, 14585.42448, -7801.15724)
"""Of the dynamical standard of rest (astropy's ``LSRD``)."""

_ROTATION_RAD_S = 7.292115146706979e-5
"""Of the Earth against the stars."""
_AU_PER_DAY_M_S = 149597870700.0 / DAY_S


class DopplerRule(NamedTuple):
    """What the shift of a data set from its frame to that of an image depends on, besides the time."""

    data_frame: str
    image_frame: str
    ra_rad: float
    """Field, ICRS or FK5 [rad]."""
    dec_rad: float
    position_m: tuple[float, float, float]
    """Observatory, ITRF [m]."""


def doppler_factors(time_s: NDArray[np.float64], rule: DopplerRule) -> NDArray[np.float64]:
    """Return the frequency in the frame of the image over that in the frame of the data, at each time.

    Parameters
    ----------
    time_s : ndarray, shape (time,)
        UTC, unix seconds.
    rule : DopplerRule
        The two frames, the field and the observatory.

    Returns
    -------
    ndarray, float64, shape (time,)
        Exactly 1 where the frames are the same. A time's value does not depend on which others are asked for.

    Raises
    ------
    DataError
        A frame is not known.
    """
    times = np.atleast_1d(np.asarray(time_s, np.float64))
    for frame in (rule.data_frame, rule.image_frame):
        if frame not in SPECTRAL_FRAMES and rule.data_frame != rule.image_frame:
            raise DataError(
                f"frequencies in the frame {frame!r} cannot be brought to another one; frames that can: "
                f"{', '.join(SPECTRAL_FRAMES)}"
            )
    if rule.data_frame == rule.image_frame:
        return np.ones(times.size)
    return _shift(times, rule, rule.image_frame) / _shift(times, rule, rule.data_frame)


def frequency_of_velocity(
    velocity_m_s: NDArray[np.float64] | float, rest_frequency_hz: float, convention: VelocityConvention
) -> NDArray[np.float64]:
    """Return the frequency [Hz] at which a line has a velocity [m/s]."""
    beta = np.asarray(velocity_m_s, np.float64) / SPEED_OF_LIGHT_M_S
    return np.asarray(rest_frequency_hz * (1.0 - beta) if convention == "radio" else rest_frequency_hz / (1.0 + beta))


def velocity_of_frequency(
    frequency_hz: ArrayLike, rest_frequency_hz: float, convention: DopplerConvention
) -> NDArray[np.float64]:
    """Return the velocity [m/s] that a line has at a frequency [Hz].

    Raises
    ------
    DataError
        If the rest frequency is not a positive number.
    """
    if not (math.isfinite(rest_frequency_hz) and rest_frequency_hz > 0):
        raise DataError(
            f"rest frequency {rest_frequency_hz} Hz: velocities need a positive one, such as 1420405752 Hz for HI"
        )
    ratio = np.asarray(frequency_hz, np.float64) / rest_frequency_hz
    if convention == "radio":
        beta = 1.0 - ratio
    elif convention == "optical":
        beta = 1.0 / ratio - 1.0
    else:
        beta = (1.0 - ratio**2) / (1.0 + ratio**2)
    return np.asarray(SPEED_OF_LIGHT_M_S * beta)


def _shift(time_s: NDArray[np.float64], rule: DopplerRule, frame: str) -> NDArray[np.float64]:
    """Return the frequency in a frame over that at the barycentre, shape (time,)."""
    cos_dec = np.cos(rule.dec_rad)
    towards = np.array([np.cos(rule.ra_rad) * cos_dec, np.sin(rule.ra_rad) * cos_dec, np.sin(rule.dec_rad)])
    velocity = _velocity(time_s, np.asarray(rule.position_m, np.float64), frame)
    # Written out: the result of a library's matrix product may depend on the number of rows in its last bit.
    beta = sum(velocity[:, axis] * towards[axis] for axis in range(3)) / SPEED_OF_LIGHT_M_S
    return np.asarray(np.sqrt((1.0 + beta) / (1.0 - beta)))


def _velocity(time_s: NDArray[np.float64], position_m: NDArray[np.float64], frame: str) -> NDArray[np.float64]:
    """Return the velocity of a frame against the barycentre along the ICRS axes, (time, 3) [m/s]."""
    constant = {"BARY": (0.0, 0.0, 0.0), "LSRK": LSRK_VELOCITY_M_S, "LSRD": LSRD_VELOCITY_M_S}.get(frame)
    if constant is not None:
        return np.broadcast_to(np.array(constant), (time_s.size, 3))
    orbit = orbital_velocity(time_s) * _AU_PER_DAY_M_S
    if frame == "GEO":
        return orbit
    to_earth = celestial_to_earth(time_s)
    rotation = _ROTATION_RAD_S * np.array([-position_m[1], position_m[0], 0.0])
    return np.asarray(orbit + sum(to_earth[:, axis, :] * rotation[axis] for axis in range(3)))
