"""Flag what is known to be bad: missing data, ends of scans, shadowed dishes, low elevations, manual selections ..."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf, pi

from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import DataGroup, Observation, Outcome, Partition, Record
from radps.context.selection import ChannelRange, channels_of
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.flag_writing import FlagCounts, merge_flag_counts
from radps.node_tasks.flagging import Clip, ElevationLimits, FlagRules, ManualFlag, Shadowing, flag_block
from radps.stages._flags import WRITES, choose_group, finish_flags, flag_outcome, plan_new_flags
from radps.stages.base import StageParams
from radps.units import Angle, Duration, Length

COPIES = 3.5
"""Memory of a task, in units of its visibilities: the data, the new flags, masks, amplitudes."""


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


class ClipRule(Record):
    """Amplitudes to use; all others are flagged."""

    fields: tuple[str, ...] = ("all",)
    """Fields, by name or word."""
    lowest: float = Field(default=0.0, ge=0.0)
    """Smallest amplitude, in the unit of the data: Jy once they are calibrated."""
    highest: float | None = Field(default=None, gt=0.0)
    """Largest amplitude, in the unit of the data; no limit by default."""
    polarizations: tuple[str, ...] | None = None
    """Correlations to look at, such as "RR"; all by default."""


class Params(StageParams):
    """Parameters of the stage `flag`."""

    writes = WRITES

    data_group: str | None = None
    """Version of the data that is looked at, such as "corrected" for `clip`; the newest by default. The flags are added
    to those of all versions."""
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
    shadow: bool = False
    """Flag dishes that stand in front of each other, seen from the source (CASA mode `shadow`)."""
    shadow_tolerance: Length = 0.0
    """Dishes may overlap by this much [m]; a negative number flags those that nearly touch, too."""
    dish_diameter: Length | None = Field(default=None, gt=0.0)
    """Diameter of all dishes [m], in place of what the data say."""
    min_elevation: Angle = Field(default=-pi / 2, ge=-pi / 2)
    """Flag data of sources that stand lower [rad]."""
    max_elevation: Angle = Field(default=pi / 2, le=pi / 2)
    """Flag data of sources that stand higher [rad]."""
    clip: tuple[ClipRule, ...] = ()
    """Ranges of amplitudes, outside of which data are flagged."""
    manual: tuple[ManualSelection, ...] = ()
    """Selections to flag."""


def flag(context: Context, params: Params) -> Delayed:
    """Flag data by rules that do not look at the statistics of the data; writes a new version of the flags.

    NaN in visibilities, weights or uvw, and weights of zero, are always flagged. Flags are only added: `restore_flags`
    takes them away.
    """
    partitions = context.visibilities()
    groups, counts = {}, []
    for partition in partitions:
        rules = _rules(context, params, partition)
        part = context.for_part(partition, rules, len(context.require_observation().antennas))
        new = plan_new_flags(part, partition)
        parts = map_chunks(
            part,
            flag_block,
            plan_blocks(part, [partition], group=choose_group(partition, params.data_group), copies=COPIES),
            rules,
            new.job,
            name=f"flag-{partition.name}",
            after=new.created,
        )
        counts.append(reduce_tree(part, merge_flag_counts, parts, name=f"count-{partition.name}"))
        groups[partition.name] = new.groups
    saved, antennas = finish_flags(context, partitions, counts)
    return run_task(context, _finish, saved, groups, antennas)


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
        shadowing=_shadowing(observation, params) if params.shadow else None,
        elevation=_elevation(context, params, partition),
        clips=tuple(
            Clip(
                one.lowest,
                one.highest or inf,
                _indices(one.polarizations, partition.polarizations, "polarization", "clip"),
            )
            for one in params.clip
            if partition.field in context.field_names(one.fields)
        ),
        manual=manual,
    )


def _shadowing(observation: Observation, params: Params) -> Shadowing:
    """Return the diameters of the dishes; a task refuses those that nobody knows."""
    diameters = tuple(params.dish_diameter or antenna.diameter_m for antenna in observation.antennas)
    return Shadowing(diameters, params.shadow_tolerance)


def _elevation(context: Context, params: Params, partition: Partition) -> ElevationLimits | None:
    """Return the limits of the elevation for a field, None if there are none."""
    if (params.min_elevation, params.max_elevation) == (-pi / 2, pi / 2):
        return None
    direction, centre_m = context.field(partition.field).direction, context.require_observation().array_center_m
    return ElevationLimits(
        params.min_elevation, params.max_elevation, direction.ra_rad, direction.dec_rad, array_center_m=centre_m
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


def _indices(
    wanted: Sequence[str] | None, known: Sequence[str], what: str, rule: str = "manual flags"
) -> tuple[int, ...] | None:
    return None if wanted is None else tuple(_index(name, known, what, rule) for name in wanted)


def _index(name: str, known: Sequence[str], what: str, rule: str = "manual flags") -> int:
    if name not in known:
        raise SelectionError(f"{rule}: there is no {what} {name!r}; there are: {', '.join(known)}")
    return list(known).index(name)


def _seconds(time: datetime) -> float:
    """Return a time as UTC unix seconds; a time without a zone is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _finish(
    counts: Sequence[FlagCounts], groups: dict[str, dict[str, DataGroup]], antennas: tuple[str, ...]
) -> Outcome:
    return flag_outcome(counts, groups, antennas)
