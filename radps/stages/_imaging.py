"""What the imaging stages share: parameters, the choice of pixels, the description of an image, its record."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from radps.context.lineage import product_attributes
from radps.context.model import Context
from radps.context.observation import join_distinct
from radps.context.planning import choose_fixed_steps
from radps.context.records import (
    Beam,
    ImagedData,
    ImageRecord,
    Partition,
    PlannedImage,
    SpectralWindow,
    StatisticsRecord,
)
from radps.data.convergence import STATISTICS, Convergence, convergence_urls, load_convergence
from radps.data.images import ImageDescription, choose_middle_beam, image_bytes, load_beams
from radps.data.stores import check_free_bytes
from radps.domain.geometry import (
    MIN_IMAGE_SIZE,
    SPEED_OF_LIGHT_M_S,
    ImageGrid,
    find_good_size,
    needs_w_term,
    suggest_cell_size,
    suggest_image_size,
)
from radps.domain.imaging import CleanOptions
from radps.domain.model_update import Deconvolver, DeconvolverOptions
from radps.domain.multiscale import check_scales
from radps.domain.regridding import SpectralAxis
from radps.domain.solver import IterationControl, StopReason
from radps.domain.weights import Weighting
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.cube_imaging import ImagingRules, PrimaryBeamRule
from radps.node_tasks.image_stores import ImageStores
from radps.node_tasks.samples import Source, WeightingRule, add_densities, save_density, sum_density
from radps.stages._dishes import find_dish_diameter
from radps.stages.base import StageParams
from radps.units import Angle, FluxDensity

FIELD_OF_VIEW = 2.0
"""Width of an image of "auto" size, in units of the primary beam's full width at half maximum."""

PRIMARY_BEAM_WIDTH = 1.02
"""Full width at half maximum of an evenly lit dish's beam, in units of wavelength over diameter."""

_MOST_DESCRIBED = 4
"""Images in the message of a step."""

_SPECIAL = re.compile(r"""[/\\*?\[\]#%:"<>|]""")
"""Characters that are not taken into the names of files: `Sgr A*` is also a pattern for the files of `Sgr A-east`."""

TROUBLES = (StopReason.DIVERGED, StopReason.NO_DATA)
"""Ends of a channel's loop that somebody should look at."""


def _check_size(size: int) -> int:
    """Return a size that the gridder can make."""
    if size % 2 or size < MIN_IMAGE_SIZE:
        raise ValueError(
            f"an image side has to be even and at least {MIN_IMAGE_SIZE} pixels; use {find_good_size(size)}"
        )
    return size


ImageSize = Annotated[int, AfterValidator(_check_size)]

Robustness = Annotated[float, Field(ge=-2.0, le=2.0)]

DEFAULT_WEIGHTING = Weighting.BRIGGS
DEFAULT_ROBUST = 0.5


