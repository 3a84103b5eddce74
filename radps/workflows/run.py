"""The runner: carries out the plan, starts each step as soon as those before it have ended, commits each result.

1. Lock the run folder, read the context, plan.
2. A step starts when the steps before it have ended and ``when`` says so: its context is the fold over the outcomes of
   the steps that it needs. On a cluster every step is driven by a thread of its own; without one they run in the main
   thread, one after the other, so that a debugger works.
3. Threads send messages; the main thread alone changes records, commits, and tells the observer.
4. A step that fails is recorded with its traceback and blocks only what needs it. An interrupt is recorded too, and
   raised again. An attempt that was not finished goes on where it ended: finished tasks are in its ledger.

The context as it stands is the fold over all steps that are done. A step that starts again takes the steps that need it
out of that fold at once: their results are of another input.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import secrets
import threading
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from radps.context.model import Context
from radps.context.records import Resources, StepRecord, StepState
from radps.errors import ClusterError, ClusterLostError, DataError, RadpsError, StageError
from radps.execution.engine import Engine, StoppedError
from radps.node_tasks.guard import TaskEnd
from radps.run_folder.damage import DamageFinder
from radps.run_folder.events import EventLog
from radps.run_folder.heartbeat import Notice
from radps.run_folder.store import RunStore
from radps.workflows import attempts
from radps.workflows.engine_place import EnginePlace, describe_engine
from radps.workflows.interrupts import Interrupts
from radps.workflows.log_file import log_to_file
from radps.workflows.model import Step, Workflow
from radps.workflows.observers import LoggedObserver, Observer, Silent
from radps.workflows.plan import PlannedStep, Selection, plan_steps, step_fingerprint
from radps.workflows.readiness import Readiness, explain, judge
from radps.workflows.step_work import GraphAdded, Message, StepEnded, StepWork, TaskEnded
from radps.workflows.task_book import TaskBook

logger = logging.getLogger(__name__)

_LOOK_S = 0.2
_BETWEEN_SAVES_S = 2.0
_BETWEEN_SAVES_OF_RETRIES_S = 0.5


class _Running(NamedTuple):
    """A step that is being computed."""

    step: Step
    work: StepWork
    book: TaskBook
    context: Context


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
    on_pause : callable, optional
        Is asked at a step to pause before, when nothing else is left to do: True goes on. Default: the run ends there.
    """

    def __init__(
        self,
        workflow: Workflow,
        *,
        engine: Engine | None = None,
        selection: Selection | None = None,
        observer: Observer | None = None,
        on_pause: Callable[[str], bool] | None = None,
    ) -> None:
        self.workflow = workflow
        self.failures: dict[str, StageError] = {}
        """Step -> its error, of the steps that failed in this run."""
        self._place = EnginePlace(workflow, engine)
        self._announced: Engine | None = None
        self._selection = selection or Selection()
        self._observer = observer or Silent()
        self._on_pause = on_pause or (lambda step: False)
        self._store = RunStore(workflow.run)
        self._interrupts = Interrupts()
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._records: dict[str, StepRecord] = {}
        self._waiting: dict[str, Step] = {}
        self._running: dict[str, _Running] = {}
        self._breakpoints = set(self._selection.pause_before)
        self._redo = set(self._selection.redo)
        self._context = Context(run_id=_new_run_id())
        self._is_paused = False
        self._saved_s = 0.0

    def run(self) -> Context:
        """Do what the plan says and return the context as it then stands.

        Raises
        ------
        ConfigError, ContextError, ClusterError
            Before anything was done.
        KeyboardInterrupt
            The user asked to stop (Ctrl-C, SIGTERM, `radps-run stop`); the steps that ran are recorded as stopped.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._interrupts.handled())
            stack.enter_context(self._place)
            with self._interrupts.allowed():
                # What is wrong with the plan, or a second driver, is found before a cluster is started.
                self._store.check_free()
                damage = DamageFinder(self.workflow.run)
                self._start_cluster(plan_steps(self.workflow, self._load(), self._selection, damage))
            driver = stack.enter_context(self._store.lock(self._hear))
            recovered = self._store.recover()
            # Planned again, now that nobody else writes here.
            committed = self._load()
            self._context = committed or self._context
            plan = plan_steps(self.workflow, committed, self._selection, damage)
            stack.enter_context(log_to_file(self.workflow.run))
            if not any(planned.runs for planned in plan):
                self._observer.planned(plan, "nowhere")
                self._take_over(plan)
                return self._context
            where = describe_engine(self._place.engine())
            log = stack.enter_context(EventLog(self.workflow.run, run_id=self._context.run_id))
            self._observer = LoggedObserver(self._observer, log)
            if driver.taken_over_from:
                self._observer.noted("lock.taken_over", {"from": driver.taken_over_from})
            if recovered:
                self._observer.noted("context.recovered", {"message": recovered})
            self._observer.planned(plan, where)
            self._observer.noted("run.started", {"driver": str(driver), "cluster": where})
            self._prepare(plan)
            self._run_steps()
        return self._context

    def _hear(self, notice: Notice) -> None:
        """Take what the heartbeat of the lock has found: a request to stop, or the loss of the lock."""
        self._interrupts.request(notice.by)

    def _load(self) -> Context | None:
        return self._store.load() if self._store.exists() else None

    def _start_cluster(self, plan: tuple[PlannedStep, ...]) -> None:
        """Start or reach the cluster if there is something to compute, and see that it has what the steps ask for."""
        wanted = [planned.step for planned in plan if planned.runs]
        if wanted:
            engine = self._place.engine()
            for step in wanted:
                if step.policy.resources:
                    engine.check_offers(step.policy.resources)

    # --- the loop ---

    def _prepare(self, plan: tuple[PlannedStep, ...]) -> None:
        """Note what waits."""
        self._records = attempts.planned_records(plan, self._context.steps)
        self._waiting = {planned.step.id: planned.step for planned in plan if planned.runs}
        self._context = self._fold(self._records)
        self._store.save_workflow(self.workflow.as_config())
        self._store.save_progress(self._context)

    def _take_over(self, plan: tuple[PlannedStep, ...]) -> None:
        """Keep what a config changes though no step has to be done: steps that left it, how steps are run."""
        context = attempts.fold(self._context, self.workflow, attempts.planned_records(plan, self._context.steps))
        if context != self._context:
            self._context = self._store.commit(context, "workflow")
        self._store.save_workflow(self.workflow.as_config())

    def _run_steps(self) -> None:
        """Start steps and take messages until nothing is left to do."""
        try:
            while self._waiting or self._running:
                self._interrupts.check()
                if self._start_ready() or self._take_messages():
                    continue
                if not self._go_on_after_pause():
                    break
        except BaseException as error:
            self._stop_all(error)
            raise
        self._observer.noted("run.ended", {"state": self._state(), "exit_code": int(bool(self.failures))})

    def _start_ready(self) -> bool:
        """Start, block or skip every step whose predecessors have ended; returns True if there was one."""
        progress = False
        for step in tuple(self._waiting.values()):
            if self._waits_for_others(step):
                continue
            readiness = judge(step, self._records)
            if readiness is Readiness.START:
                if step.id not in self._breakpoints:
                    self._interrupts.check()
                    del self._waiting[step.id]
                    self._start(step)
                    progress = True
            else:
                del self._waiting[step.id]
                self._leave_out(step, StepState.BLOCKED if readiness is Readiness.BLOCK else StepState.SKIPPED)
                progress = True
        return progress

    def _take_messages(self) -> bool:
        """Wait a little for messages and take those that are there; returns False if no step runs."""
        if not self._running:
            return False
        with contextlib.suppress(queue.Empty):
            self._take(self._messages.get(timeout=_LOOK_S))
            # No more than are there now: whoever wants to stop is heard in between.
            for _ in range(self._messages.qsize()):
                self._take(self._messages.get_nowait())
        return True

    def _go_on_after_pause(self) -> bool:
        """Ask at the first step to pause before, now that nothing else is left; returns True if it may start."""
        paused = [step.id for step in self._waiting.values() if not self._waits_for_others(step)]
        with self._interrupts.allowed():
            if paused and self._on_pause(paused[0]):
                self._breakpoints.discard(paused[0])
                return True
        for name in paused:
            record = self._records[name]
            # What a step made before stays until it begins: nobody has lost it by looking.
            if record.state is not StepState.DONE:
                update = {"state": StepState.PAUSED, "error": "the run was to pause before this step"}
                self._records[name] = record.model_copy(update=update)
            self._observer.noted("run.paused", {"before": name})
        self._is_paused = bool(paused)
        self._context = self._fold(self._records)
        self._store.save_progress(self._context)
        return False

    def _waits_for_others(self, step: Step) -> bool:
        """Return True if a step before it waits or runs."""
        return any(name in self._waiting or name in self._running for name in step.after)

    def _stop_all(self, error: BaseException) -> None:
        """End the steps that run, and record them as stopped."""
        if isinstance(error, KeyboardInterrupt):
            self._observer.noted("run.stopping", {"by": self._interrupts.by})
        for running in self._running.values():
            running.work.stop.set()
        while self._running:
            with contextlib.suppress(queue.Empty):
                self._take(self._messages.get(timeout=_LOOK_S))
        # By the numbers of the command line: stopped, or ended by an error.
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
        self._observer.noted("run.ended", {"state": "stopped", "exit_code": code})

    def _state(self) -> str:
        """Return how the run ended."""
        states = {self._records[step.id].state for step in self.workflow.steps}
        if StepState.FAILED in states:
            return str(StepState.FAILED)
        if self._is_paused:
            return str(StepState.PAUSED)
        for state in (StepState.BLOCKED, StepState.PENDING):
            if state in states:
                return str(state)
        return str(StepState.DONE)

    # --- a step begins ---

    def _start(self, step: Step) -> None:
        """Begin a step: in a thread, or, if the engine can do one thing at a time only, here and to its end."""
        try:
            engine, offered = self._engine()
            record = self._begin(step, offered)
            kept = attempts.read_ledgers(self.workflow.run, record)
        except (ClusterError, DataError, OSError) as error:
            # Nothing is computed: the attempt before, if it was not finished, goes on when the cluster or the data are
            # there again.
            self._records[step.id] = attempts.without_result(self._records[step.id])
            self._commit_end(self._failed(self._records[step.id], error, ""))
            return
        tell = self._messages.put if engine.concurrent else self._take
        work, book = StepWork(step, engine, tell), attempts.open_book(record, kept)
        host = engine.host(work.on_task)
        context = attempts.step_context(self._context, self.workflow, step, self._records, record, host, kept)
        if engine.concurrent:
            self._running[step.id] = _Running(step, work, book, context)
            target = functools.partial(_run_and_tell, work, context, self._messages)
            threading.Thread(target=target, name=f"radps-{step.id}", daemon=True).start()
            return
        self._running[step.id] = _Running(step, work, book, context)
        try:
            with self._interrupts.allowed():
                ended = work.run(context)
        except BaseException as error:
            self._take(work.broken_off(error))
            raise
        self._take(ended)

    def _engine(self) -> tuple[Engine, Resources]:
        """Return where to compute, and what there is; a cluster that was lost since the last step is replaced."""
        while True:
            # To start a cluster, or to wait for its workers, may take minutes.
            with self._interrupts.allowed():
                engine = self._place.engine()
            try:
                with self._interrupts.allowed():
                    offered = engine.resources()
            except ClusterLostError as error:
                if not self._place.replace(engine):
                    raise
                self._observer.noted("cluster.lost", {"error": str(error)})
                continue
            if engine.concurrent and engine is not self._announced:
                self._announced = engine
                self._observer.noted("cluster.started", {"where": describe_engine(engine)})
            return engine, offered

    def _begin(self, step: Step, offered: Resources) -> StepRecord:
        """Return the record of a step that runs now, saved; what needs the step is taken out of the context."""
        self._records.update(attempts.outdated_followers(self.workflow, step.id, self._records))
        old = self._records[step.id]
        fingerprint = step_fingerprint(self.workflow, step, self._records)
        is_forced = step.id in self._selection.redo
        # One that was asked for is begun anew once, not again when its cluster is lost.
        resumes = step.id not in self._redo and attempts.goes_on(old, fingerprint, offered)
        self._redo.discard(step.id)
        record = attempts.running_record(
            self.workflow,
            step,
            self._records,
            attempt=old.attempt if resumes else attempts.next_attempt(self._context, step.id),
            fingerprint=fingerprint,
            resources=old.resources if resumes or (attempts.keeps_plan(old, offered) and not is_forced) else offered,
            cluster=self._place.description,
            resumed=old.resumed + 1 if resumes else 0,
            parts={} if is_forced else attempts.known_parts(old, self.workflow.run),
            outputs=old.outputs,
        )
        if resumes:
            record = record.model_copy(update={"retries": old.retries, "last_error": old.last_error})
        else:
            self._context = attempts.with_attempt(self._context, step.id, record.attempt)
        self._records[step.id] = record
        self._context = self._fold(self._records)
        self._store.save_progress(self._context)
        how = "goes on" if resumes else "starts"
        logger.info("step %s: attempt %d of stage %s %s", step.id, record.attempt, step.stage, how)
        self._observer.started(record)
        return record

    # --- a step goes on, and ends ---

    def _take(self, message: Message) -> None:
        """Take what a step has to say."""
        running = self._running.get(message.step)
        if running is None:
            return  # of a task that ended after its step
        if isinstance(message, GraphAdded):
            running.book.add_graph(message.tasks)
            self._observer.graph(message.step, message.tasks)
        elif isinstance(message, TaskEnded):
            running.book.add(message.event)
            self._observer.task(message.step, message.event)
            self._save_progress(running, is_retry=message.event.end is TaskEnd.RETRY)
        else:
            del self._running[message.step]
            if running.work.stop.is_set() and isinstance(message.error, ClusterLostError):
                # What a cluster that goes at the same time says is no news.
                message = message._replace(error=StoppedError())
            if not self._restart(running, message):
                self._end(running.step, running.book, running.context.place().parts_used, message)

    def _save_progress(self, running: _Running, *, is_retry: bool) -> None:
        """Note how far a step is, for those who ask from outside; not with every task."""
        now = time.monotonic()
        if now - self._saved_s > (_BETWEEN_SAVES_OF_RETRIES_S if is_retry else _BETWEEN_SAVES_S):
            self._saved_s = now
            name = running.step.id
            parts = {**self._records[name].parts, **running.context.place().parts_used}
            update = {**running.book.counts(), "parts": parts}
            self._records[name] = self._records[name].model_copy(update=update)
            self._context = self._context.model_copy(
                update={"steps": {**self._context.steps, name: self._records[name]}}
            )
            self._store.save_progress(self._context)

    def _restart(self, running: _Running, message: StepEnded) -> bool:
        """Let a step whose cluster was lost go on, on a new one; returns False if that is not possible."""
        if not isinstance(message.error, ClusterLostError):
            return False
        # Steps that run at the same time lose the same cluster.
        is_first = self._place.is_current(running.work.engine)
        if not self._place.replace(running.work.engine):
            return False
        logger.warning("step %s: %s; it goes on with a new cluster", message.step, message.error)
        if is_first:
            self._observer.noted("cluster.lost", {"error": str(message.error)})
        self._records[message.step] = self._records[message.step].model_copy(update=running.book.counts())
        self._start(running.step)
        return True

    def _end(self, step: Step, book: TaskBook, parts: dict[str, int], message: StepEnded) -> None:
        """Record and commit how a step ended."""
        before = self._records[step.id]
        # Parts that an attempt has begun are taken over by the next one, finished or not.
        # The clock may have been set back meanwhile.
        update = {"stop_s": max(time.time(), before.start_s), **book.counts(), "parts": {**before.parts, **parts}}
        record = before.model_copy(update=update)
        error = message.error
        if error is None and message.outcome is not None:
            try:
                # A stage whose outcome does not fit to what was there before it has failed, too.
                records = self._records
                record = attempts.finished_record(self._context, self.workflow, records, record, message.outcome, parts)
            except (RadpsError, OSError) as misfit:
                error = misfit
        if isinstance(error, StoppedError | KeyboardInterrupt):
            record = record.model_copy(update={"state": StepState.STOPPED, "error": "stopped by the user"})
        elif error is not None:
            record = self._failed(record, error, message.task)
        attempts.keep_task_records(self.workflow.run, record, book)
        self._commit_end(record)
        if record.state is StepState.DONE:
            attempts.drop_ledger(self.workflow.run, record)

    def _failed(self, record: StepRecord, error: BaseException, task: str) -> StepRecord:
        """Return the record of a step that raised."""
        text = attempts.failure_text(error, task)
        logger.error("step %s failed: %s", record.id, text, exc_info=error)
        failure = StageError(f"step {record.id!r} (stage {record.stage}) failed: {text}")
        failure.__cause__ = error
        self.failures[record.id] = failure
        lines = "".join(traceback.format_exception(error))
        return record.model_copy(update={"state": StepState.FAILED, "error": text, "traceback": lines, "outcome": None})

    def _leave_out(self, step: Step, state: StepState) -> None:
        """Record that a step does not start."""
        update = {"state": state, "error": explain(step, self._records), "outcome": None, "traceback": None}
        record = attempts.as_in_config(step, attempts.without_result(self._records[step.id]))
        self._commit_end(record.model_copy(update=update))

    def _commit_end(self, record: StepRecord) -> None:
        """Commit the record of a step that ended, and tell of it."""
        self._commit(record)
        self._observer.ended(record)

    # --- the context ---

    def _fold(self, records: dict[str, StepRecord]) -> Context:
        """Return the context of all steps that are done."""
        return attempts.fold(self._context, self.workflow, records)

    def _commit(self, record: StepRecord) -> None:
        self._records[record.id] = record
        self._context = self._store.commit(self._fold(self._records), record.id)
        logger.info("step %s: %s", record.id, record.state)
        self._observer.noted("context.committed", {"sequence": self._context.sequence, "step": record.id})


def run_workflow(
    workflow: Workflow,
    *,
    engine: Engine | None = None,
    selection: Selection | None = None,
    observer: Observer | None = None,
) -> Context:
    """Run or resume a workflow and return the context; its records say which steps failed. See :class:`Runner`."""
    return Runner(workflow, engine=engine, selection=selection, observer=observer).run()


def _run_and_tell(work: StepWork, context: Context, messages: queue.SimpleQueue[Message]) -> None:
    try:
        ended = work.run(context)
    except BaseException as error:  # a stage that raises KeyboardInterrupt: the main thread waits for an answer
        ended = work.broken_off(error)
    messages.put(ended)


def _new_run_id() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
