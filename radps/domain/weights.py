"""Imaging weights: natural, uniform, Briggs, and a taper, with CASA's density grid (VisImagingWeight).

1. **Density** W_k: the weights are summed on the uv-grid of the image, whose cells are 1 / (n * cell) wavelengths wide.
   A sample counts in the cell of (u, v) and in the cell of (-u, -v), as the sky is real. The origin is at n / 2 cells
   from the corner. CASA has two kinds of cells (:class:`DensityCells`), and images of few samples show it, sidelobes by
   some per cent of the peak: those of a density of all channels (``perchanweightdensity=False``, and continuum images),
   whose sums of weights the tests reproduce, lie between whole numbers, those of a channel's own density around them.
   Densities of several chunks add up, so that the common density of all channels is their sum.
2. **Weight** of a sample of data weight w in cell k:

   - natural:  w
   - uniform:  w / W_k
   - Briggs:   w / (1 + W_k f^2),  f^2 = (5 * 10^-R)^2 / (sum_k W_k^2 / sum_k W_k),  robustness R from -2 to 2

3. A sample whose cell lies outside of the grid gets weight 0 in uniform and Briggs weighting; so does row 0 or column 0
   of the grid, as in CASA. Natural weighting has no grid.
4. **Taper**: the weights are multiplied by the transform of a Gaussian, exp(-pi^2 t^2 (u^2 + v^2) / (4 ln 2)) for a
   full width t at half maximum on the sky: the PSF is convolved with this Gaussian. So CASA's ``uvtaper`` in angles.

It fails to do what is expected when the image is much smaller than the primary beam: cells become so large that uniform
weighting suppresses most data (CASA behaves alike).

References
----------
Briggs 1995, PhD thesis, New Mexico Institute of Mining and Technology, ch. 3.
"""

from __future__ import annotations

import enum
import math

import numba
import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid
from radps.errors import DataError


class Weighting(enum.StrEnum):
    """How samples are weighted in the image."""

    NATURAL = "natural"
    """The data weights: lowest noise."""
    UNIFORM = "uniform"
    """Every cell of the uv-grid alike: narrowest beam."""
    BRIGGS = "briggs"
    """Between the two, set by the robustness."""


class DensityCells(enum.Enum):
    """Which samples are in cell i of the uv-grid, x being the place of a sample in cells from the corner."""

    BETWEEN = 0.0
    """i <= x < i + 1: CASA's cells of a common density (``VisImagingWeight``)."""
    AROUND = 0.5
    """i - 1/2 <= x < i + 1/2: CASA's cells of the density of one channel (``BriggsCubeWeightor``)."""


def density_grid(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    weights: NDArray[np.float32],
    grid: ImageGrid,
    cells: DensityCells = DensityCells.BETWEEN,
) -> NDArray[np.float64]:
    """Sum the weights on the uv-grid.

    Parameters
    ----------
    uvw_m : ndarray, shape (row, 3)
        Baseline coordinates [m].
    frequency_hz : ndarray, shape (channel,)
        Channel centres [Hz].
    weights : ndarray, shape (row, channel)
        Data weights; 0 = not used.
    grid : ImageGrid
        The image.
    cells : DensityCells
        Where the cells lie.

    Returns
    -------
    ndarray of float64, shape (n_l, n_m)
        Sum of weights per cell. Densities of several chunks or channels may be added.
    """
    density = np.zeros(grid.shape)
    scale_l, scale_m = _cells_per_wavelength(grid)
    per_metre = np.atleast_1d(frequency_hz) / SPEED_OF_LIGHT_M_S
    _add_density(uvw_m, per_metre, weights, scale_l, scale_m, cells.value, density)
    return density


def imaging_weights(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    weights: NDArray[np.float32],
    grid: ImageGrid,
    *,
    weighting: Weighting = Weighting.BRIGGS,
    robust: float = 0.5,
    density: NDArray[np.float64] | None = None,
    cells: DensityCells = DensityCells.BETWEEN,
) -> NDArray[np.float32]:
    """Return the imaging weights of samples.

    Parameters
    ----------
    uvw_m, frequency_hz, weights, grid
        As for :func:`density_grid`.
    weighting : Weighting
        Natural, uniform or Briggs.
    robust : float
        Briggs' robustness, -2 (almost uniform) to 2 (almost natural).
    density : ndarray of float64, shape (n_l, n_m), optional
        Density to use; default: that of these samples alone.
    cells : DensityCells
        Where the cells lie; those of ``density``.

    Returns
    -------
    ndarray of float32, shape (row, channel)
        Weights >= 0. Their scale has no meaning.

    Raises
    ------
    DataError
        If the robustness is outside -2...2 or the density has another shape than the image.
    """
    if weighting is Weighting.NATURAL:
        return np.array(weights, np.float32)
    if density is None:
        density = density_grid(uvw_m, frequency_hz, weights, grid, cells)
    elif density.shape != grid.shape:
        raise DataError(f"weight density of shape {density.shape} for an image of shape {grid.shape}: must be equal")
    constant, factor = (0.0, 1.0) if weighting is Weighting.UNIFORM else (1.0, briggs_factor(density, robust))
    scale_l, scale_m = _cells_per_wavelength(grid)
    per_metre = np.atleast_1d(frequency_hz) / SPEED_OF_LIGHT_M_S
    result: NDArray[np.float32] = _divide_by_density(
        uvw_m, per_metre, weights, scale_l, scale_m, cells.value, density, constant, factor
    )
    return result