class ImagingParams(StageParams):
    """Parameters of all imaging stages."""

    field: str = "target"
    """Field to image, or the word of an intent; each field gets an image of its own."""
    data_group: str | None = None
    """Version of the data: "base", "corrected", "continuum_subtracted"; by default the newest."""
    image_size: ImageSize | Literal["auto"] = "auto"
    """Pixels along each side; "auto" is that of the list of images to make, else covers twice the width of the primary
    beam, at most 1.2 in direction cosines (CASA `imsize`)."""
    cell_size: Angle | Literal["auto"] = "auto"
    """Side of a pixel; "auto" is that of the list of images to make, else a quarter of the beam of the longest baseline
    (CASA `cell`)."""
    weighting: Weighting | Literal["auto"] = "auto"
    """natural, uniform or briggs; "auto" is that of the list of images to make, else briggs."""
    robust: Robustness | Literal["auto"] = "auto"
    """Briggs' robustness, from -2 (almost uniform) to 2 (almost natural); "auto" is that of the list of images to make,
    else 0.5."""
    taper: Angle = Field(default=0.0, ge=0.0)
    """Full width at half maximum of a Gaussian by which the beam is made wider: weights fall with the length of the
    baseline (CASA `uvtaper`); 0 is off."""
    max_iterations: int = Field(default=10_000, ge=0)
    """CLEAN components of an image or channel at most; 0 makes the dirty image (CASA `niter`)."""
    max_cycles: int = Field(default=50, ge=1)
    """Residual updates (major cycles) of an image or channel at most (CASA `nmajor`)."""
    threshold: FluxDensity = Field(default=0.0, ge=0.0)
    """CLEAN stops at this peak residual, per beam."""
    n_sigma: float = Field(default=3.0, ge=0.0)
    """CLEAN stops at this many times the noise of the residual, 1.4826 times the median absolute deviation of the whole
    plane, which is found anew in each cycle; 0 is off (CASA `nsigma` with `fastnoise`)."""
    deconvolver: Deconvolver = Deconvolver.HOGBOM
    """hogbom: components are points; multiscale: points and blobs of several sizes, for extended emission (CASA
    `deconvolver`)."""
    scales: tuple[Annotated[float, Field(ge=0.0)], ...] | Literal["auto"] = "auto"
    """Radii of the blobs of multiscale in pixels, 0 is a point; "auto" is 0 and 2, 4, 8... beams, up to a quarter of
    the image (CASA `scales`)."""
    scale_bias: float = Field(default=0.0, gt=-1.0, lt=1.0)
    """Above 0 prefers small blobs, below 0 large ones (CASA `smallscalebias`)."""
    gain: float = Field(default=0.1, gt=0.0, le=1.0)
    """Part of a peak that a component takes."""
    cycle_factor: float = Field(default=1.0, gt=0.0)
    """Depth of a model update (minor cycle), in units of the largest sidelobe of the PSF (CASA `cyclefactor`)."""
    min_psf_fraction: float = Field(default=0.05, gt=0.0, lt=1.0)
    """A model update goes no deeper than this part of the peak (CASA `minpsffraction`)."""
    max_psf_fraction: float = Field(default=0.8, gt=0.0, lt=1.0)
    """A model update goes at least as deep as this part of the peak (CASA `maxpsffraction`)."""
    w_term: bool | Literal["auto"] = "auto"
    """Correct for non-coplanar baselines; "auto" where the phase error at the corner would exceed 0.1 rad."""
    primary_beam_correction: bool = False
    """Write the primary beam too, and the image divided by it (CASA `pbcor`)."""
    primary_beam_cutoff: float = Field(default=0.2, ge=0.03, lt=1.0)
    """Level of the primary beam below which the corrected image is blank (CASA `pblimit`)."""


class ImageTarget(NamedTuple):
    """One image: a field in a spectral window, or in all of them."""

    name: str
    field: str
    partitions: tuple[Partition, ...]
    channels: tuple[tuple[tuple[int, int], ...], ...]
    """Of each partition: half-open ranges of channels."""
    planned: PlannedImage | None = None
    """Its entry in the list of images to make."""
    axis: SpectralAxis | None = None
    """The axis of a cube that has one of its own; its channels are then those that it may be made of."""


def imaged_data(target: ImageTarget, groups: Sequence[str | None]) -> tuple[ImagedData, ...]:
    """Return what an image is made of, for its record; ``groups`` are those of the partitions, None = the newest."""
    return tuple(
        ImagedData(partition=one.name, group=group or list(one.groups)[-1], channels=channels)
        for one, channels, group in zip(target.partitions, target.channels, groups, strict=True)
    )


def variables_of(params: ImagingParams) -> tuple[str, ...]:
    """Return the variables of the image store."""
    names = ["SKY", "SKY_RESIDUAL", "SKY_MODEL", "POINT_SPREAD_FUNCTION"]
    if params.primary_beam_correction:
        names += ["PRIMARY_BEAM", "SKY_PRIMARY_BEAM_CORRECTED"]
    return tuple(names)


def choose_grid(
    context: Context,
    params: ImagingParams,
    window: SpectralWindow,
    planned: PlannedImage | None = None,
    lowest_hz: float | None = None,
) -> ImageGrid:
    """Return the pixels of an image: of the parameters, else of the list of images to make, else from the metadata.

    ``window`` is the one with the highest frequency, which the cell follows; ``lowest_hz`` the lowest frequency of all,
    which has the largest primary beam; by default that of the window.
    """
    cell = params.cell_size
    if cell == "auto":
        longest_m = context.require_observation().longest_baseline_m
        cell = suggest_cell_size(longest_m, max(window.frequency_hz)) if planned is None else planned.cell_size_rad
    size = params.image_size
    if size == "auto":
        if planned is None:
            field_of_view = FIELD_OF_VIEW * primary_beam_width(context, lowest_hz or min(window.frequency_hz))
            size = suggest_image_size(field_of_view, cell)
        elif cell == planned.cell_size_rad:
            size = planned.image_size
        else:
            size = suggest_image_size(planned.image_size * planned.cell_size_rad, cell)
    return ImageGrid(size, size, cell)


