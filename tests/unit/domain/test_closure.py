"""Closure errors and the scatter of phases."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.closure import (
    BaselineSums,
    add_baseline_sums,
    measure_closure_errors,
    measure_phase_scatter,
    remove_antennas,
    sum_baselines,
)

N_ANTENNAS = 10
PAIRS = np.array(list(combinations(range(N_ANTENNAS), 2)))
FIRST, SECOND = PAIRS.T


def draw(
    seed: int, *, antennas: float = 0.0, amplitude: float = 0.0, phase: float = 0.0, noise: float = 0.0, n: int = 200
) -> NDArray[np.complex128]:
    """Ratios of data to model: errors of antennas that vary with time, of baselines that stay, and noise."""
    rng = np.random.default_rng(seed)
    gains = np.exp(antennas * (rng.normal(size=(n, N_ANTENNAS, 2)) + 1j * rng.normal(size=(n, N_ANTENNAS, 2))))
    errors = amplitude * rng.normal(size=(1, len(PAIRS), 2)) + 1j * phase * rng.normal(size=(1, len(PAIRS), 2))
    shape = (n, len(PAIRS), 2)
    thermal = noise * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    return gains[:, FIRST] * gains[:, SECOND].conj() * np.exp(errors) + thermal


def measure(ratio: NDArray[np.complex128], weights: NDArray[np.float64] | None = None):
    ones = np.ones(ratio.shape)
    return measure_closure_errors(sum_baselines(ratio, ones if weights is None else weights, FIRST, SECOND), N_ANTENNAS)


def test_errors_of_antennas_close() -> None:
    found = measure(draw(1, antennas=0.1))
    assert found.amplitude < 1e-12
    assert found.phase_rad < 1e-12


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_errors_of_baselines_are_found_whatever_antennas_and_noise_do(noise: float) -> None:
    found = measure(draw(2, antennas=0.1, amplitude=0.02, phase=0.05, noise=noise))
    # 2 hands x 45 baselines, of which the antennas take 20: the standard deviation is known to 1 / sqrt(2 x 70) = 8 %,
    # with noise the errors of the means (0.2 / sqrt(200) = 0.014) add to it; three of those
    assert found.amplitude == pytest.approx(0.02, rel=0.35)
    assert found.phase_rad == pytest.approx(0.05, rel=0.3)


def test_noise_alone_is_no_closure_error() -> None:
    found = measure(draw(3, noise=0.2))
    # the error of a mean is 0.2 / sqrt(200) = 0.014; of its square over 70 degrees of freedom 17 % are left
    assert found.amplitude < 0.014 * np.sqrt(3 * 0.17)
    assert found.phase_rad < 0.014 * np.sqrt(3 * 0.17)


def test_a_bad_baseline_stands_out_and_flagged_ones_do_not_count() -> None:
    ratio, weights = draw(4, antennas=0.05, noise=0.05), np.ones((200, len(PAIRS), 2))
    ratio[:, 7] *= np.exp(0.3j)
    ratio[:, 11] *= 100
    weights[:, 11] = 0
    found = measure(ratio, weights)
    assert np.nanargmax(np.abs(found.baseline_phase_rad)) == 7
    assert np.isnan(found.baseline_phase_rad[11])
    # one of 45 baselines, of whose error the antennas take a part: (n - n_fitted) / n of it are left
    assert found.baseline_phase_rad[7] == pytest.approx(0.3 * (44 - 9) / 44, abs=0.03)


def test_the_antennas_part_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(5)
    values, weights = rng.normal(size=(1, len(PAIRS), 1)), rng.uniform(0.5, 2, (1, len(PAIRS), 1))
    for sign in (1, -1):
        design = np.zeros((len(PAIRS), N_ANTENNAS))
        for row, (i, j) in enumerate(PAIRS):
            design[row, i], design[row, j] = 1, sign
        root = np.sqrt(weights[0, :, 0])
        solution = np.linalg.lstsq(root[:, None] * design, root * values[0, :, 0], rcond=None)[0]
        rest = remove_antennas(values, weights, FIRST, SECOND, sign=sign)
        np.testing.assert_allclose(rest[0, :, 0], values[0, :, 0] - design @ solution, atol=1e-12)


def test_sums_of_parts_are_the_sums_of_all() -> None:
    ratio, weights = draw(6, antennas=0.1, noise=0.1), np.ones((200, len(PAIRS), 2))
    whole = sum_baselines(ratio, weights, FIRST, SECOND)
    cut = [sum_baselines(ratio[part], weights[part], FIRST, SECOND) for part in (slice(0, 70), slice(70, 200))]
    for one, other in zip(add_baseline_sums(*cut), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_phases_that_grow_with_the_baseline_are_seen() -> None:
    length = np.linspace(100, 3000, len(PAIRS))
    rng = np.random.default_rng(7)
    rms = 0.1 * (length / 1000) ** 0.6
    ratio = np.exp(1j * rms[:, None] * rng.normal(size=(400, len(PAIRS), 2)))
    found = measure_phase_scatter(sum_baselines(ratio, np.ones(ratio.shape), FIRST, SECOND), length)
    # 800 phases a baseline: 2.5 % each
    np.testing.assert_allclose(found.baseline_rms_rad, rms, rtol=0.1)
    assert found.slope == pytest.approx(0.6, abs=0.02)
    assert found.long_rms_rad > 2 * found.short_rms_rad


def test_no_data_is_no_number() -> None:
    empty = sum_baselines(np.zeros((3, len(PAIRS), 2), complex), np.zeros((3, len(PAIRS), 2)), FIRST, SECOND)
    assert np.isnan(measure_closure_errors(empty, N_ANTENNAS).amplitude)
    scatter = measure_phase_scatter(empty, np.ones(len(PAIRS)))
    assert np.isnan(scatter.long_rms_rad)
    assert np.isnan(scatter.slope)


def test_equal_baselines_have_no_slope() -> None:
    ratio = np.exp(0.1j * np.random.default_rng(8).normal(size=(50, len(PAIRS), 1)))
    sums: BaselineSums = sum_baselines(ratio, np.ones(ratio.shape), FIRST, SECOND)
    assert np.isnan(measure_phase_scatter(sums, np.full(len(PAIRS), 50.0)).slope)
