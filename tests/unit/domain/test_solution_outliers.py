"""Bad antennas that were put into good gains are found, and only these."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.corruption import draw_bandpasses, draw_gains
from radps.domain.solution_outliers import OutlierLimits, flag_receptors, judge_solutions

N_ANTENNAS = 27
TIME_S = np.linspace(0.0, 7200.0, 12)


def good_gains(seed: int, noise: float = 0.02) -> NDArray[np.complex128]:
    """Gains as telescopes have them: levels 15 % apart, drifts of 3 %, and noise; (time, antenna, 1, hand)."""
    rng = np.random.default_rng(seed)
    gains = draw_gains(seed, N_ANTENNAS, 2, TIME_S, mean_amplitude=0.3, amplitude_scatter=0.15)
    scatter = noise * (rng.normal(size=gains.shape) + 1j * rng.normal(size=gains.shape))
    return (gains * (1 + scatter))[:, :, np.newaxis]


NORMAL = OutlierLimits()


def outliers(
    gains: NDArray[np.complex128], flags: NDArray[np.bool_], limits: OutlierLimits = NORMAL
) -> set[tuple[int, ...]]:
    """Return antennas and hands that are bad."""
    return {tuple(place) for place in np.argwhere(judge_solutions(gains, flags, limits).is_outlier(limits)).tolist()}


@pytest.mark.parametrize("seed", range(20))
def test_good_antennas_are_left_alone(seed: int) -> None:
    gains = good_gains(seed)
    assert outliers(gains, np.zeros(gains.shape, bool)) == set()


def test_each_kind_of_bad_antenna_is_found_in_its_hand_with_its_reason() -> None:
    rng = np.random.default_rng(3)
    gains = good_gains(3)
    flags = np.zeros(gains.shape, bool)
    flags[2:, 4, 0, 1] = True  # no solutions in 10 of 12 times
    gains[:, 7, 0, 0] *= 0.2
    gains[:, 9, 0, 1] *= 5.0
    gains[::2, 11, 0, 0] *= rng.choice([0.6, 1.5], size=6)  # within the levels, but jumping
    gains[:4, 13, 0, 0] *= 0.2  # a third of the time: stays
    found = judge_solutions(gains, flags)
    limits = OutlierLimits(max_bad_fraction=0.4)
    assert outliers(gains, flags, limits) == {(4, 1), (7, 0), (9, 1), (11, 0)}
    assert found.missing[4, 1] == pytest.approx(10 / 12)
    assert (found.off_level[7, 0], found.off_level[9, 1]) == (1.0, 1.0)
    assert found.off_level[11, 0] < 0.4 < found.jumping[11, 0]
    assert found.bad[13, 0] == pytest.approx(4 / 12)
    assert outliers(gains, flags, OutlierLimits(max_bad_fraction=0.3)) >= {(13, 0)}


def test_what_all_antennas_share_is_no_fault() -> None:
    bandpass = draw_bandpasses(5, N_ANTENNAS, 2, 64, 1e6, edge_level=0.02)[np.newaxis]  # (1, antenna, channel, hand)
    flags = np.zeros(bandpass.shape, bool)
    flags[:, :, :40] = True  # most channels have no solution for anybody
    assert outliers(bandpass, flags) == set()
    flags[:, 3, 41:] = True
    assert outliers(bandpass, flags) == {(3, 0), (3, 1)}


def test_steady_gains_have_no_jumps_and_dead_ones_do_not_spoil_the_rest() -> None:
    gains = np.ones((5, 6, 1, 1), np.complex128)
    gains[2, 0] = 1.05  # infinitely many sigma, but not much
    assert judge_solutions(gains, np.zeros(gains.shape, bool)).jumping.max() == 0
    gains[:, 5] = 0.0
    found = judge_solutions(gains, np.zeros(gains.shape, bool))
    assert np.flatnonzero(found.bad[:, 0]).tolist() == [5]


def test_without_solutions_nobody_is_judged() -> None:
    gains = np.ones((3, 4, 1, 2), np.complex128)
    flags = np.ones(gains.shape, bool)
    flags[0, :2] = False  # two antennas are no majority
    assert judge_solutions(gains, flags).bad.max() == 0


def test_correlations_with_a_bad_receptor_are_flagged() -> None:
    antenna1, antenna2 = np.triu_indices(4)
    polarizations = ("RR", "RL", "LR", "LL")
    bad = [(1, "R"), (3, "L")]
    mask = flag_receptors(antenna1, antenna2, polarizations, bad)
    assert mask.shape == (1, len(antenna1), 1, 4)
    for baseline, (first, second) in enumerate(zip(antenna1, antenna2, strict=True)):
        for number, name in enumerate(polarizations):
            expected = (first, name[0]) in bad or (second, name[1]) in bad
            assert mask[0, baseline, 0, number] == expected
