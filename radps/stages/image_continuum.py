"""Image the continuum of the target by multi-frequency synthesis."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.planning import require_memory
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, Partition, PlannedImage, SpectralWindow
from radps.context.selection import ChannelRange
from radps.domain.continuum_memory import estimate_continuum_memory
from radps.domain.imaging import choose_accuracy
from radps.domain.model_update import count_scales
from radps.domain.solver import ModelUpdate, Residual, ResidualRequest, SolverResult, StopReason, iterate
from radps.domain.weights import Weighting
from radps.domain.wideband_operator import plan_series
from radps.errors import SelectionError
from radps.graph_tasks.shapes import Keep, map_chunks, reduce_tree, run_task
from radps.node_tasks.continuum_imaging import (
    CORRECTED_INDEX_VARIABLE,
    CORRECTED_VARIABLES,
    INDEX_VARIABLES,
    TAYLOR_VARIABLES,
    ContinuumPlane,
    CycleImages,
    FirstLook,
    TermsUpdate,
    convolve_residual,
    finish_continuum,
    save_first,
    save_residual,
    update_model,
)
from radps.node_tasks.continuum_sums import (
    IMAGES_AT_ONCE,
    ContinuumRules,
    add_first,
    add_images,
    find_longest_w,
    find_maximum,
    load_block,
    sum_first,
    sum_residual,
)
from radps.node_tasks.image_stores import create_image_stores
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
    describe_choices,
    describe_image,
    describe_records,
    field_name_in_paths,
    imaged_data,
    make_rules,
    plan_stores,
    summarise_image,
)
from radps.stages._line_free import channels_without_line
from radps.stages._masks import MaskParams, apply_mask
from radps.stages.subtract_continuum import GROUP as LINE_GROUP
from radps.stages.subtract_model import GROUP as MODEL_GROUP

KEEP_SHARE = 0.3
"""Part of the memory of all workers that kept visibilities may take; the tasks of the cycles need the rest."""

SMALLER_IMAGE = "make the image smaller (image_size), or its pixels larger (cell_size)"

SAMPLE_BYTES = 8 + 4
"""A kept visibility: Stokes I, its weight."""

UVW_BYTES = 24


class Params(ImagingParams, MaskParams):
    """Parameters of the stage `image_continuum`."""

    channels: tuple[ChannelRange, ...] | None = None
    """Channels to use, such as ["4~6", "50~59"] or ["1412.7~1412.8 MHz LSRK"]; by default those of the list of
    images to make, else the line-free ones if they are known, else all."""
    spectral_windows: Literal["together", "each"] = "together"
    """One image of all spectral windows of a field, or one of each."""
    n_terms: Literal[1, 2] = 1
    """Taylor terms of the spectrum; 2 for wide bands: gives the spectral index too (CASA `nterms`)."""
    index_limit: Annotated[float, Field(gt=0)] = 10.0
    """With two terms: the spectral index is given where the image is above this many times its noise."""


class _Work(NamedTuple):
    """What the cycles of one image share."""

    target: ImageTarget
    blocks: Sequence[Source | Delayed]
    """Data to be read by whoever needs them, or handles of data that are kept."""
    rules: ContinuumRules
    scratch_url: str

    def cycle(self, number: int) -> CycleImages:
        """Return where the images of a cycle are."""
        return CycleImages(self.scratch_url, number)


def image_continuum(context: Context, params: Params) -> Generator[Delayed | Keep, Any, Outcome]:
    """Image the continuum of every selected field from all its spectral windows; one small graph a cycle.

    The first look at the data is a map over blocks and the tree sum of their images. The residual updates of the cycles
    are another one, or convolutions that need no data where the phase of the w-term is small; data that are needed
    again stay in the memory of the workers where they fit (the summary tells which). A model update is one task. The
    blocks depend on the data alone, so that the sums come out the same on every cluster.
    """
    records, methods = [], {}
    targets = find_continuum_targets(context, params)
    for target in targets:
        record, methods[target.name] = yield from image_target(context, params, target)
        records.append(record)
    troubles = [*describe_unimaged(context, params, targets), *describe_beamless(records)]
    if listed := [record.name for record in records if record.listed]:
        troubles.append(f"look at {', '.join(listed)}: diverged or without data")
    return Outcome(
        status=OutcomeStatus.CAVEATS if troubles else OutcomeStatus.SUCCESS,
        message="; ".join([*troubles, describe_records(records)]),
        images=tuple(records),
        summary={**{record.name: record.channels for record in records}, "residuals": methods},
    )


def find_continuum_targets(context: Context, params: Params) -> tuple[ImageTarget, ...]:
    """Return one image for each selected field, or for each virtual spectral window of it."""
    windows = {window.name: window for window in context.require_observation().windows}
    each = params.spectral_windows == "each"
    groups: dict[tuple[str, int], list[Partition]] = {}
    for partition in context.visibilities(params.field):
        groups.setdefault((partition.field, windows[partition.window].virtual if each else 0), []).append(partition)
    targets = []
    for (field, virtual), every in groups.items():
        planned = context.imaging.find("continuum", field, [windows[one.window].virtual for one in every])
        ranges = [_channels(context, params, planned, one, windows[one.window]) for one in every]
        used = [(one, found) for one, found in zip(every, ranges, strict=True) if found]
        if not used and len(groups) > 1:
            continue  # a field or window that is all line has no continuum; the others do
        if not used:
            raise SelectionError(
                f"no channel of field {field} is line-free; name channels to image by the parameter `channels`"
            )
        partitions, channels = zip(*used, strict=True)
        name = field_name_in_paths(context, field)
        name = f"{name}-{context.virtual_window(virtual).name}" if each else name
        targets.append(ImageTarget(name, field, partitions, channels, planned))
    if not targets:
        raise SelectionError("no spectral window has line-free channels; name channels by the parameter `channels`")
    return tuple(targets)


def describe_unimaged(context: Context, params: Params, targets: Sequence[ImageTarget]) -> list[str]:
    """Return a message if selected fields have no image at all, as all their channels have lines."""
    imaged = {target.field for target in targets}
    fields = dict.fromkeys(one.field for one in context.visibilities(params.field) if one.field not in imaged)
    return [
        f"no channel of field {field} is line-free, so that it has no continuum; name channels to image by the "
        "parameter `channels`"
        for field in fields
    ]


def _channels(
    context: Context, params: Params, planned: PlannedImage | None, partition: Partition, window: SpectralWindow
) -> tuple[tuple[int, int], ...]:
    """Return the half-open channels of a window that are imaged."""
    ranges = params.channels if params.channels is not None else planned.channels if planned else None
    if ranges is not None:
        return channels_without_line(context, partition, ranges)
    return context.continuum_channels(partition.field, window.name)


def choose_data_group(params: Params, partition: Partition) -> str:
    """Return the version of the data: the newest that still has its continuum."""
    return params.data_group or [name for name in partition.groups if name not in (LINE_GROUP, MODEL_GROUP)][-1]


def image_target(
    context: Context, params: Params, target: ImageTarget
) -> Generator[Delayed | Keep, Any, tuple[ImageRecord, str]]:
    """Drive the loop of one image; returns its record, and how its residuals were made.

    For stages, too, that image in cycles of their own.
    """
    windows = {window.name: window for window in context.require_observation().windows}
    edges = [_edges(windows[p.window], ranges) for p, ranges in zip(target.partitions, target.channels, strict=True)]
    lowest_hz, highest_hz = min(low for low, _ in edges), max(high for _, high in edges)
    centre_hz = 0.5 * (lowest_hz + highest_hz)
    window = max((windows[partition.window] for partition in target.partitions), key=_top)
    grid = choose_grid(context, params, window, target.planned, lowest_hz)
    description = describe_image(
        context,
        target.field,
        window,
        grid,
        np.array([centre_hz]),
        highest_hz - lowest_hz,
        {partition.dataset for partition in target.partitions},
    )
    observation = context.require_observation()
    array = (observation.telescope, observation.antennas, observation.longest_baseline_m)
    context = context.for_part(target, description, array)
    weighting = choose_weighting(params, target.planned)
    chosen = describe_choices(context, params, grid, weighting, highest_hz)
    more = _more_variables(params)
    stores, image_path, table_path = plan_stores(context, params, target, description, more, chosen)
    groups = [choose_data_group(params, partition) for partition in target.partitions]
    sources = cut_for_sum(context, target, groups)
    before: list[Delayed] = [run_task(context, create_image_stores, stores, description, name=f"create-{target.name}")]
    if weighting.weighting is not Weighting.NATURAL:
        density, density_url = common_density(context, sources, grid, target.name)
        before.append(density)
        weighting = weighting._replace(density_url=density_url)
    imaging, masking = apply_mask(
        context, params, make_rules(context, params, grid, highest_hz, weighting), description, target.name
    )
    before += masking
    longest_w = yield _longest_w_graph(context, target.name, sources)
    clean = imaging.clean
    series = plan_series(longest_w, grid, params.n_terms, epsilon=clean.epsilon, w_term=clean.w_term)
    rules = ContinuumRules(imaging, centre_hz, params.n_terms, longest_w, series)
    projection = _require_memory(context, params, target, sources, rules)
    scratch_url = context.locate(context.new_path("images", f"{target.name}-cycles", suffix=""))
    restored = context.is_finished(context.task_key(f"restore-{target.name}"))
    keeps = not series and not restored and _fits(context, params, target, projection)
    blocks = (yield _keep_blocks(context, target, sources)) if keeps else sources
    work = _Work(target, blocks, rules, scratch_url)
    weight, result, kept = yield from _iterate_cycles(context, work, before)
    plane = ContinuumPlane(rules, stores.image_url, stores.convergence_url, kept, result, params.index_limit)
    finished = run_task(context, finish_continuum, plane, weight, name=f"restore-{target.name}")
    name = f"{target.name}_{context.place().step}"
    blank = blank_record(name, "continuum", image_path, stores.variables, target.field, window.name, description)
    planned = None if target.planned is None else target.planned.name
    more_of_it = {"convergence": table_path, "planned": planned, "data": imaged_data(target, groups)}
    blank = blank.model_copy(update=more_of_it)
    record: ImageRecord = yield run_task(
        context, summarise_image, blank, stores, name=f"summarise-{target.name}", after=finished
    )
    if series:
        return record, f"by convolution, {series} terms in w"
    return record, "from visibilities kept on the workers" if keeps else "from visibilities read in each cycle"


def _require_memory(
    context: Context,
    params: Params,
    target: ImageTarget,
    sources: Sequence[Source],
    rules: ContinuumRules,
) -> int:
    """Return the memory that the largest task of an image takes [byte]; refuse one that no slot has."""
    grid = rules.imaging.grid
    n_cells = max((one.times[1] - one.times[0]) * (one.channels[1] - one.channels[0]) for one in sources)
    projection = estimate_continuum_memory(
        n_cells * max(partition.shape[1] for partition in target.partitions),
        max(partition.shape[3] for partition in target.partitions),
        grid,
        n_terms=params.n_terms,
        series=rules.series,
        n_scales=count_scales(rules.imaging.clean.deconvolver, grid),
    )
    what = f"a continuum image of {grid.n_l} x {grid.n_m} pixels with {params.n_terms} Taylor terms"
    require_memory(context, what, projection, remedy=SMALLER_IMAGE)
    return projection


def _fits(context: Context, params: Params, target: ImageTarget, projection: int) -> bool:
    """Return True where the data of an image are worth keeping between cycles, and the workers have the memory.

    It is what their tasks, of a size of ``projection`` [byte], leave, but no more than ``KEEP_SHARE``.
    """
    resources = context.place().resources
    n_bytes = 0
    for partition, ranges in zip(target.partitions, target.channels, strict=True):
        n_channels = sum(stop - start for start, stop in ranges)
        n_bytes += partition.shape[0] * partition.shape[1] * (n_channels * SAMPLE_BYTES + UVW_BYTES)
    free_bytes = min(KEEP_SHARE * resources.memory_bytes, resources.memory_bytes - projection)
    return params.max_iterations > 0 and n_bytes <= resources.slots * free_bytes


def _keep_blocks(context: Context, target: ImageTarget, sources: Sequence[Source]) -> Keep:
    """Return the request to read all data, and to keep them until the stage ends."""
    return Keep(map_chunks(context, load_block, sources, name=f"load-{target.name}"))


def _more_variables(params: Params) -> dict[str, str]:
    """Return the variables of a mask and of two Taylor terms, with their units."""
    if params.n_terms == 1:
        return params.mask_variables
    units = dict.fromkeys(TAYLOR_VARIABLES, "Jy/beam") | dict.fromkeys(INDEX_VARIABLES, "")
    if params.primary_beam_correction:
        units |= {CORRECTED_VARIABLES[1]: "Jy/beam", CORRECTED_INDEX_VARIABLE: ""}
    return params.mask_variables | units


def _iterate_cycles(
    context: Context, work: _Work, before: Sequence[Delayed]
) -> Generator[Delayed | Keep, Any, tuple[float, SolverResult, CycleImages]]:
    """Answer the requests of the solver's loop by graphs.

    Returns the sum of weights, how the loop ended, and the cycle whose model is kept: the last one, or that with the
    smallest peak where it diverged. Its residual has full accuracy.
    """
    first: FirstLook = yield _first_graph(context, work, before)
    loop = iterate(work.rules.imaging.control)
    request = next(loop)
    cycle = work.cycle(0)
    cycles = [cycle]
    goal = next_level = 0.0
    while True:
        answer: Residual | ModelUpdate
        if not isinstance(request, ResidualRequest):
            goal = request.goal
            found: TermsUpdate = yield _model_graph(context, work, cycle, goal, request.max_iterations)
            answer, next_level = found
            if answer.iterations > 0:
                cycle = work.cycle(cycle.number + 1)
        elif cycle.number == 0:
            answer = first.residual
        else:
            accuracy = _choose_accuracy(work, next_level, first.peak)
            cycle, answer = yield from _update_residual(context, work, cycle, accuracy)
            if cycle.coarse and answer.peak <= goal:
                cycle, answer = yield from _update_residual(context, work, cycle)
            cycles.append(cycle)
        try:
            request = loop.send(answer)
        except StopIteration as end:
            result: SolverResult = end.value
            break
    if result.stop_reason is StopReason.DIVERGED:
        cycle = min(cycles, key=lambda one: result.history[one.number].peak_residual)
    if cycle.coarse:
        cycle, _ = yield from _update_residual(context, work, cycle)
    return first.weight, result, cycle


def _choose_accuracy(work: _Work, next_level: float, dirty_peak: float) -> float:
    """Return the accuracy of the next residual: full where it costs no data, or may be the last one."""
    epsilon = work.rules.imaging.clean.epsilon
    return epsilon if work.rules.series or next_level == 0 else choose_accuracy(epsilon, next_level, dirty_peak)


def _update_residual(
    context: Context, work: _Work, cycle: CycleImages, accuracy: float | None = None
) -> Generator[Delayed | Keep, Any, tuple[CycleImages, Residual]]:
    """Make the residual of a cycle, by default to full accuracy; returns where it is, and its peak."""
    rules = work.rules
    is_refined = cycle.coarse
    epsilon = rules.imaging.clean.epsilon if accuracy is None else accuracy
    cycle = cycle._replace(coarse=epsilon > rules.imaging.clean.epsilon)
    name = f"{work.target.name}-{cycle.number:04d}" + "-coarse" * cycle.coarse
    if rules.series:
        graph = run_task(context, convolve_residual, rules, cycle, name=f"residual-{name}")
    else:
        parts = map_chunks(context, sum_residual, work.blocks, rules, cycle.model_url, epsilon, name=f"residual-{name}")
        total = reduce_tree(context, add_images, parts, name=f"add_residual-{name}", fan_in=IMAGES_AT_ONCE)
        graph = run_task(
            context, save_residual, total, rules, cycle, is_refined=is_refined, name=f"save_residual-{name}"
        )
    residual: Residual = yield graph
    return cycle, residual


def _model_graph(context: Context, work: _Work, cycle: CycleImages, goal: float, max_iterations: int) -> Delayed:
    """Return the graph of the model update of a cycle; it computes to a TermsUpdate."""
    name = f"update_model-{work.target.name}-{cycle.number:04d}"
    return run_task(context, update_model, work.rules, cycle, goal, max_iterations, name=name)


def _longest_w_graph(context: Context, name: str, sources: Sequence[Source]) -> Delayed:
    """Return the graph that finds max|w| of all data [wavelengths]."""
    parts = map_chunks(context, find_longest_w, sources, name=f"longest_w-{name}")
    return reduce_tree(context, find_maximum, parts, name=f"find_maximum-{name}")


def _first_graph(context: Context, work: _Work, before: Sequence[Delayed]) -> Delayed:
    """Return the graph of the PSFs and the dirty images; it computes to a FirstLook."""
    name = work.target.name
    parts = map_chunks(context, sum_first, work.blocks, work.rules, name=f"first-{name}", after=list(before))
    total = reduce_tree(context, add_first, parts, name=f"add_first-{name}", fan_in=IMAGES_AT_ONCE)
    return run_task(context, save_first, total, work.rules, work.cycle(0), name=f"save_first-{name}")


def _edges(window: SpectralWindow, ranges: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Return the lowest and the highest edge of the channels of ranges [Hz]."""
    centres = np.linspace(*window.frequency_hz, window.n_channels)
    used = np.concatenate([centres[start:stop] for start, stop in ranges])
    half = abs(window.channel_width_hz) / 2
    return float(used.min()) - half, float(used.max()) + half


def _top(window: SpectralWindow) -> float:
    return max(window.frequency_hz)
