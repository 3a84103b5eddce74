"""What the planning of solutions shares: which scans, in which pieces, with which model, referred to which antenna."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
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


def calibrator_scans(
    context: Context,
    words: Sequence[str],
    window: SpectralWindow,
    channels: tuple[int, int],
) -> list[CalibratorScan]:
    """Return the scans of calibrators in a window: their times, the channels asked for."""
    found = [
        CalibratorScan(partition.dataset, partition.field, scan, cut_scan(context, partition, span, channels))
        for partition in context.visibilities(tuple(words))
        if partition.window == window.name
        for scan, span in partition.scans.items()
    ]
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


def cut_scan(
    context: Context, partition: Partition, times: tuple[int, int], channels: tuple[int, int]
) -> tuple[Block, ...]:
    """Cut a scan into pieces of a fixed size; they are summed, so that the cut may not depend on the cluster."""
    _, n_baselines, _, n_polarizations = partition.shape
    cells = max(1, int(SUM_BLOCK_BYTES / (COPIES * n_baselines * n_polarizations * VISIBILITY_BYTES)))
    n_times = min(times[1] - times[0], cells)
    # Whole zarr chunks of channels where they fit, so that none is read twice.
    align = partition.chunks[1]
    n_channels = max(1, cells // n_times)
    n_channels = n_channels // align * align or n_channels
    starts = [channels[0], *range((channels[0] // n_channels + 1) * n_channels, channels[1], n_channels)]
    bands = list(pairwise([*starts, channels[1]]))
    widest = max(stop - start for start, stop in bands)
    needed = COPIES * n_times * widest * n_baselines * n_polarizations * VISIBILITY_BYTES
    require_memory(context, f"a piece of {n_times} integrations of a scan of {partition.name}", needed)
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
