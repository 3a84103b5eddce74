"""What calibration does on a worker: rank antennas, solve a part of a bandpass, solve scans, correct a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data import solutions
from radps.data.visibilities import VisibilityChunk, write_chunk
from radps.domain.gains import GainOptions, GainTable, solve_bandpass, solve_time_gains
from radps.domain.interpolation import InterpolatedGains, apply_gains, interpolate_gains, multiply_gains
from radps.domain.polarization import parallel_hands
from radps.domain.reference_antennas import rank_reference_antennas
from radps.domain.sky import Component, predict_components
from radps.domain.solver import StopReason
from radps.node_tasks.blocks import Block


class SolveSummary(NamedTuple):
    """Counts of a part of a gain solution; they merge by :func:`merge_solve_summaries`."""

    n_solutions: int
    """Antennas x intervals x channels x hands asked for."""
    n_flagged: int
    """Of these, flagged: too few data, too low a signal, not converged."""
    n_not_converged: int
    """Cells (interval, channel, hand) that had data and did not converge."""
    snr: tuple[float, ...]
    """Median signal-to-noise of each interval or channel."""


class ScanGains(NamedTuple):
    """The gains of the scans of one partition."""

    field: str
    scans: tuple[str, ...]
    """Scan of each time of the table."""
    table: GainTable


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


def rank_antennas(
    blocks: Sequence[Block], positions_m: Sequence[tuple[float, float, float]], preferred: int | None
) -> tuple[int, ...]:
    """Order the antennas as phase references: the one that the user named first, then those near the centre with few flags."""
    n_antennas = len(positions_m)
    flagged, total = np.zeros(n_antennas), np.zeros(n_antennas)
    for block in blocks:
        data = block.load(("visibility", "flag", "weight"))
        per_baseline = data.flags.sum(axis=(0, 2, 3))
        size = data.flags.size // len(data.antenna1)
        cross = data.antenna1 != data.antenna2
        for antennas in (data.antenna1[cross], data.antenna2[cross]):
            np.add.at(flagged, antennas, per_baseline[cross])
            np.add.at(total, antennas, size)
    fraction = np.divide(flagged, total, out=np.ones(n_antennas), where=total > 0)
    order = [int(antenna) for antenna in rank_reference_antennas(np.array(positions_m), fraction)]
    return tuple(order if preferred is None else [preferred, *(one for one in order if one != preferred)])


def solve_bandpass_channels(
    block: Block,
    components: tuple[Component, ...],
    n_antennas: int,
    reference_order: Sequence[int],
    options: GainOptions,
    url: str,
) -> SolveSummary:
    """Solve the bandpass of a block of channels and write it into the table at ``url``."""
    data = _parallel_hands(block.load())
    table = solve_bandpass(
        data.visibilities,
        _predict(data, components),
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
    return _summary(table)


def solve_scan_gains(
    block: Block,
    field: str,
    bandpass_url: str,
    components: tuple[Component, ...],
    n_antennas: int,
    reference_order: Sequence[int],
    options: GainOptions,
    interval_s: float | None,
) -> ScanGains:
    """Solve one gain an antenna, hand and interval from all channels of a block, after the bandpass is divided out.

    ``interval_s`` is the length of a solution interval; None is one interval a scan.
    """
    data = _parallel_hands(block.load())
    bandpass = solutions.load_solution(bandpass_url, channels=block.channel_slice).table
    gains = interpolate_gains(bandpass, data.time_s, data.frequency_hz)
    corrected = apply_gains(
        data.visibilities, data.flags, data.weights, gains.gains, gains.flags, data.antenna1, data.antenna2
    )
    interval, scans = _intervals(data, interval_s)
    table = solve_time_gains(
        corrected.visibilities,
        _predict(data, components),
        corrected.flags,
        corrected.weights,
        data.antenna1,
        data.antenna2,
        n_antennas,
        list(reference_order),
        time_s=data.time_s,
        frequency_hz=data.frequency_hz,
        interval=interval,
        options=options,
    )
    return ScanGains(field, scans, table)


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
        n_flagged=sum(part.n_flagged for part in parts),
        n_not_converged=sum(part.n_not_converged for part in parts),
        snr=tuple(snr for part in parts for snr in part.snr),
    )


def merge_scan_gains(parts: Sequence[ScanGains]) -> tuple[GainTable, tuple[str, ...], tuple[str, ...]]:
    """Join the gains of all partitions to one table in the order of time; returns it with the field and scan of each time."""
    times = np.concatenate([part.table.time_s for part in parts])
    order = np.argsort(times, kind="stable")
    joined = {
        name: np.concatenate([getattr(part.table, name) for part in parts])[order]
        for name in ("time_s", "gains", "flags", "snr", "stop_reason", "n_iterations")
    }
    fields = [part.field for part in parts for _ in part.scans]
    scans = [scan for part in parts for scan in part.scans]
    table = GainTable(frequency_hz=parts[0].table.frequency_hz, **joined)
    return table, tuple(fields[i] for i in order), tuple(scans[i] for i in order)


def summarise_gains(table: GainTable) -> SolveSummary:
    """Return the counts of a whole table."""
    return _summary(table)


def _parallel_hands(data: VisibilityChunk) -> VisibilityChunk:
    """Return the data of the parallel hands alone."""
    hands = parallel_hands(data.polarizations)
    return data._replace(
        visibilities=data.visibilities[..., hands],
        flags=data.flags[..., hands],
        weights=data.weights[..., hands],
        polarizations=tuple(data.polarizations[hand] for hand in hands),
    )


def _predict(data: VisibilityChunk, components: tuple[Component, ...]) -> NDArray[np.complex128]:
    """Return the model of a field, shape (time, baseline, channel, 1): the same in both hands."""
    n_times, n_baselines = data.uvw_m.shape[:2]
    model = predict_components(data.uvw_m.reshape(-1, 3), data.frequency_hz, components)
    return model.reshape(n_times, n_baselines, len(data.frequency_hz), 1)


def _intervals(data: VisibilityChunk, interval_s: float | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the interval of each time, counted from 0, and the scan of each interval."""
    labels: list[tuple[str, int]] = []
    start: dict[str, float] = {}
    for time, scan in zip(data.time_s, data.scan_names, strict=True):
        first = start.setdefault(scan, float(time))
        labels.append((scan, 0 if interval_s is None else int((float(time) - first) / interval_s)))
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.array([numbers[label] for label in labels], np.int64), tuple(scan for scan, _ in numbers)


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


def _summary(table: GainTable) -> SolveSummary:
    """Count what a table has."""
    axis = 2 if table.gains.shape[0] == 1 else 0
    snr = np.moveaxis(np.where(table.flags, np.nan, table.snr), axis, 0)
    medians = [float(np.median(row[np.isfinite(row)])) if np.isfinite(row).any() else 0.0 for row in snr]
    stopped = table.stop_reason
    failed = (stopped != StopReason.NO_DATA) & (stopped != StopReason.THRESHOLD)
    return SolveSummary(table.flags.size, int(table.flags.sum()), int(failed.sum()), tuple(medians))
