"""Multi-scale minor cycles against a slow twin that smooths by direct sums, and extended sources of known flux."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from radps.domain.deconvolution import clean_minor_cycle
from radps.domain.multiscale import (
    MASK_SHARE,
    SUB_CYCLE_DEPTH,
    choose_scales,
    clean_multiscale_cycle,
    prepare_scales,
    scale_kernel,
)
from radps.errors import DataError

SIZE = 64
SCALES = (0.0, 4.0, 9.0)


def smooth(image: NDArray[np.floating], scale: float) -> NDArray[np.float64]:
    return np.asarray(scipy.signal.convolve2d(image.astype(np.float64), scale_kernel(scale), mode="same"))


def draw_sky() -> NDArray[np.float64]:
    sky = np.zeros((SIZE, SIZE))
    sky[20, 40], sky[50, 12] = 1.0, -0.3
    blobs = np.zeros((SIZE, SIZE))
    blobs[30, 26] = 30.0
    return sky + smooth(blobs, 9.0)


def observe(sky: NDArray[np.float64], psf: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sky convolved with the PSF, as the image shows it."""
    whole = scipy.signal.fftconvolve(sky, psf.astype(np.float64))
    centre = psf.shape[0] // 2
    return np.asarray(whole[centre : centre + SIZE, centre : centre + SIZE], dtype=np.float32)


def hogbom(
    image: NDArray[np.float64], psf: NDArray[np.float64], mask: NDArray[np.bool_], goal: float
) -> tuple[list[tuple[int, int]], list[float]]:
    """Textbook CLEAN: pixels and fluxes."""
    image = image.copy()
    pixels: list[tuple[int, int]] = []
    fluxes: list[float] = []
    while (masked := np.where(mask, np.abs(image), -1)).max() > goal:
        i, j = (int(k) for k in np.unravel_index(masked.argmax(), image.shape))
        fluxes.append(0.1 * float(image[i, j]))
        pixels.append((i, j))
        image -= fluxes[-1] * psf[SIZE - i : 2 * SIZE - i, SIZE - j : 2 * SIZE - j]
    return pixels, fluxes


def slow_multiscale(
    residual: NDArray[np.float32], psf: NDArray[np.float32], mask: NDArray[np.bool_], goal: float, bias: float
) -> tuple[list[tuple[int, int]], list[float], list[int], NDArray[np.float64]]:
    """The steps of the module docstring with convolutions by direct sums, in double precision."""
    left = residual.astype(np.float64)
    psfs = [smooth(smooth(psf, scale), scale) for scale in SCALES]
    heights = [image[SIZE, SIZE] for image in psfs]
    allowed = [smooth(mask, scale) >= MASK_SHARE for scale in SCALES]
    pixels: list[tuple[int, int]] = []
    fluxes: list[float] = []
    numbers: list[int] = []
    while True:
        maps = [smooth(left, scale) for scale in SCALES]
        peaks = [np.abs(image[where]).max() for image, where in zip(maps, allowed, strict=True)]
        found = [peak / math.sqrt(height) for peak, height in zip(peaks, heights, strict=True)]
        if max(found) <= goal:
            return pixels, fluxes, numbers, left
        merits = [
            value * (1 - bias * scale / SCALES[-1]) if value > goal else -1.0
            for value, scale in zip(found, SCALES, strict=True)
        ]
        best = int(np.argmax(merits))
        height = heights[best]
        depth = max(goal / math.sqrt(height), SUB_CYCLE_DEPTH * peaks[best] / height)
        where, amounts = hogbom(maps[best] / height, psfs[best] / height, allowed[best], depth)
        points = np.zeros((SIZE, SIZE))
        for pixel, flux in zip(where, amounts, strict=True):
            points[pixel] += flux
        whole = scipy.signal.fftconvolve(smooth(points, SCALES[best]), psf.astype(np.float64))
        left = left - whole[SIZE : 2 * SIZE, SIZE : 2 * SIZE]
        pixels += where
        fluxes += amounts
        numbers += [best] * len(where)


@pytest.fixture(scope="module")
def psf() -> NDArray[np.float32]:
    """A PSF whose coverage is dense in the middle, so that extended emission is measured, and small at the edges."""
    u = np.fft.fftfreq(2 * SIZE)[:, np.newaxis]
    v = np.fft.fftfreq(2 * SIZE)[np.newaxis, :]
    rng = np.random.default_rng(3)
    coverage = np.exp(-(np.hypot(u, v) ** 2) / 0.02) * rng.uniform(0.5, 1.5, (2 * SIZE, 2 * SIZE))
    image = np.fft.fftshift(np.fft.fft2(coverage).real)
    return (image / image.max()).astype(np.float32)


@pytest.fixture(scope="module")
def dirty(psf: NDArray[np.float32]) -> NDArray[np.float32]:
    return observe(draw_sky(), psf)


@pytest.mark.parametrize(("masked", "bias"), [(False, 0.0), (True, 0.0), (False, 0.6)])
def test_components_are_those_of_the_slow_twin(
    psf: NDArray[np.float32], dirty: NDArray[np.float32], masked: bool, bias: float
) -> None:
    mask = np.ones((SIZE, SIZE), np.bool_)
    if masked:
        mask[:, 36:] = False
    pixels, fluxes, numbers, left = slow_multiscale(dirty, psf, mask, 0.1, bias)
    assert set(numbers) >= {0, 2}
    assert len(fluxes) > 50
    ready = prepare_scales(psf, (SIZE, SIZE), SCALES, small_scale_bias=bias)
    result = clean_multiscale_cycle(dirty, ready, mask if masked else None, goal=0.1)
    # 1e-4 of a component: single precision against double, over some hundred components
    np.testing.assert_array_equal(result.scales, numbers)
    np.testing.assert_array_equal(result.pixels, pixels)
    np.testing.assert_allclose(result.fluxes, fluxes, rtol=1e-4)
    assert result.peak == pytest.approx(np.abs(left[mask]).max(), rel=1e-3)
    assert not masked or not result.model[:, 36 + 9 :].any()


