"""What a step leaves behind: its outcome, and the record of how it went.

All models of the context can be imported from here; those of a subject stand in a file of their own.
"""

from __future__ import annotations

import enum
from typing import Any

from pydantic import Field

from radps.context.base import Record
from radps.context.calibration_state import (
    Applicability,
    CalibrationState,
    CalibrationTable,
    FluxDensityRecord,
    SkyComponent,
    SkyImage,
    SkyModel,
)
from radps.context.html import html_heading, html_table
from radps.context.imaging_state import (
    Beam,
    FrequencyRange,
    ImagedData,
    ImageRecord,
    ImagingState,
    LineSearch,
    PlannedImage,
    SizeReduction,
    StatisticsRecord,
)
from radps.context.observation import (
    Antenna,
    DataGroup,
    DataSetMetadata,
    Direction,
    Observation,
    ObservedField,
    Partition,
    ProjectMetadata,
    Scan,
    SpectralWindow,
    VirtualWindow,
)
from radps.context.products import ProductKind, ProductRecord
from radps.context.provenance import Provenance
from radps.context.scores import QAScore, ScoreScope
from radps.context.telescopes import AlmaExtension, MeerkatExtension, VlaExtension
from radps.context.views import score_table
from radps.data.output_stamps import OutputStamp

__all__ = [
    "AlmaExtension",
    "Antenna",
    "Applicability",
    "Beam",
    "CalibrationState",
    "CalibrationTable",
    "DataGroup",
    "DataSetMetadata",
    "Direction",
    "FluxDensityRecord",
    "FrequencyRange",
    "ImageRecord",
    "ImagedData",
    "ImagingState",
    "LineSearch",
    "MeerkatExtension",
    "Observation",
    "ObservedField",
    "Outcome",
    "OutcomeStatus",
    "Partition",
    "PlannedImage",
    "ProductKind",
    "ProductRecord",
    "ProjectMetadata",
    "QAScore",
    "Record",
    "Resources",
    "Scan",
    "ScoreScope",
    "SizeReduction",
    "SkyComponent",
    "SkyImage",
    "SkyModel",
    "SpectralWindow",
    "StatisticsRecord",
    "StepRecord",
    "StepState",
    "VirtualWindow",
    "VlaExtension",
]


class OutcomeStatus(enum.StrEnum):
    """How a stage that raised nothing ended."""

    SUCCESS = "success"
    """Everything that was asked for."""
    CAVEATS = "caveats"
    """Done, but a part failed or did not converge: the message and the QA say which."""
    NOTHING = "nothing"
    """There was nothing to do, which is a result, not an error."""


class Outcome(Record):
    """What a stage adds to the context. A stage computes to one of these."""

    status: OutcomeStatus = OutcomeStatus.SUCCESS
    message: str = ""
    observation: Observation | None = None
    groups: dict[str, dict[str, DataGroup]] = Field(default_factory=dict)
    """Partition -> data group -> arrays: new versions of the data."""
    dataset_paths: tuple[str, ...] = ()
    """Data sets that a stage made, for the import."""
    sky_models: tuple[SkyModel, ...] = ()
    tables: tuple[CalibrationTable, ...] = ()
    """Calibration tables to register; all of them, or none if one cannot be."""
    removed_tables: tuple[str, ...] = ()
    """Names of calibration tables that are taken out, before the new ones come in."""
    applied: tuple[str, ...] = ()
    """Names of calibration tables that are applied now."""
    flux_densities: tuple[FluxDensityRecord, ...] = ()
    line_free: tuple[FrequencyRange, ...] | None = None
    """Take the place of what is known of their fields and windows, and of those of ``line_searches``."""
    line_searches: tuple[LineSearch, ...] = ()
    planned_images: tuple[PlannedImage, ...] = ()
    """Entries of the list of images to make; one that has the name of a known entry takes its place."""
    images: tuple[ImageRecord, ...] = ()
    products: tuple[ProductRecord, ...] = ()
    qa: tuple[QAScore, ...] = ()
    summary: dict[str, Any] = Field(default_factory=dict)
    """Counts and numbers of the stage, plain JSON."""

    def list_outputs(self) -> list[tuple[str, str, str]]:
        """Return what it adds to the run: what it is, its name, its path in the run folder."""
        return [
            *(("data", f"{partition}: {', '.join(groups)}", "") for partition, groups in self.groups.items()),
            *((f"{one.kind} table", one.name, one.path) for one in self.tables),
            *((one.kind, one.name, one.path) for one in self.images),
            *((str(one.kind), one.path.rpartition("/")[2], one.path) for one in self.products),
        ]

    def _repr_html_(self) -> str:
        """Return what Jupyter shows: the message, the scores, and what it adds to the context."""
        return "".join(
            (
                html_heading(f"Outcome: {self.status}" + (f": {self.message}" if self.message else "")),
                score_table(self.qa),
                html_table("Outputs", ("what", "name", "where"), self.list_outputs()),
                html_table("Numbers", ("name", "value"), self.summary.items()),
            )
        )


