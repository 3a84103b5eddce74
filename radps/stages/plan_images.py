"""List the images to make: fields, windows, pixels within a limit of size, and what to expect of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from radps.context.model import Context
from radps.context.records import (
    Outcome,
    OutcomeStatus,
    Partition,
    PlannedImage,
    QAScore,
    ScoreScope,
    SizeReduction,
    SpectralWindow,
)
from radps.context.scores import score_between
from radps.context.selection import ChannelRange, channels_of
from radps.data.urls import format_bytes
from radps.domain.geometry import PIXELS_PER_BEAM, SPEED_OF_LIGHT_M_S
from radps.domain.image_size import PixelGoal, Pixels, choose_pixels, count_image_bytes
from radps.domain.sensitivity import Exposure, expected_noise
from radps.domain.weights import Weighting
from radps.stages._imaging import (
    DEFAULT_ROBUST,
    DEFAULT_WEIGHTING,
    FIELD_OF_VIEW,
    ImageSize,
    Robustness,
    image_name,
    primary_beam_width,
)
from radps.stages.base import StageParams
from radps.units import Angle, DataSize, FluxDensity

BOTH_HANDS = 2
"""Stokes I is the mean of both parallel hands."""

_ASSUMED = "natural weights, no data flagged, no loss in the correlator"


class Params(StageParams):
    """Parameters of the stage `plan_images`."""

    writes = ("planned_images",)

    fields: tuple[str, ...] = ("target",)
    """Fields to image, or words of intents."""
    modes: tuple[Literal["cube", "continuum"], ...] = Field(default=("continuum", "cube"), min_length=1)
    """A cube of every virtual spectral window, a continuum image of all of them, or both."""
    channels: ChannelRange | None = None
    """Channels of the cubes, such as "5~50", or frequencies; by default all."""
    image_size: ImageSize | Literal["auto"] = "auto"
    """Pixels along each side; "auto" covers field_of_view. A number is not reduced."""
    cell_size: Angle | Literal["auto"] = "auto"
    """Side of a pixel; "auto" is the beam of the longest baseline over pixels_per_beam. An angle is not enlarged."""
    weighting: Weighting = DEFAULT_WEIGHTING
    """natural, uniform or briggs; the expected noise is that of natural weights in any case."""
    robust: Robustness = DEFAULT_ROBUST
    """Briggs' robustness, from -2 (almost uniform) to 2 (almost natural)."""
    field_of_view: float = Field(default=FIELD_OF_VIEW, gt=0.0)
    """Width of an image, in units of the primary beam's full width at half maximum."""
    min_field_of_view: float = Field(default=1.0, gt=0.0)
    """Width that an image is reduced to at most where it is too large."""
    pixels_per_beam: float = Field(default=PIXELS_PER_BEAM, ge=2.0)
    """Pixels across the synthesized beam."""
    min_pixels_per_beam: float = Field(default=3.0, ge=2.0)
    """Pixels across the beam that an image is reduced to at most where a smaller field of view is not enough."""
    max_size: Annotated[DataSize, Field(gt=0.0)] = 40e9
    """Size of one variable of an image or cube at most (CASA `hif_checkproductsize`, maxcubesize)."""
    sefd: Annotated[FluxDensity, Field(gt=0.0)] | None = None
    """Noise of an antenna as a flux density, for the expected noise; by default the nominal one, if it is known."""

    @model_validator(mode="after")
    def _check_limits(self) -> Params:
        for name in ("field_of_view", "pixels_per_beam"):
            wanted, least = getattr(self, name), getattr(self, f"min_{name}")
            if least > wanted:
                raise ValueError(f"min_{name} is {least} and larger than {name}, which is {wanted}; give both")
        return self


