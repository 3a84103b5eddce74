"""The context: what a run knows. Frozen; every step makes a new one by adding its outcome.

The state that stages see is a fold over the outcomes of the steps before them, in the order of the workflow::

    context(step) = base + outcome(first ancestor) + outcome(second ancestor) + ...

So a step that is done again starts from what its ancestors left, not from what later steps made of it; branches of the
workflow do not see each other; and an attempt that is dropped leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import Field

from radps.context.html import html_heading, html_table
from radps.context.records import (
    CalibrationTable,
    DataGroup,
    FluxDensityRecord,
    FrequencyRange,
    ImageRecord,
    Observation,
    Outcome,
    Partition,
    ProductRecord,
    QAScore,
    Record,
    Resources,
    SkyModel,
    StepRecord,
    StepState,
)
from radps.data.addresses import VisibilityAddress
from radps.data.urls import is_absolute, join_url
from radps.errors import ContextError, SelectionError
from radps.node_tasks.guard import TaskRules
from radps.node_tasks.ledger import entry_name

if TYPE_CHECKING:
    import xarray

T = TypeVar("T", bound=Record)

SCHEMA_VERSION = 1

TREE = "context.zarr"
"""Folder of the arrays of a run."""

INTENT_WORDS = {
    "flux": "CALIBRATE_FLUX",
    "bandpass": "CALIBRATE_BANDPASS",
    "phase": "CALIBRATE_PHASE",
    "target": "OBSERVE_TARGET",
}
"""Words by which a parameter selects fields by what they were observed for."""


class Workspace(Record):
    """Where a step writes: its own attempt, under the run folder. Not part of what is saved."""

    url: str
    step: str = ""
    stage: str = ""
    """What the step does."""
    fingerprint: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the software that is a part of the fingerprint."""
    attempt: int = 1
    resources: Resources = Resources()
    dataset_paths: tuple[str, ...] = ()
    """Data sets that the config names."""
    intents: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Field -> intents that the config names."""
    mark: str = ""
    """Tells the tasks of this run from those of others on the same scheduler."""
    rules: TaskRules | None = None
    """How tasks are run."""
    finished: frozenset[str] = frozenset()
    """Names in the ledger of this attempt of the tasks whose results are kept."""


class Context(Record):
    """What a run knows, as a stage sees it.

    Stages read it and return an :class:`~radps.context.records.Outcome`; they never change it.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    sequence: int = 0
    """Number of commits so far."""
    project: str = ""
    observation: Observation | None = None
    dataset_paths: tuple[str, ...] = ()
    sky_models: tuple[SkyModel, ...] = ()
    tables: tuple[CalibrationTable, ...] = ()
    flux_densities: tuple[FluxDensityRecord, ...] = ()
    line_free: tuple[FrequencyRange, ...] | None = None
    images: tuple[ImageRecord, ...] = ()
    products: tuple[ProductRecord, ...] = ()
    qa: dict[str, tuple[QAScore, ...]] = Field(default_factory=dict)
    """Step -> scores."""
    steps: dict[str, StepRecord] = Field(default_factory=dict)
    """In the order of the workflow."""
    workspace: Workspace | None = Field(default=None, exclude=True, repr=False)

    # --- building ---

    def with_outcome(self, step: str, outcome: Outcome) -> Self:
        """Return a context that knows what ``step`` found."""
        applied = set(outcome.applied)
        tables = _merge(self.tables, outcome.tables)
        observation = outcome.observation or self.observation
        if outcome.groups:
            if observation is None:
                raise ContextError(f"step {step!r} made new data, but no data were imported before it")
            observation = _with_groups(observation, outcome.groups)
        return self.model_copy(
            update={
                "observation": observation,
                "dataset_paths": self.dataset_paths + outcome.dataset_paths,
                "sky_models": _merge(self.sky_models, outcome.sky_models, key="field"),
                "tables": tuple(t.model_copy(update={"state": "applied"}) if t.name in applied else t for t in tables),
                "flux_densities": _merge(self.flux_densities, outcome.flux_densities, key="field"),
                "line_free": self.line_free if outcome.line_free is None else outcome.line_free,
                "images": _merge(self.images, outcome.images),
                "products": _merge(self.products, outcome.products, key="path"),
                "qa": {**self.qa, **({step: outcome.qa} if outcome.qa else {})},
            }
        )

    def with_records(self, records: Iterable[StepRecord]) -> Self:
        """Return the context after the steps of ``records``, in their order: the fold over what is done."""
        records = tuple(records)
        context = type(self)(run_id=self.run_id, sequence=self.sequence, project=self.project, workspace=self.workspace)
        for record in records:
            if record.state is StepState.DONE and record.outcome is not None:
                context = context.with_outcome(record.id, record.outcome)
        return context.model_copy(update={"steps": {record.id: record for record in records}})

    def at(self, workspace: Workspace) -> Self:
        """Return this context bound to the place that a step works in."""
        return self.model_copy(update={"workspace": workspace})

    # --- asking ---

    def require_observation(self) -> Observation:
        """Return the observation.

        Raises
        ------
        ContextError
            No data were imported yet.
        """
        if self.observation is None:
            raise ContextError("no data were imported yet: put the step `import_data` before this one")
        return self.observation

    def field_names(self, selection: str | Iterable[str]) -> tuple[str, ...]:
        """Return the fields that a selection names, in the order of the observation.

        Parameters
        ----------
        selection : str or iterable of str
            Field names, or the words ``flux``, ``bandpass``, ``phase``, ``target`` (by intent), ``all``.

        Raises
        ------
        SelectionError
            A name that is no field, or an intent that no field has; lists what there is.
        """
        observation = self.require_observation()
        wanted = (selection,) if isinstance(selection, str) else tuple(selection)
        found: set[str] = set()
        for word in wanted:
            found.update(_fields_of_word(observation, word))
        return tuple(field.name for field in observation.fields if field.name in found)

    def visibilities(self, selection: str | Iterable[str] = "all") -> tuple[Partition, ...]:
        """Return the partitions of the selected fields: addresses and metadata, no data."""
        names = self.field_names(selection)
        partitions = self.require_observation().partitions
        return tuple(partition for partition in partitions if partition.field in names)

    def table(self, name: str) -> CalibrationTable:
        """Return the calibration table of that name, or say which there are."""
        for table in self.tables:
            if table.name == name:
                return table
        raise ContextError(f"no calibration table {name!r}; there are: {_listing(t.name for t in self.tables)}")

    # --- arrays ---

    @property
    def tree(self) -> xarray.DataTree:
        """The arrays that the steps made (solutions, statistics, histories) as xarray, lazily: ``/STEP/...``."""
        from radps.data.trees import open_tree  # xarray takes half a second to import

        done = (record for record in self.steps.values() if record.state is StepState.DONE)
        return open_tree({record.id: self.locate(f"{TREE}/{record.id}-{record.attempt}") for record in done})

    def image(self, name: str) -> xarray.Dataset:
        """Open an image or cube as xarray, lazily.

        Parameters
        ----------
        name : str
            Of one of ``images``.

        Raises
        ------
        SelectionError
            There is no such image; lists those there are.
        """
        from radps.data.images import open_image  # xarray takes half a second to import

        for image in self.images:
            if image.name == name:
                return open_image(self.locate(image.path))
        raise SelectionError(f"there is no image {name!r}; images: {_listing(image.name for image in self.images)}")

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        observation = self.observation
        parts = [html_heading(f"Context of run {self.run_id} {self.project}".rstrip())]
        if observation is not None:
            parts += _observation_tables(observation)
        fluxes = ((one.field, f"{one.flux_jy:.5g}", f"{one.error_jy:.2g}", one.origin) for one in self.flux_densities)
        tables = ((one.name, one.kind, one.window, ", ".join(one.solved_on), one.state) for one in self.tables)
        images = ((one.name, one.kind, one.field, f"{one.statistics.max:.4g}", one.path) for one in self.images)
        parts += [
            html_table("Flux densities", ("field", "Jy", "+-", "from"), fluxes),
            html_table("Calibration tables", ("name", "kind", "window", "solved on", "state"), tables),
            html_table("Images", ("name", "kind", "field", "max", "path"), images),
            html_table("Steps", ("step", "state"), ((one.id, one.state) for one in self.steps.values())),
        ]
        return "".join(parts)

    # --- places ---

    def place(self) -> Workspace:
        """Return the workspace.

        Raises
        ------
        ContextError
            The context was read from a file and is not bound to a step.
        """
        if self.workspace is None:
            raise ContextError("this context is not bound to a run folder: open it by `radps.open_run(url)`")
        return self.workspace

    def task_key(self, name: str) -> str:
        """Return the start of the key of a task of this step, as the dashboard shows it."""
        place = self.place()
        return f"{place.step}.{name}-{place.attempt}"

    def task_rules(self) -> TaskRules | None:
        """Return how the tasks of this step are run; None outside a run."""
        return self.place().rules

    def run_mark(self) -> str:
        """Return what tells the tasks of this run from those of others; empty outside a run."""
        return self.place().mark

    def is_finished(self, key: str) -> bool:
        """Return True if the result of a task of this attempt is kept."""
        finished = self.place().finished
        return bool(finished) and entry_name(key) in finished

    def locate(self, path: str) -> str:
        """Return the absolute URL of a path relative to the run folder; what is absolute already stays as it is."""
        return path if is_absolute(path) else join_url(self.place().url, path)

    def relative(self, url: str) -> str:
        """Return the path of a URL relative to the run folder; a URL that is not in the folder stays as it is."""
        return url.removeprefix(self.place().url.rstrip("/") + "/")

    def new_path(self, folder: str, name: str = "", suffix: str = ".zarr") -> str:
        """Return a path, relative to the run folder, that belongs to this attempt of this step alone."""
        place = self.place()
        stem = f"{folder}/{place.step}-{place.attempt}{suffix}"
        return f"{stem}/{name}" if name else stem

    def address(self, partition: Partition, group: str | None = None) -> VisibilityAddress:
        """Return where the arrays of a partition are, absolute: what a task needs to load its chunk.

        Parameters
        ----------
        partition : Partition
            Of :meth:`visibilities`.
        group : str, optional
            Data group; the newest one when not given.

        Raises
        ------
        SelectionError
            The partition has no such data group; lists those that it has.
        """
        name = group or list(partition.groups)[-1]
        if name not in partition.groups:
            raise SelectionError(
                f"{partition.name} has no data group {name!r}; it has: {_listing(partition.groups)}. "
                f"Put the step that makes it before this one"
            )
        arrays = partition.groups[name]
        return VisibilityAddress(
            store=self.locate(partition.path),
            visibility=self.locate(arrays.visibility),
            flag=self.locate(arrays.flag),
            weight=self.locate(arrays.weight),
            uvw=self.locate(arrays.uvw),
        )


