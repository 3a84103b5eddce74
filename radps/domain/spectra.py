r"""Spectra of a region of a cube, with their errors, and what a line in them is like.

1. The flux density of a region is the sum of its pixels over the solid angle of the beam in pixels, A. Noise that is
   correlated over the beam gives it the error :math:`\sigma \sqrt{N / A}`, with N the pixels and :math:`\sigma` the
   noise of the channel; after correction for a primary beam P the pixels count :math:`1 / P^2` times
   (:func:`measure_region`). A region smaller than the beam has the error of one beam.
2. The brightness at one pixel, in Jy/beam, is the flux density of a source smaller than the beam there.
3. A line is one whose peak is ``MIN_SNR`` times its error. Its widths at 50 % and 20 % of the peak are between the
   outermost channels above that level, between channels by a straight line; the systemic velocity is the middle of the
   two points at 50 %. Where the level is below ``MIN_LEVEL_SNR`` times the error, or the line reaches the end of the
   band, there is no width (NaN) (:func:`measure_line`).
4. Errors: of the systemic velocity :math:`3 \sqrt{P \Delta v} / SNR`, of the width at 50 % twice and of that at 20 %
   three times that, with :math:`P = (W_{20} - W_{50}) / 2` (Schneider et al. 1986; Koribalski et al. 2004).
5. What is left beside the line says how good the spectrum is: channels farther from the line than its width at 20 %
   (without such a width: all), less those off the median by more than three times the scatter (1.4826 MAD, iterated),
   have a mean that should be 0, and a scatter that should be their error (:func:`measure_line_free`).

Where it fails: interference in one channel is a line; without a width, a line over half of the band counts as its base;
of two lines in one spectrum the width spans both; CLEAN residuals have a beam of another area than the restored
components, so that faint extended emission that was not CLEANed is too bright.

References
----------
Schneider, Helou, Salpeter & Terzian 1986, AJ 92, 742. Koribalski et al. 2004, AJ 128, 16. CASA ``specflux``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from astropy.stats import sigma_clip
from numpy.typing import NDArray

from radps.errors import DataError

MIN_SNR = 5.0
"""Peak over its error from which there is a line."""

MIN_LEVEL_SNR = 2.0
"""Level of a width over the error of the spectrum, at least."""

MIN_LINE_FREE = 5
"""Channels beside the line from which on they say something."""

_CLIP_SIGMA = 3.0


class RegionFlux(NamedTuple):
    """Flux density of a region in one channel."""

    flux_jy: float
    """NaN without data or beam."""
    error_jy: float
    n_pixels: int
    """Pixels of the region that have a value."""


class LineProperties(NamedTuple):
    """What a line is like; NaN where it cannot be told."""

    peak_jy: float
    peak_velocity_km_s: float
    snr: float
    """Peak over its error."""
    width_50_km_s: float
    width_50_error_km_s: float
    width_20_km_s: float
    width_20_error_km_s: float
    systemic_velocity_km_s: float
    systemic_velocity_error_km_s: float


class LineFreeStatistics(NamedTuple):
    """What a spectrum is like beside its line; NaN with fewer than ``MIN_LINE_FREE`` channels."""

    n_channels: int
    offset: float
    """Mean flux density over the error of a channel: continuum that was not subtracted, or a bowl."""
    scatter: float
    """Standard deviation of the flux density over its error; 1 where the errors are right."""


def measure_region(
    plane: NDArray[np.float32],
    region: NDArray[np.bool_],
    noise_jy: float,
    beam_area_pixels: float,
    primary_beam: NDArray[np.float32] | None = None,
) -> RegionFlux:
    """Return the flux density of a region in a plane.

    Parameters
    ----------
    plane : ndarray of float32, shape (n_l, n_m)
        A channel of the cube [Jy/beam], corrected for the primary beam if that is given; NaN does not count.
    region : ndarray of bool, shape (n_l, n_m)
        True = inside.
    noise_jy : float
        Noise of the channel before the correction [Jy/beam].
    beam_area_pixels : float
        Solid angle of the beam [pixel]; NaN = no beam.
    primary_beam : ndarray of float32, shape (n_l, n_m), optional
        The primary beam that the plane was divided by.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    if region.shape != plane.shape:
        raise DataError(f"region of shape {region.shape} for a plane of shape {plane.shape}: must be equal")
    counted = region & np.isfinite(plane)
    n_pixels = int(counted.sum())
    if n_pixels == 0 or not math.isfinite(beam_area_pixels):
        return RegionFlux(math.nan, math.nan, n_pixels)
    flux = float(plane.sum(where=counted, dtype=np.float64)) / beam_area_pixels
    weight = np.ones(n_pixels) if primary_beam is None else primary_beam[counted].astype(np.float64) ** -2
    beams = max(n_pixels / beam_area_pixels, 1.0)
    return RegionFlux(flux, noise_jy * math.sqrt(beams * float(weight.mean())), n_pixels)


