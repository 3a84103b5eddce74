"""The choice of the reference antenna, and the turn of the phases to it."""

from __future__ import annotations

import numpy as np
import pytest

from radps.domain.reference_antennas import (
    order_reference_antennas,
    rank_reference_antennas,
    reference_phases,
    unit_phasors,
)
from radps.errors import SelectionError

LINE_M = np.array([[x, 0.0, 0.0] for x in (-100.0, -10.0, 0.0, 20.0, 90.0)])
"""Five antennas on a line; the median position is that of antenna 2."""


def test_antennas_near_the_centre_come_first() -> None:
    assert rank_reference_antennas(LINE_M, np.zeros(5)).tolist() == [2, 1, 3, 4, 0]


def test_flags_push_an_antenna_back() -> None:
    assert rank_reference_antennas(LINE_M, np.array([0.0, 0.0, 0.5, 0.0, 0.0]))[0] == 1


def test_antennas_without_data_come_last_however_central() -> None:
    assert rank_reference_antennas(LINE_M, np.array([0.9, 0.0, 1.0, 0.0, 0.0])).tolist()[-1] == 2


def test_antennas_at_one_place_keep_their_order() -> None:
    assert rank_reference_antennas(np.zeros((4, 3)), np.zeros(4)).tolist() == [0, 1, 2, 3]


def test_preferred_antennas_come_first_and_the_others_follow() -> None:
    assert order_reference_antennas([3, 1], 5).tolist() == [3, 1, 0, 2, 4]


def test_an_unknown_antenna_is_refused() -> None:
    with pytest.raises(SelectionError, match="found index 5, allowed 0 to 4; name an antenna of the data"):
        order_reference_antennas(5, 5)


def draw_gains(seed: int, n_times: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (n_times, 5, 1, 2)
    return rng.uniform(0.5, 2.0, shape) * np.exp(2j * np.pi * rng.random(shape))


def test_the_reference_antenna_has_phase_zero_and_differences_stay() -> None:
    gains = draw_gains(1)
    turned = reference_phases(gains, np.zeros(gains.shape, np.bool_), 3)
    np.testing.assert_array_equal(turned[:, 3].imag, 0.0)
    assert (turned[:, 3].real > 0).all()
    products = gains[:, :, None] * gains[:, None].conj()
    np.testing.assert_allclose(turned[:, :, None] * turned[:, None].conj(), products, rtol=1e-13)
    assert np.abs(turned - gains).max() > 0.1


def test_flagged_gains_are_not_touched() -> None:
    gains = draw_gains(2)
    flags = np.zeros(gains.shape, np.bool_)
    flags[1, 4] = flags[2, :, 0, 1] = True
    turned = reference_phases(gains, flags, 3)
    np.testing.assert_array_equal(turned[flags], gains[flags])


def test_the_stand_in_keeps_its_last_phase_so_that_nothing_jumps() -> None:
    # an array whose phases do not change: whatever the references are, the turned phases must not change either
    gains = np.repeat(draw_gains(3, 1), 4, axis=0) * np.exp(1j * np.array([0.0, 1.0, -2.0, 0.5]))[:, None, None, None]
    flags = np.zeros(gains.shape, np.bool_)
    flags[1:3, 3] = True
    turned = reference_phases(gains, flags, [3, 0])
    others = [0, 1, 2, 4]
    np.testing.assert_allclose(turned[:, others], np.broadcast_to(turned[:1, others], (4, 4, 1, 2)), rtol=1e-13)
    assert np.abs(np.angle(turned[1, 0])).max() > 0.01  # the stand-in is not at phase 0


@pytest.mark.parametrize("order", [[3, 0], [2, 3, 0]], ids=["in use", "after one that is dead"])
def test_phases_do_not_jump_when_the_reference_antenna_comes_back(order: list[int]) -> None:
    # the stand-in drifts linearly against the reference antenna: the phases are those of an array that lacks nothing
    time_s = np.array([0.0, 100.0, 130.0, 300.0, 400.0])
    gains = draw_gains(4, 5)
    gains[:, 3] = gains[:1, 3]
    gains[:, 0] = gains[:1, 0] * np.exp(1j * 0.007 * time_s)[:, None, None]
    flags = np.zeros(gains.shape, np.bool_)
    flags[:, 2] = 2 in order
    complete = reference_phases(gains, flags, order, time_s)
    flags[1:4, 3] = True
    turned = reference_phases(gains, flags, order, time_s)
    np.testing.assert_allclose(turned[~flags], complete[~flags], rtol=1e-12)


def test_before_the_reference_antenna_is_there_its_stand_in_has_the_phase_that_it_will_have() -> None:
    gains = np.repeat(draw_gains(5, 1), 4, axis=0)
    flags = np.zeros(gains.shape, np.bool_)
    flags[:2, 3] = True
    turned = reference_phases(gains, flags, [3, 0])
    others = [0, 1, 2, 4]
    np.testing.assert_allclose(turned[:, others], np.broadcast_to(turned[-1:, others], (4, 4, 1, 2)), rtol=1e-12)
    assert np.abs(np.angle(turned[0, 0])).max() > 0.01


def test_unit_phasors_leave_zero_alone() -> None:
    np.testing.assert_allclose(unit_phasors(np.array([3 + 4j, 0j, -2.0 + 0j])), [0.6 + 0.8j, 0, -1])
