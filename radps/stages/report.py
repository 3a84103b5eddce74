"""Explain the run: pages of HTML with plots of everything."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.planning import VISIBILITY_BYTES, require_memory
from radps.context.records import Outcome, Partition, ProductKind, ProductRecord, SkyModel
from radps.context.sky import to_field_model, total_flux
from radps.data.files import replace_file
from radps.data.urls import join_url
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import RadpsError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.blocks import Block
from radps.node_tasks.model_comparison import add_model_sums, compare_with_model
from radps.node_tasks.plotting import (
    PLOT_PLANES,
    Picture,
    draw_densities,
    draw_flag_map,
    draw_model_comparison,
    draw_picture,
)
from radps.node_tasks.products import measure_file
from radps.node_tasks.visibility_histograms import MOST_CELLS, HistogramRanges, add_counts, count_visibilities
from radps.report.pages import INDEX, make_pages
from radps.report.parameters import Meanings
from radps.report.pictures import Album, Drawing, plan_pictures
from radps.run_folder.store import RunStore
from radps.stages.base import StageParams, find_stage, parameter_meanings

MAX_VISIBILITIES = 20_000_000
"""Of a partition, that are counted for its plots."""


PICTURE_BYTES = 96 * 2**20
"""Memory of drawing, whatever is drawn: the figure, its pixels, and what matplotlib keeps."""

COUNT_COPIES = 6.0
"""Memory of counting, in units of visibilities with flags and weights: the data, amplitudes, phases, places."""


class Params(StageParams):
    """Parameters of the stage `report`."""

    visibilities: bool = True
    """Plot the visibilities of every field too; reads a part of the data."""


def report(context: Context, params: Params) -> Delayed:
    """Write a folder of pages that open from disk: the run, its steps, their numbers, plots and products.

    It shows the steps before this one. ``radps-run report RUN`` makes it of a run as it stands at any time.
    """
    return report_graph(context, context.new_path("products", suffix=""), visibilities=params.visibilities)


def report_graph(context: Context, folder: str, *, visibilities: bool) -> Delayed:
    """Return the graph of a report in a folder, relative to the run folder; it computes to an Outcome."""
    _require_memory(context)
    drawn = map_chunks(context, _draw, plan_pictures(context, folder), name="draw")
    if visibilities and context.observation is not None:
        album = Album(context, folder)
        for number, partition in enumerate(context.visibilities("all")):
            drawn += _visibilities_graph(context, album, partition, number)
    place = context.place()
    return run_task(context, _finish, drawn, place.url, folder, context.locate(folder), _find_meanings(context))


def _require_memory(context: Context) -> None:
    """Refuse images of which a plane does not fit."""
    for image in context.images:
        _, n_l, n_m = image.shape
        require_memory(context, f"a picture of {image.name}", PICTURE_BYTES + PLOT_PLANES * 4 * n_l * n_m)


def _find_meanings(context: Context) -> Meanings:
    """Return what the parameters of the stages of a run mean, of those that can be imported."""
    found = {}
    for stage in dict.fromkeys(record.stage for record in context.steps.values()):
        try:
            found[stage] = parameter_meanings(find_stage(stage))
        except RadpsError:  # code of a user that lies elsewhere now
            continue
    return found


def _draw(drawing: Drawing) -> Picture:
    """Draw one picture."""
    return draw_picture(drawing.picture, drawing.draw, *drawing.arguments)


def _visibilities_graph(context: Context, album: Album, partition: Partition, number: int) -> list[Delayed]:
    """Return the graphs that count the visibilities of a partition and draw them, and their model if it is known."""
    group = "corrected" if "corrected" in partition.groups else "base"
    ranges = _find_ranges(context, partition)
    blocks = choose_blocks(context, partition, group)
    parts = map_chunks(context, count_visibilities, blocks, ranges, name=f"count-{number:03d}")
    total = reduce_tree(context, add_counts, parts, name=f"add_counts-{number:03d}")
    maker = _maker(context, partition, group)
    where = f"{partition.field} in {partition.window}"
    thinned = "Large data are thinned out: all times of some channels, and all channels of some times."
    caption = f"How many visibilities ({group} data, parallel hands, not flagged) lie where. {thinned}"
    (density,) = album.draw(maker, f"Visibilities of {where}", caption, draw_densities)
    caption = f"Part of the {group} data that is flagged; grey where there are no data. {thinned}"
    (flags,) = album.draw(maker, f"Flags of {where}", caption, draw_flag_map)
    drawn = [
        run_task(context, draw_picture, one.picture, one.draw, total, ranges, name=f"{name}-{number:03d}")
        for one, name in ((density, "draw_visibilities"), (flags, "draw_flags"))
    ]
    model = next((model for model in context.sky_models if model.field == partition.field), None)
    if model is None or group != "corrected":
        return drawn
    caption = "Means of calibrated data and of the model of the source: noise averages out, errors stay."
    (fit,) = album.draw(maker, f"Model against data: {where}", caption, draw_model_comparison)
    field_model = to_field_model(context, model)
    parts = map_chunks(context, compare_with_model, blocks, ranges, field_model, name=f"compare-{number:03d}")
    sums = reduce_tree(context, add_model_sums, parts, name=f"add_sums-{number:03d}")
    scale = _find_scale(context, partition, model)
    task = run_task(context, draw_picture, fit.picture, fit.draw, sums, ranges, scale, name=f"draw_model-{number:03d}")
    return [*drawn, task]


def _find_ranges(context: Context, partition: Partition) -> HistogramRanges:
    """Return what the cells of a partition cover."""
    observation, window = context.require_observation(), context.window(partition.window)
    scans = [scan for scan in observation.scans if scan.field == partition.field]
    start_s, stop_s = min(scan.start_s for scan in scans), max(scan.stop_s for scan in scans)
    n_times, _, n_channels, _ = partition.shape
    integration_s = sum(scan.stop_s - scan.start_s for scan in scans) / n_times
    integrations = math.floor((stop_s - start_s) / integration_s) if integration_s > 0 else 1
    return HistogramRanges(
        time_s=(start_s, stop_s),
        frequency_hz=window.edges_hz,
        longest_wavelengths=observation.longest_baseline_m * window.edges_hz[1] / SPEED_OF_LIGHT_M_S,
        n_cells=(min(max(integrations, 1), MOST_CELLS), MOST_CELLS, min(n_channels, MOST_CELLS)),
    )


def _find_scale(context: Context, partition: Partition, model: SkyModel) -> float:
    """Return the factor of a model: one of 1 Jy stands for a source whose flux density was found later."""
    known = [one for one in context.flux_densities if (one.field, one.window) == (partition.field, partition.window)]
    if not known:
        return 1.0
    modelled_jy = total_flux(model, known[-1].frequency_hz)
    return known[-1].flux_jy / modelled_jy if modelled_jy > 0 else 1.0


def choose_blocks(context: Context, partition: Partition, group: str) -> list[Block]:
    """Return whole zarr chunks of a partition: all if they are few, else a cross of all times and all channels."""
    n_times, n_baselines, n_channels, n_polarizations = partition.shape
    times, channels = (
        [(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip((n_times, n_channels), partition.chunks, strict=True)
    )
    chunk = n_baselines * n_polarizations * partition.chunks[0] * partition.chunks[1]
    most = max(1, MAX_VISIBILITIES // chunk)
    if len(times) * len(channels) <= most:
        cells = [(time, channel) for time in times for channel in channels]
    else:
        arm = max(1, most // 2)
        cells = [(time, channels[len(channels) // 2]) for time in _thin(times, arm)]
        cells += [(times[len(times) // 2], channel) for channel in _thin(channels, arm)]
        cells = list(dict.fromkeys(cells))
    require_memory(context, f"a block of {partition.name}", COUNT_COPIES * chunk * VISIBILITY_BYTES)
    address = context.address(partition, group)
    return [Block(partition=partition.name, address=address, times=time, channels=channel) for time, channel in cells]


def _thin(spans: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return at most so many of the spans, evenly chosen."""
    return spans[:: -(-len(spans) // most)]


def _maker(context: Context, partition: Partition, group: str) -> str:
    """Return the step whose page shows the visibilities: the one that made the data group."""
    for record in reversed(context.steps.values()):
        if record.outcome is not None and group in record.outcome.groups.get(partition.name, {}):
            return record.id
    return next(iter(context.steps), "")


def _finish(pictures: Sequence[Picture], run_url: str, folder: str, url: str, meanings: Meanings) -> Outcome:
    """Write the pages of the run as its folder knows it, and register the front page."""
    pages = make_pages(RunStore(run_url).load(), pictures, folder, meanings)
    for page in pages:
        replace_file(join_url(url, page.name), page.content.encode())
    missing = [picture.title for picture in pictures if picture.problem]
    front = measure_file(join_url(url, INDEX))
    return Outcome(
        message=f"{folder}/{INDEX}, {len(pages)} pages and {len(pictures) - len(missing)} pictures"
        + (f"; not drawn: {', '.join(missing)}" if missing else ""),
        products=(
            ProductRecord(
                path=f"{folder}/{INDEX}",
                kind=ProductKind.REPORT,
                source="",
                size_bytes=front.size_bytes,
                sha256=front.sha256,
            ),
        ),
        summary={"pages": len(pages), "pictures": len(pictures), "not_drawn": missing},
    )