def test_an_extended_source_is_a_few_blobs_and_has_its_flux(psf: NDArray[np.float32]) -> None:
    sky = draw_sky()
    dirty = observe(sky, psf)
    found = clean_multiscale_cycle(dirty, prepare_scales(psf, (SIZE, SIZE), SCALES), goal=1e-3, max_iterations=100_000)
    points = clean_minor_cycle(dirty, psf, goal=1e-3, max_iterations=found.iterations)
    assert np.abs(found.model - sky).max() < 0.02 * np.abs(sky).max()
    assert found.flux == pytest.approx(sky.sum(), rel=1e-3)
    assert np.abs(points.model - sky).max() > 0.1 * np.abs(sky).max()  # points make no blob of it


def test_the_residual_of_the_model_is_the_peak_that_is_told(psf: NDArray[np.float32]) -> None:
    dirty = observe(draw_sky(), psf)
    found = clean_multiscale_cycle(dirty, prepare_scales(psf, (SIZE, SIZE), SCALES), goal=0.05)
    left = dirty - observe(found.model.astype(np.float64), psf)
    assert np.abs(left).max() == pytest.approx(found.peak, abs=1e-4)
    assert found.peak <= 0.05


def test_scale_0_alone_is_hogbom(psf: NDArray[np.float32], dirty: NDArray[np.float32]) -> None:
    ready = prepare_scales(psf, (SIZE, SIZE), (0.0,))
    first = clean_multiscale_cycle(dirty, ready, goal=0.3)
    second = clean_minor_cycle(dirty, psf, goal=0.3)
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_allclose(first.fluxes, second.fluxes, rtol=1e-4)  # sums in another order


def test_noise_is_alike_in_all_scales() -> None:
    """The matched filter: for natural weights its noise is that of the residual."""
    rng = np.random.default_rng(6)
    coverage = np.zeros((256, 256))
    coverage[tuple(rng.integers(-42, 42, (2, 3000)))] = rng.uniform(0.5, 1, 3000)
    psf = np.fft.fftshift(np.fft.fft2(coverage + np.roll(coverage[::-1, ::-1], 1, axis=(0, 1))).real)
    psf /= psf.max()
    spectrum = np.sqrt(np.maximum(np.fft.fft2(np.fft.ifftshift(psf)).real, 0))
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal(psf.shape)) * spectrum).real
    for scale in (0.0, 6.0, 14.0):
        height = smooth(smooth(psf[64:192, 64:192], scale), scale)[64, 64]
        found = scipy.signal.fftconvolve(noise, scale_kernel(scale), mode="valid").std() / math.sqrt(height)
        # 600 visibilities are so many numbers: 3 %, more at large scales that see a few of them
        assert found == pytest.approx(1.0, rel=0.15), scale


def test_limits_end_the_cycle(psf: NDArray[np.float32], dirty: NDArray[np.float32]) -> None:
    ready = prepare_scales(psf, (SIZE, SIZE), SCALES)
    assert clean_multiscale_cycle(dirty, ready, max_iterations=7).iterations == 7
    nothing = clean_multiscale_cycle(dirty, ready, goal=99.0)
    assert nothing.iterations == 0
    assert not nothing.model.any()
    masked = clean_multiscale_cycle(dirty, ready, np.zeros((SIZE, SIZE), np.bool_))
    assert (masked.iterations, masked.peak) == (0, 0.0)
    assert clean_multiscale_cycle(-2 * psf[32:96, 32:96], ready, gain=1.9, max_iterations=1000).iterations < 1000


def test_a_kernel_is_round_smooth_and_of_flux_1() -> None:
    kernel = scale_kernel(20.0)
    assert kernel.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    profile = kernel[len(kernel) // 2, len(kernel) // 2 :]
    assert np.interp(0.5, (profile / profile[0])[::-1], np.arange(len(profile))[::-1]) * 2 / 20 == pytest.approx(
        0.86, abs=0.01
    )
    assert scale_kernel(0.0).tolist() == scale_kernel(1.0).tolist() == [[1.0]]


def test_scales_are_chosen_from_the_beam() -> None:
    assert choose_scales(4.0, (256, 512)) == (0.0, 8.0, 16.0, 32.0)
    assert choose_scales(math.nan, (256, 256)) == (0.0,)


@pytest.mark.parametrize("scales", [(), (-1.0, 3.0), (0.0, 32.0)])
def test_scales_that_do_not_fit_are_named(psf: NDArray[np.float32], scales: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="radii, from 0"):
        prepare_scales(psf, (SIZE, SIZE), scales)


def test_a_psf_that_does_not_see_a_scale_is_named() -> None:
    psf = np.full((128, 128), -0.5, np.float32)
    psf[64, 64] = 1.0
    with pytest.raises(DataError, match=r"smoothed by a scale of 9 pixels is .* at its centre: too large"):
        prepare_scales(psf, (64, 64), (0.0, 9.0))


def test_images_of_another_shape_are_refused(psf: NDArray[np.float32]) -> None:
    with pytest.raises(DataError, match=r"prepared for images of shape \(64, 64\), and an image of shape \(32, 64\)"):
        clean_multiscale_cycle(np.zeros((32, 64), np.float32), prepare_scales(psf, (SIZE, SIZE), SCALES))
