"""The runner: carries out the plan, one step after the other, and commits each to the context.

1. Lock the run folder, read the context, plan.
2. For each step to run: fold the outcomes of the steps that it needs into a context, bound to a new attempt; call the
   stage; compute the graph that it returns, or each graph that it yields; check the Outcome; commit.
3. A step that fails is recorded with its traceback and blocks only what needs it. An interrupt is recorded too, and
   raised again. What a failed attempt wrote stays in its own folders, and the context never points there.

The context as it stands is the fold over all steps that are done. A step that starts again takes the steps that need it
out of that fold at once: their results are of another input.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
import traceback
from collections.abc import Generator, Iterator
from typing import Any, Protocol

from dask.delayed import Delayed
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from radps.context.fingerprint import current_versions
from radps.context.model import Context, Workspace
from radps.context.records import Outcome, StepRecord, StepState
from radps.context.store import RunStore
from radps.data.urls import is_local, join_url, local_path
from radps.errors import RadpsError, StageError
from radps.execution.clusters import open_engine
from radps.execution.engine import Engine, TaskEvent
from radps.graph_tasks.shapes import count_tasks
from radps.stages.base import find_stage
from radps.workflows.interrupts import Interrupts
from radps.workflows.model import Step, Workflow
from radps.workflows.plan import PlannedStep, Selection, plan_steps, step_fingerprint

logger = logging.getLogger(__name__)

LOG = "log.txt"


class Observer(Protocol):
    """Is told what happens in a run."""

    def planned(self, plan: tuple[PlannedStep, ...], where: str) -> None:
        """Take the plan, and where it will be computed."""
        ...

    def started(self, step: StepRecord) -> None:
        """Take the record of a step that begins."""
        ...

    def graph(self, step: str, tasks: int) -> None:
        """Take the number of tasks of one more graph of a step."""
        ...

    def task(self, step: str, event: TaskEvent) -> None:
        """Take a task that ended; called from a thread of the engine."""
        ...

    def ended(self, step: StepRecord) -> None:
        """Take the record of a step that ended, in whatever way."""
        ...


class Silent:
    """An observer that tells nobody."""

    def planned(self, plan: tuple[PlannedStep, ...], where: str) -> None:
        """Take the plan."""

    def started(self, step: StepRecord) -> None:
        """Take a step that begins."""

    def graph(self, step: str, tasks: int) -> None:
        """Take a graph."""

    def task(self, step: str, event: TaskEvent) -> None:
        """Take a task."""

    def ended(self, step: StepRecord) -> None:
        """Take a step that ended."""


class Runner:
    """One run of a workflow.

    Parameters
    ----------
    workflow : Workflow
        What to do.
    engine : Engine, optional
        Where to compute; default: what the workflow says, started only if there is something to compute.
    selection : Selection, optional
        Which steps; default all.
    observer : Observer, optional
        Who is told.
    """

    def __init__(
        self,
        workflow: Workflow,
        *,
        engine: Engine | None = None,
        selection: Selection | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.workflow = workflow
        self.failures: dict[str, StageError] = {}
        """Step -> its error, of the steps that failed in this run."""
        self._engine = engine
        self._selection = selection
        self._observer = observer or Silent()
        self._store = RunStore(workflow.run)
        self._interrupts = Interrupts()
        self._records: dict[str, StepRecord] = {}
        self._context = Context(run_id=_new_run_id())

    def run(self) -> Context:
        """Do what the plan says and return the context as it then stands.

        Raises
        ------
        ConfigError, ContextError, ClusterError
            Before anything was done.
        KeyboardInterrupt
            The user asked to stop (Ctrl-C or SIGTERM); the step that ran is recorded as stopped.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._interrupts.handled())
            with self._interrupts.allowed():
                # What is wrong with the plan, or a second driver, is found before a cluster is started.
                self._store.check_free()
                plan = plan_steps(self.workflow, self._load(), self._selection)
                engine = self._engine
                if engine is None and any(step.runs for step in plan):
                    engine = stack.enter_context(open_engine(self.workflow.cluster, self.workflow.run))
            stack.enter_context(self._store.lock())
            # Planned again, now that nobody else writes here.
            committed = self._load()
            self._context = committed or self._context
            plan = plan_steps(self.workflow, committed, self._selection)
            stack.enter_context(_log_file(self.workflow.run))
            self._observer.planned(plan, engine.description if engine else "nowhere")
            if engine is not None and any(step.runs for step in plan):
                self._prepare(plan)
                self._run_steps(plan, engine)
        return self._context

    def _load(self) -> Context | None:
        return self._store.load() if self._store.exists() else None

    # --- the steps ---

    def _prepare(self, plan: tuple[PlannedStep, ...]) -> None:
        """Note what waits."""
        now = time.time()
        for planned in plan:
            old = self._context.steps.get(planned.step.id)
            waits = old is None or (planned.runs and old.state is not StepState.DONE)
            self._records[planned.step.id] = _pending(planned, old, now) if waits or old is None else old
        self._context = self._fold(self._records)
        self._store.save_workflow(self.workflow.as_config())
        self._store.save_progress(self._context)

    def _run_steps(self, plan: tuple[PlannedStep, ...], engine: Engine) -> None:
        for planned in plan:
            if not planned.runs:
                continue
            step = planned.step
            missing = [name for name in step.after if self._records[name].state is not StepState.DONE]
            self._interrupts.check()
            if missing:
                self._block(step, missing)
            else:
                self._run_step(step, engine)

    def _block(self, step: Step, missing: list[str]) -> None:
        """Record that a step cannot start."""
        reasons = ", ".join(f"{name} ({self._records[name].state})" for name in missing)
        record = self._records[step.id].model_copy(
            update={"state": StepState.BLOCKED, "error": f"needs {reasons}", "outcome": None, "traceback": None}
        )
        self._commit(record)
        self._observer.ended(record)

    def _run_step(self, step: Step, engine: Engine) -> None:
        """Run one step to its end and commit."""
        record = self._begin(step)
        self._observer.started(record)
        work = _Work(step, engine, self._observer)
        try:
            with self._interrupts.allowed():
                context = self._step_context(step, record.attempt, engine)
                outcome = _check_outcome(work.drive(context), step)
            done = record.model_copy(update={"state": StepState.DONE, "outcome": outcome})
            # A stage whose outcome does not fit to what was there before it has failed, too.
            self._fold({**self._records, step.id: done})
            record = done
        except (Exception, SystemExit) as error:
            record = self._failed(record, error, work.failed_task)
        except BaseException:
            record = record.model_copy(update={"state": StepState.STOPPED, "error": "stopped by the user"})
            raise
        finally:
            record = record.model_copy(update={"stop_s": time.time(), "tasks": work.tasks})
            self._commit(record)
            self._observer.ended(record)

    def _begin(self, step: Step) -> StepRecord:
        """Record that a step runs, and take what needs it out of the context."""
        for later in self.workflow.descendants(step.id):
            old = self._records[later.id]
            if old.state is StepState.DONE:
                self._records[later.id] = old.model_copy(
                    update={"state": StepState.PENDING, "outcome": None, "error": f"step {step.id} was done again"}
                )
        record = StepRecord(
            id=step.id,
            stage=step.stage,
            state=StepState.RUNNING,
            attempt=self._records[step.id].attempt + 1,
            fingerprint=step_fingerprint(self.workflow, step, self._records),
            after=step.after,
            params=step.params.model_dump(mode="json"),
            start_s=time.time(),
            versions=current_versions(),
        )
        self._records[step.id] = record
        self._context = self._fold(self._records)
        self._store.save_progress(self._context)
        logger.info("step %s: attempt %d of stage %s starts", step.id, record.attempt, step.stage)
        return record

    def _step_context(self, step: Step, attempt: int, engine: Engine) -> Context:
        """Return what a step knows: the fold over the steps that it needs, bound to its own attempt."""
        ancestors = (self._records[ancestor.id] for ancestor in self.workflow.ancestors(step.id))
        workspace = Workspace(
            url=self.workflow.run,
            step=step.id,
            attempt=attempt,
            resources=engine.resources(),
            dataset_paths=self.workflow.data.path,
            intents=self.workflow.data.intents,
        )
        return self._context.with_records(ancestors).at(workspace)

    def _failed(self, record: StepRecord, error: Exception | SystemExit, task: str) -> StepRecord:
        """Return the record of a step that raised."""
        text = str(error) if isinstance(error, RadpsError) else f"{type(error).__name__}: {error}"
        text = f"{text} (in task {task})" if task and task not in text else text
        logger.error("step %s failed: %s", record.id, text, exc_info=error)
        failure = StageError(f"step {record.id!r} (stage {record.stage}) failed: {text}")
        failure.__cause__ = error
        self.failures[record.id] = failure
        lines = "".join(traceback.format_exception(error))
        return record.model_copy(update={"state": StepState.FAILED, "error": text, "traceback": lines, "outcome": None})

    # --- the context ---

    def _fold(self, records: dict[str, StepRecord]) -> Context:
        """Return the context of all steps that are done."""
        context = self._context.model_copy(update={"project": self.workflow.project})
        return context.with_records(records[step.id] for step in self.workflow.steps)

    def _commit(self, record: StepRecord) -> None:
        self._records[record.id] = record
        self._context = self._store.commit(self._fold(self._records), record.id)
        logger.info("step %s: %s", record.id, record.state)


