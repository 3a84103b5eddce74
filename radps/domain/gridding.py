"""From visibilities to images and back, with or without the w-term, by ducc0's wgridder.

Sign and orientation (MSv4, uvw as stored): a source of S Jy at (l, m) has the visibility

    V(u, v, w) = S exp(+2 pi i (u l + v m + w (n - 1))),   n = sqrt(1 - l^2 - m^2).

1. :func:`predict` is this sum over the pixels of a model image [Jy/pixel].
2. :func:`dirty_sum` is its exact adjoint: sum over samples of weight * Re(V exp(-2 pi i ...)). Divided by the sum of
   weights, a source of 1 Jy has a peak of 1 at its pixel (:func:`dirty_image`). There is no division by n, as in CASA
   and WSClean: fluxes are those of the sky, not per unit of l and m.
3. Sums of chunks of visibilities add up, image and weight separately, to the sum of all.

ducc0 predicts exp(-2 pi i (u l + v m - w (n - 1))) for l growing with the index. Here l decreases with the index, so u
keeps its sign and v is flipped.

Precision: with ``epsilon`` >= 1e-5 and complex64 data all is done in single precision; the result differs from the
exact sum by epsilon times the rms of what is transformed. A smaller epsilon computes in double precision.

References
----------
Arras, Reinecke, Westermann & Ensslin 2021, A&A 646, A58 (wgridder).
Ye, Gull, Tan & Nikolic 2022, MNRAS 510, 4110 (the gridding function).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import ducc0
import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import ImageGrid
from radps.errors import DataError

DEFAULT_EPSILON = 1e-5
"""Relative accuracy of transforms: a hundredth of the noise for a dynamic range of 1,000."""

MIN_SINGLE_EPSILON = 1e-5
"""Smallest epsilon that ducc0 allows in single precision."""

MIN_EPSILON = 2e-13
"""Smallest epsilon that ducc0 allows at all."""

Image = NDArray[np.float32] | NDArray[np.float64]
Visibilities = NDArray[np.complex64] | NDArray[np.complex128]


class DirtySum(NamedTuple):
    """An image before the division by the sum of weights; sums of chunks may be added."""

    image: Image
    """Weighted sum, shape (n_l, n_m) [Jy times weight]."""
    weight: float
    """Sum of weights."""

    def normalised(self) -> Image:
        """Return the image in Jy/beam; NaN everywhere where the sum of weights is zero."""
        if self.weight <= 0:
            return np.full_like(self.image, np.nan)
        return self.image / self.image.dtype.type(self.weight)


def dirty_sum(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    visibilities: Visibilities,
    weights: NDArray[Any],
    grid: ImageGrid,
    *,
    epsilon: float = DEFAULT_EPSILON,
    w_term: bool = True,
) -> DirtySum:
    """Transform visibilities to an image that is not yet divided by the sum of weights.

    Parameters
    ----------
    uvw_m : ndarray of float64, shape (row, 3)
        Baseline coordinates as stored in MSv4 [m].
    frequency_hz : ndarray of float64, shape (channel,)
        Channel centres [Hz].
    visibilities : ndarray of complex64 or complex128, shape (row, channel)
        Visibilities [Jy]; finite also where the weight is 0.
    weights : ndarray of float, shape (row, channel)
        Imaging weights, >= 0; 0 = not used.
    grid : ImageGrid
        The image.
    epsilon : float
        Relative accuracy, 2e-13 to 0.1.
    w_term : bool
        True = with the w-term.

    Returns
    -------
    DirtySum
        The image, float32 in single and float64 in double precision, and the sum of weights.

    Raises
    ------
    DataError
        If shapes do not fit or epsilon is out of its range.
    """
    frequency_hz = np.atleast_1d(frequency_hz)
    _check_shapes(uvw_m, frequency_hz, visibilities.shape, weights.shape)
    weight = float(weights.sum(dtype=np.float64))
    single = _is_single(visibilities.dtype, epsilon)
    real, cplx = (np.float32, np.complex64) if single else (np.float64, np.complex128)
    if weight <= 0:
        empty: Image = np.zeros(grid.shape, real)  # type: ignore[assignment]  # one of two dtypes, known at run time
        return DirtySum(empty, 0.0)
    image: Image = ducc0.wgridder.vis2dirty(
        uvw=uvw_m,
        freq=frequency_hz,
        vis=visibilities.astype(cplx, copy=False),
        wgt=weights.astype(real, copy=False),
        npix_x=grid.n_l,
        npix_y=grid.n_m,
        **_transform_options(grid, epsilon, w_term),
    )
    return DirtySum(image, weight)


def dirty_image(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    visibilities: Visibilities,
    weights: NDArray[Any],
    grid: ImageGrid,
    *,
    epsilon: float = DEFAULT_EPSILON,
    w_term: bool = True,
) -> Image:
    """Return the dirty image [Jy/beam], shape (n_l, n_m); NaN if all weights are 0. Arguments as :func:`dirty_sum`."""
    total = dirty_sum(uvw_m, frequency_hz, visibilities, weights, grid, epsilon=epsilon, w_term=w_term)
    return total.normalised()


def psf_sum(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    weights: NDArray[Any],
    grid: ImageGrid,
    *,
    epsilon: float = DEFAULT_EPSILON,
) -> DirtySum:
    """Transform the weights: the point spread function times the sum of weights, peak at the centre pixel.

    Always without the w-term: with it, the response to a source at the phase centre is smeared far from it, in contrast
    to the response to sources elsewhere. What is made here is the part that all sources share. Arguments as
    :func:`dirty_sum`.
    """
    single = _is_single(np.dtype(np.complex64), epsilon)
    ones = np.broadcast_to(np.ones(1, np.complex64 if single else np.complex128), weights.shape)
    return dirty_sum(uvw_m, frequency_hz, ones, weights, grid, epsilon=epsilon, w_term=False)


def point_spread_function(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    weights: NDArray[Any],
    grid: ImageGrid,
    *,
    epsilon: float = DEFAULT_EPSILON,
) -> Image:
    """Return the PSF, 1 at the centre pixel ``n // 2``, shape (n_l, n_m). Arguments as :func:`psf_sum`."""
    return psf_sum(uvw_m, frequency_hz, weights, grid, epsilon=epsilon).normalised()


