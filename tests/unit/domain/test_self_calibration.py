"""The decisions of self-calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radps.domain.gains import solve_time_gains
from radps.domain.self_calibration import TrialQuality, expected_solution_snr, judge_trial, normalise_amplitudes
from radps.domain.stefcal import GainMode, GainOptions

BEFORE = TrialQuality(peak_jy=1.0, noise_jy=0.01, beam_area=1e-8)


def judge(after: TrialQuality) -> str | None:
    return judge_trial(BEFORE, after, min_improvement=0.05, max_beam_growth=0.05)


def test_a_rise_of_the_signal_to_noise_ratio_is_kept() -> None:
    assert judge(BEFORE._replace(noise_jy=0.009)) is None
    assert judge(BEFORE._replace(peak_jy=1.06)) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"noise_jy": 0.0099}, "the signal-to-noise ratio went from 100 to 101; it has to rise by 5 %"),
        ({"noise_jy": 0.02}, "went from 100 to 50"),
        ({"noise_jy": 0.0}, "went from 100 to 0"),
        ({"noise_jy": 0.005, "beam_area": 1.1e-8}, "the area of the beam grew by 10 %"),
        ({"noise_jy": 0.005, "beam_area": math.nan}, "the area of the beam grew by nan %"),
    ],
)
def test_what_is_no_improvement_is_dropped(change: dict[str, float], text: str) -> None:
    reason = judge(BEFORE._replace(**change))
    assert reason is not None
    assert text in reason


def test_the_expected_ratio_is_that_of_solutions() -> None:
    rng = np.random.default_rng(2)
    n_antennas, n_times, sigma, flux = 20, 30, 1.0, 2.0
    first, second = np.triu_indices(n_antennas, 1)
    shape = (n_times, len(first), 1, 2)
    data = flux + sigma * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    # the noise of an image of all data, of both hands
    image_snr = flux / (sigma / math.sqrt(n_times * len(first) * 2))
    found = solve_time_gains(
        data,
        np.full(shape, flux),
        np.zeros(shape, np.bool_),
        np.ones(shape),
        first,
        second,
        n_antennas,
        0,
        time_s=np.arange(n_times, dtype=np.float64),
        frequency_hz=np.array([1e9]),
        interval=np.arange(n_times) // 3,
        options=GainOptions(mode=GainMode.PHASE),
    )
    expected = expected_solution_snr(image_snr, n_antennas, 3.0, n_times, n_shares=2)
    # the ratio of a solution counts both parts of its error, that of an image one; 17 antennas stand for 19 baselines
    assert np.median(found.snr) == pytest.approx(expected, rel=0.1)


def test_short_intervals_and_many_shares_have_less() -> None:
    one = expected_solution_snr(100.0, 12, 600.0, 600.0)
    assert one == pytest.approx(100 / 3)
    assert expected_solution_snr(100.0, 12, 6.0, 600.0) == pytest.approx(one / 10)
    assert expected_solution_snr(100.0, 12, 9000.0, 600.0) == one
    assert expected_solution_snr(100.0, 12, 600.0, 600.0, n_shares=4) == pytest.approx(one / 2)
    assert expected_solution_snr(100.0, 2, 600.0, 600.0) == 100.0


def test_amplitudes_are_normalised_by_hand() -> None:
    rng = np.random.default_rng(3)
    gains = rng.uniform(0.5, 2.0, (4, 6, 1, 2)) * np.exp(1j * rng.uniform(-1, 1, (4, 6, 1, 2)))
    gains[..., 1] *= 3.0
    flags = rng.random(gains.shape) < 0.2
    found = normalise_amplitudes(gains, flags)
    for hand in range(2):
        used = ~flags[..., hand]
        assert np.mean(np.abs(found[..., hand][used]) ** 2) == pytest.approx(1.0)
        np.testing.assert_allclose(np.angle(found[..., hand]), np.angle(gains[..., hand]))
    np.testing.assert_array_equal(found[flags], gains[flags])
    np.testing.assert_array_equal(normalise_amplitudes(gains, np.ones_like(flags)), gains)
