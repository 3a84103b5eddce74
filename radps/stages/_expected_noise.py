"""The thermal noise that images should have, by the visibilities that are left of the data they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.records import ImageRecord, Partition
from radps.domain.regridded_noise import MixedCounts, WindowChannels, count_mixtures
from radps.domain.regridding import SpectralAxis
from radps.domain.sensitivity import expected_noise_of_counts
from radps.domain.spectral_frames import DopplerRule, doppler_factors
from radps.graph_tasks.shapes import map_chunks, reduce_tree
from radps.node_tasks.assessment import ChannelCounts, add_counts, count_visibilities
from radps.stages._image_axes import make_doppler_rule, sample_times

COUNTING_COPIES = 0.5
"""Memory of a task, in units of its visibilities with flags and weights: the flags, twice, and their index."""

MIXING_TIMES = 32
"""Times at which it is looked how the channels of the data lie in those of a cube."""

DataKey = tuple[str, str]
"""A partition and its data group."""


class Mixing(NamedTuple):
    """How the channels of a cube are mixed of those of a partition."""

    axis: SpectralAxis
    doppler: DopplerRule
    time_s: tuple[float, ...]
    """Times that stand for equal parts of the data, UTC [unix s]."""
    window: WindowChannels


class NoiseOfPart(NamedTuple):
    """What the noise of the data of one partition depends on."""

    key: DataKey
    channels: tuple[tuple[int, int], ...]
    sefd_jy: float
    time_s: float
    """Of an integration [s]."""
    bandwidth_hz: float
    """Of a channel of the data [Hz]."""
    mixing: Mixing | None = None
    """None: the channels of the image are those of the data, or all of them are one."""


def describe_noise(context: Context, image: ImageRecord, sefd_jy: float | None) -> tuple[NoiseOfPart, ...]:
    """Return what the noise of an image depends on; empty where it cannot be told.

    Not known are the noise of the antennas of some telescopes (then it has to be given), and the length of an
    integration in some data.
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
        mixing = _describe_mixing(context, image, partition, data.channels)
        width_hz = abs(window.channel_width_hz)
        key = (data.partition, data.group)
        parts.append(NoiseOfPart(key, data.channels, known, partition.integration_time_s, width_hz, mixing))
    return tuple(parts)


def _describe_mixing(
    context: Context, image: ImageRecord, partition: Partition, channels: tuple[tuple[int, int], ...]
) -> Mixing | None:
    """Return how a cube is mixed of a partition; None if it has its channels."""
    if image.interpolation is None:
        return None
    window = context.window(partition.window)
    n_channels = image.shape[0]
    first_hz, last_hz = image.frequency_hz
    step_hz = (last_hz - first_hz) / (n_channels - 1) if n_channels > 1 else image.channel_width_hz
    axis = SpectralAxis(first_hz, step_hz, n_channels, image.spectral_frame or window.frame, image.interpolation)
    (usable,) = channels
    return Mixing(
        axis,
        make_doppler_rule(context, partition, axis),
        tuple(sample_times(context, partition, MIXING_TIMES).tolist()),
        WindowChannels(window.frequency_hz, window.n_channels, abs(window.channel_width_hz), usable),
    )


def count_graphs(context: Context, parts: Iterable[NoiseOfPart]) -> dict[DataKey, Delayed]:
    """Return the graphs that count the unflagged visibilities of all channels, each version of a partition once."""
    partitions = {one.name: one for one in context.require_observation().partitions}
    return {key: _count(context, partitions[key[0]], key[1]) for key in dict.fromkeys(part.key for part in parts)}


def expect_noise(
    image: ImageRecord, parts: Sequence[NoiseOfPart], counts: Mapping[DataKey, ChannelCounts]
) -> float | None:
    """Return the expected noise of an image [Jy/beam], of a cube the median of its channels with data; None = unknown.

    A channel of a cube has what all partitions have there: windows that overlap, and days, add up.
    """
    if not parts:
        return None
    used = [_count_samples(image, part, counts[part.key]) for part in parts]
    noise_jy = expected_noise_of_counts(
        [one.samples for one in used],
        [part.sefd_jy for part in parts],
        [part.time_s for part in parts],
        [part.bandwidth_hz for part in parts],
        [one.variance for one in used],
    )
    with_data = noise_jy[np.isfinite(noise_jy)]
    return float(np.median(with_data)) if with_data.size else None


def _count_samples(image: ImageRecord, part: NoiseOfPart, counts: ChannelCounts) -> MixedCounts:
    """Return what the channels of an image have of a partition; all channels of a continuum image are one."""
    if part.mixing is not None:
        axis, doppler, time_s, window = part.mixing
        return count_mixtures(
            axis, doppler_factors(np.array(time_s), doppler), window, counts.of([(0, window.n_channels)])
        )
    pieces = counts.of(part.channels).astype(np.float64)
    pieces = pieces.sum(keepdims=True) if image.kind == "continuum" else pieces
    return MixedCounts(pieces, pieces)


def _count(context: Context, partition: Partition, group: str) -> Delayed:
    context = context.for_part(partition, group)
    name = f"{partition.name}-{group}"
    blocks = plan_blocks(context, [partition], group=group, copies=COUNTING_COPIES)
    parts = map_chunks(context, count_visibilities, blocks, name=f"count_visibilities-{name}")
    return reduce_tree(context, add_counts, parts, name=f"add_counts-{name}")
