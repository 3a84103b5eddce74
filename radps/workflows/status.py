"""The state of a run for programs: one JSON document with a published schema.

Steps, QA scores, flux densities, images with their statistics and files, line-free ranges, products. The tables of
``radps-run`` are made from it, too. A field is never renamed or removed without a new :data:`SCHEMA_VERSION`.
"""

from __future__ import annotations

import enum
import math
import time
from typing import Literal

from radps.context.html import html_heading, html_table
from radps.context.model import Context
from radps.context.records import (
    Beam,
    FrequencyRange,
    ImageRecord,
    OutcomeStatus,
    ProductRecord,
    QAScore,
    Record,
    ScoreScope,
    StepRecord,
    StepState,
)
from radps.data.urls import join_url
from radps.run_folder.store import RunStore

SCHEMA_VERSION = 1


class RunState(enum.StrEnum):
    """Where a run stands as a whole."""

    PENDING = "pending"
    """No step was started yet."""
    RUNNING = "running"
    """A driver is at work."""
    DONE = "done"
    """Every step is done, or was not needed."""
    FAILED = "failed"
    """A step failed."""
    STOPPED = "stopped"
    """Some steps are not done, and nobody works on them."""
    PAUSED = "paused"
    """It ended before a step, as the user wanted."""


class StepStatus(Record):
    """One step: its last attempt."""

    id: str
    stage: str
    state: StepState
    attempts: int
    """How often it was started."""
    start: str | None
    """When the last attempt started, ISO 8601, UTC."""
    seconds: float | None
    """Wall time of the last attempt; while it runs: so far."""
    tasks: int
    """Number of tasks of the graphs that it computes; while it runs: so far."""
    tasks_done: int
    """How many of them have a result."""
    retries: int
    """Tries of tasks that failed, and were repeated."""
    last_error: str
    """Of the last task that failed, repeated or not."""
    result: OutcomeStatus | None
    """How a step that is done ended."""
    message: str
    """What the stage says about its result, or why the step failed, was stopped or waits."""


class ScoreStatus(Record):
    """One QA score."""

    step: str
    name: str
    score: float
    """From 0 (unusable) to 1 (as good as it gets)."""
    value: float
    """The number behind the score."""
    unit: str
    good: float
    """At this value or beyond the score is 1."""
    bad: float
    """At this value or beyond the score is 0."""
    scope: ScoreScope = ScoreScope.RUN
    """What kind of thing it applies to."""
    applies_to: str
    """Name of the field, spectral window, antenna or image; for the whole run: words."""
    message: str


class FluxDensityStatus(Record):
    """The flux density of a field."""

    flux_jy: float
    error_jy: float
    frequency_hz: float
    origin: str
    """The flux density scale, ``flux transfer`` or ``config``."""


class BeamStatus(Record):
    """A restoring beam, full widths at half maximum."""

    major_arcsec: float
    minor_arcsec: float
    position_angle_deg: float
    """North through east."""


class ImageStatus(Record):
    """An image or cube."""

    name: str
    kind: Literal["cube", "continuum", "moment"]
    field: str
    max: float
    """Largest pixel; of moment images that of moment 0."""
    min: float
    """Smallest pixel."""
    rms: float
    """Root mean square of the pixels."""
    unit: str
    """Of these three: Jy/beam, or of moment images Jy/beam km/s."""
    beam: BeamStatus | None
    """Of a cube: of its channel in the middle."""
    file: str
    """Where it is: the FITS file if it was exported, else the zarr store."""
    channels: dict[str, int]
    """Stop reason -> number of channels that ended with it."""
    listed: tuple[str, ...]
    """Channels that need a look: diverged, without data."""


class LineFreeRange(Record):
    """A range of frequencies without line emission, both ends included."""

    start_hz: float
    stop_hz: float
    frame: str
    origin: str
    """``config``, or the stage that found it."""
    field: str
    """Field that it holds for; empty = all."""
    window: str
    """Spectral window that it holds for; empty = all."""


class ProductStatus(Record):
    """A file for the user."""

    file: str
    kind: str
    source: str
    """The image or table that it was made from."""
    size_bytes: int
    sha256: str


class Status(Record):
    """The state of a run."""

    schema_version: int = SCHEMA_VERSION
    run: str
    """Path or URL of the run folder."""
    run_id: str
    project: str
    state: RunState
    driver: str | None
    """Who drives the run now."""
    steps: tuple[StepStatus, ...]
    """In the order of the workflow."""
    qa: tuple[ScoreStatus, ...]
    flux_densities: dict[str, dict[str, FluxDensityStatus]]
    """By field, then by spectral window."""
    images: tuple[ImageStatus, ...]
    line_free: tuple[LineFreeRange, ...] | None
    """None before anything was found out about lines; empty if no range is free of lines."""
    products: tuple[ProductStatus, ...]

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        steps = (
            (one.id, one.state, "" if one.seconds is None else f"{one.seconds:.1f}", one.tasks or "", one.message)
            for one in self.steps
        )
        scores = ((one.name, f"{one.score:.2f}", one.step, one.applies_to, one.message) for one in self.qa)
        images = (
            (one.name, one.kind, f"{one.max:.4g}", f"{one.min:.4g}", f"{one.rms:.4g}", one.unit, one.file)
            for one in self.images
        )
        return "".join(
            (
                html_heading(f"Run {self.run_id} {self.project}".rstrip() + f": {self.state}, in {self.run}"),
                html_table("Steps", ("step", "state", "seconds", "tasks", "message"), steps),
                html_table("Quality", ("QA", "score", "step", "of", "message"), scores),
                html_table("Images", ("image", "kind", "max", "min", "rms", "unit", "file"), images),
                html_table("Products", ("kind", "file"), ((one.kind, one.file) for one in self.products)),
            )
        )


