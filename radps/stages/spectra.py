"""Spectra of the cubes: of a position, a circle, or the pixels of a moment image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from astropy import units
from astropy.coordinates import SkyCoord
from dask.delayed import Delayed
from pydantic import AfterValidator, Field

from radps.context.lineage import product_attributes
from radps.context.model import Context
from radps.context.planning import require_memory
from radps.context.records import ImageRecord, Outcome, OutcomeStatus, PlannedImage, ProductKind, ProductRecord
from radps.domain.geometry import ImageGrid
from radps.domain.sky import direction_cosines
from radps.domain.spectral_frames import DopplerConvention
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.spectra import (
    BrightPixel,
    SpectrumRules,
    SpectrumSummary,
    choose_brightest,
    find_bright_pixel,
    join_channels,
    measure_channels,
    write_spectrum,
)
from radps.stages._image_scores import find_planned
from radps.stages._spectrum_scores import score_spectrum
from radps.stages.base import StageParams
from radps.stages.moments import BLOCK_CHANNELS, check_variables, find_cubes, find_rest_frequency
from radps.units import Angle, Frequency

SPECTRUM_PLANES = 8
"""Memory of a task in planes: chunks as read, the image, its residual and primary beam, sorted copies for the noise."""


def _check_position(text: str) -> str:
    """Return a position that astropy understands, or one of the two words."""
    if text not in ("peak", "center"):
        try:
            SkyCoord(text, unit=(units.hourangle, units.deg))
        except ValueError as error:
            raise ValueError(
                f"{text!r} is not a position: write 'peak', 'center', or a direction such as '15h21m57s +05d04m15s' "
                f"({error})"
            ) from None
    return text


class Params(StageParams):
    """Parameters of the stage `spectra`."""

    image: str | None = None
    """Cube to use; by default every cube."""
    region: Literal["circle", "beam", "moment"] = "beam"
    """What is measured: "circle" the sum over a circle, "beam" the brightness at the position, which is the flux
    density of a source smaller than the beam, "moment" the sum over all pixels that a moment image of the cube has."""
    position: Annotated[str, AfterValidator(_check_position)] = "peak"
    """Centre: "peak" the brightest pixel of all channels, "center" the phase centre, or right ascension and declination
    in the frame of the image, such as "15h21m57s +05d04m15s"."""
    radius: Angle | None = Field(default=None, gt=0.0)
    """Radius of the circle; needed for it."""
    velocity: DopplerConvention = "radio"
    """Convention of the velocities: radio, optical or relativistic."""
    rest_frequency: Frequency | None = None
    """Rest frequency of the line; by default that of the data."""
    primary_beam_correction: bool = False
    """Take the intensities that the cube has corrected for the primary beam."""


class _Job(NamedTuple):
    """One spectrum."""

    cube: ImageRecord
    table_path: str
    planned: PlannedImage | None
    """What the list of images to make expects of the cube."""


def spectra(context: Context, params: Params) -> Delayed:
    """Measure the spectrum of a region in every cube, with errors and noise by channel, and the line in it.

    Each is written as a table (ECSV) among the products, and as arrays of the context (CASA `specflux`). The line has
    its widths at 50 % and 20 % of the peak and its systemic velocity.
    """
    if (params.region == "circle") != (params.radius is not None):
        raise SelectionError(
            f"region {params.region!r} with {'a' if params.radius is not None else 'no'} radius: a circle needs one, "
            "nothing else has one"
        )
    cubes = find_cubes(context, params.image, "measure spectra of")
    for cube in cubes:
        check_variables(cube, mask=False, corrected=params.primary_beam_correction)
    return run_task(context, _finish, [_measure_cube(context, params, cube) for cube in cubes])


def _measure_cube(context: Context, params: Params, cube: ImageRecord) -> Delayed:
    """Return the graph of one spectrum; it computes to its job and its summary."""
    window = context.window(cube.window)
    moment = _find_moment(context, cube) if params.region == "moment" else None
    field = context.field(cube.field)
    planned = find_planned(context.imaging.planned, cube)
    context = context.for_part(cube, window, moment, field.direction, planned)
    n_channels, n_l, n_m = cube.shape
    grid = ImageGrid(n_l, n_m, cube.cell_size_rad)
    require_memory(context, f"the spectrum of {cube.name}", SPECTRUM_PLANES * 4 * n_l * n_m)
    assert cube.convergence is not None  # every cube has one
    rules = SpectrumRules(
        image_url=context.locate(cube.path),
        convergence_url=context.locate(cube.convergence),
        grid=grid,
        rest_frequency_hz=find_rest_frequency(context, cube, params.rest_frequency),
        channel_width_hz=cube.channel_width_hz,
        spectral_frame=cube.spectral_frame or window.frame,
        convention=params.velocity,
        is_corrected=params.primary_beam_correction,
        radius_pixels=None if params.radius is None else params.radius / grid.cell_size_rad,
        moment_url=None if moment is None else context.locate(moment.path),
    )
    blocks = [(start, min(start + BLOCK_CHANNELS, n_channels)) for start in range(0, n_channels, BLOCK_CHANNELS)]
    center = _find_center(context, params, cube, rules, blocks, (field.direction.ra_rad, field.direction.dec_rad))
    parts = map_chunks(context, measure_channels, blocks, rules, center, name=f"measure_channels-{cube.name}")
    channels = reduce_tree(context, join_channels, parts, name=f"join_channels-{cube.name}")
    table_path = context.new_path("products", f"{cube.name}.spectrum.ecsv", suffix="")
    arrays = context.locate(context.new_path("context.zarr", name=f"{cube.name}/spectrum", suffix=""))
    written = run_task(
        context,
        write_spectrum,
        channels,
        rules,
        center,
        context.locate(table_path),
        arrays,
        _describe_table(context, params, cube, rules),
        name=f"write_spectrum-{cube.name}",
    )
    return run_task(context, _pair, _Job(cube, table_path, planned), written, name=f"describe-{cube.name}")


def _find_moment(context: Context, cube: ImageRecord) -> ImageRecord:
    """Return the newest moment image of a cube."""
    found = [one for one in context.find_images(kind="moment") if one.name.startswith(f"{cube.name}_")]
    if not found:
        raise SelectionError(f"there is no moment image of {cube.name}; put the step `moments` before this one")
    return found[-1]


def _find_center(
    context: Context,
    params: Params,
    cube: ImageRecord,
    rules: SpectrumRules,
    blocks: Sequence[tuple[int, int]],
    phase_center_rad: tuple[float, float],
) -> BrightPixel | Delayed:
    """Return the pixel of the position; for the peak the graph that finds it."""
    grid = rules.grid
    if params.position == "peak":
        parts = map_chunks(context, find_bright_pixel, blocks, rules.image_url, name=f"find_bright_pixel-{cube.name}")
        return reduce_tree(context, choose_brightest, parts, name=f"choose_brightest-{cube.name}")
    offset = (0.0, 0.0)
    if params.position != "center":
        where = SkyCoord(params.position, unit=(units.hourangle, units.deg))
        l, m = direction_cosines(where.ra.rad, where.dec.rad, *phase_center_rad)
        offset = float(l), float(m)
    row = round(grid.n_l // 2 - offset[0] / grid.cell_size_rad)
    column = round(grid.n_m // 2 + offset[1] / grid.cell_size_rad)
    if not (0 <= row < grid.n_l and 0 <= column < grid.n_m):
        raise SelectionError(
            f"the position {params.position} is outside of {cube.name}, which has {grid.n_l} x {grid.n_m} pixels of "
            f"{math.degrees(grid.cell_size_rad) * 3600:.3g} arcsec"
        )
    return BrightPixel(math.nan, (row, column))


def _describe_table(context: Context, params: Params, cube: ImageRecord, rules: SpectrumRules) -> dict[str, Any]:
    """Return what stands at the head of the table."""
    made = product_attributes(context, params.model_dump(mode="json"))
    return {
        "image": cube.name,
        "field": cube.field,
        "spectral_frame": rules.spectral_frame,
        "velocity_convention": rules.convention,
        "rest_frequency_hz": rules.rest_frequency_hz,
        "channel_width_hz": rules.channel_width_hz,
        "region": params.region,
        "position": params.position,
        "step": made["step"],
        "fingerprint": made["fingerprint"],
    }


def _pair(job: _Job, summary: SpectrumSummary) -> tuple[_Job, SpectrumSummary]:
    return job, summary


def _finish(found: Sequence[tuple[_Job, SpectrumSummary]]) -> Outcome:
    """Register the tables, and say what lines there are."""
    products = tuple(
        ProductRecord(
            path=job.table_path,
            kind=ProductKind.TABLE,
            source=job.cube.name,
            field=job.cube.field,
            window=job.cube.window,
            size_bytes=summary.file.size_bytes,
            sha256=summary.file.sha256,
        )
        for job, summary in found
    )
    has_data = any(summary.n_channels for _, summary in found)
    return Outcome(
        status=OutcomeStatus.SUCCESS if has_data else OutcomeStatus.NOTHING,
        message="; ".join(_say(job.cube.name, summary) for job, summary in found),
        products=products,
        qa=tuple(score for job, summary in found for score in score_spectrum(job.cube, summary, job.planned)),
        summary={job.cube.name: _numbers(summary) for job, summary in found},
    )


def _say(name: str, summary: SpectrumSummary) -> str:
    """Return a spectrum in words."""
    if not summary.n_channels:
        return f"{name}: no data in the region"
    text = f"{name}: {summary.flux_jy_km_s:.4g} +- {summary.flux_error_jy_km_s:.2g} Jy km/s"
    line = summary.line
    if line is None:
        return f"{text}, no line"
    if not math.isfinite(line.systemic_velocity_km_s):
        return f"{text}, a line at {line.peak_velocity_km_s:.1f} km/s whose width cannot be told"
    return f"{text}, a line at {line.systemic_velocity_km_s:.1f} km/s, W50 {line.width_50_km_s:.1f} km/s"


def _numbers(summary: SpectrumSummary) -> dict[str, Any]:
    """Return the numbers of a spectrum as plain JSON; what is not known is None."""
    numbers: dict[str, Any] = {
        "pixel": list(summary.pixel),
        "n_channels": summary.n_channels,
        "blank_channels": summary.n_blank,
        "noise_jy": summary.noise_jy,
        "line_free_channels": summary.line_free.n_channels,
        "line_free_offset": summary.line_free.offset,
        "line_free_scatter": summary.line_free.scatter,
        "integrated_flux_jy_km_s": summary.flux_jy_km_s,
        "integrated_flux_error_jy_km_s": summary.flux_error_jy_km_s,
        "mean_velocity_km_s": summary.mean_velocity_km_s,
        **({} if summary.line is None else summary.line._asdict()),
    }
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in numbers.items()
    }
