"""The model update of CLEAN: the choice between Hogbom and multi-scale minor cycles, made in one place.

A PSF is made ready once (:func:`prepare_deconvolver`), and then serves every model update of its image
(:func:`deconvolve`).
"""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from radps.domain.beam import RestoringBeam
from radps.domain.deconvolution import MinorCycleResult, PreparedPsf, clean_minor_cycle, prepare_psf
from radps.domain.geometry import ImageGrid
from radps.domain.multiscale import MultiScalePsf, choose_scales, clean_multiscale_cycle, prepare_scales

SMALLEST_BEAM_PIXELS = 2.0
"""Beams of fewer pixels cannot be fitted."""


class Deconvolver(enum.StrEnum):
    """What components are made of."""

    HOGBOM = "hogbom"
    """Points: compact sources, and the fastest."""
    MULTISCALE = "multiscale"
    """Points and blobs of several sizes: extended emission."""


class DeconvolverOptions(NamedTuple):
    """How a model update finds its components."""

    deconvolver: Deconvolver = Deconvolver.HOGBOM
    """Points, or several scales."""
    scales_pixels: tuple[float, ...] | None = None
    """Radii of the scales [pixel], 0 = a point; None = chosen from the beam."""
    small_scale_bias: float = 0.0
    """Above 0 prefers small scales, below 0 large ones."""


ReadyPsf: TypeAlias = PreparedPsf | MultiScalePsf


def count_scales(options: DeconvolverOptions, grid: ImageGrid) -> int:
    """Return the largest number of scales that an image can have; 0 for Hogbom. Needs no PSF: for plans of memory."""
    if options.deconvolver is Deconvolver.HOGBOM:
        return 0
    return len(options.scales_pixels or choose_scales(SMALLEST_BEAM_PIXELS, grid.shape))


def prepare_deconvolver(
    psf: NDArray[np.float32], beam: RestoringBeam, grid: ImageGrid, options: DeconvolverOptions
) -> ReadyPsf:
    """Make a PSF ready for the model updates of an image.

    Parameters
    ----------
    psf : ndarray of float32, shape (p_l, p_m)
        Point spread function, peak 1 at pixel ``p // 2``; twice the image size covers every pair of pixels.
    beam : RestoringBeam
        The fit to it, by which scales are chosen where none are given.
    grid : ImageGrid
        The image.
    options : DeconvolverOptions
        Which deconvolver.

    Raises
    ------
    DataError
        If the PSF is not 1 at its centre, or a given scale does not fit into the image.
    """
    if options.deconvolver is Deconvolver.HOGBOM:
        return prepare_psf(psf, grid.shape)
    scales = options.scales_pixels
    if scales is None:
        scales = choose_scales(beam.major_rad / grid.cell_size_rad, grid.shape)
    return prepare_scales(psf, grid.shape, scales, small_scale_bias=options.small_scale_bias)


def deconvolve(
    residual: NDArray[np.float32],
    psf: ReadyPsf,
    mask: NDArray[np.bool_] | None = None,
    *,
    gain: float,
    goal: float,
    max_iterations: int,
) -> MinorCycleResult:
    """CLEAN a residual image down to a goal by the deconvolver that the PSF was made ready for.

    The parameters are those of :func:`radps.domain.deconvolution.clean_minor_cycle` and
    :func:`radps.domain.multiscale.clean_multiscale_cycle`.
    """
    if isinstance(psf, MultiScalePsf):
        return clean_multiscale_cycle(residual, psf, mask, gain=gain, goal=goal, max_iterations=max_iterations)
    return clean_minor_cycle(residual, psf, mask, gain=gain, goal=goal, max_iterations=max_iterations)
