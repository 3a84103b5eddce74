"""Gains between solutions, and their application, against formulae written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.gains import GainTable
from radps.domain.interpolation import (
    InterpolatedGains,
    InterpolationMethod,
    apply_gains,
    find_flagged_beside,
    interpolate_gains,
    multiply_gains,
)
from radps.errors import SelectionError

N_ANTENNAS = 4
ANTENNA1, ANTENNA2 = np.triu_indices(N_ANTENNAS, k=1)


def make_table(gains: Any, time_s: Any, frequency_hz: Any = (1.4e9,), flags: Any = None) -> GainTable:
    """Make a table of gains, shape (time, antenna, channel, polarization)."""
    gains = np.asarray(gains, np.complex128)
    flags = np.zeros(gains.shape, np.bool_) if flags is None else flags
    cells = (gains.shape[0], gains.shape[2], gains.shape[3])
    return GainTable(
        time_s=np.asarray(time_s, np.float64),
        frequency_hz=np.asarray(frequency_hz, np.float64),
        gains=np.where(flags, 1.0, gains),
        flags=flags,
        snr=np.full(gains.shape, 100.0),
        stop_reason=np.ones(cells, np.int8),
        n_iterations=np.ones(cells, np.int32),
    )


def column(values: Any) -> NDArray[np.complex128]:
    """Return gains of one antenna, channel and hand at several times."""
    return np.asarray(values, np.complex128)[:, None, None, None]


def along_time(values: Any, solved: Any, wanted: Any, method: str = "linear", flags: Any = None) -> InterpolatedGains:
    """Interpolate the gains of one antenna along time."""
    flagged = None if flags is None else np.asarray(flags)[:, None, None, None]
    table = make_table(column(values), solved, flags=flagged)
    result = interpolate_gains(table, np.asarray(wanted, np.float64), np.array([1.4e9]), time_method=method)
    return InterpolatedGains(result.gains[:, 0, 0, 0], result.flags[:, 0, 0, 0])


def test_amplitude_and_phase_are_linear_in_time() -> None:
    found = along_time([1.0, 3.0 * np.exp(1j)], [0.0, 10.0], [0.0, 2.5, 10.0]).gains
    np.testing.assert_allclose(np.abs(found), [1.0, 1.5, 3.0])
    np.testing.assert_allclose(np.angle(found), [0.0, 0.25, 1.0], atol=1e-15)


def test_phases_go_the_shorter_way_round() -> None:
    degrees = np.radians([170.0, -170.0])
    found = along_time(np.exp(1j * degrees), [0.0, 10.0], [2.5, 5.0, 7.5]).gains
    np.testing.assert_allclose(found, np.exp(1j * np.radians([175.0, 180.0, 185.0])))


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_phases_of_a_delay_grow_with_frequency_over_any_number_of_turns(ratio: float, method: str) -> None:
    solved = np.arange(9) * 10.0
    truth = np.linspace(0.3, 12.0, 9)  # two turns, in steps of less than a quarter of a turn
    flags = np.zeros(9, np.bool_)
    flags[4] = method == "nearest"
    amplitude = np.linspace(1.0, 2.0, 9)
    table = make_table(column(amplitude * np.exp(1j * truth)), solved, flags=flags[:, None, None, None])
    wanted = np.array([-5.0, 3.0, 20.0, 44.0, 77.0, 90.0])
    found = interpolate_gains(
        table, wanted, np.array([1.4e9 * ratio, 1.5e9]), time_method=method, phase_frequency_hz=1.4e9 * ratio
    ).gains[:, 0, :, 0]
    valid = ~flags
    if method == "linear":
        phase, size = (np.interp(wanted, solved, values) for values in (truth, amplitude))
    else:
        nearest = np.abs(wanted[:, None] - solved[valid]).argmin(axis=1)
        phase, size = truth[valid][nearest], amplitude[valid][nearest]
    # one ratio holds for all channels of the window
    np.testing.assert_allclose(found, np.repeat((size * np.exp(1j * ratio * phase))[:, None], 2, axis=1), rtol=1e-12)


def test_a_single_phase_is_scaled_and_a_flagged_one_is_flagged() -> None:
    table = make_table(column([np.exp(0.4j)]), [5.0])
    found = interpolate_gains(table, np.array([0.0, 9.0]), np.array([2.8e9]), phase_frequency_hz=2.8e9)
    np.testing.assert_allclose(found.gains[:, 0, 0, 0], np.exp(0.8j))
    empty = make_table(column([np.exp(0.4j)]), [5.0], flags=np.ones((1, 1, 1, 1), np.bool_))
    found = interpolate_gains(empty, np.array([0.0]), np.array([2.8e9]), phase_frequency_hz=2.8e9)
    assert found.flags.all()
    np.testing.assert_array_equal(found.gains, 1.0)


def test_phases_of_several_channels_are_not_scaled() -> None:
    table = make_table(np.ones((1, 2, 3, 1)), [0.0], [1.0e9, 1.1e9, 1.2e9])
    with pytest.raises(SelectionError, match="phases of a table of 3 channels cannot be scaled with frequency"):
        interpolate_gains(table, np.array([0.0]), np.array([1.0e9]), phase_frequency_hz=2e9)


def test_real_and_imaginary_parts_would_give_another_result() -> None:
    found = along_time([1.0, 1j], [0.0, 1.0], [0.5]).gains
    np.testing.assert_allclose(np.abs(found), 1.0)  # the mean of 1 and i has modulus 0.71


def test_nearest_takes_the_nearest_and_of_two_the_earlier() -> None:
    found = along_time([1.0, 2.0, 4.0], [0.0, 10.0, 20.0], [4.0, 5.0, 6.0, 19.0], "nearest").gains
    np.testing.assert_array_equal(found, [1.0, 1.0, 2.0, 4.0])


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_outside_of_the_solutions_the_first_or_last_one_holds(method: str) -> None:
    found = along_time([1j, 2.0], [0.0, 10.0], [-5.0, 15.0, 1e9], method)
    np.testing.assert_array_equal(found.gains, [1j, 2.0, 2.0])
    assert not found.flags.any()


def test_a_single_solution_holds_everywhere() -> None:
    found = along_time([2j], [5.0], [-1e6, 5.0, 1e6])
    np.testing.assert_array_equal(found.gains, [2j] * 3)


def test_flagged_solutions_are_passed_over() -> None:
    found = along_time([1.0, 99.0, 3.0], [0.0, 10.0, 20.0], [10.0, 15.0], flags=[False, True, False])
    np.testing.assert_allclose(found.gains, [2.0, 2.5])
    assert not found.flags.any()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # the times are those before, at and between the solutions at 0, 10 and 20 s, of which that at 10 s is flagged
        ("linear", [False, False, True, True, True, False, False]),
        ("nearest", [False, False, False, True, True, False, False]),
    ],
)
def test_data_beside_a_flagged_solution_are_found_as_casa_flags_them(method: str, expected: list[bool]) -> None:
    solved_s, time_s = np.array([0.0, 10.0, 20.0]), np.array([-5.0, 1e-6, 4.0, 10.0, 14.0, 20.0 - 1e-6, 30.0])
    flags = np.array([[False, True], [True, False], [False, False]])
    found = find_flagged_beside(solved_s, flags, time_s, method)
    np.testing.assert_array_equal(found[:, 0], expected)
    # the first solution flagged: all before it, too
    assert found[:3, 1].all()
    assert not found[3:, 1].any()


def test_without_any_solution_the_gains_are_flagged() -> None:
    found = along_time([5.0, 6.0], [0.0, 10.0], [0.0, 5.0], flags=[True, True])
    assert found.flags.all()
    np.testing.assert_array_equal(found.gains, 1.0)
    assert along_time(np.zeros(0), [], [0.0, 5.0]).flags.all()


def test_solutions_at_the_times_of_the_data_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    np.testing.assert_array_equal(along_time(values, np.arange(5.0), np.arange(5.0)).gains, values)


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("step", [1, -1])
def test_along_frequency_the_same_rules_hold_in_either_direction(method: str, step: int) -> None:
    rng = np.random.default_rng(2)
    gains = rng.uniform(0.5, 2, (1, 3, 6, 2)) * np.exp(1j * rng.uniform(-0.4, 0.4, (1, 3, 6, 2)))
    flags = rng.random(gains.shape) < 0.3
    flags[0, :, 0] = False
    frequency = 1.4e9 + 1e6 * np.arange(6)[::step]
    wanted = np.array([1.3999e9, 1.4004e9, 1.402e9, 1.4031e9, 1.41e9])
    table = make_table(gains, [0.0], frequency, flags)
    found = interpolate_gains(table, np.array([7.0]), wanted, frequency_method=method)
    for antenna, hand in np.ndindex(3, 2):
        good = ~flags[0, antenna, :, hand]
        x, y = frequency[good], gains[0, antenna, good, hand]
        order = np.argsort(x)
        x, y = x[order], y[order]
        if method == "linear":
            # the phases of this table stay within half a turn, so that numpy may interpolate them as they are
            expected = np.interp(wanted, x, np.abs(y)) * np.exp(1j * np.interp(wanted, x, np.angle(y)))
        else:
            expected = y[np.argmin(np.abs(wanted[:, None] - x), axis=1)]
        np.testing.assert_allclose(found.gains[0, antenna, :, hand], expected, rtol=1e-12)


def test_a_bandpass_and_time_gains_multiply_and_share_their_flags() -> None:
    rng = np.random.default_rng(3)
    bandpass = make_table(rng.uniform(1, 2, (1, 4, 3, 2)), [0.0], [1e9, 2e9, 3e9])
    flags = np.zeros((2, 4, 1, 2), np.bool_)
    flags[:, 1] = True
    gain = make_table(rng.uniform(1, 2, (2, 4, 1, 2)), [0.0, 10.0], [2e9], flags)
    time_s, frequency = np.array([0.0, 10.0]), np.array([1e9, 2e9, 3e9])
    parts = [interpolate_gains(table, time_s, frequency) for table in (bandpass, gain)]
    product = multiply_gains(*parts)
    assert product.gains.shape == (2, 4, 3, 2)
    np.testing.assert_allclose(product.gains, bandpass.gains * gain.gains)
    assert product.flags.all(axis=(0, 2, 3)).tolist() == [False, True, False, False]


@pytest.mark.parametrize("axis", ["time", "frequency"])
def test_an_unknown_method_is_refused(axis: str) -> None:
    table = make_table(column([1.0]), [0.0])
    with pytest.raises(SelectionError, match=f"interpolation along {axis}: found 'cubic', allowed are 'linear', 'nea"):
        interpolate_gains(table, np.zeros(1), np.zeros(1), **{f"{axis}_method": "cubic"})


def test_methods_are_known_by_their_words() -> None:
    assert [method.value for method in InterpolationMethod] == ["linear", "nearest"]


# --- application ---


def draw_data(n_correlations: int, seed: int = 1) -> tuple[Any, ...]:
    """Draw visibilities, flags, weights, gains and their flags."""
    rng = np.random.default_rng(seed)
    shape = (3, len(ANTENNA1), 2, n_correlations)
    hands = min(n_correlations, 2)
    visibilities = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    gains = rng.uniform(0.5, 2, (3, N_ANTENNAS, 2, hands)) * np.exp(2j * np.pi * rng.random((3, N_ANTENNAS, 2, hands)))
    flags = rng.random(shape) < 0.2
    weights = rng.uniform(1, 2, shape).astype(np.float32)
    return visibilities, flags, weights, gains, np.zeros(gains.shape, np.bool_)


@pytest.mark.parametrize(
    "polarizations",
    [
        ["YY"],
        ["RR", "LL"],
        ["LL", "RR"],
        ["XX", "XY", "YX", "YY"],
        ["RR", "LL", "RL", "LR"],  # the order of UVFITS
    ],
)
@pytest.mark.parametrize("calibrate_weights", [False, True])
def test_gains_are_divided_out_of_every_correlation(polarizations: list[str], calibrate_weights: bool) -> None:
    visibilities, flags, weights, gains, gain_flags = draw_data(len(polarizations))
    found = apply_gains(
        visibilities,
        flags,
        weights,
        gains,
        gain_flags,
        ANTENNA1,
        ANTENNA2,
        polarizations,
        calibrate_weights=calibrate_weights,
    )
    receptors = [receptor for receptor in "RLXY" if 2 * receptor in polarizations]
    for correlation, name in enumerate(polarizations):
        first, second = (receptors.index(receptor) for receptor in name)
        product = gains[..., first][:, ANTENNA1] * gains[..., second][:, ANTENNA2].conj()
        # complex64 data
        np.testing.assert_allclose(
            found.visibilities[..., correlation], visibilities[..., correlation] / product, rtol=3e-7
        )
        scale = np.abs(product) ** 2 if calibrate_weights else 1.0
        np.testing.assert_allclose(found.weights[..., correlation], weights[..., correlation] * scale, rtol=3e-7)
    np.testing.assert_array_equal(found.flags, flags)
    assert found.visibilities.dtype == np.complex64
    assert found.weights.dtype == np.float32
    assert found.n_flagged == 0


def test_data_without_a_gain_are_flagged_counted_and_left_as_they_are() -> None:
    visibilities, flags, weights, gains, gain_flags = draw_data(2)
    gain_flags[1, 2, :, 0] = True
    gains[0, 3, 1, 1] = 0.0
    found = apply_gains(visibilities, flags, weights, gains, gain_flags, ANTENNA1, ANTENNA2, ["RR", "LL"])
    lost = np.zeros(flags.shape, np.bool_)
    for t, b, c, p in np.ndindex(flags.shape):
        antennas = (ANTENNA1[b], ANTENNA2[b])
        lost[t, b, c, p] = (t == 1 and 2 in antennas and p == 0) or (t == 0 and 3 in antennas and c == 1 and p == 1)
    np.testing.assert_array_equal(found.flags, flags | lost)
    assert found.n_flagged == np.count_nonzero(lost & ~flags) > 0
    np.testing.assert_array_equal(found.visibilities[lost], visibilities[lost])


def test_one_gain_holds_for_all_times_and_channels() -> None:
    visibilities, flags, weights, gains, gain_flags = draw_data(2)
    one, one_flag = gains[:1, :, :1], gain_flags[:1, :, :1]
    shape = gains.shape
    found = apply_gains(visibilities, flags, weights, one, one_flag, ANTENNA1, ANTENNA2, ["RR", "LL"])
    repeated = apply_gains(
        visibilities,
        flags,
        weights,
        np.broadcast_to(one, shape),
        np.broadcast_to(one_flag, shape).copy(),
        ANTENNA1,
        ANTENNA2,
        ["RR", "LL"],
    )
    np.testing.assert_array_equal(found.visibilities, repeated.visibilities)


def test_gains_that_are_one_view_for_all_antennas_are_read_as_such() -> None:
    visibilities, flags, weights, gains, _ = draw_data(2)
    same = np.broadcast_to(gains[:1, :1, :1, :1], gains.shape)
    no_flags = np.zeros(same.shape, np.bool_)
    found = apply_gains(visibilities, flags, weights, same, no_flags, ANTENNA1, ANTENNA2, ["XX", "YY"])
    np.testing.assert_allclose(found.visibilities, visibilities / abs(gains[0, 0, 0, 0]) ** 2, rtol=3e-7)


def test_arguments_are_not_changed() -> None:
    data = draw_data(2)
    copies = [np.copy(array) for array in data]
    apply_gains(*data, ANTENNA1, ANTENNA2, ["RR", "LL"], calibrate_weights=True)
    for array, copy in zip(data, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("polarizations", "n_hands"), [(["RR", "RL", "LR", "LL"], 1), (["RR", "LL"], 1), (["RR"], 2), (["XX", "YY"], 3)]
)
def test_gains_of_other_hands_are_refused(polarizations: list[str], n_hands: int) -> None:
    shape = (1, len(ANTENNA1), 1, len(polarizations))
    gains = np.ones((1, N_ANTENNAS, 1, n_hands), np.complex128)
    with pytest.raises(SelectionError, match=f"gains of {n_hands} hands for data of {len(polarizations)} correlations"):
        apply_gains(
            np.ones(shape, np.complex64),
            np.zeros(shape, np.bool_),
            np.ones(shape, np.float32),
            gains,
            np.zeros(gains.shape, np.bool_),
            ANTENNA1,
            ANTENNA2,
            polarizations,
        )