def taper_weights(
    uvw_m: NDArray[np.float64], frequency_hz: NDArray[np.float64], weights: NDArray[np.float32], width_rad: float
) -> NDArray[np.float32]:
    """Return weights that fall with the length of the baseline, so that the PSF is convolved with a Gaussian.

    Parameters
    ----------
    uvw_m, frequency_hz
        As for :func:`density_grid`.
    weights : ndarray of float32, shape (row, channel)
        Imaging weights.
    width_rad : float
        Full width at half maximum of the Gaussian [rad].
    """
    metres = np.hypot(uvw_m[:, 0], uvw_m[:, 1])[:, np.newaxis]
    turns = width_rad / SPEED_OF_LIGHT_M_S * metres * np.atleast_1d(frequency_hz)
    taper = np.exp(-(math.pi**2) / (4 * math.log(2)) * turns**2)
    result: NDArray[np.float32] = (weights * taper).astype(np.float32)
    return result


def briggs_factor(density: NDArray[np.float64], robust: float) -> float:
    """Return f^2 of Briggs' formula; 0 for an empty density.

    Raises
    ------
    DataError
        If the robustness is outside -2...2.
    """
    if not -2 <= robust <= 2:
        raise DataError(f"Briggs robustness {robust}: allowed are -2 (almost uniform) to 2 (almost natural)")
    total = float(density.sum())
    if total <= 0:
        return 0.0
    return float((5.0 * 10.0**-robust) ** 2 * total / float(np.square(density).sum()))


def _cells_per_wavelength(grid: ImageGrid) -> tuple[float, float]:
    """Return the scales from wavelengths to cells; axis 0 runs against u because l decreases with the index."""
    return -grid.n_l * grid.cell_size_rad, grid.n_m * grid.cell_size_rad


@numba.njit(cache=True, nogil=True)
def _find_cell(u, v, scale_l, scale_m, shift, n_l, n_m):  # type: ignore[no-untyped-def]
    """Return the cell of (u, v), or (0, 0) = outside."""
    x = scale_l * u + n_l // 2 + shift
    y = scale_m * v + n_m // 2 + shift
    if not (1 <= x < n_l and 1 <= y < n_m):
        return 0, 0
    return int(x), int(y)


@numba.njit(cache=True, nogil=True)
def _add_density(uvw_m, per_metre, weights, scale_l, scale_m, shift, density):  # type: ignore[no-untyped-def]
    n_l, n_m = density.shape
    for row in range(weights.shape[0]):
        for channel in range(weights.shape[1]):
            weight = weights[row, channel]
            if not weight > 0:
                continue
            u = uvw_m[row, 0] * per_metre[channel]
            v = uvw_m[row, 1] * per_metre[channel]
            for sign in (1.0, -1.0):
                i, j = _find_cell(sign * u, sign * v, scale_l, scale_m, shift, n_l, n_m)
                if i > 0:
                    density[i, j] += weight


@numba.njit(cache=True, nogil=True)
def _divide_by_density(uvw_m, per_metre, weights, scale_l, scale_m, shift, density, constant, factor):  # type: ignore[no-untyped-def]
    n_l, n_m = density.shape
    result = np.zeros(weights.shape, np.float32)
    for row in range(weights.shape[0]):
        for channel in range(weights.shape[1]):
            weight = weights[row, channel]
            if not weight > 0:
                continue
            u = uvw_m[row, 0] * per_metre[channel]
            v = uvw_m[row, 1] * per_metre[channel]
            i, j = _find_cell(u, v, scale_l, scale_m, shift, n_l, n_m)
            if i > 0 and density[i, j] > 0:
                result[row, channel] = weight / (constant + factor * density[i, j])
    return result
