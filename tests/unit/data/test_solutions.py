"""Gain and bandpass tables on disk."""

from __future__ import annotations

import pathlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

from radps.data import solutions, stores
from radps.data.measurement_set import MeasurementSetDescription, create_measurement_set, create_processing_set
from radps.data.solutions import DelaySolution, Solution, SolutionDescription
from radps.domain.delays import DelayTable
from radps.domain.gains import GainTable
from radps.domain.solver import StopReason
from radps.errors import DataError

ANTENNAS = ("VA01", "VA02", "VA05")
HANDS = ("RR", "LL")


def make_table(n_times: int, n_channels: int, seed: int = 3) -> GainTable:
    """Draw a table in which every number is different."""
    rng = np.random.default_rng(seed)
    shape = (n_times, len(ANTENNAS), n_channels, len(HANDS))
    cells = (n_times, n_channels, len(HANDS))
    return GainTable(
        time_s=8.0e8 + 100.0 * np.arange(n_times),
        frequency_hz=1.41e9 + 24.4e3 * np.arange(n_channels),
        gains=rng.normal(size=shape) + 1j * rng.normal(size=shape),
        flags=rng.random(shape) < 0.3,
        snr=rng.random(shape),
        stop_reason=rng.choice([1, 4, 7], size=cells).astype(np.int8),
        n_iterations=rng.integers(0, 99, size=cells).astype(np.int32),
        outliers=rng.random(cells).astype(np.float32),
    )


def describe(kind: str = "gain", window: str = "spw0") -> SolutionDescription:
    return SolutionDescription(kind, window, ANTENNAS, HANDS)


def channels_of(table: GainTable, part: slice) -> GainTable:
    """Cut channels out of a table."""
    return table._replace(
        frequency_hz=table.frequency_hz[part],
        gains=table.gains[:, :, part],
        flags=table.flags[:, :, part],
        snr=table.snr[:, :, part],
        stop_reason=table.stop_reason[:, part],
        n_iterations=table.n_iterations[:, part],
        outliers=None if table.outliers is None else table.outliers[:, part],
    )


def assert_same(found: GainTable, expected: GainTable) -> None:
    for name in GainTable._fields:
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.fixture
def partition(folder: str, description: MeasurementSetDescription) -> str:
    url = stores.join_url(folder, "a.ps.zarr")
    create_processing_set(url)
    return create_measurement_set(url, description, chunks=(5, 2))


def test_a_solution_that_did_not_look_for_outliers_has_none(folder: str) -> None:
    table = make_table(2, 1)._replace(outliers=None)
    url = stores.join_url(folder, "context.zarr/calibrate-1/spw0/gain")
    solutions.save_solution(url, Solution(describe(), table, ("a", "b"), ("1", "2")))
    np.testing.assert_array_equal(solutions.load_solution(url).table.outliers, np.zeros((2, 1, 2), np.float32))


def test_a_saved_solution_is_loaded_to_the_bit(folder: str) -> None:
    solution = Solution(describe(), make_table(4, 1), ("a", "b", "a", "b"), ("1", "2", "3", "4"))
    url = stores.join_url(folder, "context.zarr/calibrate-1/spw0/gain")
    solutions.save_solution(url, solution)
    found = solutions.load_solution(url)
    assert_same(found.table, solution.table)
    assert (found.description, found.fields, found.scans) == (solution.description, solution.fields, solution.scans)


def test_a_bandpass_written_by_several_tasks_at_once_is_whole(
    folder: str, partition: str, description: MeasurementSetDescription
) -> None:
    url = stores.join_url(folder, "context.zarr/calibrate-1/spw0/bandpass")
    solutions.create_bandpass(url, describe("bandpass"), partition, "field a", 2)
    table = make_table(1, 6)._replace(
        frequency_hz=description.frequency_hz, time_s=np.array([np.mean(description.time_s)])
    )
    parts = [slice(start, start + 2) for start in (0, 2, 4)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda part: solutions.write_solution_channels(url, part, channels_of(table, part)), parts))
    found = solutions.load_solution(url)
    assert_same(found.table, table)
    assert found.fields == ("field a",)
    assert found.scans == ("1,2",)
    assert_same(solutions.load_solution(url, slice(1, 4)).table, channels_of(table, slice(1, 4)))


def test_channels_that_nobody_wrote_are_flagged_with_gain_one(folder: str, partition: str) -> None:
    url = stores.join_url(folder, "context.zarr/calibrate-1/spw0/bandpass")
    solutions.create_bandpass(url, describe("bandpass"), partition, "field a", 2)
    table = solutions.load_solution(url).table
    assert table.flags.all()
    assert (table.gains == 1).all()
    assert (table.stop_reason == StopReason.NO_DATA).all()


def test_a_repeated_creation_keeps_what_other_tasks_wrote(folder: str, partition: str) -> None:
    url = stores.join_url(folder, "context.zarr/calibrate-1/spw0/bandpass")
    table = make_table(1, 6)
    solutions.create_bandpass(url, describe("bandpass"), partition, "field a", 2)
    solutions.write_solution_channels(url, slice(2, 4), channels_of(table, slice(2, 4)))
    solutions.create_bandpass(url, describe("bandpass"), partition, "field a", 2)
    found = solutions.load_solution(url).table
    np.testing.assert_array_equal(found.gains[:, :, 2:4], table.gains[:, :, 2:4])
    with pytest.raises(DataError, match=r"holds a bandpass of window spw0, not the gain of window spw1"):
        solutions.create_bandpass(url, describe("gain", "spw1"), partition, "field a", 2)
    with pytest.raises(DataError, match=r"chunks \(1, 3, 2, 2\).*wanted are .*\(1, 3, 3, 2\)"):
        solutions.create_bandpass(url, describe("bandpass"), partition, "field a", 3)


