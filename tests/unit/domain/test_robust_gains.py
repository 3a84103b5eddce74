"""Gains from data of which some are far off: as good as without these, where least squares is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from radps.domain.gains import solve_bandpass, solve_gains, solve_time_gains
from radps.domain.robust_gains import HUBER_CONSTANT, OUTLIER_SIGMA, GainData, _find_scales, sum_robustly
from radps.domain.stefcal import GainMode, GainOptions, Robustness

Draw = Callable[..., Any]
NOISE = 0.2
"""Of a real part, over a sky of about 1."""


def draw_spoiled(draw: Draw, seed: int, part: float = 0.02, noise: float = NOISE) -> tuple[Any, Any, NDArray[np.bool_]]:
    """Return clean data, the same with a part of the visibilities ten times too large, and which these are."""
    clean = draw(seed, n_antennas=8, n_times=20, n_channels=8)
    clean = clean._replace(weights=np.ones(clean.weights.shape))
    rng = np.random.default_rng(seed + 1000)
    scatter = rng.standard_normal(clean.model.shape) + 1j * rng.standard_normal(clean.model.shape)
    clean = clean._replace(visibilities=clean.visibilities + noise * scatter)
    is_spoiled = rng.random(clean.model.shape) < part
    spoiled = clean._replace(visibilities=np.where(is_spoiled, 10, 1) * clean.visibilities)
    return clean, spoiled, is_spoiled


def flatten(array: NDArray[Any]) -> NDArray[Any]:
    """Return (time, baseline, channel, hand) as (n, baseline, hand)."""
    return np.moveaxis(array, 2, 1).reshape(-1, array.shape[1], array.shape[3])


def solve(data: Any, robust: Robustness, mode: GainMode = GainMode.AMPLITUDE_PHASE) -> NDArray[np.complex128]:
    """Return one gain an antenna and hand from all data, phases against antenna 0."""
    arrays = (flatten(one) for one in (data.visibilities, data.model, data.weights))
    return solve_gains(*arrays, *data.geometry, 0, GainOptions(mode, robust=robust)).gains


def error(found: NDArray[np.complex128], data: Any) -> NDArray[np.complex128]:
    """Return the difference to the truth, relative."""
    truth = data.gains * np.exp(-1j * np.angle(data.gains[0]))
    return found / truth - 1


def test_gains_of_spoiled_data_are_within_their_noise_and_plain_ones_are_not(draw: Draw) -> None:
    good, plain, robust, huber = [], [], [], []
    for seed in range(6):
        clean, spoiled, _ = draw_spoiled(draw, seed)
        good.append(error(solve(clean, Robustness.NONE), clean))
        plain.append(error(solve(spoiled, Robustness.NONE), clean))
        robust.append(error(solve(spoiled, Robustness.REJECT), clean))
        huber.append(error(solve(spoiled, Robustness.HUBER), clean))
    noise = np.sqrt(np.mean(np.abs(good) ** 2))
    # six draws of 8 antennas and 2 hands: 10 %, and 2 % of the data are not there
    assert np.sqrt(np.mean(np.abs(robust) ** 2)) < 1.1 * noise
    assert abs(np.mean(robust).real) < 3 * noise / np.sqrt(np.size(robust)) + abs(np.mean(good).real)
    # 2 % of ten times as much: sqrt(1.18) - 1
    assert np.mean(plain).real == pytest.approx(0.086, abs=0.02)
    # weighted down, they still pull by their bounded weight
    assert abs(np.mean(huber).real) < 0.1 * np.mean(plain).real


@pytest.mark.parametrize("mode", [GainMode.PHASE, GainMode.AMPLITUDE])
def test_all_modes_are_robust(draw: Draw, mode: GainMode) -> None:
    data = draw(3, n_antennas=8, n_times=20, n_channels=8, phase_only=mode is GainMode.PHASE, noise=NOISE)
    rng = np.random.default_rng(3)
    # baselines of antenna 1 are turned and ten times too large now and then
    is_spoiled = (rng.random(data.model.shape) < 0.1) & ((data.antenna1 == 1) | (data.antenna2 == 1))[:, None, None]
    spoiled = data._replace(visibilities=np.where(is_spoiled, 10j, 1) * data.visibilities)
    truth = np.abs(data.gains) if mode is GainMode.AMPLITUDE else data.gains * np.exp(-1j * np.angle(data.gains[0]))
    plain, robust = (
        np.abs(solve(spoiled, one, mode) / truth - 1).max() for one in (Robustness.NONE, Robustness.REJECT)
    )
    assert robust < 0.05
    assert plain > 4 * robust


def efficiency(k: float) -> float:
    """Return that of Huber's weights for Gaussian residuals in two dimensions."""

    def mean(value: Callable[[float], float]) -> float:
        return sum(quad(lambda r: value(r) * r * np.exp(-r * r / 2), *ends)[0] for ends in ((0, k), (k, 30)))

    slope = mean(lambda r: ((r < k) + min(r, k) / r) / 2)
    return slope**2 / (mean(lambda r: min(r, k) ** 2) / 2)


