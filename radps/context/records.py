"""What the context is made of: small frozen models, plain JSON when written.

Paths are relative to the run folder, so that a copy of the folder at another place works as it is. Arrays stand in zarr
stores; the models only say where.
"""

from __future__ import annotations

import enum
from typing import Any, Literal

from pydantic import Field

from radps.context.base import Record as Record  # stages build their own models on it
from radps.context.provenance import Provenance

# --- the observation ---


class Antenna(Record):
    """One antenna of the array."""

    name: str
    station: str
    position_m: tuple[float, float, float]
    """Geocentric (ITRF) position [m]."""
    diameter_m: float
    """0 = the data do not say."""


class Direction(Record):
    """A direction on the sky."""

    ra_rad: float
    dec_rad: float
    frame: str
    """``icrs`` or ``fk5``."""


class ObservedField(Record):
    """A field of the observation: one phase centre."""

    name: str
    source: str
    direction: Direction
    intents: tuple[str, ...]
    """MSv4 scan intents, such as ``OBSERVE_TARGET#ON_SOURCE``."""


class SpectralWindow(Record):
    """A spectral window of one data set, and the virtual window that it belongs to over all data sets."""

    name: str
    virtual: int
    """Windows of different data sets that cover the same frequencies share this number."""
    frequency_hz: tuple[float, float]
    """Centres of the first and of the last channel [Hz]."""
    n_channels: int
    channel_width_hz: float
    frame: str
    rest_frequency_hz: float | None = None


class Scan(Record):
    """A scan: one field, one span of time."""

    name: str
    field: str
    start_s: float
    stop_s: float


class DataGroup(Record):
    """Which arrays belong together as one version of the visibilities (MSv4's data groups)."""

    visibility: str
    flag: str
    weight: str
    uvw: str


class Partition(Record):
    """One MSv4 of the processing set: one field, one spectral window, one data set."""

    name: str
    dataset: str
    path: str
    """The MSv4 group: coordinates and antennas. Absolute if it is one of the user's that was not copied."""
    field: str
    window: str
    intents: tuple[str, ...]
    shape: tuple[int, int, int, int]
    """Times, baselines, channels, polarizations."""
    chunks: tuple[int, int]
    """Times and channels of one zarr chunk."""
    polarizations: tuple[str, ...]
    integration_time_s: float
    """0 = the data do not say."""
    scans: dict[str, tuple[int, int]]
    """Scan -> its first time, and one after its last."""
    groups: dict[str, DataGroup]
    """Versions of the data by name, oldest first: ``base``, ``corrected``, ``continuum_subtracted``."""


class Observation(Record):
    """What was observed, with what, when."""

    telescope: str
    observer: str
    project: str
    datasets: tuple[str, ...]
    antennas: tuple[Antenna, ...]
    fields: tuple[ObservedField, ...]
    windows: tuple[SpectralWindow, ...]
    scans: tuple[Scan, ...]
    partitions: tuple[Partition, ...]
    longest_baseline_m: float
    synthesized_beam_rad: float
    """Estimate: wavelength of the band's centre over the longest baseline [rad]."""


# --- calibration ---


class FluxDensityRecord(Record):
    """The flux density of a calibrator, and where it comes from."""

    field: str
    flux_jy: float
    error_jy: float
    frequency_hz: float
    origin: str
    """``Perley-Butler 2017``, ``flux transfer``, ``config``."""
    n_solutions: int | None = None


class SkyComponent(Record):
    """A point source or Gaussian of a calibrator's model."""

    l: float = 0.0
    """Direction cosine towards the east of the phase centre."""
    m: float = 0.0
    """Direction cosine towards the north of the phase centre."""
    flux_jy: float
    """At ``reference_frequency_hz``."""
    reference_frequency_hz: float
    spectral_index: float = 0.0
    spectral_curvature: tuple[float, ...] = ()
    """log10(S / flux) = spectral_index x + curvature[0] x^2 + ..., x = log10(f / reference)."""
    major_rad: float = 0.0
    """Full width at half maximum; 0 is a point source."""
    minor_rad: float = 0.0
    position_angle_rad: float = 0.0
    """North through east."""


