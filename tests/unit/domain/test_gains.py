"""Gains are drawn, data corrupted with them, the gains solved for, and compared with the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import least_squares

from radps.domain.gain_sums import accumulate_gain_sums, add_gain_sums
from radps.domain.gains import GainTable, solve_bandpass, solve_gain_sums, solve_gains, solve_time_gains
from radps.domain.solver import StopReason
from radps.domain.stefcal import GainMode, GainOptions
from radps.errors import SelectionError

Draw = Callable[..., Any]
REFERENCE = 2
ALL_SOLUTIONS = GainOptions(min_snr=0.0)


def refer(gains: NDArray[np.complex128], reference: int = REFERENCE) -> NDArray[np.complex128]:
    """Turn gains, shape (antenna, polarization), so that the reference antenna has phase 0."""
    return gains * np.exp(-1j * np.angle(gains[reference]))


def flatten(array: NDArray[Any]) -> NDArray[Any]:
    """Return (time, baseline, channel, polarization) as (n, baseline, polarization)."""
    return np.moveaxis(array, 2, 1).reshape(-1, array.shape[1], array.shape[3])


def solve_all(data: Any, options: GainOptions = GainOptions(), reference: Any = REFERENCE) -> Any:  # noqa: B008
    """Solve one gain from all data."""
    weights = np.where(data.flags, 0.0, data.weights)
    return solve_gains(
        flatten(data.visibilities), flatten(data.model), flatten(weights), *data.geometry, reference, options
    )


def solve_times(data: Any, interval: Any, options: GainOptions = GainOptions(), **more: Any) -> GainTable:  # noqa: B008
    """Solve gains of intervals; times are 10 s apart."""
    n_times, n_channels = data.visibilities.shape[0], data.visibilities.shape[2]
    arguments = {
        "time_s": 1e9 + 10.0 * np.arange(n_times),
        "frequency_hz": 1.4e9 + 1e6 * np.arange(n_channels),
        "interval": np.asarray(interval),
        "options": options,
        **more,
    }
    return solve_time_gains(
        data.visibilities, data.model, data.flags, data.weights, *data.geometry, REFERENCE, **arguments
    )


def solve_channels(data: Any, channels: slice = slice(None), options: GainOptions = ALL_SOLUTIONS) -> GainTable:
    """Solve a bandpass of some channels."""
    part = (slice(None), slice(None), channels)
    return solve_bandpass(
        data.visibilities[part],
        data.model[part],
        data.flags[part],
        data.weights[part],
        *data.geometry,
        REFERENCE,
        time_s=1e9 + 10.0 * np.arange(data.visibilities.shape[0]),
        frequency_hz=(1.4e9 + 1e6 * np.arange(data.visibilities.shape[2]))[channels],
        options=options,
    )


# --- the truth ---


@pytest.mark.parametrize("seed", range(5))
def test_gains_are_the_true_ones(draw: Draw, seed: int) -> None:
    data = draw(seed)
    found = solve_all(data)
    # gain steps end when they change the gains by less than 1e-9; they converge by about a half each step
    np.testing.assert_allclose(found.gains, refer(data.gains), atol=1e-8)
    assert not found.flags.any()
    assert set(found.stop_reason) == {StopReason.THRESHOLD}


def test_the_comparison_with_the_truth_can_fail(draw: Draw) -> None:
    data = draw(0)
    wrong = solve_all(data._replace(model=data.model.conj()))
    assert np.abs(wrong.gains - refer(data.gains)).max() > 0.1
    assert np.abs(data.gains - refer(data.gains)).max() > 0.1


def test_phases_alone_are_the_true_ones(draw: Draw) -> None:
    data = draw(3, phase_only=True)
    found = solve_all(data, GainOptions(mode=GainMode.PHASE))
    np.testing.assert_allclose(found.gains, refer(data.gains), atol=1e-8)


def test_phase_mode_leaves_amplitudes_at_one_whatever_the_data(draw: Draw) -> None:
    found = solve_all(draw(3), GainOptions(mode=GainMode.PHASE))
    np.testing.assert_allclose(np.abs(found.gains), 1.0, rtol=1e-14)


@pytest.mark.parametrize("mode", list(GainMode))
def test_gains_are_those_of_a_general_least_squares_solver(draw: Draw, mode: GainMode) -> None:
    data = draw(4, n_antennas=5, n_times=2, n_channels=1, noise=0.2)
    antenna1, antenna2, _ = data.geometry

    def gains_of(parameters: NDArray[np.float64]) -> NDArray[np.complex128]:
        if mode is GainMode.PHASE:
            return np.exp(1j * parameters)
        return parameters[:5] + 1j * parameters[5:]

    def residuals(parameters: NDArray[np.float64], hand: int) -> NDArray[np.float64]:
        gains = gains_of(parameters)
        difference = data.visibilities - (gains[antenna1] * gains[antenna2].conj())[:, None, None] * data.model
        weighted = (np.sqrt(data.weights) * difference)[..., hand].ravel()
        return np.concatenate([weighted.real, weighted.imag])

    found = solve_all(data, GainOptions(mode=mode, min_snr=0.0))
    for hand in range(2):
        truth = data.gains[:, hand]
        start = np.angle(truth) if mode is GainMode.PHASE else np.concatenate([truth.real, truth.imag])
        twin = least_squares(residuals, start, args=(hand,), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        expected = gains_of(twin.x)
        expected = expected * np.exp(-1j * np.angle(expected[REFERENCE]))
        expected = np.abs(expected) if mode is GainMode.AMPLITUDE else expected
        # the general solver stops where the sum of squares changes by less than rounding: gains good to its root
        np.testing.assert_allclose(found.gains[:, hand], expected, atol=1e-6)


def test_signal_to_noise_is_that_of_many_trials(draw: Draw) -> None:
    first = draw(0, noise=0.3)
    rng = np.random.default_rng(5)
    clean = draw(0)
    weights = np.ones_like(first.weights)
    trials = []
    for _ in range(300):
        noise = 0.3 * (rng.standard_normal(clean.flags.shape) + 1j * rng.standard_normal(clean.flags.shape))
        data = clean._replace(visibilities=clean.visibilities + noise, weights=weights)
        trials.append(solve_all(data))
    gains = np.array([trial.gains for trial in trials])
    # relative to an average antenna, as the phase of the reference antenna has an error of its own
    turned = gains * np.exp(-1j * np.angle(np.mean(gains * refer(clean.gains).conj(), axis=1, keepdims=True)))
    scatter = np.sqrt(np.mean(np.abs(turned - turned.mean(axis=0)) ** 2, axis=0))
    reported = np.median([trial.snr for trial in trials], axis=0)
    # 300 trials know a scatter to 4 %; 4 sigma, and the common phase takes away 1/18 of the variance
    np.testing.assert_allclose(reported, np.abs(clean.gains) / scatter, rtol=0.2)


# --- flags ---


def test_a_flagged_antenna_has_no_solution_and_leaves_the_others_right(draw: Draw) -> None:
    data = draw(1)
    broken = (data.antenna1 == 4) | (data.antenna2 == 4)
    flags = data.flags | broken[:, np.newaxis, np.newaxis]
    spoilt = np.where(flags, 1e6, data.visibilities)
    found = solve_all(data._replace(flags=flags, visibilities=spoilt))
    others = np.arange(9) != 4
    assert found.flags[4].all()
    np.testing.assert_array_equal(found.gains[4], 1.0)
    np.testing.assert_array_equal(found.snr[4], 0.0)
    assert not found.flags[others].any()
    np.testing.assert_allclose(found.gains[others], refer(data.gains)[others], atol=1e-8)


def test_where_the_reference_antenna_is_flagged_the_next_one_takes_over(draw: Draw) -> None:
    data = draw(1)
    broken = (data.antenna1 == REFERENCE) | (data.antenna2 == REFERENCE)
    found = solve_all(data._replace(flags=data.flags | broken[:, np.newaxis, np.newaxis]), reference=[REFERENCE, 7])
    others = np.arange(9) != REFERENCE
    np.testing.assert_allclose(found.gains[others], refer(data.gains, 7)[others], atol=1e-8)
    assert found.flags[REFERENCE].all()


def test_one_hand_without_data_does_not_touch_the_other(draw: Draw) -> None:
    data = draw(1)
    flags = data.flags.copy()
    flags[..., 1] = True
    found = solve_all(data._replace(flags=flags))
    assert found.flags[:, 1].all()
    assert found.stop_reason.tolist() == [StopReason.THRESHOLD, StopReason.NO_DATA]
    np.testing.assert_allclose(found.gains[:, 0], refer(data.gains)[:, 0], atol=1e-8)


def test_antennas_with_too_few_baselines_are_flagged(draw: Draw) -> None:
    data = draw(1)
    kept = [0, 1, 2]
    lonely = ((data.antenna1 == 8) & ~np.isin(data.antenna2, kept)) | (
        (data.antenna2 == 8) & ~np.isin(data.antenna1, kept)
    )
    limited = data._replace(flags=data.flags | lonely[:, np.newaxis, np.newaxis])
    assert solve_all(limited, GainOptions(min_baselines=4)).flags[:, 0].tolist() == [False] * 8 + [True]
    assert not solve_all(limited, GainOptions(min_baselines=3)).flags.any()


def test_of_two_sets_without_a_common_baseline_the_larger_one_is_solved(draw: Draw) -> None:
    data = draw(1)
    across = (data.antenna1 < 4) != (data.antenna2 < 4)
    found = solve_all(
        data._replace(flags=data.flags | across[:, np.newaxis, np.newaxis]), GainOptions(min_baselines=3), reference=5
    )
    assert found.flags[:, 0].tolist() == [True] * 4 + [False] * 5
    np.testing.assert_allclose(found.gains[4:], refer(data.gains, 5)[4:], atol=1e-8)


def test_noise_without_signal_gives_no_solutions(draw: Draw) -> None:
    # the sky is a hundredth of the noise: 13 antennas and 12 data a baseline give a signal-to-noise of about 0.1
    data = draw(1, n_antennas=13, noise=100.0)
    found = solve_all(data)
    assert found.flags.mean() > 0.9
    np.testing.assert_array_equal(found.gains[found.flags], 1.0)
    assert not solve_all(data, ALL_SOLUTIONS).flags.all()


def test_a_dead_antenna_is_found_by_its_signal_to_noise(draw: Draw) -> None:
    data = draw(1, noise=0.1)
    rng = np.random.default_rng(0)
    dead = ((data.antenna1 == 6) | (data.antenna2 == 6))[:, np.newaxis, np.newaxis]
    noise = 0.1 * (rng.standard_normal(data.flags.shape) + 1j * rng.standard_normal(data.flags.shape))
    found = solve_all(data._replace(visibilities=np.where(dead, noise, data.visibilities)))
    assert found.flags[6].all()
    assert not np.delete(found.flags, 6, axis=0).any()


def test_solutions_that_have_not_converged_are_flagged(draw: Draw) -> None:
    found = solve_all(draw(1), GainOptions(max_iterations=2))
    assert found.flags.all()
    assert set(found.stop_reason) == {StopReason.MAX_ITERATIONS}
    assert found.n_iterations.tolist() == [2, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_are_not_finite_do_not_count(draw: Draw, bad: float) -> None:
    data = draw(1)
    visibilities, weights = data.visibilities.copy(), data.weights.copy()
    visibilities[0, 3, 1, 0] = bad
    weights[1, 5, 2, 1] = bad
    weights[2, 6, 2, 1] = -1.0
    found = solve_all(data._replace(visibilities=visibilities, weights=weights))
    np.testing.assert_allclose(found.gains, refer(data.gains), atol=1e-8)


def test_autocorrelations_do_not_count(draw: Draw) -> None:
    data = draw(1)
    n_auto = data.n_antennas
    more = data._replace(
        visibilities=np.concatenate([data.visibilities, np.full((3, n_auto, 4, 2), 1e3)], axis=1),
        model=np.concatenate([data.model, np.ones((3, n_auto, 4, 2))], axis=1),
        flags=np.concatenate([data.flags, np.zeros((3, n_auto, 4, 2), np.bool_)], axis=1),
        weights=np.concatenate([data.weights, np.ones((3, n_auto, 4, 2))], axis=1),
        antenna1=np.concatenate([data.antenna1, np.arange(n_auto)]),
        antenna2=np.concatenate([data.antenna2, np.arange(n_auto)]),
    )
    np.testing.assert_array_equal(solve_all(more).gains, solve_all(data).gains)


# --- what must not matter ---


def test_the_order_and_direction_of_baselines_do_not_matter(draw: Draw) -> None:
    data = draw(2, noise=0.1)
    order = np.random.default_rng(0).permutation(len(data.antenna1))
    swapped = order[::2]
    visibilities, model = data.visibilities.copy(), data.model.copy()
    visibilities[:, swapped], model[:, swapped] = visibilities[:, swapped].conj(), model[:, swapped].conj()
    antenna1, antenna2 = data.antenna1.copy(), data.antenna2.copy()
    antenna1[swapped], antenna2[swapped] = data.antenna2[swapped], data.antenna1[swapped]
    shuffled = data._replace(
        visibilities=visibilities[:, order],
        model=model[:, order],
        weights=data.weights[:, order],
        antenna1=antenna1[order],
        antenna2=antenna2[order],
    )
    # sums in another order: rounding, and steps that end at another point within the tolerance of 1e-9
    np.testing.assert_allclose(solve_all(shuffled).gains, solve_all(data).gains, atol=1e-8)


def test_the_scale_of_the_weights_does_not_matter(draw: Draw) -> None:
    data = draw(2, noise=0.1)
    found, scaled = solve_all(data), solve_all(data._replace(weights=1e4 * data.weights))
    np.testing.assert_allclose(scaled.gains, found.gains, atol=1e-8)
    np.testing.assert_allclose(scaled.snr, found.snr, rtol=1e-6)


def test_arguments_are_not_changed(draw: Draw) -> None:
    data = draw(2)
    copies = [np.copy(array) for array in data[:6]]
    solve_all(data)
    solve_times(data, [0, 0, 1])
    for array, copy in zip(data[:6], copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_sums_of_parts_add_up_to_the_sums_of_all(draw: Draw) -> None:
    data = draw(2, noise=0.1)
    time_s, interval = 10.0 * np.arange(3), np.array([0, 0, 1])

    def sums_of(times: slice, channels: slice) -> Any:
        part = (times, slice(None), channels)
        return accumulate_gain_sums(
            data.visibilities[part],
            data.model[part],
            data.flags[part],
            data.weights[part],
            time_s=time_s[times],
            interval=interval[times],
            channel=np.zeros(len(range(*channels.indices(4))), np.int64),
            n_intervals=2,
        )

    everything = slice(None)
    whole = sums_of(everything, everything)
    by_time = add_gain_sums(sums_of(slice(0, 1), everything), sums_of(slice(1, 3), everything))
    by_channel = add_gain_sums(sums_of(everything, slice(0, 3)), sums_of(everything, slice(3, 4)))
    for parts in (by_time, by_channel):
        for found, expected in zip(parts, whole, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-13)  # rounding of sums of a few numbers
    expected = np.sum(
        data.weights * data.visibilities * data.model.conj(), axis=(0, 2), where=(interval == 0)[:, None, None, None]
    )
    np.testing.assert_allclose(whole.vis_model[0, :, 0], expected, rtol=1e-12)


# --- tables ---


def test_each_interval_has_the_gains_of_its_own_times(draw: Draw) -> None:
    data = draw(3)
    turn = np.exp(1j * np.linspace(0, 2, 9))[:, np.newaxis]
    changed = data.gains * turn * 1.5
    visibilities = data.visibilities.copy()
    visibilities[2] = (changed[data.antenna1] * changed[data.antenna2].conj())[:, np.newaxis] * data.model[2]
    table = solve_times(data._replace(visibilities=visibilities, weights=np.ones_like(data.weights)), [0, 0, 1])
    np.testing.assert_allclose(table.gains[0, :, 0], refer(data.gains), atol=1e-8)
    np.testing.assert_allclose(table.gains[1, :, 0], refer(changed), atol=1e-8)
    # sums of weight times 1e9 s in float64 are good to microseconds
    np.testing.assert_allclose(table.time_s, [1e9 + 5, 1e9 + 20], rtol=0, atol=1e-4)
    np.testing.assert_allclose(table.frequency_hz, [1.4015e9])


def test_times_outside_of_all_intervals_do_not_count(draw: Draw) -> None:
    data = draw(3)
    visibilities = data.visibilities.copy()
    visibilities[1] = 1e6
    table = solve_times(data._replace(visibilities=visibilities), [0, -1, 0])
    np.testing.assert_allclose(table.gains[0, :, 0], refer(data.gains), atol=1e-8)


def test_channels_that_are_not_selected_do_not_count(draw: Draw) -> None:
    data = draw(3)
    visibilities = data.visibilities.copy()
    visibilities[:, :, 0] = 1e6
    selected = np.array([False, True, True, False])
    table = solve_times(data._replace(visibilities=visibilities), [0, 0, 0], channels=selected)
    np.testing.assert_allclose(table.gains[0, :, 0], refer(data.gains), atol=1e-8)
    np.testing.assert_allclose(table.frequency_hz, [1.4015e9])


def test_an_interval_without_data_is_flagged_and_keeps_its_time(draw: Draw) -> None:
    data = draw(3)
    flags = data.flags.copy()
    flags[1:] = True
    table = solve_times(data._replace(flags=flags), [0, 1, 1])
    assert table.flags[1].all()
    np.testing.assert_array_equal(table.gains[1], 1.0)
    np.testing.assert_array_equal(table.stop_reason[1], StopReason.NO_DATA)
    np.testing.assert_allclose(table.time_s, [1e9, 1e9 + 15], rtol=0, atol=1e-4)
    np.testing.assert_allclose(table.gains[0, :, 0], refer(data.gains), atol=1e-8)


def test_a_bandpass_has_the_gains_of_every_channel(draw: Draw) -> None:
    data = draw(5)
    slope = np.exp(1j * np.outer(np.linspace(-1, 1, 9), np.arange(4)))[..., np.newaxis] * np.arange(1, 5)[:, np.newaxis]
    truth = data.gains[:, np.newaxis] * slope
    visibilities = truth[data.antenna1] * truth[data.antenna2].conj() * data.model
    table = solve_channels(data._replace(visibilities=visibilities))
    for channel in range(4):
        # 1e-8 relative: amplitudes are up to 4 times larger here
        np.testing.assert_allclose(table.gains[0, :, channel], refer(truth[:, channel]), atol=1e-7)
    assert table.time_s.tolist() == [1e9 + 10]


def test_a_flagged_channel_has_no_bandpass_and_leaves_the_others_right(draw: Draw) -> None:
    data = draw(5)
    flags = data.flags.copy()
    flags[:, :, 2] = True
    table = solve_channels(data._replace(flags=flags))
    assert table.flags.all(axis=(0, 1, 3)).tolist() == [False, False, True, False]
    assert table.stop_reason[0, 2].tolist() == [StopReason.NO_DATA] * 2
    np.testing.assert_allclose(table.gains[0, :, 3], refer(data.gains), atol=1e-8)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_bandpass_has_the_same_bits_however_its_channels_are_cut(draw: Draw, cut: int) -> None:
    data = draw(6, noise=0.2)
    data.flags[0, 4, :2] = True
    whole = solve_channels(data)
    parts = [solve_channels(data, slice(0, cut)), solve_channels(data, slice(cut, 4))]
    for name, axis in (("gains", 2), ("flags", 2), ("snr", 2), ("stop_reason", 1), ("n_iterations", 1)):
        joined = np.concatenate([getattr(part, name) for part in parts], axis=axis)
        np.testing.assert_array_equal(joined, getattr(whole, name))
    assert parts[0].time_s.tolist() == parts[1].time_s.tolist() == whole.time_s.tolist()


def test_single_precision_data_give_the_gains_to_single_precision(draw: Draw) -> None:
    data = draw(1)
    found = solve_all(data._replace(visibilities=data.visibilities.astype(np.complex64)))
    np.testing.assert_allclose(found.gains, refer(data.gains), atol=1e-6)
    assert np.isfinite(found.snr).all()
    assert found.snr.min() > 1e5  # not infinite: the rounding of the data is their noise


# --- errors ---


@pytest.mark.parametrize("reference", [9, -1, [2, 12]])
def test_a_reference_antenna_that_is_not_there_is_refused(draw: Draw, reference: Any) -> None:
    with pytest.raises(SelectionError, match=r"reference antenna: found index (9|-1|12), allowed 0 to 8"):
        solve_all(draw(1), reference=reference)


def test_no_reference_antenna_is_refused(draw: Draw) -> None:
    with pytest.raises(SelectionError, match="none given, allowed 0 to 8"):
        solve_all(draw(1), reference=[])


def test_a_selection_of_no_channel_is_refused(draw: Draw) -> None:
    with pytest.raises(SelectionError, match="none of the 4 channels is selected for the gain solution"):
        solve_times(draw(1), [0, 0, 0], channels=np.zeros(4, np.bool_))


def test_sums_are_solved_as_data_are(draw: Draw) -> None:
    data = draw(7, noise=0.1)
    sums = accumulate_gain_sums(
        data.visibilities,
        data.model,
        data.flags,
        data.weights,
        time_s=np.arange(3.0),
        interval=np.zeros(3, np.int64),
        channel=np.zeros(4, np.int64),
    )
    table = solve_gain_sums(sums, *data.geometry, REFERENCE, np.array([1.4e9]))
    # the same sums in another order
    np.testing.assert_allclose(table.gains[0, :, 0], solve_all(data).gains, atol=1e-8)
