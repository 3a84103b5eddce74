"""What calibration does on a worker: rank antennas, solve a part of a bandpass, solve scans, correct a block."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data import solutions
from radps.data.stores import load_array
from radps.data.urls import join_url
from radps.data.visibilities import VisibilityChunk, write_chunk
from radps.domain.gains import (
    GainOptions,
    GainSums,
    GainTable,
    accumulate_gain_sums,
    add_gain_sums,
    place_empty_intervals,
    reference_phases,
    solve_bandpass,
    solve_gain_sums,
)
from radps.domain.interpolation import InterpolatedGains, apply_gains, interpolate_gains, multiply_gains
from radps.domain.polarization import parallel_hands
from radps.domain.reference_antennas import rank_reference_antennas
from radps.domain.solution_intervals import SolutionInterval, number_intervals
from radps.domain.solver import StopReason
from radps.node_tasks.blocks import Block
from radps.node_tasks.prediction import FieldModel, predict_field


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


class ApplySummary(NamedTuple):
    """What the correction of a block did."""

    field: str
    n_data: int
    n_flagged_before: int
    n_flagged_after: int


class AppliedTable(NamedTuple):
    """A calibration table as it is applied to one field."""

    url: str
    from_fields: tuple[str, ...]
    """Fields whose solutions are used."""
    time_method: str
    frequency_method: str


def count_antenna_flags(block: Block, n_antennas: int) -> AntennaFlags:
    """Count the flags of every antenna in a block, autocorrelations left out."""
    data = block.load(("visibility", "flag", "weight"))
    cross = data.antenna1 != data.antenna2
    per_baseline = np.count_nonzero(data.flags, axis=(0, 2, 3))[cross]
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
) -> SolveSummary:
    """Solve the bandpass of a block of channels and write it into the table at ``url``."""
    data = _parallel_hands(block.load())
    table = solve_bandpass(
        data.visibilities,
        _predict(data, model),
        data.flags,
        data.weights,
        data.antenna1,
        data.antenna2,
        n_antennas,
        list(reference_order),
        time_s=data.time_s,
        frequency_hz=data.frequency_hz,
        options=options,
    )
    solutions.write_solution_channels(url, block.channel_slice, table)
    return summarise_gains(table, "channel")


def solve_scan_gains(
    pieces: Sequence[Block],
    field: str,
    scan: str,
    bandpass_url: str,
    model: FieldModel,
    n_antennas: int,
    reference_order: Sequence[int],
    options: GainOptions,
    solution_interval: SolutionInterval,
) -> ScanGains:
    """Solve one gain an antenna, hand and interval of a scan from all channels, after the bandpass is divided out.

    The data come in pieces, disjoint blocks that cover the scan, and are summed one piece after the other: the memory
    is that of a piece.
    """
    store = pieces[0].address.store
    times = slice(min(piece.times[0] for piece in pieces), max(piece.times[1] for piece in pieces))
    channels = slice(min(piece.channels[0] for piece in pieces), max(piece.channels[1] for piece in pieces))
    time_s = load_array(join_url(store, "time"), (times,))
    frequency_hz = load_array(join_url(store, "frequency"), (channels,))
    interval = number_intervals(time_s, solution_interval)
    parts = []
    for piece in pieces:
        own = interval[piece.times[0] - times.start : piece.times[1] - times.start]
        parts.append(_sum_piece(piece, bandpass_url, model, own, int(interval.max()) + 1))
    data = pieces[0].load(())
    table = solve_gain_sums(
        place_empty_intervals(functools.reduce(add_gain_sums, parts), time_s, interval),
        data.antenna1,
        data.antenna2,
        n_antennas,
        list(reference_order),
        np.array([np.mean(frequency_hz)]),
        options,
    )
    return ScanGains(field, scan, table)


def correct_block(
    block: Block, field: str, tables: Sequence[AppliedTable], visibility_url: str, flag_url: str, weight_url: str | None
) -> ApplySummary:
    """Divide the gains of all tables out of a block; write corrected visibilities, flags and, if asked, weights."""
    data = block.load(("visibility", "flag", "weight"))
    gains = multiply_gains(*(_gains_for(data, table, block) for table in tables))
    corrected = apply_gains(
        data.visibilities,
        data.flags,
        data.weights,
        gains.gains,
        gains.flags,
        data.antenna1,
        data.antenna2,
        calibrate_weights=weight_url is not None,
    )
    where = {"times": block.time_slice, "channels": block.channel_slice}
    write_chunk(visibility_url, corrected.visibilities, **where)
    write_chunk(flag_url, corrected.flags, **where)
    if weight_url is not None:
        write_chunk(weight_url, corrected.weights, **where)
    return ApplySummary(field, data.flags.size, int(data.flags.sum()), int(corrected.flags.sum()))


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
    )


def merge_scan_gains(parts: Sequence[ScanGains], reference_order: Sequence[int]) -> MergedGains:
    """Join the gains of all scans to one table in the order of time, with the phases of one reference throughout."""
    order = np.argsort(np.concatenate([part.table.time_s for part in parts]), kind="stable")
    joined = {
        name: np.concatenate([getattr(part.table, name) for part in parts])[order]
        for name in ("time_s", "gains", "flags", "snr", "stop_reason", "n_iterations")
    }
    joined["gains"] = reference_phases(joined["gains"], joined["flags"], list(reference_order))
    labels = [(part.field, part.scan) for part in parts for _ in part.table.time_s]
    return MergedGains(
        table=GainTable(frequency_hz=parts[0].table.frequency_hz, **joined),
        fields=tuple(labels[number][0] for number in order),
        scans=tuple(labels[number][1] for number in order),
    )


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
    )


def _parallel_hands(data: VisibilityChunk) -> VisibilityChunk:
    """Return the data of the parallel hands alone."""
    hands = parallel_hands(data.polarizations)
    return data._replace(
        visibilities=data.visibilities[..., hands],
        flags=data.flags[..., hands],
        weights=data.weights[..., hands],
        polarizations=tuple(data.polarizations[hand] for hand in hands),
    )


def _predict(data: VisibilityChunk, model: FieldModel) -> NDArray[np.complex128]:
    """Return the model of a field, shape (time, baseline, channel, 1): the same in both hands."""
    n_times, n_baselines = data.uvw_m.shape[:2]
    visibilities = predict_field(data.uvw_m.reshape(-1, 3), data.frequency_hz, model)
    return visibilities.reshape(n_times, n_baselines, len(data.frequency_hz), 1)


def _sum_piece(
    piece: Block,
    bandpass_url: str,
    model: FieldModel,
    interval: NDArray[np.int64],
    n_intervals: int,
) -> GainSums:
    """Return the sums of a piece of a scan, with the bandpass divided out."""
    data = _parallel_hands(piece.load())
    bandpass = solutions.load_solution(bandpass_url, channels=piece.channel_slice).table
    gains = interpolate_gains(bandpass, data.time_s, data.frequency_hz)
    # CASA's gaincal scales the weights by the tables that it applies on the fly, whatever is done with the data later.
    corrected = apply_gains(
        data.visibilities,
        data.flags,
        data.weights,
        gains.gains,
        gains.flags,
        data.antenna1,
        data.antenna2,
        calibrate_weights=True,
    )
    return accumulate_gain_sums(
        corrected.visibilities,
        _predict(data, model),
        corrected.flags,
        corrected.weights,
        time_s=data.time_s,
        interval=interval,
        channel=np.zeros(len(data.frequency_hz), np.int64),
        n_intervals=n_intervals,
    )


def _gains_for(data: VisibilityChunk, applied: AppliedTable, block: Block) -> InterpolatedGains:
    """Interpolate a table to the data of a block, from the solutions of the wanted fields."""
    solution = solutions.load_solution(applied.url)
    rows = [number for number, field in enumerate(solution.fields) if field in applied.from_fields]
    table = solution.table
    chosen = table._replace(
        time_s=table.time_s[rows],
        gains=table.gains[rows],
        flags=table.flags[rows],
        snr=table.snr[rows],
        stop_reason=table.stop_reason[rows],
        n_iterations=table.n_iterations[rows],
    )
    return interpolate_gains(
        chosen,
        data.time_s,
        data.frequency_hz,
        time_method=applied.time_method,
        frequency_method=applied.frequency_method,
    )
