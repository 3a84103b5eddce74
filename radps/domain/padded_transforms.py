"""Fourier transforms of images that are filled up with zeros, and back to the size of the image.

A transform of two axes is one of the rows, then one of the columns. Of a padded image only the rows that have pixels
are transformed, and on the way back only those that are asked for: for twice the size that takes less than half of the
time. Results are those of the transform of the whole, to rounding: which rows are computed side by side differs.
"""

from __future__ import annotations

import ducc0
import numpy as np
from numpy.typing import NDArray


def transform_padded(
    image: NDArray[np.floating], size: tuple[int, int], *, about_centre: bool = False
) -> NDArray[np.complex64]:
    """Return the transform of a real image on a larger grid.

    Parameters
    ----------
    image : ndarray of float, shape (n_l, n_m)
        The image; computed with in single precision.
    size : tuple of int
        (p_l, p_m), at least the shape of the image.
    about_centre : bool
        True = pixel ``n // 2`` of the image is the origin; default: its first pixel.

    Returns
    -------
    ndarray of complex64, shape (p_l, p_m // 2 + 1)
        The half plane of a real image, exp(-2 pi i ...).
    """
    n_l, n_m = image.shape
    rows = np.zeros((n_l, size[1]), np.float32)
    rows[:, :n_m] = image
    result = np.zeros((size[0], size[1] // 2 + 1), np.complex64)
    if not about_centre:
        ducc0.fft.r2c(rows, axes=(1,), out=result[:n_l], nthreads=1)
    else:
        half = n_l // 2
        transformed = ducc0.fft.r2c(np.roll(rows, -(n_m // 2), axis=1), axes=(1,), nthreads=1)
        result[: n_l - half], result[size[0] - half :] = transformed[half:], transformed[:half]
    ducc0.fft.c2c(result, axes=(0,), out=result, nthreads=1)
    return result


def transform_back(
    transform: NDArray[np.complex64], size: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the first pixels, of a shape, of the real image on a grid of a size that has a transform."""
    rows = ducc0.fft.c2c(transform, axes=(0,), forward=False, inorm=2, nthreads=1)[: shape[0]]
    image = ducc0.fft.c2r(rows, axes=(1,), lastsize=size[1], forward=False, inorm=2, nthreads=1)
    return np.ascontiguousarray(image[:, : shape[1]])
