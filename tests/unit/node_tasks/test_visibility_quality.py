"""The assessment of calibrated data: known errors are found, whatever the blocks are."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from radps.data import stores
from radps.data.addresses import VisibilityAddress
from radps.data.demo_observation import demo_observation
from radps.data.simulate import simulate_observation
from radps.data.simulated_truth import true_components
from radps.data.visibilities import load_visibilities, write_chunk
from radps.node_tasks.assessment import count_visibilities
from radps.node_tasks.blocks import Block
from radps.node_tasks.prediction import FieldModel
from radps.node_tasks.visibility_quality import VisibilityQuality, add_error_sums, save_quality, sum_errors

FIELD = "J1445+0958"
PERFECT = demo_observation("tiny").model_copy(
    update={"gains": None, "bandpasses": None, "noise": None, "interference": None, "dead_antennas": ()}
)
PERFECT = PERFECT.model_copy(update={"noisy_antennas": (), "late_integrations": 0})
MODEL = FieldModel(true_components(PERFECT, FIELD))


def measure(address: VisibilityAddress, url: str, *cuts: int) -> VisibilityQuality:
    n_times, _, n_channels, _ = stores.open_array(address.visibility).shape
    edges = [0, *cuts, n_times]
    blocks = [
        Block(partition="p", address=address, times=times, channels=(0, n_channels))
        for times in itertools.pairwise(edges)
    ]
    return save_quality(add_error_sums([sum_errors(block, MODEL) for block in blocks]), address.store, url)


@pytest.fixture
def address(tmp_path: Path) -> VisibilityAddress:
    truth = simulate_observation(str(tmp_path / "perfect.ps.zarr"), PERFECT)
    return VisibilityAddress.of_measurement_set(truth.partitions[FIELD])


def test_data_without_errors_have_none(address: VisibilityAddress, tmp_path: Path) -> None:
    found = measure(address, str(tmp_path / "table.zarr"))
    # single precision of the visibilities
    assert found.closure_amplitude < 1e-6
    assert found.long_phase_rms_rad < 1e-6


def test_errors_of_baselines_are_found_and_kept_for_each(address: VisibilityAddress, tmp_path: Path) -> None:
    data = load_visibilities(address)
    rng = np.random.default_rng(1)
    cross = data.antenna1 != data.antenna2
    antennas = np.exp(1j * rng.normal(scale=0.3, size=(len(data.time_s), data.antenna1.max() + 2)))
    errors = rng.normal(scale=0.1, size=len(data.antenna1))
    factor = antennas[:, data.antenna1] * antennas[:, data.antenna2].conj() * np.exp(1j * errors)
    write_chunk(address.visibility, (data.visibilities * factor[:, :, None, None]).astype(np.complex64))
    url = str(tmp_path / "table.zarr")
    found = measure(address, url)
    # 36 baselines less 8 phases of antennas: 1 / sqrt(2 x 28) = 13 %; twice that
    assert found.closure_phase_rad == pytest.approx(0.1, rel=0.27)
    assert found.closure_amplitude < 1e-6
    # phases of two antennas and a baseline: sqrt(2 x 0.3^2 + 0.1^2) = 0.44
    assert found.long_phase_rms_rad == pytest.approx(0.44, rel=0.4)
    phases = stores.load_array(f"{url}/CLOSURE_PHASE")
    assert np.corrcoef(phases, errors[cross])[0, 1] > 0.7
    assert (stores.load_array(f"{url}/BASELINE_LENGTH") > 0).all()


def test_blocks_of_times_add_up(address: VisibilityAddress, tmp_path: Path) -> None:
    data = load_visibilities(address)
    noise = np.random.default_rng(2).normal(size=(2, *data.visibilities.shape))
    write_chunk(address.visibility, (data.visibilities + noise[0] + 1j * noise[1]).astype(np.complex64))
    whole, cut = measure(address, str(tmp_path / "a.zarr")), measure(address, str(tmp_path / "b.zarr"), 1, 3)
    np.testing.assert_allclose(cut, whole, rtol=1e-9)
    assert whole.long_phase_rms_rad > 0.01


def test_flagged_data_have_no_numbers(address: VisibilityAddress, tmp_path: Path) -> None:
    flags = load_visibilities(address, variables=("flag",)).flags
    write_chunk(address.flag, np.ones(flags.shape, np.bool_))
    found = measure(address, str(tmp_path / "table.zarr"))
    assert found.n_baselines == 0
    assert np.isnan(found.closure_phase_rad)


def test_cells_without_data_do_not_count_though_they_are_not_flagged(address: VisibilityAddress) -> None:
    n_times, _, n_channels, n_hands = stores.open_array(address.visibility).shape
    block = Block(partition="p", address=address, times=(0, n_times), channels=(0, n_channels))
    before = count_visibilities(block).counts
    cross = np.flatnonzero(load_visibilities(address).antenna1 != load_visibilities(address).antenna2)
    uvw_m = stores.load_array(address.uvw)
    uvw_m[1, cross[:5]] = np.nan  # as XRADIO leaves them
    stores.open_array(address.uvw, "r+")[...] = uvw_m
    assert before.tolist() == [n_times * len(cross) * n_hands] * n_channels
    assert (before - count_visibilities(block).counts).tolist() == [5 * n_hands] * n_channels
