"""Moments against lines of known integral, velocity and width, and against CASA's figures for its own cube."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from radps.domain.moments import (
    MomentSums,
    add_plane_to_moments,
    compute_moments,
    compute_velocity,
    compute_velocity_widths,
    create_moment_sums,
    find_channels_between,
    find_counted_pixels,
    find_smoothed_mask,
    integrate_plane,
    integrate_spectrum,
    measure_edges,
    merge_moment_sums,
)
from radps.domain.spectral_frames import DopplerConvention
from radps.domain.statistics import robust_rms
from radps.errors import DataError

HI_HZ = 1_420_405_752.0


def accumulate(
    cube: NDArray[np.float32], velocity: NDArray[np.float64], width: float, cut: float = -math.inf
) -> MomentSums:
    sums = create_moment_sums(cube.shape[1:])
    for plane, v in zip(cube, velocity, strict=True):
        sums = add_plane_to_moments(sums, plane, v, width, cut=cut)
    return sums


def gaussian_cube(
    velocity: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Return a cube of one Gaussian line a pixel, with its centres and standard deviations [km/s]."""
    rng = np.random.default_rng(1)
    centre = rng.uniform(1450, 1550, (4, 5))
    sigma = rng.uniform(10, 25, (4, 5))
    cube = np.exp(-0.5 * ((velocity[:, None, None] - centre) / sigma) ** 2)
    return cube.astype(np.float32), centre, sigma


def test_velocities_are_of_the_radio_convention() -> None:
    assert compute_velocity(HI_HZ, HI_HZ) == 0
    frequencies = HI_HZ * (1 - np.array([1000.0, -300.0]) / 299_792.458)
    np.testing.assert_allclose(compute_velocity(frequencies, HI_HZ), [1000.0, -300.0], rtol=1e-9)
    # 24.414 kHz at 1420.406 MHz; channels that descend have the same width
    np.testing.assert_allclose(compute_velocity_widths(frequencies, -24414.0625, HI_HZ), 5.15289, rtol=1e-5)


def test_moments_of_gaussian_lines_are_their_integral_centre_and_width() -> None:
    velocity = np.arange(1300, 1700, 4.0)
    cube, centre, sigma = gaussian_cube(velocity)
    moments = compute_moments(accumulate(cube, velocity, 4.0))
    # a Gaussian sampled at less than half its sigma sums to its integral far below float32 rounding
    np.testing.assert_allclose(moments.intensity, sigma * math.sqrt(2 * math.pi), rtol=1e-6)
    np.testing.assert_allclose(moments.velocity, centre, rtol=1e-6)
    np.testing.assert_allclose(moments.dispersion, sigma, rtol=1e-5)
    assert (moments.n_channels == len(velocity)).all()
    assert moments.intensity.dtype == moments.velocity.dtype == moments.dispersion.dtype == np.float32


def test_two_channels_by_hand() -> None:
    cube = np.array([[[1.0]], [[3.0]]], np.float32)
    moments = compute_moments(accumulate(cube, np.array([10.0, 20.0]), 2.0))
    assert moments.intensity[0, 0] == 8.0
    assert moments.velocity[0, 0] == 17.5
    assert moments.dispersion[0, 0] == pytest.approx(math.sqrt((7.5**2 + 3 * 2.5**2) / 4))


def test_only_pixels_above_the_cut_count() -> None:
    plane = np.array([[0.009, 0.0091, -5.0, np.nan]], np.float32)
    cut = float(np.float32(0.009))
    sums = add_plane_to_moments(create_moment_sums((1, 4)), plane, 100.0, 1.0, cut=cut)
    assert sums.n_channels.tolist() == [[0, 1, 0, 0]]
    moments = compute_moments(sums)
    assert np.isnan(moments.intensity[0, [0, 2, 3]]).all()
    assert np.isnan(moments.velocity[0, [0, 2, 3]]).all()
    assert moments.velocity[0, 1] == 100.0
    assert integrate_plane(plane, 1.0, cut=cut).n_pixels == 1


def test_the_mask_excludes_pixels() -> None:
    plane = np.ones((2, 2), np.float32)
    mask = np.array([[True, False], [False, True]])
    sums = add_plane_to_moments(create_moment_sums((2, 2)), plane, 0.0, 1.0, cut=0.0, mask=mask)
    np.testing.assert_array_equal(sums.n_channels, mask)
    assert integrate_plane(plane, 2.0, cut=0.0, mask=mask) == (1.0, 2)


def test_a_line_in_one_channel_has_no_dispersion() -> None:
    moments = compute_moments(accumulate(np.full((1, 3, 3), 0.1, np.float32), np.array([1484.7]), 5.0))
    # the difference of two equal squares of 2e6 in double precision: below the root of 2e6 * 2e-16
    assert moments.dispersion.max() < 3e-5
    np.testing.assert_allclose(moments.velocity, 1484.7, rtol=1e-6)


