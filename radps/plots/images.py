"""Plots of images and cubes, with world coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.statistics import robust_rms
from radps.plots.figures import new_figure, plain
from radps.plots.themes import NO_DATA_COLOUR

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

_COLUMNS = 4
_BRIGHT = 50.0
"""Peak over noise from which on faint sources would be lost in colours that are linear in brightness."""
_BEAM_MARGIN = 0.06
"""Distance of the beam from the corner, in units of the image."""


class ImagePlane(NamedTuple):
    """One plane of an image."""

    image: NDArray[np.floating]
    """(n_l, n_m); l decreases and m increases with the index."""
    cell_size_rad: float
    center_rad: tuple[float, float]
    """Right ascension and declination of pixel (n_l // 2, n_m // 2)."""
    unit: str
    beam_rad: tuple[float, float, float] | None
    """Full widths at half maximum and position angle (north through east); None = none."""
    label: str
    """What the plane is, such as its frequency or velocity."""
    mask: NDArray[np.bool_] | None = None
    """(n_l, n_m), True = CLEAN components are allowed; drawn as an outline."""


def thin_plane(plane: ImagePlane, most_pixels: int) -> ImagePlane:
    """Return a plane of at most about ``most_pixels`` along each axis, for a picture that could not show more.

    Each new pixel has the value of largest modulus among k x k old ones, so that a point source stays as bright as it
    is, and is in the mask if one of them is. k is odd, so that the centre of the image is the centre of a pixel again.
    The rim may lose up to k - 1 pixels.
    """
    step = max(math.ceil(size / most_pixels) for size in plane.image.shape)
    if step <= 1:
        return plane
    step += 1 - step % 2
    cut = []
    for size in plane.image.shape:
        before, start = divmod(size // 2 - step // 2, step)
        cut.append((start, min((size - start) // step, 2 * before + 1)))
    (l, n_l), (m, n_m) = cut

    def cells(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return values[l : l + n_l * step, m : m + n_m * step].reshape(n_l, step, n_m, step)

    # fmax leaves out NaN, and makes no copy
    high, low = (extreme.reduce(cells(plane.image), axis=(1, 3)) for extreme in (np.fmax, np.fmin))
    mask = None if plane.mask is None else np.logical_or.reduce(cells(plane.mask), axis=(1, 3))
    thin = np.where(high >= -low, high, low)
    return plane._replace(image=thin, cell_size_rad=step * plane.cell_size_rad, mask=mask)


def plot_image(plane: ImagePlane, *, symmetric: bool = False) -> Figure:
    """Plot an image with its beam, the outline of its mask, a colour bar and world coordinates.

    The colours go from 3 times the noise below zero to the maximum, or, for a map of velocities (``symmetric``), over
    the whole range. Where the peak is far above the noise they are linear up to 5 times the noise and about logarithmic
    beyond, so that faint sources are seen too.
    """
    figure = new_figure(7.0, 6.0)
    axes = figure.add_subplot(projection=make_wcs(plane))
    norm = _scale(plane.image, _limits([plane], symmetric=symmetric), is_linear=symmetric)
    shown = axes.imshow(plane.image.T, origin="lower", cmap="RdBu_r" if symmetric else "inferno", norm=norm)
    axes.set_facecolor(NO_DATA_COLOUR)  # blank pixels
    axes.set_xlabel("Right ascension")
    axes.set_ylabel("Declination")
    axes.set_title(plain(plane.label), fontsize=10)
    _draw_beam(axes, plane)
    _draw_mask(axes, plane)
    figure.colorbar(shown, ax=axes, label=plane.unit, shrink=0.85)
    return figure


def plot_channel_maps(planes: Sequence[ImagePlane]) -> Figure:
    """Plot several channels of a cube on one scale, with the outlines of their masks."""
    columns = min(_COLUMNS, max(len(planes), 1))
    rows = max(1, math.ceil(len(planes) / columns))
    figure = new_figure(2.6 * columns + 1.2, 2.5 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    low, high = _limits(planes, symmetric=False)
    shown = None
    for axes, plane in zip(grid.flat, planes, strict=False):
        extent = _extent(plane)
        shown = axes.imshow(plane.image.T, origin="lower", cmap="inferno", vmin=low, vmax=high, extent=extent)
        axes.set_facecolor(NO_DATA_COLOUR)  # blank pixels
        _draw_mask(axes, plane, extent=extent)
        axes.set_title(plain(plane.label), fontsize=8, pad=2)
        axes.tick_params(labelsize=6)
    for axes in grid.flat[len(planes) :]:
        axes.set_axis_off()
    figure.supxlabel("Offset in right ascension [arcmin]", fontsize=9)
    figure.supylabel("Offset in declination [arcmin]", fontsize=9)
    if shown is not None:
        figure.colorbar(shown, ax=grid, label=planes[0].unit, shrink=0.6)
    return figure


def make_wcs(plane: ImagePlane) -> WCS:
    """Return the world coordinates of a plane: a SIN projection about its centre."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    n_l, n_m = plane.image.shape
    cell = math.degrees(plane.cell_size_rad)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.crpix = [n_l // 2 + 1, n_m // 2 + 1]
    wcs.wcs.crval = [math.degrees(angle) for angle in plane.center_rad]
    wcs.wcs.cdelt = [-cell, cell]
    wcs.wcs.cunit = ["deg", "deg"]
    return wcs


def _extent(plane: ImagePlane) -> tuple[float, float, float, float]:
    """Return the edges of a plane, left, right, bottom, top, from the centre of pixel n // 2 [arcmin]."""
    cell = math.degrees(plane.cell_size_rad) * 60
    n_l, n_m = plane.image.shape
    right, top = n_l - n_l // 2 - 0.5, n_m - n_m // 2 - 0.5
    return (n_l - right) * cell, -right * cell, (top - n_m) * cell, top * cell


def _limits(planes: Sequence[ImagePlane], *, symmetric: bool) -> tuple[float, float]:
    """Return the ends of the colours."""
    values = np.concatenate([plane.image[np.isfinite(plane.image)].ravel() for plane in planes] or [np.zeros(0)])
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if not symmetric:
        noise = robust_rms(values)
        low = max(low, -3 * noise) if noise > 0 else low
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _scale(image: NDArray[np.floating], limits: tuple[float, float], *, is_linear: bool) -> Normalize:
    """Return how values become colours."""
    from matplotlib.colors import AsinhNorm, Normalize

    low, high = limits
    noise = robust_rms(image[np.isfinite(image)])
    if is_linear or not noise > 0 or high < _BRIGHT * noise:
        return Normalize(low, high)
    return AsinhNorm(linear_width=5 * noise, vmin=low, vmax=high)


def _draw_beam(axes: Axes, plane: ImagePlane) -> None:
    """Draw the beam into the lower left corner."""
    from matplotlib.patches import Ellipse

    if plane.beam_rad is None:
        return
    major, minor, angle = plane.beam_rad
    n_l, n_m = plane.image.shape
    axes.add_patch(
        Ellipse(
            (
                _BEAM_MARGIN * n_l + major / plane.cell_size_rad / 2,
                _BEAM_MARGIN * n_m + major / plane.cell_size_rad / 2,
            ),
            minor / plane.cell_size_rad,
            major / plane.cell_size_rad,
            angle=math.degrees(angle),
            facecolor="white",
            edgecolor="grey",
        )
    )


def _draw_mask(axes: Axes, plane: ImagePlane, extent: tuple[float, float, float, float] | None = None) -> None:
    """Draw the outline of the mask half-way to the pixels around it; nothing where it is empty or full."""
    if plane.mask is None or plane.mask.all() or not plane.mask.any():
        return
    # With an extent matplotlib puts values at the centres of pixels only if it is told the origin.
    axes.contour(
        plane.mask.T.astype(float),
        levels=[0.5],
        colors="deepskyblue",
        linewidths=0.8,
        origin=None if extent is None else "lower",
        extent=extent,
    )
