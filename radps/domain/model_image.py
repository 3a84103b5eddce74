r"""Visibilities of a model image that need not be centred on the phase centre of the data.

1. The image has square pixels along l and m, in Jy/pixel or any unit that is then scaled; its pixel ``n // 2`` lies at
   the direction cosines ``center`` of the data's phase centre, so that pixel (i, j) lies at

       l = center_l + (n_l // 2 - i) cell,     m = center_m + (j - n_m // 2) cell

2. :func:`place_image` finds the centre from the directions of the pixels, and how far this grid is from them: the SIN
   projections about two directions differ by a rotation and by terms of second order. An image for which that matters
   has to be brought to the phase centre of the field first.
3. :func:`predict_model_image` is the sum over pixels of brightness times ``exp(+2 pi i (u l + v m + w (n - 1)))`` by
   ducc0's wgridder, each channel by itself, so that a channel does not depend on which others are predicted with it,
   times the spectrum, which is the same for all pixels.
4. :func:`predict_taylor_images` takes Taylor terms of the brightness as continuum images have them
   (:mod:`radps.domain.multiterm`), ``I(f) = sum over t of I_t ln(f / f0)^t``, and all channels in one transform a term:
   the faster way for large images of a continuum.

References
----------
Arras, Reinecke, Westermann & Ensslin 2021, A&A 646, A58 (wgridder, with the centre of the image off the phase centre).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.geometry import ImageGrid
from radps.domain.gridding import DEFAULT_EPSILON, Image, predict
from radps.domain.multiterm import spectral_powers
from radps.errors import DataError

EPSILON = 1e-7
"""Accuracy of the prediction of calibrators: below the rounding of their complex64 data."""

MAX_SHIFT_PIXELS = 0.1
"""Largest distance of a pixel from where the grid has it: a tenth of a pixel is some 0.03 of the beam."""


class ImagePlace(NamedTuple):
    """Where the pixels of a model image are, as seen from the phase centre of the data."""

    grid: ImageGrid
    center: tuple[float, float] = (0.0, 0.0)
    """Direction cosines (l, m) of pixel ``n // 2``."""


def place_image(grid: ImageGrid, l: NDArray[np.float64], m: NDArray[np.float64]) -> ImagePlace:
    """Find where an image is from the directions of its corners, the middles of its edges, and its centre.

    Parameters
    ----------
    grid : ImageGrid
        Its pixels.
    l, m : ndarray, shape (3, 3)
        True direction cosines of the pixels with the indices 0, ``n // 2`` and ``n - 1`` along each axis.

    Raises
    ------
    DataError
        A pixel is more than a tenth of a pixel away from where the grid has it.
    """
    center = float(l[1, 1]), float(m[1, 1])
    rows, columns = (np.array([0, size // 2, size - 1]) for size in grid.shape)
    off_l = l - (center[0] + grid.l[rows])[:, np.newaxis]
    off_m = m - (center[1] + grid.m[columns])[np.newaxis, :]
    worst = float(np.hypot(off_l, off_m).max()) / grid.cell_size_rad
    if not worst <= MAX_SHIFT_PIXELS:
        degrees = float(np.degrees(np.hypot(*center)))
        raise DataError(
            f"the pixels of a model image are up to {worst:.2g} pixels away from a grid about the phase centre of the "
            f"field (allowed {MAX_SHIFT_PIXELS}); it is centred {degrees:.3g} degrees off it: regrid it to the SIN "
            "projection about the phase centre, north up, with square pixels"
        )
    return ImagePlace(grid, center)


def predict_model_image(
    image: Image,
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    place: ImagePlace,
    flux_jy: NDArray[np.float64],
    *,
    epsilon: float = EPSILON,
) -> NDArray[np.complex128]:
    """Predict the visibilities of a model image, w-term included.

    Parameters
    ----------
    image : ndarray, shape (n_l, n_m)
        Brightness of the pixels, in units of ``flux_jy``.
    uvw_m : ndarray, shape (row, 3)
        As stored in MSv4 [m]; finite.
    frequency_hz : ndarray, shape (channel,)
    place : ImagePlace
    flux_jy : ndarray, shape (channel,)
        What the image is multiplied by [Jy].
    epsilon : float
        Accuracy relative to the flux density.

    Returns
    -------
    ndarray of complex128, shape (row, channel)
        Jy.

    Raises
    ------
    DataError
        The image has another shape than its grid.
    """
    exact = np.asarray(image, np.float64)
    visibilities = np.empty((len(uvw_m), len(frequency_hz)), np.complex128)
    for channel, (frequency, flux) in enumerate(zip(frequency_hz, flux_jy, strict=True)):
        column = predict(exact, uvw_m, np.array([frequency]), place.grid, center=place.center, epsilon=epsilon)
        visibilities[:, channel] = flux * column[:, 0]
    return visibilities


def predict_taylor_images(
    images: Image,
    uvw_m: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    place: ImagePlace,
    reference_frequency_hz: float,
    *,
    epsilon: float = DEFAULT_EPSILON,
) -> NDArray[np.complex128]:
    """Predict the visibilities of the Taylor terms of a model, w-term included.

    Parameters
    ----------
    images : ndarray of float32, shape (term, n_l, n_m)
        Term 0 is the brightness at the reference frequency [Jy/pixel].
    uvw_m, frequency_hz, place
        As for :func:`predict_model_image`.
    reference_frequency_hz : float
        Where the terms are expanded [Hz].
    epsilon : float
        Accuracy relative to the flux density; down to 1e-5 in single precision.

    Returns
    -------
    ndarray of complex128, shape (row, channel)
        Jy. To ``epsilon``, it depends on what else is in the block.

    Raises
    ------
    DataError
        The images have another shape than the grid.
    """
    visibilities = np.zeros((len(uvw_m), len(frequency_hz)), np.complex128)
    powers = spectral_powers(frequency_hz, reference_frequency_hz, len(images))
    for image, factors in zip(images, powers, strict=True):
        if image.any():
            transformed = predict(image, uvw_m, frequency_hz, place.grid, center=place.center, epsilon=epsilon)
            for channel, factor in enumerate(factors):  # one by one: no second copy of all
                visibilities[:, channel] += transformed[:, channel] * factor
    return visibilities