class SkyModel(Record):
    """What is known of a calibrator's brightness."""

    field: str
    components: tuple[SkyComponent, ...]
    origin: str


class CalibrationTable(Record):
    """A table of gain solutions, and what it applies to."""

    name: str
    kind: Literal["bandpass", "gain"]
    path: str
    window: str
    solved_on: tuple[str, ...]
    """Fields that the solutions come from."""
    applies_to: dict[str, tuple[str, ...]]
    """Field to correct -> fields whose solutions it is corrected with."""
    reference_antenna: str
    state: Literal["pending", "applied"] = "pending"


# --- imaging and products ---


class FrequencyRange(Record):
    """A range of frequencies, both ends included, in the frame of the data."""

    start_hz: float
    stop_hz: float
    frame: str
    origin: str
    """``config`` or the name of the stage that found it."""


class Beam(Record):
    """A restoring beam (full widths at half maximum)."""

    major_rad: float
    minor_rad: float
    position_angle_rad: float
    """North through east."""


class StatisticsRecord(Record):
    """Statistics of the main variable of an image [Jy/beam]."""

    max: float
    min: float
    rms: float


class ImageRecord(Record):
    """An image or cube."""

    name: str
    kind: Literal["cube", "continuum", "moment"]
    path: str
    """XRADIO image store."""
    variable: str
    """The main variable of the store."""
    companions: tuple[str, ...] = ()
    """The other variables of the store."""
    convergence: str | None = None
    """Table of how the solver went, in the context's tree."""
    field: str
    window: str
    """Spectral window that the spectral coordinate comes from: its frame, its rest frequency."""
    shape: tuple[int, int, int]
    """Channels, pixels along l, pixels along m."""
    cell_size_rad: float
    frequency_hz: tuple[float, float]
    """Centres of the first and of the last channel [Hz]."""
    channel_width_hz: float
    statistics: StatisticsRecord
    noise_jy: float
    """Robust standard deviation of the residual, per beam; for a cube the median of the channels that have data."""
    beam: Beam | None = None
    """For a cube: of the channel in the middle."""
    channels: dict[str, int] = Field(default_factory=dict)
    """Stop reason -> number of channels that ended with it."""
    listed: tuple[str, ...] = ()
    """Channels that need a look: diverged, without data."""


class ProductRecord(Record):
    """A file for the user."""

    path: str
    kind: str
    """``fits``, ``table``, ``manifest`` ..."""
    source: str
    """The image or table that it was made from."""
    variable: str = ""
    """The variable of an image."""
    size_bytes: int
    sha256: str


class QAScore(Record):
    """One judgement of quality, in the same scale for all stages."""

    name: str
    score: float = Field(ge=0.0, le=1.0)
    """0 is unusable, 1 is as good as it gets."""
    value: float
    """The number behind the score."""
    unit: str
    good: float
    """At this value or beyond the score is 1."""
    bad: float
    """At this value or beyond the score is 0."""
    applies_to: str
    message: str


# --- outcome and orchestration ---


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
    applied: tuple[str, ...] = ()
    """Names of calibration tables that are applied now."""
    flux_densities: tuple[FluxDensityRecord, ...] = ()
    line_free: tuple[FrequencyRange, ...] | None = None
    images: tuple[ImageRecord, ...] = ()
    products: tuple[ProductRecord, ...] = ()
    qa: tuple[QAScore, ...] = ()
    summary: dict[str, Any] = Field(default_factory=dict)
    """Counts and numbers of the stage, plain JSON."""


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
    versions: dict[str, str] = Field(default_factory=dict)
    provenance: Provenance | None = None
    outcome: Outcome | None = None
    error: str | None = None
    traceback: str | None = None

    @property
    def seconds(self) -> float | None:
        """Wall time of the attempt [s], None while it runs."""
        return None if self.stop_s is None else self.stop_s - self.start_s
