"""Outliers and scatter of gains with known ones."""

from __future__ import annotations

import numpy as np

from radps.domain.gains import GainTable
from radps.domain.solution_statistics import flag_outlying_gains, measure_scatter
from radps.domain.solver import StopReason

N_TIMES = 40


def make_table(amplitude_rms: float, phase_rms: float, seed: int = 1) -> GainTable:
    """Return gains of three antennas whose amplitudes and phases scatter by known amounts."""
    rng = np.random.default_rng(seed)
    shape = (N_TIMES, 3, 1, 2)
    amplitude = 0.3 * (1 + amplitude_rms * rng.standard_normal(shape))
    phase = phase_rms * rng.standard_normal(shape) + 2 * np.pi * rng.random((1, 3, 1, 2))
    cells = (N_TIMES, 1, 2)
    return GainTable(
        10.0 * np.arange(N_TIMES),
        np.array([1.4e9]),
        amplitude * np.exp(1j * phase),
        np.zeros(shape, np.bool_),
        np.full(shape, 100.0),
        np.full(cells, StopReason.THRESHOLD, np.int8),
        np.full(cells, 9, np.int32),
    )


def test_outliers_are_flagged_and_counted() -> None:
    table = make_table(0.02, 0.3)
    table.gains[7, 1, 0, 0] *= 1.3
    table.gains[20, 2, 0, 1] *= 0.6
    table.flags[3, 0] = True
    found, count = flag_outlying_gains(table, ["a"] * N_TIMES, 6.0)
    assert count == 2
    assert np.argwhere(found.flags & ~table.flags).tolist() == [[7, 1, 0, 0], [20, 2, 0, 1]]
    assert found.gains[7, 1, 0, 0] == 1
    assert table.gains[7, 1, 0, 0] != 1


def test_fields_of_other_flux_densities_are_not_outliers() -> None:
    table = make_table(0.02, 0.0)
    table.gains[::8] *= 2.0
    fields = ["b" if number % 8 == 0 else "a" for number in range(N_TIMES)]
    assert flag_outlying_gains(table, fields, 6.0)[1] == 0
    assert flag_outlying_gains(table, ["a"] * N_TIMES, 6.0)[1] == 30


def test_steady_gains_are_judged_by_their_errors() -> None:
    table = make_table(0.0, 0.0)
    table.gains[5, 1, 0, 0] *= 1.01  # an error is 1 / (sqrt(2) 100)
    assert flag_outlying_gains(table, ["a"] * N_TIMES, 5.0)[1] == 0
    table.gains[5, 1, 0, 0] *= 1.05
    assert flag_outlying_gains(table, ["a"] * N_TIMES, 5.0)[1] == 1


def test_few_solutions_are_not_judged() -> None:
    table = make_table(0.02, 0.0)
    table.gains[0] *= 100
    table.flags[4:] = True
    assert flag_outlying_gains(table, ["a"] * N_TIMES, 3.0)[1] == 0


def test_the_scatter_is_that_which_was_drawn() -> None:
    table = make_table(0.02, 0.3)
    table.flags[:, 2] = True
    found = measure_scatter(table, ["a"] * N_TIMES)
    # 80 numbers know an rms to 8 %, and 3 of it
    np.testing.assert_allclose(found.amplitude_rms[:2], 0.02, rtol=0.24)
    np.testing.assert_allclose(found.phase_rms_rad[:2], 0.3, rtol=0.24)
    np.testing.assert_allclose(found.phase_step_rad[:2], 0.3 * np.sqrt(2), rtol=0.24)
    assert found.snr[:2].tolist() == [100.0, 100.0]
    assert np.isnan([one[2] for one in found]).all()


def test_a_slow_turn_is_in_the_rms_and_not_in_the_steps() -> None:
    table = make_table(0.0, 0.0)
    turn = np.exp(1j * np.linspace(0, 20, N_TIMES))[:, np.newaxis, np.newaxis, np.newaxis]
    found = measure_scatter(table._replace(gains=table.gains * turn), ["a"] * N_TIMES)
    np.testing.assert_allclose(found.phase_rms_rad, 20 / np.sqrt(12), rtol=0.05)
    np.testing.assert_allclose(found.phase_step_rad, 20 / (N_TIMES - 1), rtol=1e-6)
