"""AOFlagger on simulated interference: what is found, what is flagged for nothing, and that it is always the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from radps.domain.corruption import (
    Interference,
    corrupt_visibilities,
    draw_interference,
    draw_noise,
)
from radps.domain.rfi import STRATEGIES, choose_strategy, detect_interference, find_strategy_file
from radps.errors import DataError, MissingPackageError, SelectionError

N_TIMES, N_CHANNELS, N_ANTENNAS = 120, 64, 5
ANTENNA1, ANTENNA2 = np.triu_indices(N_ANTENNAS, 1)
NOISE_JY, SKY_JY, INTERVAL_S = 2.0, 1.0, 10.0


class Observed(NamedTuple):
    visibilities: NDArray[np.complex64]
    truth: NDArray[np.bool_]
    """(time, channel): interference is on."""


@pytest.fixture(scope="module")
def strategy() -> str:
    pytest.importorskip("aoflagger", reason="interference needs radps[rfi]")
    return find_strategy_file(choose_strategy("EVLA"))


def observe(interference: Interference) -> Observed:
    """A source of 1 Jy in noise of 2 Jy a visibility, and interference."""
    time_s = INTERVAL_S * (np.arange(N_TIMES) + 0.5)
    visibilities = corrupt_visibilities(
        np.full((N_TIMES, len(ANTENNA1), N_CHANNELS), SKY_JY, np.complex128),
        ANTENNA1,
        ANTENNA2,
        gains=np.ones((N_TIMES, N_ANTENNAS, 2), np.complex128),
        bandpasses=np.ones((N_ANTENNAS, N_CHANNELS, 2), np.complex128),
        noise=draw_noise(1, range(N_TIMES), range(N_CHANNELS), len(ANTENNA1), 2),
        noise_jy=np.full(N_ANTENNAS, NOISE_JY),
        system_jy=np.zeros(N_ANTENNAS),
        response=np.ones((N_TIMES, N_ANTENNAS)),
        interference=interference,
        time_s=time_s,
    )
    truth = np.zeros((N_TIMES, N_CHANNELS), bool)
    for start, stop, first, last in zip(*interference[:4], strict=True):
        truth[np.ix_((time_s >= start) & (time_s <= stop), np.arange(first, last))] = True
    return Observed(visibilities, truth)


@pytest.fixture(scope="module")
def observed() -> Observed:
    """Two carriers and a dozen of bursts, ten times above the noise and more."""
    return observe(
        draw_interference(
            4,
            N_ANTENNAS,
            N_CHANNELS,
            N_TIMES * INTERVAL_S,
            carrier_channels=(9, 40),
            carrier_flux_jy=40.0,
            bursts_per_hour=40.0,
            burst_flux_jy=80.0,
        )
    )


def test_interference_is_found_and_little_else(observed: Observed, strategy: str) -> None:
    found = detect_interference(observed.visibilities, np.zeros(observed.visibilities.shape, bool), strategy)
    assert found.shape == (*observed.visibilities.shape[:3], 1)
    truth = np.broadcast_to(observed.truth[:, np.newaxis], found.shape[:3])
    assert 0.03 < truth.mean() < 0.2
    # All but samples in which the interference happens to cancel the source and the noise.
    assert found[..., 0][truth].mean() > 0.999
    # SumThreshold at its normal sensitivity takes up to 1 % of pure noise (Offringa et al. 2010), and the rank operator
    # makes each detection 20 % longer and wider.
    assert found[..., 0][~truth].mean() < 0.02


def test_noise_alone_is_left_alone(strategy: str) -> None:
    quiet = observe(draw_interference(1, N_ANTENNAS, N_CHANNELS, N_TIMES * INTERVAL_S)).visibilities
    found = detect_interference(quiet, np.zeros(quiet.shape, bool), strategy)
    assert found.mean() < 0.005


def test_the_flags_are_the_same_again_and_for_each_baseline_alone(observed: Observed, strategy: str) -> None:
    data = observed.visibilities
    flags = np.zeros(data.shape, bool)
    whole = detect_interference(data, flags, strategy)
    for part in (slice(0, 3), slice(3, 4), slice(4, None)):
        np.testing.assert_array_equal(detect_interference(data[:, part], flags[:, part], strategy), whole[:, part])


def test_known_flags_do_not_count_and_are_not_found_again(observed: Observed, strategy: str) -> None:
    data, flags = observed.visibilities.copy(), np.zeros(observed.visibilities.shape, bool)
    flags[:, :, 20:24] = True
    data[:, :, 20:24] = 1e6  # as loud as anything: had it counted, its neighbours would be flagged with it
    flags[:, 2] = True
    found = detect_interference(data, flags, strategy)
    assert not found[:, :, 20:24].any()
    assert not found[:, 2].any()
    clean = ~observed.truth
    clean[:, 20:24] = False
    assert found[:, 3, :, 0][clean].mean() < 0.05


@pytest.mark.parametrize("n_polarizations", [1, 4])
def test_data_of_one_and_of_four_correlations_are_taken(
    observed: Observed, strategy: str, n_polarizations: int
) -> None:
    data = np.concatenate([observed.visibilities] * 2, axis=3)[..., :n_polarizations]
    found = detect_interference(data, np.zeros(data.shape, bool), strategy)
    assert found[:, 0, :, 0][observed.truth].mean() > 0.99


def test_other_numbers_of_correlations_are_refused(strategy: str) -> None:
    with pytest.raises(DataError, match="AOFlagger takes 1, 2 or 4 correlations; found 3"):
        detect_interference(np.ones((4, 1, 4, 3), np.complex64), np.zeros((4, 1, 4, 3), bool), strategy)


def test_telescopes_have_their_strategies_and_all_of_them_run(observed: Observed, strategy: str) -> None:
    assert choose_strategy("lofar") == "lofar-default"
    assert choose_strategy("ALMA") == choose_strategy("EVLA") == "generic-default"
    data = observed.visibilities[:, :1]
    for telescope, name in STRATEGIES.items():
        found = detect_interference(data, np.zeros(data.shape, bool), find_strategy_file(name))
        # The MWA's expects the 24 coarse channels of its receiver, and levels carriers in so few channels.
        assert found[:, 0, :, 0][observed.truth].mean() > (0.2 if telescope == "MWA" else 0.99)
    with pytest.raises(SelectionError, match=r"no strategy 'loud' for AOFlagger; there are: .*generic-default"):
        find_strategy_file("loud")


def test_a_strategy_that_cannot_run_is_refused(strategy: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.lua"
    broken.write_text("function execute(input)\n  aoflagger.no_such_thing(input)\nend\n")
    with pytest.raises(DataError, match=r"AOFlagger cannot run the strategy .*broken.lua: .*; check the file"):
        detect_interference(np.ones((8, 1, 8, 2), np.complex64), np.zeros((8, 1, 8, 2), bool), str(broken))


def test_without_aoflagger_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aoflagger", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'radps\[rfi\]'"):
        find_strategy_file("generic-default")