def plan_images(context: Context, params: Params) -> Outcome:
    """List the images to make; where one is too large its field of view is reduced, then its pixels a beam.

    The imaging stages take pixels and channels from the list where their own parameters leave them open. It needs the
    metadata only, so that it is done at once, without a graph (CASA `hif_makeimlist`, `hif_checkproductsize`).
    """
    fields: dict[str, list[Partition]] = {}
    for partition in context.visibilities(params.fields):
        fields.setdefault(partition.field, []).append(partition)
    planned: list[PlannedImage] = []
    for field, partitions in fields.items():
        if "continuum" in params.modes:
            planned.append(_plan_continuum(context, params, field, partitions))
        if "cube" in params.modes:
            planned += _plan_cubes(context, params, field, partitions)
    too_large = [one for one in planned if one.size_bytes > params.max_size]
    texts = [_describe(one) for one in planned]
    texts += [
        f"{one.name} is {format_bytes(one.size_bytes)} large, above the limit of {format_bytes(int(params.max_size))}, "
        "with everything reduced that may be: image fewer channels, raise max_size, or lower min_field_of_view"
        for one in too_large
    ]
    return Outcome(
        status=OutcomeStatus.CAVEATS if too_large else OutcomeStatus.SUCCESS,
        message="; ".join(texts),
        planned_images=tuple(planned),
        qa=tuple(_score(one) for one in planned),
        summary={
            "images": len(planned),
            "reduced": [one.name for one in planned if one.reductions],
            "too_large": [one.name for one in too_large],
            "bytes": sum(one.size_bytes for one in planned),
        },
    )


def _plan_cubes(context: Context, params: Params, field: str, partitions: Sequence[Partition]) -> list[PlannedImage]:
    """Return an entry for each virtual spectral window of a field."""
    groups: dict[int, list[Partition]] = {}
    for partition in partitions:
        groups.setdefault(context.window(partition.window).virtual, []).append(partition)
    planned = []
    for virtual, members in groups.items():
        window = context.window(members[0].window)
        first, last = (0, window.n_channels) if params.channels is None else channels_of([params.channels], window)[0]
        name = f"{image_name(context, field, virtual)}_cube"
        pixels, beam_rad = _pixels(context, params, [window], last - first)
        noise_jy, assumptions = _expect_noise(context, params, members, n_channels=1)
        planned.append(
            PlannedImage(
                name=name,
                mode="cube",
                field=field,
                virtual_windows=(virtual,),
                image_size=pixels.image_size,
                cell_size_rad=pixels.cell_size_rad,
                channels=None if params.channels is None else (params.channels,),
                weighting=params.weighting.value,
                robust=params.robust,
                beam_rad=beam_rad,
                noise_jy=noise_jy,
                assumptions=assumptions,
                size_bytes=count_image_bytes(pixels.image_size, last - first),
                reductions=_reductions(params, pixels),
            )
        )
    return planned


def _plan_continuum(context: Context, params: Params, field: str, partitions: Sequence[Partition]) -> PlannedImage:
    """Return the entry of a field's continuum image, from all its spectral windows."""
    windows = [context.window(partition.window) for partition in partitions]
    pixels, beam_rad = _pixels(context, params, windows, 1)
    noise_jy, assumptions = _expect_noise(context, params, partitions, n_channels=None)
    return PlannedImage(
        name=f"{field}_continuum",
        mode="continuum",
        field=field,
        virtual_windows=tuple(sorted({window.virtual for window in windows})),
        image_size=pixels.image_size,
        cell_size_rad=pixels.cell_size_rad,
        weighting=params.weighting.value,
        robust=params.robust,
        beam_rad=beam_rad,
        noise_jy=noise_jy,
        assumptions=assumptions,
        size_bytes=count_image_bytes(pixels.image_size, 1),
        reductions=_reductions(params, pixels),
    )


def _pixels(
    context: Context, params: Params, windows: Sequence[SpectralWindow], n_channels: int
) -> tuple[Pixels, float]:
    """Return the pixels of an image, and the estimate of its beam [rad]; what the user gave is not reduced.

    The cell follows the highest frequency, the field of view the primary beam of the lowest.
    """
    frequencies_hz = [frequency for window in windows for frequency in window.frequency_hz]
    beam_rad = SPEED_OF_LIGHT_M_S / max(frequencies_hz) / context.require_observation().longest_baseline_m
    given_cell = None if params.cell_size == "auto" else params.cell_size
    per_beam = params.pixels_per_beam if given_cell is None else beam_rad / given_cell
    if params.image_size != "auto":
        cell = beam_rad / per_beam if given_cell is None else given_cell
        return Pixels(params.image_size, cell, params.field_of_view, per_beam), beam_rad
    goal = PixelGoal(
        beam_rad=beam_rad,
        primary_beam_rad=primary_beam_width(context, min(frequencies_hz)),
        field_of_view=params.field_of_view,
        min_field_of_view=params.min_field_of_view,
        pixels_per_beam=per_beam,
        min_pixels_per_beam=params.min_pixels_per_beam if given_cell is None else per_beam,
    )
    pixels = choose_pixels(goal, n_channels, params.max_size)
    # Not a rounding error away from what was given: the stages compare cell sizes.
    return pixels if given_cell is None else pixels._replace(cell_size_rad=given_cell), beam_rad


