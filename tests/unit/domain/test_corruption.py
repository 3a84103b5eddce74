"""What corrupts simulated data: the equation against a loop, the random numbers by their statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import j0

from radps.domain.corruption import (
    Purpose,
    corrupt_visibilities,
    draw_antenna_delays,
    draw_bandpasses,
    draw_gains,
    draw_interference,
    draw_noise,
    draw_screen_phases,
    radiometer_noise,
    random_stream,
)
from radps.errors import SelectionError

N_ANTENNAS, N_TIMES, N_CHANNELS = 4, 3, 6
ANTENNA1, ANTENNA2 = np.triu_indices(N_ANTENNAS)
TIME_S = np.array([15.0, 45.0, 75.0])


def draw_everything(seed: int = 1) -> dict[str, Any]:
    """Draw all arguments of the corruption."""
    rng = np.random.default_rng(seed)
    shape = (N_TIMES, len(ANTENNA1), N_CHANNELS)
    response = np.ones((N_TIMES, N_ANTENNAS))
    response[:, 2] = 0.0
    response[0, 1] = 0.0
    interference = draw_interference(
        seed, N_ANTENNAS, N_CHANNELS, 90.0, carrier_channels=(1, 4), bursts_per_hour=200.0, burst_channels=2
    )
    return {
        "model_jy": rng.standard_normal(shape) + 1j * rng.standard_normal(shape),
        "gains": draw_gains(seed, N_ANTENNAS, 2, TIME_S),
        "bandpasses": draw_bandpasses(seed, N_ANTENNAS, 2, N_CHANNELS, 1e5),
        "noise": draw_noise(seed, range(N_TIMES), range(N_CHANNELS), len(ANTENNA1), 2),
        "noise_jy": np.array([0.5, 1.0, 1.0, 2.0]),
        "system_jy": np.array([100.0, 200.0, 200.0, 400.0]),
        "response": response,
        "interference": interference,
        "time_s": TIME_S,
    }


def corrupt(arguments: dict[str, Any], **changes: Any) -> Any:
    chosen = {**arguments, **changes}
    return corrupt_visibilities(chosen.pop("model_jy"), ANTENNA1, ANTENNA2, **chosen)


def test_data_follow_the_equation() -> None:
    arguments = draw_everything()
    found = corrupt(arguments)
    signals = arguments["interference"]
    assert len(signals.flux_jy) > 3  # the two carriers and some bursts
    for t, b, c, p in np.ndindex(found.shape):
        i, j = ANTENNA1[b], ANTENNA2[b]
        sky = arguments["model_jy"][t, b, c]
        for number, flux in enumerate(signals.flux_jy):
            is_on = signals.start_s[number] <= TIME_S[t] <= signals.stop_s[number]
            if is_on and signals.first_channel[number] <= c < signals.stop_channel[number]:
                turns = signals.phase_turns[number] + signals.rate_turns_per_s[number] * TIME_S[t]
                sky = sky + flux * np.exp(2j * np.pi * (turns[i] - turns[j]))
        seen = arguments["response"][t, i] * arguments["response"][t, j]
        noise = arguments["noise"][t, c, b, p].astype(np.float64)
        sigma = math.sqrt(arguments["noise_jy"][i] * arguments["noise_jy"][j])
        if i == j:
            value = seen * sky.real + arguments["system_jy"][i] + math.sqrt(2) * sigma * noise[0]
        else:
            value = seen * sky + sigma * complex(noise[0], noise[1])
        gain = arguments["gains"][t, :, p] * arguments["bandpasses"][:, c, p]
        expected = gain[i] * np.conj(gain[j]) * value
        assert found[t, b, c, p] == pytest.approx(expected, rel=3e-7, abs=1e-5)  # complex64


@pytest.mark.parametrize("times", [slice(0, 1), slice(1, 3)])
@pytest.mark.parametrize("channels", [slice(0, 2), slice(3, 6), slice(4, 5)])
def test_a_block_has_the_bits_of_the_whole(times: slice, channels: slice) -> None:
    arguments = draw_everything()
    whole = corrupt(arguments)
    part = corrupt(
        arguments,
        model_jy=arguments["model_jy"][times, :, channels],
        gains=arguments["gains"][times],
        bandpasses=arguments["bandpasses"][:, channels],
        noise=draw_noise(1, range(N_TIMES)[times], range(N_CHANNELS)[channels], len(ANTENNA1), 2),
        response=arguments["response"][times],
        time_s=TIME_S[times],
        first_channel=channels.start,
    )
    np.testing.assert_array_equal(part, whole[times, :, channels])


def test_noise_is_normal_and_uncorrelated() -> None:
    noise = draw_noise(3, range(20), range(20), 50, 2).astype(np.float64)
    n = noise.size
    assert noise.mean() == pytest.approx(0.0, abs=4 / math.sqrt(n))
    assert noise.var() == pytest.approx(1.0, abs=4 * math.sqrt(2 / n))
    assert np.mean(np.abs(noise) < 1) == pytest.approx(math.erf(math.sqrt(0.5)), abs=4 * 0.47 / math.sqrt(n))
    parts = noise.reshape(20, 20, -1)
    for first, second in ((parts[1:], parts[:-1]), (parts[:, 1:], parts[:, :-1]), (noise[..., 0], noise[..., 1])):
        assert np.mean(first * second) == pytest.approx(0.0, abs=4 / math.sqrt(first.size))


def test_streams_differ_by_seed_purpose_and_number() -> None:
    keys = [(1, Purpose.GAINS, 0), (2, Purpose.GAINS, 0), (1, Purpose.BANDPASS, 0), (1, Purpose.GAINS, 1)]
    values = [random_stream(seed, purpose, number).random() for seed, purpose, number in keys]
    assert len(set(values)) == 4
    assert random_stream(*keys[0]).random() == values[0]
    assert not np.array_equal(draw_noise(1, [0], [0], 3, 2), draw_noise(2, [0], [0], 3, 2))


def test_gains_have_the_scatter_that_was_asked_for() -> None:
    time_s = 60.0 * np.arange(2000)
    gains = draw_gains(
        1, 200, 2, time_s, mean_amplitude=0.3, amplitude_scatter=0.1, amplitude_drift=0.03, phase_drift_rad=0.5
    )
    amplitude = np.log(np.abs(gains))
    level = amplitude.mean(axis=0)
    # 400 antennas and hands: 5 % of a scatter at 1.4 sigma; 3 sigma
    assert level.mean() == pytest.approx(math.log(0.3), abs=3 * 0.1 / 20)
    assert level.std() == pytest.approx(0.1, rel=0.11)
    assert amplitude.std(axis=0).mean() == pytest.approx(0.03, rel=0.1)
    phase = np.unwrap(np.angle(gains), axis=0)
    assert phase.std(axis=0).mean() == pytest.approx(0.5, rel=0.1)
    assert (
        np.abs(np.diff(phase, axis=0)).max() < 0.5 * 2 * np.pi * 60 / 3600 * 3
    )  # smooth: no faster than the timescale


def test_gains_of_an_antenna_do_not_depend_on_the_others_nor_on_other_times() -> None:
    time_s = 30.0 * np.arange(10)
    np.testing.assert_array_equal(draw_gains(1, 3, 2, time_s), draw_gains(1, 9, 2, time_s)[:, :3])
    np.testing.assert_array_equal(draw_bandpasses(1, 3, 2, 8, 1e5), draw_bandpasses(1, 9, 2, 8, 1e5)[:3])
    np.testing.assert_allclose(draw_gains(1, 3, 2, time_s[4:5]), draw_gains(1, 3, 2, time_s)[4:5], rtol=1e-13)


def test_bandpasses_fall_off_at_the_edges_and_have_their_delay() -> None:
    bandpasses = draw_bandpasses(
        1,
        300,
        1,
        100,
        1e5,
        amplitude_ripple=0.0,
        phase_ripple_rad=0.0,
        delay_s=20e-9,
        edge_fraction=0.1,
        edge_level=0.2,
    )
    amplitude = np.abs(bandpasses[:, :, 0])
    np.testing.assert_allclose(amplitude[:, 15:85], 1.0)
    assert (amplitude[:, [0, -1]] < 0.25).all()
    turns = np.unwrap(np.angle(bandpasses[:, :, 0]), axis=1)
    delay = (turns[:, -1] - turns[:, 0]) / (2 * np.pi * 99e5)
    # 300 delays: 4 % of a scatter; 3 sigma
    assert delay.std() == pytest.approx(20e-9, rel=0.12)
    np.testing.assert_allclose(turns.mean(axis=1), 0.0, atol=1e-9)  # it turns about the middle


def test_a_flat_bandpass_is_one() -> None:
    flat = draw_bandpasses(1, 2, 2, 8, 1e5, amplitude_ripple=0.0, phase_ripple_rad=0.0, delay_s=0.0, edge_fraction=0.0)
    np.testing.assert_array_equal(flat, 1.0)


def test_carriers_are_always_on_and_bursts_come_and_go() -> None:
    signals = draw_interference(
        5, 8, 64, 36000.0, carrier_channels=(3, 60), bursts_per_hour=50.0, burst_duration_s=20.0, burst_channels=4
    )
    assert signals.first_channel[:2].tolist() == [3, 60]
    assert signals.stop_channel[:2].tolist() == [4, 61]
    assert np.isneginf(signals.start_s[:2]).all()
    assert np.isposinf(signals.stop_s[:2]).all()
    bursts = slice(2, None)
    n_bursts = len(signals.flux_jy) - 2
    assert n_bursts == pytest.approx(500, abs=4 * math.sqrt(500))
    duration = signals.stop_s[bursts] - signals.start_s[bursts]
    assert duration.mean() == pytest.approx(20.0, rel=4 / math.sqrt(500))
    np.testing.assert_array_equal(signals.stop_channel[bursts] - signals.first_channel[bursts], 4)
    assert signals.first_channel[bursts].max() <= 60


def test_the_radiometer_equation() -> None:
    # VLA at 1.4 GHz: 420 Jy, 24.4 kHz, 30 s, 93 %
    assert radiometer_noise(420.0, 24.4e3, 30.0, 0.93) == pytest.approx(420 / 0.93 / math.sqrt(2 * 24.4e3 * 30))


def test_the_screen_has_the_scatter_that_was_asked_for() -> None:
    # Two antennas 1 km apart, in many seeds: one draw of the screen has a few long waves.
    place = np.array([[0.0, 0.0], [600.0, 800.0], [60.0, 80.0]])
    long_, short = [], []
    for seed in range(300):
        phases = draw_screen_phases(seed, place, np.array([0.0, 500.0]), phase_rms_rad=0.5)
        long_.append(phases[:, 1] - phases[:, 0])
        short.append(phases[:, 2] - phases[:, 0])
    # 600 numbers: 3 % of a scatter, 4 sigma
    assert np.std(long_) == pytest.approx(0.5, rel=0.12)
    # The structure function, integrated over the waves from 10 m to 6 km; without an outer scale it is distance^(5/3).
    wavenumber = 2 * np.pi / np.geomspace(10.0, 6000.0, 20001)
    variance = [np.sum(wavenumber ** (-5 / 3) * (1 - j0(wavenumber * length))) for length in (1000.0, 100.0)]
    assert np.std(short) == pytest.approx(0.5 * math.sqrt(variance[1] / variance[0]), rel=0.12)


def test_the_screen_blows_over_the_array() -> None:
    place = np.array([[0.0, 0.0], [300.0, 0.0]])
    phases = draw_screen_phases(1, place, np.array([0.0, 30.0]), phase_rms_rad=0.5, wind_speed_m_s=10.0)
    assert phases[1, 1] == pytest.approx(phases[0, 0])
    assert phases[1, 0] != pytest.approx(phases[0, 0])


def test_delays_of_an_antenna_do_not_depend_on_the_others() -> None:
    delays = draw_antenna_delays(1, 400, 2, 3e-9)
    assert delays.std() == pytest.approx(3e-9, rel=4 / math.sqrt(1600))
    np.testing.assert_array_equal(draw_antenna_delays(1, 5, 2, 3e-9), delays[:5])


def test_impossible_interference_is_refused() -> None:
    with pytest.raises(SelectionError, match=r"interference in channels \[8\]; the band has the channels 0 to 7"):
        draw_interference(1, 2, 8, 1.0, carrier_channels=(2, 8))
    with pytest.raises(SelectionError, match="bursts of 9 channels; the band has 8"):
        draw_interference(1, 2, 8, 1.0, bursts_per_hour=1.0, burst_channels=9)
