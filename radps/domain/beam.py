"""The restoring beam and the restored image.

Restoring beam (:func:`fit_restoring_beam`):

1. Find the pixels of the PSF around its peak that are connected to it and above 0.35 (CASA: ``psfcutoff``).
2. Interpolate the PSF around them to a finer grid of about 3,000 points, by cubic convolution (Catmull-Rom), and take
   the points above the cutoff there. With three or four pixels a beam, pixels alone would say little.
3. Fit exp(-q/2), q a quadratic form, peak fixed to 1 at the centre pixel, by least squares: a weighted linear fit to
   the logarithm as a start, then Gauss-Newton.
4. The eigenvectors of q are the axes; FWHM = sqrt(8 ln 2) sigma.

These are the steps of CASA's ``FitGaussianPSF``; the beams agree to five digits.
It is undefined where the beam has less than about two pixels across; then the result is NaN, which is an outcome, not
an error.

Restored image (:func:`restore_image`): the model convolved with a Gaussian of peak 1, plus the residual. The Gaussian
is written down in Fourier space; the image is padded so that nothing wraps around.

References
----------
Condon 1997, PASP 109, 166 (Gaussian fits). Keys 1981, IEEE Trans. ASSP 29, 1153 (cubic convolution).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import ducc0
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from radps.domain.geometry import ImageGrid, find_good_size

PSF_CUTOFF = 0.35
"""Level of the PSF down to which pixels are fitted: CASA's default ``psfcutoff``."""

SIGMA_TO_FWHM = math.sqrt(8 * math.log(2))
"""FWHM of a Gaussian over its standard deviation."""

LOBE_MARGIN = 5
"""Pixels around the main lobe that take part in the interpolation, as CASA."""

LOBE_POINTS = 3001
"""Points of the interpolated lobe with its margin at most, as CASA."""

MAX_FIT_STEPS = 30
"""Gauss-Newton steps; five are usual."""


class RestoringBeam(NamedTuple):
    """An elliptical Gaussian; NaN where the PSF allowed no fit."""

    major_rad: float
    """FWHM of the major axis [rad]."""
    minor_rad: float
    """FWHM of the minor axis [rad]."""
    position_angle_rad: float
    """Direction of the major axis, from north through east, -pi/2 to pi/2 [rad]."""

    @property
    def is_valid(self) -> bool:
        """True where the fit succeeded."""
        return math.isfinite(self.major_rad)

    def area_pixels(self, grid: ImageGrid) -> float:
        """Return the solid angle pi / (4 ln 2) major minor in pixels: Jy = sum of Jy/beam divided by this."""
        return math.pi / (4 * math.log(2)) * self.major_rad * self.minor_rad / grid.cell_size_rad**2


NO_BEAM = RestoringBeam(math.nan, math.nan, math.nan)
"""The beam of a plane without data, or of a PSF that no Gaussian fits."""


def fit_restoring_beam(psf: NDArray[np.float32], grid: ImageGrid, *, cutoff: float = PSF_CUTOFF) -> RestoringBeam:
    """Fit a Gaussian to the main lobe of the PSF.

    Parameters
    ----------
    psf : ndarray of float, any shape
        PSF with peak 1 at pixel ``n // 2`` of both axes, axis 0 = l decreasing, axis 1 = m increasing.
    grid : ImageGrid
        Gives the cell size.
    cutoff : float
        Pixels above this level are fitted, 0 to 1.

    Returns
    -------
    RestoringBeam
        The beam; NaN if there are too few pixels in the lobe or it is not a peak.
    """
    lobe = _select_main_lobe(psf, cutoff)
    if lobe.sum() < 5:
        return NO_BEAM
    x, y, values = _refine_main_lobe(psf, lobe, cutoff)
    basis = np.stack([x * x, 2 * x * y, y * y], axis=1)
    if np.linalg.matrix_rank(basis) < 3:
        return NO_BEAM
    form = np.linalg.lstsq(basis * values[:, np.newaxis], -2 * np.log(values) * values, rcond=None)[0]
    for _ in range(MAX_FIT_STEPS):
        gaussian = np.exp(-0.5 * basis @ form)
        step = np.linalg.lstsq(-0.5 * basis * gaussian[:, np.newaxis], values - gaussian, rcond=None)[0]
        form = form + step
        if np.abs(step).max() < 1e-10 * np.abs(form).max():
            break
    matrix = np.array([[form[0], form[1]], [form[1], form[2]]])
    curvature, axes = np.linalg.eigh(matrix) if np.isfinite(matrix).all() else (np.zeros(2), np.eye(2))
    if not curvature[0] > 0:
        return NO_BEAM
    major, minor = (float(fwhm) for fwhm in SIGMA_TO_FWHM / np.sqrt(curvature) * grid.cell_size_rad)
    angle = math.atan2(-float(axes[0, 0]), float(axes[1, 0]))  # l decreases along axis 0
    return RestoringBeam(major, minor, (angle + math.pi / 2) % math.pi - math.pi / 2)


