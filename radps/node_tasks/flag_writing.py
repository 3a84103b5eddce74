"""What all stages that flag do on a worker: put new flags into every version of the data, and count them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.flag_tables import FlagTable, save_flag_table
from radps.data.stores import load_array
from radps.data.visibilities import VisibilityChunk, write_chunk
from radps.domain.flagging import FlagStatistics, add_flag_statistics, count_flags
from radps.node_tasks.blocks import Block


class FlagTarget(NamedTuple):
    """The flags of one version of the data: what there is, and where the new ones go."""

    old_url: str
    new_url: str


class FlagJob(NamedTuple):
    """Where the flags of a partition are written, and what they are counted by."""

    field: str
    window: str
    n_antennas: int
    n_channels: int
    """Of the whole spectral window."""
    targets: tuple[FlagTarget, ...]
    """Of all versions of the data, as there is one flag for all of them (as in CASA)."""


class FlagCounts(NamedTuple):
    """Statistics of the flags of a part of a partition."""

    field: str
    window: str
    statistics: FlagStatistics


def write_flags(block: Block, data: VisibilityChunk, found: NDArray[np.bool_], job: FlagJob) -> FlagCounts:
    """Add flags to those of every version of the data, and count those of the version that was looked at.

    Parameters
    ----------
    block : Block
        Where.
    data : VisibilityChunk
        The data of the block that were looked at, with their flags.
    found : ndarray of bool
        New flags; broadcasts to (time, baseline, channel, polarization) of the block.
    job : FlagJob
        Where they go.
    """
    after = data.flags | found
    for target in job.targets:
        if target.old_url == block.address.flag:
            flags = after
        else:
            flags = load_array(target.old_url, (block.time_slice, slice(None), block.channel_slice, slice(None)))
            flags |= found
        write_chunk(target.new_url, flags, times=block.time_slice, channels=block.channel_slice)
    return count_block(block, data, after, job)


def count_block(block: Block, data: VisibilityChunk, after: NDArray[np.bool_], job: FlagJob) -> FlagCounts:
    """Count the flags of a block before (those of the data) and after, of the baselines that were observed."""
    statistics = count_flags(
        data.flags,
        after,
        data.antenna1,
        data.antenna2,
        job.n_antennas,
        present=np.isfinite(load_array(block.address.uvw, (block.time_slice,))).all(axis=-1),
        first_channel=block.channels[0],
        n_channels=job.n_channels,
    )
    return FlagCounts(job.field, job.window, statistics)


def compare_flags_block(block: Block, after_url: str, job: FlagJob) -> FlagCounts:
    """Count the flags of a block, and those that take their place."""
    after = load_array(after_url, (block.time_slice, slice(None), block.channel_slice, slice(None)))
    return count_block(block, block.load(("flag",)), after, job)


def merge_flag_counts(parts: Sequence[FlagCounts]) -> FlagCounts:
    """Add up the counts of parts of one partition."""
    total = functools.reduce(add_flag_statistics, (part.statistics for part in parts))
    return parts[0]._replace(statistics=total)


def save_flag_counts(counts: Sequence[FlagCounts], tables: Sequence[FlagTable]) -> list[FlagCounts]:
    """Write the tables of flags of all windows, and return the counts by field and window."""
    merged: dict[tuple[str, str], FlagCounts] = {}
    for one in counts:
        key = (one.field, one.window)
        merged[key] = merge_flag_counts([merged[key], one]) if key in merged else one
    for table in tables:
        of_window = {one.field: one.statistics for one in merged.values() if one.window == table.window}
        save_flag_table(table, of_window)
    return list(merged.values())
