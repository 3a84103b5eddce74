"""What spectra do on a worker: find the brightest pixel, measure a block of channels, write the spectrum."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy import units
from astropy.table import QTable
from numpy.typing import NDArray

from radps.data.convergence import load_noise
from radps.data.files import replace_file
from radps.data.images import load_beams, load_frequencies, load_planes
from radps.data.measuring import count_written
from radps.data.stores import join_url, require_parents, save_array
from radps.domain.beam import RestoringBeam
from radps.domain.geometry import ImageGrid
from radps.domain.moments import (
    compute_velocity,
    compute_velocity_widths,
    integrate_spectrum,
)
from radps.domain.spectra import (
    LineFreeStatistics,
    LineProperties,
    RegionFlux,
    make_circle,
    measure_line,
    measure_line_free,
    measure_region,
)
from radps.domain.spectral_frames import DopplerConvention
from radps.node_tasks.products import ProductFile, measure_file


class BrightPixel(NamedTuple):
    """The brightest pixel of some channels."""

    brightness: float
    """[Jy/beam]; -inf where there are no data."""
    pixel: tuple[int, int]


class SpectrumRules(NamedTuple):
    """What the tasks need to know of the parameters."""

    image_url: str
    convergence_url: str
    grid: ImageGrid
    rest_frequency_hz: float
    channel_width_hz: float
    spectral_frame: str
    convention: DopplerConvention
    is_corrected: bool
    """True = intensities are those corrected for the primary beam."""
    radius_pixels: float | None
    """Of the circle; None: the brightness at the position, or the pixels of the moment."""
    moment_url: str | None
    """Moment image whose pixels are the region; None: a circle, or a position."""


class ChannelFlux(NamedTuple):
    """What is measured in one channel."""

    flux_jy: float
    error_jy: float
    noise_jy: float
    """Robust noise of the residual, per beam of the image, before the correction for the primary beam."""


class SpectrumSummary(NamedTuple):
    """The numbers of a spectrum, and its file."""

    file: ProductFile
    pixel: tuple[int, int]
    """Centre of the region."""
    flux_jy_km_s: float
    """Integral over all channels; NaN without data."""
    flux_error_jy_km_s: float
    mean_velocity_km_s: float
    n_channels: int
    """Channels with data."""
    n_blank: int
    """Channels without."""
    noise_jy: float
    """Median of the channels, per beam; NaN without data."""
    snr: float
    """Of the channel with the largest flux density; NaN without data."""
    line_free: LineFreeStatistics
    line: LineProperties | None


def find_bright_pixel(channels: tuple[int, int], image_url: str) -> BrightPixel:
    """Return the brightest pixel of some channels, the first one of several."""
    best = BrightPixel(-math.inf, (0, 0))
    for channel in range(*channels):
        plane = load_planes(image_url, "SKY", slice(channel, channel + 1))[0]
        if not np.isfinite(plane).any():
            continue
        row, column = np.unravel_index(int(np.nanargmax(plane)), plane.shape)
        best = choose_brightest([best, BrightPixel(float(plane[row, column]), (int(row), int(column)))])
    return best


def choose_brightest(parts: Sequence[BrightPixel]) -> BrightPixel:
    """Return the brightest one, the first of several."""
    return max(parts, key=lambda one: one.brightness)


def measure_channels(channels: tuple[int, int], rules: SpectrumRules, center: BrightPixel) -> tuple[ChannelFlux, ...]:
    """Measure the region in some channels."""
    beams = load_beams(rules.image_url)
    region = _make_region(rules, center.pixel)
    found = []
    for channel, noise in zip(range(*channels), load_noise(rules.convergence_url, slice(*channels)), strict=True):
        where = slice(channel, channel + 1)
        variable = "SKY_PRIMARY_BEAM_CORRECTED" if rules.is_corrected else "SKY"
        plane = load_planes(rules.image_url, variable, where)[0]
        pattern = load_planes(rules.image_url, "PRIMARY_BEAM", where)[0] if rules.is_corrected else None
        area = RestoringBeam(*beams[channel]).area_pixels(rules.grid)
        if region is None:
            flux = _measure_pixel(plane, center.pixel, float(noise), pattern)
        else:
            flux = measure_region(plane, region, float(noise), area, pattern)
        found.append(ChannelFlux(flux.flux_jy, flux.error_jy, float(noise)))
    return tuple(found)


def join_channels(parts: Sequence[tuple[ChannelFlux, ...]]) -> tuple[ChannelFlux, ...]:
    """Put the channels of parts one after the other."""
    return tuple(one for part in parts for one in part)


def write_spectrum(
    channels: tuple[ChannelFlux, ...],
    rules: SpectrumRules,
    center: BrightPixel,
    table_url: str,
    array_url: str,
    provenance: dict[str, Any],
) -> SpectrumSummary:
    """Write the spectrum as a table (ECSV) and as arrays, and return its numbers."""
    frequency = load_frequencies(rules.image_url)
    velocity = compute_velocity(frequency, rules.rest_frequency_hz, rules.convention)
    width = compute_velocity_widths(frequency, rules.channel_width_hz, rules.rest_frequency_hz, rules.convention)
    flux, error, noise = (np.array(column) for column in zip(*channels, strict=True))
    line = measure_line(velocity, flux, error)
    total = integrate_spectrum(flux, velocity, width)
    valid = np.isfinite(flux)
    measured = valid & (error > 0)
    columns = {
        "frequency": frequency * units.Hz,
        "velocity": velocity * units.km / units.s,
        "flux_density": flux * units.Jy,
        "flux_error": error * units.Jy,
        "noise": noise * units.Jy / units.beam,
    }
    table = QTable(columns, meta={**provenance, **_describe_line(line)})
    _write_table(table, table_url)
    _save_arrays(array_url, columns)
    return SpectrumSummary(
        file=measure_file(table_url),
        pixel=center.pixel,
        flux_jy_km_s=total.flux_jy_km_s,
        flux_error_jy_km_s=float(np.sqrt(np.square(error[valid] * width[valid]).sum())),
        mean_velocity_km_s=total.velocity_km_s,
        n_channels=total.n_channels,
        n_blank=len(flux) - int(valid.sum()),
        noise_jy=float(np.median(noise[valid])) if valid.any() else math.nan,
        snr=_peak_snr(flux[measured], error[measured]),
        line_free=measure_line_free(velocity, flux, error, line),
        line=line,
    )


def _make_region(rules: SpectrumRules, pixel: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return the pixels of the region; None for a single position."""
    if rules.moment_url is not None:
        moment: NDArray[np.float32] = load_planes(rules.moment_url, "SKY_MOMENT_0", slice(0, 1))[0]
        return np.isfinite(moment)
    return None if rules.radius_pixels is None else make_circle(rules.grid.shape, pixel, rules.radius_pixels)