class _Work:
    """The computing of one step: drives its stage and counts its tasks."""

    def __init__(self, step: Step, engine: Engine, observer: Observer) -> None:
        self._step = step
        self._engine = engine
        self._observer = observer
        self.tasks = 0
        self.failed_task = ""
        """Key of a task that raised."""

    def drive(self, context: Context) -> Any:
        """Call the stage, compute what it returns or yields, and return its result."""
        result = find_stage(self._step.stage).function(context, self._step.params)
        if isinstance(result, Generator):
            result = self._drive_generator(result)
        return self._compute(result) if isinstance(result, Delayed) else result

    def _drive_generator(self, stage: Generator[Any, Any, Any]) -> Any:
        """Compute each graph that the stage yields and send the result in; errors are raised at its ``yield``."""
        try:
            graph = next(stage)
            while True:
                try:
                    computed = self._compute(graph)
                except Exception as error:
                    graph = stage.throw(error)
                else:
                    graph = stage.send(computed)
        except StopIteration as stop:
            return stop.value
        finally:
            stage.close()

    def _compute(self, graph: object) -> Any:
        if not isinstance(graph, Delayed):
            raise StageError(
                f"stage {self._step.stage} yielded a {type(graph).__name__}; it has to yield graphs (Delayed), "
                "made by the functions of radps.graph_tasks"
            )
        tasks = count_tasks(graph)
        self.tasks += tasks
        self._observer.graph(self._step.id, tasks)
        return self._engine.compute(graph, self._on_task)

    def _on_task(self, event: TaskEvent) -> None:
        if event.failed:
            self.failed_task = event.key
        self._observer.task(self._step.id, event)


