"""The small parts of the calibration tasks: ranks of antennas, merging of scans, counts."""

from __future__ import annotations

import numpy as np
import pytest

from radps.domain.gains import GainTable
from radps.domain.solver import StopReason
from radps.node_tasks.calibration import (
    AntennaFlags,
    ScanGains,
    SolveSummary,
    merge_antenna_flags,
    merge_scan_gains,
    merge_solve_summaries,
    rank_antennas,
    rank_solved_antennas,
    summarise_gains,
)

POSITIONS_M = [(float(x), 0.0, 0.0) for x in (-100, -10, 0, 20, 90)]


def make_table(time_s: list[float], seed: int = 1, n_channels: int = 1) -> GainTable:
    rng = np.random.default_rng(seed)
    shape = (len(time_s), 4, n_channels, 2)
    cells = (len(time_s), n_channels, 2)
    return GainTable(
        time_s=np.array(time_s),
        frequency_hz=1.4e9 + 1e5 * np.arange(n_channels),
        gains=rng.uniform(0.5, 2.0, shape) * np.exp(2j * np.pi * rng.random(shape)),
        flags=np.zeros(shape, np.bool_),
        snr=rng.uniform(10, 100, shape),
        stop_reason=np.full(cells, StopReason.THRESHOLD, np.int8),
        n_iterations=np.full(cells, 9, np.int32),
    )


def make_summary(antenna_solutions: tuple[int, ...]) -> SolveSummary:
    return SolveSummary(40, 0, 0, 0, (5.0,), (True,), antenna_solutions)


def test_counts_of_flags_add_up_and_decide_the_rank() -> None:
    counts = merge_antenna_flags(
        [AntennaFlags((0, 0, 10, 0, 0), (10, 10, 10, 10, 0)), AntennaFlags((0, 9, 10, 0, 0), (10, 10, 10, 10, 0))]
    )
    assert counts == AntennaFlags((0, 9, 20, 0, 0), (20, 20, 20, 20, 0))
    # antenna 2 is the most central and has no data; 4 was not there at all
    assert rank_antennas(counts, POSITIONS_M, None) == (3, 1, 0, 2, 4)
    assert rank_antennas(counts, POSITIONS_M, 4) == (4, 3, 1, 0, 2)


def test_antennas_that_lack_most_of_the_bandpass_go_to_the_end() -> None:
    order = (2, 1, 3, 0)
    assert rank_solved_antennas(order, make_summary((100, 100, 3, 60)), None) == (1, 3, 0, 2)
    assert rank_solved_antennas(order, make_summary((100, 100, 3, 60)), 2) == (2, 1, 3, 0)
    assert rank_solved_antennas(order, make_summary((0, 0, 0, 0)), None) == order


def test_scans_are_merged_in_the_order_of_time_with_their_fields() -> None:
    parts = [
        ScanGains("b", "2", make_table([20.0, 50.0], 1)),
        ScanGains("a", "1", make_table([0.0], 2)),
        ScanGains("a", "3", make_table([30.0], 3)),
    ]
    merged = merge_scan_gains([parts[:2], parts[2:]], [1, 0])
    assert merged.table.time_s.tolist() == [0.0, 20.0, 30.0, 50.0]
    assert merged.fields == ("a", "b", "a", "b")
    assert merged.scans == ("1", "2", "3", "2")
    np.testing.assert_array_equal(np.angle(merged.table.gains[:, 1]), 0.0)
    np.testing.assert_allclose(np.abs(merged.table.gains[2]), np.abs(parts[2].table.gains[0]), rtol=1e-14)
    np.testing.assert_array_equal(merged.table.snr[3], parts[0].table.snr[1])


def test_a_reference_that_drops_out_of_a_scan_does_not_make_phases_jump() -> None:
    steady = make_table([0.0], 4).gains
    parts = []
    for number, turn in enumerate((0.0, 1.0, 2.0)):
        table = make_table([10.0 * number])._replace(gains=steady * np.exp(1j * turn))
        if number == 1:
            table.flags[:, 1] = True
        parts.append(ScanGains("a", str(number), table))
    merged = merge_scan_gains([parts], [1, 0, 2, 3])
    others = [0, 2, 3]
    expected = np.broadcast_to(merged.table.gains[:1, others], (3, 3, 1, 2))
    np.testing.assert_allclose(merged.table.gains[:, others], expected, rtol=1e-13)


@pytest.mark.parametrize("axis", ["time", "channel"])
def test_a_table_is_counted_along_either_axis(axis: str) -> None:
    table = make_table([0.0, 10.0, 20.0] if axis == "time" else [0.0], n_channels=1 if axis == "time" else 3)
    place = (1, slice(None), 0) if axis == "time" else (0, slice(None), 1)
    cell = (1, 0) if axis == "time" else (0, 1)
    table.flags[place] = True
    table.stop_reason[cell] = StopReason.NO_DATA
    table.flags[0, 3, 0, 1] = True
    table.stop_reason[0, 0, 0] = StopReason.MAX_ITERATIONS
    found = summarise_gains(table, axis)  # type: ignore[arg-type]
    assert found.n_solutions == 24
    assert found.n_without_data == 8
    assert found.n_flagged == 9
    assert found.n_not_converged == 1
    assert found.has_data == (True, False, True)
    assert found.antenna_solutions == (4, 4, 4, 3)
    rows = table.snr.swapaxes(0, 2) if axis == "channel" else table.snr
    good = ~(table.flags.swapaxes(0, 2) if axis == "channel" else table.flags)
    assert found.snr == (np.median(rows[0][good[0]]), 0.0, np.median(rows[2]))


def test_summaries_of_parts_add_up() -> None:
    table = make_table([0.0], n_channels=4)
    table.flags[0, 2, 1] = True
    parts = []
    for channels in (slice(0, 1), slice(1, 4)):
        parts.append(
            summarise_gains(
                table._replace(
                    gains=table.gains[:, :, channels],
                    flags=table.flags[:, :, channels],
                    snr=table.snr[:, :, channels],
                    stop_reason=table.stop_reason[:, channels],
                    n_iterations=table.n_iterations[:, channels],
                ),
                "channel",
            )
        )
    assert merge_solve_summaries(parts) == summarise_gains(table, "channel")
