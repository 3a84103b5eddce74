"""Multi-scale CLEAN: components are points and round, smooth blobs of several sizes.

The model is a sum of a_k m_s(x - x_k), where m_0 is a point and m_s, s > 0, a tapered paraboloid of flux 1,

    m_s(r) ~ (1 - (r/s)²) (1 + cos(pi r/s)) / 2 for r < s, and 0 beyond,

with a full width at half maximum of 0.86 s. One minor cycle:

1. Smooth the residual by every scale: R_s = residual * m_s. A component of scale s and flux a changes it by
   a (psf * m_s * m_s); H_s is the peak of that.
2. Find the peak of every |R_s|. A component of the best flux, R_s / H_s, lowers chi-squared by R_s² / H_s. So
   ``|R_s| / sqrt(H_s)``, the matched filter, is what scales are compared by: its noise is that of the residual, for
   every s, where the samples have their natural weights. Stop when it is at or below the goal for all of them.
3. Take the scale for which it is largest, times the bias 1 - b s / s_max (CASA: ``smallscalebias``).
4. Hogbom CLEAN of R_s / H_s with the PSF (psf * m_s * m_s) / H_s, down to ``SUB_CYCLE_DEPTH`` of its peak, with the
   active pixels of :mod:`radps.domain.deconvolution`: far cheaper than to bring all scales up to date for every
   component, and without harm, as only the highest peaks are taken before scales are compared again (WSClean:
   ``-multiscale-gain``).
5. Add the components, smoothed by m_s and cut at the edge of the image, to the model; subtract the PSF convolved with
   them from the residual, exactly; back to 1.

Masks: a component of scale s is allowed where at least ``MASK_SHARE`` of its flux lies inside the mask (as in CASA),
and inside the image.

Fails where a scale is so large that the shortest baselines hardly see it: H_s is then small, and fluxes are uncertain.

References
----------
Cornwell 2008, IEEE J. Sel. Topics Signal Process. 2, 793. Offringa & Smirnov 2017, MNRAS 471, 301 (steps 4 and 5, the
shape of a scale, the choice of scales).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.domain.deconvolution import (
    DIVERGENCE_FACTOR,
    MinorCycleResult,
    PreparedPsf,
    check_minor_cycle,
    clean_minor_cycle,
    prepare_psf,
)
from radps.domain.geometry import find_good_size
from radps.domain.padded_transforms import transform_back, transform_padded
from radps.domain.statistics import find_peak
from radps.errors import DataError

SUB_CYCLE_DEPTH = 0.8
"""Part of its peak down to which a scale is CLEANed before scales are compared again."""

MASK_SHARE = 0.9
"""Part of a component's flux that has to lie inside the mask."""

FIRST_SCALE_BEAMS = 2.0
"""Smallest automatic scale above 0, in beams; each further one is twice as large (WSClean counts diameters: 4)."""


class MultiScalePsf(NamedTuple):
    """A PSF made ready for multi-scale minor cycles on images of one shape."""

    shape: tuple[int, int]
    """Of the images (n_l, n_m)."""
    scales_pixels: tuple[float, ...]
    """Radii of the scales [pixel], rising; 0 = a point."""
    biases: tuple[float, ...]
    """What the peak of each scale is multiplied by when scales are compared."""
    peaks: tuple[float, ...]
    """H_s."""
    psfs: tuple[PreparedPsf, ...]
    """psf * m_s * m_s / H_s."""
    spectrum: NDArray[np.float32]
    """Fourier transform of the PSF about its centre, shape (p_l, p_m // 2 + 1)."""
    size: tuple[int, int]
    """(p_l, p_m): the grid of that transform."""
    kernels: NDArray[np.float32]
    """Fourier transforms of the m_s on a grid of an image with a margin, shape (scale, k_l, k_m // 2 + 1)."""
    kernel_size: tuple[int, int]
    """(k_l, k_m)."""


def choose_scales(beam_pixels: float, shape: tuple[int, int]) -> tuple[float, ...]:
    """Return the scales for a beam: 0, 2, 4, 8 ... beams, of diameters below half of the image (as WSClean).

    Parameters
    ----------
    beam_pixels : float
        Full width at half maximum of the major axis [pixel]; NaN where there is no beam: then points alone.
    shape : tuple of int
        (n_l, n_m) of the image.
    """
    scales = [0.0]
    scale = FIRST_SCALE_BEAMS * beam_pixels
    while 2 * scale < min(shape) / 2:
        scales.append(scale)
        scale *= 2
    return tuple(scales)


