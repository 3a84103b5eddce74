"""Explain the run: pages of HTML with plots of everything."""

from __future__ import annotations

from collections.abc import Sequence

from dask.delayed import Delayed

from radps.context.model import Context
from radps.context.records import Outcome, Partition, ProductKind, ProductRecord
from radps.data.files import replace_file
from radps.data.urls import join_url
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.errors import RadpsError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.blocks import Block
from radps.node_tasks.plotting import Picture, draw_densities, draw_picture
from radps.node_tasks.products import measure_file
from radps.node_tasks.visibility_histograms import HistogramRanges, add_counts, count_visibilities
from radps.report.pages import INDEX, make_pages
from radps.report.parameters import Meanings, ParameterMeaning
from radps.report.pictures import Album, Drawing, plan_pictures
from radps.stages.base import StageParams, find_stage, parameter_summaries

MAX_VISIBILITIES = 20_000_000
"""Of a partition, that are counted for its plots."""


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
    drawn = map_chunks(context, _draw, plan_pictures(context, folder), name="draw")
    if visibilities and context.observation is not None:
        album = Album(context, folder)
        drawn += [
            _visibilities_graph(context, album, partition, number)
            for number, partition in enumerate(context.visibilities("all"))
        ]
    plain = context.model_copy(update={"workspace": None})
    return run_task(context, _finish, drawn, plain, folder, context.locate(folder), _find_meanings(context))


def _find_meanings(context: Context) -> Meanings:
    """Return what the parameters of the stages of a run mean, of those that can be imported."""
    found = {}
    for stage in dict.fromkeys(record.stage for record in context.steps.values()):
        try:
            found[stage] = tuple(ParameterMeaning(*one) for one in parameter_summaries(find_stage(stage)))
        except RadpsError:  # code of a user that lies elsewhere now
            continue
    return found


def _draw(drawing: Drawing) -> Picture:
    """Draw one picture."""
    return draw_picture(drawing.picture, drawing.draw, *drawing.arguments)


def _visibilities_graph(context: Context, album: Album, partition: Partition, number: int) -> Delayed:
    """Return the graph that counts the visibilities of a partition and draws them."""
    group = "corrected" if "corrected" in partition.groups else "base"
    window = context.window(partition.window)
    scans = [scan for scan in context.require_observation().scans if scan.field == partition.field]
    ranges = HistogramRanges(
        time_s=(min(scan.start_s for scan in scans), max(scan.stop_s for scan in scans)),
        frequency_hz=window.edges_hz,
        longest_wavelengths=context.require_observation().longest_baseline_m * window.edges_hz[1] / SPEED_OF_LIGHT_M_S,
    )
    blocks = choose_blocks(context, partition, group)
    parts = map_chunks(context, count_visibilities, blocks, ranges, name=f"count-{number:03d}")
    maker = _maker(context, partition, group)
    caption = (
        f"How many visibilities ({group} data, parallel hands, not flagged) lie where. Large data are thinned out: all "
        f"times of some channels, and all channels of some times."
    )
    title = f"Visibilities of {partition.field} in {partition.window}"
    (drawing,) = album.draw(maker, title, caption, draw_densities)
    total = reduce_tree(context, add_counts, parts, name=f"add_counts-{number:03d}")
    return run_task(
        context, draw_picture, drawing.picture, draw_densities, total, ranges, name=f"draw_visibilities-{number:03d}"
    )


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


def _finish(pictures: Sequence[Picture], context: Context, folder: str, url: str, meanings: Meanings) -> Outcome:
    """Write the pages, and register the front page."""
    pages = make_pages(context, pictures, folder, meanings)
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
