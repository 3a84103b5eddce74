"""Which pictures a run has: each is a drawing task with small arguments, on the page of the step that it is about."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from radps.context.model import Context
from radps.context.records import CalibrationTable, ImageRecord, Observation, Partition, StepRecord
from radps.node_tasks import plotting
from radps.node_tasks.plotting import DrawnImage, FieldTrack, Picture
from radps.report.gantt import draw_run

ANTENNAS_A_PICTURE = 28

_MAP_LABELS = {
    "SKY_MOMENT_1": "mean velocity",
    "SKY_MOMENT_2": "velocity dispersion",
    "SKY_SPECTRAL_INDEX": "spectral index",
    "SKY_SPECTRAL_INDEX_ERROR": "error of the spectral index",
    "SKY_SPECTRAL_INDEX_PRIMARY_BEAM_CORRECTED": "spectral index, corrected for the primary beam",
}
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]+")


class Drawing(NamedTuple):
    """A picture, and the task that draws it."""

    picture: Picture
    draw: Callable[..., Picture]
    arguments: tuple[Any, ...]


class Album:
    """Makes the pictures of a run, each with a file name of its own."""

    def __init__(self, context: Context, folder: str) -> None:
        self.context = context
        self._folder = folder
        self._names: set[str] = set()

    def draw(
        self, step: str, title: str, caption: str, function: Callable[..., Picture], *arguments: Any
    ) -> Iterator[Drawing]:
        """Give a picture a file and yield it."""
        stem = _UNSAFE.sub("-", f"{step}-{title}".lower()).strip("-")[:80]
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem}-{number}"
        self._names.add(name)
        path = f"{self._folder}/pictures/{name}.png"
        yield Drawing(Picture(step, title, caption, path, self.context.locate(path)), function, arguments)


def plan_pictures(context: Context, folder: str) -> list[Drawing]:
    """Return the pictures of a run, except those of visibilities, which are counted first.

    Parameters
    ----------
    context : Context
        What is known.
    folder : str
        Where the pictures go, relative to the run folder.
    """
    album = Album(context, folder)
    found: list[Drawing] = []
    observation = context.observation
    if observation is not None:
        found += _of_observation(album, observation)
    for record in context.steps.values():
        found += _of_flags(album, record)
        found += _of_baselines(album, record)
        found += _of_spectra(album, record)
    for search in context.line_searches:
        if search.spectrum is not None:
            found += album.draw(
                find_maker(context, search.spectrum),
                f"Line-free channels of {search.field} in {search.window}",
                f"{search.n_line_free} of {search.n_channels} channels are line-free: shaded.",
                plotting.draw_line_search,
                context.locate(search.spectrum),
            )
    for table in context.calibration.tables:
        found += _of_table(album, table)
    for image in context.images:
        found += _of_image(album, image)
    caption = "Each step as a band, and below it what each worker did; repeated and failed tasks are marked."
    found += album.draw("", "Steps and tasks", caption, draw_run, context.place().url)
    return found


def find_maker(context: Context, path: str) -> str:
    """Return the step that made what lies at a path of the run folder; empty if none did."""
    folders = {folder.partition(".")[0] for folder in path.split("/")[:2]}
    for record in context.steps.values():
        if any(f"{record.id}-{attempt}" in folders for attempt in record.attempts_used()):
            return record.id
    return ""


def _of_observation(album: Album, observation: Observation) -> Iterator[Drawing]:
    """Yield antennas, elevations, and the uv coverage of the targets."""
    maker = _importer(album.context)
    positions = tuple(antenna.position_m for antenna in observation.antennas)
    names = tuple(antenna.name for antenna in observation.antennas)
    yield from album.draw(
        maker, "Antennas", "Positions from the centre of the array.", plotting.draw_antennas, names, positions
    )
    tracks = tuple(
        FieldTrack(
            field.name,
            field.direction.ra_rad,
            field.direction.dec_rad,
            tuple((scan.start_s, scan.stop_s) for scan in observation.scans if scan.field == field.name),
        )
        for field in observation.fields
    )
    tracks = tuple(track for track in tracks if track.spans_s)
    caption = "Low elevations mean more atmosphere and antennas that shadow each other."
    yield from album.draw(maker, "Elevation", caption, plotting.draw_elevations, positions, tracks)
    for partition in _targets(album.context):
        window = album.context.window(partition.window)
        caption = f"Baselines of {partition.field} at {window.middle_hz / 1e9:.4g} GHz, and their mirror images."
        yield from album.draw(
            maker,
            f"uv coverage of {partition.field} in {partition.window}",
            caption,
            plotting.draw_uv_coverage,
            album.context.address(partition, "base"),
            window.middle_hz,
        )


def _of_flags(album: Album, record: StepRecord) -> Iterator[Drawing]:
    """Yield flagged fractions of the antennas and fields, of steps that counted them."""
    summary = record.outcome.summary if record.outcome is not None else {}
    for what, key in (("antenna", "antennas"), ("field", "fields")):
        counts = summary.get(key)
        if not isinstance(counts, dict) or not counts or not all(_is_count(one) for one in counts.values()):
            continue
        before, after = (
            tuple(one[name] / one["data"] if one["data"] else 1.0 for one in counts.values())
            for name in ("before", "after")
        )
        caption = "Part of the data that is flagged before and after this step."
        yield from album.draw(record.id, f"Flags by {what}", caption, plotting.draw_flags, tuple(counts), before, after)


def _of_baselines(album: Album, record: StepRecord) -> Iterator[Drawing]:
    """Yield what is left of errors in calibrated data, of a step `assess`."""
    context = album.context
    if record.stage != "assess" or record.outcome is None or context.observation is None:
        return
    measured = record.outcome.summary.get("visibilities", {})
    for partition in context.observation.partitions:
        if partition.name not in measured:
            continue
        urls = _places(context, record, f"{partition.name}/visibilities")
        caption = (
            "Of each baseline: rms of the calibrated phase about the model, and errors that gains of antennas cannot "
            "explain. One baseline far from the others has a fault of its own."
        )
        yield from album.draw(
            record.id,
            f"Errors of baselines: {partition.field} in {partition.window}",
            caption,
            plotting.draw_baselines,
            urls,
        )


def _of_spectra(album: Album, record: StepRecord) -> Iterator[Drawing]:
    """Yield the spectra of a step `spectra` or `moments`."""
    if record.outcome is None or record.stage not in ("spectra", "moments"):
        return
    moments = (one.name.removesuffix(f"_{record.id}") for one in record.outcome.images)
    for cube in moments if record.stage == "moments" else record.outcome.summary:
        caption = "Of the pixels in the mask of the moments." if record.stage == "moments" else "Of the chosen region."
        urls = _places(album.context, record, f"{cube}/spectrum")
        yield from album.draw(record.id, f"Spectrum of {cube}", caption, plotting.draw_spectrum, urls)


def _of_table(album: Album, table: CalibrationTable) -> Iterator[Drawing]:
    """Yield amplitudes and phases of solutions, or delays; some antennas a picture."""
    observation = album.context.observation
    if observation is None:
        return
    n_antennas = len(observation.antennas)
    maker, url = find_maker(album.context, table.path), album.context.locate(table.path)
    caption = "Solutions that are flagged are not shown."
    for first in range(0, n_antennas, ANTENNAS_A_PICTURE):
        antennas = (first, min(first + ANTENNAS_A_PICTURE, n_antennas))
        part = "" if n_antennas <= ANTENNAS_A_PICTURE else f", antennas {first + 1} to {antennas[1]}"
        title = table.name.replace("_", " ").capitalize()
        if table.kind == "delay":
            yield from album.draw(maker, title + part, caption, plotting.draw_delay_solutions, url, antennas)
            continue
        along = "frequency" if table.kind == "bandpass" else "time"
        for quantity in ("phase",) if table.kind == "phase" else ("amplitude", "phase"):
            name = f"{title}: {quantity}{part}"
            yield from album.draw(maker, name, caption, plotting.draw_solutions, url, along, quantity, antennas)


def _of_image(album: Album, image: ImageRecord) -> Iterator[Drawing]:
    """Yield the image itself, its channels, and how CLEAN went."""
    context = album.context
    place = DrawnImage(
        context.locate(image.path), image.variable, image.cell_size_rad, _centre(context, image.field), image.name
    )
    masked = place._replace(with_mask="MASK" in image.companions)
    outline = (
        f" Lines surround the mask of CLEAN, {100 * image.mask_share:.3g} % of the pixels." if masked.with_mask else ""
    )
    if image.kind == "cube":
        rest_hz = context.window(image.window).rest_frequency_hz
        caption = f"Channels on one scale of colours, evenly chosen where there are many.{outline}"
        yield from album.draw(
            image.step, f"Channels of {image.name}", caption, plotting.draw_channel_maps, masked, rest_hz
        )
    else:
        caption = _describe(image)
        yield from album.draw(image.step, image.name, caption, plotting.draw_image, place, 0)
        for name, label in _MAP_LABELS.items():
            if name in image.companions:
                title = f"{image.name}, {label}"
                own = place._replace(variable=name, label=title)
                yield from album.draw(image.step, title, "Where it is bright enough.", plotting.draw_map, own)
    if "SKY_RESIDUAL" in image.companions and image.kind == "continuum":
        own = masked._replace(variable="SKY_RESIDUAL", label=f"{image.name}, residual")
        caption = f"What CLEAN left: noise alone, if all went well.{outline}"
        yield from album.draw(image.step, f"Residual of {image.name}", caption, plotting.draw_image, own, 0)
    if image.convergence is not None:
        table = context.locate(image.convergence)
        if image.kind == "cube":
            caption = "Of each channel; a jump means flags, interference, or a solver that stopped early."
            yield from album.draw(
                image.step, f"Channel by channel: {image.name}", caption, plotting.draw_channels, place.url, table
            )
        caption = "Largest residual after each cycle; a line that rises diverged."
        yield from album.draw(image.step, f"Convergence of {image.name}", caption, plotting.draw_convergence, table)


def _targets(context: Context) -> Sequence[Partition]:
    """Return the data of the targets; of all fields where none is named as one."""
    partitions = context.visibilities("all")
    return [one for one in partitions if any(i.startswith("OBSERVE_TARGET") for i in one.intents)] or partitions


def _importer(context: Context) -> str:
    """Return the step that made the observation known."""
    makers = (
        record.id
        for record in context.steps.values()
        if record.outcome is not None and record.outcome.observation is not None
    )
    return next(makers, "")


def _places(context: Context, record: StepRecord, name: str) -> tuple[str, ...]:
    """Return where arrays of a step may be: in the folder of one of the attempts that count."""
    folders = (f"context.zarr/{record.id}-{attempt}" for attempt in record.attempts_used())
    return tuple(context.locate(f"{folder}/{name}") for folder in folders)


def _centre(context: Context, field: str) -> tuple[float, float]:
    """Return the direction of a field [rad]."""
    found = [one.direction for one in context.require_observation().fields if one.name == field]
    return (found[0].ra_rad, found[0].dec_rad) if found else (0.0, 0.0)


def _describe(image: ImageRecord) -> str:
    """Return the numbers of an image in words."""
    text = f"Maximum {image.statistics.max * 1e3:.4g} mJy/beam" if image.kind != "moment" else "Integrated brightness"
    if image.noise_jy > 0:
        text += f", noise {image.noise_jy * 1e3:.3g} mJy/beam"
    if image.beam is not None:
        axes = (math.degrees(one) * 3600 for one in (image.beam.major_rad, image.beam.minor_rad))
        text += ", beam {:.4g} x {:.4g} arcsec".format(*axes)
    return text + "."


def _is_count(one: Any) -> bool:
    """Return True for numbers of data and of their flags before and after."""
    return isinstance(one, dict) and {"data", "before", "after"} <= set(one)
