"""Correct the data by the calibration tables that apply to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from dask.delayed import Delayed
from pydantic import Field

from radps.context.calibration_state import Correction, TableKind
from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import DataGroup, Outcome, OutcomeStatus, Partition, ScoreScope
from radps.context.scores import score_between
from radps.data.visibilities import create_like
from radps.domain.interpolation import InterpolationMethod
from radps.errors import ContextError
from radps.graph_tasks.shapes import map_chunks, run_task
from radps.node_tasks.applying import AppliedTable, ApplySummary, correct_block
from radps.stages.base import StageParams

GROUP = "corrected"
"""Data group of what this stage makes."""

COPIES = 4.0
"""Memory of a task, in units of its visibilities: the data, the gains a baseline, the corrected data."""


class Params(StageParams):
    """Parameters of the stage `apply_calibration`."""

    writes = ("groups.corrected", "tables")

    fields: tuple[str, ...] = ("all",)
    """Fields to correct."""
    time_interpolation: InterpolationMethod | dict[TableKind, InterpolationMethod] = InterpolationMethod.LINEAR
    """Solutions between two times: linear in amplitude and unwrapped phase, or nearest; of all tables, or by kind, such
    as {gain: nearest}, the others linear (CASA `interp`)."""
    flagged_solutions: Literal["skip", "flag"] = "skip"
    """What becomes of data beside a flagged solution in time: "skip" corrects them by the unflagged ones around it,
    "flag" flags them, as CASA does: where a solution on either side is flagged, or, for `nearest`, the nearest."""
    frequency_interpolation: InterpolationMethod = InterpolationMethod.LINEAR
    """Bandpass at a channel whose solution is flagged: linear between its neighbours (as CASA), or the nearest one."""
    window_map: dict[TableKind, dict[str, str]] = Field(default_factory=dict)
    """Spectral windows to correct by tables of another window, by kind: {gain: {spw1: spw0}} corrects spw1 by the gains
    of spw0 (CASA `spwmap`)."""
    gain_fields: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Calibrators by whose phases and gains a field is corrected: {N5921: [J1445+0958]}, both by name or word (CASA
    `gainfield`). By default calibrators by their own, and all other fields by those of all phase calibrators together,
    interpolated in time."""
    scale_phases: tuple[Literal["phase", "gain"], ...] = ()
    """Kinds of tables whose phases are taken for those of a delay, as the troposphere's: in the middle of a spectral
    window they are those of the solutions times the ratio of the frequencies (CASA `interp="linearPD"`). Phases that
    `calibrate` has solved so are always scaled."""
    calibrate_weights: bool = False
    """Scale the weights by the gains too (CASA `calwt`)."""


def apply_calibration(context: Context, params: Params) -> Delayed:
    """Divide the gains out of the data of each field; what has no solution is flagged and counted.

    Each field is corrected by the tables that apply to it: calibrators by their own gains, targets by those of the
    phase calibrators around them in time. Delays and phases are applied as they are, whatever the frequency of the
    window that they come from, unless phases are to be scaled with frequency.
    """
    if not context.calibration.tables:
        raise ContextError("there is no calibration table to apply; put the step `calibrate` before this one")
    groups, counts = {}, []
    used: dict[str, None] = {}
    for partition in context.visibilities(params.fields):
        corrections = _find_corrections(context, params, partition)
        part = context.for_part(partition, corrections, context.window(partition.window))
        group, graphs = _correct_partition(part, params, partition, corrections)
        groups[partition.name] = {GROUP: group}
        counts += graphs
        used.update(dict.fromkeys(one.table.name for one in corrections))
    return run_task(context, _finish, counts, groups, tuple(used))


def _find_corrections(context: Context, params: Params, partition: Partition) -> tuple[Correction, ...]:
    """Return the tables that apply to a partition, in their order; of mapped kinds those of the other window."""
    maps = {
        kind: windows[partition.window] for kind, windows in params.window_map.items() if partition.window in windows
    }
    wanted = {kind: maps.get(kind, partition.window) for kind in get_args(TableKind)}
    by_window = {
        window: context.calibration.corrections(partition.model_copy(update={"window": window}))
        for window in dict.fromkeys(wanted.values())
    }
    found = tuple(one for kind, window in wanted.items() for one in by_window[window] if one.table.kind == kind)
    known = (f"{one.name} ({'; '.join(map(str, one.applies_to))})" for one in context.calibration.tables)
    for kind, window in maps.items():
        if not any(one.table.kind == kind for one in found):
            raise ContextError(
                f"window_map: no table of kind {kind} of spectral window {window!r} applies to field "
                f"{partition.field!r}; there are: {', '.join(known)}"
            )
    if not found:
        raise ContextError(
            f"no calibration table applies to field {partition.field!r} in spectral window {partition.window!r}; there "
            f"are: {', '.join(known)}. Calibrate that window too, map it to another one by `window_map`, or leave the "
            "field out by `fields`"
        )
    return _from_wanted_fields(context, params, partition, found)


