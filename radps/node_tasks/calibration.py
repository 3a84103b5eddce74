"""What calibration does on a worker: rank antennas, solve a part of a bandpass, solve scans, count solutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from radps.data import solutions
from radps.data.solutions import Solution, SolutionDescription
from radps.domain.bandpass import center_phases
from radps.domain.flagging import count_times
from radps.domain.gains import GainTable, solve_bandpass, solve_gain_sums
from radps.domain.reference_antennas import rank_reference_antennas, reference_phases
from radps.domain.solution_intervals import SolutionInterval
from radps.domain.solver import StopReason
from radps.domain.stefcal import GainOptions
from radps.node_tasks.applying import AppliedTable
from radps.node_tasks.blocks import Block
from radps.node_tasks.prediction import FieldModel
from radps.node_tasks.solution_tables import join_times
from radps.node_tasks.solving import ScanPart, load_corrected, predict_model, sum_scans


class AntennaFlags(NamedTuple):
    """Flags of the cross-correlations of every antenna; counts merge by :func:`merge_antenna_flags`."""

    flagged: tuple[int, ...]
    """Flagged data of each antenna."""
    total: tuple[int, ...]
    """All data of each antenna."""


class SolveSummary(NamedTuple):
    """Counts of a part of a gain solution; they merge by :func:`merge_solve_summaries`."""

    n_solutions: int
    """Antennas x intervals x channels x hands asked for."""
    n_without_data: int
    """Of these, in cells (interval, channel, hand) without any data; flagged."""
    n_flagged: int
    """All that are flagged: no or too few data, too low a signal, not converged."""
    n_not_converged: int
    """Cells that had data and did not converge."""
    snr: tuple[float, ...]
    """Median signal-to-noise of each interval or channel; 0 where every solution is flagged."""
    has_data: tuple[bool, ...]
    """True for each interval or channel that had data to solve for."""
    antenna_solutions: tuple[int, ...]
    """Unflagged solutions of each antenna."""
    outliers: float = 0.0
    """Mean part of the data that robust solutions found off, over the cells with data; 0 if nobody looked."""
    misfit: float | None = None
    """Of a bandpass that is averaged, smoothed or fitted: its difference to single channels beyond noise, relative."""


class ScanData(NamedTuple):
    """One scan of a calibrator, to be solved."""

    field: str
    scan: str
    parts: tuple[ScanPart, ...]
    """One for each spectral window whose data share a gain."""


class ScanGains(NamedTuple):
    """The gains of one scan of a calibrator."""

    field: str
    scan: str
    table: GainTable


class MergedGains(NamedTuple):
    """The gains of all scans of a spectral window, in the order of time."""

    table: GainTable
    fields: tuple[str, ...]
    """Field of each time of the table."""
    scans: tuple[str, ...]
    """Scan of each time of the table."""


def count_antenna_flags(block: Block, n_antennas: int) -> AntennaFlags:
    """Count the flags of every antenna in a block, autocorrelations left out."""
    data = block.load(("visibility", "flag", "weight"))
    cross = data.antenna1 != data.antenna2
    per_baseline = count_times(data.flags).sum(axis=(1, 2))[cross]
    size = data.flags.size // len(data.antenna1)
    flagged, total = np.zeros(n_antennas, np.int64), np.zeros(n_antennas, np.int64)
    for antennas in (data.antenna1[cross], data.antenna2[cross]):
        np.add.at(flagged, antennas, per_baseline)
        np.add.at(total, antennas, size)
    return AntennaFlags(tuple(flagged.tolist()), tuple(total.tolist()))


def merge_antenna_flags(parts: Sequence[AntennaFlags]) -> AntennaFlags:
    """Add up the counts of disjoint blocks."""
    return AntennaFlags(
        flagged=tuple(np.sum([part.flagged for part in parts], axis=0).tolist()),
        total=tuple(np.sum([part.total for part in parts], axis=0).tolist()),
    )


def rank_antennas(
    counts: AntennaFlags, positions_m: Sequence[tuple[float, float, float]], preferred: int | None
) -> tuple[int, ...]:
    """Order the antennas as phase references: first the one that the user named, then central ones with few flags."""
    flagged, total = np.array(counts.flagged, np.float64), np.array(counts.total, np.float64)
    fraction = np.divide(flagged, total, out=np.ones(len(total)), where=total > 0)
    order = [int(antenna) for antenna in rank_reference_antennas(np.array(positions_m), fraction)]
    return tuple(order if preferred is None else [preferred, *(one for one in order if one != preferred)])


def rank_solved_antennas(order: Sequence[int], bandpass: SolveSummary, preferred: int | None) -> tuple[int, ...]:
    """Move antennas that lack most of the bandpass to the end of the order: they see nothing, flagged or not."""
    needed = 0.5 * max(bandpass.antenna_solutions)
    good = [antenna for antenna in order if antenna == preferred or bandpass.antenna_solutions[antenna] >= needed]
    return (*good, *(antenna for antenna in order if antenna not in good))


def solve_bandpass_channels(
    block: Block,
    model: FieldModel,
    n_antennas: int,
    reference_order: Sequence[int],
    options: GainOptions,
    url: str,
    applied: tuple[AppliedTable, ...] = (),
) -> SolveSummary:
    """Solve the bandpass of a block of channels, after tables are divided out, and write it to the table at ``url``."""
    table = solve_block(block, model, n_antennas, reference_order, options, applied)
    solutions.write_solution_channels(url, block.channel_slice, table)
    return summarise_gains(table, "channel")


def solve_block(
    block: Block,
    model: FieldModel,
    n_antennas: int,
    reference_order: Sequence[int],
    options: GainOptions,
    applied: tuple[AppliedTable, ...],
    n_average: int = 1,
) -> GainTable:
    """Return the bandpass of a block of channels, or of groups of them, after tables are divided out."""
    data = load_corrected(block, applied)
    return solve_bandpass(
        data.visibilities,
        predict_model(block, data, model),
        data.flags,
        data.weights,
        data.antenna1,
        data.antenna2,
        n_antennas,
        list(reference_order),
        time_s=data.time_s,
        frequency_hz=data.frequency_hz,
        n_average=n_average,
        options=options,
    )


def solve_scan_gains(
    scans: Sequence[ScanData],
    n_antennas: int,
    reference_order: Sequence[int],
    options: GainOptions,
    interval: SolutionInterval,
) -> tuple[ScanGains, ...]:
    """Solve one gain an antenna, hand and interval of each scan from all channels, after tables are divided out.

    The scans are those that are read together. Each has a part for each spectral window; the gains are those of all
    windows together.
    """
    found = []
    for scan, scan_sums in zip(
        scans, sum_scans([one.parts for one in scans], interval, n_antennas, options), strict=True
    ):
        table = solve_gain_sums(
            scan_sums.sums,
            scan_sums.antenna1,
            scan_sums.antenna2,
            n_antennas,
            list(reference_order),
            np.array([np.mean(scan_sums.frequency_hz)]),
            options,
        )
        found.append(ScanGains(scan.field, scan.scan, table._replace(outliers=scan_sums.outliers)))
    return tuple(found)


def save_merged_gains(
    parts: Sequence[Sequence[ScanGains]], url: str, description: SolutionDescription, reference_order: Sequence[int]
) -> SolveSummary:
    """Join the gains of all scans to one table, write it, and count what it holds."""
    merged = merge_scan_gains(parts, reference_order)
    solutions.save_solution(url, Solution(description, merged.table, merged.fields, merged.scans))
    return summarise_gains(merged.table, "time")


def save_phase_up(
    parts: Sequence[Sequence[ScanGains]], url: str, description: SolutionDescription, reference_order: Sequence[int]
) -> SolveSummary:
    """Join the phases of all scans, write what they drift by about their mean, and count what there is.

    The mean stays in the bandpass, whose windows then keep the phases that they have against each other.
    """
    merged = merge_scan_gains(parts, reference_order)
    table = center_phases(merged.table)
    solutions.save_solution(url, Solution(description, table, merged.fields, merged.scans))
    return summarise_gains(table, "time")


def merge_solve_summaries(parts: Sequence[SolveSummary]) -> SolveSummary:
    """Add up the summaries of disjoint parts, in their order."""
    return SolveSummary(
        n_solutions=sum(part.n_solutions for part in parts),
        n_without_data=sum(part.n_without_data for part in parts),
        n_flagged=sum(part.n_flagged for part in parts),
        n_not_converged=sum(part.n_not_converged for part in parts),
        snr=tuple(snr for part in parts for snr in part.snr),
        has_data=tuple(has_data for part in parts for has_data in part.has_data),
        antenna_solutions=tuple(np.sum([part.antenna_solutions for part in parts], axis=0).tolist()),
        outliers=_mean_outliers(parts),
    )


def merge_scan_gains(parts: Sequence[Sequence[ScanGains]], reference_order: Sequence[int]) -> MergedGains:
    """Join the gains of all scans, as tasks found them, to one table in the order of time, with one phase reference."""
    scans = [scan for part in parts for scan in part]
    table, labels = join_times([scan.table for scan in scans], [(scan.field, scan.scan) for scan in scans])
    gains = reference_phases(table.gains, table.flags, list(reference_order), table.time_s)
    return MergedGains(table._replace(gains=gains), labels.fields, labels.scans)


def summarise_gains(table: GainTable, axis: Literal["time", "channel"]) -> SolveSummary:
    """Count what a table has; signal-to-noise and data are given for each element along the axis."""
    place = {"time": 0, "channel": 1}[axis]
    flags, snr = (np.moveaxis(array, 1, 2).swapaxes(0, place) for array in (table.flags, table.snr))
    medians = [
        float(np.median(row_snr[~row_flags])) if not row_flags.all() else 0.0
        for row_flags, row_snr in zip(flags, snr, strict=True)
    ]
    has_data = table.stop_reason != StopReason.NO_DATA
    failed = has_data & (table.stop_reason != StopReason.THRESHOLD)
    return SolveSummary(
        n_solutions=table.flags.size,
        n_without_data=int((~has_data).sum()) * table.flags.shape[1],
        n_flagged=int(table.flags.sum()),
        n_not_converged=int(failed.sum()),
        snr=tuple(medians),
        has_data=tuple(bool(one.any()) for one in has_data.swapaxes(0, place)),
        antenna_solutions=tuple(np.count_nonzero(~table.flags, axis=(0, 2, 3)).tolist()),
        outliers=float(table.outliers[has_data].mean()) if table.outliers is not None and has_data.any() else 0.0,
    )


def _mean_outliers(parts: Sequence[SolveSummary]) -> float:
    """Return the mean of the parts, each by its solutions that had data."""
    counts = [part.n_solutions - part.n_without_data for part in parts]
    total = sum(part.outliers * count for part, count in zip(parts, counts, strict=True))
    return total / sum(counts) if sum(counts) else 0.0
