"""Image the continuum of the target by multi-frequency synthesis."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, Partition, PlannedImage, SpectralWindow
from radps.context.selection import ChannelRange, channels_of, channels_of_frequencies
from radps.domain.solver import IterationControl, ModelUpdate, Residual, ResidualRequest, SolverResult, iterate
from radps.domain.weights import Weighting
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.continuum_imaging import (
    ContinuumPlane,
    CycleImages,
    add_images,
    finish_continuum,
    save_psf,
    save_residual,
    sum_psf,
    sum_residual,
    update_model,
)
from radps.node_tasks.cube_imaging import ImagingRules
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
    describe_image,
    make_rules,
    plan_stores,
    summarise_image,
)
from radps.stages.subtract_continuum import GROUP as LINE_GROUP
from radps.stages.subtract_model import GROUP as MODEL_GROUP


class Params(ImagingParams):
    """Parameters of the stage `image_continuum`."""

    channels: tuple[ChannelRange, ...] | None = None
    """Channels to use, such as ["4~6", "50~59"]; by default those of the list of images to make, else the line-free
    ones if they are known, else all."""


class _Work(NamedTuple):
    """What the cycles of one image share."""

    target: ImageTarget
    sources: tuple[Source, ...]
    rules: ImagingRules
    scratch_url: str

    def cycle(self, number: int) -> CycleImages:
        """Return where the images of a cycle are."""
        return CycleImages(self.scratch_url, number)


def image_continuum(context: Context, params: Params) -> Generator[Delayed, Any, Outcome]:
    """Image the continuum of every selected field from all its spectral windows; one small graph a cycle.

    A residual update is a map over blocks of data and the tree sum of their images; a model update is one task. The
    blocks depend on the data alone, so that the sum comes out the same on every cluster.
    """
    records = []
    for target in find_continuum_targets(context, params):
        record = yield from _image_target(context, params, target)
        records.append(record)
    troubles = describe_beamless(records)
    if listed := [record.name for record in records if record.listed]:
        troubles.append(f"look at {', '.join(listed)}: diverged or without data")
    return Outcome(
        status=OutcomeStatus.CAVEATS if troubles else OutcomeStatus.SUCCESS,
        message="; ".join(troubles),
        images=tuple(records),
        summary={record.name: record.channels for record in records},
    )


def find_continuum_targets(context: Context, params: Params) -> tuple[ImageTarget, ...]:
    """Return one image for each selected field."""
    windows = {window.name: window for window in context.require_observation().windows}
    fields: dict[str, list[Partition]] = {}
    for partition in context.visibilities(params.field):
        fields.setdefault(partition.field, []).append(partition)
    targets = []
    for field, every in fields.items():
        planned = context.imaging.find("continuum", field, [windows[one.window].virtual for one in every])
        ranges = [_channels(context, params, planned, windows[one.window]) for one in every]
        used = [(one, found) for one, found in zip(every, ranges, strict=True) if found]
        if not used:
            raise SelectionError(
                f"no channel of field {field} is line-free; name channels to image by the parameter `channels`"
            )
        partitions, channels = zip(*used, strict=True)
        targets.append(ImageTarget(field.replace("/", "_"), field, partitions, channels, planned))
    return tuple(targets)


def _channels(
    context: Context, params: Params, planned: PlannedImage | None, window: SpectralWindow
) -> tuple[tuple[int, int], ...]:
    """Return the half-open channels of a window that are imaged."""
    ranges = params.channels if params.channels is not None else planned.channels if planned else None
    if ranges is not None:
        return channels_of(ranges, window)
    if context.line_free is not None:
        return channels_of_frequencies(context.line_free, window)
    return ((0, window.n_channels),)


def choose_data_group(params: Params, partition: Partition) -> str:
    """Return the version of the data: the newest that still has its continuum."""
    return params.data_group or [name for name in partition.groups if name not in (LINE_GROUP, MODEL_GROUP)][-1]


def _image_target(context: Context, params: Params, target: ImageTarget) -> Generator[Delayed, Any, ImageRecord]:
    """Drive the loop of one image; returns its record."""
    windows = {window.name: window for window in context.require_observation().windows}
    edges = [_edges(windows[p.window], ranges) for p, ranges in zip(target.partitions, target.channels, strict=True)]
    lowest_hz, highest_hz = min(low for low, _ in edges), max(high for _, high in edges)
    centre_hz = 0.5 * (lowest_hz + highest_hz)
    window = max((windows[partition.window] for partition in target.partitions), key=_top)
    grid = choose_grid(context, params, window, target.planned)
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
    stores, image_path, table_path = plan_stores(context, params, target, description)
    sources = cut_for_sum(context, target, choose_data_group(params, target.partitions[0]))
    scratch_url = context.locate(context.new_path("images", f"{target.name}-cycles", suffix=""))
    weighting = choose_weighting(params, target.planned)
    before: list[Delayed] = [run_task(context, create_image_stores, stores, description, name=f"create-{target.name}")]
    if weighting.weighting is not Weighting.NATURAL:
        density, density_url = common_density(context, sources, grid, target.name)
        before.append(density)
        weighting = weighting._replace(density_url=density_url)
    rules = make_rules(context, params, grid, highest_hz, weighting)
    work = _Work(target, sources, rules, scratch_url)
    weight = yield _psf_graph(context, work, before)
    result, last = yield from _iterate_cycles(context, work, rules.control)
    plane = ContinuumPlane(rules, stores.image_url, stores.convergence_url, work.cycle(last), centre_hz, result)
    finished = run_task(context, finish_continuum, plane, weight, name=f"restore-{target.name}")
    name = f"{target.name}_{context.place().step}"
    blank = blank_record(name, "continuum", image_path, stores.variables, target.field, window.name, description)
    planned = None if target.planned is None else target.planned.name
    blank = blank.model_copy(update={"convergence": table_path, "planned": planned})
    record: ImageRecord = yield run_task(
        context, summarise_image, blank, stores, name=f"summarise-{target.name}", after=finished
    )
    return record


def _iterate_cycles(
    context: Context, work: _Work, control: IterationControl
) -> Generator[Delayed, Any, tuple[SolverResult, int]]:
    """Answer the requests of the solver's loop by graphs; returns how it ended, and the number of the last cycle."""
    loop = iterate(control)
    request = next(loop)
    number = 0
    while True:
        answer: Residual | ModelUpdate
        if isinstance(request, ResidualRequest):
            answer = yield _residual_graph(context, work, number, with_noise=control.n_sigma > 0)
        else:
            update: ModelUpdate = yield run_task(
                context,
                update_model,
                work.rules,
                work.cycle(number),
                request.goal,
                request.max_iterations,
                name=f"update_model-{work.target.name}-{number:04d}",
            )
            number += update.iterations > 0
            answer = update
        try:
            request = loop.send(answer)
        except StopIteration as end:
            return end.value, number