def _reductions(params: Params, pixels: Pixels) -> tuple[SizeReduction, ...]:
    """Return what is smaller than wanted."""
    cuts = [
        SizeReduction(quantity="field of view [primary beams]", wanted=params.field_of_view, used=pixels.field_of_view),
        SizeReduction(quantity="pixels per beam", wanted=params.pixels_per_beam, used=pixels.pixels_per_beam),
    ]
    if params.cell_size != "auto":
        cuts.pop()
    return tuple(cut for cut in cuts if cut.used < cut.wanted * (1 - 1e-9))


def _expect_noise(
    context: Context, params: Params, partitions: Sequence[Partition], n_channels: int | None
) -> tuple[float | None, tuple[str, ...]]:
    """Return the expected noise and what is assumed; None with the reason where the metadata do not say enough.

    ``n_channels`` is the number of channels of a window that go into one plane, None = those of the continuum.
    """
    observation = context.require_observation()
    n_antennas = len(observation.antennas)
    exposures = []
    sources = []
    for partition in partitions:
        window = context.window(partition.window)
        nominal = observation.extension.nominal_sefd_jy(window.name) if observation.extension else None
        sefd_jy = params.sefd or nominal
        if sefd_jy is None:
            return None, (f"no noise of an antenna is known for {window.name}: give sefd",)
        if not partition.integration_time_s > 0:
            return None, (f"the data of {partition.name} do not say how long an integration is",)
        sources.append(f"{'given' if params.sefd else 'nominal'} SEFD of {sefd_jy:.0f} Jy")
        exposures.append(
            Exposure(
                sefd_jy=sefd_jy,
                # Autocorrelations are rows too; data of an older import do not say how many.
                n_baselines=partition.cross_baselines or min(partition.shape[1], n_antennas * (n_antennas - 1) // 2),
                n_polarizations=BOTH_HANDS,
                time_s=partition.shape[0] * partition.integration_time_s,
                bandwidth_hz=abs(window.channel_width_hz) * (n_channels or _count_line_free(context, partition)),
            )
        )
    noise_jy = expected_noise(exposures)
    if not math.isfinite(noise_jy):
        return None, ("no channel is free of lines",)
    bandwidth = [] if n_channels else ["all channels" if context.line_free is None else "line-free channels"]
    return noise_jy, (*dict.fromkeys(sources), _ASSUMED, *bandwidth)


def _count_line_free(context: Context, partition: Partition) -> int:
    """Return how many channels of a partition go into the continuum: all of them as long as no line is known."""
    return sum(stop - start for start, stop in context.continuum_channels(partition.field, partition.window))


def _describe(one: PlannedImage) -> str:
    """Return an entry in words."""
    cell = math.degrees(one.cell_size_rad) * 3600
    text = f"{one.name}: {one.image_size} pixels of {cell:.3g} arcsec, {format_bytes(one.size_bytes)}"
    if one.noise_jy is not None:
        text += f", expected noise {one.noise_jy * 1e3:.3g} mJy"
    return text + "".join(f", {cut.quantity} {cut.wanted:.3g} -> {cut.used:.3g}" for cut in one.reductions)


def _score(one: PlannedImage) -> QAScore:
    """Judge how much of what was wanted of an image is left."""
    kept = math.prod(cut.used / cut.wanted for cut in one.reductions)
    return score_between(
        f"wanted size kept by the {one.mode}",
        100 * kept,
        unit="%",
        good=100.0,
        bad=0.0,
        applies_to=one.field,
        scope=ScoreScope.FIELD,
        hint="raise max_size, or image fewer channels",
    )
