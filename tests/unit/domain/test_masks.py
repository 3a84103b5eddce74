"""Automatic masks against a sky that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.beam import NO_BEAM, RestoringBeam, gaussian_image
from radps.domain.geometry import ImageGrid
from radps.domain.masks import AutoMaskOptions, cut_mask, mask_noise, prune_regions, update_auto_mask

GRID = ImageGrid(200, 160, math.radians(1 / 3600))
BEAM = RestoringBeam(math.radians(4 / 3600), math.radians(4 / 3600), 0.0)
NOISE = 1.0
EMPTY = np.zeros(GRID.shape, np.bool_)


def gaussian(i: int, j: int, fwhm_pixels: float) -> NDArray[np.float64]:
    beam = RestoringBeam(fwhm_pixels * GRID.cell_size_rad, fwhm_pixels * GRID.cell_size_rad, 0.0)
    return np.roll(gaussian_image(beam, GRID), (i - GRID.n_l // 2, j - GRID.n_m // 2), axis=(0, 1))


def draw_noise(seed: int = 0) -> NDArray[np.float64]:
    """Noise as a beam of 4 pixels correlates it, of standard deviation 1."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.fft2(rng.standard_normal(GRID.shape)) * np.fft.fft2(np.fft.ifftshift(gaussian(100, 80, 2.8)))
    noise = np.fft.ifft2(spectrum).real
    return np.asarray(noise / noise.std())


def residual_of(*parts: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(sum(parts, draw_noise()), np.float32)


def grow(
    residual: NDArray[np.float32], n_cycles: int = 1, sidelobe_level: float = 0.0, **options: float
) -> NDArray[np.bool_]:
    mask = EMPTY
    for _ in range(n_cycles):
        mask = update_auto_mask(residual, mask, BEAM, GRID, sidelobe_level, AutoMaskOptions(**options))  # type: ignore[arg-type]
    return mask


def test_noise_alone_gets_no_mask() -> None:
    assert not grow(residual_of(), n_cycles=3).any()
    assert grow(residual_of(), noise_threshold=2.0).any()  # the noise is there


def test_a_source_is_masked_and_nothing_else() -> None:
    mask = grow(residual_of(30 * gaussian(60, 90, 8)))
    true = 30 * gaussian(60, 90, 8)
    assert mask[true > 6.5].all()
    # the smoothing gives a margin: 1 % of a Gaussian of one beam is 1.3 beams
    assert not mask[true < 1e-3].any()


def test_faint_edges_are_reached_by_growing_from_the_bright_middle() -> None:
    halo = 4.0 * gaussian(100, 80, 45)
    residual = residual_of(30 * gaussian(100, 80, 6), halo)
    first, later = grow(residual), grow(residual, n_cycles=4)
    assert later[first].all()
    covered = [float(mask[halo > 2.0].mean()) for mask in (first, later)]
    assert covered[0] < 0.6
    assert covered[1] > 0.9
    assert later.sum() < 2.5 * (halo > 1.0).sum()
    assert grow(residual, n_cycles=4, grow_iterations=0).sum() < 0.8 * later.sum()


def test_sidelobes_are_left_out() -> None:
    residual = residual_of(100 * gaussian(60, 90, 4), 12 * gaussian(150, 40, 4))  # the second is a sidelobe of 12 %
    assert grow(residual)[150, 40]
    mask = grow(residual, sidelobe_level=0.12)
    assert mask[60, 90]
    assert not mask[150, 40]


def test_the_brightest_source_is_found_with_the_worst_psf() -> None:
    mask = grow(residual_of(100 * gaussian(60, 90, 4)), sidelobe_level=0.6)
    assert mask[60, 90]


def test_negative_regions_are_found_where_asked_for() -> None:
    residual = residual_of(-30 * gaussian(60, 90, 8))
    assert not grow(residual)[60, 90]
    mask = grow(residual, negative_threshold=7.0)
    assert mask[60, 90]


def test_small_regions_are_dropped() -> None:
    residual = residual_of()
    residual[20, 30] = 50.0
    assert not grow(residual)[20, 30]
    assert grow(residual, min_beam_fraction=0.0)[20, 30]
    small = np.zeros((8, 8), np.bool_)
    small[0, 0:3] = small[4:6, 4:6] = small[6, 6] = True  # a corner does not connect
    np.testing.assert_array_equal(np.argwhere(prune_regions(small, 4)), [[4, 4], [4, 5], [5, 4], [5, 5]])
    assert prune_regions(small, 3).sum() == 7


def test_without_smoothing_the_mask_is_the_threshold() -> None:
    residual = residual_of(30 * gaussian(60, 90, 8))
    mask = grow(residual, smooth_factor=0.0, min_beam_fraction=0.0)
    np.testing.assert_array_equal(mask, residual > 5 * mask_noise(residual, EMPTY))


def test_the_noise_is_that_outside_of_the_mask() -> None:
    residual = residual_of(50 * gaussian(100, 80, 80))
    mask = gaussian(100, 80, 80) > 1e-3
    assert mask_noise(residual, mask) == pytest.approx(NOISE, rel=0.1)
    assert mask_noise(residual, EMPTY) > 2 * NOISE
    assert mask_noise(residual, ~EMPTY) == mask_noise(residual, EMPTY)


def test_without_a_beam_the_mask_stays() -> None:
    before = gaussian(60, 90, 8) > 0.5
    assert update_auto_mask(residual_of(), before, NO_BEAM, GRID, 0.1, AutoMaskOptions()) is before


def test_a_mask_that_is_given_stays_and_grows() -> None:
    faint = 3.5 * gaussian(40, 30, 12)  # no pixel of it is at five times the noise
    residual = np.asarray(faint + 0.3 * draw_noise(), np.float32)
    start = gaussian(40, 30, 12) > 0.7
    options = AutoMaskOptions(noise_threshold=20.0)
    assert not update_auto_mask(residual, EMPTY, BEAM, GRID, 0.0, options).any()
    mask = update_auto_mask(residual, start, BEAM, GRID, 0.0, options)
    assert mask[start].all()
    assert mask[faint > 0.8].mean() > 0.9
    # it grows to one and a half times the noise
    assert mask.sum() < 1.5 * (faint > 1.5 * 0.3 * NOISE).sum()


def test_a_region_cuts_the_mask_and_its_noise() -> None:
    region = np.zeros(GRID.shape, np.bool_)
    region[:120] = True
    residual = residual_of(30 * gaussian(60, 90, 8), 500 * gaussian(170, 40, 20))
    noisy = np.where(region, residual, 4 * residual).astype(np.float32)
    options = AutoMaskOptions()
    # three tenths of what is outside would be above the source
    found = update_auto_mask(noisy, EMPTY, BEAM, GRID, 0.1, options, region)
    assert not update_auto_mask(noisy, EMPTY, BEAM, GRID, 0.1, options)[60, 90]
    assert found[60, 90]
    assert not found[~region].any()
    assert mask_noise(noisy, found, region) == mask_noise(residual[:120], found[:120])
    # where the mask leaves nothing of the region, the noise is that of the region
    assert mask_noise(noisy, region, region) == mask_noise(noisy, EMPTY, region) < mask_noise(noisy, EMPTY)


def test_a_region_and_a_mask_are_one() -> None:
    mask, region = gaussian(60, 90, 8) > 0.5, gaussian(64, 90, 8) > 0.5
    np.testing.assert_array_equal(cut_mask(mask, region), mask & region)
    assert cut_mask(None, region) is region
    assert cut_mask(mask, None) is mask
    assert cut_mask(None, None) is None
