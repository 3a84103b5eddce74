"""Tables of what a context holds, as Jupyter shows them; contexts, outcomes and records put them together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

from radps.context.calibration_state import CalibrationTable, FluxDensityRecord
from radps.context.html import html_table
from radps.context.imaging_state import ImageRecord, PlannedImage
from radps.context.observation import Observation
from radps.context.scores import QAScore


def observation_tables(observation: Observation) -> str:
    """Return data sets, fields and spectral windows."""
    project = observation.project
    datasets = (
        (one.name, one.telescope, one.project, one.observer, _date(one.start_s), _date(one.stop_s))
        for one in project.datasets
    )
    fields = ((one.name, one.source, ", ".join(one.intents)) for one in observation.fields)
    virtual = {one.number: one.name for one in observation.virtual_windows}
    windows = (
        (one.name, virtual[one.virtual], one.n_channels, *(f"{f / 1e6:.6g}" for f in one.frequency_hz), one.frame)
        for one in observation.windows
    )
    name = observation.telescope if observation.extension is None else observation.extension.describe()
    summary = f"{name}; {len(observation.antennas)} antennas, {len(observation.scans)} scans"
    header = ("data set", "telescope", "project", "observer", "start (UTC)", "stop (UTC)")
    return "".join(
        (
            html_table(f"{project.title}: data sets".removeprefix(": "), header, datasets),
            html_table(f"{summary}; fields", ("field", "source", "intents"), fields),
            html_table(
                "Spectral windows", ("window", "virtual", "channels", "first [MHz]", "last [MHz]", "frame"), windows
            ),
        )
    )


def flux_density_table(fluxes: Iterable[FluxDensityRecord]) -> str:
    """Return flux densities of calibrators."""
    rows = ((one.field, one.window, f"{one.flux_jy:.5g}", f"{one.error_jy:.2g}", one.origin) for one in fluxes)
    return html_table("Flux densities", ("field", "window", "Jy", "+-", "from"), rows)


def calibration_table(tables: Iterable[CalibrationTable]) -> str:
    """Return calibration tables, and what they correct."""
    rows = (
        (
            one.name,
            one.kind,
            one.window,
            "; ".join(f"{use} from {', '.join(use.from_fields)}" for use in one.applies_to),
            one.state,
        )
        for one in tables
    )
    return html_table("Calibration tables", ("name", "kind", "window", "corrects", "state"), rows)


def planned_image_table(planned: Iterable[PlannedImage]) -> str:
    """Return the list of images to make."""
    rows = (
        (
            one.name,
            one.mode,
            f"{one.image_size} x {math.degrees(one.cell_size_rad) * 3600:.3g} arcsec",
            f"{math.degrees(one.beam_rad) * 3600:.3g} arcsec",
            "" if one.noise_jy is None else f"{one.noise_jy * 1e3:.3g} mJy",
            "; ".join(f"{cut.quantity} {cut.wanted:.3g} -> {cut.used:.3g}" for cut in one.reductions),
            one.state,
        )
        for one in planned
    )
    header = ("name", "mode", "pixels", "expected beam", "expected noise", "reduced", "state")
    return html_table("Images to make", header, rows)


def image_table(images: Iterable[ImageRecord]) -> str:
    """Return images and cubes."""
    rows = ((one.name, one.kind, one.field, f"{one.statistics.max:.4g}", one.path) for one in images)
    return html_table("Images", ("name", "kind", "field", "max", "path"), rows)


def score_table(scores: Sequence[QAScore]) -> str:
    """Return scores, the worst one first."""
    rows = (
        (f"{one.score:.2f}", one.applies_to, one.message, f"{one.good:g}", f"{one.bad:g}")
        for one in sorted(scores, key=lambda one: one.score)
    )
    return html_table("Quality", ("score", "of", "message", "good", "bad"), rows)


def _date(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(unix_s))
