"""Flag antennas that the calibration shows to be bad."""

from __future__ import annotations

from collections.abc import Sequence

from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import DataGroup, Outcome
from radps.domain.solution_outliers import OutlierLimits
from radps.errors import ContextError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.flag_writing import FlagCounts, merge_flag_counts
from radps.node_tasks.solution_outliers import JudgedAntenna, JudgedTable, flag_outliers_block, judge_table
from radps.stages._flags import WRITES, choose_group, finish_flags, flag_outcome, plan_new_flags
from radps.stages.base import StageParams

COPIES = 0.5
"""Memory of a task, in units of its visibilities with flags and weights: flags, old and new ones."""

KINDS = ("bandpass", "gain")
"""Tables whose amplitudes are judged."""


class Params(StageParams):
    """Parameters of the stage `flag_outliers`."""

    writes = WRITES

    max_bad_fraction: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Antennas with a larger fraction of bad solutions are flagged."""
    lowest_level: float = Field(default=0.5, ge=0.0, lt=1.0)
    """A solution is bad if its amplitude is below this, over the median of all antennas (CASA `fnm_lo_limit`)."""
    highest_level: float = Field(default=2.0, gt=1.0)
    """A solution is bad if its amplitude is above this, over the median of all antennas."""
    n_sigma: float = Field(default=6.0, gt=0.0)
    """A solution is bad if its amplitude is off the antenna's own median by more than this many sigma of the scatter of
    all antennas ..."""
    min_jump: float = Field(default=0.1, ge=0.0)
    """... and by more than this fraction."""


def flag_outliers(context: Context, params: Params) -> Delayed:
    """Flag antennas whose solutions are missing, off or unsteady, in the data that the tables correct.

    Each hand of polarization is judged by itself; all correlations in which a bad receptor takes part are flagged.
    """
    tables = {table.name: table for table in context.calibration.tables if table.kind in KINDS}
    if not tables:
        raise ContextError("there is no table of gains to judge antennas by; put the step `calibrate` before this one")
    limits = OutlierLimits(**params.model_dump())
    judged = {
        name: run_task(context, judge_table, (name, context.locate(table.path)), limits, name=f"judge-{name}")
        for name, table in tables.items()
    }
    groups, counts, flagged = {}, [], []
    for partition in context.visibilities():
        corrections = context.calibration.corrections(partition)
        names = [one.table.name for one in corrections if one.table.name in tables]
        if not names:
            continue
        part = context.for_part(partition, corrections)
        new = plan_new_flags(part, partition)
        parts = map_chunks(
            part,
            flag_outliers_block,
            plan_blocks(part, [partition], group=choose_group(partition, None), copies=COPIES),
            [judged[name] for name in names],
            new.job,
            name=f"flag-{partition.name}",
            after=new.created,
        )
        counts.append(reduce_tree(part, merge_flag_counts, parts, name=f"count-{partition.name}"))
        groups[partition.name] = new.groups
        flagged.append(partition)
    saved, antennas = finish_flags(context, flagged, counts)
    windows = {name: table.window for name, table in tables.items()}
    return run_task(context, _finish, saved, groups, antennas, list(judged.values()), windows)


def _finish(
    counts: Sequence[FlagCounts],
    groups: dict[str, dict[str, DataGroup]],
    antennas: tuple[str, ...],
    judged: Sequence[JudgedTable],
    windows: dict[str, str],
) -> Outcome:
    """Say which antennas are bad, and why."""
    found = {f"{one.antenna} {one.receptor} in {windows[table.table]}": None for table in judged for one in table.bad}
    empty = [table.table for table in judged if not table.n_solutions]
    note = f"bad: {', '.join(found)}" if found else "no antenna is bad"
    if empty:
        note += f"; no solutions to judge by in {', '.join(empty)}"
    outcome = flag_outcome(counts, groups, antennas, note=note, has_caveats=bool(empty))
    tables = {table.table: [_describe(one) for one in table.bad] for table in judged}
    return outcome.model_copy(update={"summary": {**outcome.summary, "outliers": tables}})


def _describe(one: JudgedAntenna) -> dict[str, str | float]:
    return dict(one._asdict())
