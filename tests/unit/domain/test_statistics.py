"""Image statistics against numpy and against known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radps.domain.statistics import SMALLEST_COUNTED, find_median, find_peak, image_statistics, robust_rms


def test_robust_rms_is_the_standard_deviation_of_gaussian_noise() -> None:
    noise = np.random.default_rng(1).normal(scale=0.3, size=(300, 300))
    # the MAD of 90,000 numbers is known to 0.4 %
    assert robust_rms(noise) == pytest.approx(0.3, rel=0.02)


def test_robust_rms_does_not_see_sources_in_a_tenth_of_the_image() -> None:
    noise = np.random.default_rng(1).normal(size=(100, 100))
    clean = robust_rms(noise)
    noise[:10] += 50
    assert noise.std() > 10
    assert robust_rms(noise) == pytest.approx(clean, rel=0.2)


def test_blanked_pixels_do_not_count() -> None:
    image = np.array([[1.0, np.nan], [-3.0, np.inf]])
    found = image_statistics(image)
    assert found.n_pixels == 2
    assert (found.maximum, found.maximum_pixel) == (1.0, (0, 0))
    assert (found.minimum, found.minimum_pixel) == (-3.0, (1, 0))
    assert found.total == -2.0
    assert found.mean == -1.0
    assert found.rms == pytest.approx(math.sqrt(5.0))
    assert robust_rms(image) == pytest.approx(2 * 1.4826, rel=1e-4)


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("kind", ["noise", "above", "below", "ties", "zeros", "wide", "two"])
def test_median_of_many_values_is_that_of_numpy(kind: str, odd: int) -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=SMALLEST_COUNTED + odd)
    values = {
        "noise": noise,
        "above": 5 + noise,
        "below": -5 + noise,
        "ties": np.round(noise),
        "zeros": np.zeros(noise.size),
        "wide": noise * 10.0 ** rng.integers(-40, 38, noise.size),  # denormal numbers among them
        "two": np.where(np.arange(noise.size) < noise.size // 2, -3.0, 7.0),  # of an even number of them: the middle
    }[kind].astype(np.float32)
    found = find_median(values)
    assert found == np.median(values)
    assert found.dtype == np.float32
    strided = np.repeat(values, 2)[::2]
    assert robust_rms(strided) == 1.482602218505602 * float(np.median(np.abs(values - np.median(values))))


def test_statistics_of_a_cube_agree_with_numpy() -> None:
    cube = np.random.default_rng(2).normal(loc=0.1, size=(3, 20, 30)).astype(np.float32)
    found = image_statistics(cube)
    double = cube.astype(np.float64)
    assert found.maximum == double.max()
    assert cube[found.maximum_pixel] == found.maximum
    assert cube[found.minimum_pixel] == found.minimum
    assert found.total == pytest.approx(double.sum())
    assert found.rms == pytest.approx(math.sqrt((double**2).mean()))
    assert found.n_pixels == cube.size


def test_only_pixels_of_the_mask_count() -> None:
    image = np.arange(12.0).reshape(3, 4)
    mask = np.zeros((3, 4), np.bool_)
    mask[1] = True
    found = image_statistics(image, mask)
    assert (found.minimum, found.maximum, found.n_pixels) == (4.0, 7.0, 4)
    assert found.maximum_pixel == (1, 3)


def test_long_sums_do_not_lose_digits() -> None:
    image = np.full((2000, 2000), 0.1, np.float32)
    # in single precision the sum of 4 million equal numbers would be wrong in its fourth digit
    assert image_statistics(image).total == pytest.approx(4e6 * float(np.float32(0.1)), rel=1e-12)


def test_an_image_without_data_has_no_statistics() -> None:
    found = image_statistics(np.full((4, 4), np.nan))
    assert found.n_pixels == 0
    assert found.maximum_pixel == found.minimum_pixel == ()
    assert math.isnan(found.maximum)
    assert math.isnan(found.rms)
    assert math.isnan(robust_rms(np.full(3, np.nan)))


def test_peaks_count_inside_the_mask_alone() -> None:
    image = np.array([[1.0, -4.0], [2.0, 3.0]], np.float32)
    mask = np.array([[True, False], [True, False]])
    assert find_peak(image) == 4.0
    assert find_peak(image, mask) == 2.0
    assert find_peak(image, ~mask) == 4.0
    assert find_peak(image, np.zeros_like(mask)) == 0.0
    assert np.isnan(find_peak(np.full((2, 2), np.nan, np.float32), mask))


def test_the_noise_of_a_region_is_that_of_its_pixels_alone() -> None:
    image = np.concatenate([np.random.default_rng(2).standard_normal(1000), np.full(9000, 50.0)])
    image[3] = np.nan
    region = np.arange(10_000) < 1000
    assert robust_rms(image, region) == robust_rms(image[:1000])
    assert robust_rms(image) == 0.0
    assert math.isnan(robust_rms(image, np.zeros(10_000, np.bool_)))
