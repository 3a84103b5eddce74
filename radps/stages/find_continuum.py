"""Find the channels of the target that have no line, for the continuum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.planning import require_memory
from radps.context.records import (
    FrequencyRange,
    LineSearch,
    Outcome,
    OutcomeStatus,
    Partition,
    QAScore,
    ScoreScope,
    SpectralWindow,
)
from radps.context.scores import score_between
from radps.context.selection import ChannelRange, frequency_ranges
from radps.domain.geometry import SPEED_OF_LIGHT_M_S, ImageGrid
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.line_search import (
    MAX_UV_OF_CELL,
    SearchRules,
    SearchSummary,
    create_dirty_cube,
    image_channels,
    join_means,
    search_lines,
)
from radps.stages._imaging import ImageSize, ImageTarget, primary_beam_width
from radps.stages._line_free import channels_without_line
from radps.stages.base import StageParams
from radps.stages.image_cube import Params as CubeParams
from radps.stages.image_cube import plan_parts
from radps.stages.subtract_continuum import GROUP as LINE_GROUP
from radps.units import Angle

MAX_COARSENING = 8.0
"""Longest baseline over the longest one that is imaged, at most: a field of many beams is cut, not blurred more."""

SEARCH_COPIES = 8
"""Memory of the search in units of the dirty cube: the cube, its pixels in a row, what the baseline leaves, sums, and
sorted copies for the noise."""


class Params(StageParams):
    """Parameters of the stage `find_continuum`."""

    writes = ("line_free", "line_searches")

    fields: tuple[str, ...] = ("target",)
    """Fields to search."""
    line_free: tuple[ChannelRange, ...] | dict[str, tuple[ChannelRange, ...]] = ()
    """Channels without line that are known, such as ["4~6", "50~59"], or frequencies in the frame of the data, or in
    one that is named: ["1412.7~1412.8 MHz LSRK"]. They are taken as they are, and nothing is searched. By the name of
    a field or of a spectral window where they hold for that one alone: {spw0: ["4~6"]}; the others are searched (CASA
    pipeline `cont.dat`)."""
    image_size: ImageSize = 64
    """Pixels along each side of the dirty cube that is searched."""
    field_of_view: Angle | None = None
    """Side of the dirty cube; by default the width of the primary beam, or less where the pixels would be coarser than
    an eighth of the longest baseline asks for."""
    order: int = Field(default=1, ge=0, le=3)
    """Order of the continuum in frequency, at every pixel."""
    min_fraction: float = Field(default=0.05, gt=0.0, le=1.0)
    """With less than this part of the channels line-free there is no continuum."""
    data_group: str | None = None
    """Version of the data; by default the newest that still has its continuum."""


class _Found(NamedTuple):
    """What is known of one field in one window."""

    search: LineSearch
    ranges: tuple[FrequencyRange, ...]


def find_continuum(context: Context, params: Params) -> Delayed:
    """Find the line-free channels of every field and spectral window in a small dirty cube and the mean spectrum.

    The ranges go into the context, in Hz and in the frame of the data, for `subtract_continuum` and `image_continuum`.
    Ranges that the user gives win, and are recorded as such. No line at all and too many lines are outcomes (CASA
    pipeline `hif_findcont`).
    """
    found: list[_Found | Delayed] = []
    unused = set(params.line_free) if isinstance(params.line_free, dict) else set()
    for partition in context.visibilities(params.fields):
        window = context.window(partition.window)
        given = _given_ranges(params, partition)
        unused -= {partition.field, partition.window}
        if given:
            channels = channels_without_line(context, partition, given)
            ranges = frequency_ranges(channels, window, "config", partition.field)
            found.append(_Found(_describe_given(partition, window, channels), ranges))
        else:
            found.append(_search_partition(context, params, partition, window))
    if unused:
        raise SelectionError(
            f"line_free names {', '.join(sorted(unused))}, which is no field or spectral window of the data to search"
        )
    return run_task(context, _finish, found)


def _given_ranges(params: Params, partition: Partition) -> tuple[ChannelRange, ...]:
    """Return the ranges that the user gives for a partition; maybe none."""
    if not isinstance(params.line_free, dict):
        return params.line_free
    return (*params.line_free.get(partition.field, ()), *params.line_free.get(partition.window, ()))


def _describe_given(partition: Partition, window: SpectralWindow, channels: Sequence[tuple[int, int]]) -> LineSearch:
    """Return the record of channels that the user gives."""
    n_line_free = sum(stop - start for start, stop in channels)
    return LineSearch(
        field=partition.field,
        window=window.name,
        coverage="all" if n_line_free == window.n_channels else "some",
        origin="config",
        n_channels=window.n_channels,
        n_line_free=n_line_free,
    )


def _search_partition(context: Context, params: Params, partition: Partition, window: SpectralWindow) -> Delayed:
    """Return the graph of the search in one partition."""
    grid = _choose_grid(context, params, window)
    context = context.for_part(partition, window, (grid.n_l, grid.cell_size_rad))
    n_channels = window.n_channels
    require_memory(
        context,
        f"the dirty cube of {partition.name}",
        SEARCH_COPIES * 4 * n_channels * grid.n_l * grid.n_m,
        remedy="make it smaller (image_size)",
    )
    group = params.data_group or [name for name in partition.groups if name != LINE_GROUP][-1]
    target = ImageTarget(partition.name, partition.field, (partition,), (((0, n_channels),),))
    path = context.new_path("context.zarr", f"{partition.name}/line_search", suffix="")
    url = context.locate(path)
    created = run_task(context, create_dirty_cube, url, n_channels, grid, name=f"create-{partition.name}")
    parts = map_chunks(
        context,
        image_channels,
        plan_parts(context, CubeParams(data_group=group), target, grid, 1),
        grid,
        url,
        name=f"image_channels-{partition.name}",
        after=created,
    )
    means = reduce_tree(context, join_means, parts, name=f"join_means-{partition.name}")
    rules = SearchRules(params.order, params.min_fraction)
    summary = run_task(context, search_lines, means, url, rules, name=f"search_lines-{partition.name}")
    return run_task(context, _describe, summary, partition, window, path, name=f"describe-{partition.name}")


def _choose_grid(context: Context, params: Params, window: SpectralWindow) -> ImageGrid:
    """Return the pixels of the dirty cube."""
    side = params.field_of_view or primary_beam_width(context, window.middle_hz)
    longest = context.require_observation().longest_baseline_m * window.middle_hz / SPEED_OF_LIGHT_M_S
    cell = side / params.image_size
    if params.field_of_view is None and longest > 0:
        cell = min(cell, MAX_COARSENING * MAX_UV_OF_CELL / longest)
    return ImageGrid(params.image_size, params.image_size, cell)


def _describe(summary: SearchSummary, partition: Partition, window: SpectralWindow, path: str) -> _Found:
    """Return the record of a search."""
    search = LineSearch(
        field=partition.field,
        window=window.name,
        coverage=summary.coverage,
        origin="find_continuum",
        n_channels=window.n_channels,
        n_line_free=sum(stop - start for start, stop in summary.channels),
        threshold=summary.threshold,
        largest=summary.largest,
        spectrum=path,
    )
    return _Found(search, frequency_ranges(summary.channels, window, "find_continuum", partition.field))


def _finish(found: Sequence[_Found]) -> Outcome:
    """Put the ranges into the context, and say what was found."""
    searches = tuple(one.search for one in found)
    kinds = {search.coverage for search in searches}
    status = OutcomeStatus.SUCCESS
    if kinds <= {"none", "no data"}:
        status = OutcomeStatus.NOTHING
    elif kinds & {"none", "no data"}:
        status = OutcomeStatus.CAVEATS
    return Outcome(
        status=status,
        message="; ".join(_say(search) for search in searches),
        line_free=tuple(one for each in found for one in each.ranges),
        line_searches=searches,
        qa=tuple(_score(search) for search in searches if search.origin != "config"),
        summary={f"{search.field} {search.window}": search.model_dump(mode="json") for search in searches},
    )


def _say(search: LineSearch) -> str:
    """Return what was found in words."""
    name = f"{search.field} in {search.window}"
    if search.coverage == "no data":
        return f"{name}: too few channels with data to look for lines; the continuum takes all"
    if search.coverage == "none":
        return f"{name}: lines all over the band, no continuum can be taken; give line_free if there is some"
    if search.origin == "config":
        return f"{name}: {search.n_line_free} of {search.n_channels} channels line-free, as given"
    if search.coverage == "all":
        return f"{name}: no line found"
    return f"{name}: {search.n_line_free} of {search.n_channels} channels line-free"


def _score(search: LineSearch) -> QAScore:
    """Judge how much of the band is left for the continuum."""
    return score_between(
        f"line-free channels of {search.window}",
        100 * search.n_line_free / search.n_channels,
        unit="%",
        good=10.0,
        bad=0.0,
        applies_to=search.field,
        scope=ScoreScope.FIELD,
        hint="compare the spectrum of the search with the ranges",
    )
