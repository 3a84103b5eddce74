"""The pages of a report: a front page, and one for each step, from the context and the pictures that were drawn."""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from radps.context.model import Context
from radps.context.records import (
    ImageRecord,
    Outcome,
    OutcomeStatus,
    ProductKind,
    ProductRecord,
    QAScore,
    StepRecord,
    StepState,
)
from radps.context.scores import BAD_SCORE, GOOD_SCORE
from radps.data.urls import format_bytes
from radps.node_tasks.plotting import DPI, Picture, in_theme
from radps.report.measures import explain_scores
from radps.report.parameters import Meanings, parameter_rows, shorten

if TYPE_CHECKING:
    from jinja2 import Environment

INDEX = "index.html"

_LEVELS = {
    StepState.DONE: "good",
    StepState.FAILED: "bad",
    StepState.BLOCKED: "bad",
    StepState.STOPPED: "fair",
    StepState.PAUSED: "fair",
}
_FRONT_KINDS = ("continuum", "moment")
_WIDE_PX = 8.5 * DPI
"""A picture this wide has many small panels, and gets the whole width of a page."""


class Page(NamedTuple):
    """A file of the report."""

    name: str
    content: str


def make_pages(context: Context, pictures: Sequence[Picture], folder: str, meanings: Meanings) -> list[Page]:
    """Return the pages of a report; all text is escaped.

    Parameters
    ----------
    context : Context
        The run as it stands.
    pictures : sequence of Picture
        Those that were drawn.
    folder : str
        Where the report is, relative to the run folder: links to products start there.
    meanings : mapping
        What the parameters of the stages mean; of stages that are not there any more nothing is said.
    """
    return [_front_page(context, pictures, folder)] + [
        _step_page(context, record, pictures, folder, meanings) for record in context.steps.values()
    ]


def page_of(step: str) -> str:
    """Return the name of the page of a step."""
    return f"step-{step}.html"


def _front_page(context: Context, pictures: Sequence[Picture], folder: str) -> Page:
    """Return the front page."""
    front = [one for one in pictures if _is_main(context, one)] + [one for one in pictures if not one.step]
    scores = [score for found in context.qa.values() for score in found if score.score < GOOD_SCORE]
    low = sorted(scores, key=lambda score: score.score)
    content = (
        _templates()
        .get_template(INDEX)
        .render(
            **_frame(context, _title(context), INDEX),
            facts=_facts(context),
            pictures=[_show(one, folder) for one in front],
            steps=[_step_row(context, record) for record in context.steps.values()],
            low_scores=[_show_score(score) for score in low],
            fluxes=[
                {
                    "field": one.field,
                    "frequency": f"{one.frequency_hz / 1e9:.5g} GHz",
                    "flux": f"{one.flux_jy:.5g}" + (f" +- {one.error_jy:.2g} Jy" if one.error_jy > 0 else " Jy"),
                    "origin": one.origin,
                }
                for one in context.flux_densities
            ],
            images=[_image_row(image) for image in context.images],
            products=[_show_product(one, folder) for one in context.products],
        )
    )
    return Page(INDEX, content)


def _step_page(
    context: Context, record: StepRecord, pictures: Sequence[Picture], folder: str, meanings: Meanings
) -> Page:
    """Return the page of a step."""
    outcome = record.outcome or Outcome()
    name = page_of(record.id)
    content = (
        _templates()
        .get_template("step.html")
        .render(
            **_frame(context, record.id, name),
            step={
                "stage": record.stage,
                "attempt": record.attempt,
                "state": str(record.state),
                "level": _level(record),
                "message": _describe(outcome),
                "error": record.error or "",
            },
            facts=_step_facts(record),
            inputs=[_show_input(context, step) for step in record.after],
            measures=explain_scores(outcome.qa),
            scores=[_show_score(score) for score in outcome.qa],
            pictures=[
                *(_show(one, folder) for one in pictures if one.step == record.id),
                *(_show_own_picture(one, folder) for one in outcome.products if one.kind is ProductKind.PICTURE),
            ],
            outputs=outcome.list_outputs(),
            parameters=parameter_rows(record.params, meanings.get(record.stage, ())),
            summary=json.dumps(outcome.summary, indent=1, ensure_ascii=False) if outcome.summary else "",
            traceback=record.traceback or "",
            provenance=json.dumps(
                {
                    "fingerprint": record.fingerprint,
                    "versions": record.versions,
                    "provenance": None if record.provenance is None else record.provenance.model_dump(mode="json"),
                },
                indent=1,
            ),
        )
    )
    return Page(name, content)


