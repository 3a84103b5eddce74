"""Moments of a spectral cube and its integrated spectrum, plane by plane, so that the cube is never in memory.

1. A pixel of a plane counts where it is finite, above a cut and inside the mask. CASA's ``immoments`` with
   ``excludepix=[-100, 0.009]`` is a cut of 9 mJy/beam: the cut itself does not count.
2. Each plane of velocity v and width dv adds I dv, I v dv and I v^2 dv to three sums (:func:`add_plane_to_moments`).
   Sums of different channels add up (:func:`merge_moment_sums`).
3. Moment 0 is sum I dv, moment 1 is sum I v dv / sum I dv, moment 2 is the root of
   sum I (v - moment 1)^2 dv / sum I dv (:func:`compute_moments`). A pixel that never counted is NaN in all three.
4. The flux density of a plane is the sum of its pixels that count, over the area of its beam in pixels
   (:func:`integrate_plane`). Times dv, over all channels, it is the line flux (:func:`integrate_spectrum`).

Velocities are in the frame of the frequencies, of one of three conventions (:mod:`radps.domain.spectral_frames`). In
the optical and the relativistic one channels of even width in frequency are of uneven width in velocity
(:func:`compute_velocity_widths`).

Masks: of the CLEAN, or where the plane, smoothed to a beam ``SMOOTHING`` times as wide, is above a cut in units of the
noise of the smoothed plane (:func:`find_smoothed_mask`); so the faint outskirts count, and
no pixel is chosen by its own noise.

A cut biases the moments: moment 0 misses the faint outskirts, moment 2 the wings of the line. Moments 1 and 2 have a
meaning only where the cut excludes negative pixels: with a sum I dv of zero or less they are NaN.

References
----------
Walter et al. 2008, AJ 136, 2563 (moments and fluxes of HI cubes).
Greisen et al. 2006, A&A 446, 747 (velocity conventions). Dame 2011, arXiv:1101.1499 (masks of smoothed cubes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from radps.domain.beam import SIGMA_TO_FWHM
from radps.domain.spectral_frames import DopplerConvention, velocity_of_frequency
from radps.domain.statistics import robust_rms
from radps.errors import DataError

SMOOTHING = 2.0
"""Beam of a smoothed plane over that of the plane."""


class MomentSums(NamedTuple):
    """What the planes so far add up to; every array has the shape of a plane."""

    intensity: NDArray[np.float64]
    """Sum of I dv [Jy/beam km/s]."""
    velocity: NDArray[np.float64]
    """Sum of I v dv [Jy/beam (km/s)^2]."""
    square: NDArray[np.float64]
    """Sum of I v^2 dv [Jy/beam (km/s)^3]."""
    n_channels: NDArray[np.int32]
    """Channels in which the pixel counted."""


class Moments(NamedTuple):
    """The moments of a cube; every array has the shape of a plane, NaN where no channel counted."""

    intensity: NDArray[np.float32]
    """Moment 0: integrated intensity [Jy/beam km/s]."""
    velocity: NDArray[np.float32]
    """Moment 1: intensity-weighted velocity [km/s]."""
    dispersion: NDArray[np.float32]
    """Moment 2: intensity-weighted standard deviation of the velocity [km/s]."""
    n_channels: NDArray[np.int32]
    """Channels in which the pixel counted."""


class PlaneFlux(NamedTuple):
    """The flux density of one plane."""

    flux_jy: float
    """Sum of the pixels that count over the beam area [Jy]; 0 if none counts, NaN for a plane without data or beam."""
    n_pixels: int
    """Pixels that count."""


class IntegratedSpectrum(NamedTuple):
    """The integral of a spectrum over velocity; channels of NaN are left out."""

    flux_jy_km_s: float
    """Line flux [Jy km/s]; NaN if there is no valid channel."""
    velocity_km_s: float
    """Flux-weighted velocity [km/s]; NaN where the flux is zero or less."""
    n_channels: int
    """Channels with data."""


def find_channels_between(velocity_km_s: ArrayLike, limits_km_s: tuple[float, float]) -> tuple[int, int]:
    """Return the half-open range of channels whose velocities lie between two, both included; maybe empty.

    Parameters
    ----------
    velocity_km_s : array_like of float, shape (channel,)
        Velocities of the channels, rising or falling [km/s].
    limits_km_s : tuple of float
        In any order [km/s].
    """
    velocity = np.asarray(velocity_km_s, np.float64)
    inside = np.flatnonzero((velocity >= min(limits_km_s)) & (velocity <= max(limits_km_s)))
    return (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)


def measure_edges(flux_jy: ArrayLike) -> float:
    """Return the larger of the flux densities of the two outermost channels with data over that of the brightest one.

    Near 1 where a line is cut off by the end of a cube, or nothing but continuum or noise is in it; 0 without data or
    emission.
    """
    flux = np.asarray(flux_jy, np.float64)
    flux = flux[np.isfinite(flux)]
    if not flux.size or flux.max() <= 0:
        return 0.0
    return max(0.0, float(max(flux[0], flux[-1]) / flux.max()))


def compute_velocity(
    frequency_hz: ArrayLike, rest_frequency_hz: float, convention: DopplerConvention = "radio"
) -> NDArray[np.float64]:
    """Return velocities [km/s] of a convention, in the shape of the frequencies [Hz].

    Raises
    ------
    DataError
        If the rest frequency is not a positive number.
    """
    return velocity_of_frequency(frequency_hz, rest_frequency_hz, convention) / 1e3


def compute_velocity_widths(
    frequency_hz: ArrayLike,
    channel_width_hz: float,
    rest_frequency_hz: float,
    convention: DopplerConvention = "radio",
) -> NDArray[np.float64]:
    """Return the widths of channels as velocities [km/s], from edge to edge, always positive.

    Raises
    ------
    DataError
        If the rest frequency is not a positive number.
    """
    centre, half = np.asarray(frequency_hz, np.float64), channel_width_hz / 2
    first, last = (compute_velocity(centre + side, rest_frequency_hz, convention) for side in (-half, half))
    return np.abs(last - first)


def find_smoothed_mask(plane: NDArray[np.float32], beam_pixels: float, n_sigma: float) -> NDArray[np.bool_]:
    """Return where the smoothed plane is above its noise.

    Parameters
    ----------
    plane : ndarray of float32, shape (n_l, n_m)
        A channel of the cube [Jy/beam], with the same noise everywhere; pixels of NaN are not in the mask.
    beam_pixels : float
        Width (FWHM) of its beam [pixel]: of an elliptical one the geometric mean; NaN = no beam, nothing is smoothed.
    n_sigma : float
        Cut in units of the robust noise of the smoothed plane.
    """
    valid = np.isfinite(plane)
    smoothed = np.where(valid, plane, 0).astype(np.float64)
    if math.isfinite(beam_pixels):
        width = beam_pixels * math.sqrt(SMOOTHING**2 - 1) / SIGMA_TO_FWHM
        smoothed = gaussian_filter(smoothed, width, mode="constant")
    found: NDArray[np.bool_] = valid & (smoothed > n_sigma * robust_rms(smoothed[valid]))
    return found


def find_counted_pixels(
    plane: NDArray[np.float32], cut: float, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return the pixels of a plane that count: finite, above the cut, inside the mask.

    Raises
    ------
    DataError
        If the shapes of plane and mask differ.
    """
    counted: NDArray[np.bool_] = np.isfinite(plane) & (plane > cut)
    if mask is None:
        return counted
    if mask.shape != plane.shape:
        raise DataError(f"mask of shape {mask.shape} for a plane of shape {plane.shape}: must be equal")
    return counted & mask


