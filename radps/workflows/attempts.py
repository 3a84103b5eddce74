"""Attempts of steps: their numbers, their records, what they know. A run and a trial have all of it in common.

An attempt writes to places that carry its number. So a number is given once, whatever becomes of the attempt:
``Context.last_attempts`` has the highest one of each step, trials and steps that have left the workflow included.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence

from radps.context.model import Context, Workspace
from radps.context.records import Outcome, Resources, StepRecord, StepState
from radps.context.versions import current_versions
from radps.data import stores
from radps.data.files import store_errors
from radps.data.output_stamps import OutputStamp
from radps.errors import RadpsError
from radps.node_tasks import ledger
from radps.node_tasks.guard import TaskHost, TaskRules
from radps.node_tasks.ledger import Entry, ledger_url
from radps.run_folder.damage import find_damage, stamp_outputs
from radps.run_folder.task_records import save_task_records, task_records_url
from radps.workflows.model import Step, Workflow
from radps.workflows.plan import PlannedStep, PlanState, step_provenance
from radps.workflows.policy import When
from radps.workflows.task_book import TaskBook

logger = logging.getLogger(__name__)

_MARK_LENGTH = 8


# --- numbers ---


def next_attempt(context: Context, step: str) -> int:
    """Return the number of the next attempt of a step: one that no attempt of it ever had."""
    record = context.steps.get(step)
    # A run folder from before numbers were kept knows that of the record alone.
    return max(context.last_attempts.get(step, 0), 0 if record is None else record.attempt) + 1


def with_attempt(context: Context, step: str, attempt: int) -> Context:
    """Return the context that knows that an attempt has its number."""
    return context.model_copy(update={"last_attempts": {**context.last_attempts, step: attempt}})


def goes_on(old: StepRecord, fingerprint: str, offered: Resources) -> bool:
    """Return True if the last attempt of a step goes on: it was not finished, and nothing changed since.

    It keeps its plan of chunks, so that those that are finished count; their memory has to fit.
    """
    is_begun = old.attempt > 0 and old.state is not StepState.DONE
    return is_begun and old.fingerprint == fingerprint and _fits(old, offered)


def keeps_plan(old: StepRecord, offered: Resources) -> bool:
    """Return True if a new attempt plans its chunks as the last one did, so that parts that are the same count."""
    return bool(old.parts) and _fits(old, offered)


def _fits(old: StepRecord, offered: Resources) -> bool:
    return old.resources is not None and old.resources.memory_bytes <= offered.memory_bytes


def known_parts(old: StepRecord, run_url: str) -> dict[str, int]:
    """Return the parts of the work of a step that need not be done again if their inputs are the same."""
    return old.parts if old.parts and not find_damage(old, run_url) else {}


# --- records ---


def waiting_record(step: Step, start_s: float | None = None) -> StepRecord:
    """Return the record of a step that was never run."""
    return StepRecord(
        id=step.id,
        stage=step.stage,
        state=StepState.PENDING,
        attempt=0,
        fingerprint="",
        after=step.after,
        params=step.params.model_dump(mode="json"),
        start_s=time.time() if start_s is None else start_s,
    )


def planned_records(plan: Sequence[PlannedStep], records: Mapping[str, StepRecord]) -> dict[str, StepRecord]:
    """Return the records of the steps of a plan before anything is done.

    What is done stays until it begins, unless its plan says that it runs and a step that it needs has no result any
    more, which happens when a step gets another name or leaves the config.
    """
    found: dict[str, StepRecord] = {}
    for planned in plan:
        step, old = planned.step, records.get(planned.step.id)
        old = waiting_record(step) if old is None else old
        if planned.state is PlanState.SKIPPED:
            # It may be done: the config says now that it is there for a failure.
            update = {"state": StepState.SKIPPED, "error": planned.reason, "outcome": None, "traceback": None}
            new = old if old.state is StepState.SKIPPED else without_result(old).model_copy(update=update)
            found[step.id] = as_in_config(step, new)
        elif planned.runs and old.state is StepState.DONE and not _has_inputs(step, found):
            found[step.id] = _waiting_again(planned, without_result(old))
        elif planned.runs and old.state is not StepState.DONE:
            found[step.id] = _waiting_again(planned, old)
        else:
            found[step.id] = old if old.attempt else as_in_config(step, old)
    return found


def as_in_config(step: Step, record: StepRecord) -> StepRecord:
    """Return the record of a step that has no result with what the config says of it now."""
    params = step.params.model_dump(mode="json")
    return record.model_copy(update={"stage": step.stage, "after": step.after, "params": params})


def _has_inputs(step: Step, records: Mapping[str, StepRecord]) -> bool:
    """Return True if every step before one has a result, or is not needed to have one."""
    return step.when is not When.SUCCESS or all(records[name].outcome is not None for name in step.after)


def _waiting_again(planned: PlannedStep, old: StepRecord) -> StepRecord:
    """Return the record of a step that waits; what is needed to go on with its last attempt is kept."""
    kept = ("attempt", "fingerprint", "resources", "resumed", "retries", "last_error", "versions", "parts", "outputs")
    update = {"error": planned.reason, **{name: getattr(old, name) for name in kept}}
    return waiting_record(planned.step).model_copy(update=update)


def running_record(
    workflow: Workflow,
    step: Step,
    records: Mapping[str, StepRecord],
    *,
    attempt: int,
    fingerprint: str,
    resources: Resources | None,
    cluster: str,
    resumed: int = 0,
    parts: Mapping[str, int] | None = None,
    outputs: Mapping[str, OutputStamp] | None = None,
) -> StepRecord:
    """Return the record of a step that begins now.

    Parameters
    ----------
    workflow, step
        What is done.
    records : mapping
        Of all steps.
    attempt, fingerprint
        Of this attempt.
    resources : Resources or None
        What its chunks are planned for.
    cluster : str
        Where it is computed, in words.
    resumed : int
        How often this attempt was interrupted and went on.
    parts, outputs : mapping, optional
        Of the last attempt: what need not be done again if its inputs are the same.
    """
    return StepRecord(
        id=step.id,
        stage=step.stage,
        state=StepState.RUNNING,
        attempt=attempt,
        fingerprint=fingerprint,
        after=step.after,
        params=step.params.model_dump(mode="json"),
        start_s=time.time(),
        resumed=resumed,
        resources=resources,
        parts=dict(parts or {}),
        outputs=dict(outputs or {}),
        versions=current_versions(workflow.dependencies),
        provenance=step_provenance(workflow, step, dict(records), cluster),
    )


def finished_record(
    context: Context,
    workflow: Workflow,
    records: Mapping[str, StepRecord],
    record: StepRecord,
    outcome: Outcome,
    parts: Mapping[str, int],
) -> StepRecord:
    """Return the record of a step that ended with an outcome; ``parts`` says which attempt made each part of it.

    Raises
    ------
    ContextError
        The outcome does not fit to what was there before it.
    """
    done = record.model_copy(update={"state": StepState.DONE, "outcome": outcome})
    fold(context, workflow, {**records, record.id: done})
    return done.model_copy(update={"outputs": stamp_outputs(done, workflow.run), "parts": dict(parts)})


def outdated_followers(workflow: Workflow, step: str, records: Mapping[str, StepRecord]) -> dict[str, StepRecord]:
    """Return new records of the steps that are done and need a step which is done again: they wait."""
    return {
        later.id: without_result(records[later.id], f"step {step} was done again")
        for later in workflow.descendants(step)
        if records[later.id].state is StepState.DONE
    }


def without_result(record: StepRecord, reason: str | None = None) -> StepRecord:
    """Return the record of a step that waits, though it was done: of an attempt that was finished nothing goes on."""
    if record.state is not StepState.DONE:
        return record
    # An attempt goes on if its fingerprint is the same; this one has ended.
    update = {"state": StepState.PENDING, "outcome": None, "error": reason, "fingerprint": ""}
    return record.model_copy(update=update)


def failure_text(error: BaseException, task: str) -> str:
    """Return in words why a step failed; ``task`` is the key of the task that raised, if it was one."""
    text = str(error) if isinstance(error, RadpsError) else f"{type(error).__name__}: {error}"
    return f"{text} (in task {task})" if task and task not in text else text


# --- what an attempt knows ---


def fold(context: Context, workflow: Workflow, records: Mapping[str, StepRecord]) -> Context:
    """Return the context of all steps that are done."""
    context = context.model_copy(update={"project": workflow.project})
    return context.with_records(records[step.id] for step in workflow.steps)


def step_context(
    context: Context,
    workflow: Workflow,
    step: Step,
    records: Mapping[str, StepRecord],
    record: StepRecord,
    host: TaskHost | None,
    kept: Mapping[int, Mapping[str, Entry]],
) -> Context:
    """Return what a step knows: the fold over the steps that it needs, bound to its own attempt.

    Parameters
    ----------
    context : Context
        Of the run.
    workflow, step
        What is done.
    records : mapping
        Of all steps.
    record : StepRecord
        Of this attempt.
    host : TaskHost or None
        Of the engine that computes it.
    kept : mapping
        Of :func:`read_ledgers`.
    """
    ancestors = (records[ancestor.id] for ancestor in workflow.ancestors(step.id))
    url = workflow.run
    # A copy of a run folder has its id; two drivers of one folder there are not.
    mark = hashlib.sha256(f"{url} {context.run_id}".encode()).hexdigest()[:_MARK_LENGTH]
    workspace = Workspace(
        url=url,
        step=step.id,
        stage=step.stage,
        fingerprint=record.fingerprint,
        versions=record.versions,
        attempt=record.attempt,
        resources=record.resources or Resources(),
        dataset_paths=workflow.data.path,
        intents=workflow.data.intents,
        data_stamps={one.path: one.sha256 for one in (record.provenance.inputs if record.provenance else ())},
        mark=mark,
        rules=TaskRules(
            ledger_url=ledger_url(url, step.id, record.attempt),
            mark=mark,
            host=host,
            retries=step.policy.retries,
            retry_delay_s=step.policy.retry_delay,
            timeout_s=step.policy.task_timeout,
            faults=workflow.faults,
        ),
        finished={attempt: frozenset(names) for attempt, names in kept.items()},
        parts=record.parts,
    )
    return context.with_records(ancestors).at(workspace)


# --- what is kept of its tasks ---


def read_ledgers(run_url: str, record: StepRecord) -> dict[int, dict[str, Entry]]:
    """Return attempt -> file -> entry of the tasks whose results an attempt may use.

    They are read once: there may be a hundred thousand. Unless the attempt goes on, a ledger that has its name is
    removed.

    Raises
    ------
    OSError
        The run folder cannot be read.
    """
    with store_errors(run_url):
        if not record.resumed:
            stores.delete(ledger_url(run_url, record.id, record.attempt))
        used = {record.attempt, *record.parts.values()}
        return {attempt: ledger.load_done(ledger_url(run_url, record.id, attempt)) for attempt in used}


def open_book(record: StepRecord, kept: Mapping[int, Mapping[str, Entry]]) -> TaskBook:
    """Return the book of an attempt that begins or goes on: with the tasks that had ended before it was interrupted."""
    if not record.resumed:
        return TaskBook()
    ended = {key: entry for name, entry in kept[record.attempt].items() if (key := ledger.task_of(name))}
    return TaskBook(record.retries, record.last_error, ended)


def keep_task_records(run_url: str, record: StepRecord, book: TaskBook) -> None:
    """Keep what became of each task; that it cannot be kept is no reason to lose the step."""
    try:
        with store_errors(run_url):
            save_task_records(task_records_url(run_url, record.id, record.attempt), book.records())
    except (OSError, RadpsError):
        logger.warning("the records of the tasks of step %s cannot be written", record.id, exc_info=True)


def drop_ledger(run_url: str, record: StepRecord) -> None:
    """Remove the results of single tasks of a step that is done, unless a later attempt may take parts of them over."""
    if record.parts:
        return
    try:
        with store_errors(run_url):
            stores.delete(ledger_url(run_url, record.id, record.attempt))
    except OSError:
        logger.warning("the ledger of step %s cannot be removed; `radps-run prune` does", record.id, exc_info=True)