def choose_weighting(params: ImagingParams, planned: PlannedImage | None = None) -> WeightingRule:
    """Return how samples are weighted: as the parameters say, else the list of images to make, else as by default."""
    weighting = DEFAULT_WEIGHTING if planned is None else Weighting(planned.weighting)
    robust = DEFAULT_ROBUST if planned is None else planned.robust
    return WeightingRule(
        weighting if params.weighting == "auto" else params.weighting,
        robust if params.robust == "auto" else params.robust,
        taper_rad=params.taper,
    )


def primary_beam_width(context: Context, frequency_hz: float) -> float:
    """Return the full width at half maximum of the primary beam of the smallest dish [rad]."""
    diameters = [antenna.diameter_m for antenna in context.require_observation().antennas if antenna.diameter_m > 0]
    if not diameters:
        raise SelectionError("the data do not say how large the dishes are; give image_size")
    return PRIMARY_BEAM_WIDTH * SPEED_OF_LIGHT_M_S / frequency_hz / min(diameters)


def make_rules(
    context: Context, params: ImagingParams, grid: ImageGrid, highest_hz: float, weighting: WeightingRule
) -> ImagingRules:
    """Return what the tasks need to know of the parameters."""
    scales = None if params.scales == "auto" else params.scales
    if scales is not None and params.deconvolver is Deconvolver.MULTISCALE:
        check_scales(scales, grid.shape)
    beam = None
    if params.primary_beam_correction:
        beam = choose_primary_beam(context, params.primary_beam_cutoff, "primary_beam_correction")
    return ImagingRules(
        grid=grid,
        weighting=weighting,
        clean=CleanOptions(
            gain=params.gain,
            cycle_factor=params.cycle_factor,
            min_psf_fraction=params.min_psf_fraction,
            max_psf_fraction=params.max_psf_fraction,
            w_term=choose_w_term(context, params, grid, highest_hz),
            deconvolver=DeconvolverOptions(params.deconvolver, scales, params.scale_bias),
        ),
        control=IterationControl(
            max_cycles=params.max_cycles,
            max_iterations=params.max_iterations,
            threshold=params.threshold,
            n_sigma=params.n_sigma,
        ),
        primary_beam=beam,
    )


def choose_primary_beam(context: Context, cutoff: float, parameter: str) -> PrimaryBeamRule:
    """Return which primary beam the images have, and the lowest level that counts for the parameter that asks for it.

    Raises
    ------
    SelectionError
        There are dishes of several diameters.
    """
    observation = context.require_observation()
    return PrimaryBeamRule(observation.telescope, find_dish_diameter(observation, parameter), cutoff)


def choose_w_term(context: Context, params: ImagingParams, grid: ImageGrid, highest_hz: float) -> bool:
    """Return True if non-coplanar baselines are corrected for: as the parameters say, else where it matters."""
    if params.w_term == "auto":
        return needs_w_term(farthest_baseline(context), highest_hz, grid)
    return params.w_term


def describe_choices(
    context: Context, params: ImagingParams, grid: ImageGrid, weighting: WeightingRule, highest_hz: float
) -> dict[str, Any]:
    """Return what stands for "auto" in the parameters of an image, for its provenance; angles in radians."""
    return {
        "image_size": grid.n_l,
        "cell_size": grid.cell_size_rad,
        "weighting": weighting.weighting.value,
        "robust": weighting.robust,
        "w_term": choose_w_term(context, params, grid, highest_hz),
    }


def image_name(context: Context, field: str, virtual: int) -> str:
    """Return the name of the image of a field in one virtual window: with the window, unless it is the only one.

    What counts are the windows of the first data set that has the field, so that names stay when data sets are added.
    """
    partitions = [one for one in context.require_observation().partitions if one.field == field]
    first = {context.window(one.window).virtual for one in partitions if one.dataset == partitions[0].dataset}
    name = field_name_in_paths(context, field)
    return name if first == {virtual} else f"{name}-{context.virtual_window(virtual).name}"


def field_name_in_paths(context: Context, field: str) -> str:
    """Return the name of a field for files: without what paths, URLs and patterns of names mean something by.

    Two fields whose names come out the same are told apart by a number: "a/b" and "a*b" are "a_b" and "a_b_2".
    """
    names = [_SPECIAL.sub("_", one.name) for one in context.require_observation().fields]
    place = [one.name for one in context.require_observation().fields].index(field)
    count = names[: place + 1].count(names[place])
    return names[place] if count == 1 else f"{names[place]}_{count}"


def farthest_baseline(context: Context) -> NDArray[np.float64]:
    """Return the baseline that the w-term is judged by, (1, 3) [m]: all of the longest one along w."""
    return np.array([[0.0, 0.0, context.require_observation().longest_baseline_m]])


