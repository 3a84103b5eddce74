"""Hogbom CLEAN with active-pixel minor cycles: exact, but only pixels that could hold the peak are brought up to date.

Textbook CLEAN repeats: find the largest absolute residual; subtract ``gain`` times it times the PSF centred there from
the *whole* image. Almost all of that work is spent on pixels that never become the peak. Here the image is cut into
square tiles, each with

* ``applied``: how many of the components so far were subtracted from its pixels;
* ``bound``: an upper limit of its largest absolute residual. A new component c at a pixel of tile s raises the bound of
  tile t by ``|c| * reach[t - s]``, where reach is the largest ``|PSF|`` between any pixel of s and any pixel of t.

One iteration:

1. Take the tile with the largest bound. If components are missing there, subtract them, find its peak, set the bound to
   it; repeat.
2. Else its peak is the peak of the image. Stop if it is at or below the goal.
3. Record the component, raise the bounds.

So a peak is only accepted when no tile can hold a larger one: the components are those of the textbook algorithm, in
the same order, from the whole PSF. Tiles whose bound stays below the goal ("inactive pixels") are never touched. Each
pixel sees its components in their order, so the arithmetic is the same too.

PSF: as large as it is given, zero beyond. With a PSF of twice the image size every pair of pixels is covered, and the
minor cycle cannot go wrong by truncation; a smaller PSF leaves the sidelobes beyond it to the next residual update, and
can diverge where they matter.

The residual is not returned: only parts of it were needed, and the residual update makes an exact one.

References
----------
Hogbom 1974, A&AS 15, 417. Clark 1980, A&A 89, 377 (minor cycles on few pixels).
Schwab 1984, AJ 89, 1076 (residual updates from the visibilities).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from radps.errors import DataError

MIN_TILE = 32
"""Smallest tile side [pixel]: smaller tiles touch fewer pixels, larger ones cost less to keep account of."""

MAX_TILES_PER_SIDE = 64
"""Above, tiles grow, so that the search over the bounds stays cheap."""

DIVERGENCE_FACTOR = 2.0
"""A minor cycle stops when its peak exceeds this many times the smallest peak so far."""


class MinorCycleResult(NamedTuple):
    """What a minor cycle found."""

    model: NDArray[np.float32]
    """Model increment [Jy/pixel], shape of the residual."""
    pixels: NDArray[np.int32]
    """Pixel (l, m) of every component in the order found, shape (iteration, 2)."""
    fluxes: NDArray[np.float32]
    """Flux density of every component [Jy], shape (iteration,)."""
    scales: NDArray[np.int32]
    """Number of the scale of every component, shape (iteration,); 0 for all where there are only points."""
    peak: float
    """Largest absolute residual that is left inside the mask, by the PSF alone [Jy/beam]; 0 for an empty mask.

    Where the goal was reached it is an upper limit, at most the goal: tiles that cannot exceed it are not looked at.
    """

    @property
    def iterations(self) -> int:
        """Number of components."""
        return len(self.fluxes)

    @property
    def flux(self) -> float:
        """Sum of the components [Jy]."""
        return float(self.fluxes.sum(dtype=np.float64))


class PreparedPsf(NamedTuple):
    """A PSF made ready for images of one shape: what all minor cycles of a plane share."""

    image: NDArray[np.float32]
    """The PSF, with zeros around it where it is smaller than needed."""
    reach: NDArray[np.float64]
    """Largest ``|PSF|`` for every offset between tiles."""
    shape: tuple[int, int]
    """Of the images (n_l, n_m)."""
    tile: int
    """Side of a tile [pixel]."""


def prepare_psf(psf: NDArray[np.float32], shape: tuple[int, int]) -> PreparedPsf:
    """Make a PSF ready for minor cycles on images of one shape.

    Parameters
    ----------
    psf : ndarray of float32, shape (p_l, p_m)
        Point spread function, peak 1 at pixel ``p // 2``; twice the image size covers every pair of pixels.
    shape : tuple of int
        (n_l, n_m) of the images.

    Raises
    ------
    DataError
        If the PSF is not 1 at its centre.
    """
    centre = float(psf[psf.shape[0] // 2, psf.shape[1] // 2])
    if not abs(centre - 1) < 1e-3:
        raise DataError(
            f"the PSF is {centre:.6g} at its centre pixel, expected 1: normalise it, with the peak at n // 2"
        )
    tile = _choose_tile_side(max(shape))
    n_tiles = -(-shape[0] // tile), -(-shape[1] // tile)
    padded = _pad_psf(np.ascontiguousarray(psf, np.float32), (n_tiles[0] * tile, n_tiles[1] * tile))
    return PreparedPsf(padded, _find_reach(padded, tile, *n_tiles), shape, tile)


def clean_minor_cycle(
    residual: NDArray[np.float32],
    psf: NDArray[np.float32] | PreparedPsf,
    mask: NDArray[np.bool_] | None = None,
    *,
    gain: float = 0.1,
    goal: float = 0.0,
    max_iterations: int = 10_000,
) -> MinorCycleResult:
    """CLEAN down to a goal.

    Parameters
    ----------
    residual : ndarray of float32, shape (n_l, n_m)
        Residual image [Jy/beam], finite.
    psf : ndarray of float32, shape (p_l, p_m), or PreparedPsf
        Point spread function, peak 1 at pixel ``p // 2``; twice the image size covers every pair of pixels. Prepared
        once, it need not be looked through in every cycle.
    mask : ndarray of bool, shape (n_l, n_m), optional
        True = components are allowed here; default: everywhere.
    gain : float
        Part of the peak that a component takes, above 0 and below 2.
    goal : float
        Stop when the largest absolute residual is at or below this [Jy/beam].
    max_iterations : int
        Largest number of components.

    Returns
    -------
    MinorCycleResult
        Components, model increment and the peak that is left. Negative peaks count like positive ones (as in CASA).

    Raises
    ------
    DataError
        If the shapes of residual and mask differ, the gain is out of its range, or the PSF is not 1 at its centre or
        was prepared for another shape.
    """
    shape = residual.shape[0], residual.shape[1]
    check_minor_cycle(shape, mask, gain)
    ready = psf if isinstance(psf, PreparedPsf) else prepare_psf(psf, shape)
    if ready.shape != shape:
        raise DataError(f"a PSF prepared for images of shape {ready.shape}, and an image of shape {shape}")
    allowed = np.ones(shape, np.bool_) if mask is None else mask
    residual_tiles, mask_tiles = _cut_into_tiles(residual, allowed, ready.tile)
    pixels, fluxes, peak = _clean_tiles(
        residual_tiles, mask_tiles, ready.image, ready.reach, float(gain), float(goal), int(max_iterations)
    )
    model = np.zeros(shape, np.float32)
    np.add.at(model, (pixels[:, 0], pixels[:, 1]), fluxes)
    return MinorCycleResult(model, pixels, fluxes, np.zeros(len(fluxes), np.int32), float(peak))


def check_minor_cycle(shape: tuple[int, int], mask: NDArray[np.bool_] | None, gain: float) -> None:
    """Check what every minor cycle is given.

    Raises
    ------
    DataError
        If the mask is not of the shape of the image, or the gain is out of its range.
    """
    if mask is not None and mask.shape != shape:
        raise DataError(f"CLEAN mask of shape {mask.shape} for an image of shape {shape}: must be equal")
    if not 0 < gain < 2:
        raise DataError(f"CLEAN gain {gain}: must be above 0 and below 2, usually 0.1")


def _choose_tile_side(size: int) -> int:
    tile = MIN_TILE
    while size > tile * MAX_TILES_PER_SIDE:
        tile *= 2
    return tile


def _pad_psf(psf: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a PSF with zeros around it, so that every lag between two pixels of padded tiles can be looked up."""
    wanted = [max(size, 2 * n) for size, n in zip(psf.shape, shape, strict=True)]
    if list(psf.shape) == wanted:
        return psf
    before = [new // 2 - old // 2 for old, new in zip(psf.shape, wanted, strict=True)]
    after = [new - old - first for old, new, first in zip(psf.shape, wanted, before, strict=True)]
    return np.pad(psf, list(zip(before, after, strict=True)))


def _cut_into_tiles(
    residual: NDArray[np.float32], mask: NDArray[np.bool_], tile: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return copies of shape (tiles along l, tiles along m, side, side), filled up with masked zeros."""
    counts = [-(-n // tile) for n in residual.shape]
    padding = [(0, count * tile - n) for count, n in zip(counts, residual.shape, strict=True)]

    def cut(image: NDArray[Any]) -> NDArray[Any]:
        padded = np.pad(image, padding).reshape(counts[0], tile, counts[1], tile)
        return np.ascontiguousarray(padded.swapaxes(1, 2))

    return cut(residual.astype(np.float32, copy=False)), cut(mask)


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _find_reach(psf, tile, n_tiles_l, n_tiles_m):  # type: ignore[no-untyped-def]
    """Return the largest |PSF| for every offset between tiles, shape (2 n_tiles_l - 1, 2 n_tiles_m - 1)."""
    first_l = psf.shape[0] // 2 - (n_tiles_l - 1) * tile
    first_m = psf.shape[1] // 2 - (n_tiles_m - 1) * tile
    height = 2 * (n_tiles_l - 1) * tile + 1
    reach = np.zeros((2 * n_tiles_l - 1, 2 * n_tiles_m - 1))
    row_reach = np.empty(2 * n_tiles_m - 1)
    for i in range(1 - tile, height + tile - 1):
        row = psf[first_l + i]
        for k in range(row_reach.size):
            start = first_m + k * tile - (tile - 1)
            largest = np.float32(0.0)
            for j in range(start, start + 2 * tile - 1):
                largest = max(largest, abs(row[j]))
            row_reach[k] = largest
        lower = i // tile
        for block in (lower, -(-i // tile)):
            if 0 <= block < reach.shape[0]:
                for k in range(row_reach.size):
                    reach[block, k] = max(reach[block, k], row_reach[k])
    return reach * (1 + 1e-5)  # the bounds must hold for rounded residuals too


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _find_tile_peak(residual, mask):  # type: ignore[no-untyped-def]
    """Return the largest absolute value inside the mask and its place in the tile; -inf where the mask is empty."""
    best = np.float32(-1.0)
    best_i = 0
    for i in range(residual.shape[0]):
        values = residual[i]
        allowed = mask[i]
        largest = np.float32(-1.0)
        for j in range(values.size):
            largest = max(largest, abs(values[j]) if allowed[j] else np.float32(-1.0))
        if largest > best:
            best = largest
            best_i = i
    if best < 0:
        return -np.inf, 0, 0
    for j in range(residual.shape[1]):
        if mask[best_i, j] and abs(residual[best_i, j]) == best:
            return best, best_i, j
    return best, best_i, 0


@numba.njit(cache=True, nogil=True)
def _subtract_components(residual, origin_l, origin_m, psf, pixels, fluxes, first, last):  # type: ignore[no-untyped-def]
    """Subtract the components from ``first`` up to ``last`` from one tile, in place."""
    side = residual.shape[0]
    for k in range(first, last):
        flux = fluxes[k]
        lag_l = psf.shape[0] // 2 + origin_l - pixels[k, 0]
        lag_m = psf.shape[1] // 2 + origin_m - pixels[k, 1]
        for i in range(side):
            target = residual[i]
            source = psf[lag_l + i, lag_m : lag_m + side]
            for j in range(side):
                target[j] -= flux * source[j]


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _raise_bounds(bounds, row_bounds, reach, tile_l, tile_m, flux):  # type: ignore[no-untyped-def]
    """Account for a component of absolute flux density ``flux`` in tile (tile_l, tile_m)."""
    n_l, n_m = bounds.shape
    for i in range(n_l):
        largest = -np.inf
        for j in range(n_m):
            bound = bounds[i, j] + flux * reach[i - tile_l + n_l - 1, j - tile_m + n_m - 1]
            bounds[i, j] = bound
            largest = max(largest, bound)
        row_bounds[i] = largest


@numba.njit(cache=True, nogil=True)
def _clean_tiles(tiles, mask, psf, reach, gain, goal, max_iterations):  # type: ignore[no-untyped-def]
    """Return components and the peak left; the steps are those of the module docstring. Changes ``tiles``."""
    n_l, n_m, side, _ = tiles.shape
    bounds = np.empty((n_l, n_m))
    row_bounds = np.empty(n_l)
    applied = np.zeros((n_l, n_m), np.int64)
    peaks = np.zeros((n_l, n_m, 2), np.int64)
    for i in range(n_l):
        for j in range(n_m):
            bounds[i, j], peaks[i, j, 0], peaks[i, j, 1] = _find_tile_peak(tiles[i, j], mask[i, j])
        row_bounds[i] = bounds[i].max()
    pixels = np.empty((min(max_iterations, 1024), 2), np.int32)
    fluxes = np.empty(len(pixels), np.float32)
    smallest = np.inf
    done = 0
    while True:
        i = int(row_bounds.argmax())
        j = int(bounds[i].argmax())
        if applied[i, j] < done and bounds[i, j] > goal:
            _subtract_components(tiles[i, j], i * side, j * side, psf, pixels, fluxes, applied[i, j], done)
            applied[i, j] = done
            bounds[i, j], peaks[i, j, 0], peaks[i, j, 1] = _find_tile_peak(tiles[i, j], mask[i, j])
            row_bounds[i] = bounds[i].max()
            continue
        peak = bounds[i, j]
        smallest = min(smallest, peak)
        if peak <= goal or done >= max_iterations or peak > DIVERGENCE_FACTOR * smallest:
            break
        if done == len(pixels):
            pixels = np.concatenate((pixels, np.empty_like(pixels)))
            fluxes = np.concatenate((fluxes, np.empty_like(fluxes)))
        pixels[done, 0] = i * side + peaks[i, j, 0]
        pixels[done, 1] = j * side + peaks[i, j, 1]
        fluxes[done] = np.float32(gain) * tiles[i, j, peaks[i, j, 0], peaks[i, j, 1]]
        _raise_bounds(bounds, row_bounds, reach, i, j, abs(fluxes[done]))
        done += 1
    return pixels[:done].copy(), fluxes[:done].copy(), max(peak, 0.0)
