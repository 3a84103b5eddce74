"""What holds for calibration whatever the numbers are."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from radps.domain.continuum import subtract_polynomial
from radps.domain.gains import GainTable, solve_gains
from radps.domain.interpolation import apply_gains, interpolate_gains
from radps.domain.reference_antennas import reference_phases
from radps.domain.stefcal import GainOptions

EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**31)


def draw_gains(rng: np.random.Generator, *shape: int) -> Any:
    return rng.uniform(0.2, 5.0, shape) * np.exp(2j * np.pi * rng.random(shape))


def make_table(gains: Any, time_s: Any, flags: Any) -> GainTable:
    cells = (len(time_s), 1, gains.shape[3])
    return GainTable(
        np.asarray(time_s, np.float64),
        np.array([1.4e9]),
        np.where(flags, 1.0, gains),
        flags,
        np.ones(gains.shape),
        np.ones(cells, np.int8),
        np.ones(cells, np.int32),
    )


@EXAMPLES
@given(SEEDS, st.integers(5, 12), st.floats(-3.1, 3.1))
def test_gains_do_not_depend_on_a_common_phase_and_scale_with_the_data(seed: int, n_antennas: int, turn: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(n_antennas, k=1)
    gains = draw_gains(rng, n_antennas, 1)
    scale = rng.uniform(0.1, 10.0)
    arguments = (np.ones(1), np.ones((1, len(first), 1)), first, second, n_antennas, 0, GainOptions(min_snr=0.0))
    plain = solve_gains((gains[first] * gains[second].conj())[np.newaxis], *arguments)
    turned = gains * scale * np.exp(1j * turn)
    other = solve_gains((turned[first] * turned[second].conj())[np.newaxis], *arguments)
    # steps end within their tolerance of 1e-9 of the largest gain, 50 times the smallest at most
    np.testing.assert_allclose(other.gains, scale * plain.gains, rtol=1e-6)
    assert not plain.flags.any()


@EXAMPLES
@given(SEEDS, st.sampled_from([1, 2, 4]), st.booleans())
def test_applying_gains_takes_back_what_they_did(seed: int, n_correlations: int, calibrate_weights: bool) -> None:
    rng = np.random.default_rng(seed)
    hands = min(n_correlations, 2)
    first, second = np.triu_indices(5, k=1)
    gains = draw_gains(rng, 3, 5, 2, hands)
    shape = (3, len(first), 2, n_correlations)
    truth = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    hand1, hand2 = {1: ([0], [0]), 2: ([0, 1], [0, 1]), 4: ([0, 0, 1, 1], [0, 1, 0, 1])}[n_correlations]
    product = gains[:, first][..., hand1] * gains[:, second][..., hand2].conj()
    found = apply_gains(
        truth * product,
        np.zeros(shape, np.bool_),
        np.ones(shape),
        gains,
        np.zeros(gains.shape, np.bool_),
        first,
        second,
        {1: ["RR"], 2: ["RR", "LL"], 4: ["RR", "RL", "LR", "LL"]}[n_correlations],
        calibrate_weights=calibrate_weights,
    )
    np.testing.assert_allclose(found.visibilities, truth, rtol=1e-12)
    # noise of 1 before is noise of 1 / |product| after
    np.testing.assert_allclose(found.weights, np.abs(product) ** 2 if calibrate_weights else 1.0, rtol=1e-12)


@EXAMPLES
@given(SEEDS, st.integers(1, 6), st.sampled_from(["linear", "nearest"]))
def test_interpolated_amplitudes_stay_between_those_of_the_solutions(seed: int, n_times: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    gains = draw_gains(rng, n_times, 3, 1, 2)
    flags = rng.random(gains.shape) < 0.3
    time_s = np.cumsum(rng.uniform(1.0, 100.0, n_times))
    wanted = rng.uniform(time_s[0] - 50, time_s[-1] + 50, 20)
    found = interpolate_gains(make_table(gains, time_s, flags), wanted, np.array([1.4e9]), time_method=method)
    for antenna, hand in np.ndindex(3, 2):
        good = ~flags[:, antenna, 0, hand]
        assert found.flags[:, antenna, 0, hand].all() == (not good.any())
        if good.any():
            known = np.abs(gains[good, antenna, 0, hand])
            amplitude = np.abs(found.gains[:, antenna, 0, hand])
            assert known.min() * (1 - 1e-12) <= amplitude.min()
            assert amplitude.max() <= known.max() * (1 + 1e-12)


@EXAMPLES
@given(SEEDS, st.permutations(range(5)))
def test_turning_phases_changes_no_product_and_repeats_itself(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    gains = draw_gains(rng, 4, 5, 1, 1)
    flags = rng.random(gains.shape) < 0.2
    turned = reference_phases(gains, flags, order)
    for time in range(4):
        good = ~flags[time, :, 0, 0]
        before, after = (array[time, good, 0, 0] for array in (gains, turned))
        np.testing.assert_allclose(np.outer(after, after.conj()), np.outer(before, before.conj()), rtol=1e-12)
    np.testing.assert_allclose(reference_phases(turned, flags, order), turned, rtol=1e-12)


@EXAMPLES
@given(SEEDS, st.integers(0, 3))
def test_subtracting_a_continuum_twice_is_subtracting_it_once(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 3, 16, 2)
    data = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    flags = rng.random(shape) < 0.3
    weights = rng.uniform(0.1, 10.0, shape)
    frequency = 1.4e9 + 1e5 * np.arange(16)
    line_free = np.arange(16) % 4 != 2
    once = subtract_polynomial(data, flags, weights, frequency, line_free, order)
    twice = subtract_polynomial(once.visibilities, once.flags, weights, frequency, line_free, order)
    np.testing.assert_allclose(twice.visibilities, once.visibilities, atol=1e-9)
    assert (once.flags | ~flags).all()