def _select_main_lobe(psf: NDArray[np.float32], cutoff: float) -> NDArray[np.bool_]:
    """Return True in the pixels above the cutoff that are connected to the centre, in a box about the centre pixel."""
    centre = psf.shape[0] // 2, psf.shape[1] // 2
    half = 16
    while True:
        side = [min(half, c) for c in centre]
        box = psf[tuple(slice(c - n, c + n + 1) for c, n in zip(centre, side, strict=True))]
        lobe = _connected(box > cutoff, (side[0], side[1]))
        rim = lobe[0].any() or lobe[-1].any() or lobe[:, 0].any() or lobe[:, -1].any()
        if not rim or half >= max(centre):
            return lobe
        half *= 2


def _connected(above: NDArray[np.bool_], place: tuple[int, int]) -> NDArray[np.bool_]:
    """Return True where a pixel belongs to the same connected region as the one at ``place``."""
    labels, _ = scipy.ndimage.label(above)
    result: NDArray[np.bool_] = (labels == labels[place]) & above
    return result


def _refine_main_lobe(
    psf: NDArray[np.float32], lobe: NDArray[np.bool_], cutoff: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return offsets from the centre in pixels, and values, of the points above the cutoff on the finer grid."""
    centre = psf.shape[0] // 2, psf.shape[1] // 2
    reach = [int(np.abs(where - size // 2).max()) for where, size in zip(np.nonzero(lobe), lobe.shape, strict=True)]
    half = max(reach) + LOBE_MARGIN
    window = psf[tuple(slice(max(c - half, 0), c + half + 1) for c in centre)].astype(np.float64)
    place = [min(half, c) for c in centre]
    finer = max(math.isqrt(LOBE_POINTS // window.size), 1)
    values = _cubic_matrix(window.shape[0], finer) @ window @ _cubic_matrix(window.shape[1], finer).T
    middle = place[0] * finer, place[1] * finer
    i, j = np.nonzero(_connected(values > cutoff, middle))
    return (i - middle[0]) / finer, (j - middle[1]) / finer, values[i, j]


def _cubic_matrix(size: int, finer: int) -> NDArray[np.float64]:
    """Return the matrix of cubic convolution (Keys 1981, a = -1/2) from ``size`` pixels to ``finer`` points a pixel."""
    positions = np.arange((size - 1) * finer + 1) / finer
    matrix = np.zeros((len(positions), size))
    for offset in range(-1, 3):
        pixel = np.floor(positions).astype(int) + offset
        x = np.abs(positions - pixel)
        inner, outer = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        np.add.at(matrix, (np.arange(len(positions)), np.clip(pixel, 0, size - 1)), np.where(x <= 1, inner, outer))
    return matrix


def gaussian_image(beam: RestoringBeam, grid: ImageGrid) -> NDArray[np.float64]:
    """Return the beam as an image with peak 1 at the phase centre, shape (n_l, n_m)."""
    l, m = grid.l[:, np.newaxis], grid.m[np.newaxis, :]
    sine, cosine = math.sin(beam.position_angle_rad), math.cos(beam.position_angle_rad)
    along = l * sine + m * cosine
    across = l * cosine - m * sine
    result: NDArray[np.float64] = np.exp(
        -4 * math.log(2) * ((along / beam.major_rad) ** 2 + (across / beam.minor_rad) ** 2)
    )
    return result


def convolve_with_beam(image: NDArray[np.float32], beam: RestoringBeam, grid: ImageGrid) -> NDArray[np.float32]:
    """Return an image [Jy/pixel] convolved with a Gaussian of peak 1 [Jy/beam], shape (n_l, n_m).

    Parameters
    ----------
    image : ndarray of float32, shape (n_l, n_m)
        The image.
    beam : RestoringBeam
        A valid beam.
    grid : ImageGrid
        The image grid.
    """
    margin = math.ceil(2 * beam.major_rad / grid.cell_size_rad)  # the Gaussian is below 2e-5 beyond two FWHM
    size_l, size_m = find_good_size(grid.n_l + margin), find_good_size(grid.n_m + margin)
    padded = np.zeros((size_l, size_m), np.float32)
    padded[: grid.n_l, : grid.n_m] = image
    transform = ducc0.fft.r2c(padded, nthreads=1)
    transform *= _gaussian_transform(beam, size_l, size_m, grid.cell_size_rad)
    result = ducc0.fft.c2r(transform, lastsize=size_m, forward=False, inorm=2, nthreads=1)
    return np.ascontiguousarray(result[: grid.n_l, : grid.n_m])


def _gaussian_transform(beam: RestoringBeam, size_l: int, size_m: int, cell_size_rad: float) -> NDArray[np.float32]:
    """Return the Fourier transform of the pixels of a Gaussian of peak 1 for the half plane of r2c.

    Where the beam has few pixels, the Gaussian reaches beyond the frequencies of the grid: its aliases are added,
    without which a source would lose flux at its peak (4 % with 1.8 pixels across the beam).
    """
    major, minor = beam.major_rad / SIGMA_TO_FWHM, beam.minor_rad / SIGMA_TO_FWHM
    reaches = math.exp(-0.5 * (math.pi * minor / cell_size_rad) ** 2) > 1e-6
    result = np.zeros((size_l, size_m // 2 + 1))
    for shift_l in (-1, 0, 1) if reaches else (0,):
        for shift_m in (-1, 0, 1) if reaches else (0,):
            f_l = (shift_l - np.fft.fftfreq(size_l)[:, np.newaxis]) / cell_size_rad
            f_m = (shift_m + np.fft.rfftfreq(size_m)[np.newaxis, :]) / cell_size_rad
            result += _gaussian_spectrum(beam, f_l, f_m)
    return (2 * math.pi * major * minor / cell_size_rad**2 * result).astype(np.float32)


def _gaussian_spectrum(
    beam: RestoringBeam, f_l: NDArray[np.floating[Any]], f_m: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the Fourier transform of a Gaussian, 1 at frequency 0."""
    sine, cosine = math.sin(beam.position_angle_rad), math.cos(beam.position_angle_rad)
    along = (f_l * sine + f_m * cosine) * beam.major_rad / SIGMA_TO_FWHM
    across = (f_l * cosine - f_m * sine) * beam.minor_rad / SIGMA_TO_FWHM
    result: NDArray[np.float64] = np.exp(-2 * math.pi**2 * (along**2 + across**2))
    return result


def restore_image(
    model: NDArray[np.float32], residual: NDArray[np.float32], beam: RestoringBeam, grid: ImageGrid
) -> NDArray[np.float32]:
    """Return model convolved with the beam plus residual [Jy/beam]; NaN everywhere for an invalid beam.

    Parameters
    ----------
    model : ndarray of float32, shape (n_l, n_m)
        Model [Jy/pixel].
    residual : ndarray of float32, shape (n_l, n_m)
        Residual [Jy/beam].
    beam : RestoringBeam
        The beam.
    grid : ImageGrid
        The image grid.
    """
    if not beam.is_valid:
        return np.full(grid.shape, np.nan, np.float32)
    return convolve_with_beam(model, beam, grid) + residual
