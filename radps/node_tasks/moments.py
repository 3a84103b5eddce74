"""What moments do on a worker: sum a block of channels of a cube, then write the moment images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from radps.data.images import (
    ImageDescription,
    choose_middle_beam,
    create_image,
    load_beams,
    load_frequencies,
    load_planes,
    write_beams,
    write_planes,
)
from radps.data.stores import create_group, join_url, require_parents, save_array
from radps.domain.beam import RestoringBeam
from radps.domain.geometry import ImageGrid
from radps.domain.moments import (
    MomentSums,
    add_plane_to_moments,
    compute_moments,
    compute_radio_velocity,
    compute_velocity_width,
    create_moment_sums,
    integrate_plane,
    merge_moment_sums,
)
from radps.domain.statistics import image_statistics

VARIABLES = {"SKY_MOMENT_0": "Jy/beam km/s", "SKY_MOMENT_1": "km/s", "SKY_MOMENT_2": "km/s"}
"""Variables of a moment image and their units."""


class MomentRules(NamedTuple):
    """What the tasks need to know of the parameters."""

    image_url: str
    grid: ImageGrid
    rest_frequency_hz: float
    channel_width_hz: float
    cut: float
    """Pixels above this count [Jy/beam]; -inf: all."""


class MomentPart(NamedTuple):
    """The sums and the spectrum of some channels."""

    sums: MomentSums
    velocity_km_s: tuple[float, ...]
    flux_jy: tuple[float, ...]
    """NaN for a channel without data."""


class MomentSummary(NamedTuple):
    """The numbers behind the moments."""

    integrated_flux_jy_km_s: float
    mean_velocity_km_s: float
    """Mean of moment 1 over its pixels."""
    n_pixels: int
    """Pixels that have a moment."""
    maximum: float
    """Of moment 0 [Jy/beam km/s]."""
    minimum: float
    rms: float


def create_moment_stores(
    moment_url: str, spectrum_url: str, description: ImageDescription, provenance: dict[str, Any]
) -> None:
    """Create the stores of the moment images and of the spectrum; doing it twice changes nothing."""
    create_image(moment_url, description, variables=tuple(VARIABLES), provenance=provenance, units=VARIABLES)
    require_parents(spectrum_url)
    create_group(spectrum_url, {"object": description.object_name})


def sum_moments(channels: tuple[int, int], rules: MomentRules) -> MomentPart:
    """Add up the planes of some channels, one after the other."""
    beams = load_beams(rules.image_url)
    velocity = compute_radio_velocity(load_frequencies(rules.image_url), rules.rest_frequency_hz)
    width = float(compute_velocity_width(rules.channel_width_hz, rules.rest_frequency_hz))
    sums = create_moment_sums(rules.grid.shape)
    flux = []
    for channel in range(*channels):
        plane = load_planes(rules.image_url, "SKY", slice(channel, channel + 1))[0]
        sums = add_plane_to_moments(sums, plane, float(velocity[channel]), width, cut=rules.cut)
        area = RestoringBeam(*beams[channel]).area_pixels(rules.grid)
        flux.append(integrate_plane(plane, area, cut=rules.cut).flux_jy)
    return MomentPart(sums, tuple(velocity[slice(*channels)].tolist()), tuple(flux))


def merge_moments(parts: Sequence[MomentPart]) -> MomentPart:
    """Add up parts in their order."""
    total = parts[0].sums
    for part in parts[1:]:
        total = merge_moment_sums(total, part.sums)
    return MomentPart(
        total,
        tuple(value for part in parts for value in part.velocity_km_s),
        tuple(value for part in parts for value in part.flux_jy),
    )


def write_moments(part: MomentPart, rules: MomentRules, moment_url: str, spectrum_url: str) -> MomentSummary:
    """Write the moment images and the integrated spectrum; returns the numbers of the line."""
    moments = compute_moments(part.sums)
    one = slice(0, 1)
    for variable, image in zip(VARIABLES, moments[:3], strict=True):
        write_planes(moment_url, variable, one, image[np.newaxis])
    beam = choose_middle_beam(load_beams(rules.image_url))
    write_beams(moment_url, one, *(np.array([value]) for value in beam))
    save_array(join_url(spectrum_url, "velocity"), part.velocity_km_s, dims=("velocity",), attrs={"units": "km/s"})
    save_array(join_url(spectrum_url, "FLUX_DENSITY"), part.flux_jy, dims=("velocity",), attrs={"units": "Jy"})
    width = float(compute_velocity_width(rules.channel_width_hz, rules.rest_frequency_hz))
    found = image_statistics(moments.intensity)
    known = found.n_pixels > 0
    weighted = moments.velocity[np.isfinite(moments.velocity)]
    return MomentSummary(
        integrated_flux_jy_km_s=float(np.nansum(part.flux_jy)) * width,
        mean_velocity_km_s=float(weighted.mean(dtype=np.float64)) if weighted.size else 0.0,
        n_pixels=found.n_pixels,
        maximum=found.maximum if known else 0.0,
        minimum=found.minimum if known else 0.0,
        rms=found.rms if known else 0.0,
    )
