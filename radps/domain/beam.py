"""The restoring beam, the restored image, and the primary beam.

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

Primary beam (:func:`primary_beam`): the power pattern 1 + a X 10^-3 + b X^2 10^-7 + c X^3 10^-10, X = (distance
[arcmin] * frequency [GHz])^2, for the VLA, an Airy pattern of the dish elsewhere. Both hold for the main lobe; beyond
the cutoff the value is 0.

References
----------
Condon 1997, PASP 109, 166 (Gaussian fits). Keys 1981, IEEE Trans. ASSP 29, 1153 (cubic convolution).
AIPS task PBCOR, coefficients of the VLA before 2010.
Perley 2016, EVLA Memo 195 (Jansky VLA, L and S band).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import ducc0
import numpy as np
import scipy.ndimage
import scipy.special
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid, find_good_size
from radps.errors import DataError

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

VLA_PRIMARY_BEAM: dict[str, dict[float, tuple[float, float, float]]] = {
    # AIPS PBCOR; one row for each receiver band
    "VLA": {
        0.0738e9: (-0.897, 2.71, -0.242),
        0.3275e9: (-0.935, 3.23, -0.378),
        1.465e9: (-1.343, 6.579, -1.186),
        4.885e9: (-1.372, 6.940, -1.309),
        8.435e9: (-1.306, 6.253, -1.100),
        14.965e9: (-1.305, 6.155, -1.030),
        22.485e9: (-1.417, 7.332, -1.352),
        43.315e9: (-1.321, 6.185, -0.983),
    },
    # Perley 2016, EVLA Memo 195
    "EVLA": {
        1.040e9: (-1.529, 8.69, -1.88),
        1.104e9: (-1.486, 8.15, -1.68),
        1.168e9: (-1.439, 7.53, -1.45),
        1.232e9: (-1.450, 7.87, -1.63),
        1.296e9: (-1.428, 7.62, -1.54),
        1.360e9: (-1.449, 8.02, -1.74),
        1.424e9: (-1.462, 8.23, -1.83),
        1.488e9: (-1.455, 7.92, -1.63),
        1.552e9: (-1.435, 7.54, -1.49),
        1.680e9: (-1.443, 7.74, -1.57),
        1.744e9: (-1.462, 8.02, -1.69),
        1.808e9: (-1.488, 8.38, -1.83),
        1.872e9: (-1.486, 8.26, -1.75),
        1.936e9: (-1.469, 7.93, -1.62),
        2.000e9: (-1.508, 8.31, -1.68),
        2.052e9: (-1.429, 7.52, -1.47),
        2.180e9: (-1.389, 7.06, -1.33),
        2.436e9: (-1.377, 6.90, -1.27),
        2.564e9: (-1.381, 6.92, -1.26),
        2.692e9: (-1.402, 7.23, -1.40),
        2.820e9: (-1.433, 7.62, -1.54),
        2.948e9: (-1.433, 7.46, -1.42),
        3.052e9: (-1.467, 8.05, -1.70),
        3.180e9: (-1.497, 8.38, -1.80),
        3.308e9: (-1.504, 8.37, -1.77),
        3.436e9: (-1.521, 8.63, -1.88),
        3.564e9: (-1.505, 8.37, -1.75),
        3.692e9: (-1.521, 8.51, -1.79),
        3.820e9: (-1.534, 8.57, -1.77),
        3.948e9: (-1.516, 8.30, -1.66),
    },
}
"""Coefficients a, b, c of the power pattern by telescope name and frequency [Hz]."""

VLA_DISH_DIAMETER_M = 25.0
"""Used outside of the frequencies of the table."""

MAX_FREQUENCY_RATIO = 1.25
"""A row of the table is used up to this ratio of frequencies; the polynomial scales with frequency within a band."""


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
        "VLA" (before 2010) and "EVLA" have measured patterns.
    dish_diameter_m : float, optional
        Diameter of the dishes [m], for an Airy pattern where there is no measured one.
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
    if not 0.03 <= cutoff < 1:
        raise DataError(f"primary beam cutoff {cutoff}: allowed are 0.03 (the polynomials end there) to 1")
    coefficients = _find_coefficients(telescope, frequency_hz)
    if dish_diameter_m is None and telescope in VLA_PRIMARY_BEAM:
        dish_diameter_m = VLA_DISH_DIAMETER_M
    if coefficients is None and dish_diameter_m is None:
        raise DataError(
            f"no primary beam for telescope {telescope!r} at {frequency_hz / 1e9:.4g} GHz: known are "
            f"{', '.join(VLA_PRIMARY_BEAM)}; give the diameter of the dishes for an Airy pattern"
        )

    def pattern(radius_rad: NDArray[np.float64]) -> NDArray[np.float64]:
        if coefficients is not None:
            return _polynomial_pattern(radius_rad, frequency_hz, coefficients)
        return _airy_pattern(radius_rad, frequency_hz, dish_diameter_m or VLA_DISH_DIAMETER_M)

    radius = np.arcsin(np.sqrt(grid.l[:, np.newaxis] ** 2 + grid.m[np.newaxis, :] ** 2))
    samples = np.linspace(0, float(radius.max()), 4096)
    below = np.flatnonzero(pattern(samples) < cutoff)
    edge = samples[below[0]] if below.size else math.inf
    return np.where(radius < edge, pattern(radius), 0).astype(np.float32)


def correct_primary_beam(image: NDArray[np.float32], pattern: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image divided by the primary beam; NaN where the beam is 0."""
    return np.divide(image, pattern, out=np.full(image.shape, np.nan, np.float32), where=pattern > 0)


def _find_coefficients(telescope: str, frequency_hz: float) -> tuple[float, float, float] | None:
    """Return the row of the table that is nearest in the logarithm of the frequency, or None."""
    table = VLA_PRIMARY_BEAM.get(telescope, {})
    nearest = min(table, key=lambda row: abs(math.log(row / frequency_hz)), default=None)
    if nearest is None or abs(math.log(nearest / frequency_hz)) > math.log(MAX_FREQUENCY_RATIO):
        return None
    return table[nearest]


def _polynomial_pattern(
    radius_rad: NDArray[np.float64], frequency_hz: float, coefficients: tuple[float, float, float]
) -> NDArray[np.float64]:
    x = (np.degrees(radius_rad) * 60 * frequency_hz / 1e9) ** 2
    a, b, c = coefficients
    return 1 + x * (a * 1e-3 + x * (b * 1e-7 + x * c * 1e-10))


def _airy_pattern(radius_rad: NDArray[np.float64], frequency_hz: float, diameter_m: float) -> NDArray[np.float64]:
    argument = math.pi * diameter_m * frequency_hz / SPEED_OF_LIGHT_M_S * np.sin(radius_rad)
    safe = np.where(argument > 0, argument, 1)
    return np.where(argument > 0, (2 * scipy.special.j1(safe) / safe) ** 2, 1.0)
