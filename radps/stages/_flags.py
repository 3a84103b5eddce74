"""What the stages that flag share: new versions of the flags, their tables, and what is reported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray

from radps.context.model import Context
from radps.context.observation import list_some
from radps.context.records import DataGroup, Outcome, OutcomeStatus, Partition, QAScore, ScoreScope
from radps.context.scores import score_between
from radps.data.flag_tables import FlagTable
from radps.data.visibilities import create_like
from radps.errors import SelectionError
from radps.graph_tasks.shapes import run_task
from radps.node_tasks.flag_writing import FlagCounts, FlagJob, FlagTarget, save_flag_counts

FLAGGED_GROUPS = ("base", "corrected", "continuum_subtracted", "model_subtracted", "self_calibrated")
"""Versions of the data that get new flags: what is found in one of them holds for all, as CASA has one column of flags
for its columns of data."""

WRITES = tuple(f"groups.{name}" for name in FLAGGED_GROUPS)
"""Shared parts of the context that a stage that flags fills."""

_Count: TypeAlias = dict[str, int]
"""Numbers of ``data``, of flags ``before`` and ``after``."""


class NewFlags(NamedTuple):
    """A new version of the flags of a partition."""

    job: FlagJob
    groups: dict[str, DataGroup]
    """Data groups with the new flags."""
    created: list[Delayed]
    """Graphs that create the arrays; they come before the tasks that fill them."""


def plan_new_flags(context: Context, partition: Partition) -> NewFlags:
    """Plan a new version of the flags in every data group of a partition.

    Parameters
    ----------
    context : Context
        Of the part of the step's work that the partition is.
    partition : Partition
        What is flagged.
    """
    folder = context.new_path("visibilities", partition.name)
    targets, created, groups = [], [], {}
    for name, group in partition.groups.items():
        if name not in FLAGGED_GROUPS:
            continue
        variable = f"FLAG_{name.upper()}"
        path = f"{folder}/{variable}"
        targets.append(FlagTarget(context.locate(group.flag), context.locate(path)))
        groups[name] = group.model_copy(update={"flag": path})
        created.append(
            run_task(
                context,
                create_like,
                context.address(partition, name),
                context.locate(folder),
                variable,
                name=f"create-{partition.name}-{name}",
            )
        )
    return NewFlags(flag_job(context, partition, targets), groups, created)


def flag_job(context: Context, partition: Partition, targets: Iterable[FlagTarget] = ()) -> FlagJob:
    """Return where the flags of a partition go, and what they are counted by."""
    n_antennas = len(context.require_observation().antennas)
    return FlagJob(partition.field, partition.window, n_antennas, partition.shape[2], tuple(targets))


def choose_group(partition: Partition, wanted: str | None) -> str:
    """Return the data group to look at: the one that is wanted, or the newest one.

    Raises
    ------
    SelectionError
        The partition does not have it, or it is none that gets flags; lists those that do.
    """
    known = [name for name in partition.groups if name in FLAGGED_GROUPS]
    if wanted is None:
        return known[-1]
    if wanted not in known:
        raise SelectionError(
            f"{partition.name} has no data group {wanted!r} to flag; it has: {', '.join(known)}. Put the step that "
            "makes it before this one"
        )
    return wanted


def finish_flags(
    context: Context, partitions: Sequence[Partition], counts: Sequence[Delayed]
) -> tuple[Delayed, tuple[str, ...]]:
    """Return the graph that writes the tables of flags and gives the counts, and the names of the antennas."""
    antennas = tuple(antenna.name for antenna in context.require_observation().antennas)
    tables = []
    for name in dict.fromkeys(partition.window for partition in partitions):
        window = context.window(name)
        first = next(one for one in partitions if one.window == name)
        tables.append(
            FlagTable(
                url=context.locate(context.new_path("context.zarr", f"{name}/flags", suffix="")),
                window=name,
                antenna_names=antennas,
                polarizations=first.polarizations,
                frequency_hz=window.frequency_hz,
                n_channels=window.n_channels,
            )
        )
    return run_task(context, save_flag_counts, counts, tables), antennas


def flag_outcome(
    counts: Sequence[FlagCounts],
    groups: dict[str, dict[str, DataGroup]],
    antennas: tuple[str, ...],
    *,
    note: str = "",
    has_caveats: bool = False,
) -> Outcome:
    """Report the flags by field, spectral window and antenna, before and after.

    Parameters
    ----------
    counts : sequence of FlagCounts
        By field and window.
    groups : dict
        Partition -> data groups with their new flags.
    antennas : tuple of str
        All antennas.
    note : str
        What else there is to say.
    has_caveats : bool
        True = the note says that something could not be done.
    """
    fields: dict[str, _Count] = {}
    windows: dict[str, _Count] = {}
    by_antenna = np.zeros((3, len(antennas)), np.int64)
    by_channel: dict[str, NDArray[np.int64]] = {}
    for field, window, one in counts:
        numbers = (one.n_data, one.n_before, one.n_after)
        fields[field] = _add(fields.get(field), numbers)
        windows[window] = _add(windows.get(window), numbers)
        by_antenna += np.array([one.antenna_data, one.antenna_before, one.antenna_after])
        by_channel[window] = by_channel.get(window, 0) + np.array([one.channel_data, one.channel_after])
    empty = [field for field, one in fields.items() if one["after"] == one["data"]]
    dead = [name for name, (data, _, after) in zip(antennas, by_antenna.T.tolist(), strict=True) if after == data]
    return Outcome(
        status=OutcomeStatus.CAVEATS if empty or has_caveats else OutcomeStatus.SUCCESS,
        message=_message(fields, dead, empty, note),
        groups=groups,
        qa=tuple(_score(field, one) for field, one in fields.items()),
        summary={
            "fields": fields,
            "windows": windows,
            "antennas": {name: _add(None, row) for name, row in zip(antennas, by_antenna.T.tolist(), strict=True)},
            "antennas_without_data": dead,
            "channels_without_data": {
                window: np.flatnonzero(data == after).tolist() for window, (data, after) in by_channel.items()
            },
        },
    )


def _message(fields: dict[str, _Count], dead: Sequence[str], empty: Sequence[str], note: str) -> str:
    """Say how much is flagged, and what is of no use any more."""
    total, before, after = (sum(one[name] for one in fields.values()) for name in ("data", "before", "after"))
    total = max(1, total)
    message = f"{100 * after / total:.1f} % flagged, {100 * before / total:.1f} % before"
    if note:
        message += f"; {note}"
    if dead:
        message += f"; antennas without good data: {list_some(dead)}"
    if empty:
        message += f"; fields without good data: {', '.join(empty)}"
    return message


def _add(known: _Count | None, numbers: Sequence[int]) -> _Count:
    """Return the counts with the numbers of data, of flags before, and of flags after, added."""
    old = known or {"data": 0, "before": 0, "after": 0}
    return {name: old[name] + number for name, number in zip(old, numbers, strict=True)}


def _score(field: str, counts: _Count) -> QAScore:
    fraction = counts["after"] / max(1, counts["data"])
    return score_between(
        "flagged fraction",
        100 * fraction,
        unit="%",
        good=10.0,
        bad=90.0,
        applies_to=field,
        scope=ScoreScope.FIELD,
        hint="look at the flag table",
    )
