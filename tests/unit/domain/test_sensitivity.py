"""The radiometer equation, against its usual form and against simulated noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radps.domain.sensitivity import Exposure, expected_noise, expected_noise_of_counts


def test_it_is_the_equation_of_the_observatory() -> None:
    n, sefd, time_s, bandwidth_hz = 27, 420.0, 3600.0, 1e6
    expected = sefd / math.sqrt(2 * n * (n - 1) * time_s * bandwidth_hz)
    assert expected_noise([Exposure(sefd, n * (n - 1) // 2, 2, time_s, bandwidth_hz)]) == pytest.approx(expected)


def test_exposures_add_up_as_inverse_variances() -> None:
    one = Exposure(420.0, 351, 2, 600.0, 1e6)
    assert expected_noise([one] * 4) == pytest.approx(expected_noise([one]) / 2)
    assert expected_noise([one, one._replace(sefd_jy=1e9)]) == pytest.approx(expected_noise([one]))
    assert expected_noise([]) == math.inf


def test_the_mean_of_simulated_visibilities_has_that_noise() -> None:
    """Noise of SEFD / sqrt(2 bandwidth time) in the real part of a sample, averaged over samples and hands."""
    sefd, n_baselines, n_times, step_s, bandwidth_hz = 420.0, 36, 20, 30.0, 1e5
    sigma = sefd / math.sqrt(2 * bandwidth_hz * step_s)
    samples = np.random.default_rng(1).normal(0.0, sigma, (4000, 2 * n_baselines * n_times))
    expected = expected_noise([Exposure(sefd, n_baselines, 2, n_times * step_s, bandwidth_hz)])
    assert samples.mean(axis=1).std() == pytest.approx(expected, rel=0.05)


def test_counted_visibilities_give_the_noise_of_the_equation() -> None:
    whole = Exposure(sefd_jy=400.0, n_baselines=45, n_polarizations=2, time_s=600.0, bandwidth_hz=1e6)
    half = Exposure(sefd_jy=300.0, n_baselines=45, n_polarizations=1, time_s=300.0, bandwidth_hz=2e6)
    counts = [np.array([45 * 2 * 60, 0]), np.array([45 * 30, 0])]
    found = expected_noise_of_counts(counts, [400.0, 300.0], [10.0, 10.0], [1e6, 2e6])
    np.testing.assert_allclose(found, [expected_noise([whole, half]), np.inf], rtol=1e-12)


def test_visibilities_that_share_their_noise_have_that_of_their_sum() -> None:
    counts, variance = [np.array([100.0]), np.array([50.0])], [np.array([50.0]), np.array([50.0])]
    weight = 2 * 10.0 * 1e6 / 400.0**2
    found = expected_noise_of_counts(counts, [400.0, 400.0], [10.0, 10.0], [1e6, 1e6], variance)
    np.testing.assert_allclose(found, [math.sqrt(100 * weight) / (150 * weight)], rtol=1e-12)
