"""The plan of a run: which steps are done, which have to be done, and why."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from typing import NamedTuple

from radps.context.fingerprint import code_stamp, data_stamp, files_stamp, fingerprint, inputs_differ, why_not_done
from radps.context.html import html_table
from radps.context.model import Context
from radps.context.provenance import Provenance, StepRead, collect_provenance
from radps.context.records import StepRecord, StepState
from radps.context.user_code import find_code
from radps.context.versions import current_versions
from radps.errors import ConfigError
from radps.run_folder.damage import DamageFinder
from radps.stages.base import find_stage
from radps.workflows.data_paths import replace_texts
from radps.workflows.model import Step, Workflow
from radps.workflows.policy import When
from radps.workflows.readiness import FAILED


class PlanState(enum.StrEnum):
    """Where a step stands before the run."""

    DONE = "done"
    """Up to date: nothing to do."""
    NEW = "new"
    """Never run."""
    CHANGED = "changed"
    """Done, but its parameters, data, code or the software changed, or files that it wrote."""
    STALE = "stale"
    """Done, but a step that it needs is done again, or was since."""
    AGAIN = "again"
    """Failed or was interrupted, or the user asked to do it again."""
    SKIPPED = "skipped"
    """It is there for a failure, and nothing failed."""
    LEFT_OUT = "left out"
    """The user did not select it."""


class PlannedStep(NamedTuple):
    """One step of the plan."""

    step: Step
    state: PlanState
    runs: bool
    reason: str


class Plan(NamedTuple):
    """What a run would do, for people: it shows itself as a table."""

    run: str
    """URL of the run folder."""
    steps: tuple[PlannedStep, ...]
    """In the order of the workflow."""

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of the steps that would run."""
        return tuple(planned.step.id for planned in self.steps if planned.runs)

    def __repr__(self) -> str:
        """Return a line for each step, in columns."""
        names = max(len(planned.step.id) for planned in self.steps)
        states = max(len(planned.state) for planned in self.steps)
        lines = (
            f"{planned.step.id:{names}}  {planned.state:{states}}  {'runs' if planned.runs else '':4}  {planned.reason}"
            for planned in self.steps
        )
        return "\n".join((*lines, self._summary()))

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        rows = (
            (planned.step.id, planned.state, "yes" if planned.runs else "no", planned.reason) for planned in self.steps
        )
        return html_table(self._summary(), ("step", "state", "runs", "why"), rows)

    def _summary(self) -> str:
        return f"{len(self.running)} of {len(self.steps)} steps would run, in {self.run}"


class Selection(NamedTuple):
    """Which steps the user wants; the default is all of them, done again only if something changed."""

    start: str | None = None
    """This step and those that need it."""
    until: str | None = None
    """This step and those that it needs."""
    only: tuple[str, ...] = ()
    """These steps."""
    redo: tuple[str, ...] = ()
    """These steps are done again, changed or not."""
    pause_before: tuple[str, ...] = ()
    """The run stops before these steps; what does not need them goes on."""

    def names(self) -> tuple[str, ...]:
        """Return every step that is named."""
        return tuple(
            name for name in (self.start, self.until, *self.only, *self.redo, *self.pause_before) if name is not None
        )


def plan_steps(
    workflow: Workflow,
    context: Context | None,
    selection: Selection | None = None,
    damage: DamageFinder | None = None,
) -> tuple[PlannedStep, ...]:
    """Return what a run would do, in the order of the workflow.

    Parameters
    ----------
    workflow : Workflow
        What is wanted.
    context : Context or None
        What is there; None for a new run.
    selection : Selection, optional
        Which steps; default all.
    damage : DamageFinder, optional
        Of the run folder, for whoever plans twice; default: a new one.

    Raises
    ------
    ConfigError
        The selection names unknown steps, or a step whose inputs are neither there nor selected.
    DataError
        A data set is not there, or what a step wrote cannot be listed.
    """
    selection = selection or Selection()
    damage = damage or DamageFinder(workflow.run)
    _check_names(workflow, selection)
    selected = _selected(workflow, selection)
    records = dict(context.steps) if context else {}
    versions = current_versions(workflow.dependencies)
    planned: dict[str, PlannedStep] = {}
    for step in workflow.steps:
        planned[step.id] = _plan_step(workflow, step, records, planned, selected, selection.redo, versions, damage)
    _check_inputs(workflow, planned, records)
    return tuple(planned.values())


def step_fingerprint(workflow: Workflow, step: Step, records: dict[str, StepRecord]) -> str:
    """Return the fingerprint that a step has now; the steps before it have to be in ``records``."""
    stage = find_stage(step.stage)
    data = data_stamp(workflow.data.path, workflow.data.intents) if stage.params_model.reads_data else ""
    # Files count by what is in them, wherever they lie.
    names = {path: os.path.basename(path) for path in step.params.files_read() if os.path.isabs(path)}
    return fingerprint(
        stage=step.stage,
        params=replace_texts(step.params.model_dump(mode="json"), names),
        code=code_stamp(find_code(stage.module)),
        versions=current_versions(workflow.dependencies),
        data=data,
        files=files_stamp(step.params.files_read()),
        ancestors=[records[name] for name in step.after],
    )


def step_provenance(workflow: Workflow, step: Step, records: dict[str, StepRecord], cluster: str) -> Provenance:
    """Return the provenance of a step that begins now; ``cluster`` says in words where it is computed."""
    stage = find_stage(step.stage)
    before = (records[ancestor.id] for ancestor in workflow.ancestors(step.id))
    return collect_provenance(
        stage_module=stage.module,
        cluster=cluster,
        versions=current_versions(workflow.dependencies),
        data_paths=workflow.data.path if stage.params_model.reads_data else (),
        files=step.params.files_read(),
        steps_read=[StepRead(step=one.id, attempt=one.attempt, fingerprint=one.fingerprint) for one in before],
    )