def create_moment_sums(shape: tuple[int, int]) -> MomentSums:
    """Return the sums of no plane.

    Parameters
    ----------
    shape : tuple of int
        Shape of a plane, (n_l, n_m).
    """
    return MomentSums(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int32))


def add_plane_to_moments(
    sums: MomentSums,
    plane: NDArray[np.float32],
    velocity_km_s: float,
    width_km_s: float,
    *,
    cut: float,
    mask: NDArray[np.bool_] | None = None,
) -> MomentSums:
    """Return the sums with one plane added.

    Parameters
    ----------
    sums : MomentSums
        The sums so far; not changed.
    plane : ndarray of float32, shape (n_l, n_m)
        A channel of the cube [Jy/beam]; NaN does not count.
    velocity_km_s : float
        Velocity of the channel [km/s].
    width_km_s : float
        Width of the channel [km/s], positive.
    cut : float
        Only pixels above this count [Jy/beam]; ``-math.inf`` = all.
    mask : ndarray of bool, shape (n_l, n_m), optional
        True = the pixel may count; default: everywhere.

    Raises
    ------
    DataError
        If the shapes differ, the velocity is not finite, or the width is not positive.
    """
    if plane.shape != sums.intensity.shape:
        raise DataError(f"plane of shape {plane.shape} for moments of shape {sums.intensity.shape}: must be equal")
    if not (math.isfinite(velocity_km_s) and math.isfinite(width_km_s) and width_km_s > 0):
        raise DataError(
            f"channel at {velocity_km_s} km/s of width {width_km_s} km/s: "
            "the velocity must be finite, the width positive"
        )
    counted = find_counted_pixels(plane, cut, mask)
    intensity = np.where(counted, plane, 0).astype(np.float64) * width_km_s
    return MomentSums(
        sums.intensity + intensity,
        sums.velocity + intensity * velocity_km_s,
        sums.square + intensity * velocity_km_s**2,
        sums.n_channels + counted.astype(np.int32),
    )