def _observation_tables(observation: Observation) -> list[str]:
    """Return fields and spectral windows as HTML."""
    fields = ((one.name, one.source, ", ".join(one.intents)) for one in observation.fields)
    windows = (
        (one.name, one.n_channels, *(f"{f / 1e6:.6g}" for f in one.frequency_hz), one.frame)
        for one in observation.windows
    )
    summary = f"{observation.telescope}, {len(observation.antennas)} antennas, {len(observation.scans)} scans"
    return [
        html_table(f"{summary}; fields", ("field", "source", "intents"), fields),
        html_table("Spectral windows", ("window", "channels", "first [MHz]", "last [MHz]", "frame"), windows),
    ]


def _fields_of_word(observation: Observation, word: str) -> tuple[str, ...]:
    """Return the fields that one word of a selection names."""
    names = tuple(field.name for field in observation.fields)
    if word == "all":
        return names
    if word in names:
        return (word,)
    if word in INTENT_WORDS:
        prefix = INTENT_WORDS[word]
        found = tuple(f.name for f in observation.fields if any(i.startswith(prefix) for i in f.intents))
        if found:
            return found
        raise SelectionError(
            f"no field has the intent {prefix} (selected by {word!r}); fields and their intents: "
            + "; ".join(f"{f.name}: {_listing(f.intents)}" for f in observation.fields)
            + ". Name intents in the config under data.intents, or select a field by name"
        )
    raise SelectionError(
        f"there is no field {word!r}; fields: {_listing(names)}; words: {_listing((*INTENT_WORDS, 'all'))}"
    )


def _listing(names: Iterable[str]) -> str:
    """Join names for a message."""
    return ", ".join(names) or "none"


def _merge(old: tuple[T, ...], new: tuple[T, ...], key: str = "name") -> tuple[T, ...]:
    """Return ``old`` with the records of ``new`` put in, in place of those with the same key."""
    merged = {getattr(record, key): record for record in old}
    merged.update({getattr(record, key): record for record in new})
    return tuple(merged.values())


def _with_groups(observation: Observation, groups: dict[str, dict[str, DataGroup]]) -> Observation:
    """Return the observation with new data groups in its partitions."""
    known = {partition.name for partition in observation.partitions}
    if unknown := set(groups) - known:
        raise ContextError(
            f"new data for unknown partitions {_listing(sorted(unknown))}; known: {_listing(sorted(known))}"
        )
    partitions = tuple(
        partition.model_copy(update={"groups": {**partition.groups, **groups.get(partition.name, {})}})
        for partition in observation.partitions
    )
    return observation.model_copy(update={"partitions": partitions})