def _psf_graph(context: Context, work: _Work, before: Sequence[Delayed]) -> Delayed:
    """Return the graph that makes the PSF; it computes to the sum of weights."""
    name = work.target.name
    parts = map_chunks(context, sum_psf, work.sources, work.rules, name=f"psf-{name}", after=list(before))
    total = reduce_tree(context, add_images, parts, name=f"add_psf-{name}")
    return run_task(context, save_psf, total, work.cycle(0), name=f"save_psf-{name}")


def _residual_graph(context: Context, work: _Work, number: int, *, with_noise: bool) -> Delayed:
    """Return the graph of the residual update of a cycle; it computes to a Residual."""
    name = f"{work.target.name}-{number:04d}"
    cycle = work.cycle(number)
    parts = map_chunks(context, sum_residual, work.sources, work.rules, cycle, name=f"residual-{name}")
    total = reduce_tree(context, add_images, parts, name=f"add_residual-{name}")
    return run_task(context, save_residual, total, cycle, with_noise, name=f"save_residual-{name}")


def _edges(window: SpectralWindow, ranges: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Return the lowest and the highest edge of the channels of ranges [Hz]."""
    centres = np.linspace(*window.frequency_hz, window.n_channels)
    used = np.concatenate([centres[start:stop] for start, stop in ranges])
    half = abs(window.channel_width_hz) / 2
    return float(used.min()) - half, float(used.max()) + half


def _top(window: SpectralWindow) -> float:
    return max(window.frequency_hz)