def test_channels_that_cut_a_chunk_are_refused(folder: str, partition: str) -> None:
    url = stores.join_url(folder, "context.zarr/calibrate-1/spw0/bandpass")
    solutions.create_bandpass(url, describe("bandpass"), partition, "field a", 2)
    with pytest.raises(DataError, match=r"region 1:3 of axis 2 .* cuts a chunk of 2"):
        solutions.write_solution_channels(url, slice(1, 3), make_table(1, 2))


def test_a_table_whose_parts_do_not_fit_is_refused_with_every_reason(folder: str) -> None:
    solution = Solution(describe()._replace(polarizations=("RR",)), make_table(2, 1), ("a",), ("1", "2"))
    with pytest.raises(DataError, match=r"1 polarizations, and solutions of length 2.*; 1 fields for 2 times"):
        solutions.save_solution(stores.join_url(folder, "gain"), solution)
    assert not stores.exists(stores.join_url(folder, "gain"))


def test_loading_what_is_no_table_says_so(folder: str, partition: str) -> None:
    with pytest.raises(DataError, match=r"is of type 'visibility', not a table of gains"):
        solutions.load_solution(partition)
    with pytest.raises(DataError, match=r"no zarr group at .*nowhere"):
        solutions.load_solution(stores.join_url(folder, "nowhere"))


def test_tables_of_many_steps_open_as_one_tree(folder: str) -> None:
    root = stores.join_url(folder, "context.zarr")
    table = make_table(2, 1)

    def save(number: int) -> None:
        solution = Solution(describe(window=f"spw{number}"), table, ("a", "b"), ("1", "2"))
        solutions.save_solution(stores.join_url(root, f"calibrate-1/spw{number}/gain"), solution)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(8)))
    store = stores.open_store(root, read_only=True)
    with xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None) as tree:
        assert set(tree.children) == {"calibrate-1"}
        assert set(tree["calibrate-1"].children) == {f"spw{number}" for number in range(8)}
        gains = tree["calibrate-1/spw3/gain"].to_dataset().load()
    assert gains.GAIN.dims == ("time", "antenna_name", "frequency", "polarization")
    assert set(gains.coords) == {"time", "antenna_name", "frequency", "polarization", "field_name", "scan_name"}
    assert gains.attrs["kind"] == "gain"
    assert gains.attrs["window"] == "spw3"
    assert gains.attrs["creator"]["software_name"] == "radps"
    np.testing.assert_array_equal(gains.GAIN.sel(antenna_name="VA02", polarization="LL")[:, 0], table.gains[:, 1, 0, 1])
    assert gains.time.attrs["units"] == "s"
    with xr.open_zarr(stores.open_store(stores.join_url(root, "calibrate-1/spw3/gain")), consolidated=False) as alone:
        assert alone.field_name.values.tolist() == ["a", "b"]


# --- delays ---


def make_delays(n_times: int) -> DelaySolution:
    """Draw delays in which every number is different."""
    gains = make_table(n_times, 1)
    table = DelayTable(
        time_s=gains.time_s,
        frequency_hz=gains.frequency_hz,
        delays_s=1e-9 * gains.gains.real,
        errors_s=1e-12 * gains.snr,
        flags=gains.flags,
        snr=gains.snr,
        stop_reason=gains.stop_reason,
        n_iterations=gains.n_iterations,
        outliers=gains.outliers,
    )
    return DelaySolution(describe("delay"), table, ("3C286",) * n_times, tuple(map(str, range(n_times))))


def test_delays_come_back_as_they_were(tmp_path: pathlib.Path) -> None:
    url = str(tmp_path / "delay")
    expected = make_delays(3)
    for _ in range(2):  # a task may be repeated
        solutions.save_delays(url, expected)
    found = solutions.load_delays(url)
    assert found[0] == expected[0]
    assert found[2:] == expected[2:]
    for name, one, other in zip(DelayTable._fields, found.table, expected.table, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
    with xr.open_zarr(url, consolidated=False) as dataset:
        assert dataset.DELAY.attrs["units"] == "s"
        assert dataset.DELAY.dims == ("time", "antenna_name", "frequency", "polarization")


def test_delays_are_not_taken_for_gains_nor_gains_for_delays(tmp_path: pathlib.Path) -> None:
    delays, gains = str(tmp_path / "delay"), str(tmp_path / "gain")
    solutions.save_delays(delays, make_delays(2))
    solutions.save_solution(gains, Solution(describe(), make_table(1, 1), ("a",), ("1",)))
    with pytest.raises(DataError, match="delay is a table of kind 'delay', not one of gains; check the path"):
        solutions.load_solution(delays)
    with pytest.raises(DataError, match="gain is a table of kind 'gain', not one of delays; check the path"):
        solutions.load_delays(gains)


def test_a_table_of_an_earlier_radps_has_no_outliers(folder: str) -> None:
    table = make_table(2, 3)
    url = solutions.save_solution(f"{folder}/gain", Solution(describe(), table, ("a", "b"), ("1", "2")))
    stores.delete(f"{url}/OUTLIERS")
    found = solutions.load_solution(url).table
    assert found.outliers is None
    assert_same(found._replace(outliers=table.outliers), table)
