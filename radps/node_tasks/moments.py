"""What moments do on a worker: sum a block of channels of a cube, then write the moment images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    compute_velocity,
    compute_velocity_widths,
    create_moment_sums,
    find_counted_pixels,
    find_smoothed_mask,
    integrate_plane,
    integrate_spectrum,
    measure_edges,
    merge_moment_sums,
)
from radps.domain.spectral_frames import DopplerConvention
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
    mask: str = "none"
    """Which pixels may count: ``none`` = all, ``clean`` = the mask of the CLEAN, ``smoothed``."""
    n_sigma: float = 0.0
    """Cut of a smoothed mask."""
    convention: DopplerConvention = "radio"
    is_corrected: bool = False
    """True = intensities are those corrected for the primary beam; what counts is found before the correction."""
    channels: tuple[int, int] | None = None
    """Half-open range of channels that count; None = all."""


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
    edge_fraction: float
    """Larger flux density of the outermost channels with data over that of the brightest channel."""


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
    velocity, width = _find_velocities(rules)
    sums = create_moment_sums(rules.grid.shape)
    flux = []
    for channel in range(*channels):
        area = RestoringBeam(*beams[channel]).area_pixels(rules.grid)
        plane, counted = _load_counted(channel, area, rules)
        here = float(velocity[channel]), float(width[channel])
        sums = add_plane_to_moments(sums, plane, *here, cut=-math.inf, mask=counted)
        flux.append(integrate_plane(plane, area, cut=-math.inf, mask=counted).flux_jy)
    return MomentPart(sums, tuple(velocity[slice(*channels)].tolist()), tuple(flux))


def _find_velocities(rules: MomentRules) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return velocity and width of every channel [km/s]."""
    frequency_hz = load_frequencies(rules.image_url)
    return (
        compute_velocity(frequency_hz, rules.rest_frequency_hz, rules.convention),
        compute_velocity_widths(frequency_hz, rules.channel_width_hz, rules.rest_frequency_hz, rules.convention),
    )


def _load_counted(
    channel: int, beam_area_pixels: float, rules: MomentRules
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the intensities of a channel, and which of its pixels count."""
    where = slice(channel, channel + 1)
    plane = load_planes(rules.image_url, "SKY", where)[0]
    mask = None
    if rules.mask == "clean":
        mask = load_planes(rules.image_url, "MASK", where)[0]
    elif rules.mask == "smoothed":
        mask = find_smoothed_mask(plane, math.sqrt(beam_area_pixels * 4 * math.log(2) / math.pi), rules.n_sigma)
    counted = find_counted_pixels(plane, rules.cut, mask)
    if rules.is_corrected:
        plane = load_planes(rules.image_url, "SKY_PRIMARY_BEAM_CORRECTED", where)[0]
    return plane, counted


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
    attributes = {"units": "km/s", "doppler_type": rules.convention}
    save_array(join_url(spectrum_url, "velocity"), part.velocity_km_s, dims=("velocity",), attrs=attributes)
    save_array(join_url(spectrum_url, "FLUX_DENSITY"), part.flux_jy, dims=("velocity",), attrs={"units": "Jy"})
    widths = _find_velocities(rules)[1][slice(*(rules.channels or (None,)))]
    line = integrate_spectrum(part.flux_jy, part.velocity_km_s, widths)
    found = image_statistics(moments.intensity)
    known = found.n_pixels > 0
    weighted = moments.velocity[np.isfinite(moments.velocity)]
    return MomentSummary(
        integrated_flux_jy_km_s=line.flux_jy_km_s if line.n_channels else 0.0,
        mean_velocity_km_s=float(weighted.mean(dtype=np.float64)) if weighted.size else 0.0,
        n_pixels=found.n_pixels,
        maximum=found.maximum if known else 0.0,
        minimum=found.minimum if known else 0.0,
        rms=found.rms if known else 0.0,
        edge_fraction=measure_edges(part.flux_jy),
    )
