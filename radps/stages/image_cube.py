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
from radps.data.chunks import ChannelChunk, plan_channel_chunks
from radps.data.images import ImageDescription
from radps.domain.geometry import ImageGrid
from radps.domain.imaging import estimate_plane_memory
from radps.domain.model_update import count_scales
from radps.domain.normal_operator import MAX_TERMS, count_terms
from radps.domain.polarization import find_recipes
from radps.domain.regridding import SpectralAxis, count_channel_parts
from radps.domain.weights import Weighting
from radps.errors import DataError, SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.cube_imaging import CubePart, clean_channels, sum_parts
from radps.node_tasks.feeds import FeedRule
from radps.node_tasks.image_stores import ImageStores, create_cube_stores, create_image_stores
from radps.node_tasks.samples import Regridding, Source
from radps.stages._image_axes import (
    SpectralAxisParams,
    choose_axis,
    drift_channels,
    make_doppler_rule,
    reaches,
)
from radps.stages._imaging import (
    ImageTarget,
    blank_record,
    choose_grid,
    choose_weighting,
    common_density,
    cut_for_sum,
    describe_beamless,
    describe_choices,
    describe_image,
    describe_records,
    farthest_baseline,
    field_name_in_paths,
    image_name,
    imaged_data,
    make_rules,
    plan_stores,
    summarise_image,
)
from radps.stages._masks import MaskParams, apply_mask
from radps.stages._restoring import RestoringBeamChoice, given_beam, restore_commonly

REGRID_BYTES = 3 * (8 + 4) + 24 + 24 + 16
"""Memory of a sample while it is brought to the axis of a cube: with its weight, its uvw, and where it comes from."""

READ_BYTES = 4 * (8 + 1 + 4)
"""Memory of a visibility while a piece is read: as stored, made safe, Stokes I, and one copy."""


class Params(SpectralAxisParams, MaskParams):
    """Parameters of the stage `image_cube`."""

    channels: ChannelRange | None = None
    """Channels of the data that are used, such as "5~50", or frequencies; by default those of the list of images to
    make, else all of them. They are the channels of the cube unless that has an axis of its own."""
    stokes: Literal["I", "IV", "IQ", "IQU", "IQUV"] = "I"
    """Stokes parameters, each a plane that is CLEANed by itself (CASA `stokes`)."""
    parallactic_angle: bool | Literal["auto"] = "auto"
    """Turn Q and U of the feeds to the sky: True, False = the data are corrected for it (CASA `applycal`, parang), or
    "auto" = as the mounts of the antennas ask for."""
    restoring_beam: RestoringBeamChoice = "channel"
    """Beam of the restored channels: "channel" is each one's own, "common" the smallest that contains all of them, or
    {major, minor, position_angle}; residuals are smoothed to it (CASA `restoringbeam`)."""
    weight_density: Literal["channel", "common"] = "channel"
    """Weight density of each channel by itself, or of all channels together (CASA `perchanweightdensity`)."""


def image_cube(context: Context, params: Params) -> Delayed:
    """Image every channel of the target by CLEAN; each task runs the whole loop of its channels.

    Channels are independent, so that the cube does not depend on how they are shared out to tasks. A channel that
    diverges or has no data stays in the cube, is counted and listed.
    """
    targets = find_targets(context, params)
    records = [_image_target(context, params, target) for target in targets]
    return run_task(context, _finish, records)


def find_targets(context: Context, params: Params) -> tuple[ImageTarget, ...]:
    """Return one cube for each selected field and virtual spectral window, from all data sets that have it.

    With ``combine_windows`` one for each field.
    """
    wanted = None if params.windows is None else {context.virtual_window(name).number for name in params.windows}
    groups: dict[tuple[str, int | None], list[Partition]] = {}
    for partition in context.visibilities(params.field):
        number = context.window(partition.window).virtual
        if wanted is None or number in wanted:
            groups.setdefault((partition.field, None if params.combine_windows else number), []).append(partition)
    if not groups:
        raise SelectionError(
            f"no data of {params.field!r} in the spectral windows {', '.join(params.windows or ())}; name others"
        )
    targets = []
    for (field, virtual), partitions in groups.items():
        windows = [context.window(partition.window) for partition in partitions]
        planned = context.imaging.find("cube", field, {window.virtual for window in windows})
        used = [_channels(params, planned, window) for window in windows]
        _check_polarizations(params, partitions)
        choice = choose_axis(context, params, partitions, used)
        name = field_name_in_paths(context, field) if virtual is None else image_name(context, field, virtual)
        channels = tuple((one,) for one in choice.channels)
        targets.append(ImageTarget(name, field, tuple(partitions), channels, planned, axis=choice.axis))
    return tuple(targets)