def _plan_step(
    workflow: Workflow,
    step: Step,
    records: dict[str, StepRecord],
    planned: dict[str, PlannedStep],
    selected: set[str],
    redo: tuple[str, ...],
    versions: dict[str, str],
    damage: DamageFinder,
) -> PlannedStep:
    """Return the plan of one step; those before it are planned."""
    record = records.get(step.id)
    done = record is not None and record.state is StepState.DONE
    if step.id not in selected:
        gone = [name for name in step.after if planned[name].runs or planned[name].state is PlanState.STALE]
        if done and gone:
            reason = f"not selected; what it made is dropped, after {', '.join(gone)}, until it is done again"
            return PlannedStep(step, PlanState.STALE, False, reason)
        reason = "not selected; what it made before stays" if done else "not selected"
        return PlannedStep(step, PlanState.LEFT_OUT, False, reason)
    if step.id in redo:
        return PlannedStep(step, PlanState.AGAIN, True, "asked for by --redo")
    if record is not None and (lost := damage.describe(record)):
        return PlannedStep(step, PlanState.CHANGED, True, lost)
    before = [name for name in step.after if planned[name].runs]
    if step.when is When.FAILURE:
        if before:
            return PlannedStep(step, PlanState.NEW, True, f"if {' or '.join(before)} should fail")
        may_fail = [name for name in step.after if planned[name].state is not PlanState.SKIPPED]
        if not any(name in records and records[name].state in FAILED for name in may_fail):
            return PlannedStep(step, PlanState.SKIPPED, False, f"no failure of {', '.join(step.after)}")
    if step.when is When.SUCCESS and (skipped := _skipped(step, planned)):
        return PlannedStep(step, PlanState.SKIPPED, False, f"needs {', '.join(skipped)}, which is skipped")
    # It was done or begun when a step before it was done again.
    waits = record is not None and record.state is StepState.PENDING and record.attempt > 0
    if (done or waits) and before:
        return PlannedStep(step, PlanState.STALE, True, f"after {', '.join(before)}, which will run")
    dropped = [name for name in _skipped(step, planned) if name in records and records[name].state is StepState.DONE]
    if done and dropped:
        return PlannedStep(step, PlanState.STALE, True, f"after {', '.join(dropped)}, which is skipped now")
    if not done and (record is None or record.attempt == 0):
        return PlannedStep(step, PlanState.NEW, True, "never run")
    if any(name not in records for name in step.after):
        return PlannedStep(step, PlanState.AGAIN, True, "what it needs is not done")
    now = step_fingerprint(workflow, step, records)
    reason = why_not_done(
        record,
        now,
        stage=step.stage,
        params=step.params.model_dump(mode="json"),
        versions=versions,
        code=find_code(find_stage(step.stage).module),
    )
    if not reason:
        return PlannedStep(step, PlanState.DONE, False, "unchanged")
    if record is not None and waits and inputs_differ(record.fingerprint, now):
        return PlannedStep(step, PlanState.STALE, True, reason)
    return PlannedStep(step, PlanState.CHANGED if done else PlanState.AGAIN, True, reason)


def _skipped(step: Step, planned: dict[str, PlannedStep]) -> tuple[str, ...]:
    """Return the steps before one that do not run because nothing failed."""
    return tuple(name for name in step.after if planned[name].state is PlanState.SKIPPED)


def _check_names(workflow: Workflow, selection: Selection) -> None:
    """Refuse names that are no steps, all of them at once."""
    problems: list[str] = []
    for name in dict.fromkeys(selection.names()):
        try:
            workflow.step(name)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError("selection of steps", problems)


def _selected(workflow: Workflow, selection: Selection) -> set[str]:
    """Return the ids of the selected steps."""
    selected = {step.id for step in workflow.steps}
    if selection.start is not None:
        selected &= {selection.start, *(step.id for step in workflow.descendants(selection.start))}
    if selection.until is not None:
        selected &= {selection.until, *(step.id for step in workflow.ancestors(selection.until))}
    if selection.only:
        selected &= set(selection.only)
    if not selected:
        raise ConfigError(
            "selection of steps",
            [
                f"the options {', '.join(_options_of(selection))} leave out every step: a step has to be in all of "
                "them; drop one"
            ],
        )
    if problems := [
        f"step {name!r} is to be done again, but the other options leave it out; drop one of them"
        for name in selection.redo
        if name not in selected
    ]:
        raise ConfigError("selection of steps", problems)
    return selected


def _options_of(selection: Selection) -> Iterator[str]:
    """Yield the options that leave out steps, as they are written on the command line."""
    named = (("--from", selection.start), ("--until", selection.until), *(("--only", name) for name in selection.only))
    yield from (f"{option} {name}" for option, name in named if name is not None)


def _check_inputs(workflow: Workflow, planned: dict[str, PlannedStep], records: dict[str, StepRecord]) -> None:
    """Refuse steps that would run although what they need is neither done nor selected."""
    problems = []
    for step in workflow.steps:
        if not planned[step.id].runs or step.when is not When.SUCCESS:
            continue
        for name in step.after:
            record = records.get(name)
            is_there = record is not None and record.state is StepState.DONE
            dropped = planned[name].state is PlanState.STALE and not planned[name].runs
            if dropped or (planned[name].state is PlanState.LEFT_OUT and not is_there):
                problems.append(
                    f"step {step.id!r} needs step {name!r}, which is not done; run it first: --until {name}"
                )
    if problems:
        raise ConfigError("selection of steps", problems)
