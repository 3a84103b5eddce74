"""The image grid, and what follows from it: direction cosines, good sizes, cell sizes, the need for the w-term.

1. An image has ``n_l`` x ``n_m`` pixels of one cell size; axis 0 is l, *decreasing* with the index (east is at low
   index), axis 1 is m, increasing; the phase centre is pixel ``n // 2``:
   ``l[i] = (n_l // 2 - i) * cell``, ``m[j] = (j - n_m // 2) * cell``. Direction cosines, so the projection is SIN.
2. The w-term is the factor exp(2 pi i w (n - 1)), n = sqrt(1 - l^2 - m^2). Without it a source is imaged with the phase
   error ``2 pi |w| (1 - n)``, largest for the longest w at the corner of the image (:func:`w_phase_error`).

References
----------
Thompson, Moran & Swenson 2017, Interferometry and Synthesis in Radio Astronomy, ch. 3 and 11.
Cornwell, Golap & Bhatnagar 2008, IEEE J. Sel. Topics Signal Process. 2, 647 (the w-term).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radps.errors import DataError

SPEED_OF_LIGHT_M_S = 299_792_458.0
"""Exact by definition of the metre."""

MIN_IMAGE_SIZE = 32
"""Smallest image side that the gridder (ducc0.wgridder) makes [pixel]."""

MAX_FIELD_OF_VIEW = 1.2
"""Widest image that :func:`suggest_image_size` suggests, in direction cosines: its corners are 58 degrees off."""

PIXELS_PER_BEAM = 4.0
"""Pixels across the synthesized beam that :func:`suggest_cell_size` aims at; CLEAN wants 3 to 5."""


@dataclass(frozen=True, slots=True)
class ImageGrid:
    """Immutable description of an image plane.

    Parameters
    ----------
    n_l, n_m : int
        Pixels along l (axis 0) and m (axis 1); even and at least 32.
    cell_size_rad : float
        Side of the square pixels [rad].
    are_lags : bool
        True: the pixels are differences of directions, as of a PSF, which may be larger than to the horizon.

    Raises
    ------
    DataError
        For a size that is odd or too small, or a cell size that is not positive or takes the corner beyond the horizon.
    """

    n_l: int
    n_m: int
    cell_size_rad: float
    are_lags: bool = False

    def __post_init__(self) -> None:
        """Check sizes once, so that nothing below has to."""
        for axis, size in (("n_l", self.n_l), ("n_m", self.n_m)):
            if size % 2 or size < MIN_IMAGE_SIZE:
                raise DataError(
                    f"image size {axis} = {size} pixels: must be even and at least {MIN_IMAGE_SIZE}; "
                    f"use {find_good_size(size)}"
                )
        if not (math.isfinite(self.cell_size_rad) and self.cell_size_rad > 0):
            raise DataError(f"cell size {self.cell_size_rad} rad: must be a positive number")
        if self.corner_radius_squared >= 1 and not self.are_lags:
            raise DataError(
                f"an image of {self.n_l} x {self.n_m} pixels of {self.cell_size_rad:.6g} rad reaches beyond the "
                f"horizon (l^2 + m^2 = {self.corner_radius_squared:.3g} at its corner, allowed < 1); "
                "use fewer or smaller pixels"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the image array, (n_l, n_m)."""
        return self.n_l, self.n_m

    @property
    def l(self) -> NDArray[np.float64]:  # noqa: E743 - the field's name for this direction cosine
        """Direction cosine to the east of every row, decreasing, shape (n_l,)."""
        return (self.n_l // 2 - np.arange(self.n_l, dtype=np.float64)) * self.cell_size_rad

    @property
    def m(self) -> NDArray[np.float64]:
        """Direction cosine to the north of every column, increasing, shape (n_m,)."""
        return (np.arange(self.n_m, dtype=np.float64) - self.n_m // 2) * self.cell_size_rad

    @property
    def n_minus_1(self) -> NDArray[np.float64]:
        """The n - 1 of every pixel, shape (n_l, n_m), 0 at the centre and negative elsewhere; without cancellation."""
        radius_squared = self.l[:, np.newaxis] ** 2 + self.m[np.newaxis, :] ** 2
        return -radius_squared / (np.sqrt(1.0 - radius_squared) + 1.0)

    @property
    def corner_radius_squared(self) -> float:
        """Value of l^2 + m^2 at the corner farthest from the phase centre."""
        return ((self.n_l // 2) ** 2 + (self.n_m // 2) ** 2) * self.cell_size_rad**2

    @property
    def max_1_minus_n(self) -> float:
        """Largest 1 - n of the image, at its corner."""
        radius_squared = self.corner_radius_squared
        return radius_squared / (math.sqrt(1.0 - radius_squared) + 1.0)

    def resized(self, n_l: int, n_m: int, *, are_lags: bool = False) -> ImageGrid:
        """Return a grid of another size with the same cell."""
        return ImageGrid(n_l, n_m, self.cell_size_rad, are_lags)


def find_good_size(size: int) -> int:
    """Return the next even image size, at least 32, whose only prime factors are 2, 3, 5 and 7.

    Such sizes have fast Fourier transforms.
    """
    candidate = max(size + size % 2, MIN_IMAGE_SIZE)
    while not _is_smooth(candidate):
        candidate += 2
    return candidate


def find_good_size_within(limit: float) -> int:
    """Return the largest good image size (:func:`find_good_size`) that is not above a limit; 32 if none is."""
    candidate = max(int(limit) // 2 * 2, MIN_IMAGE_SIZE)
    while not _is_smooth(candidate):
        candidate -= 2
    return candidate


def _is_smooth(size: int) -> bool:
    for factor in (2, 3, 5, 7):
        while size % factor == 0:
            size //= factor
    return size == 1


def suggest_cell_size(longest_baseline_m: float, highest_frequency_hz: float) -> float:
    """Return a cell size [rad]: a quarter of the beam of the longest baseline, lambda / (4 B).

    Parameters
    ----------
    longest_baseline_m : float
        Longest projected baseline [m].
    highest_frequency_hz : float
        Highest frequency to be imaged [Hz].

    Raises
    ------
    DataError
        If an argument is not positive.
    """
    if not (longest_baseline_m > 0 and highest_frequency_hz > 0):
        raise DataError(
            f"no cell size for a longest baseline of {longest_baseline_m} m at {highest_frequency_hz} Hz: both must be "
            "positive; is there any unflagged cross-correlation?"
        )
    return SPEED_OF_LIGHT_M_S / highest_frequency_hz / longest_baseline_m / PIXELS_PER_BEAM


def suggest_image_size(field_of_view_rad: float, cell_size_rad: float) -> int:
    """Return the next good image size that covers a field of view, or what of it is well above the horizon.

    Parameters
    ----------
    field_of_view_rad : float
        Full width to cover [rad], for example twice the FWHM of the primary beam.
    cell_size_rad : float
        Side of the pixels [rad].
    """
    size = find_good_size(math.ceil(field_of_view_rad / cell_size_rad))
    return (
        size if size * cell_size_rad < MAX_FIELD_OF_VIEW else find_good_size_within(MAX_FIELD_OF_VIEW / cell_size_rad)
    )


def w_phase_error(uvw_m: NDArray[np.float64], frequency_hz: float, grid: ImageGrid) -> float:
    """Return the largest phase error [rad] of an image made without the w-term: ``2 pi max|w| (1 - n)`` at its corner.

    Parameters
    ----------
    uvw_m : ndarray, shape (..., 3)
        Baseline coordinates [m]; NaN is ignored.
    frequency_hz : float
        Highest frequency of the data [Hz].
    grid : ImageGrid
        The image.
    """
    w = np.abs(uvw_m[..., 2])
    longest = float(np.max(w, initial=0.0, where=np.isfinite(w)))
    return 2 * math.pi * longest * frequency_hz / SPEED_OF_LIGHT_M_S * grid.max_1_minus_n


def needs_w_term(
    uvw_m: NDArray[np.float64], frequency_hz: float, grid: ImageGrid, *, max_phase_error: float = 0.1
) -> bool:
    """Return True where an image without the w-term has a phase error above ``max_phase_error`` [rad] at its corner.

    A phase error p lowers the peak of a source by about p^2 / 2 at most, so the default of 0.1 rad keeps it within
    0.5 % everywhere in the image. The arguments are those of :func:`w_phase_error`.
    """
    return w_phase_error(uvw_m, frequency_hz, grid) > max_phase_error
