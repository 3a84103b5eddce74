"""Trials: a step is computed with other parameters, and what it found is accepted or dropped.

1. A trial is an attempt of the step with a number of its own, so that it has places of its own to write to. The number
   is committed before anything is computed: no other attempt ever gets it, whatever becomes of the trial.
2. It starts from what the steps before it left, as the step itself would. Nothing in the run refers to what it makes.
3. To accept it is one commit: its record becomes that of the step, its parameters are kept in the workflow, and what
   needs the step waits. It is refused if the trial is not what the step would compute now: a step before it was done
   again, the step itself was, or the data, the code or the versions changed.
4. To drop it removes its files. One that was forgotten is removed by ``prune``.

The run folder is locked while a trial computes and while it is accepted, and free in between.
"""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import time
from typing import TYPE_CHECKING, Protocol, Self

from radps.context.fingerprint import why_not_done
from radps.context.html import html_heading, html_table
from radps.context.model import Context, Workspace
from radps.context.records import Outcome, StepRecord, StepState
from radps.context.user_code import find_code
from radps.context.versions import current_versions
from radps.errors import ConfigError, ContextError, RadpsError, StageError
from radps.execution.clusters import InProcessCluster, open_engine
from radps.execution.engine import Engine
from radps.run_folder.damage import DamageFinder
from radps.run_folder.events import EventLog
from radps.run_folder.store import RunStore
from radps.stages.base import find_stage
from radps.workflows import attempts
from radps.workflows.cleaning import find_attempt, remove_attempt
from radps.workflows.interrupts import Interrupts
from radps.workflows.log_file import log_to_file
from radps.workflows.model import Step, Workflow
from radps.workflows.plan import step_fingerprint
from radps.workflows.readiness import Readiness, explain, judge
from radps.workflows.step_work import GraphAdded, Message, StepEnded, StepWork, TaskEnded
from radps.workflows.task_book import TaskBook

if TYPE_CHECKING:
    import xarray

logger = logging.getLogger(__name__)


class WorkflowOwner(Protocol):
    """Who knows the workflow as it is wanted: a run that was opened in Python."""

    workflow: Workflow


class TrialState(enum.StrEnum):
    """What became of a trial."""

    OPEN = "open"
    """Neither accepted nor dropped."""
    ACCEPTED = "accepted"
    DROPPED = "dropped"


