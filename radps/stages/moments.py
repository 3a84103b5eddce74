"""Moments and integrated spectrum of the cubes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from dask.delayed import Delayed
from numpy.typing import NDArray
from pydantic import Field

from radps.context.lineage import product_attributes
from radps.context.model import Context
from radps.context.planning import require_memory
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, QAScore, ScoreScope, StatisticsRecord
from radps.context.scores import score_between
from radps.data.images import image_bytes
from radps.data.stores import check_free_bytes
from radps.domain.beam import RestoringBeam
from radps.domain.geometry import ImageGrid
from radps.domain.moments import compute_velocity, find_channels_between
from radps.domain.spectral_frames import DopplerConvention
from radps.errors import ContextError, SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.moments import (
    VARIABLES,
    MomentRules,
    MomentSummary,
    create_moment_stores,
    merge_moments,
    sum_moments,
    write_moments,
)
from radps.stages._imaging import blank_record, describe_image
from radps.stages.base import StageParams
from radps.units import FluxDensity, Frequency, Speed

BLOCK_CHANNELS = 32
"""Channels of one task: fixed, because the order of a sum may not depend on the cluster."""


MOMENT_PLANES = 24
"""Memory of the largest task in planes: sums in double precision, those of two parts and of both, a plane of data."""


class Params(StageParams):
    """Parameters of the stage `moments`."""

    image: str | None = None
    """Cube to use; by default every cube."""
    mask: Literal["none", "clean", "smoothed"] = "none"
    """Which pixels may count: "none" all of them, "clean" those of the mask that the cube was CLEANed in, "smoothed"
    those where the channel, smoothed to twice the beam, is above n_sigma times its noise then."""
    cut: FluxDensity | None = None
    """Pixels above this brightness per beam count (CASA `excludepix`); by default n_sigma times the noise of the cube
    without a mask, and all pixels of a mask."""
    n_sigma: float = Field(default=4.0, gt=0.0)
    """Cut in units of the noise, of the cube or of the smoothed channel, where `cut` is not given."""
    velocity: DopplerConvention = "radio"
    """Convention of the velocities: radio, optical or relativistic."""
    primary_beam_correction: bool = False
    """Take the intensities that the cube has corrected for the primary beam. Masks and cuts are judged before."""
    rest_frequency: Frequency | None = None
    """Rest frequency of the line; by default that of the data."""
    velocity_range: tuple[Speed, Speed] | None = None
    """First and last velocity, such as [1400 km/s, 1600 km/s]: the channels whose centres lie between them count (CASA
    `chans`); by default all."""


def moments(context: Context, params: Params) -> Delayed:
    """Make the moments 0, 1 and 2 of the cubes, and their integrated spectra.

    A pixel of a channel counts where it is above the cut and inside the mask. Velocities are in the frame of the cube.
    """
    cubes = find_cubes(context, params.image, "make moments of")
    for cube in cubes:
        check_variables(cube, mask=params.mask == "clean", corrected=params.primary_beam_correction)
    return run_task(context, _finish, [_cube_moments(context, params, cube) for cube in cubes])


def find_cubes(context: Context, name: str | None, purpose: str) -> tuple[ImageRecord, ...]:
    """Return the cube of that name, or all cubes.

    Raises
    ------
    ContextError
        There is none.
    """
    every = context.find_images(kind="cube")
    cubes = tuple(image for image in every if name in (None, image.name))
    if not cubes:
        known = ", ".join(image.name for image in every) or "none"
        raise ContextError(
            f"no cube {'' if name is None else repr(name) + ' '}to {purpose} (cubes: {known}); put the step "
            "`image_cube` before this one"
        )
    return cubes


def check_variables(cube: ImageRecord, *, mask: bool, corrected: bool) -> None:
    """Refuse what a cube does not have.

    Raises
    ------
    SelectionError
        The mask or the corrected image is wanted, and the cube has none.
    """
    if mask and "MASK" not in cube.companions:
        raise SelectionError(
            f"{cube.name} has no mask of its CLEAN; give the step `image_cube` a mask, or take another kind of mask"
        )
    if corrected and "SKY_PRIMARY_BEAM_CORRECTED" not in cube.companions:
        raise SelectionError(
            f"{cube.name} is not corrected for the primary beam; give the step `image_cube` primary_beam_correction"
        )


def find_rest_frequency(context: Context, cube: ImageRecord, given_hz: float | None) -> float:
    """Return the rest frequency [Hz]: the one that is given, else that of the cube, else that of the data.

    Raises
    ------
    SelectionError
        Nobody knows it.
    """
    rest_hz = given_hz or cube.rest_frequency_hz or context.window(cube.window).rest_frequency_hz
    if rest_hz is None:
        raise SelectionError(f"the data of {cube.name} name no rest frequency; give rest_frequency")
    return rest_hz


def _cube_moments(context: Context, params: Params, cube: ImageRecord) -> Delayed:
    """Return the graph of one cube; it computes to the record of its moments and the numbers behind."""
    window = context.window(cube.window)
    context = context.for_part(cube, window)
    rest_hz = find_rest_frequency(context, cube, params.rest_frequency)
    first, last = _find_channels(params, cube, rest_hz)
    _, n_l, n_m = cube.shape
    grid = ImageGrid(n_l, n_m, cube.cell_size_rad)
    name = f"{cube.name}_{context.place().step}"
    description = describe_image(
        context,
        cube.field,
        window,
        grid,
        np.array([_frequencies(cube)[[first, last - 1]].mean()]),
        cube.channel_width_hz * (last - first),
    )._replace(rest_frequency_hz=rest_hz, spectral_frame=cube.spectral_frame or window.frame)
    require_memory(context, f"the moments of {cube.name}", MOMENT_PLANES * 4 * n_l * n_m)
    place = context.place()
    check_free_bytes(place.url, image_bytes(description, tuple(VARIABLES)), f"stage {place.step}: {name}")
    path = context.new_path("images", name=f"{name}.zarr", suffix="")
    spectrum_path = context.new_path("context.zarr", name=f"{cube.name}/spectrum", suffix="")
    urls = context.locate(path), context.locate(spectrum_path)
    cut = params.cut
    if cut is None:
        cut = params.n_sigma * cube.noise_jy if params.mask == "none" else -math.inf
    rules = MomentRules(
        context.locate(cube.path),
        grid,
        rest_hz,
        cube.channel_width_hz,
        cut,
        mask=params.mask,
        n_sigma=params.n_sigma,
        convention=params.velocity,
        is_corrected=params.primary_beam_correction,
        channels=(first, last),
    )
    used = {**params.model_dump(mode="json"), "cut": cut if math.isfinite(cut) else None}
    provenance = product_attributes(context, used)
    created = run_task(context, create_moment_stores, *urls, description, provenance, name=f"create-{cube.name}")
    blocks = [(start, min(start + BLOCK_CHANNELS, last)) for start in range(first, last, BLOCK_CHANNELS)]
    parts = map_chunks(context, sum_moments, blocks, rules, name=f"sum_moments-{cube.name}")
    total = reduce_tree(context, merge_moments, parts, name=f"merge_moments-{cube.name}", fan_in=2)
    summary = run_task(context, write_moments, total, rules, *urls, name=f"write_moments-{cube.name}", after=created)
    blank = blank_record(name, "moment", path, tuple(VARIABLES), cube.field, cube.window, description)
    return run_task(context, _describe, blank, cube, summary, name=f"describe-{cube.name}")


def _frequencies(cube: ImageRecord) -> NDArray[np.float64]:
    """Return the centres of the channels of a cube [Hz]."""
    return np.linspace(*cube.frequency_hz, cube.shape[0])


def _find_channels(params: Params, cube: ImageRecord, rest_hz: float) -> tuple[int, int]:
    """Return the half-open range of channels that count.

    Raises
    ------
    SelectionError
        No channel lies in the range of velocities; says what the cube has.
    """
    if params.velocity_range is None:
        return 0, cube.shape[0]
    velocity = compute_velocity(_frequencies(cube), rest_hz, params.velocity)
    start, stop = (speed / 1e3 for speed in params.velocity_range)
    found = find_channels_between(velocity, (start, stop))
    if found[0] == found[1]:
        raise SelectionError(
            f"no channel of {cube.name} has its centre between {start:.6g} and {stop:.6g} km/s ({params.velocity}); it "
            f"has {velocity.min():.6g} to {velocity.max():.6g} km/s"
        )
    return found


def _describe(blank: ImageRecord, cube: ImageRecord, summary: MomentSummary) -> tuple[ImageRecord, dict[str, float]]:
    """Return the record of a moment image, and the numbers behind."""
    statistics = StatisticsRecord(max=summary.maximum, min=summary.minimum, rms=summary.rms)
    record = blank.model_copy(update={"statistics": statistics, "beam": cube.beam})
    numbers = {
        "integrated_flux_jy_km_s": summary.integrated_flux_jy_km_s,
        "mean_velocity_km_s": summary.mean_velocity_km_s,
        "n_pixels": summary.n_pixels,
        "edge_fraction": summary.edge_fraction,
    }
    return record, numbers


def _finish(found: Sequence[tuple[ImageRecord, dict[str, float]]]) -> Outcome:
    """Register the moment images."""
    empty = [record.name for record, numbers in found if numbers["n_pixels"] == 0]
    texts = [
        f"{record.name}: {numbers['integrated_flux_jy_km_s']:.4g} Jy km/s at {numbers['mean_velocity_km_s']:.1f} km/s"
        for record, numbers in found
        if numbers["n_pixels"]
    ]
    return Outcome(
        status=OutcomeStatus.NOTHING if len(empty) == len(found) else OutcomeStatus.SUCCESS,
        message="; ".join(texts + [f"{name}: no pixel above the cut" for name in empty]),
        images=tuple(record for record, _ in found),
        qa=(
            *(_score(record, numbers["n_pixels"]) for record, numbers in found),
            *(_score_edges(record, numbers["edge_fraction"]) for record, numbers in found if numbers["n_pixels"]),
        ),
        summary={record.name: numbers for record, numbers in found},
    )


def _score(record: ImageRecord, n_pixels: float) -> QAScore:
    """Score how many pixels have a moment, in beams; in pixels of an image without a beam."""
    beam = record.beam
    area = 1.0
    if beam is not None:
        grid = ImageGrid(*record.shape[1:], record.cell_size_rad)
        area = RestoringBeam(beam.major_rad, beam.minor_rad, beam.position_angle_rad).area_pixels(grid)
    return score_between(
        "pixels of the moments",
        n_pixels / area,
        unit="beams",
        good=1.0,
        bad=0.0,
        applies_to=record.name,
        scope=ScoreScope.IMAGE,
        hint="fewer than a beam are peaks of the noise: lower the cut if there is a line",
    )


def _score_edges(record: ImageRecord, edge_fraction: float) -> QAScore:
    """Judge whether the whole line is in the channels."""
    return score_between(
        "flux of the outermost channels over that of the brightest",
        100 * edge_fraction,
        unit="%",
        good=10.0,
        bad=50.0,
        applies_to=record.name,
        scope=ScoreScope.IMAGE,
        hint="the line goes on beyond them, continuum is left, or there is no line: look at the spectrum, take more "
        "channels, or a mask",
    )