@cache
def _templates() -> Environment:
    """Return the templates; whatever they show is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("radps.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _frame(context: Context, title: str, here: str) -> dict[str, Any]:
    """Return what every page shows around its content."""
    versions = next((record.versions for record in reversed(context.steps.values()) if record.versions), {})
    links = [{"href": INDEX, "text": "Overview"}]
    links += [{"href": page_of(step), "text": step} for step in context.steps]
    return {
        "title": title,
        "here": here,
        "links": links,
        "run_id": context.run_id,
        "version": versions.get("radps", ""),
    }


def _title(context: Context) -> str:
    """Return the project, else the targets, else the run."""
    targets = [] if context.observation is None else _target_names(context)
    return context.project or ", ".join(targets) or f"Run {context.run_id}"


def _target_names(context: Context) -> list[str]:
    fields = context.require_observation().fields
    return [field.name for field in fields if any(intent.startswith("OBSERVE_TARGET") for intent in field.intents)]


def _facts(context: Context) -> list[tuple[str, str]]:
    """Return what was observed, with what, when."""
    states = [record.state for record in context.steps.values()]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    facts = [("Steps", counted or "none")]
    observation = context.observation
    if observation is None:
        return facts
    start_s, stop_s = observation.project.time_range_s
    windows = ", ".join(
        f"{one.name} ({one.n_channels} channels at {one.middle_hz / 1e9:.5g} GHz)" for one in observation.windows
    )
    return [
        *facts,
        ("Targets", ", ".join(_target_names(context)) or "none named"),
        ("Telescope", f"{observation.telescope}, {len(observation.antennas)} antennas"),
        ("Observed", f"{_date(start_s)} to {_date(stop_s)}"),
        ("Spectral windows", windows),
        ("Longest baseline", f"{observation.longest_baseline_m / 1e3:.4g} km"),
        ("Data sets", ", ".join(observation.datasets)),
    ]


def _step_facts(record: StepRecord) -> list[tuple[str, str]]:
    """Return when a step ran, and what it took."""
    facts = [("Started", _date(record.start_s))]
    if record.seconds is not None:
        facts.append(("Took", _seconds(record.seconds)))
    facts.append(("Tasks", f"{record.tasks_done} of {record.tasks} have a result"))
    if record.retries:
        facts.append(("Repeated tasks", f"{record.retries}; last error: {record.last_error or 'not known'}"))
    if record.resumed:
        facts.append(("Interrupted", f"{record.resumed} times, and went on"))
    if record.resources is not None:
        facts.append(
            (
                "Planned for",
                f"{record.resources.slots} tasks at a time, {format_bytes(record.resources.memory_bytes)} each",
            )
        )
    return facts


def _step_row(context: Context, record: StepRecord) -> dict[str, str]:
    """Return the line of a step in the table of the front page."""
    scores = [score.score for score in context.qa.get(record.id, ())]
    lowest = min(scores, default=math.nan)
    outcome = record.outcome
    return {
        "id": record.id,
        "href": page_of(record.id),
        "state": str(record.state),
        "level": _level(record),
        "quality": f"{lowest:.2f}\N{NO-BREAK SPACE}{_word(lowest)}" if scores else "",
        "quality_level": _score_level(lowest) if scores else "",
        "time": "" if record.seconds is None else _seconds(record.seconds),
        "tasks": str(record.tasks) if record.tasks else "",
        "message": shorten(record.error or (_describe(outcome) if outcome is not None else "")),
    }


def _image_row(image: ImageRecord) -> dict[str, str]:
    """Return the line of an image."""
    n_channels, n_l, n_m = image.shape
    beam = ""
    if image.beam is not None:
        major, minor = (math.degrees(one) * 3600 for one in (image.beam.major_rad, image.beam.minor_rad))
        beam = f"{major:.4g} x {minor:.4g} arcsec, {math.degrees(image.beam.position_angle_rad):.0f} deg"
    is_map = image.kind == "moment"
    return {
        "name": image.name,
        "kind": image.kind,
        "size": f"{n_l} x {n_m}" + (f", {n_channels} channels" if n_channels > 1 else ""),
        "maximum": "" if is_map else f"{image.statistics.max * 1e3:.4g} mJy/beam",
        "noise": f"{image.noise_jy * 1e3:.3g} mJy/beam" if image.noise_jy > 0 and not is_map else "",
        "beam": beam,
    }


def _is_main(context: Context, picture: Picture) -> bool:
    """Return True for the picture of a main image itself."""
    return any(image.kind in _FRONT_KINDS and picture.title == image.name for image in context.images)


def _show(picture: Picture, folder: str) -> dict[str, Any]:
    """Return a picture for a template."""
    href = posixpath.relpath(picture.path, folder)
    return {
        "title": picture.title,
        "caption": picture.problem or picture.caption,
        "href": "" if picture.problem else href,
        "dark_href": in_theme(href, "dark"),
        "anchor": picture.path.rpartition("/")[2].removesuffix(".png"),
        "width": picture.width_px,
        "height": picture.height_px,
        "is_wide": picture.width_px >= _WIDE_PX,
    }


def _show_own_picture(product: ProductRecord, folder: str) -> dict[str, Any]:
    """Return a picture that the step itself made for a template: there is one for both themes, of unknown size."""
    href = posixpath.relpath(product.path, folder)
    name = href.rpartition("/")[2]
    fixed = {"dark_href": "", "width": 0, "height": 0, "is_wide": False}
    return {"title": name, "caption": product.source, "href": href, "anchor": name, **fixed}


def _show_product(product: ProductRecord, folder: str) -> dict[str, str]:
    """Return a product for a template; reports have the same name all, and are known by their folder."""
    path = product.path.split("/")
    return {
        "href": posixpath.relpath(product.path, folder),
        "name": "/".join(path[-2:]) if product.kind == "report" else path[-1],
        "size": format_bytes(product.size_bytes),
    }


def _show_input(context: Context, step: str) -> dict[str, str]:
    """Return a step that another one needs, and what came from there."""
    record = context.steps.get(step)
    outputs = record.outcome.list_outputs() if record is not None and record.outcome is not None else []
    kinds = {kind: sum(row[0] == kind for row in outputs) for kind, _, _ in outputs}
    made = ", ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in kinds.items())
    return {"href": page_of(step) if record is not None else "", "step": step, "made": made}


def _describe(outcome: Outcome) -> str:
    """Return the message of an outcome; of one without any what is said of its images."""
    return outcome.message or "; ".join(image.describe() for image in outcome.images)


def _show_score(score: QAScore) -> dict[str, Any]:
    """Return a score for a template."""
    unit = f" {score.unit}".rstrip()
    return {
        "score": score.score,
        "word": _word(score.score),
        "level": _score_level(score.score),
        "applies_to": score.applies_to,
        "message": score.message,
        "good": f"{score.good:g}{unit}",
        "bad": f"{score.bad:g}{unit}",
    }


def _level(record: StepRecord) -> str:
    """Return how the state of a step is shown."""
    if record.outcome is not None and record.outcome.status is OutcomeStatus.CAVEATS:
        return "fair"
    return _LEVELS.get(record.state, "")


def _score_level(score: float) -> str:
    return "good" if score >= GOOD_SCORE else "fair" if score >= BAD_SCORE else "bad"


def _word(score: float) -> str:
    """Return a score in a word, for those who do not see colours."""
    return {"good": "good", "fair": "look", "bad": "bad"}[_score_level(score)]


def _date(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _seconds(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.1f} s" if minutes < 2 else f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