def test_without_a_cut_a_negative_sum_has_no_velocity() -> None:
    moments = compute_moments(accumulate(np.full((1, 1, 1), -1.0, np.float32), np.array([5.0]), 1.0))
    assert moments.intensity[0, 0] == -1.0
    assert np.isnan(moments.velocity[0, 0])
    assert np.isnan(moments.dispersion[0, 0])


def test_sums_of_parts_are_the_sums_of_all() -> None:
    velocity = np.arange(1300, 1700, 4.0)
    cube, _, _ = gaussian_cube(velocity)
    whole = accumulate(cube, velocity, 4.0, cut=0.01)
    parts = merge_moment_sums(
        accumulate(cube[:37], velocity[:37], 4.0, cut=0.01), accumulate(cube[37:], velocity[37:], 4.0, cut=0.01)
    )
    for first, second in zip(whole, parts, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-13)  # another order of 100 sums in double precision


def test_the_inputs_stay_as_they_are() -> None:
    sums = create_moment_sums((2, 2))
    plane = np.ones((2, 2), np.float32)
    add_plane_to_moments(sums, plane, 3.0, 1.0, cut=2.0)
    add_plane_to_moments(sums, plane, 3.0, 1.0, cut=0.0)
    assert not any(array.any() for array in sums)
    assert (plane == 1).all()


def test_the_flux_of_a_plane_is_the_sum_over_the_beam_area() -> None:
    x, y = np.mgrid[-40:41, -40:41]
    sigma_x, sigma_y = 4.0, 6.0
    plane = 0.25 * np.exp(-0.5 * ((x / sigma_x) ** 2 + (y / sigma_y) ** 2))
    # a point source of 0.25 Jy, imaged with this beam
    assert integrate_plane(
        plane.astype(np.float32), 2 * math.pi * sigma_x * sigma_y, cut=-1.0
    ).flux_jy == pytest.approx(0.25, rel=1e-6)


def test_a_plane_without_signal_is_zero_and_one_without_data_is_nan() -> None:
    assert integrate_plane(np.zeros((3, 3), np.float32), 10.0, cut=0.1) == (0.0, 0)
    assert math.isnan(integrate_plane(np.full((3, 3), np.nan, np.float32), 10.0, cut=0.1).flux_jy)
    assert math.isnan(integrate_plane(np.ones((3, 3), np.float32), math.nan, cut=0.1).flux_jy)


def test_the_spectrum_integrates_to_the_line_flux() -> None:
    velocity = np.arange(1300, 1700, 4.0)
    flux = 2.0 * np.exp(-0.5 * ((velocity - 1481.0) / 20.0) ** 2)
    result = integrate_spectrum(flux, velocity, np.full(100, 4.0))
    assert result.flux_jy_km_s == pytest.approx(2.0 * 20.0 * math.sqrt(2 * math.pi), rel=1e-9)
    assert result.velocity_km_s == pytest.approx(1481.0)
    assert result.n_channels == 100


def test_channels_without_data_are_left_out() -> None:
    result = integrate_spectrum([1.0, math.nan, 3.0], [0.0, 10.0, 20.0], [2.0, 2.0, 2.0])
    assert result == (8.0, 15.0, 2)
    nothing = integrate_spectrum([math.nan], [0.0], [1.0])
    assert nothing.n_channels == 0
    assert math.isnan(nothing.flux_jy_km_s)
    assert math.isnan(integrate_spectrum([0.0], [0.0], [1.0]).velocity_km_s)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: compute_velocity(1e9, 0.0), "rest frequency 0.0 Hz"),
        (lambda: compute_velocity_widths(1e9, 1e3, math.nan), "rest frequency nan Hz"),
        (
            lambda: add_plane_to_moments(create_moment_sums((2, 2)), np.ones((2, 3), np.float32), 0.0, 1.0, cut=0.0),
            r"plane of shape \(2, 3\)",
        ),
        (
            lambda: add_plane_to_moments(create_moment_sums((2, 2)), np.ones((2, 2), np.float32), 0.0, -1.0, cut=0.0),
            "width positive",
        ),
        (
            lambda: integrate_plane(np.ones((2, 2), np.float32), 1.0, cut=0.0, mask=np.ones((1, 2), np.bool_)),
            r"mask of shape \(1, 2\)",
        ),
        (lambda: merge_moment_sums(create_moment_sums((2, 2)), create_moment_sums((3, 2))), "cannot be added"),
        (lambda: integrate_plane(np.ones((2, 2), np.float32), 0.0, cut=0.0), "beam area 0.0"),
        (lambda: integrate_spectrum([1.0], [1.0, 2.0], [1.0]), "1 flux densities, 2 velocities"),
    ],
)
def test_wrong_arguments_are_named(call: object, text: str) -> None:
    with pytest.raises(DataError, match=text):
        call()  # type: ignore[operator]