def _check_polarizations(params: Params, partitions: Sequence[Partition]) -> None:
    """Refuse Stokes parameters for which correlations are missing."""
    for partition in partitions:
        try:
            find_recipes(partition.polarizations, params.stokes, is_turning=params.parallactic_angle is not False)
        except DataError as error:
            raise SelectionError(f"{partition.name}: {error}") from error


def _image_target(context: Context, params: Params, target: ImageTarget) -> Delayed:
    """Return the graph of one cube; it computes to its record."""
    window = context.window(target.partitions[0].window)
    ((first, last),) = target.channels[0]
    grid = choose_grid(context, params, window, target.planned)
    frequency_hz = np.linspace(*window.frequency_hz, window.n_channels)[first:last]
    width_hz = abs(window.channel_width_hz)
    if target.axis is not None:
        frequency_hz, width_hz, first = target.axis.frequency_hz(), abs(target.axis.step_hz), 0
    datasets = {partition.dataset for partition in target.partitions}
    description = describe_image(context, target.field, window, grid, frequency_hz, width_hz, datasets)
    if target.axis is not None:
        description = description._replace(spectral_frame=target.axis.frame)
    description = description._replace(polarizations=tuple(params.stokes))
    if params.rest_frequency is not None:
        description = description._replace(rest_frequency_hz=params.rest_frequency)
    observation = context.require_observation()
    array = (observation.telescope, observation.antennas, observation.longest_baseline_m)
    context = context.for_part(target, description, array)
    weighting = choose_weighting(params, target.planned)
    highest_hz = float(frequency_hz.max())
    chosen = describe_choices(context, params, grid, weighting, highest_hz)
    stores, image_path, table_path = plan_stores(context, params, target, description, params.mask_variables, chosen)
    ready = [_create_stores(context, target, stores, description)]
    groups = [params.data_group] * len(target.partitions)
    if params.weight_density == "common" and weighting.weighting is not Weighting.NATURAL:
        density, density_url = common_density(context, cut_for_sum(context, target, groups), grid, target.name)
        ready.append(density)
        weighting = weighting._replace(density_url=density_url)
    rules, masking = apply_mask(
        context, params, make_rules(context, params, grid, highest_hz, weighting), description, target.name
    )
    rules = rules._replace(stokes=tuple(params.stokes), restoring_beam=given_beam(params.restoring_beam))
    ready += masking
    terms = count_terms(farthest_baseline(context), highest_hz, grid, w_term=rules.clean.w_term)
    shares = plan_parts(context, params, target, grid, terms, count_scales(rules.clean.deconvolver, grid))
    parts = map_chunks(
        context,
        clean_channels,
        shares,
        rules,
        stores.image_url,
        stores.convergence_url,
        name=f"clean_channels-{target.name}",
        after=ready,
    )
    imaged = reduce_tree(context, sum_parts, parts, name=f"count-{target.name}")
    if params.restoring_beam == "common":
        chunks = [part.channels for part in shares]
        imaged = restore_commonly(context, chunks, rules, stores, target.name, after=imaged)
    name = f"{target.name}_{context.place().step}"
    blank = blank_record(name, "cube", image_path, stores.variables, target.field, window.name, description)
    planned = None if target.planned is None else target.planned.name
    more_of_it = {"convergence": table_path, "planned": planned, "data": imaged_data(target, groups)}
    more_of_it["interpolation"] = None if target.axis is None else target.axis.interpolation
    blank = blank.model_copy(update=more_of_it)
    return run_task(context, summarise_image, blank, stores, first, name=f"summarise-{target.name}", after=imaged)


