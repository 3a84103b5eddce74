"""Gains of all modes have the errors that theory gives them: chi-squared of many trials with noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from radps.domain.gains import solve_gains
from radps.domain.stefcal import GainMode, GainOptions

N_TRIALS = 40


def information(power: NDArray[np.float64], data: Any, sign: int) -> NDArray[np.float64]:
    """Return the Fisher matrix of log amplitudes (sign +1) or phases (-1), from sum(w |V|^2) of each baseline."""
    matrix = np.zeros((data.n_antennas, data.n_antennas))
    for one, i, j in zip(power, data.antenna1, data.antenna2, strict=True):
        matrix[i, i] += one
        matrix[j, j] += one
        matrix[i, j] += sign * one
        matrix[j, i] += sign * one
    return matrix


def chi_squared(draw: Callable[..., Any], mode: GainMode, scale: float = 1.0) -> tuple[float, int]:
    """Return chi-squared of the solutions of all trials against the truth, and its degrees of freedom."""
    data = draw(6, phase_only=mode is GainMode.PHASE)
    data = data._replace(gains=np.abs(data.gains)) if mode is GainMode.AMPLITUDE else data
    response = data.gains[data.antenna1] * data.gains[data.antenna2].conj()
    clean = response[:, np.newaxis] * data.model
    sigma = 0.05 / np.sqrt(data.weights)
    rng = np.random.default_rng(8)
    total, degrees = 0.0, 0
    for _ in range(N_TRIALS):
        noise = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
        found = solve_gains(
            np.moveaxis(clean + scale * sigma * noise, 2, 1).reshape(-1, len(data.antenna1), 2),
            np.moveaxis(data.model, 2, 1).reshape(-1, len(data.antenna1), 2),
            np.moveaxis(data.weights, 2, 1).reshape(-1, len(data.antenna1), 2),
            *data.geometry,
            0,
            GainOptions(mode=mode),
        )
        for hand in range(2):
            power = (np.abs(clean) ** 2 / sigma**2)[..., hand].sum(axis=(0, 2))
            ratio = found.gains[:, hand] / data.gains[:, hand]
            if mode is not GainMode.PHASE:
                error = np.log(np.abs(ratio))
                total += error @ information(power, data, +1) @ error
                degrees += data.n_antennas
            if mode is not GainMode.AMPLITUDE:
                error = np.angle(ratio / ratio[0])
                total += error @ information(power, data, -1) @ error
                degrees += data.n_antennas - 1
    return total, degrees


@pytest.mark.parametrize("mode", list(GainMode))
def test_errors_are_those_of_the_theory(draw: Callable[..., Any], mode: GainMode) -> None:
    found, degrees = chi_squared(draw, mode)
    # 4 sigma of chi-squared: 640 degrees of freedom and more
    assert chi2.sf(found, degrees) > 3e-5
    assert chi2.cdf(found, degrees) > 3e-5


def test_the_errors_of_more_noise_would_be_seen(draw: Callable[..., Any]) -> None:
    found, degrees = chi_squared(draw, GainMode.PHASE, scale=1.2)
    assert chi2.sf(found, degrees) < 1e-5


def test_amplitudes_alone_do_not_see_phases(draw: Callable[..., Any]) -> None:
    data = draw(3)
    arrays = [np.moveaxis(one, 2, 1).reshape(-1, len(data.antenna1), 2) for one in (data.visibilities, data.model)]
    weights = np.ones(arrays[0].shape)
    found = solve_gains(*arrays, weights, *data.geometry, 0, GainOptions(mode=GainMode.AMPLITUDE))
    # gain steps end when they change the gains by less than 1e-9
    np.testing.assert_allclose(found.gains, np.abs(data.gains), atol=1e-8)


def test_phases_of_raw_data_have_the_signal_to_noise_of_calibrated_ones(draw: Callable[..., Any]) -> None:
    data = draw(6, noise=0.2, phase_only=True)
    arrays = [np.moveaxis(one, 2, 1).reshape(-1, len(data.antenna1), 2) for one in (data.visibilities, data.model)]
    weights = np.ones(arrays[0].shape)
    options = GainOptions(mode=GainMode.PHASE)
    calibrated = solve_gains(arrays[0], arrays[1], weights, *data.geometry, 0, options)
    raw = solve_gains(0.01 * arrays[0], arrays[1], weights, *data.geometry, 0, options)
    np.testing.assert_allclose(raw.snr, calibrated.snr, rtol=1e-9)
    np.testing.assert_allclose(raw.gains, calibrated.gains, atol=1e-8)
    # 12 data, 8 baselines, a signal of 1.05 on average: (0.5 * 96 * 1.05^2 / 0.04)^(1/2)
    assert np.median(calibrated.snr) == pytest.approx(36, rel=0.15)
