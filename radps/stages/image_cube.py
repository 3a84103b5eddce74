"""Image every channel of the target by CLEAN."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, Partition, PlannedImage, SpectralWindow
from radps.context.selection import ChannelRange, channels_of
from radps.data.chunks import plan_channel_chunks
from radps.data.virtual_windows import SAME_CHANNEL
from radps.domain.geometry import ImageGrid
from radps.domain.imaging import estimate_plane_memory
from radps.domain.normal_operator import MAX_TERMS, count_terms
from radps.domain.weights import Weighting
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.cube_imaging import CubePart, clean_channels, sum_parts
from radps.node_tasks.image_stores import create_cube_stores
from radps.node_tasks.samples import Source
from radps.stages._imaging import (
    ImageTarget,
    ImagingParams,
    blank_record,
    choose_grid,
    choose_weighting,
    common_density,
    cut_for_sum,
    describe_beamless,
    describe_image,
    farthest_baseline,
    make_rules,
    plan_stores,
    summarise_image,
)

READ_BYTES = 4 * (8 + 1 + 4)
"""Memory of a visibility while a piece is read: as stored, made safe, Stokes I, and one copy."""


class Params(ImagingParams):
    """Parameters of the stage `image_cube`."""

    channels: ChannelRange | None = None
    """Channels of the cube, such as "5~50", or frequencies; by default those of the list of images to make, else all
    of them."""
    weight_density: Literal["channel", "common"] = "channel"
    """Weight density of each channel by itself, or of all channels together (CASA `perchanweightdensity`)."""


def image_cube(context: Context, params: Params) -> Delayed:
    """Image every channel of the target by CLEAN; each task runs the whole loop of its channels.

    Channels are independent, so that the cube does not depend on how they are shared out to tasks. A channel that
    diverges or has no data stays in the cube, is counted and listed.
    """
    windows = {window.name: window for window in context.require_observation().windows}
    targets = find_targets(context, params)
    records = [_image_target(context, params, target, windows[target.partitions[0].window]) for target in targets]
    return run_task(context, _finish, records)


def find_targets(context: Context, params: Params) -> tuple[ImageTarget, ...]:
    """Return one cube for each selected field and virtual spectral window, from all data sets that have it."""
    windows = {window.name: window for window in context.require_observation().windows}
    groups: dict[tuple[str, int], list[Partition]] = {}
    for partition in context.visibilities(params.field):
        groups.setdefault((partition.field, windows[partition.window].virtual), []).append(partition)
    targets = []
    for (field, virtual), partitions in groups.items():
        planned = context.imaging.find("cube", field, [virtual])
        channels = tuple((_channels(params, planned, windows[partition.window]),) for partition in partitions)
        _check_same_channels(partitions, [windows[partition.window] for partition in partitions])
        is_single = len({key[1] for key in groups}) == 1
        name = field if is_single else f"{field}-{context.virtual_window(virtual).name}"
        targets.append(ImageTarget(name.replace("/", "_"), field, tuple(partitions), channels, planned))
    return tuple(targets)


def _image_target(context: Context, params: Params, target: ImageTarget, window: SpectralWindow) -> Delayed:
    """Return the graph of one cube; it computes to its record."""
    ((first, last),) = target.channels[0]
    grid = choose_grid(context, params, window, target.planned)
    frequency_hz = np.linspace(*window.frequency_hz, window.n_channels)[first:last]
    description = describe_image(context, target.field, window, grid, frequency_hz, abs(window.channel_width_hz))
    observation = context.require_observation()
    array = (observation.telescope, observation.antennas, observation.longest_baseline_m)
    context = context.for_part(target, description, array)
    stores, image_path, table_path = plan_stores(context, params, target, description)
    ready = [
        run_task(
            context,
            create_cube_stores,
            stores,
            description._replace(frequency_hz=frequency_hz[:0]),
            context.address(target.partitions[0]).store,
            (first, last),
            name=f"create-{target.name}",
        )
    ]
    weighting = choose_weighting(params, target.planned)
    if params.weight_density == "common" and weighting.weighting is not Weighting.NATURAL:
        density, density_url = common_density(
            context, cut_for_sum(context, target, params.data_group), grid, target.name
        )
        ready.append(density)
        weighting = weighting._replace(density_url=density_url)
    highest_hz = float(frequency_hz.max())
    rules = make_rules(context, params, grid, highest_hz, weighting)
    terms = count_terms(farthest_baseline(context), highest_hz, grid, w_term=rules.clean.w_term)
    parts = map_chunks(
        context,
        clean_channels,
        plan_parts(context, params, target, grid, terms),
        rules,
        stores.image_url,
        stores.convergence_url,
        name=f"clean_channels-{target.name}",
        after=ready,
    )
    imaged = reduce_tree(context, sum_parts, parts, name=f"count-{target.name}")
    name = f"{target.name}_{context.place().step}"
    blank = blank_record(name, "cube", image_path, stores.variables, target.field, window.name, description)
    planned = None if target.planned is None else target.planned.name
    blank = blank.model_copy(update={"convergence": table_path, "planned": planned})
    return run_task(context, summarise_image, blank, stores, first, name=f"summarise-{target.name}", after=imaged)


def plan_parts(
    context: Context, params: Params, target: ImageTarget, grid: ImageGrid, n_terms: int
) -> tuple[CubePart, ...]:
    """Share out the channels to tasks: as many as keep the slots busy, each within the memory of a slot."""
    place = context.place()
    ((first, last),) = target.channels[0]
    width = min(target.partitions[0].chunks[1], last - first)
    plan = plan_channel_chunks(
        last - first,
        stage=place.step,
        bytes_per_channel=0,
        bytes_fixed=estimate_task_memory(target, grid, width, n_terms),
        slots=place.resources.slots,
        memory_bytes=place.resources.memory_bytes,
    )
    parts = []
    for chunk in plan:
        # What is read at once ends where a zarr chunk of the data ends: no chunk is read twice by a task.
        borders = range(chunk.start + width - (first + chunk.start) % width, chunk.stop, width)
        edges = [chunk.start, *borders, chunk.stop]
        sources = tuple(
            Source(
                context.address(partition, params.data_group),
                (0, partition.shape[0]),
                (ranges[0][0] + chunk.start, ranges[0][0] + chunk.stop),
            )
            for partition, ranges in zip(target.partitions, target.channels, strict=True)
        )
        pieces = tuple(pairwise(edges))
        parts.append(CubePart((chunk.start, chunk.stop), pieces, sources))
    return tuple(parts)


def estimate_task_memory(target: ImageTarget, grid: ImageGrid, width: int, n_terms: int) -> int:
    """Return the memory [byte] of a task that reads ``width`` channels at once and images one after the other."""
    rows = sum(partition.shape[0] * partition.shape[1] for partition in target.partitions)
    cells = sum(partition.shape[0] * partition.shape[1] * partition.shape[3] for partition in target.partitions)
    return cells * width * READ_BYTES + estimate_plane_memory(rows, grid, n_terms=min(n_terms, MAX_TERMS))


def _channels(params: Params, planned: PlannedImage | None, window: SpectralWindow) -> tuple[int, int]:
    """Return the half-open channels of a window that are imaged."""
    ranges = (params.channels,) if params.channels is not None else planned.channels if planned else None
    return (0, window.n_channels) if ranges is None else channels_of(ranges, window)[0]


def _check_same_channels(partitions: Sequence[Partition], windows: Sequence[SpectralWindow]) -> None:
    """Refuse to put data sets with different channels into one cube."""
    first = windows[0]
    for partition, window in zip(partitions, windows, strict=True):
        shift = max(abs(a - b) for a, b in zip(window.frequency_hz, first.frequency_hz, strict=True))
        if window.n_channels != first.n_channels or shift > SAME_CHANNEL * abs(first.channel_width_hz):
            raise SelectionError(
                f"{partition.name} and {partitions[0].name} have different channels ({window.n_channels} from "
                f"{window.frequency_hz[0] / 1e6:.6f} MHz, {first.n_channels} from "
                f"{first.frequency_hz[0] / 1e6:.6f} MHz) and make no common cube; import them with "
                f"virtual_windows: exact, so that each gets a cube of its own"
            )


def _finish(records: Sequence[ImageRecord]) -> Outcome:
    """Register the cubes, and say which channels need a look."""
    troubles = describe_beamless(records)
    if listed := sum(len(record.listed) for record in records):
        troubles.append(f"{listed} channels diverged or have no data")
    return Outcome(
        status=OutcomeStatus.CAVEATS if troubles else OutcomeStatus.SUCCESS,
        message="; ".join(troubles),
        images=tuple(records),
        summary={record.name: record.channels for record in records},
    )