def _create_stores(
    context: Context, target: ImageTarget, stores: ImageStores, description: ImageDescription
) -> Delayed:
    """Return the task that creates the stores; channels of the data have the frequencies that the data say."""
    name = f"create-{target.name}"
    if target.axis is not None:
        return run_task(context, create_image_stores, stores, description, name=name)
    return run_task(
        context,
        create_cube_stores,
        stores,
        description._replace(frequency_hz=description.frequency_hz[:0]),
        context.address(target.partitions[0]).store,
        target.channels[0][0],
        name=name,
    )


def plan_parts(
    context: Context, params: Params, target: ImageTarget, grid: ImageGrid, n_terms: int, n_scales: int = 0
) -> tuple[CubePart, ...]:
    """Share out the channels to tasks: as many as keep the slots busy, each within the memory of a slot."""
    if target.axis is not None:
        return _plan_regridded_parts(context, params, target, target.axis, grid, n_terms, n_scales)
    ((first, last),) = target.channels[0]
    stored = target.partitions[0].chunks[1]
    width = min(
        stored,
        last - first,
        _count_readable_channels(target, grid, n_terms, n_scales, context.place().resources.memory_bytes),
    )
    parts = []
    for chunk in _share_out(context, last - first, estimate_task_memory(target, grid, width, n_terms, n_scales)):
        sources = tuple(
            Source(
                context.address(partition, params.data_group),
                (0, partition.shape[0]),
                (ranges[0][0] + chunk.start, ranges[0][0] + chunk.stop),
                feeds=_feed_rule(context, params, partition),
            )
            for partition, ranges in zip(target.partitions, target.channels, strict=True)
        )
        parts.append(CubePart((chunk.start, chunk.stop), _cut_pieces(chunk, first, stored, width), sources))
    return tuple(parts)


def _cut_pieces(chunk: ChannelChunk, first: int, stored: int, width: int) -> tuple[tuple[int, int], ...]:
    """Cut the channels of a task into what is read at once, ``width`` at most.

    A piece ends where a zarr chunk of the data (``stored`` channels) ends: no more is read than has to be. ``first`` is
    the channel of the data that channel 0 of the cube is.
    """
    begin = chunk.start - (first + chunk.start) % stored
    starts = {low for border in range(begin, chunk.stop, stored) for low in range(border, border + stored, width)}
    edges = [chunk.start, *sorted(low for low in starts if chunk.start < low < chunk.stop), chunk.stop]
    return tuple(pairwise(edges))


def _plan_regridded_parts(
    context: Context,
    params: Params,
    target: ImageTarget,
    axis: SpectralAxis,
    grid: ImageGrid,
    n_terms: int,
    n_scales: int,
) -> tuple[CubePart, ...]:
    """Share out the channels of a cube with an axis of its own; each part has the partitions that reach it."""
    sources = [
        Source(
            context.address(partition, params.data_group),
            (0, partition.shape[0]),
            used,
            Regridding(
                axis,
                make_doppler_rule(context, partition, axis),
                abs(context.window(partition.window).channel_width_hz),
            ),
            _feed_rule(context, params, partition),
        )
        for partition, (used,) in zip(target.partitions, target.channels, strict=True)
    ]
    spans = [
        reaches(context, partition, used, axis)
        for partition, (used,) in zip(target.partitions, target.channels, strict=True)
    ]
    ratios = [abs(axis.step_hz / context.window(one.window).channel_width_hz) for one in target.partitions]
    width = max(1, min(int(one.chunks[1] / ratio) for one, ratio in zip(target.partitions, ratios, strict=True)))
    memory = _estimate_regridded_memory(context, target, axis, spans, width, grid, n_terms, n_scales)
    parts = []
    for chunk in _share_out(context, axis.n_channels, memory):
        near = [
            source
            for source, (start, stop) in zip(sources, spans, strict=True)
            if start < chunk.stop and stop > chunk.start
        ]
        edges = [*range(chunk.start, chunk.stop, width), chunk.stop]
        # Channels that no data reach are imaged too: a plane without data is a result.
        parts.append(CubePart((chunk.start, chunk.stop), tuple(pairwise(edges)), tuple(near or sources[:1])))
    return tuple(parts)


