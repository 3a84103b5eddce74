"""The minor cycle of wide-band imaging: multi-scale CLEAN of Taylor terms, with active pixels and exact refreshes.

A component is a scale s at a pixel with one flux for each Taylor term. It changes the residuals by

    R_i -= sum_j P_(i+j) * B_s c_j,

B_s the shape of the scale (:func:`radps.domain.multiscale.scale_kernel`), P_q the point spread functions, * a
convolution.

1. Smooth the residuals by every scale: R_q^s = B_s * R_q. The terms that a pixel would need are
   c^s = (H^s)^-1 R^s, H^s_ij = (B_s * B_s * P_(i+j))(0) (the principal solution).
2. Significance of a pixel and scale: |R_0^s| / sqrt(H^s_00). All scales have the same noise in it, that of the dirty
   image, so that one goal holds for all; for points it is the residual itself; by Cauchy and Schwarz it is largest for
   the scale that fits. With one term this is the rule of :mod:`radps.domain.multiscale`.
3. Stop if none is above the goal. Take the scale with the largest one, times its bias. CLEAN at this scale those
   pixels alone that are above (1 - depth) of it ("active pixels"): find the most significant one, take ``gain`` times
   its terms, subtract from the active pixels, until none is above that level.
4. Add the components to the model, subtract their sum from the residuals by FFT, with the whole of P_q; go to 1.

Pixels that are not active are brought up to date in step 4, so that nothing is left to a guess; the order of components
may differ from that of the textbook.

References
----------
Rau & Cornwell 2011, A&A 532, A71 (multi-scale, multi-term). Clark 1980, A&A 89, 377 (active pixels).
Cornwell 2008, IEEE J. Sel. Topics Signal Process. 2, 793 (scales). Offringa & Smirnov 2017, MNRAS 471, 301 (one scale
at a time).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import ducc0
import numba
import numpy as np
from numpy.typing import NDArray

from radps.domain.deconvolution import DIVERGENCE_FACTOR, check_minor_cycle
from radps.domain.multiscale import MASK_SHARE, check_scales, scale_kernel
from radps.domain.multiterm import invert_hessian
from radps.domain.padded_transforms import transform_back, transform_padded
from radps.errors import DataError

DEPTH_OF_ONE_SCALE = 0.6
"""With one scale, active pixels are CLEANed down to 1 - this part of their peak before the residuals are refreshed."""

DEPTH_OF_SCALES = 0.2
"""The same with several scales, which have to be compared anew more often (WSClean ``-multiscale-gain``)."""


class TermUpdate(NamedTuple):
    """What a minor cycle found."""

    model: NDArray[np.float32]
    """Model increment [Jy/pixel], shape (term, n_l, n_m)."""
    iterations: int
    """Components."""
    peak: float
    """Largest significance that is left inside the mask [Jy/beam], 0 for an empty mask."""


def clean_terms(
    residuals: NDArray[np.float32],
    psfs: NDArray[np.float32],
    *,
    scales_pixels: Sequence[float] = (0.0,),
    small_scale_bias: float = 0.0,
    mask: NDArray[np.bool_] | None = None,
    gain: float = 0.1,
    goal: float = 0.0,
    max_iterations: int = 10_000,
) -> TermUpdate:
    """CLEAN the residuals of all Taylor terms together, down to a goal.

    Parameters
    ----------
    residuals : ndarray of float32, shape (term, n_l, n_m)
        R_q [Jy/beam], finite.
    psfs : ndarray of float32, shape (2 term - 1, p_l, p_m)
        P_q, at least twice the image size, peak of P_0 1 at pixel ``p // 2``.
    scales_pixels : sequence of float
        Radii of the scales; 0 = a point.
    small_scale_bias : float
        b of the bias 1 - b s / s_max: above 0 prefers small scales, below 0 large ones.
    mask : ndarray of bool, shape (n_l, n_m), optional
        True = components are allowed here; default: everywhere. Of a component above a point ``MASK_SHARE`` of the flux
        has to lie inside, as in :mod:`radps.domain.multiscale`.
    gain : float
        Part of a peak that a component takes, above 0 and below 2.
    goal : float
        Stop when no pixel and scale is above this significance [Jy/beam].
    max_iterations : int
        Largest number of components.

    Raises
    ------
    DataError
        Shapes do not fit, the gain is out of its range, or the data cannot tell the terms apart.
    """
    _check_arguments(residuals, psfs, mask, gain)
    check_scales(scales_pixels, residuals.shape[1:])
    transforms = _Transforms(residuals.shape[1:], psfs, scales_pixels)
    biases = [1 - small_scale_bias * scale / max(*scales_pixels, 1.0) for scale in scales_pixels]
    depth = DEPTH_OF_ONE_SCALE if len(scales_pixels) == 1 else DEPTH_OF_SCALES
    masks = transforms.masks(np.ones(residuals.shape[1:], np.bool_) if mask is None else mask)
    residuals = residuals.astype(np.float32)
    model = np.zeros_like(residuals)
    smallest, done = math.inf, 0
    while True:
        scale, smooth, significance, peak = _find_scale(residuals, transforms, masks, biases, goal)
        smallest = min(smallest, peak)
        if peak <= goal or done >= max_iterations or peak > DIVERGENCE_FACTOR * smallest:
            return TermUpdate(model, done, peak)
        level = max(goal, (1 - depth) * peak)
        pixels = np.argwhere(significance > level).astype(np.int32)
        fluxes, taken = _clean_active(
            np.ascontiguousarray(smooth[:, pixels[:, 0], pixels[:, 1]].T.astype(np.float64)),
            pixels,
            transforms.kernels(scale),
            invert_hessian(transforms.hessians[scale]),
            float(gain),
            level * math.sqrt(transforms.hessians[scale][0, 0]),
            int(max_iterations - done),
        )
        done += taken
        points = np.zeros_like(residuals)
        points[:, pixels[:, 0], pixels[:, 1]] = fluxes.T
        added = transforms.smooth(points, scale)
        model += added
        residuals -= transforms.respond(added)


class _Transforms:
    """Convolutions with the point spread functions and the scales, by FFT of the size of the point spread functions."""

    def __init__(self, shape: tuple[int, ...], psfs: NDArray[np.float32], scales_pixels: Sequence[float]) -> None:
        self._shape = shape
        self._large = psfs.shape[1:]
        self._psfs = np.stack([self._spectrum(psf) for psf in psfs])
        self._scales = [self._scale_spectrum(scale) for scale in scales_pixels]
        self.hessians = [self._hessian(number) for number in range(len(scales_pixels))]
        self._kernels: dict[int, NDArray[np.float32]] = {}

    def smooth(self, images: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
        """Return images convolved with a scale; 0 outside of the images."""
        return self.smooth_all(images, [scale])[0]

    def smooth_all(self, images: NDArray[np.float32], scales: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return images convolved with each of some scales."""
        spectra = [self._scales[scale] for scale in scales]
        transforms = [] if all(one is None for one in spectra) else [self._forward(image) for image in images]
        return [
            images if one is None else np.stack([self._back(transform * one) for transform in transforms])
            for one in spectra
        ]

    def masks(self, mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
        """Return where the centre of a component may be, for every scale."""
        share = mask.astype(np.float32)[np.newaxis]
        return [
            mask if spectrum is None else self.smooth(share, scale)[0] >= MASK_SHARE
            for scale, spectrum in enumerate(self._scales)
        ]

    def respond(self, model: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the residual images of a model: sum_j P_(i+j) * m_j."""
        transforms = [self._forward(image) for image in model]
        return np.stack(
            [
                self._back(sum(self._psfs[i + j] * transform for j, transform in enumerate(transforms)))
                for i in range(len(model))
            ]
        )

    def kernels(self, scale: int) -> NDArray[np.float32]:
        """Return B_s * B_s * P_q, shape (2 term - 1, p_l, p_m), with the centre at p // 2."""
        if scale not in self._kernels:
            self._kernels = {}  # one is enough: the scale changes seldom
            kernels = np.empty((len(self._psfs), *self._large), np.float32)
            for kernel, psf in zip(kernels, self._psfs, strict=True):
                kernel[...] = np.fft.fftshift(self._whole(self._twice(scale, psf)))
            self._kernels[scale] = kernels
        return self._kernels[scale]

    def _hessian(self, scale: int) -> NDArray[np.float64]:
        """Return the Hessian of a scale."""
        peaks = [float(self._whole(self._twice(scale, psf))[0, 0]) for psf in self._psfs]
        order = np.arange((len(peaks) + 1) // 2)
        return np.array(peaks)[order[:, np.newaxis] + order]

    def _twice(self, scale: int, psf: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = self._scales[scale]
        return psf if spectrum is None else psf * spectrum * spectrum

    def _spectrum(self, centred: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the transform of an even image with its centre at n // 2, which is real.

        Lags of -n/2 have no opposite, and no pair of pixels needs them.
        """
        image = np.array(centred, np.float32)
        image[0, :] = 0
        image[:, 0] = 0
        transform = ducc0.fft.r2c(np.fft.ifftshift(image), nthreads=1)
        return np.ascontiguousarray(transform.real)

    def _scale_spectrum(self, scale_pixels: float) -> NDArray[np.float32] | None:
        """Return the transform of a scale, None for a point."""
        shape = scale_kernel(scale_pixels)
        if shape.size == 1:
            return None
        image = np.zeros(self._large, np.float32)
        first = [large // 2 - shape.shape[0] // 2 for large in self._large]
        image[first[0] : first[0] + shape.shape[0], first[1] : first[1] + shape.shape[1]] = shape
        return self._spectrum(image)

    def _forward(self, image: NDArray[np.float32]) -> NDArray[np.complex64]:
        return transform_padded(image, (self._large[0], self._large[1]))

    def _whole(self, spectrum: NDArray[np.float32] | NDArray[np.complex64]) -> NDArray[np.float32]:
        image: NDArray[np.float32] = ducc0.fft.c2r(
            spectrum.astype(np.complex64, copy=False), lastsize=self._large[1], forward=False, inorm=2, nthreads=1
        )
        return image

    def _back(self, spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
        return transform_back(spectrum, (self._large[0], self._large[1]), (self._shape[0], self._shape[1]))


def _find_scale(
    residuals: NDArray[np.float32],
    transforms: _Transforms,
    masks: Sequence[NDArray[np.bool_]],
    biases: Sequence[float],
    goal: float,
) -> tuple[int, NDArray[np.float32], NDArray[np.float32], float]:
    """Return the scale to CLEAN, its smoothed residuals, their significance and its peak.

    It is that with the largest significance times bias, of those that are above the goal.
    """
    found = []
    firsts = transforms.smooth_all(residuals[:1], range(len(masks)))
    for scale, (first, mask, bias) in enumerate(zip(firsts, masks, biases, strict=True)):
        significance = np.abs(first[0]) * np.float32(1 / math.sqrt(transforms.hessians[scale][0, 0]))
        significance[~mask] = 0
        peak = float(significance.max())
        found.append(((peak > goal, peak * bias), scale, significance, peak))
    _, scale, significance, peak = max(found, key=lambda one: one[0])
    smooth = np.concatenate([firsts[scale], transforms.smooth(residuals[1:], scale)])
    return scale, smooth, significance, peak


def _check_arguments(
    residuals: NDArray[np.float32], psfs: NDArray[np.float32], mask: NDArray[np.bool_] | None, gain: float
) -> None:
    n_terms, n_l, n_m = residuals.shape
    shape = n_l, n_m
    if len(psfs) != 2 * n_terms - 1 or any(p < 2 * n for p, n in zip(psfs.shape[1:], shape, strict=True)):
        raise DataError(
            f"{len(psfs)} point spread functions of {psfs.shape[1:]} for {n_terms} residuals of {shape}: needed "
            f"are {2 * n_terms - 1} of at least twice the size"
        )
    check_minor_cycle(shape, mask, gain)


@numba.njit(cache=True, nogil=True)
def _clean_active(values, pixels, kernels, inverse, gain, level, max_iterations):  # type: ignore[no-untyped-def]
    """CLEAN the active pixels until no R_0 is above a level; returns the terms of every pixel, and how many components.

    ``values`` (pixel, term) are their residuals, and are changed.
    """
    n_pixels, n_terms = values.shape
    fluxes = np.zeros((n_pixels, n_terms))
    step = np.zeros(n_terms)
    centre_l, centre_m = kernels.shape[1] // 2, kernels.shape[2] // 2
    best = np.abs(values[:, 0]).argmax()
    done = 0
    while abs(values[best, 0]) > level and done < max_iterations:
        for i in range(n_terms):
            step[i] = 0.0
            for j in range(n_terms):
                step[i] += gain * inverse[i, j] * values[best, j]
            fluxes[best, i] += step[i]
        lag_l, lag_m = centre_l - pixels[best, 0], centre_m - pixels[best, 1]
        done += 1
        peak = -1.0
        for k in range(n_pixels):
            x, y = lag_l + pixels[k, 0], lag_m + pixels[k, 1]
            for i in range(n_terms):
                for j in range(n_terms):
                    values[k, i] -= kernels[i + j, x, y] * step[j]
            size = abs(values[k, 0])
            if size > peak:
                best, peak = k, size
    return fluxes, done
