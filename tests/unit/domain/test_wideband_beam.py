"""Correction of Taylor terms for a primary beam that narrows with frequency."""

from __future__ import annotations

import numpy as np
import pytest

from radps.domain.geometry import ImageGrid
from radps.domain.primary_beam import correct_primary_beam, find_pattern, primary_beam
from radps.domain.wideband_beam import (
    ChannelWeights,
    add_channel_weights,
    beam_moments,
    correct_terms,
    find_beam_region,
)

GRID = ImageGrid(32, 32, 1.2 * np.pi / 180 / 60)
REFERENCE_HZ = 1.5e9
CHANNELS = ChannelWeights(np.linspace(1.26e9, 1.74e9, 13), np.linspace(1.1, 0.9, 13))
HALF_POWER = (16, 16 + 12)
"""14.4 arcmin from the centre: 0.53 of the VLA's beam at 1.5 GHz."""


def fit(spectrum: np.ndarray, n_terms: int) -> np.ndarray:
    """The Taylor terms that CLEAN finds: numpy's weighted fit, which minimises the sum of (w y)^2."""
    x = np.log(CHANNELS.frequency_hz / REFERENCE_HZ)
    found = np.polynomial.polynomial.polyfit(x, spectrum, n_terms - 1, w=np.sqrt(CHANNELS.weight))
    return np.asarray(found)


def beam_at(pixel: tuple[int, int]) -> np.ndarray:
    radius = np.arcsin(np.hypot(GRID.l[pixel[0]], GRID.m[pixel[1]]))
    return np.array([find_pattern("VLA", hz)(np.array([radius]))[0] for hz in CHANNELS.frequency_hz])


def seen(spectrum: np.ndarray, n_terms: int) -> np.ndarray:
    """Terms of an image that shows this spectrum behind the beam at one pixel."""
    terms = np.zeros((n_terms, *GRID.shape), np.float32)
    terms[:, *HALF_POWER] = fit(spectrum * beam_at(HALF_POWER), n_terms)
    return terms


@pytest.mark.parametrize("index", [-0.9, -0.7, 0.4])
def test_a_spectrum_at_half_power_is_that_of_the_sky(index: float) -> None:
    spectrum = (CHANNELS.frequency_hz / REFERENCE_HZ) ** index
    apparent = seen(spectrum, 2)
    moments = beam_moments(GRID, CHANNELS, REFERENCE_HZ, 2, "VLA")
    found = correct_terms(apparent, GRID, moments, cutoff=0.2).terms[:, *HALF_POWER]
    assert apparent[1][HALF_POWER] / apparent[0][HALF_POWER] < index - 1.2  # what the beam does
    # What two terms say without a beam, and what they cut off: alpha^2 <x^2> / 2 of the flux is 0.3 %.
    assert found == pytest.approx(fit(spectrum, 2), abs=0.006)
    assert found[0] == pytest.approx(1.0, abs=5e-3)
    assert found[1] / found[0] == pytest.approx(index, abs=0.02)


def test_a_sky_of_two_terms_comes_back_exactly() -> None:
    x = np.log(CHANNELS.frequency_hz / REFERENCE_HZ)
    moments = beam_moments(GRID, CHANNELS, REFERENCE_HZ, 2, "VLA")
    found = correct_terms(seen(2.0 - 1.4 * x, 2), GRID, moments, cutoff=0.2)
    np.testing.assert_allclose(found.terms[:, *HALF_POWER], [2.0, -1.4], rtol=1e-5)


def test_one_term_is_divided_by_the_mean_of_the_beams() -> None:
    moments = beam_moments(GRID, CHANNELS, REFERENCE_HZ, 1, "VLA")
    found = correct_terms(seen(np.full(13, 3.0), 1), GRID, moments, cutoff=0.2)
    assert found.terms[0][HALF_POWER] == pytest.approx(3.0, rel=1e-5)
    assert found.pattern[HALF_POWER] == pytest.approx(np.average(beam_at(HALF_POWER), weights=CHANNELS.weight))


def test_one_channel_is_the_plain_correction() -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(size=GRID.shape).astype(np.float32)
    channel = ChannelWeights(np.array([1.5e9]), np.array([7.0]))
    found = correct_terms(image[np.newaxis], GRID, beam_moments(GRID, channel, REFERENCE_HZ, 1, "VLA"), cutoff=0.2)
    pattern = primary_beam(GRID, 1.5e9, "VLA", cutoff=0.2)
    np.testing.assert_allclose(found.pattern, pattern, atol=1e-6)
    np.testing.assert_allclose(found.terms[0], correct_primary_beam(image, pattern), rtol=1e-5)
    assert np.isnan(found.terms[0][0, 0])


def test_without_data_everything_is_blank() -> None:
    nothing = CHANNELS._replace(weight=np.zeros(13))
    found = correct_terms(
        np.ones((2, *GRID.shape), np.float32), GRID, beam_moments(GRID, nothing, REFERENCE_HZ, 2, "VLA"), cutoff=0.2
    )
    assert np.isnan(found.terms).all()
    assert not found.pattern.any()


def test_weights_of_parts_are_added_by_frequency() -> None:
    parts = [
        ChannelWeights(np.array([3.0, 1.0]), np.array([0.5, 2.0])),
        ChannelWeights(np.array([1.0, 2.0]), np.array([4.0, 8.0])),
    ]
    found = add_channel_weights(parts)
    np.testing.assert_array_equal(found.frequency_hz, [1, 2, 3])
    np.testing.assert_array_equal(found.weight, [6, 8, 0.5])


@pytest.mark.parametrize("level", [0.05, 0.2, 0.6])
def test_the_region_of_a_level_is_that_of_the_corrected_image(level: float) -> None:
    moments = beam_moments(GRID, CHANNELS, REFERENCE_HZ, 1, "VLA")
    region = find_beam_region(GRID, moments, level)
    blank = np.zeros((1, *GRID.shape), np.float32)
    np.testing.assert_array_equal(region, correct_terms(blank, GRID, moments, cutoff=level).pattern > 0)
    mean = np.average(beam_at(HALF_POWER), weights=CHANNELS.weight)
    assert region[HALF_POWER] == (mean >= level)
    assert 0 < region.sum() < region.size
