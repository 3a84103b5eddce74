"""Sky models made of components, and their visibilities by an exact Fourier sum.

1. A component is a point or an elliptical Gaussian at direction cosines (l, m) from the phase centre (SIN projection),
   with a power-law continuum and, if asked for, one Gaussian spectral line.
2. Its visibility on a baseline (u, v, w), in wavelengths and in the sign convention of MSv4, is ::

       V = S(f) G(u, v) exp(+2 pi i (u l + v m + w (n - 1))),     n = sqrt(1 - l^2 - m^2)
       G = exp(-pi^2 / (4 ln 2) ((major u')^2 + (minor v')^2))    u' along the major axis, axes as FWHM

3. :func:`predict_components` adds them up for each row and channel in float64. The sine and cosine are polynomials,
   the same for each element, so that a channel has the same bits in whatever block it is computed, and the compiler
   vectorises the loop over channels.

The sum is exact for points: to 1e-15 of the flux for each turn of phase. A Gaussian is taken as flat in the (l, m)
plane: the w-term across its size is left out. Bandwidth and time smearing are left out.

References
----------
Thompson, Moran & Swenson 2017, Interferometry and Synthesis in Radio Astronomy, chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import ModelError

_GAUSSIAN_EXPONENT = np.pi**2 / (4 * np.log(2))
_FWHM_EXPONENT = 4 * np.log(2)
_N_DIRECTIONS = 90
"""Directions of baselines that a mean over all of them is made of: every 2 degrees."""
_ROUND = 1.5 * 2.0**52
"""Adding and subtracting this rounds a float64 below 2^51 to the nearest integer, in vector code too."""


class Component(NamedTuple):
    """A point or Gaussian of the sky model, relative to the phase centre of the field."""

    l: float
    """Direction cosine towards the east."""
    m: float
    """Direction cosine towards the north."""
    flux_jy: float
    """Integrated continuum flux density (Stokes I) at ``reference_frequency_hz``."""
    reference_frequency_hz: float = 1.4e9
    """Where ``flux_jy`` holds."""
    spectral_index: float = 0.0
    """Continuum flux density goes as frequency to this power."""
    major_rad: float = 0.0
    """FWHM of the major axis; 0 = a point."""
    minor_rad: float = 0.0
    """FWHM of the minor axis."""
    position_angle_rad: float = 0.0
    """Of the major axis, from north through east."""
    line_peak_jy: float = 0.0
    """Flux density of the spectral line at its centre; 0 = no line, negative = absorption."""
    line_center_hz: float = 0.0
    """Centre of the line."""
    line_width_hz: float = 0.0
    """FWHM of the line."""
    spectral_curvature: tuple[float, ...] = ()
    """Further terms of the spectrum: log10(S / flux) = index x + curvature[0] x^2 + ..., x = log10(f / reference)."""
    q_fraction: float = 0.0
    """Stokes Q over I, at all frequencies; on the sky (IAU)."""
    u_fraction: float = 0.0
    """Stokes U over I."""
    v_fraction: float = 0.0
    """Stokes V over I."""


def direction_cosines(
    ra_rad: ArrayLike, dec_rad: ArrayLike, center_ra_rad: float, center_dec_rad: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (l, m) of directions as seen from a phase centre (orthographic, SIN projection).

    Parameters
    ----------
    ra_rad, dec_rad : array_like
        Directions, in the frame of the phase centre [rad].
    center_ra_rad, center_dec_rad : float
        Phase centre [rad].

    Returns
    -------
    l, m : ndarray
        Direction cosines towards east and north.

    Raises
    ------
    ModelError
        A direction is 90 degrees or more away from the phase centre.

    References
    ----------
    Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.5.
    """
    ra, dec = np.asarray(ra_rad, np.float64), np.asarray(dec_rad, np.float64)
    difference = ra - center_ra_rad
    n = np.sin(dec) * np.sin(center_dec_rad) + np.cos(dec) * np.cos(center_dec_rad) * np.cos(difference)
    if np.any(n <= 0):
        raise ModelError(
            f"a sky component lies {math.degrees(math.acos(max(-1.0, float(np.min(n))))):.1f} degrees from the phase "
            "centre; the SIN projection holds less than 90 degrees: move the component or the phase centre"
        )
    l = np.cos(dec) * np.sin(difference)
    m = np.sin(dec) * np.cos(center_dec_rad) - np.cos(dec) * np.sin(center_dec_rad) * np.cos(difference)
    return l, m