def check_scales(scales_pixels: Sequence[float], shape: tuple[int, int]) -> None:
    """Check that scales are radii that fit into an image of a shape.

    Raises
    ------
    DataError
        If there is none, one is negative, or the largest does not fit.
    """
    if not scales_pixels or min(scales_pixels) < 0 or 2 * max(scales_pixels) >= min(shape):
        raise DataError(
            f"scales of {', '.join(f'{scale:g}' for scale in scales_pixels) or 'nothing'} pixels for an image of "
            f"{shape[0]} x {shape[1]}: they are radii, from 0 (a point) to below half of the image"
        )


def scale_kernel(scale_pixels: float) -> NDArray[np.float64]:
    """Return m_s: shape (2 h + 1, 2 h + 1) with its centre at pixel h, sum 1; a single pixel for a point."""
    half = max(math.ceil(scale_pixels) - 1, 0)
    if half == 0:
        return np.ones((1, 1))
    x = np.arange(-half, half + 1) / scale_pixels
    radius = np.minimum(np.hypot(x[:, np.newaxis], x[np.newaxis, :]), 1.0)
    kernel = (1 - radius**2) * (1 + np.cos(np.pi * radius)) / 2
    return np.asarray(kernel / kernel.sum())


def prepare_scales(
    psf: NDArray[np.float32],
    shape: tuple[int, int],
    scales_pixels: Sequence[float],
    *,
    small_scale_bias: float = 0.0,
) -> MultiScalePsf:
    """Make a PSF ready for multi-scale minor cycles on images of one shape.

    Parameters
    ----------
    psf : ndarray of float32, shape (p_l, p_m)
        Point spread function, even, peak 1 at pixel ``p // 2``; twice the image size covers every pair of pixels.
    shape : tuple of int
        (n_l, n_m) of the images.
    scales_pixels : sequence of float
        Radii of the scales [pixel]; 0 = a point.
    small_scale_bias : float
        b of the module docstring: above 0 prefers small scales, below 0 large ones.

    Raises
    ------
    DataError
        If there is no scale, one is negative or does not fit into the image, or the PSF is not 1 at its centre or has
        no positive peak for a scale.
    """
    check_scales(scales_pixels, shape)
    scales = tuple(sorted({float(scale) for scale in scales_pixels}))
    size = find_good_size(max(psf.shape[0], 2 * shape[0])), find_good_size(max(psf.shape[1], 2 * shape[1]))
    spectrum = _transform_centred(psf, size)
    peaks, psfs = [], []
    for scale in scales:
        smoothed = psf if scale == 0 else _smooth_psf(spectrum, scale, size)
        peak = float(smoothed[smoothed.shape[0] // 2, smoothed.shape[1] // 2])
        if not peak > 0:
            raise DataError(f"the PSF smoothed by a scale of {scale:g} pixels is {peak:.3g} at its centre: too large")
        peaks.append(peak)
        psfs.append(prepare_psf(smoothed if scale == 0 else smoothed / np.float32(peak), shape))
    margin = math.ceil(scales[-1])
    kernel_size = find_good_size(shape[0] + margin), find_good_size(shape[1] + margin)
    kernels = np.stack([_transform_centred(scale_kernel(scale), kernel_size) for scale in scales])
    biases = tuple(1 - small_scale_bias * scale / max(scales[-1], 1.0) for scale in scales)
    return MultiScalePsf(shape, scales, biases, tuple(peaks), tuple(psfs), spectrum, size, kernels, kernel_size)


def clean_multiscale_cycle(
    residual: NDArray[np.float32],
    psf: MultiScalePsf,
    mask: NDArray[np.bool_] | None = None,
    *,
    gain: float = 0.1,
    goal: float = 0.0,
    max_iterations: int = 10_000,
) -> MinorCycleResult:
    """CLEAN down to a goal by components of several scales.

    Parameters
    ----------
    residual : ndarray of float32, shape (n_l, n_m)
        Residual image [Jy/beam], finite.
    psf : MultiScalePsf
        From :func:`prepare_scales`.
    mask : ndarray of bool, shape (n_l, n_m), optional
        True = flux is allowed here; default: everywhere.
    gain : float
        Part of a peak that a component takes, above 0 and below 2.
    goal : float
        Stop when the largest ``|R_s| / sqrt(H_s)`` is at or below this for every scale [Jy/beam]; for points it is the
        residual.
    max_iterations : int
        Largest number of components, over all scales.

    Returns
    -------
    MinorCycleResult
        ``pixels`` are the centres of the components, ``fluxes`` their flux densities, ``scales`` their number in
        ``psf.scales_pixels``; flux beyond the edge of the image is not in ``model``. ``peak`` is exact.

    Raises
    ------
    DataError
        If residual, PSF and mask are not of one shape, or the gain is out of its range.
    """
    if residual.shape != psf.shape:
        raise DataError(f"scales prepared for images of shape {psf.shape}, and an image of shape {residual.shape}")
    check_minor_cycle(psf.shape, mask, gain)
    allowed = _allow_scales(psf, np.ones(psf.shape, np.bool_) if mask is None else mask)
    model = np.zeros(psf.shape, np.float32)
    left = residual.astype(np.float32, copy=True)
    found: list[MinorCycleResult] = []
    smallest, done = math.inf, 0
    while True:
        peak = find_peak(left, mask)
        smallest = min(smallest, peak)
        if peak > DIVERGENCE_FACTOR * smallest or done >= max_iterations:
            break
        best = _choose_scale(left, psf, allowed, goal)
        if best is None:
            break
        number, smoothed, highest = best
        part = clean_minor_cycle(
            smoothed,
            psf.psfs[number],
            allowed[number],
            gain=gain,
            goal=max(goal / math.sqrt(psf.peaks[number]), SUB_CYCLE_DEPTH * highest),
            max_iterations=max_iterations - done,
        )
        if part.iterations == 0:
            break
        increment = _draw_components(part.model, psf.scales_pixels[number])
        model += increment
        left -= _convolve(increment, psf.spectrum, psf.size)
        done += part.iterations
        found.append(part._replace(scales=np.full(part.iterations, number, np.int32)))
    return MinorCycleResult(
        model,
        np.concatenate([np.empty((0, 2), np.int32), *(part.pixels for part in found)]),
        np.concatenate([np.empty(0, np.float32), *(part.fluxes for part in found)]),
        np.concatenate([np.empty(0, np.int32), *(part.scales for part in found)]),
        peak,
    )


def _choose_scale(
    residual: NDArray[np.float32], psf: MultiScalePsf, allowed: Sequence[NDArray[np.bool_]], goal: float
) -> tuple[int, NDArray[np.float32], float] | None:
    """Return the number of the best scale, R_s / H_s and its peak; None if no scale is above the goal."""
    best, merit = None, 0.0
    transform = transform_padded(residual, psf.kernel_size)
    for number, (scale, height) in enumerate(zip(psf.scales_pixels, psf.peaks, strict=True)):
        smoothed = (
            residual if scale == 0 else transform_back(transform * psf.kernels[number], psf.kernel_size, psf.shape)
        )
        peak = find_peak(smoothed, allowed[number])
        significance = peak / math.sqrt(height)
        if significance > goal and significance * psf.biases[number] > merit:
            merit = significance * psf.biases[number]
            best = number, smoothed / np.float32(height), peak / height
    return best


def _allow_scales(psf: MultiScalePsf, mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return where components of each scale may be centred."""
    transform = transform_padded(mask.astype(np.float32), psf.kernel_size)
    return [
        mask if scale == 0 else transform_back(transform * kernel, psf.kernel_size, psf.shape) >= MASK_SHARE
        for scale, kernel in zip(psf.scales_pixels, psf.kernels, strict=True)
    ]


def _draw_components(points: NDArray[np.float32], scale_pixels: float) -> NDArray[np.float32]:
    """Return points as components of a scale, cut at the edge of the image."""
    kernel = scale_kernel(scale_pixels)
    half = len(kernel) // 2
    drawn = np.zeros((points.shape[0] + 2 * half, points.shape[1] + 2 * half))
    for i, j in np.argwhere(points):
        drawn[i : i + len(kernel), j : j + len(kernel)] += points[i, j] * kernel
    return drawn[half : half + points.shape[0], half : half + points.shape[1]].astype(np.float32)


def _smooth_psf(spectrum: NDArray[np.float32], scale: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return psf * m_s * m_s with its peak at pixel p // 2."""
    kernel = _transform_centred(scale_kernel(scale), size)
    transform = (spectrum * kernel**2).astype(np.complex64)
    return np.fft.fftshift(transform_back(transform, size, size))


def _transform_centred(image: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the Fourier transform of an even image about its centre pixel n // 2, on a grid of a larger size."""
    return np.ascontiguousarray(transform_padded(image, size, about_centre=True).real)


def _convolve(image: NDArray[np.float32], spectrum: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image convolved with what has a (real) spectrum on a grid of a size."""
    return transform_back(transform_padded(image, size) * spectrum, size, (image.shape[0], image.shape[1]))
