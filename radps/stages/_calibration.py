"""What the planning of solutions shares: which scans, in which pieces, with which model, referred to which antenna."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from radps.context.model import Context
from radps.context.planning import SUM_BLOCK_BYTES, VISIBILITY_BYTES, require_memory
from radps.context.records import Partition, SkyModel, SpectralWindow
from radps.context.selection import ChannelRange, channels_of
from radps.errors import ModelError, SelectionError
from radps.node_tasks.blocks import Block

COPIES = 4.0
"""Memory of a solution task, in units of its visibilities: the data, the model, and the corrected copy."""


class CalibratorScan(NamedTuple):
    """A scan of a calibrator in one spectral window, in pieces."""

    dataset: str
    field: str
    scan: str
    pieces: tuple[Block, ...]
    read_with: Hashable
    """The same for scans that are read together: their pieces have the same channels."""


def calibrator_scans(
    context: Context,
    words: Sequence[str],
    window: SpectralWindow,
    channels: tuple[int, int],
    *,
    together: bool = False,
) -> list[CalibratorScan]:
    """Return the scans of calibrators in a window: their times, the channels asked for.

    ``together`` cuts those that are read together, of :func:`group_scans`, into pieces of the same channels.
    """
    found = []
    for partition in context.visibilities(tuple(words)):
        if partition.window != window.name:
            continue
        for scan, neighbours in group_scans(partition, together=together).items():
            pieces = cut_scan(context, partition, scan, channels, neighbours)
            read_with = (partition.name, neighbours)
            found.append(CalibratorScan(partition.dataset, partition.field, scan, pieces, read_with))
    if not found:
        raise SelectionError(
            f"no data of the gain calibrators {', '.join(words)} in spectral window {window.name}; "
            f"name fields that were observed in it"
        )
    return found


def inner_channels(wanted: ChannelRange | None, window: SpectralWindow) -> tuple[int, int]:
    """Return the channels asked for, or by default the inner 80 % of a window: the first, and one after the last."""
    if wanted is None:
        edge = window.n_channels // 10
        return edge, window.n_channels - edge
    (channels,) = channels_of([wanted], window)
    return channels


def group_scans(partition: Partition, *, together: bool) -> dict[str, tuple[str, ...]]:
    """Return, for each scan, the scans that are read with it, itself included; alone unless ``together``.

    A zarr chunk is decompressed as a whole, so that scans that begin in the same one are read together where they fit
    into memory. It depends on the data alone, as sums do.
    """
    groups: dict[int, list[str]] = {}
    for number, (scan, (first, _)) in enumerate(partition.scans.items()):
        groups.setdefault(first // partition.chunks[0] if together else number, []).append(scan)
    width = min(partition.chunks[1], partition.shape[2])
    found: dict[str, tuple[str, ...]] = {}
    for group in groups.values():
        fits = _count_times(partition, group) * width * _bytes_of_sample(partition) <= SUM_BLOCK_BYTES
        found |= {scan: tuple(group) if fits else (scan,) for scan in group}
    return found


def share_out(context: Context, read_with: Sequence[Hashable]) -> list[slice]:
    """Return which scans, one after the other, go into one task: those that are read together, or some of them.

    They are shared out to all slots, which reads a chunk more than once; no solution depends on it.
    """
    groups = [len(list(group)) for _, group in groupby(read_with)]
    most = -(-context.place().resources.slots // max(1, len(groups)))
    shares, first = [], 0
    for size in groups:
        n_tasks = min(size, most)
        edges = [first + size * number // n_tasks for number in range(n_tasks + 1)]
        shares += [slice(start, stop) for start, stop in pairwise(edges)]
        first += size
    return shares


def cut_scan(
    context: Context,
    partition: Partition,
    scan: str,
    channels: tuple[int, int],
    neighbours: Sequence[str],
) -> tuple[Block, ...]:
    """Cut a scan into pieces of a fixed size; they are summed, so that the cut may not depend on the cluster.

    The pieces of all ``neighbours``, of :func:`group_scans`, are read together, and have the same channels.
    """
    times, cell = partition.scans[scan], _bytes_of_sample(partition)
    n_times = min(times[1] - times[0], max(1, int(SUM_BLOCK_BYTES / (COPIES * cell))))
    in_memory = _count_times(partition, neighbours) if len(neighbours) > 1 else COPIES * n_times
    # Whole zarr chunks of channels where they fit, so that none is read twice.
    align = partition.chunks[1]
    n_channels = max(1, int(SUM_BLOCK_BYTES / (cell * in_memory)))
    n_channels = n_channels // align * align or n_channels
    starts = [channels[0], *range((channels[0] // n_channels + 1) * n_channels, channels[1], n_channels)]
    bands = list(pairwise([*starts, channels[1]]))
    widest = max(stop - start for start, stop in bands)
    require_memory(
        context, f"a piece of {n_times} integrations of a scan of {partition.name}", in_memory * widest * cell
    )
    return tuple(
        Block(
            partition=partition.name,
            address=context.address(partition, "base"),
            times=(first, min(first + n_times, times[1])),
            channels=band,
        )
        for first in range(times[0], times[1], n_times)
        for band in bands
    )


def _count_times(partition: Partition, scans: Sequence[str]) -> float:
    """Return the times that a task has in memory for scans that are read together and solved one by one."""
    starts, stops = zip(*(partition.scans[scan] for scan in scans), strict=True)
    longest = max(stop - start for start, stop in zip(starts, stops, strict=True))
    return float(max(stops) - min(starts) + (COPIES - 1) * longest)


def _bytes_of_sample(partition: Partition) -> int:
    """Return the bytes of one time and channel as they are read."""
    _, n_baselines, _, n_polarizations = partition.shape
    return n_baselines * n_polarizations * VISIBILITY_BYTES


def bandpass_partition(context: Context, word: str, window: SpectralWindow) -> Partition:
    """Return the data that the bandpass of a window is solved on."""
    words = (word, *(["flux"] if word == "bandpass" else []))
    partitions: tuple[Partition, ...] = ()
    for number, one_word in enumerate(words, 1):
        try:
            partitions = tuple(one for one in context.visibilities(one_word) if one.window == window.name)
        except SelectionError:
            if number == len(words):
                raise
        if partitions:
            break
    if len(partitions) != 1:
        found = ", ".join(partition.field for partition in partitions) or "none"
        raise SelectionError(
            f"the bandpass of spectral window {window.name} needs one field, found {found}; "
            f"name one by bandpass_calibrator"
        )
    return partitions[0]


def check_baselines(context: Context, min_baselines: int) -> None:
    """Refuse an array whose antennas cannot have as many baselines as a solution is asked to have.

    Raises
    ------
    SelectionError
        All solutions would be flagged.
    """
    n_antennas = len(context.require_observation().antennas)
    if n_antennas - 1 < min_baselines:
        remedy = f"set min_baselines: {n_antennas - 1}" if n_antennas > 2 else "gains take three antennas or more"
        raise SelectionError(
            f"each of the {n_antennas} antennas has {n_antennas - 1} baselines at most, and with min_baselines = "
            f"{min_baselines} all solutions would be flagged; {remedy}"
        )


def antenna_index(context: Context, name: str) -> int | None:
    """Return the index of the antenna that the user wants as reference; None leaves the choice to the data."""
    names = [antenna.name for antenna in context.require_observation().antennas]
    if name == "auto":
        return None
    if name not in names:
        raise SelectionError(f"reference antenna {name!r} is not in the array; antennas: {', '.join(names)}, or 'auto'")
    return names.index(name)


def sky_model(context: Context, field: str) -> SkyModel:
    """Return the model of a calibrator."""
    for model in context.sky_models:
        if model.field == field:
            return model
    known = ", ".join(model.field for model in context.sky_models) or "none"
    raise ModelError(
        f"calibrator {field!r} has no model (models: {known}); put the step `set_model` before this one and name the "
        f"field in flux_calibrators, other_calibrators or models"
    )
