"""What Jupyter shows of a context, the record of a step, and an outcome."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from radps.context.html import html_heading, html_table
from radps.context.observation import Observation

if TYPE_CHECKING:
    from radps.context.model import Context
    from radps.context.records import Outcome, StepRecord


def context_html(context: Context) -> str:
    """Return the tables of a context."""
    parts = [html_heading(f"Context of run {context.run_id} {context.project}".rstrip())]
    if context.observation is not None:
        parts += _observation_tables(context.observation)
    fluxes = (
        (one.field, one.window, f"{one.flux_jy:.5g}", f"{one.error_jy:.2g}", one.origin)
        for one in context.flux_densities
    )
    images = ((one.name, one.kind, one.field, f"{one.statistics.max:.4g}", one.path) for one in context.images)
    parts += [
        html_table("Flux densities", ("field", "window", "Jy", "+-", "from"), fluxes),
        _calibration_table(context),
        _planned_table(context),
        html_table("Images", ("name", "kind", "field", "max", "path"), images),
        html_table("Steps", ("step", "state"), ((one.id, one.state) for one in context.steps.values())),
    ]
    return "".join(parts)


def outcome_html(outcome: Outcome) -> str:
    """Return the message of an outcome, its scores, and what it adds to the context."""
    scores = (
        (f"{one.score:.2f}", one.applies_to, one.message, f"{one.good:g}", f"{one.bad:g}")
        for one in sorted(outcome.qa, key=lambda one: one.score)
    )
    return "".join(
        [
            html_heading(f"Outcome: {outcome.status}" + (f": {outcome.message}" if outcome.message else "")),
            html_table("Quality", ("score", "of", "message", "good", "bad"), scores),
            html_table("Outputs", ("what", "name", "where"), list_outputs(outcome)),
            html_table("Numbers", ("name", "value"), outcome.summary.items()),
        ]
    )


def list_outputs(outcome: Outcome) -> list[tuple[str, str, str]]:
    """Return what an outcome adds to the run: what it is, its name, its path in the run folder."""
    return [
        *(("data", f"{partition}: {', '.join(groups)}", "") for partition, groups in outcome.groups.items()),
        *((f"{one.kind} table", one.name, one.path) for one in outcome.tables),
        *((one.kind, one.name, one.path) for one in outcome.images),
        *((str(one.kind), one.path.rpartition("/")[2], one.path) for one in outcome.products),
    ]


def step_html(record: StepRecord) -> str:
    """Return how a step went, its parameters, and its outcome."""
    seconds = "" if record.seconds is None else f" in {record.seconds:.1f} s"
    facts = [
        ("state", f"{record.state}{seconds}"),
        ("stage", record.stage),
        ("attempt", record.attempt),
        ("after", ", ".join(record.after)),
        ("tasks", f"{record.tasks_done} of {record.tasks}"),
        ("repeated tasks", record.retries),
        ("error", record.error or ""),
    ]
    parts = [
        html_heading(f"Step {record.id}"),
        html_table("", ("", ""), facts),
        html_table("Parameters", ("name", "value"), record.params.items()),
    ]
    return "".join(parts) + ("" if record.outcome is None else outcome_html(record.outcome))


def _observation_tables(observation: Observation) -> list[str]:
    """Return project, fields and spectral windows as HTML."""
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
    return [
        html_table(f"{project.title}: data sets".removeprefix(": "), header, datasets),
        html_table(f"{summary}; fields", ("field", "source", "intents"), fields),
        html_table(
            "Spectral windows", ("window", "virtual", "channels", "first [MHz]", "last [MHz]", "frame"), windows
        ),
    ]


def _calibration_table(context: Context) -> str:
    rows = (
        (
            one.name,
            one.kind,
            one.window,
            "; ".join(f"{use} from {', '.join(use.from_fields)}" for use in one.applies_to),
            one.state,
        )
        for one in context.calibration.tables
    )
    return html_table("Calibration tables", ("name", "kind", "window", "corrects", "state"), rows)


def _planned_table(context: Context) -> str:
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
        for one in context.imaging.planned
    )
    header = ("name", "mode", "pixels", "expected beam", "expected noise", "reduced", "state")
    return html_table("Images to make", header, rows)


def _date(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(unix_s))
