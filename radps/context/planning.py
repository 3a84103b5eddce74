"""Cut the visibilities of a stage into blocks, each small enough for a task."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from radps.context.model import Context
from radps.context.records import Partition
from radps.data.chunks import check_memory, plan_channel_chunks, plan_time_chunks
from radps.node_tasks.blocks import Block

VISIBILITY_BYTES = 8 + 1 + 4
"""One visibility on disk: complex64, its flag, its float32 weight."""

SUM_BLOCK_BYTES = 256 * 2**20
"""Visibilities of one block of a sum: fixed, because the plan of what is summed may not depend on the cluster."""


def require_memory(context: Context, what: str, needed_bytes: float, *, remedy: str = "") -> None:
    """Refuse tasks of a step that do not fit into the memory of a slot; see :func:`~radps.data.chunks.check_memory`."""
    place = context.place()
    check_memory(what, needed_bytes, stage=place.step, memory_bytes=place.resources.memory_bytes, remedy=remedy)


def count_cells(blocks: Sequence[Block], partition: Partition) -> int:
    """Return the rows times channels of the largest of some blocks of a partition."""
    sizes = [(one.times[1] - one.times[0]) * (one.channels[1] - one.channels[0]) for one in blocks]
    return partition.shape[1] * max(sizes, default=0)


def plan_blocks(
    context: Context,
    partitions: Sequence[Partition],
    *,
    group: str | None = None,
    copies: float = 4.0,
    whole: str = "",
    channels: dict[str, tuple[int, int]] | None = None,
) -> list[Block]:
    """Cut partitions into blocks along time and frequency, on the borders of zarr chunks.

    Parameters
    ----------
    context : Context
        Gives the stage's name, the slots and the memory of one.
    partitions : sequence of Partition
        What to cut.
    group : str, optional
        Data group; the newest by default.
    copies : float
        Memory that the task needs, in units of its visibilities with flags and weights.
    whole : {"", "time", "frequency"}
        An axis along which a block is not cut, because the task needs all of it.
    channels : dict of str to (start, stop), optional
        Channels of a partition that are wanted, all by default. Blocks then need not begin at a zarr chunk, so they are
        for reading only.
    """
    blocks: list[Block] = []
    for partition in partitions:
        n_times, n_baselines, n_channels, n_polarizations = partition.shape
        first, last = (channels or {}).get(partition.name, (0, n_channels))
        cell = int(n_baselines * n_polarizations * VISIBILITY_BYTES * copies)
        spans, bands = [(0, n_times)], [(first, last)]
        if whole != "time":
            width = n_channels if whole == "frequency" else min(partition.chunks[1], n_channels)
            spans = _cut_times(context, partition, cell * width, shares=whole == "frequency")
        if whole != "frequency":
            longest = max(stop - start for start, stop in spans)
            bands = _cut_channels(context, (first, last), cell * longest, 1 if channels else partition.chunks[1])
        address = context.address(partition, group)
        blocks += [
            Block(partition=partition.name, address=address, times=times, channels=band)
            for times in spans
            for band in bands
        ]
    return blocks


def _cut_times(context: Context, partition: Partition, bytes_per_time: int, *, shares: bool) -> list[tuple[int, int]]:
    """Cut the times of a partition where they do not fit into memory, and, if asked, to share them out to the slots."""
    place = context.place()
    chunks = plan_time_chunks(
        partition.shape[0],
        stage=place.step,
        bytes_per_time=bytes_per_time,
        bytes_fixed=0,
        slots=place.resources.slots if shares else 1,
        memory_bytes=place.resources.memory_bytes,
        align=partition.chunks[0],
    )
    return [(chunk.start, chunk.stop) for chunk in chunks]


def _cut_channels(context: Context, band: tuple[int, int], bytes_per_channel: int, align: int) -> list[tuple[int, int]]:
    """Cut channels to share them out to the slots."""
    place = context.place()
    first, last = band
    chunks = plan_channel_chunks(
        last - first,
        stage=place.step,
        bytes_per_channel=bytes_per_channel,
        bytes_fixed=0,
        slots=place.resources.slots,
        memory_bytes=place.resources.memory_bytes,
        align=align,
    )
    return [(first + chunk.start, first + chunk.stop) for chunk in chunks]


def choose_fixed_steps(partition: Partition) -> tuple[int, int]:
    """Return times and channels, whole zarr chunks, that are about :data:`SUM_BLOCK_BYTES` together."""
    n_times, n_baselines, _, n_polarizations = partition.shape
    time_step, channel_step = partition.chunks
    cell = n_baselines * n_polarizations * VISIBILITY_BYTES
    times = max(time_step, SUM_BLOCK_BYTES // (cell * channel_step) // time_step * time_step)
    width = max(channel_step, SUM_BLOCK_BYTES // (cell * min(times, n_times)) // channel_step * channel_step)
    return times, width


def plan_fixed_blocks(context: Context, partition: Partition, group: str | None = None) -> list[Block]:
    """Cut a partition into blocks of about :data:`SUM_BLOCK_BYTES`, on the borders of zarr chunks, by the data alone.

    For tasks whose numbers depend, to their accuracy, on what is in a block with them: such as those of a gridder.
    """
    n_times, _, n_channels, _ = partition.shape
    times, width = choose_fixed_steps(partition)
    address = context.address(partition, group)
    return [
        Block(
            partition=partition.name,
            address=address,
            times=(first, min(first + times, n_times)),
            channels=(low, min(low + width, n_channels)),
        )
        for first in range(0, n_times, times)
        for low in range(0, n_channels, width)
    ]


def plan_intervals(
    context: Context,
    partition: Partition,
    n_integrations: int,
    *,
    group: str | None = None,
    bytes_fixed: float,
    bytes_of_baseline: float,
) -> tuple[list[Block], int]:
    """Cut a partition into blocks of whole spectra whose times depend on the data alone, never on the cluster.

    A task of these needs some times and all channels together, but its baselines one by one: where a block does not fit
    into memory it is the baselines that are taken in batches.

    Parameters
    ----------
    context : Context
        Gives the stage's name and the memory of a slot.
    partition : Partition
        What to cut.
    n_integrations : int
        Times of a block, about: blocks are whole zarr chunks, and equally long but for the last one.
    group : str, optional
        Data group; the newest by default.
    bytes_fixed, bytes_of_baseline : float
        Memory for each (time, channel, polarization) of a block: whatever the number of baselines in memory, and for
        each baseline in memory.

    Returns
    -------
    blocks : list of Block
    baselines_at_once : int
        Baselines of a batch; all of them where they fit.

    Raises
    ------
    ResourceError
        A block with one baseline does not fit into the memory of a slot.
    """
    n_times, n_baselines, n_channels, n_polarizations = partition.shape
    place = context.place()
    align = partition.chunks[0]
    units = -(-n_times // align)
    n_blocks = max(1, min(units, round(n_times / n_integrations)))
    edges = [align * (units * number // n_blocks) for number in range(n_blocks)] + [n_times]
    spans = list(pairwise(edges))
    longest = max(stop - start for start, stop in spans)
    cells = longest * n_channels * n_polarizations
    memory = place.resources.memory_bytes
    baselines_at_once = min(n_baselines, int((memory - cells * bytes_fixed) // (cells * bytes_of_baseline)))
    require_memory(
        context,
        f"a task of {longest} integrations of {partition.name}",
        cells * (bytes_fixed + max(1, baselines_at_once) * bytes_of_baseline),
        remedy=f"take fewer integrations at once (they come in multiples of {align})",
    )
    address = context.address(partition, group)
    blocks = [Block(partition=partition.name, address=address, times=span, channels=(0, n_channels)) for span in spans]
    return blocks, baselines_at_once