def describe_image(
    context: Context,
    field_name: str,
    window: SpectralWindow,
    grid: ImageGrid,
    frequency_hz: NDArray[np.float64],
    channel_width_hz: float,
    datasets: Collection[str] | None = None,
) -> ImageDescription:
    """Return the coordinates of an image; ``datasets`` are those that it is made of, by default all.

    Who observed other data is no part of it: they would otherwise have the image made again.
    """
    observation = context.require_observation()
    field = context.field(field_name)
    observers = [one.observer for one in observation.project.datasets if datasets is None or one.name in datasets]
    starts = [scan.start_s for scan in observation.scans if scan.field == field_name]
    return ImageDescription(
        n_l=grid.n_l,
        n_m=grid.n_m,
        cell_size_rad=grid.cell_size_rad,
        phase_center_rad=(field.direction.ra_rad, field.direction.dec_rad),
        phase_center_frame=field.direction.frame,
        frequency_hz=frequency_hz,
        channel_width_hz=channel_width_hz,
        spectral_frame=window.frame,
        rest_frequency_hz=math.nan if window.rest_frequency_hz is None else window.rest_frequency_hz,
        time_s=min(starts, default=0.0),
        telescope=observation.telescope,
        object_name=field.source,
        telescope_position_m=observation.array_center_m,
        observer=join_distinct(observers),
    )