class Trial:
    """A step that was tried. As a context manager it is dropped at the end, unless it was accepted.

    Parameters
    ----------
    owner : WorkflowOwner
        Whose workflow gets the parameters of a trial that is accepted.
    step : Step
        With the parameters of the trial.
    before : Context
        Of the run, when the trial started.
    record : StepRecord
        Of the attempt, done.
    """

    def __init__(self, owner: WorkflowOwner, step: Step, before: Context, record: StepRecord) -> None:
        self.step = step
        """The step, with the parameters of the trial."""
        self.record = record
        """The record that the step will have if the trial is accepted."""
        self.state = TrialState.OPEN
        """What became of it."""
        self._owner = owner
        self._run = owner.workflow.run
        self._outputs = find_attempt(self._run, step.id, record.attempt)
        self._before = _all_records(owner.workflow, before)
        records = _accepted(owner.workflow, record, self._before)
        self._context = attempts.fold(before, owner.workflow, records).at(Workspace(url=self._run))

    @property
    def outcome(self) -> Outcome:
        """What the stage found."""
        return self.record.outcome or Outcome()

    @property
    def context(self) -> Context:
        """The context as if the trial was accepted: images, ``tree``, scores, records.

        Raises
        ------
        ContextError
            The trial was dropped.
        """
        if self.state is TrialState.DROPPED:
            raise ContextError(f"the trial of step {self.step.id!r} was dropped, and its files are gone; try it again")
        return self._context

    @property
    def tree(self) -> xarray.DataTree:
        """The arrays of the steps, those of the trial among them; see :attr:`Context.tree`."""
        return self.context.tree

    def image(self, name: str) -> xarray.Dataset:
        """Open an image or cube as xarray; see :meth:`Context.image`."""
        return self.context.image(name)

    def accept(self) -> Outcome:
        """Make the trial the result of its step; steps that need it wait to be done again.

        Returns
        -------
        Outcome
            What the stage found.

        Raises
        ------
        ContextError
            It is not what the step would compute now (says why), its files are gone, it was accepted or dropped
            before, or somebody drives the run.
        ConfigError
            The workflow has no such step any more.
        """
        self._check_open()
        workflow = _with_step(self._owner.workflow, self.step)
        store = RunStore(workflow.run)
        with store.lock():
            store.recover()
            context = store.load()
            records = _all_records(workflow, context)
            if reason := self._why_not(workflow, records):
                raise ContextError(
                    f"the trial of step {self.step.id!r} cannot be accepted: {reason}. Drop it, and try again"
                )
            # In this order: a crash in between leaves a step that is done again, and no result with wrong parameters.
            store.save_workflow(workflow.as_config())
            accepted = _accepted(workflow, self.record, records)
            context = store.commit(attempts.fold(context, workflow, accepted), self.step.id)
            with EventLog(store.url, run_id=context.run_id) as log:
                log.write("trial.accepted", step=self.step.id, attempt=self.record.attempt, sequence=context.sequence)
        self._owner.workflow = workflow
        self.state = TrialState.ACCEPTED
        return self.outcome

    def drop(self) -> None:
        """Remove what the trial made; nothing happens if that was done before.

        Raises
        ------
        ContextError
            It was accepted, or its files cannot be removed.
        """
        if self.state is TrialState.ACCEPTED:
            self._check_open()
        remove_attempt(self._run, self.step.id, self.record.attempt)
        self.state = TrialState.DROPPED

    def __enter__(self) -> Self:
        """Return the trial."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop it, unless it was accepted."""
        if self.state is TrialState.OPEN:
            self.drop()

    def _check_open(self) -> None:
        if self.state is not TrialState.OPEN:
            raise ContextError(
                f"the trial of step {self.step.id!r} was {self.state} before; a trial is accepted or dropped once"
            )

    def _why_not(self, workflow: Workflow, records: dict[str, StepRecord]) -> str:
        """Return in words why the trial is not what its step would compute now; empty if it is."""
        for step in (*workflow.ancestors(self.step.id), self.step):
            if step.id not in self._before or _version(records[step.id]) != _version(self._before[step.id]):
                return f"step {step.id} was done again, or changed, since the trial started"
        reason = why_not_done(
            self.record,
            step_fingerprint(workflow, self.step, records),
            stage=self.step.stage,
            params=self.record.params,
            versions=current_versions(workflow.dependencies),
            code=find_code(find_stage(self.step.stage).module),
        )
        if reason := reason or DamageFinder(workflow.run).describe(self.record):
            return reason
        # A stage may write what its outcome does not name.
        gone = set(self._outputs).difference(find_attempt(self._run, self.step.id, self.record.attempt))
        return f"its files are gone: {', '.join(sorted(gone))}" if gone else ""

    def changes(self) -> tuple[tuple[str, str, str], ...]:
        """Return name, value before and value in the trial of every parameter that differs from the last attempt."""
        old = self._before[self.step.id].params
        return tuple(
            (name, json.dumps(old[name]) if name in old else "(none)", json.dumps(value))
            for name, value in self.record.params.items()
            if name not in old or old[name] != value
        )

    def __repr__(self) -> str:
        changes = ", ".join(f"{name}={new}" for name, _, new in self.changes())
        return f"Trial({self.step.id!r}, attempt {self.record.attempt}, {changes or 'no change'}: {self.state})"

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        outcome = self.outcome
        how = "accept() makes it the result of the step, drop() removes it" if self.state is TrialState.OPEN else ""
        images = (
            (one.name, one.kind, *(f"{number:.4g}" for number in (one.statistics.max, one.statistics.rms)))
            for one in outcome.images
        )
        return "".join(
            (
                html_heading(f"Trial of step {self.step.id} (attempt {self.record.attempt}): {self.state}. {how}"),
                html_table("Parameters", ("parameter", "before", "trial"), self.changes()),
                html_table("Result", ("status", "message"), ((outcome.status, outcome.message),)),
                html_table(
                    "Quality",
                    ("QA", "score", "of", "message"),
                    ((one.name, f"{one.score:.2f}", one.applies_to, one.message) for one in outcome.qa),
                ),
                html_table("Images", ("image", "kind", "max", "rms"), images),
            )
        )


