"""Delays on a worker: solve those of a scan, join the scans to a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data import solutions
from radps.data.solutions import DelaySolution, SolutionDescription
from radps.domain.delays import DelayOptions, DelayTable, reference_delays, solve_delays
from radps.domain.solution_intervals import SolutionInterval
from radps.domain.solver import StopReason
from radps.domain.stefcal import GainOptions
from radps.node_tasks.solution_tables import join_times
from radps.node_tasks.solving import ScanPart, sum_scan_channels


class ScanDelays(NamedTuple):
    """The delays of one scan of a calibrator."""

    field: str
    scan: str
    table: DelayTable


class DelaySummary(NamedTuple):
    """What was found of the delays of a spectral window."""

    n_solutions: int
    """Antennas x intervals x hands."""
    n_flagged: int
    median_snr: float
    """Of unflagged solutions; 0 without any."""
    largest_delay_s: float
    """Largest modulus of an unflagged delay, against the reference antenna."""
    median_error_s: float
    """Of unflagged solutions of other antennas than the reference; 0 without any."""
    antenna_solutions: tuple[int, ...]
    """Unflagged solutions of each antenna."""
    outliers: float = 0.0
    """Mean part of the data that robust sums found off, over intervals and hands with data; 0 if nobody looked."""


def solve_scan_delays(
    part: ScanPart,
    field: str,
    scan: str,
    n_antennas: int,
    reference_order: Sequence[int],
    options: DelayOptions,
    interval: SolutionInterval,
) -> ScanDelays:
    """Solve a delay an antenna, hand and interval of a scan."""
    gain_options = GainOptions(min_baselines=options.min_baselines, robust=options.robust)
    scan_sums = sum_scan_channels(part, interval, n_antennas, gain_options)
    table = solve_delays(
        scan_sums.sums,
        scan_sums.antenna1,
        scan_sums.antenna2,
        n_antennas,
        list(reference_order),
        scan_sums.frequency_hz,
        options,
    )
    if scan_sums.outliers is not None:
        has_data = scan_sums.sums.model_power.max(axis=1) > 0
        table = table._replace(outliers=_mean_of_channels(scan_sums.outliers, has_data))
    return ScanDelays(field, scan, table)


def _mean_of_channels(outliers: NDArray[np.float32], has_data: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mean over the channels that have data, (interval, 1, hand); 0 where none has."""
    total = outliers.sum(axis=1, keepdims=True, where=has_data, dtype=np.float64)
    return np.asarray(total / np.maximum(has_data.sum(axis=1, keepdims=True), 1), np.float32)


def merge_delays(
    parts: Sequence[ScanDelays], url: str, description: SolutionDescription, reference_order: Sequence[int]
) -> DelaySummary:
    """Join the delays of all scans to one table in the order of time, write it, and say what it holds."""
    joined, labels = join_times([part.table for part in parts], [(part.field, part.scan) for part in parts])
    table = reference_delays(joined, list(reference_order))
    solutions.save_delays(url, DelaySolution(description, table, labels.fields, labels.scans))
    good = ~table.flags
    measured = good & (table.errors_s > 0)
    has_data = table.stop_reason != StopReason.NO_DATA
    return DelaySummary(
        n_solutions=table.flags.size,
        n_flagged=int(table.flags.sum()),
        median_snr=float(np.median(table.snr[good])) if good.any() else 0.0,
        largest_delay_s=float(np.abs(table.delays_s[good]).max(initial=0.0)),
        median_error_s=float(np.median(table.errors_s[measured])) if measured.any() else 0.0,
        antenna_solutions=tuple(np.count_nonzero(good, axis=(0, 2, 3)).tolist()),
        outliers=float(table.outliers[has_data].mean()) if table.outliers is not None and has_data.any() else 0.0,
    )