def merge_moment_sums(first: MomentSums, second: MomentSums) -> MomentSums:
    """Return the sums of the planes of both.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    if first.intensity.shape != second.intensity.shape:
        raise DataError(
            f"moments of shapes {first.intensity.shape} and {second.intensity.shape} cannot be added: must be equal"
        )
    return MomentSums(
        first.intensity + second.intensity,
        first.velocity + second.velocity,
        first.square + second.square,
        first.n_channels + second.n_channels,
    )


def compute_moments(sums: MomentSums) -> Moments:
    """Return the moments of all planes that were added."""
    counted = sums.n_channels > 0
    weighted = counted & (sums.intensity > 0)
    velocity = _divide(sums.velocity, sums.intensity, weighted)
    variance = _divide(sums.square, sums.intensity, weighted) - velocity**2
    return Moments(
        np.where(counted, sums.intensity, np.nan).astype(np.float32),
        velocity.astype(np.float32),
        np.sqrt(np.maximum(variance, 0)).astype(np.float32),  # rounding takes a line in one channel below 0
        sums.n_channels,
    )


def integrate_plane(
    plane: NDArray[np.float32], beam_area_pixels: float, *, cut: float, mask: NDArray[np.bool_] | None = None
) -> PlaneFlux:
    """Return the flux density of a plane.

    Parameters
    ----------
    plane : ndarray of float32, shape (n_l, n_m)
        A channel of the cube [Jy/beam]; NaN does not count.
    beam_area_pixels : float
        Solid angle of the beam of this plane [pixel], :meth:`radps.domain.beam.RestoringBeam.area_pixels`.
    cut : float
        Only pixels above this count [Jy/beam]; ``-math.inf`` = all.
    mask : ndarray of bool, shape (n_l, n_m), optional
        True = the pixel may count; default: everywhere.

    Raises
    ------
    DataError
        If the beam area is zero or negative; NaN is a plane without a beam.
    """
    if beam_area_pixels <= 0:
        raise DataError(f"beam area {beam_area_pixels} pixels: must be positive")
    counted = find_counted_pixels(plane, cut, mask)
    n_pixels = int(counted.sum())
    if math.isnan(beam_area_pixels) or not np.isfinite(plane).any():
        return PlaneFlux(math.nan, n_pixels)
    return PlaneFlux(float(plane.sum(where=counted, dtype=np.float64)) / beam_area_pixels, n_pixels)


def integrate_spectrum(
    flux_jy: Sequence[float] | NDArray[np.float64],
    velocity_km_s: Sequence[float] | NDArray[np.float64],
    width_km_s: Sequence[float] | NDArray[np.float64],
) -> IntegratedSpectrum:
    """Return the line flux and its mean velocity.

    Parameters
    ----------
    flux_jy : sequence of float, shape (channel,)
        Flux densities [Jy]; NaN = no data.
    velocity_km_s : sequence of float, shape (channel,)
        Velocities [km/s].
    width_km_s : sequence of float, shape (channel,)
        Widths of the channels [km/s], positive.

    Raises
    ------
    DataError
        If the lengths differ.
    """
    flux, velocity, width = (np.asarray(values, np.float64) for values in (flux_jy, velocity_km_s, width_km_s))
    if not flux.shape == velocity.shape == width.shape:
        raise DataError(
            f"a spectrum of {flux.size} flux densities, {velocity.size} velocities and {width.size} widths: "
            "must be equally many"
        )
    valid = np.isfinite(flux)
    if not valid.any():
        return IntegratedSpectrum(math.nan, math.nan, 0)
    per_channel = flux[valid] * width[valid]
    total = float(per_channel.sum())
    mean = float((per_channel * velocity[valid]).sum()) / total if total > 0 else math.nan
    return IntegratedSpectrum(total, mean, int(valid.sum()))


def _divide(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=result, where=where)