def _measure_pixel(
    plane: NDArray[np.float32], pixel: tuple[int, int], noise_jy: float, primary_beam: NDArray[np.float32] | None
) -> RegionFlux:
    """Return the brightness at a pixel as the flux density of a source smaller than the beam."""
    value = float(plane[pixel])
    if not math.isfinite(value):
        return RegionFlux(math.nan, math.nan, 0)
    return RegionFlux(value, noise_jy if primary_beam is None else noise_jy / float(primary_beam[pixel]), 1)


def _peak_snr(flux: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """Return the flux density of the brightest channel over its error."""
    if flux.size == 0:
        return math.nan
    top = int(flux.argmax())
    return float(flux[top] / error[top])


def _describe_line(line: LineProperties | None) -> dict[str, float]:
    """Return the properties of a line that are known."""
    return {} if line is None else {name: value for name, value in line._asdict().items() if math.isfinite(value)}


def _write_table(table: QTable, url: str) -> None:
    """Write a table as ECSV, which astropy reads with its units."""
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    data = text.getvalue().encode()
    replace_file(url, data)
    count_written(len(data))


def _save_arrays(url: str, columns: dict[str, Any]) -> None:
    """Write the columns into the context's tree; a repeated task writes the same."""
    for name, column in columns.items():
        is_coordinate = name in ("frequency", "velocity")
        array_url = join_url(url, name if is_coordinate else name.upper())
        require_parents(array_url)
        attrs = {"units": column.unit.to_string()}
        save_array(array_url, column.value, dims=("frequency",), attrs=attrs, overwrite=True)