def try_step(owner: WorkflowOwner, step: Step) -> Trial:
    """Compute a step in this process, without making it the result of the step.

    Parameters
    ----------
    owner : WorkflowOwner
        The run.
    step : Step
        One of its steps, with the parameters to try.

    Raises
    ------
    StageError
        The step failed; nothing is left of the trial.
    ConfigError
        A step before it is not done.
    ContextError
        There is no run, it is damaged, or somebody drives it.
    """
    workflow = _with_step(owner.workflow, step)
    interrupts = Interrupts()
    store = RunStore(workflow.run)
    store.load()  # a folder that is no run gets no lock
    with contextlib.ExitStack() as stack:
        stack.enter_context(interrupts.handled())
        engine = stack.enter_context(open_engine(InProcessCluster()))
        stack.enter_context(store.lock(lambda notice: interrupts.request(notice.by)))
        store.recover()
        context = store.load()
        _check_inputs(workflow, step, _all_records(workflow, context))
        stack.enter_context(log_to_file(workflow.run))
        log = stack.enter_context(EventLog(store.url, run_id=context.run_id))
        attempt = attempts.next_attempt(context, step.id)
        context = store.commit(attempts.with_attempt(context, step.id, attempt), step.id)
        log.write("trial.started", step=step.id, stage=step.stage, attempt=attempt)
        try:
            record = _compute(workflow, step, context, attempt, engine, interrupts)
        except BaseException as error:
            remove_attempt(store.url, step.id, attempt)
            state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            log.write("trial.ended", step=step.id, attempt=attempt, state=state, message=str(error))
            raise
        message = "" if record.outcome is None else record.outcome.message
        log.write("trial.ended", step=step.id, attempt=attempt, state=str(record.state), message=message)
    return Trial(owner, step, context, record)


def _compute(
    workflow: Workflow, step: Step, context: Context, attempt: int, engine: Engine, interrupts: Interrupts
) -> StepRecord:
    """Compute the attempt and return its record."""
    records = _all_records(workflow, context)
    record = attempts.running_record(
        workflow,
        step,
        records,
        attempt=attempt,
        fingerprint=step_fingerprint(workflow, step, records),
        resources=engine.resources(),
        cluster=engine.description,
    )
    book = TaskBook()

    def take(message: Message) -> None:
        if isinstance(message, GraphAdded):
            book.add_graph(message.tasks)
        elif isinstance(message, TaskEnded):
            book.add(message.event)

    work = StepWork(step, engine, take)
    kept = attempts.read_ledgers(workflow.run, record)
    own = attempts.step_context(context, workflow, step, records, record, engine.host(work.on_task), kept)
    with interrupts.allowed():
        ended = work.run(own)
    record = record.model_copy(update={"stop_s": max(time.time(), record.start_s), **book.counts()})
    record = _finish(workflow, context, records, record, ended, own.place().parts_used)
    attempts.drop_ledger(workflow.run, record)
    attempts.keep_task_records(workflow.run, record, book)
    return record


def _finish(
    workflow: Workflow,
    context: Context,
    records: dict[str, StepRecord],
    record: StepRecord,
    ended: StepEnded,
    parts: dict[str, int],
) -> StepRecord:
    """Return the record of the attempt that ended; raises StageError if it failed."""
    error = ended.error
    if error is None:
        try:
            accepted = _accepted(workflow, record, records)
            return attempts.finished_record(context, workflow, accepted, record, ended.outcome or Outcome(), parts)
        except (RadpsError, OSError) as misfit:
            error = misfit
    text = attempts.failure_text(error, ended.task)
    logger.error("trial of step %s failed: %s", record.id, text, exc_info=error)
    raise StageError(f"the trial of step {record.id!r} (stage {record.stage}) failed: {text}") from error


def _check_inputs(workflow: Workflow, step: Step, records: dict[str, StepRecord]) -> None:
    """Refuse a step that could not start now."""
    if judge(step, records) is not Readiness.START:
        raise ConfigError(
            workflow.source,
            [f"step {step.id!r} cannot be tried now: {explain(step, records)}; run the steps before it first"],
        )


def _all_records(workflow: Workflow, context: Context) -> dict[str, StepRecord]:
    """Return the record of every step of a workflow, whether it was ever run or not."""
    return {step.id: context.steps.get(step.id) or attempts.waiting_record(step) for step in workflow.steps}


def _accepted(workflow: Workflow, record: StepRecord, records: dict[str, StepRecord]) -> dict[str, StepRecord]:
    """Return the records of all steps with that of a trial in its place; what needs its step waits."""
    return {**records, **attempts.outdated_followers(workflow, record.id, records), record.id: record}


def _version(record: StepRecord) -> tuple[bool, int, int, str]:
    """Return what tells one result of a step from another."""
    return record.state is StepState.DONE, record.attempt, record.resumed, record.fingerprint


def _with_step(workflow: Workflow, step: Step) -> Workflow:
    """Return a workflow with a step in the place of the one that has its id."""
    workflow.step(step.id)
    steps = tuple(step if one.id == step.id else one for one in workflow.steps)
    return workflow.model_copy(update={"steps": steps})
