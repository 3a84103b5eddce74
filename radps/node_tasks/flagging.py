"""What flagging does on a worker: apply the rules to a block, write its flags, count them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radps.data.stores import join_url, load_array
from radps.data.visibilities import VisibilityChunk
from radps.domain.array import horizontal_direction
from radps.domain.flagging import (
    QuackMode,
    flag_autocorrelations,
    flag_clip,
    flag_edge_channels,
    flag_invalid,
    flag_quack,
    flag_selection,
)
from radps.domain.shadowing import flag_elevation, flag_shadowed
from radps.node_tasks.blocks import Block
from radps.node_tasks.flag_writing import FlagCounts, FlagJob, write_flags


class ManualFlag(NamedTuple):
    """One manual selection, resolved to indices of the partition; what is None selects everything."""

    antennas: tuple[int, ...] | None = None
    baselines: tuple[tuple[int, int], ...] | None = None
    time_range_s: tuple[float, float] | None = None
    channels: tuple[tuple[int, int], ...] | None = None
    """First and last channel, both included."""
    polarizations: tuple[int, ...] | None = None


class Clip(NamedTuple):
    """A range of amplitudes that are used."""

    lowest: float
    highest: float
    polarizations: tuple[int, ...] | None
    """Indices; None = all."""


class Shadowing(NamedTuple):
    """What is needed to find dishes that stand in front of each other."""

    diameters_m: tuple[float, ...]
    """Of each antenna."""
    tolerance_m: float


class ElevationLimits(NamedTuple):
    """Elevations that are used, and where source and array are."""

    lowest_rad: float
    highest_rad: float
    ra_rad: float
    dec_rad: float
    array_center_m: tuple[float, float, float]
    """ITRF."""


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
    shadowing: Shadowing | None
    elevation: ElevationLimits | None
    clips: tuple[Clip, ...]
    manual: tuple[ManualFlag, ...]


def flag_block(block: Block, rules: FlagRules, job: FlagJob) -> FlagCounts:
    """Apply the rules to a block and write its flags."""
    data = block.load()
    found = flag_invalid(data.visibilities, data.weights, zeros=rules.zeros)
    if rules.autocorrelations:
        found |= flag_autocorrelations(data.antenna1, data.antenna2)
    if rules.edge_channels:
        found |= flag_edge_channels(job.n_channels, rules.edge_channels)[:, :, block.channel_slice]
    for clip in rules.clips:
        found |= flag_clip(data.visibilities, clip.lowest, clip.highest, polarizations=_array(clip.polarizations))
    found |= _geometry(data, rules)
    found |= _quack(block, rules)
    found |= _manual(block, data, rules, job.n_channels)
    return write_flags(block, data, found, job)


def _geometry(data: VisibilityChunk, rules: FlagRules) -> NDArray[np.bool_]:
    """Flag shadowed antennas, and times at which the source is too low or too high."""
    mask = np.zeros((len(data.time_s), 1, 1, 1), np.bool_)
    if rules.elevation is not None:
        limits = rules.elevation
        center = np.array([limits.array_center_m])
        direction = horizontal_direction(center, data.time_s, limits.ra_rad, limits.dec_rad)
        mask = mask | flag_elevation(direction.elevation_rad, limits.lowest_rad, limits.highest_rad)
    if rules.shadowing is not None:
        mask = mask | flag_shadowed(
            data.uvw_m,
            data.antenna1,
            data.antenna2,
            np.array(rules.shadowing.diameters_m),
            rules.shadowing.tolerance_m,
        )
    return mask


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
