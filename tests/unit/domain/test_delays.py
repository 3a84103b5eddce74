"""Delays are drawn, data corrupted with them, the delays solved for, and compared with the truth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from radps.domain.delays import DelayOptions, DelayTable, interpolate_delays, reference_delays, solve_delays
from radps.domain.robust_gains import GainData, sum_robustly
from radps.domain.solver import StopReason
from radps.domain.stefcal import GainOptions, Robustness
from radps.errors import SelectionError

FREQUENCY_HZ = 3.0e9 + 2e6 * np.arange(64)
OFFSET_HZ = FREQUENCY_HZ - FREQUENCY_HZ.mean()
N_ANTENNAS = 8
ANTENNA1, ANTENNA2 = np.triu_indices(N_ANTENNAS, k=1)
GEOMETRY = (ANTENNA1, ANTENNA2, N_ANTENNAS)


class Drawn(NamedTuple):
    """Data with known delays."""

    delays_s: NDArray[np.float64]
    """(antenna, hand)"""
    clean: NDArray[np.complex128]
    """(time, baseline, channel, hand)"""
    model: NDArray[np.complex128]


def draw(seed: int = 1, largest_s: float = 100e-9) -> Drawn:
    """Draw delays and gains of two hands, and a sky that differs from baseline to baseline."""
    rng = np.random.default_rng(seed)
    delays = rng.uniform(-largest_s, largest_s, (N_ANTENNAS, 2))
    gains = np.exp(0.2 * rng.standard_normal((N_ANTENNAS, 2)) + 2j * np.pi * rng.random((N_ANTENNAS, 2)))
    response = gains[:, np.newaxis] * np.exp(2j * np.pi * delays[:, np.newaxis] * OFFSET_HZ[:, np.newaxis])
    model = (2 + rng.random((2, len(ANTENNA1), 1, 1))) * np.exp(1j * rng.standard_normal((2, len(ANTENNA1), 1, 1)))
    return Drawn(delays, response[ANTENNA1] * response[ANTENNA2].conj() * model, model)


def solve(
    data: Drawn,
    visibilities: NDArray[np.complex128] | None = None,
    *,
    flags: NDArray[np.bool_] | None = None,
    weight: float = 1.0,
    frequency_hz: NDArray[np.float64] = FREQUENCY_HZ,
    reference: Any = 0,
    interval: Any = None,
    robust: Robustness = Robustness.NONE,
    **options: Any,
) -> DelayTable:
    """Solve one interval."""
    visibilities = data.clean if visibilities is None else visibilities
    given = GainData(
        visibilities,
        data.model,
        np.zeros(visibilities.shape, np.bool_) if flags is None else flags,
        np.full(visibilities.shape, weight),
        time_s=100.0 + 10.0 * np.arange(len(visibilities)),
        interval=np.zeros(len(visibilities), np.int64) if interval is None else np.asarray(interval),
        channel=np.arange(visibilities.shape[2]),
    )
    sums = sum_robustly(lambda: [given], *GEOMETRY, GainOptions(robust=robust)).sums
    return solve_delays(sums, *GEOMETRY, reference, frequency_hz, DelayOptions(**options))


def add_noise(data: Drawn, sigma: float, seed: int = 3) -> NDArray[np.complex128]:
    rng = np.random.default_rng(seed)
    return data.clean + sigma * (rng.standard_normal(data.clean.shape) + 1j * rng.standard_normal(data.clean.shape))


@pytest.mark.parametrize("seed", range(4))
def test_delays_are_the_true_ones(seed: int) -> None:
    data = draw(seed)
    found = solve(data)
    # 1e-9 of a turn over the band of 126 MHz is 8e-18 s
    np.testing.assert_allclose(found.delays_s[0, :, 0], data.delays_s - data.delays_s[0], atol=1e-16)
    assert not found.flags.any()
    assert set(found.stop_reason.ravel()) == {StopReason.THRESHOLD}
    assert found.time_s.tolist() == [105.0]
    assert np.abs(data.delays_s - data.delays_s[0]).max() > 50e-9


def test_channels_in_descending_order_have_the_same_delays() -> None:
    data = draw(2)
    found = solve(data._replace(clean=data.clean[:, :, ::-1]), frequency_hz=FREQUENCY_HZ[::-1])
    np.testing.assert_allclose(found.delays_s[0, :, 0], data.delays_s - data.delays_s[0], atol=1e-16)


def test_a_delay_beyond_half_the_inverse_channel_width_is_ambiguous() -> None:
    data = draw(1, largest_s=0.0)
    turn = np.exp(-2j * np.pi * 300e-9 * OFFSET_HZ)[:, np.newaxis]
    second = (ANTENNA2 == 5)[:, np.newaxis, np.newaxis]
    first = (ANTENNA1 == 5)[:, np.newaxis, np.newaxis]
    turned = np.where(second, data.clean * turn, np.where(first, data.clean * turn.conj(), data.clean))
    found = solve(data, turned)
    # 1 / (2 MHz) = 500 ns too little
    assert found.delays_s[0, 5, 0] == pytest.approx([-200e-9] * 2, abs=1e-15)


def test_errors_are_those_of_the_theory() -> None:
    data = draw(4)
    sigma = 3.0
    power = (np.abs(data.clean) ** 2).sum(axis=0) / sigma**2
    n_others = N_ANTENNAS - 1
    total, degrees, reported = 0.0, 0, []
    for trial in range(30):
        found = solve(data, add_noise(data, sigma, trial), weight=1 / sigma**2)
        for hand in range(2):
            matrix = np.zeros((2 * N_ANTENNAS, 2 * N_ANTENNAS))
            for b, (i, j) in enumerate(zip(ANTENNA1, ANTENNA2, strict=True)):
                for c, offset in enumerate(OFFSET_HZ[::4]):
                    # four neighbours at a time: the same to a part in a thousand
                    row = np.zeros(2 * N_ANTENNAS)
                    place = offset + 3e6
                    row[[i, j]] = 1, -1
                    row[[N_ANTENNAS + i, N_ANTENNAS + j]] = 2 * np.pi * place * 1e-9, -2 * np.pi * place * 1e-9
                    matrix += power[b, 4 * c : 4 * c + 4, hand].sum() * np.outer(row, row)
            keep = [*range(1, N_ANTENNAS), *range(N_ANTENNAS + 1, 2 * N_ANTENNAS)]
            covariance = np.linalg.inv(matrix[np.ix_(keep, keep)])[n_others:, n_others:]
            error = 1e9 * (found.delays_s[0, 1:, 0, hand] - data.delays_s[1:, hand] + data.delays_s[0, hand])
            total += error @ np.linalg.inv(covariance) @ error
            degrees += n_others
            reported.append(1e9 * found.errors_s[0, 1:, 0, hand] / np.sqrt(np.diag(covariance)))
    # 4 sigma of chi-squared
    assert 3e-5 < chi2.sf(total, degrees) < 1 - 3e-5
    # the scatter of 7,000 residuals is known to 1 %, and chi-squared has its own
    assert np.mean(reported) == pytest.approx(1.0, abs=0.02)


def test_antennas_are_found_whose_baselines_are_lost_in_noise() -> None:
    data = draw(5)
    noisy = add_noise(data, 8.0)
    # a datum has a third of its noise, a baseline of 64 channels and two times 3.5, an antenna 6.6
    found = solve(data, noisy, min_snr=3.0)
    assert not found.flags.any()
    assert np.abs(found.delays_s[0, :, 0] - data.delays_s + data.delays_s[0]).max() < 5 * found.errors_s.max()


def test_delays_of_spoiled_data_are_within_their_noise_if_they_are_robust() -> None:
    n_times = 12  # 84 visibilities of an antenna in a channel
    data = draw(5)
    data = data._replace(
        clean=np.tile(data.clean, (n_times // 2, 1, 1, 1)), model=np.tile(data.model, (n_times // 2, 1, 1, 1))
    )
    noisy = add_noise(data, 0.5)
    rng = np.random.default_rng(5)
    is_spoiled = rng.random(noisy.shape) < 0.03
    spoiled = np.where(is_spoiled, 10 * np.exp(2j * np.pi * rng.random(noisy.shape)), 1) * noisy
    good = solve(data, noisy)

    def rms_difference(visibilities: NDArray[np.complex128], robust: Robustness) -> float:
        """Return that to the delays of good data, in units of their errors."""
        found = solve(data, visibilities, robust=robust)
        return float(np.sqrt(np.mean(((found.delays_s - good.delays_s)[0, 1:] / good.errors_s[0, 1:]) ** 2)))

    truth = (data.delays_s - data.delays_s[0])[1:, np.newaxis]
    # 14 errors that share their reference antenna
    assert np.sqrt(np.mean(((good.delays_s[0, 1:] - truth) / good.errors_s[0, 1:]) ** 2)) < 1.6
    # The variance of the difference is what is lost of the efficiency: 5 % of `huber`, next to nothing of `reject`,
    # and 3 % of the data. 14 numbers know their rms to 25 % and more.
    assert rms_difference(noisy, Robustness.HUBER) < 1.5 * np.sqrt(1 / 0.95 - 1)
    assert rms_difference(noisy, Robustness.REJECT) < 0.1
    assert rms_difference(spoiled, Robustness.REJECT) < 1.5 * np.sqrt(1 / 0.97 - 1)
    assert rms_difference(spoiled, Robustness.HUBER) < 0.6
    assert rms_difference(spoiled, Robustness.NONE) > 4


@pytest.mark.parametrize("seed", range(2))
def test_a_reference_that_is_lost_in_noise_leaves_the_other_delays_as_good_as_without_it(seed: int) -> None:
    data = draw(seed)
    is_dead = ((ANTENNA1 == 3) | (ANTENNA2 == 3))[:, np.newaxis, np.newaxis]
    noisy = add_noise(data._replace(clean=np.where(is_dead, 0, data.clean)), 1.0, seed)
    found = solve(data, noisy, reference=[3, 0])
    without = solve(data, noisy, reference=0, flags=np.broadcast_to(is_dead, noisy.shape))
    others = np.arange(N_ANTENNAS) != 3
    assert found.flags[:, 3].all()
    assert not found.flags[:, others].any()
    assert ((found.snr[:, 3] > 0) & (found.snr[:, 3] < 5)).all()
    np.testing.assert_allclose(found.delays_s, without.delays_s, atol=1e-18)
    np.testing.assert_allclose(found.errors_s, without.errors_s)


def test_noise_alone_has_no_delays() -> None:
    data = draw(6)
    found = solve(data._replace(clean=np.zeros_like(data.clean)), add_noise(data, 1.0) - data.clean)
    assert found.flags.mean() > 0.8
    np.testing.assert_array_equal(found.delays_s[found.flags], 0.0)


def test_an_antenna_that_recorded_zeros_is_flagged_and_leaves_the_others_right() -> None:
    data = draw(7)
    dead = ((ANTENNA1 == 3) | (ANTENNA2 == 3))[:, np.newaxis, np.newaxis]
    found = solve(data, np.where(dead, 0, data.clean))
    assert found.flags[0, :, 0].all(axis=1).tolist() == [number == 3 for number in range(N_ANTENNAS)]
    alive = np.arange(N_ANTENNAS) != 3
    expected = data.delays_s - data.delays_s[0]
    np.testing.assert_allclose(found.delays_s[0, alive, 0], expected[alive], atol=1e-16)


def test_a_reference_without_data_hands_over() -> None:
    data = draw(8)
    flags = np.zeros(data.clean.shape, np.bool_)
    flags[1, (ANTENNA1 == 0) | (ANTENNA2 == 0)] = True
    found = solve(data, flags=flags, interval=[0, 1], reference=[0, 4])
    assert found.flags[1, 0].all()
    # antenna 4 keeps the delay that it had last
    np.testing.assert_allclose(found.delays_s[1, 1:], found.delays_s[0, 1:], atol=1e-16)
    again = reference_delays(found, [2])
    np.testing.assert_allclose(again.delays_s[:, 2], 0.0, atol=1e-20)


def test_an_antenna_without_a_baseline_to_the_reference_is_reached_by_others() -> None:
    data = draw(9)
    flags = np.zeros(data.clean.shape, np.bool_)
    flags[:, (ANTENNA1 == 0) & (ANTENNA2 == 6)] = True
    found = solve(data, flags=flags)
    np.testing.assert_allclose(found.delays_s[0, :, 0], data.delays_s - data.delays_s[0], atol=1e-16)


def test_intervals_and_hands_without_data_are_flagged() -> None:
    data = draw(1)
    flags = np.zeros(data.clean.shape, np.bool_)
    flags[0, :, :, 1] = True
    flags[1, :, 1:] = True  # one channel has no slope
    found = solve(data, flags=flags, interval=[0, 1])
    assert found.flags[0, :, 0, 1].all()
    assert not found.flags[0, :, 0, 0].any()
    assert found.flags[1].all()
    assert found.stop_reason[:, 0].tolist() == [[StopReason.THRESHOLD, StopReason.NO_DATA], [StopReason.NO_DATA] * 2]


def test_solutions_that_have_not_converged_are_flagged() -> None:
    found = solve(draw(1), max_iterations=1)
    assert found.flags.all()
    assert set(found.stop_reason.ravel()) == {StopReason.MAX_ITERATIONS}


# --- delays as gains ---


def make_table() -> DelayTable:
    """Two times, two antennas of which the second lacks one solution of a hand."""
    delays = np.array([[[[0.0, 0.0]], [[10e-9, 4e-9]]], [[[0.0, 0.0]], [[30e-9, 0.0]]]])
    flags = np.zeros(delays.shape, np.bool_)
    flags[1, 1, 0, 1] = True
    cells = np.zeros((2, 1, 2), np.int8)
    return DelayTable(
        np.array([0.0, 100.0]), np.array([3e9]), delays, 0 * delays, flags, 0 * delays, cells, cells.astype(np.int32)
    )


def test_delays_are_linear_in_time_and_phases_in_frequency() -> None:
    wanted = np.array([-50.0, 25.0, 100.0])
    found = interpolate_delays(make_table(), wanted, FREQUENCY_HZ)
    for time, delay in enumerate([10e-9, 15e-9, 30e-9]):
        expected = np.exp(2j * np.pi * delay * (FREQUENCY_HZ - 3e9))
        np.testing.assert_allclose(found.gains[time, 1, :, 0], expected, atol=1e-12)
    np.testing.assert_allclose(found.gains[2, 1, :, 1], np.exp(2j * np.pi * 4e-9 * (FREQUENCY_HZ - 3e9)), atol=1e-12)
    np.testing.assert_array_equal(found.gains[:, 0], 1.0)
    assert not found.flags.any()


def test_the_nearest_delay_in_time() -> None:
    found = interpolate_delays(make_table(), np.array([49.0, 51.0]), FREQUENCY_HZ, time_method="nearest")
    for time, delay in enumerate([10e-9, 30e-9]):
        expected = np.exp(2j * np.pi * delay * (FREQUENCY_HZ - 3e9))
        np.testing.assert_allclose(found.gains[time, 1, :, 0], expected, atol=1e-12)


def test_a_hand_without_any_delay_is_flagged() -> None:
    table = make_table()
    table.flags[:, 1, 0, 1] = True
    found = interpolate_delays(table, np.array([1.0]), FREQUENCY_HZ)
    assert found.flags[:, 1, :, 1].all()
    assert not found.flags[:, 1, :, 0].any()


# --- bad input ---


def test_one_channel_has_no_delay() -> None:
    data = draw(1)
    with pytest.raises(SelectionError, match="delays of 1 channels: needs two or more; select more channels"):
        solve(data._replace(clean=data.clean[:, :, :1]), frequency_hz=FREQUENCY_HZ[:1])


def test_channels_that_are_not_equally_spaced_are_refused() -> None:
    with pytest.raises(SelectionError, match="delays need equally spaced channels, found steps of"):
        solve(draw(1), frequency_hz=np.append(FREQUENCY_HZ[:-1], 4e9))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(SelectionError, match="interpolation along time: found 'cubic'"):
        interpolate_delays(make_table(), np.array([1.0]), FREQUENCY_HZ, time_method="cubic")
