"""One restoring beam for many channels: the smallest that contains all of theirs, and images brought to it.

A beam is its covariance C = A diag(major², minor²) A^T, A the directions of its axes. A beam T contains a beam C if
T - C has no negative eigenvalue: then there is a Gaussian that smooths the one to the other.

1. Any T is s S with det S = 1, so S = exp([[a, b], [b, -a]]). For a shape S the smallest s that contains all C_i is
   the largest eigenvalue of any S^-1 C_i; its logarithm is a convex function along the geodesics of all shapes.
2. Minimise s over (a, b) from the mean shape, by the simplex of Nelder and Mead. The area of the beam is
   pi s / (4 ln 2), and every C_i is contained whatever the minimiser reached.

Smoothing: a residual image is convolved with the Gaussian T - C, written down in Fourier space, and multiplied by the
ratio of the areas: Jy per own beam becomes Jy per common beam, as CASA does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import ducc0
import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from radps.domain.beam import NO_BEAM, SIGMA_TO_FWHM, RestoringBeam
from radps.domain.geometry import ImageGrid, find_good_size

CONTAINED = 1e-6
"""Part of a beam's area by which another may stick out of it and still count as contained: rounding."""


def find_common_beam(beams: Sequence[RestoringBeam]) -> RestoringBeam:
    """Return the beam of the smallest area that contains all beams (CASA: ``restoringbeam='common'``).

    Parameters
    ----------
    beams : sequence of RestoringBeam
        Those of the channels; invalid ones do not count.

    Returns
    -------
    RestoringBeam
        The common beam; NaN if no beam is valid.
    """
    valid = [beam for beam in beams if beam.is_valid]
    if not valid:
        return NO_BEAM
    matrices = np.stack([_covariance(beam) for beam in valid])
    unit = float(np.linalg.det(matrices).max()) ** 0.5
    matrices /= unit
    shapes = np.stack([_logarithm(matrix) for matrix in matrices])
    result = scipy.optimize.minimize(
        lambda shape: math.log(_smallest_scale(shape, matrices)),
        shapes.mean(axis=0),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 2000},
    )
    return _beam(unit * _smallest_scale(result.x, matrices) * _shape(result.x))


def contains_beam(large: RestoringBeam, small: RestoringBeam) -> bool:
    """Return True if a Gaussian smooths an image of the small beam to the large one."""
    difference = _covariance(large) - _covariance(small)
    return bool(np.linalg.eigvalsh(difference)[0] >= -CONTAINED * large.major_rad * large.minor_rad)


def smooth_to_beam(
    image: NDArray[np.float32], own: RestoringBeam, wanted: RestoringBeam, grid: ImageGrid
) -> NDArray[np.float32]:
    """Return an image in Jy per own beam, smoothed and in Jy per wanted beam.

    Parameters
    ----------
    image : ndarray of float32, shape (n_l, n_m)
        The image [Jy/beam].
    own, wanted : RestoringBeam
        Where one is not valid, or the wanted one does not contain the own, no smoothing leads to it, and the image is
        returned as it is (CASA warns and does the same).
    grid : ImageGrid
        The image grid.
    """
    if own == wanted or not (own.is_valid and wanted.is_valid and contains_beam(wanted, own)):
        return image
    kernel = (_covariance(wanted) - _covariance(own)) / (SIGMA_TO_FWHM * grid.cell_size_rad) ** 2
    margin = math.ceil(2 * wanted.major_rad / grid.cell_size_rad)
    size_l, size_m = find_good_size(grid.n_l + margin), find_good_size(grid.n_m + margin)
    padded = np.zeros((size_l, size_m), np.float32)
    padded[: grid.n_l, : grid.n_m] = image
    transform = ducc0.fft.r2c(padded, nthreads=1)
    f_l = -np.fft.fftfreq(size_l)[:, np.newaxis]  # l decreases along axis 0
    f_m = np.fft.rfftfreq(size_m)[np.newaxis, :]
    form = kernel[0, 0] * f_l**2 + 2 * kernel[0, 1] * f_l * f_m + kernel[1, 1] * f_m**2
    areas = wanted.major_rad * wanted.minor_rad / (own.major_rad * own.minor_rad)
    transform *= (areas * np.exp(-2 * math.pi**2 * form)).astype(np.float32)
    result = ducc0.fft.c2r(transform, lastsize=size_m, forward=False, inorm=2, nthreads=1)
    return np.ascontiguousarray(result[: grid.n_l, : grid.n_m])


def _covariance(beam: RestoringBeam) -> NDArray[np.float64]:
    """Return the squared widths of a beam as a matrix over (l, m) [rad²]."""
    along = np.array([math.sin(beam.position_angle_rad), math.cos(beam.position_angle_rad)])
    across = np.array([along[1], -along[0]])
    return np.asarray(beam.major_rad**2 * np.outer(along, along) + beam.minor_rad**2 * np.outer(across, across))


def _beam(matrix: NDArray[np.float64]) -> RestoringBeam:
    """Return the beam of squared widths over (l, m)."""
    squares, axes = np.linalg.eigh(matrix)
    angle = math.atan2(float(axes[0, 1]), float(axes[1, 1]))
    minor, major = (math.sqrt(float(square)) for square in squares)
    return RestoringBeam(major, minor, (angle + math.pi / 2) % math.pi - math.pi / 2)


def _logarithm(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (a, b) of the shape of a matrix."""
    values, axes = np.linalg.eigh(matrix)
    half = 0.5 * math.log(float(values[1] / values[0]))
    along = axes[:, 1]
    return np.array([half * (along[0] ** 2 - along[1] ** 2), 2 * half * along[0] * along[1]])


def _shape(shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp([[a, b], [b, -a]]), of determinant 1."""
    length = math.hypot(*shape)
    ratio = math.sinh(length) / length if length > 0 else 1.0
    a, b = shape * ratio
    return np.array([[math.cosh(length) + a, b], [b, math.cosh(length) - a]])


def _smallest_scale(shape: NDArray[np.float64], matrices: NDArray[np.float64]) -> float:
    """Return the largest eigenvalue of S^-1 C over all C, shape (beam, 2, 2)."""
    products = np.linalg.inv(_shape(shape)) @ matrices
    half_trace = 0.5 * np.trace(products, axis1=1, axis2=2)
    spread = np.maximum(half_trace**2 - np.linalg.det(matrices), 0)
    return float((half_trace + np.sqrt(spread)).max())
