"""Transforms of padded images against those of numpy, of the whole grid."""

from __future__ import annotations

import numpy as np
import pytest

from radps.domain.padded_transforms import transform_back, transform_padded

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("shape", [(12, 10), (7, 9), (1, 1), (32, 30)])
@pytest.mark.parametrize("about_centre", [False, True])
def test_it_is_the_transform_of_the_whole_grid(shape: tuple[int, int], about_centre: bool) -> None:
    size = (32, 30)
    image = RNG.normal(size=shape)
    whole = np.zeros(size)
    whole[: shape[0], : shape[1]] = image
    if about_centre:
        whole = np.roll(whole, (-(shape[0] // 2), -(shape[1] // 2)), axis=(0, 1))
    found = transform_padded(image, size, about_centre=about_centre)
    assert found.dtype == np.complex64
    # single precision: 1e-7 of the sum of up to a thousand pixels
    np.testing.assert_allclose(found, np.fft.rfft2(whole), atol=1e-4)


def test_the_way_back_has_the_pixels_of_the_image_and_leaves_the_transform_as_it_is() -> None:
    image = RNG.normal(size=(12, 10)).astype(np.float32)
    transform = transform_padded(image, (24, 21))
    before = transform.copy()
    np.testing.assert_allclose(transform_back(transform, (24, 21), (12, 10)), image, atol=1e-6)
    np.testing.assert_allclose(transform_back(transform, (24, 21), (24, 21))[12:], 0, atol=1e-6)
    np.testing.assert_array_equal(transform, before)
