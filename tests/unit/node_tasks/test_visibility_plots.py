"""What plots of visibilities show: counts as numpy's histograms, sums as a slow loop, whatever the blocks are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from radps.data import stores
from radps.data.addresses import VisibilityAddress
from radps.data.demo_observation import demo_observation
from radps.data.simulate import simulate_observation
from radps.data.simulated_truth import true_components
from radps.data.visibilities import load_visibilities, write_chunk
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.node_tasks.blocks import Block
from radps.node_tasks.model_comparison import N_CELLS, add_model_sums, compare_with_model
from radps.node_tasks.prediction import FieldModel
from radps.node_tasks.visibility_histograms import (
    HistogramRanges,
    add_counts,
    amplitude_edges,
    count_visibilities,
    find_cells,
    phase_edges,
    range_edges,
)

FIELD = "3C286"
MODEL = demo_observation("tiny")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> VisibilityAddress:
    truth = simulate_observation(str(tmp_path_factory.mktemp("plots") / "data.ps.zarr"), MODEL)
    address = VisibilityAddress.of_measurement_set(truth.partitions[FIELD])
    flags = np.random.default_rng(1).random(stores.open_array(address.visibility).shape) < 0.2
    write_chunk(address.flag, flags)
    return address


@pytest.fixture(scope="module")
def ranges(address: VisibilityAddress) -> HistogramRanges:
    data = load_visibilities(address)
    longest = np.hypot(*np.moveaxis(data.uvw_m[..., :2], -1, 0)).max() * data.frequency_hz[-1] / SPEED_OF_LIGHT_M_S
    frequency_hz = (float(data.frequency_hz[0]) - 1e3, float(data.frequency_hz[-1]) + 1e3)
    return HistogramRanges((float(data.time_s[0]), float(data.time_s[-1])), frequency_hz, 0.8 * longest, (3, 20, 16))


def blocks(address: VisibilityAddress, *cuts: int) -> list[Block]:
    n_times, _, n_channels, _ = stores.open_array(address.visibility).shape
    edges = [0, *cuts, n_times]
    return [
        Block(partition="p", address=address, times=times, channels=(0, n_channels))
        for times in itertools.pairwise(edges)
    ]


def test_counts_are_those_of_numpy(address: VisibilityAddress, ranges: HistogramRanges) -> None:
    counts = add_counts([count_visibilities(block, ranges) for block in blocks(address, 1)])
    data = load_visibilities(address)
    cross = data.antenna1 != data.antenna2
    hands = [data.polarizations.index("RR"), data.polarizations.index("LL")]
    flags = data.flags[:, cross][..., hands]
    values = data.visibilities[:, cross][..., hands]
    length = np.hypot(data.uvw_m[:, cross, 0], data.uvw_m[:, cross, 1])[..., None] * data.frequency_hz
    along = (
        np.broadcast_to(data.time_s[:, None, None, None], flags.shape),
        np.broadcast_to((length / SPEED_OF_LIGHT_M_S)[..., None], flags.shape),
        np.broadcast_to(data.frequency_hz[:, None], flags.shape),
    )
    used = ~flags
    for number, (x, edges) in enumerate(zip(along, range_edges(ranges), strict=True)):
        for found, y, y_edges in (
            (counts.amplitudes, np.abs(values), amplitude_edges()),
            (counts.phases, np.degrees(np.angle(values)), phase_edges()),
        ):
            expected = np.histogram2d(x[used], y[used], bins=(edges, y_edges))[0]
            assert expected.sum() > 0
            # A value at an edge may fall to either side.
            assert np.abs(found[number] - expected).sum() <= 4
    bins = (range_edges(ranges)[0], range_edges(ranges)[2])
    everything = np.histogram2d(along[0].ravel(), along[2].ravel(), bins=bins)[0]
    flagged = np.histogram2d(along[0][flags], along[2][flags], bins=bins)[0]
    np.testing.assert_array_equal(counts.data, everything)
    np.testing.assert_array_equal(counts.flagged, flagged)
    assert 0.15 < counts.flagged.sum() / counts.data.sum() < 0.25


def test_cells_have_edges() -> None:
    values = np.array([-0.1, 0.0, 0.49, 0.5, 1.0, 1.1, np.inf, -np.inf])
    assert find_cells(values, 0.0, 1.0, 2).tolist() == [0, 1, 1, 2, 2, 3, 3, 0]
    assert find_cells(np.array([5.0]), 5.0, 5.0, 1).tolist() == [1]  # a single integration


def test_data_are_compared_with_their_model_cell_by_cell(address: VisibilityAddress, ranges: HistogramRanges) -> None:
    model = FieldModel(true_components(MODEL, FIELD))
    data = load_visibilities(address)
    rotated = 2.0 * np.exp(0.3j) * np.sqrt(1 + np.arange(len(data.frequency_hz)))[:, None]
    flux = float(np.abs(compare_with_model(blocks(address)[0], ranges, model).model).sum())
    assert flux > 0
    perfect = np.broadcast_to(rotated, data.visibilities.shape) * 1.0
    write_chunk(address.visibility, perfect.astype(np.complex64))
    found = add_model_sums([compare_with_model(block, ranges, model) for block in blocks(address, 1)])
    whole = compare_with_model(blocks(address)[0], ranges, model)
    for part, one in zip(found, whole, strict=True):
        np.testing.assert_allclose(part, one, rtol=1e-9)
    # The calibrator is a point at the phase centre: the model is real and the same on all baselines.
    cells = find_cells(data.frequency_hz, *ranges.frequency_hz, N_CELLS) - 1
    hands = [data.polarizations.index("RR"), data.polarizations.index("LL")]
    cross = data.antenna1 != data.antenna2
    weight = np.where(data.flags, 0, data.weights.astype(np.float64))[:, cross][..., hands].sum(axis=(0, 1, 3))
    np.testing.assert_allclose(found.weight[1][cells], weight, rtol=1e-6)
    np.testing.assert_allclose(found.observed[1][cells] / weight, rotated[:, 0], rtol=1e-6)
    assert found.weight[0].sum() < weight.sum()  # beyond the longest distance nothing is counted