def test_the_line_flux_of_casas_cube_of_ngc_5921(shared_data: Path) -> None:
    reference = shared_data / "ngc5921" / "reference"
    results = json.loads((reference / "pb17_nocalwt_results.json").read_text())
    beams = np.radians(np.array(results["images"]["ngc5921_cube_clean_briggs"]["beam"])[:, :2] / 3600)
    area = math.pi / (4 * math.log(2)) * beams.prod(axis=1) / math.radians(15 / 3600) ** 2
    with np.load(reference / "pb17_nocalwt_images_crop.npz") as crops:
        cube = crops["ngc5921_cube_clean_briggs__image"]
    width = compute_velocity_widths(np.full(len(cube), HI_HZ), 24414.0625, HI_HZ)
    planes = [integrate_plane(plane, size, cut=0.009) for plane, size in zip(cube, area, strict=True)]
    spectrum = integrate_spectrum([plane.flux_jy for plane in planes], np.zeros(len(cube)), width)
    # the crop lacks 6 of the 452 pixels that count, noise peaks at the rim: 0.2 %
    assert spectrum.flux_jy_km_s == pytest.approx(results["moment_integrated"]["flux"][0], rel=3e-3)
    moments = compute_moments(sum_planes(cube, width))
    assert np.nanmax(moments.intensity) == pytest.approx(results["moment_integrated"]["max"][0], rel=1e-3)
    peak = np.unravel_index(np.nanargmax(moments.intensity), moments.intensity.shape)
    y, x = (int(i) + 80 for i in peak)  # the crop starts at pixel 80 of 256
    assert [x, y] == results["moment_integrated"]["maxpos"][:2]


def sum_planes(cube: NDArray[np.float32], width: NDArray[np.float64]) -> MomentSums:
    sums = create_moment_sums(cube.shape[1:])
    for plane, dv in zip(cube, width, strict=True):
        sums = add_plane_to_moments(sums, plane, 0.0, float(dv), cut=0.009)
    return sums


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("radio", lambda beta: 1 - math.sqrt((1 - beta) / (1 + beta))),
        ("optical", lambda beta: math.sqrt((1 + beta) / (1 - beta)) - 1),
        ("relativistic", lambda beta: beta),
    ],
)
def test_velocities_of_the_three_conventions(convention: DopplerConvention, expected: Callable[[float], float]) -> None:
    beta = 0.08  # a source that recedes at 8 % of the speed of light
    frequency = HI_HZ * math.sqrt((1 - beta) / (1 + beta))
    velocity = compute_velocity(np.array([frequency]), HI_HZ, convention)
    np.testing.assert_allclose(velocity, 299_792.458 * expected(beta), rtol=1e-9)
    # the width is the derivative: channels of one width in frequency have another one in velocity
    width = compute_velocity_widths(np.array([frequency]), -1e3, HI_HZ, convention)
    step = np.diff(compute_velocity(np.array([frequency + 5e2, frequency - 5e2]), HI_HZ, convention))
    np.testing.assert_allclose(width, step, rtol=1e-6)


def test_a_smoothed_mask_finds_faint_extended_emission_that_a_cut_does_not() -> None:
    rng = np.random.default_rng(4)
    noise = gaussian_filter(rng.standard_normal((128, 128)), 4.0 / math.sqrt(2) / 2.3548, mode="wrap")
    noise /= noise.std()
    disc = np.hypot(*(np.mgrid[:128, :128] - 64)) < 14
    plane = (noise + 2.0 * disc).astype(np.float32)
    found = find_smoothed_mask(plane, 4.0, 3.5)
    cut = find_counted_pixels(plane, 3.5)
    # noise of 1 falls to about a half: 2 becomes 4, at the edge of the disc 2
    assert found[disc].mean() > 0.55 > 0.15 > cut[disc].mean()
    assert found[np.hypot(*(np.mgrid[:128, :128] - 64)) > 20].mean() < 0.005
    plane[60:70] = np.nan
    assert not find_smoothed_mask(plane, 4.0, 3.5)[60:70].any()
    np.testing.assert_array_equal(
        find_smoothed_mask(plane, math.nan, 2.0), plane > 2.0 * robust_rms(np.nan_to_num(plane)[np.isfinite(plane)])
    )


def test_channels_between_two_velocities() -> None:
    falling = np.array([30.0, 20.0, 10.0, 0.0])
    assert find_channels_between(falling, (5.0, 20.0)) == find_channels_between(falling, (20.0, 5.0)) == (1, 3)
    assert find_channels_between(falling[::-1], (5.0, 20.0)) == (1, 3)
    assert find_channels_between(falling, (11.0, 19.0)) == (0, 0)


def test_flux_at_the_ends_of_a_spectrum() -> None:
    assert measure_edges([np.nan, 0.1, 1.0, 2.0, 0.4, np.nan]) == pytest.approx(0.2)
    assert measure_edges([-0.1, 1.0, 0.0]) == 0.0
    assert measure_edges([np.nan]) == measure_edges([-1.0, -2.0]) == 0.0