def load_status(url: str) -> Status:
    """Return the state of the run at a path or URL.

    Raises
    ------
    ContextError
        There is no run, or it is damaged.
    """
    store = RunStore(url)
    driver = store.driver()
    return make_status(store.load(), store.url, "" if driver is None else str(driver))


def make_status(context: Context, url: str, driver: str = "") -> Status:
    """Return the state of a run.

    Parameters
    ----------
    context : Context
        As it was committed last.
    url : str
        The run folder.
    driver : str
        Who drives the run now, empty if nobody does.
    """
    steps = tuple(_step(record, alive=bool(driver)) for record in context.steps.values())
    return Status(
        run=url,
        run_id=context.run_id,
        project=context.project,
        state=_run_state(steps, alive=bool(driver)),
        driver=driver or None,
        steps=steps,
        qa=tuple(_score(step, score) for step, scores in context.qa.items() for score in scores),
        flux_densities=_flux_densities(context),
        images=tuple(_image(image, context.products, url) for image in context.images),
        line_free=None if context.line_free is None else tuple(_line_free(one) for one in context.line_free),
        products=tuple(_product(product, url) for product in context.products),
    )


def _flux_densities(context: Context) -> dict[str, dict[str, FluxDensityStatus]]:
    """Return the flux densities by field and spectral window."""
    found: dict[str, dict[str, FluxDensityStatus]] = {}
    for one in context.flux_densities:
        found.setdefault(one.field, {})[one.window] = FluxDensityStatus(
            flux_jy=one.flux_jy, error_jy=one.error_jy, frequency_hz=one.frequency_hz, origin=one.origin
        )
    return found


def _step(record: StepRecord, *, alive: bool) -> StepStatus:
    """Return the state of a step; one that runs without a driver was interrupted."""
    state, message = record.state, record.error or ""
    if record.outcome is not None:
        message = record.outcome.message
    if state is StepState.RUNNING and not alive:
        state, message = StepState.STOPPED, "the process that ran it is gone"
    seconds = record.seconds
    if state is StepState.RUNNING:
        seconds = max(0.0, time.time() - record.start_s)
    return StepStatus(
        id=record.id,
        stage=record.stage,
        state=state,
        attempts=record.attempt,
        start=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.start_s)) if record.attempt else None,
        seconds=None if seconds is None else round(seconds, 3),
        tasks=record.tasks,
        tasks_done=record.tasks_done,
        retries=record.retries,
        last_error=record.last_error,
        result=None if record.outcome is None else record.outcome.status,
        message=message,
    )


def _run_state(steps: tuple[StepStatus, ...], *, alive: bool) -> RunState:
    states = {step.state for step in steps}
    if alive:
        return RunState.RUNNING
    if states <= {StepState.DONE, StepState.SKIPPED}:
        return RunState.DONE
    if StepState.FAILED in states:
        return RunState.FAILED
    if StepState.PAUSED in states:
        return RunState.PAUSED
    return RunState.PENDING if states == {StepState.PENDING} else RunState.STOPPED


def _score(step: str, score: QAScore) -> ScoreStatus:
    return ScoreStatus(step=step, **score.model_dump())


def _image(image: ImageRecord, products: tuple[ProductRecord, ...], url: str) -> ImageStatus:
    exported = [
        product.path
        for product in products
        if product.kind == "fits" and (product.source, product.variable) == (image.name, image.variable)
    ]
    return ImageStatus(
        name=image.name,
        kind=image.kind,
        field=image.field,
        **image.statistics.model_dump(),
        unit="Jy/beam km/s" if image.kind == "moment" else "Jy/beam",
        beam=None if image.beam is None else _beam(image.beam),
        file=join_url(url, exported[0] if exported else image.path),
        channels=image.channels,
        listed=image.listed,
    )


def _beam(beam: Beam) -> BeamStatus:
    return BeamStatus(
        major_arcsec=math.degrees(beam.major_rad) * 3600,
        minor_arcsec=math.degrees(beam.minor_rad) * 3600,
        position_angle_deg=math.degrees(beam.position_angle_rad),
    )


def _line_free(one: FrequencyRange) -> LineFreeRange:
    return LineFreeRange(**one.model_dump())


def _product(product: ProductRecord, url: str) -> ProductStatus:
    return ProductStatus(
        file=join_url(url, product.path),
        kind=product.kind,
        source=product.source,
        size_bytes=product.size_bytes,
        sha256=product.sha256,
    )
