"""Masks that CLEAN finds itself from its residual image, as CASA's "auto-multithresh".

Before each model update, from the residual R, its robust noise s outside of the mask so far, and the largest sidelobe
level L of the PSF:

1. Threshold: R > max(noise_threshold s, sidelobe_threshold L max|R|). The second keeps sidelobes of what is not CLEANed
   yet out of the mask.
2. Prune: drop connected regions of fewer than min_beam_fraction of the pixels of a beam.
3. Smooth: convolve with smooth_factor times the beam, cut at cut_threshold of the peak: regions get a margin.
4. Grow: dilate the mask of the cycles before, by grow_iterations pixels at most, where
   R > max(low_noise_threshold s, sidelobe_threshold L max|R|); prune that too. So faint edges are reached from bright
   middles, and noise alone is not.
5. Negative: where asked for, the same as 1 to 3 for -R > max(negative_threshold s, ...); it does not grow.
6. The mask is what it was, or any of these: it only ever grows. It begins with a mask that is given, or with nothing.
7. With a region (where the primary beam is high enough), s and max|R| are those inside of it, and the mask is cut.

Two things differ from CASA. What has grown is not smoothed: the margin of every cycle would let the mask creep over
noise, until it covers the image. And the sidelobe threshold is at most ``MAX_SIDELOBE_SHARE`` of max|R|: with the PSF
of few samples, L above 0.3, CASA's mask would stay empty.

The median of R, which newer versions of CASA add to the thresholds, is taken as 0. Emission that fills most of the
image raises the noise, and so the thresholds: give a mask there.

References
----------
Kepley et al. 2020, PASP 132, 024505 (thresholds for many arrays). CASA's ``tclean``: parameters in brackets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from radps.domain.beam import RestoringBeam, convolve_with_beam
from radps.domain.geometry import ImageGrid
from radps.domain.statistics import find_peak, robust_rms

MAX_SIDELOBE_SHARE = 0.6
"""Largest sidelobe threshold, relative to the peak; half a beam of a point source is above it."""


class AutoMaskOptions(NamedTuple):
    """Thresholds of the mask; the defaults are CASA's."""

    noise_threshold: float = 5.0
    """A region starts above this many times the noise (``noisethreshold``)."""
    sidelobe_threshold: float = 3.0
    """And above this many times the largest sidelobe of the brightest residual (``sidelobethreshold``)."""
    low_noise_threshold: float = 1.5
    """A region grows down to this many times the noise (``lownoisethreshold``)."""
    negative_threshold: float = 0.0
    """Negative regions start below minus this many times the noise; 0 = none (``negativethreshold``)."""
    min_beam_fraction: float = 0.3
    """Regions smaller than this part of the beam are dropped (``minbeamfrac``)."""
    smooth_factor: float = 1.0
    """Width of the smoothing in beams (``smoothfactor``)."""
    cut_threshold: float = 0.01
    """Level of the smoothed mask, relative to its peak, down to which it counts (``cutthreshold``)."""
    grow_iterations: int = 75
    """Pixels that a region may grow in a cycle (``growiterations``)."""


def update_auto_mask(
    residual: NDArray[np.float32],
    before: NDArray[np.bool_],
    beam: RestoringBeam,
    grid: ImageGrid,
    sidelobe_level: float,
    options: AutoMaskOptions,
    region: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return the mask of a cycle: that of the cycle before, and what the residual adds to it.

    Parameters
    ----------
    residual : ndarray of float32, shape (n_l, n_m)
        Residual image [Jy/beam], finite.
    before : ndarray of bool, shape (n_l, n_m)
        Mask of the cycle before, True = components are allowed; at the start one that is given, or all False.
    beam : RestoringBeam
        The fit to the PSF; without one the mask stays as it is.
    grid : ImageGrid
        The image.
    sidelobe_level : float
        Largest sidelobe of the PSF, of :func:`radps.domain.imaging.find_sidelobe_level`.
    options : AutoMaskOptions
        The thresholds.
    region : ndarray of bool, shape (n_l, n_m), optional
        True = the pixel may get into the mask, and counts for the noise and for max|R|; by default all do. What is
        outside is never CLEANed: its brightness would hold the thresholds up in all cycles.
    """
    if not beam.is_valid:
        return before
    noise = mask_noise(residual, before, region)
    share = min(options.sidelobe_threshold * sidelobe_level, MAX_SIDELOBE_SHARE)
    sidelobes = share * find_peak(residual, region)
    mask = before | _find_regions(residual > max(options.noise_threshold * noise, sidelobes), beam, grid, options)
    if before.any() and options.grow_iterations > 0:
        low = residual > max(options.low_noise_threshold * noise, sidelobes)
        grown = scipy.ndimage.binary_dilation(before, iterations=options.grow_iterations, mask=low | before)
        mask |= prune_regions(grown & low, options.min_beam_fraction * beam.area_pixels(grid))
    if options.negative_threshold > 0:
        mask |= _find_regions(-residual > max(options.negative_threshold * noise, sidelobes), beam, grid, options)
    return mask if region is None else mask & region


def cut_mask(mask: NDArray[np.bool_] | None, region: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return the part of a mask inside of a region; None stands for all pixels, in each of them."""
    if mask is None or region is None:
        return region if mask is None else mask
    return mask & region


def mask_noise(
    residual: NDArray[np.float32], mask: NDArray[np.bool_], region: NDArray[np.bool_] | None = None
) -> float:
    """Return the robust noise of the residual outside of a mask, and inside of a region if there is one.

    Where the mask leaves nothing, it is that of all of it.
    """
    outside = ~mask if region is None else region & ~mask
    return robust_rms(residual, outside if outside.any() else region)


def _find_regions(
    above: NDArray[np.bool_], beam: RestoringBeam, grid: ImageGrid, options: AutoMaskOptions
) -> NDArray[np.bool_]:
    """Prune and smooth what is above a threshold."""
    pruned = prune_regions(above, options.min_beam_fraction * beam.area_pixels(grid))
    if options.smooth_factor == 0 or not pruned.any():
        return pruned
    wide = beam._replace(
        major_rad=options.smooth_factor * beam.major_rad, minor_rad=options.smooth_factor * beam.minor_rad
    )
    smoothed = convolve_with_beam(pruned.astype(np.float32), wide, grid)
    result: NDArray[np.bool_] = smoothed > options.cut_threshold * float(smoothed.max())
    return result


def prune_regions(mask: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    """Return a mask without its connected regions (sides touch) of fewer than ``min_pixels`` pixels."""
    labels, _ = scipy.ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    kept = sizes >= min_pixels
    kept[0] = False
    result: NDArray[np.bool_] = kept[labels]
    return result