def test_without_outliers_the_loss_is_that_of_theory(draw: Draw) -> None:
    assert efficiency(HUBER_CONSTANT) == pytest.approx(0.95, abs=1e-4)
    plain, huber, reject = [], [], []
    for seed in range(12):
        clean, _, _ = draw_spoiled(draw, seed)
        for robust, errors in ((Robustness.NONE, plain), (Robustness.HUBER, huber), (Robustness.REJECT, reject)):
            errors.append(error(solve(clean, robust), clean))
    variance = np.mean(np.abs(plain) ** 2)
    # the same noise in both: the ratio of variances of 2 x 180 numbers scatters by about 2 sqrt(2 0.05 / 360) = 3 %
    assert np.mean(np.abs(huber) ** 2) / variance == pytest.approx(1 / 0.95, abs=0.09)
    assert np.mean(np.abs(reject) ** 2) / variance == pytest.approx(1.0, abs=0.01)


def test_outliers_are_counted_where_they_are(draw: Draw) -> None:
    clean, spoiled, is_spoiled = draw_spoiled(draw, 5)
    # only in the second half of the time, and in one channel
    is_spoiled[:10], is_spoiled[:, :, 1:] = False, False
    mixed = np.where(is_spoiled, spoiled.visibilities, clean.visibilities)
    arguments = (mixed, clean.model, clean.flags, clean.weights, *clean.geometry, 0)
    axes: dict[str, Any] = {"time_s": np.arange(20.0), "frequency_hz": np.arange(8) + 1e9}
    options = GainOptions(robust=Robustness.REJECT)
    table = solve_bandpass(*arguments, **axes, options=options)
    assert table.outliers is not None
    # all of them are ten times what noise has, but for those where the sky is faint
    np.testing.assert_allclose(table.outliers[0, 0], is_spoiled[:, :, 0].mean(axis=(0, 1)), rtol=0.1)
    assert table.outliers[0, 1:].max() < 1e-3
    times = solve_time_gains(*arguments, **axes, interval=np.arange(20) // 10, options=options)
    assert times.outliers is not None
    np.testing.assert_allclose(times.outliers[1, 0], is_spoiled[10:].mean(axis=(0, 1, 2)), rtol=0.1)
    assert times.outliers[0].max() < 1e-3
    plain = solve_time_gains(*arguments, **axes, interval=np.arange(20) // 10)
    assert plain.outliers is None


def test_channels_and_pieces_do_not_depend_on_each_other(draw: Draw) -> None:
    _, data, _ = draw_spoiled(draw, 6)
    axes = {"time_s": np.arange(20.0), "options": GainOptions(robust=Robustness.REJECT)}
    frequency_hz = np.arange(8) + 1e9

    def bandpass(channels: slice) -> Any:
        arrays = (one[:, :, channels] for one in (data.visibilities, data.model, data.flags, data.weights))
        return solve_bandpass(*arrays, *data.geometry, 0, frequency_hz=frequency_hz[channels], **axes)

    whole, half = bandpass(slice(0, 8)), bandpass(slice(4, 8))
    np.testing.assert_array_equal(whole.gains[:, :, 4:], half.gains)
    np.testing.assert_array_equal(whole.outliers[:, 4:], half.outliers)

    def piece(times: slice) -> GainData:
        arrays = (one[times] for one in (data.visibilities, data.model, data.flags, data.weights, np.arange(20.0)))
        return GainData(*arrays, np.zeros(20, np.int64)[times], np.zeros(8, np.int64), 1)

    one = sum_robustly(lambda: [piece(slice(None))], *data.geometry, axes["options"])
    two = sum_robustly(lambda: map(piece, (slice(0, 7), slice(7, 20))), *data.geometry, axes["options"])
    np.testing.assert_allclose(one.sums.vis_model, two.sums.vis_model, rtol=1e-12)
    np.testing.assert_array_equal(one.outliers, two.outliers)


def test_without_noise_the_gains_are_exact_and_data_without_use_are_left_out(draw: Draw) -> None:
    clean, spoiled, _ = draw_spoiled(draw, 7, noise=0.0)
    flags = np.zeros(clean.flags.shape, np.bool_)
    flags[3] = True
    values = spoiled.visibilities.copy()
    values[3], values[4] = 1e6, np.nan
    data = spoiled._replace(visibilities=values, weights=np.where(flags, 0.0, spoiled.weights))
    # the gain steps end at a change of 1e-9
    assert np.abs(error(solve(data, Robustness.REJECT), clean)).max() < 1e-8
    assert np.abs(error(solve(data, Robustness.NONE), clean)).max() > 0.05


def test_the_scale_is_the_noise_of_a_real_part() -> None:
    rng = np.random.default_rng(9)
    size = np.abs(0.3 * (rng.standard_normal(200_000) + 1j * rng.standard_normal(200_000)))
    place = ((np.log(size) + 45.0) / 0.03).astype(np.int64)
    counts = np.bincount(place, minlength=3000).astype(np.uint32)
    # 200,000 draws: 0.2 %
    assert _find_scales(counts) == pytest.approx(0.3, rel=0.006)
    assert _find_scales(np.zeros(3000, np.uint32)) == np.inf
    assert np.exp(-(OUTLIER_SIGMA**2) / 2) < 4e-6