def predict(
    model: Image,
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    grid: ImageGrid,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    epsilon: float = DEFAULT_EPSILON,
    w_term: bool = True,
) -> Visibilities:
    """Transform a model image to visibilities.

    Parameters
    ----------
    model : ndarray of float32 or float64, shape (n_l, n_m)
        Flux densities [Jy/pixel]. A double-precision model gives complex128.
    uvw_m, frequency_hz, grid, epsilon, w_term
        As for :func:`dirty_sum`.
    center : tuple of float
        Direction cosines (l, m) of pixel ``n // 2``, if it is not the phase centre.

    Returns
    -------
    ndarray of complex64 or complex128, shape (row, channel)
        Visibilities [Jy].

    Raises
    ------
    DataError
        If the model has another shape than the grid or epsilon is out of its range.
    """
    if model.shape != grid.shape:
        raise DataError(f"model image of shape {model.shape} on a grid of {grid.shape}: must be equal")
    single = _is_single(np.dtype(np.complex64 if model.dtype == np.float32 else np.complex128), epsilon)
    result: Visibilities = ducc0.wgridder.dirty2vis(
        uvw=uvw_m,
        freq=np.atleast_1d(frequency_hz),
        dirty=model.astype(np.float32 if single else np.float64, copy=False),
        # l falls with the index, and the flip of v turns the sign of the second one too
        center_x=-center[0],
        center_y=-center[1],
        **_transform_options(grid, epsilon, w_term),
    )
    return result


def _transform_options(grid: ImageGrid, epsilon: float, w_term: bool) -> dict[str, Any]:
    return {
        "pixsize_x": grid.cell_size_rad,
        "pixsize_y": grid.cell_size_rad,
        "epsilon": epsilon,
        "do_wgridding": w_term,
        "divide_by_n": False,
        "flip_v": True,
        "nthreads": 1,
    }


def _is_single(dtype: np.dtype[Any], epsilon: float) -> bool:
    """Return True for single precision; check epsilon."""
    if not MIN_EPSILON <= epsilon <= 0.1:
        raise DataError(f"accuracy epsilon = {epsilon}: allowed are {MIN_EPSILON} to 0.1")
    return dtype == np.complex64 and epsilon >= MIN_SINGLE_EPSILON


def _check_shapes(
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    visibilities: tuple[int, ...],
    weights: tuple[int, ...],
) -> None:
    expected = (len(uvw_m), len(frequency_hz))
    if uvw_m.shape[1:] != (3,) or visibilities != expected or weights != expected:
        raise DataError(
            f"uvw of shape {uvw_m.shape}, {len(frequency_hz)} channels, visibilities {visibilities}, "
            f"weights {weights}: expected (row, 3), then (row, channel) for both"
        )
