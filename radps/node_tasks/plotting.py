"""What the report does on a worker: read what a plot shows, draw it, write the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

import numpy as np
from numpy.typing import NDArray

from radps.data.addresses import VisibilityAddress
from radps.data.convergence import STATISTICS, load_convergence
from radps.data.files import replace_file
from radps.data.images import load_beams, load_frequencies, load_planes, load_unit
from radps.data.measuring import count_written
from radps.data.solutions import load_delays, load_solution
from radps.data.stores import exists, load_array, open_array
from radps.data.urls import join_url
from radps.data.visibilities import load_baselines
from radps.domain.array import horizontal_direction, local_positions
from radps.domain.geometry import SPEED_OF_LIGHT_M_S
from radps.domain.moments import compute_velocity
from radps.domain.solver import StopReason
from radps.errors import RadpsError
from radps.node_tasks.model_comparison import N_CELLS, ModelSums
from radps.node_tasks.visibility_histograms import (
    HistogramRanges,
    VisibilityCounts,
    amplitude_edges,
    phase_edges,
    range_edges,
)
from radps.plots.arrays import Track, plot_antennas, plot_elevations, plot_uv_coverage
from radps.plots.convergence import ChannelTable, plot_channels, plot_convergence
from radps.plots.figures import copy_layout, render
from radps.plots.flags import plot_flag_fractions, plot_flag_map
from radps.plots.images import ImagePlane, plot_channel_maps, plot_image, thin_plane
from radps.plots.solutions import SolutionPanels, plot_amplitudes, plot_delays, plot_phases
from radps.plots.spectra import SearchedSpectra, plot_line_search, plot_spectrum
from radps.plots.themes import THEMES, Theme, themed
from radps.plots.visibilities import DensityPanel, ModelPanel, plot_baselines, plot_densities, plot_model_comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Plotted = ParamSpec("_Plotted")

DPI = 90
"""A page of a thousand pixels is filled; a report stays small."""

_MOST_UV_TIMES = 120
_MOST_MAPS = 24
_IMAGE_PIXELS = 1024
"""Along an axis of an image that is drawn: more than its picture has."""
_MAP_PIXELS = 512
"""The same for a channel map."""
PLOT_PLANES = 3
"""Memory of a task that draws an image in its planes: the tiles as read, the plane; a picture has few pixels."""
_STEPS_OF_TRACK = 12


class Picture(NamedTuple):
    """A picture of the report."""

    step: str
    """The step whose page it is on; empty = the front page."""
    title: str
    caption: str
    """What it shows, and how to read it."""
    path: str
    """Relative to the run folder."""
    url: str
    problem: str = ""
    """Why there is no picture; empty if there is one."""
    width_px: int = 0
    height_px: int = 0


class FieldTrack(NamedTuple):
    """When a field was observed, and where it is."""

    name: str
    ra_rad: float
    dec_rad: float
    spans_s: tuple[tuple[float, float], ...]


class DrawnImage(NamedTuple):
    """An image and its coordinates."""

    url: str
    variable: str
    cell_size_rad: float
    center_rad: tuple[float, float]
    label: str
    with_mask: bool = False
    """Draw the outline of the mask that it was CLEANed in."""


def draw_picture(picture: Picture, draw: Callable[..., Picture], *arguments: Any) -> Picture:
    """Draw a picture; one whose data are damaged or not there any more says so in its place."""
    try:
        return draw(picture, *arguments)
    except RadpsError as error:
        return picture._replace(problem=f"could not be drawn: {error}")


def draw_antennas(picture: Picture, names: Sequence[str], positions_m: Sequence[tuple[float, float, float]]) -> Picture:
    """Draw where the antennas stand."""
    east, north, _ = local_positions(np.array(positions_m)).T
    return save_picture(picture, plot_antennas, names, east, north)


def draw_elevations(
    picture: Picture, positions_m: Sequence[tuple[float, float, float]], tracks: Sequence[FieldTrack]
) -> Picture:
    """Draw the elevation of every field."""
    place = np.array(positions_m)
    found = []
    for track in tracks:
        # A gap after each scan, so that no line is drawn through another field's.
        times = [np.append(np.linspace(start, stop, _STEPS_OF_TRACK), stop) for start, stop in track.spans_s]
        time_s = np.concatenate(times)
        elevation = horizontal_direction(place, time_s, track.ra_rad, track.dec_rad).elevation_rad
        elevation[_STEPS_OF_TRACK :: _STEPS_OF_TRACK + 1] = np.nan
        found.append(Track(track.name, time_s, elevation))
    return save_picture(picture, plot_elevations, found)


def draw_uv_coverage(picture: Picture, address: VisibilityAddress, frequency_hz: float) -> Picture:
    """Draw the baselines of a partition at one frequency; of long observations every nth time."""
    antenna1, antenna2 = load_baselines(address.store)
    step = max(1, open_array(address.uvw).shape[0] // _MOST_UV_TIMES)
    uvw = load_array(address.uvw, (slice(None, None, step),))[:, antenna1 != antenna2]  # all of them would be GBs
    u, v = np.moveaxis(uvw[..., :2].reshape(-1, 2) * frequency_hz / SPEED_OF_LIGHT_M_S, -1, 0)
    known = np.isfinite(u) & ((u != 0) | (v != 0))
    return save_picture(picture, plot_uv_coverage, u[known], v[known], picture.title)


def draw_solutions(picture: Picture, url: str, along: str, quantity: str, antennas: tuple[int, int]) -> Picture:
    """Draw the solutions of some antennas along ``time`` or ``frequency``: their ``amplitude`` or ``phase``."""
    solution = load_solution(url)
    table = solution.table
    chosen = slice(*antennas)
    if along == "frequency":
        x, label, gains, flags = table.frequency_hz / 1e6, "Frequency [MHz]", table.gains[0], table.flags[0]
        gains, flags = gains.swapaxes(0, 1), flags.swapaxes(0, 1)
    else:
        x, label, gains, flags = _minutes(table.time_s), "Time [min]", table.gains[:, :, 0], table.flags[:, :, 0]
    panels = SolutionPanels(
        x=x,
        gains=gains[:, chosen],
        flags=flags[:, chosen],
        antennas=solution.description.antenna_names[chosen],
        hands=solution.description.polarizations,
        x_label=label,
    )
    return save_picture(picture, plot_phases if quantity == "phase" else plot_amplitudes, panels)


def draw_delay_solutions(picture: Picture, url: str, antennas: tuple[int, int]) -> Picture:
    """Draw the delays of some antennas along time."""
    solution = load_delays(url)
    table, chosen = solution.table, slice(*antennas)
    panels = SolutionPanels(
        x=_minutes(table.time_s),
        gains=table.delays_s[:, chosen, 0].astype(np.complex128),
        flags=table.flags[:, chosen, 0],
        antennas=solution.description.antenna_names[chosen],
        hands=solution.description.polarizations,
        x_label="Time [min]",
    )
    return save_picture(picture, plot_delays, panels)


def draw_flags(picture: Picture, names: Sequence[str], before: Sequence[float], after: Sequence[float]) -> Picture:
    """Draw flagged fractions."""
    return save_picture(picture, plot_flag_fractions, names, before, after, picture.title.rpartition(" ")[2])


def draw_densities(picture: Picture, counts: VisibilityCounts, ranges: HistogramRanges) -> Picture:
    """Draw amplitude and phase against time, uv distance and frequency."""
    time_s, distance, frequency_hz = range_edges(ranges)
    columns = (
        (time_s, "time"),
        (distance / 1e3, "uv distance [kilowavelengths]"),
        (frequency_hz / 1e6, "Frequency [MHz]"),
    )
    panels = [
        DensityPanel(each, x, edges, label, name, scale)
        for parts, edges, name, scale in (
            (counts.amplitudes, amplitude_edges(), "Amplitude", "log"),
            (counts.phases, phase_edges(), "Phase [deg]", "linear"),
        )
        for each, (x, label) in zip(parts, columns, strict=True)
    ]
    return save_picture(picture, plot_densities, panels, len(columns), picture.title)


def draw_flag_map(picture: Picture, counts: VisibilityCounts, ranges: HistogramRanges) -> Picture:
    """Draw the flagged part of the data over time and frequency."""
    time_s, _, frequency_hz = range_edges(ranges)
    fraction = np.divide(counts.flagged, counts.data, out=np.full(counts.data.shape, np.nan), where=counts.data > 0)
    return save_picture(picture, plot_flag_map, fraction, time_s, frequency_hz, picture.title)


def draw_model_comparison(picture: Picture, sums: ModelSums, ranges: HistogramRanges, scale: float) -> Picture:
    """Draw calibrated data, and their model times ``scale``, against uv distance and frequency."""
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where there are no data
        observed, model = sums.observed / sums.weight, scale * sums.model / sums.weight
    middles = (np.arange(N_CELLS) + 0.5) / N_CELLS
    low_hz, high_hz = ranges.frequency_hz
    columns = (
        (middles * ranges.longest_wavelengths / 1e3, "uv distance [kilowavelengths]"),
        ((low_hz + middles * (high_hz - low_hz)) / 1e6, "Frequency [MHz]"),
    )
    panels = [
        ModelPanel(x, label, data, expected)
        for (x, label), data, expected in zip(columns, observed, model, strict=True)
    ]
    return save_picture(picture, plot_model_comparison, panels, picture.title)


def draw_baselines(picture: Picture, urls: Sequence[str]) -> Picture:
    """Draw the errors of baselines that `assess` found; the table is at the last of the places where there is one."""
    url = _find(urls)
    names = ("BASELINE_LENGTH", "PHASE_RMS", "CLOSURE_PHASE", "CLOSURE_AMPLITUDE")
    length_m, rms, phase, amplitude = (load_array(join_url(url, name)) for name in names)
    return save_picture(picture, plot_baselines, length_m, rms, phase, amplitude, picture.title)


def draw_line_search(picture: Picture, url: str) -> Picture:
    """Draw what the line-free channels were found from."""
    names = ("frequency", "MEAN_VISIBILITY", "DIRTY_PEAK", "SIGNIFICANCE", "LINE_FREE")
    found = SearchedSpectra(*(load_array(join_url(url, name)) for name in names))
    return save_picture(picture, plot_line_search, found, picture.title)


def draw_spectrum(picture: Picture, urls: Sequence[str]) -> Picture:
    """Draw a spectrum; it is at the last of the places where there is one."""
    url = _find(urls)
    error_url = join_url(url, "FLUX_ERROR")
    error = load_array(error_url) if exists(error_url) else None
    velocity, flux = (load_array(join_url(url, name)) for name in ("velocity", "FLUX_DENSITY"))
    return save_picture(picture, plot_spectrum, velocity, flux, error, picture.title)


def draw_image(picture: Picture, place: DrawnImage, channel: int) -> Picture:
    """Draw one plane of an image."""
    beam = _beam(load_beams(place.url), channel)
    return save_picture(picture, plot_image, _plane(place, channel, beam, place.label))


def draw_map(picture: Picture, place: DrawnImage) -> Picture:
    """Draw a map whose values have no zero, such as velocities."""
    return save_picture(picture, plot_image, _plane(place, 0, None, place.label), symmetric=True)


def draw_channel_maps(picture: Picture, place: DrawnImage, rest_frequency_hz: float | None) -> Picture:
    """Draw channels of a cube, evenly chosen where there are many."""
    frequency_hz = load_frequencies(place.url)
    chosen = np.unique(np.linspace(0, len(frequency_hz) - 1, min(_MOST_MAPS, len(frequency_hz))).round().astype(int))
    planes = [
        _plane(place, int(channel), None, _name_channel(frequency_hz[channel], rest_frequency_hz), _MAP_PIXELS)
        for channel in chosen
    ]
    return save_picture(picture, plot_channel_maps, planes)


def draw_channels(picture: Picture, image_url: str, convergence_url: str) -> Picture:
    """Draw noise, maximum, beam and stop reason of each channel."""
    found = load_convergence(convergence_url)
    columns = dict(zip(STATISTICS, found.statistics.T, strict=True))
    beams = load_beams(image_url)
    blank = found.stop_reasons == StopReason.NO_DATA
    table = ChannelTable(
        frequency_hz=load_frequencies(image_url),
        noise_jy=np.where(blank, np.nan, columns["noise"]),
        maximum_jy=np.where(blank, np.nan, columns["max"]),
        beam_major_rad=beams[:, 0],
        beam_minor_rad=beams[:, 1],
        stop_reasons=[StopReason(int(one)).name.lower().replace("_", " ") for one in found.stop_reasons],
    )
    return save_picture(picture, plot_channels, table)


def draw_convergence(picture: Picture, convergence_url: str) -> Picture:
    """Draw the peak residual of each channel over the cycles."""
    return save_picture(picture, plot_convergence, load_convergence(convergence_url).peak_residual)


def _plane(
    place: DrawnImage,
    channel: int,
    beam: tuple[float, float, float] | None,
    label: str,
    most_pixels: int = _IMAGE_PIXELS,
) -> ImagePlane:
    """Read one plane, thinned out where it is large."""
    (image,) = load_planes(place.url, place.variable, slice(channel, channel + 1))
    unit = load_unit(place.url, place.variable)
    mask = load_planes(place.url, "MASK", slice(channel, channel + 1))[0] if place.with_mask else None
    plane = ImagePlane(image, place.cell_size_rad, place.center_rad, unit, beam, label, mask)
    return thin_plane(plane, most_pixels)


def save_picture(
    picture: Picture, plot: Callable[_Plotted, Figure], *arguments: _Plotted.args, **keywords: _Plotted.kwargs
) -> Picture:
    """Draw a picture in all themes and write it as PNG; ``plot`` is given what it draws, and returns a figure."""
    first: Figure | None = None
    for theme in THEMES:
        with themed(theme):
            figure = plot(*arguments, **keywords)
            if first is not None:
                copy_layout(first, figure)
            data = render(figure, "png", dpi=DPI)
        first = first or figure
        replace_file(in_theme(picture.url, theme), data)
        count_written(len(data))
    width, height = (round(DPI * inches) for inches in figure.get_size_inches().tolist())
    return picture._replace(width_px=width, height_px=height)


def in_theme(path: str, theme: Theme) -> str:
    """Return the path or URL of a picture in a theme: the light one is the picture itself, the others lie below it."""
    folder, _, name = path.rpartition("/")
    return path if theme == "light" else f"{folder}/{theme}/{name}"


def _beam(beams: NDArray[np.float64], channel: int) -> tuple[float, float, float] | None:
    """Return the beam of a channel; None without one."""
    major, minor, angle = beams[channel].tolist()
    return (major, minor, angle) if math.isfinite(major) and major > 0 else None


def _find(urls: Sequence[str]) -> str:
    """Return the last of some places where there is something; the last one where there is nothing."""
    return next((url for url in reversed(urls) if exists(url)), urls[-1])


def _minutes(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times from the first one on [min]."""
    return (time_s - float(time_s.min(initial=math.inf))) / 60


def _name_channel(frequency_hz: float, rest_frequency_hz: float | None) -> str:
    """Return the radio velocity of a channel, or its frequency."""
    if rest_frequency_hz is None or not rest_frequency_hz > 0:
        return f"{frequency_hz / 1e6:.3f} MHz"
    return f"{float(compute_velocity(frequency_hz, rest_frequency_hz)):.1f} km/s"
