"""The context: what a run knows. Frozen; every step makes a new one by adding its outcome.

The state that stages see is a fold over the outcomes of the steps before them, in the order of the workflow::

    context(step) = base + outcome(first ancestor) + outcome(second ancestor) + ...

So a step that is done again starts from what its ancestors left, not from what later steps made of it; branches of the
workflow do not see each other; and an attempt that is dropped leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field
from pydantic_core import to_jsonable_python

from radps.context.fields import fields_of_word
from radps.context.fingerprint import digest_of, own_parts
from radps.context.flag_versions import FlagVersion, find_flag_versions
from radps.context.fold import merge, merge_line_free, with_groups
from radps.context.html import html_heading, html_table
from radps.context.imaging_state import ImageKind, find_images
from radps.context.products import find_products
from radps.context.queries import find_one
from radps.context.records import (
    CalibrationState,
    FluxDensityRecord,
    FrequencyRange,
    ImageRecord,
    ImagingState,
    LineSearch,
    Observation,
    ObservedField,
    Outcome,
    Partition,
    ProductKind,
    ProductRecord,
    QAScore,
    Record,
    Resources,
    ScoreScope,
    SkyModel,
    SpectralWindow,
    StepRecord,
    StepState,
    VirtualWindow,
)
from radps.context.scores import StepScore, find_scores
from radps.context.selection import find_line_free
from radps.context.views import (
    calibration_table,
    flux_density_table,
    image_table,
    observation_tables,
    planned_image_table,
)
from radps.data.addresses import VisibilityAddress
from radps.data.urls import is_absolute, join_url
from radps.errors import ContextError, SelectionError, StageError
from radps.node_tasks.guard import TaskRules
from radps.node_tasks.ledger import entry_name, ledger_url

if TYPE_CHECKING:
    import xarray

SCHEMA_VERSION = 2

TREE = "context.zarr"
"""Folder of the arrays of a run."""


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
    data_stamps: dict[str, str] = Field(default_factory=dict)
    """Data set that the config names -> hash of its content, for stages that read them."""
    mark: str = ""
    """Tells the tasks of this run from those of others on the same scheduler."""
    rules: TaskRules | None = None
    """How tasks are run."""
    finished: dict[int, frozenset[str]] = Field(default_factory=dict)
    """Attempt of this step -> names in its ledger of the tasks whose results are kept."""
    parts: dict[str, int] = Field(default_factory=dict)
    """Digest of a part of the step that an attempt before made -> that attempt."""
    parts_used: dict[str, int] = Field(default_factory=dict)
    """The same of the parts that this attempt consists of; filled while the stage asks for them, read by the runner."""

    names_given: set[str] = Field(default_factory=set)
    """Of the tasks of this step so far: a result is known by the name of its task."""

    def of_attempt(self, attempt: int) -> Self:
        """Return the place of another attempt of this step."""
        rules = self.rules
        if rules is not None:
            rules = rules.model_copy(update={"ledger_url": ledger_url(self.url, self.step, attempt)})
        return self.model_copy(update={"attempt": attempt, "rules": rules})


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
    calibration: CalibrationState = CalibrationState()
    flux_densities: tuple[FluxDensityRecord, ...] = ()
    line_free: tuple[FrequencyRange, ...] | None = None
    line_searches: tuple[LineSearch, ...] = ()
    """One for each field and spectral window that was searched, or that the user gave ranges for."""
    imaging: ImagingState = ImagingState()
    images: tuple[ImageRecord, ...] = ()
    products: tuple[ProductRecord, ...] = ()
    qa: dict[str, tuple[QAScore, ...]] = Field(default_factory=dict)
    """Step -> scores."""
    steps: dict[str, StepRecord] = Field(default_factory=dict)
    """In the order of the workflow."""
    last_attempts: dict[str, int] = Field(default_factory=dict)
    """Step -> highest number that an attempt of it had, also of those that were dropped, and of steps that left."""
    workspace: Workspace | None = Field(default=None, exclude=True, repr=False)

    # --- building ---

    def with_outcome(self, step: str, outcome: Outcome) -> Self:
        """Return a context that knows what ``step`` found.

        Raises
        ------
        ContextError
            The outcome does not fit to what is known: new versions of unknown data, calibration tables that contradict
            others or are not there.
        """
        observation = outcome.observation or self.observation
        if outcome.groups:
            if observation is None:
                raise ContextError(f"step {step!r} made new data, but no data were imported before it")
            observation = with_groups(observation, outcome.groups)
        images = tuple(image.model_copy(update={"step": step}) for image in outcome.images)
        products = tuple(product.model_copy(update={"step": step}) for product in outcome.products)
        return self.model_copy(
            update={
                "observation": observation,
                "dataset_paths": self.dataset_paths + outcome.dataset_paths,
                "sky_models": merge(self.sky_models, outcome.sky_models, "field"),
                "calibration": self._changed_calibration(step, outcome, observation),
                "flux_densities": merge(self.flux_densities, outcome.flux_densities, "field", "window"),
                "line_free": merge_line_free(self.line_free, outcome.line_free, outcome.line_searches),
                "line_searches": merge(self.line_searches, outcome.line_searches, "field", "window"),
                "imaging": self.imaging.changed(outcome.planned_images, images),
                "images": merge(self.images, images),
                "products": merge(self.products, products, "path"),
                "qa": {**self.qa, **({step: outcome.qa} if outcome.qa else {})},
            }
        )

    def _changed_calibration(self, step: str, outcome: Outcome, observation: Observation | None) -> CalibrationState:
        """Return the calibration state after a step."""
        if not (outcome.tables or outcome.removed_tables or outcome.applied):
            return self.calibration
        try:
            return self.calibration.changed(
                remove=outcome.removed_tables,
                register=outcome.tables,
                apply=outcome.applied,
                partitions=() if observation is None else observation.partitions,
            )
        except ContextError as error:
            raise ContextError(f"step {step!r}: {error}") from error

    def with_records(self, records: Iterable[StepRecord]) -> Self:
        """Return the context after the steps of ``records``, in their order: the fold over what is done."""
        records = tuple(records)
        context = type(self)(
            run_id=self.run_id,
            sequence=self.sequence,
            project=self.project,
            last_attempts=self.last_attempts,
            workspace=self.workspace,
        )
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
            found.update(fields_of_word(observation, word))
        return tuple(field.name for field in observation.fields if field.name in found)

    def visibilities(self, selection: str | Iterable[str] = "all") -> tuple[Partition, ...]:
        """Return the partitions of the selected fields: addresses and metadata, no data."""
        names = self.field_names(selection)
        partitions = self.require_observation().partitions
        return tuple(partition for partition in partitions if partition.field in names)

    def field(self, name: str) -> ObservedField:
        """Return the field of that name.

        Raises
        ------
        SelectionError
            There is none; lists those there are.
        """
        return find_one(self.require_observation().fields, name, "field")

    def window(self, name: str) -> SpectralWindow:
        """Return the spectral window of that name.

        Raises
        ------
        SelectionError
            There is none; lists those there are.
        """
        return find_one(self.require_observation().windows, name, "spectral window")

    def virtual_window(self, word: int | str) -> VirtualWindow:
        """Return the virtual window with that number, or with that spectral window as a member.

        Raises
        ------
        SelectionError
            There is none; lists those there are with their members.
        """
        found = self.require_observation().virtual_windows
        for one in found:
            if word == one.number or word in one.members:
                return one
        known = (f"{one.number} ({_listing(one.members)})" for one in found)
        raise SelectionError(
            f"there is no virtual window {word!r}; virtual windows and their members: {_listing(known)}"
        )

    def line_free_channels(self, field: str, window: str) -> tuple[tuple[int, int], ...] | None:
        """Return the half-open ranges of line-free channels of a field in a window; None if nothing is known of them.

        Raises
        ------
        SelectionError
            There is no such window.
        """
        return find_line_free(self.line_free, self.line_searches, field, self.window(window))

    def continuum_channels(self, field: str, window: str) -> tuple[tuple[int, int], ...]:
        """Return the half-open ranges of channels that a continuum is made of.

        Those without line; all of them where nothing is known, or where a search had too few channels to look at.

        Raises
        ------
        SelectionError
            There is no such window.
        """
        known = self.line_free_channels(field, window)
        blind = any((one.field, one.window, one.coverage) == (field, window, "no data") for one in self.line_searches)
        return ((0, self.window(window).n_channels),) if known is None or (blind and not known) else known

    def find_images(
        self,
        *,
        kind: ImageKind | None = None,
        field: str | None = None,
        window: str | None = None,
        step: str | None = None,
    ) -> tuple[ImageRecord, ...]:
        """Return the images that have all of the properties that are given; maybe none."""
        return find_images(self.images, kind=kind, field=field, window=window, step=step)

    def image_record(self, name: str) -> ImageRecord:
        """Return the record of an image.

        Raises
        ------
        SelectionError
            There is no such image; lists those there are.
        """
        return find_one(self.images, name, "image")

    def find_products(
        self,
        *,
        kind: ProductKind | str | None = None,
        source: str | None = None,
        field: str | None = None,
        window: str | None = None,
        step: str | None = None,
    ) -> tuple[ProductRecord, ...]:
        """Return the products that have all of the properties that are given; maybe none."""
        return find_products(self.products, kind=kind, source=source, field=field, window=window, step=step)

    def product(self, path: str) -> ProductRecord:
        """Return the product at a path relative to the run folder.

        Raises
        ------
        SelectionError
            There is no such product; lists those there are.
        """
        return find_one(self.products, path, "product", "path")

    def scores(
        self,
        step: str | None = None,
        *,
        scope: ScoreScope | str | None = None,
        applies_to: str | None = None,
        name: str | None = None,
    ) -> tuple[StepScore, ...]:
        """Return the QA scores with all of the properties that are given, the worst one first; maybe none."""
        return find_scores(self.qa, step=step, scope=scope, applies_to=applies_to, name=name)

    def worst_score(self, step: str | None = None) -> StepScore | None:
        """Return the lowest score of a step, or of the run; None if nothing was judged."""
        return next(iter(self.scores(step)), None)

    @property
    def flag_versions(self) -> tuple[FlagVersion, ...]:
        """The versions of the flags, oldest first, each one named after the step that left it."""
        return find_flag_versions(self.steps.values())

    # --- arrays ---

    @property
    def tree(self) -> xarray.DataTree:
        """The arrays that the steps made (solutions, statistics, histories) as xarray, lazily: ``/STEP/...``."""
        from radps.data.trees import open_tree  # xarray takes half a second to import

        done = (record for record in self.steps.values() if record.state is StepState.DONE)
        return open_tree(
            {
                record.id: [self.locate(f"{TREE}/{record.id}-{attempt}") for attempt in record.attempts_used()]
                for record in done
            }
        )

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

        return open_image(self.locate(self.image_record(name).path))

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        return "".join(
            (
                html_heading(f"Context of run {self.run_id} {self.project}".rstrip()),
                "" if self.observation is None else observation_tables(self.observation),
                flux_density_table(self.flux_densities),
                calibration_table(self.calibration.tables),
                planned_image_table(self.imaging.planned),
                image_table(self.images),
                html_table("Steps", ("step", "state"), ((one.id, one.state) for one in self.steps.values())),
            )
        )

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
        place = self.place()
        finished = place.finished.get(place.attempt)
        return finished is not None and entry_name(key) in finished

    def claim(self, key: str) -> None:
        """Give a name to one task of a run.

        Raises
        ------
        StageError
            Another task of the step has it: the result of one would be taken for that of the other.
        """
        place = self.place()
        if place.rules is not None and key in place.names_given:
            raise StageError(f"two tasks of step {place.step!r} are called {key!r}; give each of them a `name`")
        place.names_given.add(key)

    def for_part(self, *inputs: Any) -> Self:
        """Return this context for a part of the step's work that depends on the inputs alone.

        A step that is done again, because something was added to the data, does not do again the parts whose inputs are
        what they were: paths and tasks that are made by the context returned here are then those of the attempt that
        made the part, and its results are read from the ledger.

        Parameters
        ----------
        *inputs
            All that the part depends on besides the stage's parameters and code: partitions, tables, rules; models and
            tuples of plain values or arrays.
        """
        place = self.place()
        basis = (own_parts(place.fingerprint), place.resources)
        digest = digest_of(to_jsonable_python((basis, inputs), fallback=_plain))
        attempt = place.parts.get(digest, place.attempt)
        place.parts_used[digest] = attempt
        return self.at(place.of_attempt(attempt))

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


def _plain(value: Any) -> Any:
    """Return an array, or a number of numpy, as plain Python."""
    return value.tolist()


def _listing(names: Iterable[str]) -> str:
    """Join names for a message."""
    return ", ".join(names) or "none"