class Resources(Record):
    """What the cluster offers; the plan of chunks is made from it."""

    slots: int = 1
    """Tasks that run at the same time."""
    memory_bytes: int = 4 * 2**30
    """Memory for one task: of the smallest worker, divided by its threads."""


class StepState(enum.StrEnum):
    """Where a step of a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    """Not started because a step that it needs failed."""
    STOPPED = "stopped"
    """Ended by the user in the middle; the next run goes on here."""
    SKIPPED = "skipped"
    """Not needed: it is there for a failure, and nothing failed; or it comes after such a step."""
    PAUSED = "paused"
    """Not started because the user asked to stop before it."""


class StepRecord(Record):
    """The record of one step's last attempt."""

    id: str
    stage: str
    state: StepState
    attempt: int
    fingerprint: str
    after: tuple[str, ...]
    params: dict[str, Any]
    """Every parameter with the value used, defaults included, in SI units."""
    start_s: float
    stop_s: float | None = None
    tasks: int = 0
    """Tasks of all its graphs so far."""
    tasks_done: int = 0
    """Of these, the ones that have a result."""
    retries: int = 0
    """Tries of tasks that failed or were lost, and were repeated."""
    last_error: str = ""
    """Of the last task that failed, repeated or not."""
    resumed: int = 0
    """How often this attempt was interrupted and went on."""
    resources: Resources | None = None
    """What its chunks were planned for; a resumed attempt keeps its plan, so that finished chunks count."""
    parts: dict[str, int] = Field(default_factory=dict)
    """Digest of the inputs of a part of its work -> attempt that made it; see :meth:`Context.for_part`."""
    outputs: dict[str, OutputStamp] = Field(default_factory=dict)
    """Stamps of what it wrote, by path: to find out that files were changed or lost since."""
    versions: dict[str, str] = Field(default_factory=dict)
    provenance: Provenance | None = None
    outcome: Outcome | None = None
    error: str | None = None
    traceback: str | None = None

    def attempts_used(self) -> tuple[int, ...]:
        """Return the attempts whose outputs count: this one, and those that made parts that did not change since."""
        return tuple(sorted({self.attempt, *self.parts.values()}))

    @property
    def seconds(self) -> float | None:
        """Wall time of the attempt [s], None while it runs."""
        return None if self.stop_s is None else self.stop_s - self.start_s

    def _repr_html_(self) -> str:
        """Return what Jupyter shows: how the step went, its parameters, and its outcome."""
        seconds = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        facts = (
            ("state", f"{self.state}{seconds}"),
            ("stage", self.stage),
            ("attempt", self.attempt),
            ("after", ", ".join(self.after)),
            ("tasks", f"{self.tasks_done} of {self.tasks}"),
            ("repeated tasks", self.retries),
            ("error", self.error or ""),
        )
        return "".join(
            (
                html_heading(f"Step {self.id}"),
                html_table("", ("", ""), facts),
                html_table("Parameters", ("name", "value"), self.params.items()),
                "" if self.outcome is None else self.outcome._repr_html_(),
            )
        )
