"""Subtract the continuum from the visibilities of the target."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import (
    DataGroup,
    FrequencyRange,
    Outcome,
    OutcomeStatus,
    Partition,
    QAScore,
    ScoreScope,
)
from radps.context.scores import score_between
from radps.context.selection import ChannelRange, frequency_ranges
from radps.data.visibilities import create_like
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, run_task
from radps.node_tasks.continuum import SubtractSummary, subtract_continuum_block
from radps.stages._line_free import channels_without_line
from radps.stages.base import StageParams

GROUP = "continuum_subtracted"
"""Data group of what this stage makes."""

COPIES = 4.0
"""Memory of a task, in units of its visibilities: the data, the model, the difference."""


class Params(StageParams):
    """Parameters of the stage `subtract_continuum`."""

    writes = ("groups.continuum_subtracted", "line_free")

    line_free: tuple[ChannelRange, ...] | None = Field(default=None, min_length=1)
    """Channels without line, such as ["4~6", "50~59"], or frequencies in the frame of the data, or in one that is
    named: ["1412.7~1412.8 MHz LSRK"]; by default those that a step before this one found (`find_continuum`)."""
    order: int = Field(default=0, ge=0, le=5)
    """Order of the polynomial in frequency."""
    fields: tuple[str, ...] = ("target",)
    """Fields to subtract the continuum of."""


def subtract_continuum(context: Context, params: Params) -> Delayed:
    """Fit a polynomial to the line-free channels of every time, baseline and polarization, and subtract it.

    Each spectral window is fitted by itself, the real and the imaginary part with the same weights (CASA `uvcontsub`).
    Ranges that the parameters give are recorded in the context, in Hz, for the stages after this one. Rows with too few
    line-free data are flagged and counted. Data of which a search found too few channels without line stay as they are.
    """
    groups, counts = {}, []
    given: dict[tuple[str, str], tuple[FrequencyRange, ...]] = {}
    left_out, n_line_free = [], set()
    for partition in context.visibilities(params.fields):
        window = context.window(partition.window)
        channels = _choose_channels(context, params, partition)
        if channels is None:
            left_out.append(f"{partition.field} in {window.name}")
            continue
        n_line_free.add(sum(stop - start for start, stop in channels))
        ranges = frequency_ranges(channels, window, "config", partition.field)
        if params.line_free is not None:
            given[partition.field, window.name] = ranges
        part = context.for_part(partition, ranges)
        folder = part.new_path("visibilities", partition.name)
        names = {"visibility": "VISIBILITY_CONTINUUM_SUBTRACTED", "flag": "FLAG_CONTINUUM_SUBTRACTED"}
        paths = {role: f"{folder}/{name}" for role, name in names.items()}
        address = part.address(partition)
        created = [
            run_task(part, create_like, address, part.locate(folder), name, name=f"create-{partition.name}-{role}")
            for role, name in names.items()
        ]
        counts += map_chunks(
            part,
            subtract_continuum_block,
            plan_blocks(part, [partition], whole="frequency", copies=COPIES),
            partition.field,
            channels,
            params.order,
            part.locate(paths["visibility"]),
            part.locate(paths["flag"]),
            name=f"subtract-{partition.name}",
            after=created,
        )
        newest = list(partition.groups.values())[-1]
        groups[partition.name] = {GROUP: DataGroup(**{**newest.model_dump(), **paths})}
    line_free = tuple(one for found in given.values() for one in found)
    fitted = f"order {params.order} through {' to '.join(map(str, _ends(n_line_free)))} line-free channels"
    return run_task(context, _finish, counts, groups, line_free, tuple(left_out), fitted)


def _ends(numbers: Collection[int]) -> tuple[int, ...]:
    """Return the smallest and the largest number, once if they are the same."""
    return tuple(dict.fromkeys((min(numbers), max(numbers)))) if numbers else ()


def _choose_channels(context: Context, params: Params, partition: Partition) -> tuple[tuple[int, int], ...] | None:
    """Return the half-open ranges of channels to fit; None if a search found too few of them.

    Raises
    ------
    SelectionError
        The parameters give too few, or neither they nor a step before say which.
    """
    window = context.window(partition.window)
    if params.line_free is not None:
        channels = channels_without_line(context, partition, params.line_free)
    else:
        known = context.line_free_channels(partition.field, window.name)
        if known is None:
            raise SelectionError(
                f"no channels of field {partition.field} in {window.name} are known to be without line; give "
                "line_free, or put the step `find_continuum` before this one"
            )
        channels = known
    n_line_free = sum(stop - start for start, stop in channels)
    if n_line_free > params.order:
        return channels
    if params.line_free is None:
        return None
    raise SelectionError(
        f"{n_line_free} line-free channels for a polynomial of order {params.order}; it needs at least "
        f"{params.order + 1}"
    )


def _finish(
    counts: Sequence[SubtractSummary],
    groups: dict[str, dict[str, DataGroup]],
    line_free: tuple[FrequencyRange, ...],
    left_out: tuple[str, ...],
    fitted: str,
) -> Outcome:
    """Count the rows that could not be fitted; ``fitted`` is said where there are none."""
    fields: dict[str, dict[str, int]] = {}
    for count in counts:
        one = fields.setdefault(count.field, {"rows": 0, "empty": 0, "failed": 0})
        one["rows"] += count.n_rows
        one["empty"] += count.n_empty
        one["failed"] += count.n_failed
    problems = [
        f"{one['failed']} of {one['rows'] - one['empty']} rows of {field} have too few line-free data and are flagged"
        for field, one in fields.items()
        if one["failed"]
    ]
    problems += [f"all data of {field} are flagged" for field, one in fields.items() if one["empty"] == one["rows"]]
    if left_out:
        problems.append(
            f"too few channels without line are known of {', '.join(left_out)}: the continuum stays in these data"
        )
    done = OutcomeStatus.CAVEATS if problems else OutcomeStatus.SUCCESS
    return Outcome(
        status=done if counts else OutcomeStatus.NOTHING,
        message="; ".join(problems) or (fitted if counts else ""),
        groups=groups,
        line_free=line_free or None,
        qa=tuple(_score(field, one) for field, one in fields.items()),
        summary={"fields": fields},
    )


def _score(field: str, counts: dict[str, int]) -> QAScore:
    """Judge how many rows with data have no fit; without any data there is nothing to judge, and nothing to use."""
    with_data = counts["rows"] - counts["empty"]
    return score_between(
        "rows without a continuum fit",
        100 * counts["failed"] / with_data if with_data else 100.0,
        unit="%",
        good=1.0,
        bad=50.0,
        applies_to=field,
        scope=ScoreScope.FIELD,
        hint="widen the line-free ranges, or look at the flags there",
    )