def plan_stores(
    context: Context,
    params: ImagingParams,
    target: ImageTarget,
    description: ImageDescription,
    more: Mapping[str, str] | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> tuple[ImageStores, str, str]:
    """Return where an image and its convergence table go, and the two paths; refuse what does not fit on the disk.

    ``more`` are variables besides those of all images, with their units; ``chosen`` is what stands for "auto" in the
    parameters, of :func:`describe_choices`.
    """
    place = context.place()
    n_channels = len(description.frequency_hz)
    variables = (*variables_of(params), *(more or {}))
    check_free_bytes(
        place.url,
        image_bytes(description, variables),
        f"stage {place.step}: a store with {len(variables)} images of {n_channels} channel{'s' * (n_channels > 1)} "
        f"with {description.n_l} x {description.n_m} pixels",
    )
    image_path = context.new_path("images", suffix="", name=f"{target.name}.zarr")
    table_path = context.new_path("context.zarr", f"{target.name}/convergence", suffix="")
    stores = ImageStores(
        image_url=context.locate(image_path),
        convergence_url=context.locate(table_path),
        variables=variables,
        max_cycles=params.max_cycles,
        provenance=product_attributes(context, params.model_dump(mode="json") | dict(chosen or {})),
        units=None if more is None else dict(more),
    )
    return stores, image_path, table_path


def common_density(context: Context, sources: Sequence[Source], grid: ImageGrid, name: str) -> tuple[Delayed, str]:
    """Return the graph of the weight density of all sources together, and where it will be.

    The sources have to be cut by the data alone, so that the sum has the same order on every cluster.
    """
    url = context.locate(context.new_path("context.zarr", f"{name}/weight_density", suffix=""))
    parts = map_chunks(context, sum_density, sources, grid, name=f"density-{name}")
    total = reduce_tree(context, add_densities, parts, name=f"add_density-{name}")
    return run_task(context, save_density, total, url, name=f"save_density-{name}"), url


def cut_for_sum(context: Context, target: ImageTarget, groups: Sequence[str | None]) -> tuple[Source, ...]:
    """Cut the data of an image into the blocks of a sum: by their size alone, never by the cluster.

    ``groups`` are the versions of the data of its partitions; None = the newest.
    """
    sources = []
    for partition, ranges, group in zip(target.partitions, target.channels, groups, strict=True):
        n_times = partition.shape[0]
        address = context.address(partition, group)
        times, width = choose_fixed_steps(partition)
        for start, stop in ranges:
            edges = [start, *range((start // width + 1) * width, stop, width), stop]
            sources += [
                Source(address, (first, min(first + times, n_times)), (low, high))
                for first in range(0, n_times, times)
                for low, high in pairwise(edges)
            ]
    return tuple(sources)


def summarise_image(blank: ImageRecord, stores: ImageStores, first_channel: int = 0) -> ImageRecord:
    """Return the record of a finished image, from its convergence table and its beams.

    ``blank`` is the record with what is known before; ``first_channel`` is the channel of the data that channel 0 of
    the image is.
    """
    tables = [load_convergence(url) for url in convergence_urls(stores.convergence_url, blank.polarizations)]
    found = tables[0]
    reasons = [StopReason(int(reason)) for reason in found.stop_reasons]
    major, minor, angle = choose_middle_beam(load_beams(stores.image_url))
    noise = {stokes: _median_noise(table) for stokes, table in zip(blank.polarizations, tables, strict=True)}
    return blank.model_copy(
        update={
            "statistics": total_statistics(found),
            "noise_jy": noise[blank.polarizations[0]],
            "polarization_noise_jy": noise if len(noise) > 1 else {},
            "beam": Beam(major_rad=major, minor_rad=minor, position_angle_rad=angle) if math.isfinite(major) else None,
            "mask_share": _mask_share(found, blank.shape[1] * blank.shape[2]),
            "channels": {reason.name.lower(): reasons.count(reason) for reason in sorted(set(reasons))},
            "listed": tuple(
                text
                for stokes, table in zip(blank.polarizations, tables, strict=True)
                for text in _list_troubles(table, first_channel, stokes if len(tables) > 1 else "")
            ),
        }
    )


def _median_noise(table: Convergence) -> float:
    """Return the median noise of the channels that have data [Jy/beam]; 0 if none has."""
    with_data = table.statistics[:, STATISTICS.index("n_pixels")] > 0
    noise = table.statistics[with_data, STATISTICS.index("noise")]
    return float(np.median(noise)) if noise.size else 0.0


def _mask_share(table: Convergence, n_pixels: int) -> float:
    """Return the mean part of the pixels where components were allowed, over the channels that are restored."""
    restored = table.statistics[:, STATISTICS.index("n_pixels")] > 0
    allowed = table.statistics[restored, STATISTICS.index("mask_pixels")]
    return float(allowed.mean()) / n_pixels if allowed.size else 1.0


def _list_troubles(table: Convergence, first_channel: int, stokes: str) -> list[str]:
    """Return the channels that somebody should look at, in words."""
    reasons = [StopReason(int(reason)) for reason in table.stop_reasons]
    return [
        f"channel {first_channel + number}{f' {stokes}' * bool(stokes)}: {reason.name.lower().replace('_', ' ')}"
        for number, reason in enumerate(reasons)
        if reason in TROUBLES
    ]


def describe_beamless(records: Sequence[ImageRecord]) -> list[str]:
    """Return a message for each image that has data and no beam, so that none of its channels could be restored."""
    return [
        f"{record.name}: no beam could be fitted, so that nothing is restored; its pixels of "
        f"{math.degrees(record.cell_size_rad) * 3600:.3g} arcsec are too large for the main lobe: give a smaller "
        "cell_size; or there are too few baselines for a main lobe"
        for record in records
        if record.beam is None and record.channels.get(StopReason.NO_DATA.name.lower(), 0) < record.shape[0]
    ]


def describe_records(records: Sequence[ImageRecord]) -> str:
    """Return in a line what became of images: maximum and noise, and why their solvers stopped; of many the first."""
    texts = [f"{one.describe()} (stopped by {one.describe_stops()})" for one in records]
    more = len(texts) - _MOST_DESCRIBED
    return "; ".join(texts[:_MOST_DESCRIBED]) + (f"; and {more} more" if more > 0 else "")


def blank_record(
    name: str,
    kind: Literal["cube", "continuum", "moment"],
    path: str,
    variables: tuple[str, ...],
    field: str,
    window: str,
    description: ImageDescription,
) -> ImageRecord:
    """Return the record of an image as far as it is known before it is made; the first variable is the main one."""
    frequency = description.frequency_hz
    return ImageRecord(
        name=name,
        kind=kind,
        path=path,
        variable=variables[0],
        companions=variables[1:],
        field=field,
        window=window,
        spectral_frame=description.spectral_frame,
        rest_frequency_hz=description.rest_frequency_hz if math.isfinite(description.rest_frequency_hz) else None,
        shape=(len(frequency), description.n_l, description.n_m),
        polarizations=description.polarizations,
        cell_size_rad=description.cell_size_rad,
        frequency_hz=(float(frequency[0]), float(frequency[-1])),
        channel_width_hz=description.channel_width_hz,
        statistics=StatisticsRecord(max=0.0, min=0.0, rms=0.0),
        noise_jy=0.0,
    )


def total_statistics(found: Convergence) -> StatisticsRecord:
    """Return the statistics of all channels together, summed in their order; 0 where no channel has data."""
    table = found.statistics[found.statistics[:, STATISTICS.index("n_pixels")] > 0]
    if len(table) == 0:
        return StatisticsRecord(max=0.0, min=0.0, rms=0.0)
    columns = dict(zip(STATISTICS, table.T, strict=True))
    return StatisticsRecord(
        max=float(columns["max"].max()),
        min=float(columns["min"].min()),
        rms=math.sqrt(float(columns["sum_squares"].sum()) / float(columns["n_pixels"].sum())),
    )