def run_workflow(
    workflow: Workflow,
    *,
    engine: Engine | None = None,
    selection: Selection | None = None,
    observer: Observer | None = None,
) -> Context:
    """Run or resume a workflow and return the context; its records say which steps failed. See :class:`Runner`."""
    return Runner(workflow, engine=engine, selection=selection, observer=observer).run()


def _check_outcome(result: object, step: Step) -> Outcome:
    """Return the outcome of a stage as it will be read back.

    Raises
    ------
    StageError
        It is no Outcome, or holds what JSON cannot: NaN in a number, an array in the summary.
    """
    if not isinstance(result, Outcome):
        raise StageError(
            f"stage {step.stage} ended with a {type(result).__name__}; it has to return an Outcome, or a graph "
            "that computes to one"
        )
    try:
        return Outcome.model_validate_json(result.model_dump_json())
    except PydanticSerializationError as error:
        raise StageError(f"the outcome of stage {step.stage} cannot be stored: {error}; use plain numbers") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StageError(
            f"the outcome of stage {step.stage} cannot be stored: {place} reads back as {first['input']!r}; "
            "numbers have to be finite"
        ) from error


def _pending(planned: PlannedStep, old: StepRecord | None, now: float) -> StepRecord:
    """Return the record of a step that waits."""
    return StepRecord(
        id=planned.step.id,
        stage=planned.step.stage,
        state=StepState.PENDING,
        attempt=old.attempt if old else 0,
        fingerprint="",
        after=planned.step.after,
        params=planned.step.params.model_dump(mode="json"),
        start_s=now,
        error=None if old is None else planned.reason,
    )


def _new_run_id() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"


@contextlib.contextmanager
def _log_file(url: str) -> Iterator[None]:
    """Write the log of radps and distributed to ``log.txt`` of a local run folder."""
    if not is_local(url):
        yield
        return
    handler = logging.FileHandler(local_path(join_url(url, LOG)), encoding="utf-8")
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    loggers = (logging.getLogger("radps"), logging.getLogger("distributed"))
    level = loggers[0].level
    loggers[0].setLevel(logging.INFO)
    for each in loggers:
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in loggers:
            each.removeHandler(handler)
        loggers[0].setLevel(level)
        handler.close()