def make_circle(shape: tuple[int, int], center: tuple[float, float], radius_pixels: float) -> NDArray[np.bool_]:
    """Return the pixels whose centres are in a circle; ``center`` is in pixels along the two axes."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = np.hypot(rows - center[0], columns - center[1]) <= radius_pixels
    return inside


def measure_line(
    velocity_km_s: NDArray[np.float64], flux_jy: NDArray[np.float64], error_jy: NDArray[np.float64]
) -> LineProperties | None:
    """Return the properties of the emission line in a spectrum; None if there is none.

    Parameters
    ----------
    velocity_km_s : ndarray of float64, shape (channel,)
        Velocities [km/s], ascending or descending.
    flux_jy, error_jy : ndarray of float64, shape (channel,)
        Flux densities and their errors [Jy]; NaN = no data.

    Raises
    ------
    DataError
        If the lengths differ.
    """
    if not velocity_km_s.shape == flux_jy.shape == error_jy.shape:
        raise DataError(
            f"a spectrum of {velocity_km_s.size} velocities, {flux_jy.size} flux densities and {error_jy.size} errors: "
            "must be equally many"
        )
    valid = np.isfinite(flux_jy) & (error_jy > 0)
    order = np.argsort(velocity_km_s[valid])
    velocity, flux, error = (one[valid][order] for one in (velocity_km_s, flux_jy, error_jy))
    if flux.size < 2:
        return None
    top = int(flux.argmax())
    peak, typical = float(flux[top]), float(np.median(error))
    snr = peak / float(error[top])
    if snr < MIN_SNR:
        return None
    ends_50 = _find_ends(velocity, flux, 0.5 * peak, typical)
    ends_20 = _find_ends(velocity, flux, 0.2 * peak, typical)
    width_50, width_20 = ends_50[1] - ends_50[0], ends_20[1] - ends_20[0]
    steepness = 0.5 * (width_20 - width_50)
    channel = float(np.median(np.diff(velocity)))
    uncertainty = 3 * math.sqrt(max(steepness, 0.0) * channel) / snr if math.isfinite(steepness) else math.nan
    return LineProperties(
        peak_jy=peak,
        peak_velocity_km_s=float(velocity[top]),
        snr=snr,
        width_50_km_s=width_50,
        width_50_error_km_s=2 * uncertainty,
        width_20_km_s=width_20,
        width_20_error_km_s=3 * uncertainty,
        systemic_velocity_km_s=0.5 * (ends_50[0] + ends_50[1]),
        systemic_velocity_error_km_s=uncertainty if math.isfinite(width_50) else math.nan,
    )


def measure_line_free(
    velocity_km_s: NDArray[np.float64],
    flux_jy: NDArray[np.float64],
    error_jy: NDArray[np.float64],
    line: LineProperties | None,
) -> LineFreeStatistics:
    """Return mean and scatter of the channels beside the line, in units of their errors.

    Parameters
    ----------
    velocity_km_s, flux_jy, error_jy : ndarray of float64, shape (channel,)
        As for :func:`measure_line`.
    line : LineProperties or None
        What that function found.
    """
    used = np.isfinite(flux_jy) & (error_jy > 0)
    if line is not None and math.isfinite(line.width_20_km_s) and math.isfinite(line.systemic_velocity_km_s):
        used &= np.abs(velocity_km_s - line.systemic_velocity_km_s) > line.width_20_km_s
    values = flux_jy[used] / error_jy[used]
    if values.size < MIN_LINE_FREE:
        return LineFreeStatistics(values.size, math.nan, math.nan)
    kept = sigma_clip(values, sigma=_CLIP_SIGMA, cenfunc="median", stdfunc="mad_std", masked=False)
    if kept.size < MIN_LINE_FREE:
        return LineFreeStatistics(kept.size, math.nan, math.nan)
    return LineFreeStatistics(kept.size, float(kept.mean()), float(kept.std(ddof=1)))


def _find_ends(
    velocity: NDArray[np.float64], flux: NDArray[np.float64], level: float, error: float
) -> tuple[float, float]:
    """Return the outermost velocities at which the flux density crosses a level; NaN if it cannot be told."""
    above = np.flatnonzero(flux >= level)
    first, last = int(above[0]), int(above[-1])
    if level < MIN_LEVEL_SNR * error or first == 0 or last == flux.size - 1:
        return math.nan, math.nan

    def cross(inside: int, outside: int) -> float:
        part = (flux[inside] - level) / (flux[inside] - flux[outside])
        return float(velocity[inside] + part * (velocity[outside] - velocity[inside]))

    return cross(first, first - 1), cross(last, last + 1)
