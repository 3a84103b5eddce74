"""The search for line-free channels, on dirty cubes with a known line."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from radps.domain.line_free import (
    MIN_RANGE,
    Coverage,
    LineFreeChannels,
    choose_threshold,
    estimate_channel_noise,
    find_channel_runs,
    find_line_free_channels,
)
from radps.errors import DataError

N_CHANNELS, SIDE = 64, 32


class Case(NamedTuple):
    """A dirty cube in units of its noise."""

    snr: float = 0.0
    """Peak of the line."""
    center: float = 0.5
    """Of the line, as part of the band."""
    width: float = 0.1
    """FWHM of the line, as part of the band."""
    continuum: float = 0.0
    slope: float = 0.0
    """Change of the continuum over the band, as part of it."""
    spike: float = 0.0
    """Interference in channel 12."""
    is_rolled: bool = False
    """Noise four times as large at the edges of the band."""
    is_box: bool = False
    noise_jy: float = 1.0


def profile(case: Case) -> NDArray[np.float64]:
    """Return the line in units of the noise."""
    x = np.arange(N_CHANNELS) / N_CHANNELS
    if case.is_box:
        return case.snr * (np.abs(x - case.center) < case.width / 2)
    return case.snr * np.exp(-4 * np.log(2) * ((x - case.center) / case.width) ** 2)


def noise_shape(case: Case) -> NDArray[np.float64]:
    """Return the noise of each channel, in units of that in the middle of the band."""
    sigma = np.ones(N_CHANNELS)
    if case.is_rolled:
        sigma[:4] = sigma[:-5:-1] = np.linspace(4, 1, 4)
    return sigma


def make_psf() -> NDArray[np.float64]:
    """Return a PSF: a main lobe of 3.3 pixels and ripples of 10 %."""
    radius = np.hypot(*np.mgrid[-SIDE // 2 : SIDE // 2, -SIDE // 2 : SIDE // 2])
    lobe = np.exp(-4 * np.log(2) * (radius / 3.3) ** 2)
    return lobe + 0.1 * np.cos(radius) * (1 - lobe)


def search(case: Case, seed: int) -> LineFreeChannels:
    """Draw a cube and search it; the line and the continuum are at different places, none at the centre."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.standard_normal((N_CHANNELS, SIDE, SIDE)), (0, 1, 1), mode="wrap")
    noise /= noise.std()
    psf = make_psf()
    x = np.arange(N_CHANNELS) / N_CHANNELS - 0.5
    cube = noise * noise_shape(case)[:, np.newaxis, np.newaxis]
    cube += profile(case)[:, np.newaxis, np.newaxis] * np.roll(psf, (3, -4), (0, 1))
    cube += (case.continuum * (1 + case.slope * x))[:, np.newaxis, np.newaxis] * np.roll(psf, (-5, 2), (0, 1))
    cube[12] += case.spike * psf
    cube *= case.noise_jy
    weights = np.full(N_CHANNELS, 1 / case.noise_jy**2)
    return find_line_free_channels(cube.astype(np.float32), cube[:, SIDE // 2, SIDE // 2], weights, weights)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    case=st.builds(
        Case,
        snr=st.floats(6, 300),
        center=st.floats(0, 1),
        width=st.floats(0.03, 0.3),
        continuum=st.floats(0, 500),
        slope=st.floats(-0.5, 0.5),
        spike=st.sampled_from([0.0, 100.0]),
        is_rolled=st.booleans(),
        is_box=st.booleans(),
        noise_jy=st.floats(1e-5, 1e3),
    ),
    seed=st.integers(0, 2**31),
)
def test_no_channel_with_line_above_the_noise_is_line_free(case: Case, seed: int) -> None:
    found = search(case, seed)
    line = profile(case) / noise_shape(case)
    if found.coverage is Coverage.NONE:  # right only where the line, its margins, edges and spike leave almost nothing
        assert ((line < 1) & (noise_shape(case) == 1)).sum() <= 12
        return
    # Noise of -3 sigma hides a channel of 3 sigma above the threshold, if that is all there is of the line.
    assert line[found.line_free].max() < found.threshold + 3
    assert line[found.line_free].mean() < 0.7  # the continuum of these channels is wrong by less than a channel's noise
    assert not (case.spike and found.line_free[12])
    runs = find_channel_runs(found.line_free)
    assert all(stop - start >= MIN_RANGE for start, stop in runs)


def test_rates_of_misses_and_false_alarms() -> None:
    misses, false_alarms, n_line, n_free = 0, 0, 0, 0
    rng = np.random.default_rng(7)
    for seed in range(40):
        case = Case(
            snr=float(10 ** rng.uniform(1, 2.5)),
            center=float(rng.uniform(0.1, 0.9)),
            width=float(rng.uniform(0.05, 0.25)),
            continuum=float(rng.uniform(0, 300)),
            slope=float(rng.uniform(-0.3, 0.3)),
        )
        line, found = profile(case), search(case, seed)
        misses += int((found.line_free & (line > 3)).sum())
        n_line += int((line > 3).sum())
        false_alarms += int((~found.line_free & (line < 0.01)).sum())
        n_free += int((line < 0.01).sum())
    assert misses <= 0.005 * n_line  # 3 sigma and less than -1 sigma of noise in the walk: 1/6 of those on the edge
    assert (
        false_alarms <= 0.06 * n_free
    )  # margins of 1 to 2 channels each side, wide boxcars that stick out of the line
    assert n_line > 400
    assert n_free > 1000


