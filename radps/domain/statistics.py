"""Statistics of images: robust noise, extremes and where they are.

1. The noise of a residual image is taken from its median absolute deviation (MAD), which sources that cover less than
   half of the image hardly move: sigma = 1.4826 MAD for Gaussian noise.
2. NaN pixels (blanked, or a plane without data) do not count.

The MAD is too large where emission covers most of the image, and it knows nothing of noise that varies over the image
(after primary-beam correction): use the image before the correction.

References
----------
Rousseeuw & Croux 1993, J. Am. Stat. Assoc. 88, 1273.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAD_TO_SIGMA = 1.482602218505602
"""1 / (sqrt(2) erfinv(1/2)): standard deviation of a Gaussian over its MAD (Rousseeuw & Croux 1993, eq. 1.1)."""


class ImageStatistics(NamedTuple):
    """Extremes and scatter of an image, NaN where no pixel is finite."""

    maximum: float
    """Largest value, in the unit of the image."""
    maximum_pixel: tuple[int, ...]
    """Its first index; empty if no pixel is finite."""
    minimum: float
    """Smallest value."""
    minimum_pixel: tuple[int, ...]
    """Its first index; empty if no pixel is finite."""
    rms: float
    """Root of the mean square, as CASA's imstat (not the standard deviation)."""
    robust_rms: float
    """1.4826 MAD."""
    mean: float
    """Mean."""
    total: float
    """Sum."""
    n_pixels: int
    """Finite pixels."""


def robust_rms(image: NDArray[Any], region: NDArray[np.bool_] | None = None) -> float:
    """Return 1.4826 times the median absolute deviation of the finite pixels; NaN if there are none.

    Parameters
    ----------
    image : ndarray of float
        The image.
    region : ndarray of bool, same shape, optional
        True = the pixel counts; by default all do.
    """
    counted = np.isfinite(image) if region is None else np.isfinite(image) & region
    values = image[counted]
    if values.size == 0:
        return math.nan
    return MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))


def find_peak(image: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> float:
    """Return the largest absolute value inside a mask (True = counts): 0 for an empty one, NaN where a value is NaN.

    Parameters
    ----------
    image : ndarray of float
        The image.
    mask : ndarray of bool, same shape, optional
        By default all pixels count.
    """
    if mask is None:
        return max(float(image.max()), -float(image.min()))
    return float(np.abs(image).max(initial=0.0, where=mask))


def image_statistics(image: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> ImageStatistics:
    """Return the statistics of an image of any number of axes.

    Parameters
    ----------
    image : ndarray of float
        The image; NaN does not count.
    mask : ndarray of bool, same shape, optional
        True = the pixel counts.
    """
    counted = np.isfinite(image) if mask is None else np.isfinite(image) & mask
    values = image[counted].astype(np.float64)
    if values.size == 0:
        nan = math.nan
        return ImageStatistics(nan, (), nan, (), nan, nan, nan, nan, 0)
    largest = int(np.where(counted, image, -np.inf).argmax())
    smallest = int(np.where(counted, image, np.inf).argmin())
    return ImageStatistics(
        maximum=float(values.max()),
        maximum_pixel=tuple(int(i) for i in np.unravel_index(largest, image.shape)),
        minimum=float(values.min()),
        minimum_pixel=tuple(int(i) for i in np.unravel_index(smallest, image.shape)),
        rms=math.sqrt(float(np.mean(np.square(values)))),
        robust_rms=robust_rms(values),
        mean=float(values.mean()),
        total=float(values.sum()),
        n_pixels=int(values.size),
    )