def _from_wanted_fields(
    context: Context, params: Params, partition: Partition, corrections: tuple[Correction, ...]
) -> tuple[Correction, ...]:
    """Return the corrections of a partition, with phases and gains of the calibrators that the user wants for it."""
    wanted = [sources for field, sources in params.gain_fields.items() if partition.field in context.field_names(field)]
    if not wanted:
        return corrections
    sources = context.field_names(wanted[-1])
    found = []
    for one in corrections:
        if one.table.kind not in ("phase", "gain"):
            found.append(one)
            continue
        if missing := [source for source in sources if source not in one.table.solved_on]:
            raise ContextError(
                f"gain_fields: table {one.table.name} has no solutions of {', '.join(missing)} for field "
                f"{partition.field!r}; it has those of {', '.join(one.table.solved_on)}. Solve on more fields by "
                "`calibrate: {gain_calibrators}`, or name others"
            )
        found.append(one._replace(from_fields=sources))
    return tuple(found)


def _correct_partition(
    context: Context, params: Params, partition: Partition, corrections: Sequence[Correction]
) -> tuple[DataGroup, list[Delayed]]:
    """Return the new data group of a partition, and the graphs that make it."""
    base = partition.groups["base"]
    folder = context.new_path("visibilities", partition.name)
    variables = {"visibility": "VISIBILITY_CORRECTED", "flag": "FLAG_CORRECTED"}
    if params.calibrate_weights:
        variables["weight"] = "WEIGHT_CORRECTED"
    paths = {role: f"{folder}/{name}" for role, name in variables.items()}
    address = context.address(partition, "base")
    created = [
        run_task(
            context, create_like, address, context.locate(folder), name, name=f"create-{partition.name}-{name.lower()}"
        )
        for name in variables.values()
    ]
    graphs = map_chunks(
        context,
        correct_block,
        plan_blocks(context, [partition], group="base", copies=COPIES),
        partition.field,
        [_applied(context, params, one, context.window(partition.window).middle_hz) for one in corrections],
        context.locate(paths["visibility"]),
        context.locate(paths["flag"]),
        context.locate(paths["weight"]) if params.calibrate_weights else None,
        name=f"correct-{partition.name}",
        after=created,
    )
    return DataGroup(**{**base.model_dump(), **paths}), graphs


def _applied(context: Context, params: Params, correction: Correction, frequency_hz: float) -> AppliedTable:
    """Return where a table is and how it is applied to data of a frequency."""
    is_scaled = correction.table.scales_with_frequency or correction.table.kind in params.scale_phases
    chosen = params.time_interpolation
    linear = InterpolationMethod.LINEAR
    return AppliedTable(
        url=context.locate(correction.table.path),
        from_fields=correction.from_fields,
        time_method=chosen.get(correction.table.kind, linear) if isinstance(chosen, dict) else chosen,
        frequency_method=params.frequency_interpolation,
        kind=correction.table.kind,
        phase_frequency_hz=frequency_hz if is_scaled else None,
        flags_beside=params.flagged_solutions == "flag",
    )


def _finish(
    counts: Sequence[ApplySummary], groups: dict[str, dict[str, DataGroup]], tables: tuple[str, ...]
) -> Outcome:
    """Add up what was flagged for want of a solution."""
    fields: dict[str, dict[str, int]] = {}
    for count in counts:
        one = fields.setdefault(count.field, {"data": 0, "flagged_before": 0, "flagged_after": 0})
        one["data"] += count.n_data
        one["flagged_before"] += count.n_flagged_before
        one["flagged_after"] += count.n_flagged_after
    lost = [f"{field}: {_lost_percent(one):.1f} %" for field, one in fields.items() if _lost_percent(one)]
    empty = [field for field, one in fields.items() if one["flagged_after"] == one["data"]]
    message = f"flagged for want of a solution: {', '.join(lost)}" if lost else "all data have solutions"
    if empty:
        message += f"; nothing is left of {', '.join(empty)}"
    return Outcome(
        status=OutcomeStatus.CAVEATS if empty else OutcomeStatus.SUCCESS,
        message=message,
        groups=groups,
        applied=tables,
        qa=tuple(
            score_between(
                "data without a solution",
                _lost_percent(one),
                unit="%",
                good=10.0,
                bad=60.0,
                applies_to=field,
                scope=ScoreScope.FIELD,
                hint="look at the flagged solutions of `calibrate`",
            )
            for field, one in fields.items()
        ),
        summary={"fields": fields},
    )


def _lost_percent(counts: dict[str, int]) -> float:
    """Return the part of the unflagged data that has no solution [%]; all of it where nothing was unflagged."""
    unflagged = counts["data"] - counts["flagged_before"]
    return 100 * (counts["flagged_after"] - counts["flagged_before"]) / unflagged if unflagged else 100.0