def _estimate_regridded_memory(
    context: Context,
    target: ImageTarget,
    axis: SpectralAxis,
    spans: Sequence[tuple[int, int]],
    width: int,
    grid: ImageGrid,
    n_terms: int,
    n_scales: int,
) -> int:
    """Return the memory [byte] of a task that regrids and images ``width`` channels, one after the other."""
    reading, rows = [], []
    for partition in target.partitions:
        own_hz = abs(context.window(partition.window).channel_width_hz)
        drift = drift_channels(context, partition, axis.frame)
        channels = min(partition.shape[2], width * abs(axis.step_hz) / own_hz + drift + 3)
        cells = partition.shape[0] * partition.shape[1]
        reading.append(int(cells * partition.shape[3] * channels * READ_BYTES))
        rows.append(cells * count_channel_parts(axis.step_hz, own_hz))
    # What a piece of the axis is made of is most where the most partitions meet.
    crowds = [
        [number for number, (start, stop) in enumerate(spans) if start < first + width and stop > first]
        for first in {edge for start, _ in spans for edge in (start, start - width + 1)}
    ]
    most = max(crowds, key=lambda crowd: sum(reading[number] for number in crowd))
    n_rows = sum(rows[number] for number in most)
    plane = estimate_plane_memory(n_rows, grid, n_terms=min(n_terms, MAX_TERMS), n_scales=n_scales)
    return plane + sum(reading[number] for number in most) + n_rows * REGRID_BYTES


def _feed_rule(context: Context, params: Params, partition: Partition) -> FeedRule | None:
    """Return how the feeds turn against the sky, if that matters."""
    if params.parallactic_angle is False or not {"Q", "U"} & set(params.stokes):
        return None
    direction = context.field(partition.field).direction
    return FeedRule(direction.ra_rad, direction.dec_rad, always=params.parallactic_angle is True)


def _share_out(context: Context, n_channels: int, bytes_fixed: int) -> tuple[ChannelChunk, ...]:
    """Cut the channels of a cube into as many chunks as keep the slots busy."""
    place = context.place()
    return plan_channel_chunks(
        n_channels,
        stage=place.step,
        bytes_per_channel=0,
        bytes_fixed=bytes_fixed,
        slots=place.resources.slots,
        memory_bytes=place.resources.memory_bytes,
    )


def estimate_task_memory(target: ImageTarget, grid: ImageGrid, width: int, n_terms: int, n_scales: int = 0) -> int:
    """Return the memory [byte] of a task that reads ``width`` channels at once and images one after the other."""
    rows = sum(partition.shape[0] * partition.shape[1] for partition in target.partitions)
    cells = sum(partition.shape[0] * partition.shape[1] * partition.shape[3] for partition in target.partitions)
    return cells * width * READ_BYTES + estimate_plane_memory(
        rows, grid, n_terms=min(n_terms, MAX_TERMS), n_scales=n_scales
    )


def _count_readable_channels(
    target: ImageTarget, grid: ImageGrid, n_terms: int, n_scales: int, memory_bytes: int
) -> int:
    """Return how many channels a task can read at once; one at least.

    Fewer than a zarr chunk has are read where those do not fit, and the chunk again for the next ones.
    """
    fixed, one = (estimate_task_memory(target, grid, width, n_terms, n_scales) for width in (0, 1))
    return max(1, (memory_bytes - fixed) // max(1, one - fixed))


def _channels(params: Params, planned: PlannedImage | None, window: SpectralWindow) -> tuple[int, int]:
    """Return the half-open channels of a window that are imaged."""
    ranges = (params.channels,) if params.channels is not None else planned.channels if planned else None
    return (0, window.n_channels) if ranges is None else channels_of(ranges, window)[0]


def _finish(records: Sequence[ImageRecord]) -> Outcome:
    """Register the cubes, say what they are, and which channels need a look."""
    troubles = describe_beamless(records)
    if listed := sum(len(record.listed) for record in records):
        troubles.append(f"{listed} channels diverged or have no data")
    return Outcome(
        status=OutcomeStatus.CAVEATS if troubles else OutcomeStatus.SUCCESS,
        message="; ".join([*troubles, describe_records(records)]),
        images=tuple(records),
        summary={record.name: record.channels for record in records},
    )