def test_noise_alone_is_all_continuum() -> None:
    kinds = [search(Case(continuum=300.0, slope=0.2), seed).coverage for seed in range(30)]
    # 0.05 windows a search at most: 1.5 of 30 expected, more than 6 in 0.1 % of the cases
    assert kinds.count(Coverage.ALL) >= 24
    assert Coverage.NONE not in kinds


@pytest.mark.parametrize("width", [0.5, 0.6])
@pytest.mark.parametrize("continuum", [0.0, 300.0])
def test_a_bright_line_over_half_of_the_band(width: float, continuum: float) -> None:
    case = Case(snr=100, width=width, is_box=True, continuum=continuum, slope=0.2)
    found = search(case, 3)
    assert found.coverage is Coverage.SOME
    free = profile(case) == 0
    assert not (found.line_free & ~free).any()
    assert found.line_free.sum() >= free.sum() - 6  # a twentieth of the line each side


def test_absorption_and_weak_wide_lines_are_found() -> None:
    absorption = Case(snr=-40, width=0.1, continuum=200)
    found = search(absorption, 1)
    assert np.abs(profile(absorption)[found.line_free]).max() < 4
    weak = Case(snr=3, width=0.25, is_box=True)  # below the threshold in every channel, 12 sigma in all
    found = search(weak, 2)
    assert found.significance[~found.line_free].max() < 8
    assert (found.line_free & (profile(weak) > 0)).sum() <= 2


def test_a_line_over_all_of_the_band_leaves_nothing() -> None:
    found = search(Case(snr=100, width=1.0), 1)
    assert found.coverage is Coverage.NONE
    assert not found.line_free.any()
    assert found.significance.shape == (N_CHANNELS,)


def test_the_edges_of_a_band_are_not_lines() -> None:
    case = Case(is_rolled=True, continuum=100)
    found = search(case, 5)
    assert found.coverage is Coverage.ALL
    # ... but too noisy for the continuum; the noise of channel 3 from the edge is that of the others
    assert not found.line_free[noise_shape(case) > 1.5].any()
    assert found.line_free[noise_shape(case) == 1].mean() > 0.95
    assert 3 < found.noise_jy[0] / np.median(found.noise_jy) < 5


def test_channels_without_data_are_no_continuum() -> None:
    rng = np.random.default_rng(1)
    cube = rng.standard_normal((N_CHANNELS, SIDE, SIDE)).astype(np.float32)
    cube[7] = np.nan
    weights = np.ones(N_CHANNELS)
    weights[8] = 0
    mean = rng.standard_normal(N_CHANNELS)
    mean[9] = np.nan
    found = find_line_free_channels(cube, mean, weights, np.ones(N_CHANNELS))
    assert np.flatnonzero(~found.line_free).tolist() == [7, 8, 9]
    assert found.coverage is Coverage.ALL
    assert np.isnan(found.noise_jy[7:10]).all()
    nothing = find_line_free_channels(cube, mean, np.zeros(N_CHANNELS), np.ones(N_CHANNELS))
    assert nothing.coverage is Coverage.NO_DATA
    assert not nothing.line_free.any()


def test_the_noise_is_that_of_each_channel_beside_a_line_too() -> None:
    rng = np.random.default_rng(3)
    sigma = np.where(np.arange(N_CHANNELS) < 8, 3.0, 1.0)
    cube = rng.standard_normal((N_CHANNELS, SIDE * SIDE)) * sigma[:, np.newaxis] + 50.0
    cube[30] += rng.standard_normal(SIDE * SIDE) * 20  # sidelobes of a bright line, in one channel
    noise = estimate_channel_noise(cube.astype(np.float32), np.ones(N_CHANNELS))
    # the median of 1,024 absolute deviations is uncertain by 3.6 %; pairs at the step have a part of the higher noise
    others = np.delete(np.arange(N_CHANNELS), [7, 8, 30])
    np.testing.assert_allclose(noise[others], sigma[others], rtol=0.12)
    assert np.all(estimate_channel_noise(np.ones((4, 9), np.float32), np.ones(4)) > 0)


def test_the_threshold_rises_with_the_size_of_the_search() -> None:
    assert 4.5 < choose_threshold(64, 1024) < choose_threshold(4096, 4096) < 7.0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"3 images, mean visibilities of shape \(2,\).*give one number a channel"):
        find_line_free_channels(np.zeros((3, 4, 4), np.float32), np.zeros(2), np.ones(3), np.ones(3))