def sky_position(
    l: ArrayLike, m: ArrayLike, center_ra_rad: float, center_dec_rad: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (ra, dec) [rad], ra in [0, 2 pi), of direction cosines: the inverse of :func:`direction_cosines`."""
    east, north = np.asarray(l, np.float64), np.asarray(m, np.float64)
    n = 1.0 + _n_minus_one(east, north)
    sine, cosine = np.sin(center_dec_rad), np.cos(center_dec_rad)
    ra = center_ra_rad + np.arctan2(east, n * cosine - north * sine)
    return np.mod(ra, 2 * np.pi), np.arcsin(north * cosine + n * sine)


def component_flux(components: Sequence[Component], frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the flux density of each component at each frequency.

    Parameters
    ----------
    components : sequence of Component
    frequency_hz : ndarray, shape (channel,)

    Returns
    -------
    ndarray, shape (component, channel)
        Jy.

    Raises
    ------
    ModelError
        A component has a line without a width, or a spectral index without a reference frequency.
    """
    frequency = np.asarray(frequency_hz, np.float64)
    flux = np.zeros((len(components), frequency.size))
    for row, component in zip(flux, components, strict=True):
        if component.reference_frequency_hz <= 0:
            raise ModelError(
                f"a sky component has the reference frequency {component.reference_frequency_hz} Hz; "
                "it must be positive: give the frequency where its flux density holds"
            )
        ratio = frequency / component.reference_frequency_hz
        row[:] = component.flux_jy * ratio**component.spectral_index
        if component.spectral_curvature:
            row *= 10.0 ** np.polynomial.polynomial.polyval(np.log10(ratio), (0.0, 0.0, *component.spectral_curvature))
        if component.line_peak_jy != 0.0:
            if component.line_width_hz <= 0:
                raise ModelError(
                    f"a sky component has a line of {component.line_peak_jy} Jy and the width "
                    f"{component.line_width_hz} Hz; the width (FWHM) must be positive"
                )
            offset = (frequency - component.line_center_hz) / component.line_width_hz
            row += component.line_peak_jy * np.exp(-_FWHM_EXPONENT * offset**2)
    return flux


def predict_components(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    components: Sequence[Component],
    flux_jy: NDArray[np.float64] | None = None,
) -> NDArray[np.complex128]:
    """Predict the visibilities (Stokes I) of components by the exact Fourier sum, w-term included.

    Parameters
    ----------
    uvw_m : ndarray, shape (row, 3)
        As stored in MSv4 [m]: a component at (l, m) has the phase +2 pi (u l + v m + w (n - 1)).
    frequency_hz : ndarray, shape (channel,)
        In any order and spacing.
    components : sequence of Component
    flux_jy : ndarray, shape (component, channel), optional
        Flux densities to use in place of the spectra of the components, such as a calibrator's.

    Returns
    -------
    ndarray, complex128, shape (row, channel)
        Jy. NaN where uvw is NaN. An element does not depend on which others are asked for, to the last bit.

    Raises
    ------
    ModelError
        A component lies outside the hemisphere of the phase centre, has an impossible spectrum, or ``flux_jy`` does
        not have one row a component and one column a channel.
    """
    frequency = np.ascontiguousarray(frequency_hz, np.float64)
    flux = component_flux(components, frequency) if flux_jy is None else np.ascontiguousarray(flux_jy, np.float64)
    if flux.shape != (len(components), frequency.size):
        raise ModelError(
            f"flux_jy has the shape {flux.shape}; {len(components)} components and {frequency.size} channels "
            f"need {(len(components), frequency.size)}"
        )
    geometry = np.array([_geometry(component) for component in components], np.float64).reshape(len(components), 6)
    visibilities: NDArray[np.complex128] = _predict(np.ascontiguousarray(uvw_m, np.float64), frequency, geometry, flux)
    return visibilities


def mean_amplitude(components: Sequence[Component], baseline_m: float, frequency_hz: float) -> float:
    """Return the mean amplitude of components over baselines of one length and all directions [Jy].

    Parameters
    ----------
    components : sequence of Component
    baseline_m : float
        Length, in the plane of u and v [m].
    frequency_hz : float
        Frequency [Hz].
    """
    angle = np.arange(_N_DIRECTIONS) * (np.pi / _N_DIRECTIONS)  # the other half of the circle is its conjugate
    uvw_m = baseline_m * np.stack([np.sin(angle), np.cos(angle), np.zeros_like(angle)], axis=1)
    return float(np.abs(predict_components(uvw_m, np.array([frequency_hz]), components)).mean())


def _n_minus_one(l: NDArray[np.float64], m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sqrt(1 - l^2 - m^2) - 1 without the loss of digits near the centre."""
    squared = l**2 + m**2
    return -squared / (1.0 + np.sqrt(1.0 - squared))


def _geometry(component: Component) -> tuple[float, float, float, float, float, float]:
    """Return l, m, n - 1 and the three coefficients of the exponent of the Gaussian in u^2, u v, v^2."""
    squared = component.l**2 + component.m**2
    if squared >= 1:
        raise ModelError(
            f"a sky component has the direction cosines l = {component.l}, m = {component.m}; l^2 + m^2 must be "
            "below 1: they are in radians, not in degrees or arcseconds"
        )
    sine, cosine = math.sin(component.position_angle_rad), math.cos(component.position_angle_rad)
    major, minor = component.major_rad**2 * _GAUSSIAN_EXPONENT, component.minor_rad**2 * _GAUSSIAN_EXPONENT
    return (
        component.l,
        component.m,
        -squared / (1.0 + math.sqrt(1.0 - squared)),
        major * sine**2 + minor * cosine**2,
        2.0 * (major - minor) * sine * cosine,
        major * cosine**2 + minor * sine**2,
    )


@nb.njit(inline="always")  # type: ignore[untyped-decorator]
def sine_cosine_of_turns(turns: float) -> tuple[float, float]:
    """Return the sine and cosine of ``2 pi turns`` to 1e-14, by arithmetic alone; for use in compiled loops.

    With x = turns - round(turns) in [-1/2, 1/2], Taylor series give s = sin(pi x) and c = cos(pi x); then
    sin(2 pi x) = 2 s c and cos(2 pi x) = 1 - 2 s^2. A library's sine may have other bits in vector code than in the
    rest of a loop; this has not. Good for up to 2^51 turns.
    """
    angle = math.pi * (turns - ((turns + _ROUND) - _ROUND))
    y = angle * angle
    sine = -1.0 / 121645100408832000.0
    sine = sine * y + 1.0 / 355687428096000.0
    sine = sine * y - 1.0 / 1307674368000.0
    sine = sine * y + 1.0 / 6227020800.0
    sine = sine * y - 1.0 / 39916800.0
    sine = sine * y + 1.0 / 362880.0
    sine = sine * y - 1.0 / 5040.0
    sine = sine * y + 1.0 / 120.0
    sine = sine * y - 1.0 / 6.0
    sine = (sine * y + 1.0) * angle
    cosine = -1.0 / 6402373705728000.0
    cosine = cosine * y + 1.0 / 20922789888000.0
    cosine = cosine * y - 1.0 / 87178291200.0
    cosine = cosine * y + 1.0 / 479001600.0
    cosine = cosine * y - 1.0 / 3628800.0
    cosine = cosine * y + 1.0 / 40320.0
    cosine = cosine * y - 1.0 / 720.0
    cosine = cosine * y + 1.0 / 24.0
    cosine = cosine * y - 0.5
    cosine = cosine * y + 1.0
    return 2.0 * sine * cosine, 1.0 - 2.0 * sine * sine


@nb.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _predict(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    geometry: NDArray[np.float64],
    flux_jy: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Sum over components; the inner loops run over channels and have no branch, so that they are vectorised."""
    n_channels = frequency_hz.size
    out = np.zeros((uvw_m.shape[0], n_channels), np.complex128)
    real = np.empty(n_channels)
    imag = np.empty(n_channels)
    amplitude = np.empty(n_channels)
    for row in range(uvw_m.shape[0]):
        u = uvw_m[row, 0] / SPEED_OF_LIGHT_M_S
        v = uvw_m[row, 1] / SPEED_OF_LIGHT_M_S
        w = uvw_m[row, 2] / SPEED_OF_LIGHT_M_S
        real[:] = 0.0
        imag[:] = 0.0
        for k in range(geometry.shape[0]):
            delay = u * geometry[k, 0] + v * geometry[k, 1] + w * geometry[k, 2]
            exponent = u * u * geometry[k, 3] + u * v * geometry[k, 4] + v * v * geometry[k, 5]
            if exponent == 0.0:
                amplitude[:] = flux_jy[k]
            else:
                for c in range(n_channels):
                    amplitude[c] = flux_jy[k, c] * math.exp(-exponent * frequency_hz[c] * frequency_hz[c])
            for c in range(n_channels):
                sine, cosine = sine_cosine_of_turns(delay * frequency_hz[c])
                real[c] += amplitude[c] * cosine
                imag[c] += amplitude[c] * sine
        for c in range(n_channels):
            out[row, c] = complex(real[c], imag[c])
    return out
