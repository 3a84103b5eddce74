"""What flagging does on a worker: apply the rules to a block, write its flags, count them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import join_url, load_array
from radps.data.visibilities import VisibilityChunk, write_chunk
from radps.domain.flagging import (
    FlagStatistics,
    QuackMode,
    add_flag_statistics,
    count_flags,
    flag_autocorrelations,
    flag_edge_channels,
    flag_invalid,
    flag_quack,
    flag_selection,
)
from radps.node_tasks.blocks import Block


class ManualFlag(NamedTuple):
    """One manual selection, resolved to indices of the partition; what is None selects everything."""

    antennas: tuple[int, ...] | None = None
    baselines: tuple[tuple[int, int], ...] | None = None
    time_range_s: tuple[float, float] | None = None
    channels: tuple[tuple[int, int], ...] | None = None
    """First and last channel, both included."""
    polarizations: tuple[int, ...] | None = None


class FlagRules(NamedTuple):
    """What is flagged in a partition."""

    autocorrelations: bool
    zeros: bool
    """Exact zeros are missing data."""
    quack_begin_s: float
    quack_end_s: float
    integration_s: float
    edge_channels: int
    """Channels at either end of the band."""
    manual: tuple[ManualFlag, ...]


class FlagCounts(NamedTuple):
    """Statistics of the flags of a part of a partition."""

    field: str
    window: str
    statistics: FlagStatistics


def flag_block(
    block: Block, field: str, window: str, rules: FlagRules, n_antennas: int, n_channels: int, url: str
) -> FlagCounts:
    """Apply the rules to a block of channels and write its flags to the array at ``url``."""
    data = block.load()
    flags = data.flags.copy()
    flags |= flag_invalid(data.visibilities, data.weights, zeros=rules.zeros)
    if rules.autocorrelations:
        flags |= flag_autocorrelations(data.antenna1, data.antenna2)
    if rules.edge_channels:
        flags |= flag_edge_channels(n_channels, rules.edge_channels)[:, :, block.channel_slice]
    flags |= _quack(block, rules)
    flags |= _manual(block, data, rules, n_channels)
    write_chunk(url, flags, times=block.time_slice, channels=block.channel_slice)
    statistics = count_flags(
        data.flags,
        flags,
        data.antenna1,
        data.antenna2,
        n_antennas,
        first_channel=block.channels[0],
        n_channels=n_channels,
    )
    return FlagCounts(field, window, statistics)


def merge_flag_counts(parts: Sequence[FlagCounts]) -> FlagCounts:
    """Add up the counts of parts of one partition."""
    total = functools.reduce(add_flag_statistics, (part.statistics for part in parts))
    return parts[0]._replace(statistics=total)


def _quack(block: Block, rules: FlagRules) -> NDArray[np.bool_]:
    """Flag the ends of scans; scans are seen whole, whatever the block's times are."""
    mask = np.zeros((block.times[1] - block.times[0], 1, 1, 1), np.bool_)
    if not (rules.quack_begin_s or rules.quack_end_s):
        return mask
    time_s = load_array(join_url(block.address.store, "time"))
    _, scan = np.unique(load_array(join_url(block.address.store, "scan_name")), return_inverse=True)
    for mode, interval_s in ((QuackMode.BEGIN, rules.quack_begin_s), (QuackMode.END, rules.quack_end_s)):
        if interval_s:
            flagged = flag_quack(time_s, scan, interval_s, mode=mode, integration_s=rules.integration_s)
            mask = mask | flagged[block.time_slice]
    return mask


def _manual(block: Block, data: VisibilityChunk, rules: FlagRules, n_channels: int) -> NDArray[np.bool_]:
    """Flag the manual selections."""
    mask = np.zeros((1, 1, 1, 1), np.bool_)
    for one in rules.manual:
        selected = flag_selection(
            time_s=data.time_s,
            antenna1=data.antenna1,
            antenna2=data.antenna2,
            n_channels=n_channels,
            n_polarizations=len(data.polarizations),
            antennas=_array(one.antennas),
            baselines=_array(one.baselines),
            time_ranges_s=None if one.time_range_s is None else np.array([one.time_range_s]),
            channel_ranges=_array(one.channels),
            polarizations=_array(one.polarizations),
        )
        if selected.shape[2] == n_channels and n_channels > 1:
            selected = selected[:, :, block.channel_slice]
        mask = mask | selected
    return mask


def _array(values: Sequence[object] | None) -> NDArray[np.int64] | None:
    return None if values is None else np.array(values, np.int64)
