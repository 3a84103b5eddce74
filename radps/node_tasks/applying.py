"""Calibration tables on a worker: read them, interpolate them to a block of data, divide them out, correct a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from radps.data import solutions
from radps.data.visibilities import VisibilityChunk, write_chunk
from radps.domain.delays import DelayTable, interpolate_delays
from radps.domain.gains import GainTable
from radps.domain.interpolation import (
    InterpolatedGains,
    apply_gains,
    find_flagged_beside,
    interpolate_gains,
    multiply_gains,
)
from radps.node_tasks.blocks import Block
from radps.node_tasks.solution_tables import choose_times


class AppliedTable(NamedTuple):
    """A calibration table as it is applied to one field."""

    url: str
    from_fields: tuple[str, ...]
    """Fields whose solutions are used."""
    time_method: str = "linear"
    frequency_method: str = "linear"
    kind: str = "gain"
    """``delay``, ``bandpass``, ``phase`` or ``gain``: says what the table holds."""
    phase_frequency_hz: float | None = None
    """Frequency of the data that the phases are scaled to, as those of a delay; None: they hold at all frequencies."""
    flags_beside: bool = False
    """True = data beside a flagged solution in time are flagged; False = it is passed over."""


class ApplySummary(NamedTuple):
    """What the correction of a block did."""

    field: str
    n_data: int
    n_flagged_before: int
    n_flagged_after: int


def correct_block(
    block: Block, field: str, tables: Sequence[AppliedTable], visibility_url: str, flag_url: str, weight_url: str | None
) -> ApplySummary:
    """Divide the gains of all tables out of a block; write corrected visibilities, flags and, if asked, weights."""
    data = block.load(("visibility", "flag", "weight"))
    corrected = divide_tables(data, tables, calibrate_weights=weight_url is not None)
    where = {"times": block.time_slice, "channels": block.channel_slice}
    write_chunk(visibility_url, corrected.visibilities, **where)
    write_chunk(flag_url, corrected.flags, **where)
    if weight_url is not None:
        write_chunk(weight_url, corrected.weights, **where)
    return ApplySummary(field, data.flags.size, int(data.flags.sum()), int(corrected.flags.sum()))


def divide_tables(data: VisibilityChunk, tables: Sequence[AppliedTable], *, calibrate_weights: bool) -> VisibilityChunk:
    """Return the data with the gains of all tables divided out; what has no solution in one of them is flagged."""
    if not tables:
        return data
    gains = multiply_gains(*(_gains_for(data, table) for table in tables))
    corrected = apply_gains(
        data.visibilities,
        data.flags,
        data.weights,
        gains.gains,
        gains.flags,
        data.antenna1,
        data.antenna2,
        data.polarizations,
        calibrate_weights=calibrate_weights,
    )
    return data._replace(visibilities=corrected.visibilities, flags=corrected.flags, weights=corrected.weights)


def _gains_for(data: VisibilityChunk, applied: AppliedTable) -> InterpolatedGains:
    """Interpolate a table to the data of a block, from the solutions of the wanted fields."""
    if applied.kind == "delay":
        delays = solutions.load_delays(applied.url)
        delay_table = choose_times(delays.table, _rows(delays.fields, applied))
        gains = interpolate_delays(delay_table, data.time_s, data.frequency_hz, time_method=applied.time_method)
        return _flag_beside(gains, data, delay_table, applied)
    solution = solutions.load_solution(applied.url)
    table = choose_times(solution.table, _rows(solution.fields, applied))
    gains = interpolate_gains(
        table,
        data.time_s,
        data.frequency_hz,
        time_method=applied.time_method,
        frequency_method=applied.frequency_method,
        phase_frequency_hz=applied.phase_frequency_hz,
    )
    return _flag_beside(gains, data, table, applied)


def _flag_beside(
    gains: InterpolatedGains, data: VisibilityChunk, table: GainTable | DelayTable, applied: AppliedTable
) -> InterpolatedGains:
    """Flag the gains beside flagged solutions in time, if that is asked for; a bandpass has one time."""
    if not applied.flags_beside or len(table.time_s) < 2:
        return gains
    beside = find_flagged_beside(table.time_s, table.flags, data.time_s, applied.time_method)
    return gains._replace(flags=gains.flags | beside)


def _rows(fields: Sequence[str], applied: AppliedTable) -> list[int]:
    """Return the times of a table that are solutions of the wanted fields."""
    return [number for number, field in enumerate(fields) if field in applied.from_fields]
