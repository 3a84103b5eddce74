"""The choice of a deconvolver."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radps.domain.beam import NO_BEAM, RestoringBeam, gaussian_image
from radps.domain.deconvolution import PreparedPsf, clean_minor_cycle
from radps.domain.geometry import ImageGrid
from radps.domain.model_update import Deconvolver, DeconvolverOptions, deconvolve, prepare_deconvolver
from radps.domain.multiscale import MultiScalePsf, clean_multiscale_cycle, prepare_scales

GRID = ImageGrid(64, 64, math.radians(1 / 3600))
BEAM = RestoringBeam(math.radians(3 / 3600), math.radians(3 / 3600), 0.0)
PSF = gaussian_image(BEAM, GRID.resized(128, 128)).astype(np.float32)
DIRTY = PSF[32:96, 32:96]


def test_hogbom_is_the_default() -> None:
    ready = prepare_deconvolver(PSF, BEAM, GRID, DeconvolverOptions())
    assert isinstance(ready, PreparedPsf)
    found = deconvolve(DIRTY, ready, gain=0.1, goal=0.1, max_iterations=100)
    np.testing.assert_array_equal(found.model, clean_minor_cycle(DIRTY, PSF, goal=0.1).model)


@pytest.mark.parametrize(
    ("beam", "given", "scales"),
    [(BEAM, None, (0.0, 6.0, 12.0)), (NO_BEAM, None, (0.0,)), (BEAM, (5.0, 0.0), (0.0, 5.0))],
)
def test_scales_are_those_given_or_those_of_the_beam(
    beam: RestoringBeam, given: tuple[float, ...] | None, scales: tuple[float, ...]
) -> None:
    options = DeconvolverOptions(Deconvolver.MULTISCALE, given, 0.3)
    ready = prepare_deconvolver(PSF, beam, GRID, options)
    assert isinstance(ready, MultiScalePsf)
    assert ready.scales_pixels == pytest.approx(scales)
    assert ready.biases == pytest.approx([1 - 0.3 * scale / max(scales[-1], 1) for scale in scales])
    found = deconvolve(DIRTY, ready, gain=0.1, goal=0.1, max_iterations=100)
    expected = clean_multiscale_cycle(DIRTY, prepare_scales(PSF, GRID.shape, scales, small_scale_bias=0.3), goal=0.1)
    np.testing.assert_array_equal(found.model, expected.model)
