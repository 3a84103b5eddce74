"""Flag what is known to be bad: autocorrelations, missing data, ends of scans, edge channels, manual selections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray
from pydantic import Field

from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import DataGroup, Observation, Outcome, OutcomeStatus, Partition, QAScore, Record, ScoreScope
from radps.context.scores import score_between
from radps.context.selection import ChannelRange, channels_of
from radps.data.visibilities import create_like
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.flagging import FlagCounts, FlagRules, ManualFlag, flag_block, merge_flag_counts
from radps.stages.base import StageParams
from radps.units import Duration

COPIES = 3.0
"""Memory of a task, in units of its visibilities: the data, the new flags, masks."""


_Count: TypeAlias = dict[str, int]
"""Numbers of ``data``, of flags ``before`` and ``after``."""


class ManualSelection(Record):
    """Data to flag: what lies in all of the selections that are given."""

    fields: tuple[str, ...] = ("all",)
    """Fields, by name or word."""
    antennas: tuple[str, ...] | None = None
    """All baselines of these antennas."""
    baselines: tuple[tuple[str, str], ...] | None = None
    """Pairs of antennas."""
    times: tuple[datetime, datetime] | None = None
    """First and last time (UTC)."""
    channels: tuple[ChannelRange, ...] | None = None
    """Channels like "4~6", or frequencies."""
    polarizations: tuple[str, ...] | None = None
    """Such as "RR"."""


class Params(StageParams):
    """Parameters of the stage `flag`."""

    writes = ("groups.base",)

    autocorrelations: bool = True
    """Flag the baselines of an antenna with itself."""
    zeros: bool = True
    """Flag exact zeros: that is how correlators write missing data."""
    quack_begin: Duration = Field(default=0.0, ge=0.0)
    """Flag this much at the begin of every scan."""
    quack_end: Duration = Field(default=0.0, ge=0.0)
    """Flag this much at the end of every scan."""
    edge_channels: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Flag this fraction of the channels at either end of the band, rounded down to whole channels."""
    manual: tuple[ManualSelection, ...] = ()
    """Selections to flag."""


def flag(context: Context, params: Params) -> Delayed:
    """Flag data by rules that do not look at the statistics of the data; writes a new version of the flags.

    NaN in visibilities, weights or uvw, and weights of zero, are always flagged.
    """
    observation = context.require_observation()
    groups, counts = {}, []
    for partition in observation.partitions:
        variable = "FLAG_MANUAL"
        rules = _rules(context, params, partition)
        part = context.for_part(partition, rules, len(observation.antennas))
        folder = part.new_path("visibilities", partition.name)
        address = part.address(partition, "base")
        created = run_task(part, create_like, address, part.locate(folder), variable, name=f"create-{partition.name}")
        parts = map_chunks(
            part,
            flag_block,
            plan_blocks(part, [partition], group="base", copies=COPIES),
            partition.field,
            partition.window,
            rules,
            len(observation.antennas),
            partition.shape[2],
            part.locate(f"{folder}/{variable}"),
            name=f"flag-{partition.name}",
            after=created,
        )
        counts.append(reduce_tree(part, merge_flag_counts, parts, name=f"count-{partition.name}"))
        group = partition.groups["base"].model_copy(update={"flag": f"{folder}/{variable}"})
        groups[partition.name] = {"base": group}
    return run_task(context, _finish, counts, groups, tuple(antenna.name for antenna in observation.antennas))


def _rules(context: Context, params: Params, partition: Partition) -> FlagRules:
    """Resolve names to indices of a partition."""
    n_channels = partition.shape[2]
    observation = context.require_observation()
    manual = tuple(
        _resolve(observation, partition, one)
        for one in params.manual
        if partition.field in context.field_names(one.fields)
    )
    return FlagRules(
        autocorrelations=params.autocorrelations,
        zeros=params.zeros,
        quack_begin_s=params.quack_begin,
        quack_end_s=params.quack_end,
        integration_s=partition.integration_time_s,
        edge_channels=int(params.edge_channels * n_channels),
        manual=manual,
    )


def _resolve(observation: Observation, partition: Partition, selection: ManualSelection) -> ManualFlag:
    """Return a manual selection in indices."""
    names = [antenna.name for antenna in observation.antennas]
    windows = {window.name: window for window in observation.windows}
    channels = None
    if selection.channels is not None:
        ranges = channels_of(selection.channels, windows[partition.window])
        channels = tuple((start, stop - 1) for start, stop in ranges)
    chosen = {
        "antennas": selection.antennas,
        "baselines": selection.baselines,
        "time_range_s": selection.times,
        "channels": channels,
        "polarizations": selection.polarizations,
    }
    if all(value is None for value in chosen.values()):
        if selection.fields == ("all",):
            raise SelectionError("a manual selection without any restriction would flag all data; give one")
        channels = ((0, partition.shape[2] - 1),)
    return ManualFlag(
        antennas=_indices(selection.antennas, names, "antenna"),
        baselines=None
        if selection.baselines is None
        else tuple((_index(a, names, "antenna"), _index(b, names, "antenna")) for a, b in selection.baselines),
        time_range_s=None if selection.times is None else (_seconds(selection.times[0]), _seconds(selection.times[1])),
        channels=channels,
        polarizations=_indices(selection.polarizations, partition.polarizations, "polarization"),
    )


def _indices(wanted: Sequence[str] | None, known: Sequence[str], what: str) -> tuple[int, ...] | None:
    return None if wanted is None else tuple(_index(name, known, what) for name in wanted)


def _index(name: str, known: Sequence[str], what: str) -> int:
    if name not in known:
        raise SelectionError(f"manual flags: there is no {what} {name!r}; there are: {', '.join(known)}")
    return list(known).index(name)


def _seconds(time: datetime) -> float:
    """Return a time as UTC unix seconds; a time without a zone is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _finish(
    counts: Sequence[FlagCounts], groups: dict[str, dict[str, DataGroup]], antennas: tuple[str, ...]
) -> Outcome:
    """Report the flags by field, spectral window and antenna, before and after."""
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
    total, flagged = sum(one["data"] for one in fields.values()), sum(one["after"] for one in fields.values())
    message = f"{100 * flagged / total:.1f} % flagged"
    if dead:
        message += f"; antennas without good data: {', '.join(dead)}"
    if empty:
        message += f"; fields without good data: {', '.join(empty)}"
    return Outcome(
        status=OutcomeStatus.CAVEATS if empty else OutcomeStatus.SUCCESS,
        message=message,
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


def _add(known: _Count | None, numbers: Sequence[int]) -> _Count:
    """Return the counts with the numbers of data, of flags before, and of flags after, added."""
    old = known or {"data": 0, "before": 0, "after": 0}
    return {name: old[name] + number for name, number in zip(old, numbers, strict=True)}


def _score(field: str, counts: _Count) -> QAScore:
    fraction = counts["after"] / counts["data"]
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
