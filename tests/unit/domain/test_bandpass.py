"""Bandpasses are drawn, noise added, and what is smoothed, fitted or averaged compared with the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.bandpass import (
    center_phases,
    choose_averaging,
    expand_bandpass,
    fit_bandpass,
    measure_misfit,
    smooth_bandpass,
)
from radps.domain.gains import GainTable, solve_bandpass
from radps.domain.solver import StopReason
from radps.domain.stefcal import GainOptions

N_CHANNELS = 64
FREQUENCY_HZ = 1.4e9 + 1e6 * np.arange(N_CHANNELS)
X = np.linspace(-1, 1, N_CHANNELS)
N_ANTENNAS = 6


def true_gains() -> NDArray[np.complex128]:
    """Return cubics of amplitude and phase, (antenna, channel, hand); some phases turn round more than once."""
    rng = np.random.default_rng(4)
    terms = rng.uniform(-0.15, 0.15, (2, N_ANTENNAS, 2, 4))
    powers = X[:, np.newaxis] ** np.arange(4)
    amplitude = 1 + np.einsum("ahk,ck->ach", terms[0], powers)
    turns = rng.uniform(-9, 9, (N_ANTENNAS, 1, 2)) * X[:, np.newaxis]
    return amplitude * np.exp(1j * (turns + 3 * np.einsum("ahk,ck->ach", terms[1], powers)))


def make_table(noise: float = 0.0, seed: int = 1) -> GainTable:
    """Return a bandpass; ``noise`` is the error of a real part."""
    rng = np.random.default_rng(seed)
    gains = true_gains()[np.newaxis]
    noisy = gains + noise * (rng.standard_normal(gains.shape) + 1j * rng.standard_normal(gains.shape))
    cells = (1, N_CHANNELS, 2)
    snr = np.abs(noisy) / (np.sqrt(2) * noise) if noise else np.full(gains.shape, 1e8)
    return GainTable(
        np.array([1e9]),
        FREQUENCY_HZ,
        noisy,
        np.zeros(gains.shape, np.bool_),
        snr,
        np.full(cells, StopReason.THRESHOLD, np.int8),
        np.full(cells, 9, np.int32),
    )


def test_polynomials_of_the_right_degree_are_the_truth() -> None:
    found = fit_bandpass(make_table(), 3, 3)
    np.testing.assert_allclose(found.gains[0], true_gains(), atol=1e-11)
    assert not found.flags.any()
    # a lower degree is another curve
    assert np.abs(fit_bandpass(make_table(), 1, 1).gains[0] - true_gains()).max() > 0.03


def test_polynomials_have_the_errors_that_they_claim() -> None:
    total, count = 0.0, 0
    for seed in range(10):
        found = fit_bandpass(make_table(0.05, seed), 3, 3)
        error = np.abs(found.gains[0] - true_gains()) * found.snr[0] / np.abs(found.gains[0])
        total += float(np.sum(error**2))
        count += error.size
    # chi-squared over its mean; 8 free parameters a curve: 960 in all, known to 5 %, and 3 sigma of it
    assert total / count == pytest.approx(1.0, abs=0.15)
    # of 64 channels 4 parameters are left: a noise of 1/4
    plain = np.std(make_table(0.05).gains[0] - true_gains())
    assert np.std(found.gains[0] - true_gains()) == pytest.approx(plain / 4, rel=0.15)


def test_smoothing_keeps_lines_and_lowers_the_noise() -> None:
    table = make_table()
    line = (1 + 0.2 * X) * np.exp(0.3j) + 0.1j * X
    table = table._replace(gains=np.broadcast_to(line[:, np.newaxis], table.gains.shape).copy())
    found = smooth_bandpass(table, 7)
    np.testing.assert_allclose(found.gains, table.gains, atol=1e-12)
    rng = np.random.default_rng(3)
    noise = 0.05 * (rng.standard_normal(table.gains.shape) + 1j * rng.standard_normal(table.gains.shape))
    noisy = table._replace(gains=table.gains + noise, snr=np.abs(table.gains) / (0.05 * np.sqrt(2)))
    smooth = smooth_bandpass(noisy, 7)
    scaled = np.abs(smooth.gains - table.gains) * smooth.snr / np.abs(smooth.gains)
    # neighbours share their noise: about 2 x 12 x 64 / 7 numbers, known to 7 %, and 3 sigma of it
    assert np.mean(scaled**2) == pytest.approx(1.0, abs=0.21)
    middle = smooth.gains[:, :, 8:-8] - table.gains[:, :, 8:-8]
    assert np.std(middle) == pytest.approx(0.05 * np.sqrt(2 / 7), rel=0.2)


@pytest.mark.parametrize("smoother", [lambda t: smooth_bandpass(t, 5), lambda t: fit_bandpass(t, 3, 3)])
def test_gaps_are_filled_and_ends_stay_flagged(smoother: Callable[[GainTable], GainTable]) -> None:
    table = make_table()
    table.flags[:, :, [0, 1, 30, 63]] = True
    table.gains[table.flags] = 1.0
    table.flags[:, 2] = True
    table.stop_reason[:, 30] = StopReason.NO_DATA
    found = smoother(table)
    assert found.flags[0, 0, :, 0].nonzero()[0].tolist() == [0, 1, 63]
    assert found.flags[:, 2].all()
    assert found.stop_reason[0, 30, 0] == StopReason.THRESHOLD
    # a line over 5 channels of 4 MHz, of a curve that turns by up to 9 rad over 32 of them
    assert np.abs(found.gains[0, 0, 30] - true_gains()[0, 30]).max() < 0.2


def test_too_few_channels_have_no_polynomial() -> None:
    table = make_table()
    table.flags[:, 1, 3:] = True
    found = fit_bandpass(table, 3, 2)
    assert found.flags[:, 1].all()
    assert not found.flags[:, 0].any()


def solve_groups(draw: Callable[..., Any], n_average: int, noise: float = 0.0) -> tuple[GainTable, Any]:
    data = draw(2, n_channels=10, noise=noise)
    table = solve_bandpass(
        data.visibilities,
        data.model,
        data.flags,
        data.weights,
        *data.geometry,
        2,
        time_s=np.arange(3.0),
        frequency_hz=1e9 + 1e6 * np.arange(10),
        n_average=n_average,
        options=GainOptions(),
    )
    return table, data


def test_averaged_channels_have_the_true_gains_and_less_noise(draw: Callable[..., Any]) -> None:
    table, data = solve_groups(draw, 4)
    assert table.frequency_hz.tolist() == [1.0015e9, 1.0055e9, 1.0085e9]
    truth = data.gains * np.exp(-1j * np.angle(data.gains[2]))
    # gain steps end when they change the gains by less than 1e-9
    np.testing.assert_allclose(table.gains[0], np.broadcast_to(truth[:, np.newaxis], (9, 3, 2)), atol=1e-8)
    fine, coarse = (np.median(solve_groups(draw, n, noise=0.2)[0].snr) for n in (1, 5))
    assert coarse / fine == pytest.approx(np.sqrt(5), rel=0.25)


def test_the_averaging_reaches_the_target() -> None:
    assert choose_averaging(np.array([5.0, 5.0, 0.0]), 20.0) == 16
    assert choose_averaging(np.array([50.0]), 20.0) == 1
    assert choose_averaging(np.zeros(3), 20.0) == 1


def test_groups_are_expanded_to_channels() -> None:
    table = make_table()
    table.flags[0, 3, 7] = True
    found = expand_bandpass(table, FREQUENCY_HZ + 0.25e6)
    step = 9 / 32 * 0.25 + 0.05
    assert np.abs(found.gains[0, 0] - table.gains[0, 0]).max() < step
    assert found.flags[0, 3, :, 0].nonzero()[0].tolist() == [7]
    np.testing.assert_array_equal(found.snr, table.snr)
    fitted = fit_bandpass(make_table(), 3, 3, FREQUENCY_HZ[:32] + 0.5e6)
    assert fitted.gains.shape == (1, N_ANTENNAS, 32, 2)


def test_centred_phases_have_a_mean_of_zero_and_keep_their_differences() -> None:
    rng = np.random.default_rng(5)
    phases = rng.normal(scale=0.4, size=(6, 3, 1, 2)) + rng.uniform(-np.pi, np.pi, (1, 3, 1, 2))
    flags = np.zeros(phases.shape, np.bool_)
    flags[2, 1] = True
    flags[:, 2, :, 1] = True
    gains = np.where(flags, 1.0, np.exp(1j * phases))
    table = make_table()._replace(gains=gains, flags=flags)
    found = center_phases(table)
    good = ~flags
    mean = np.where(good, found.gains, 0).sum(axis=0)
    np.testing.assert_allclose(mean.imag, 0.0, atol=1e-12)
    assert (mean.real[good.any(axis=0)] > 0).all()
    turned = (found.gains * table.gains.conj())[:, 0, 0, 0]
    np.testing.assert_allclose(turned, turned[0], rtol=1e-12)
    np.testing.assert_array_equal(found.gains[flags], table.gains[flags])
    assert not np.allclose(found.gains[good], table.gains[good])


def test_the_misfit_is_what_a_bandpass_misses_beyond_noise() -> None:
    solved = make_table(noise=0.03)
    # Cubics follow the truth, and the noise is none of their faults.
    assert measure_misfit(solved, fit_bandpass(solved, 3, 3)) < 0.01
    # A constant amplitude misses by what it does: known of the truth.
    constant = fit_bandpass(solved, 0, 3)
    missed = float(np.sqrt(np.mean(np.abs(constant.gains[0] / true_gains() - 1) ** 2)))
    assert missed > 0.04
    assert measure_misfit(solved, constant) == pytest.approx(missed, rel=0.1)
    nothing = solved._replace(flags=np.ones_like(solved.flags))
    assert measure_misfit(solved, nothing) == 0.0
    assert measure_misfit(solved, solved) == 0.0
