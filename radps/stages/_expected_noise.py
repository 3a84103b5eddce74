"""The thermal noise that images should have, by the visibilities that are left of the data they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import ImageRecord, Partition
from radps.domain.sensitivity import expected_noise_of_counts
from radps.graph_tasks.shapes import map_chunks, reduce_tree
from radps.node_tasks.assessment import ChannelCounts, add_counts, count_visibilities

COUNTING_COPIES = 0.5
"""Memory of a task, in units of its visibilities with flags and weights: the flags, twice, and their index."""

DataKey = tuple[str, str]
"""A partition and its data group."""


class NoiseOfPart(NamedTuple):
    """What the noise of the data of one partition depends on."""

    key: DataKey
    channels: tuple[tuple[int, int], ...]
    sefd_jy: float
    time_s: float
    """Of an integration [s]."""
    bandwidth_hz: float
    """Of a channel of the data, or of the image for a cube [Hz]."""


def describe_noise(context: Context, image: ImageRecord, sefd_jy: float | None) -> tuple[NoiseOfPart, ...]:
    """Return what the noise of an image depends on; empty where it cannot be told.

    Not known are the noise of the antennas of some telescopes (then it has to be given), the length of an integration
    in some data, and how the windows of a cube on an axis of its own overlap.
    """
    observation = context.require_observation()
    partitions = {one.name: one for one in observation.partitions}
    parts = []
    for data in image.data:
        partition = partitions.get(data.partition)
        if partition is None or data.group not in partition.groups:
            return ()  # the data were replaced since
        window = context.window(partition.window)
        nominal = observation.extension.nominal_sefd_jy(window.name) if observation.extension else None
        known = sefd_jy or nominal
        if known is None or not partition.integration_time_s > 0:
            return ()
        width_hz = image.channel_width_hz if image.kind == "cube" else window.channel_width_hz
        key = (data.partition, data.group)
        parts.append(NoiseOfPart(key, data.channels, known, partition.integration_time_s, abs(width_hz)))
    virtual = {context.window(partitions[data.partition].window).virtual for data in image.data}
    return () if image.kind == "cube" and len(virtual) > 1 else tuple(parts)


def count_graphs(context: Context, parts: Iterable[NoiseOfPart]) -> dict[DataKey, Delayed]:
    """Return the graphs that count the unflagged visibilities of all channels, each version of a partition once."""
    partitions = {one.name: one for one in context.require_observation().partitions}
    return {key: _count(context, partitions[key[0]], key[1]) for key in dict.fromkeys(part.key for part in parts)}


def expect_noise(
    image: ImageRecord, parts: Sequence[NoiseOfPart], counts: Mapping[DataKey, ChannelCounts]
) -> float | None:
    """Return the expected noise of an image [Jy/beam], of a cube the median of its channels with data; None = unknown.

    The channels of a cube on an axis of its own are taken to have as many visibilities as a channel of the data.
    """
    if not parts:
        return None
    used = []
    for part in parts:
        pieces = counts[part.key].of(part.channels)
        if image.kind == "continuum":
            used.append(pieces.sum(keepdims=True))
        elif len(pieces) == image.shape[0]:
            used.append(pieces)
        else:
            used.append(np.array([np.median(pieces[pieces > 0])]) if (pieces > 0).any() else np.zeros(1))
    if len({len(one) for one in used}) > 1:
        used = [np.array([np.median(one)]) for one in used]
    _, _, sefds_jy, times_s, widths_hz = zip(*parts, strict=True)
    noise_jy = expected_noise_of_counts(used, sefds_jy, times_s, widths_hz)
    with_data = noise_jy[np.isfinite(noise_jy)]
    return float(np.median(with_data)) if with_data.size else None


def _count(context: Context, partition: Partition, group: str) -> Delayed:
    context = context.for_part(partition, group)
    name = f"{partition.name}-{group}"
    blocks = plan_blocks(context, [partition], group=group, copies=COUNTING_COPIES)
    parts = map_chunks(context, count_visibilities, blocks, name=f"count_visibilities-{name}")
    return reduce_tree(context, add_counts, parts, name=f"add_counts-{name}")
