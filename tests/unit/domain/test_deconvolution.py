"""The minor cycle against a textbook Hogbom CLEAN, which subtracts the whole PSF from the whole image each time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.deconvolution import clean_minor_cycle, prepare_psf
from radps.errors import DataError


def draw_psf(n_l: int, n_m: int, seed: int = 0) -> NDArray[np.float32]:
    """A PSF of a random uv-coverage, twice the image size, peak 1."""
    rng = np.random.default_rng(seed)
    coverage = np.zeros((2 * n_l, 2 * n_m))
    coverage[tuple(rng.integers(-n_l // 3, n_l // 3, (2, 600)))] = rng.uniform(0.5, 1, 600)
    psf = np.fft.fftshift(np.fft.fft2(coverage).real)
    return (psf / psf.max()).astype(np.float32)


def textbook_clean(
    residual: NDArray[np.float32],
    psf: NDArray[np.float32],
    mask: NDArray[np.bool_],
    gain: float,
    goal: float,
    max_iterations: int,
) -> tuple[list[tuple[int, int]], list[np.float32], NDArray[np.float32]]:
    """Return pixels, fluxes, and the residual, in single precision as the tested code."""
    residual = residual.copy()
    n_l, n_m = residual.shape
    pixels: list[tuple[int, int]] = []
    fluxes: list[np.float32] = []
    while len(fluxes) < max_iterations:
        masked = np.where(mask, np.abs(residual), -1)
        i, j = (int(k) for k in np.unravel_index(masked.argmax(), residual.shape))
        if masked[i, j] <= goal:
            break
        flux = np.float32(gain) * residual[i, j]
        first_l, first_m = psf.shape[0] // 2 - i, psf.shape[1] // 2 - j
        residual -= flux * psf[first_l : first_l + n_l, first_m : first_m + n_m]
        pixels.append((i, j))
        fluxes.append(flux)
    return pixels, fluxes, residual


def draw_dirty(psf: NDArray[np.float32], n_l: int, n_m: int, seed: int = 1) -> NDArray[np.float32]:
    """Sources of both signs as the PSF shows them, plus noise."""
    rng = np.random.default_rng(seed)
    dirty = rng.normal(scale=0.02, size=(n_l, n_m)).astype(np.float32)
    for i, j, flux in zip(
        rng.integers(0, n_l, 8), rng.integers(0, n_m, 8), rng.choice([-0.6, 0.3, 1.0], 8), strict=True
    ):
        dirty += np.float32(flux) * psf[n_l - i : 2 * n_l - i, n_m - j : 2 * n_m - j]
    return dirty


@pytest.mark.parametrize(("n_l", "n_m"), [(64, 64), (50, 90), (130, 34)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("goal", "max_iterations"), [(0.15, 10_000), (0.0, 700)])
def test_components_are_those_of_the_textbook(
    n_l: int, n_m: int, masked: bool, goal: float, max_iterations: int
) -> None:
    psf = draw_psf(n_l, n_m)
    dirty = draw_dirty(psf, n_l, n_m)
    mask = np.random.default_rng(2).random((n_l, n_m)) < 0.3 if masked else np.ones((n_l, n_m), np.bool_)
    pixels, fluxes, residual = textbook_clean(dirty, psf, mask, 0.1, goal, max_iterations)
    assert len(fluxes) > 50
    result = clean_minor_cycle(dirty, psf, mask if masked else None, gain=0.1, goal=goal, max_iterations=max_iterations)
    np.testing.assert_array_equal(result.pixels, pixels)
    np.testing.assert_array_equal(result.fluxes, fluxes)  # to the last bit: the arithmetic is the same
    left = np.abs(residual[mask]).max()
    assert left <= result.peak <= goal if goal > 0 else result.peak == left
    assert result.iterations == len(fluxes)


def test_the_model_is_the_sum_of_the_components() -> None:
    psf = draw_psf(64, 64)
    dirty = draw_dirty(psf, 64, 64)
    result = clean_minor_cycle(dirty, psf, goal=0.2)
    model = np.zeros((64, 64))
    for (i, j), flux in zip(result.pixels, result.fluxes, strict=True):
        model[i, j] += flux
    np.testing.assert_allclose(result.model, model, atol=1e-6)  # single precision
    assert result.flux == pytest.approx(model.sum(), rel=1e-5)


def test_residual_is_the_dirty_image_minus_model_times_psf() -> None:
    psf = draw_psf(64, 64)
    dirty = draw_dirty(psf, 64, 64)
    result = clean_minor_cycle(dirty, psf, goal=0.1)
    residual = dirty.astype(np.float64)
    for i, j in np.argwhere(result.model):
        residual -= result.model[i, j] * psf[64 - i : 128 - i, 64 - j : 128 - j]
    assert np.abs(residual).max() <= result.peak + 1e-5  # 200 components in single precision
    assert result.peak <= 0.1


def test_a_point_source_is_found_where_it_is() -> None:
    psf = draw_psf(64, 64)
    dirty = np.float32(2.0) * psf[64 - 20 : 128 - 20, 64 - 41 : 128 - 41]
    result = clean_minor_cycle(dirty, psf, gain=1.0, max_iterations=1)
    assert result.pixels.tolist() == [[20, 41]]
    assert result.flux == pytest.approx(2.0)
    assert result.peak < 1e-5


def test_negative_peaks_count_like_positive_ones() -> None:
    psf = draw_psf(64, 64)
    result = clean_minor_cycle(-2 * psf[32:96, 32:96], psf, goal=0.5)
    assert result.flux < -1.4
    assert result.peak <= 0.5


def test_nothing_is_done_below_the_goal_or_without_a_budget() -> None:
    psf = draw_psf(64, 64)
    dirty = draw_dirty(psf, 64, 64)
    for result in (clean_minor_cycle(dirty, psf, goal=99.0), clean_minor_cycle(dirty, psf, max_iterations=0)):
        assert result.iterations == 0
        assert not result.model.any()
        assert result.peak == np.abs(dirty).max()


def test_an_empty_mask_has_no_peak() -> None:
    psf = draw_psf(64, 64)
    result = clean_minor_cycle(draw_dirty(psf, 64, 64), psf, np.zeros((64, 64), np.bool_))
    assert (result.iterations, result.peak) == (0, 0.0)


def test_a_psf_as_small_as_the_image_acts_as_if_it_were_zero_beyond() -> None:
    psf = draw_psf(64, 64)
    small = psf[32:96, 32:96].copy()
    padded = np.zeros_like(psf)
    padded[32:96, 32:96] = small
    dirty = draw_dirty(psf, 64, 64)
    first, second = (clean_minor_cycle(dirty, p, goal=0.2) for p in (small, padded))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.fluxes, second.fluxes)


def test_it_stops_when_it_diverges() -> None:
    psf = np.zeros((128, 128), np.float32)
    psf[64, 64] = 1
    psf[64, 60] = psf[64, 68] = -1.5  # each component makes a larger one beside it
    dirty = np.zeros((64, 64), np.float32)
    dirty[32, 32] = 1
    result = clean_minor_cycle(dirty, psf, gain=0.5, goal=1e-3, max_iterations=100_000)
    assert result.iterations < 100
    assert result.peak > 1  # more than at the start


def test_inputs_stay_as_they_are() -> None:
    psf = draw_psf(64, 64)
    dirty = draw_dirty(psf, 64, 64)
    before = dirty.copy(), psf.copy()
    clean_minor_cycle(dirty, psf, goal=0.2)
    np.testing.assert_array_equal(dirty, before[0])
    np.testing.assert_array_equal(psf, before[1])


def test_a_large_image_takes_larger_tiles() -> None:
    n = 2100  # above 64 tiles of 32 pixels a side
    psf = np.zeros((2 * n, 2 * n), np.float32)
    psf[n - 2 : n + 3, n - 2 : n + 3] = 0.2
    psf[n, n] = 1
    dirty = np.zeros((n, n), np.float32)
    dirty[5, 2090] = 1
    dirty[1500, 3] = -2
    result = clean_minor_cycle(dirty, psf, gain=1.0, max_iterations=2)
    assert result.pixels.tolist() == [[1500, 3], [5, 2090]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"gain": 0.0}, r"gain 0\.0: must be above 0"),
        ({"gain": 2.0}, r"gain 2\.0: must be above 0"),
        ({"mask": np.ones((3, 3), np.bool_)}, r"mask of shape \(3, 3\) for an image of shape \(64, 64\)"),
        ({"psf": np.full((128, 128), 0.5, np.float32)}, r"PSF is 0\.5 at its centre pixel"),
        ({"psf": np.full((128, 128), np.nan, np.float32)}, "PSF is nan at its centre pixel"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], text: str) -> None:
    arguments = {"residual": np.zeros((64, 64), np.float32), "psf": draw_psf(64, 64), **change}
    with pytest.raises(DataError, match=text):
        clean_minor_cycle(**arguments)  # type: ignore[arg-type]


def test_a_psf_is_prepared_once_for_images_of_one_shape() -> None:
    psf = draw_psf(64, 64)
    dirty = draw_dirty(psf, 64, 64)
    ready = prepare_psf(psf, (64, 64))
    np.testing.assert_array_equal(
        clean_minor_cycle(dirty, ready, goal=0.2).model, clean_minor_cycle(dirty, psf, goal=0.2).model
    )
    with pytest.raises(DataError, match=r"prepared for images of shape \(64, 64\), and an image of shape \(32, 64\)"):
        clean_minor_cycle(dirty[:32], ready)
