"""What surrounds every task: its result is kept, its failures are counted, its cost is measured.

1. A task whose result is in the ledger is not done again.
2. A task that raises is repeated, after a pause that doubles each time. Mistakes that would come again (a wrong
   selection, a product too large) are not repeated.
3. A task that runs longer than it may is ended.
4. Who computes is told of every end and every failure: a :class:`TaskEvent`.

How to wait, to report and to end a task is different in a worker and in the process of the driver: the
:class:`TaskHost` knows.
"""

from __future__ import annotations

import enum
import time
import traceback
from bdb import BdbQuit
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from radps.data.measuring import measure
from radps.errors import ConfigError, ContextError, ModelError, ResourceError, SelectionError, TaskTimeoutError
from radps.node_tasks import ledger
from radps.node_tasks.faults import FaultKind, Faults, SimulatedFaultError
from radps.node_tasks.ledger import Entry

NOT_REPEATED = (ConfigError, ContextError, ModelError, ResourceError, SelectionError)
"""Errors that say what is wrong with the input: they would come again."""

LONGEST_PAUSE_S = 600.0
"""A pause before a retry is not longer than this."""


class TaskEnd(enum.StrEnum):
    """How one try of a task ended."""

    DONE = "done"
    """It has a result."""
    KEPT = "kept"
    """It has the result of an earlier run or try, from the ledger."""
    RETRY = "retry"
    """It failed, and will be repeated."""
    FAILED = "failed"
    """It failed for good."""
    LOST = "lost"
    """Its worker died; the scheduler runs it again."""


class TaskEvent(NamedTuple):
    """One try of a task that ended."""

    key: str
    end: TaskEnd
    start_s: float
    """UTC unix seconds, by the clock of the worker."""
    stop_s: float
    worker: str
    """Address of the worker, ``in-process`` without a cluster."""
    tries: int = 1
    """Number of this try."""
    bytes_written: int = 0
    """Of arrays and files, before compression."""
    peak_memory_bytes: int = 0
    """Of the process, while the task ran; 0 where the system does not say."""
    error: str = ""
    delay_s: float = 0.0
    """Pause before the next try."""
    of: int = 1
    """Number of tries that it has at most."""
    mark: str = ""
    """Of the run: on one scheduler two runs may have tasks of one name."""


class TaskHost(Protocol):
    """Where a task runs: a worker of a cluster, or the process of the driver."""

    repeats: bool
    """True if the scheduler runs a task that raised again; False if the guard has to."""

    def name(self) -> str:
        """Return the address of the worker."""
        ...

    def report(self, event: TaskEvent) -> None:
        """Tell who computes."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait, and let other tasks work in the meantime."""
        ...

    def time_limit(self, seconds: float, expired: Callable[[], None]) -> AbstractContextManager[None]:
        """End what runs longer: ``expired`` is called first, then TaskTimeoutError is raised or the process ends."""
        ...

    def die(self) -> None:
        """End the process of a worker."""
        ...


class TaskRules(BaseModel):
    """How the tasks of a step are run. The same object goes into all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    ledger_url: str
    mark: str = ""
    """Tells the tasks of this run from those of others on the same scheduler."""
    host: Any
    """A TaskHost."""
    retries: int = 0
    """How often a task that failed is repeated."""
    retry_delay_s: float = 0.0
    """Pause before the first retry; it doubles with each one."""
    timeout_s: float | None = None
    """How long one try may run."""
    faults: Faults | None = None

    def pause_before(self, retry: int) -> float:
        """Return the pause before a retry, counted from 1 [s]."""
        doublings = min(retry - 1, 64)  # beyond that the number alone would overflow
        return float(min(self.retry_delay_s * 2.0**doublings, LONGEST_PAUSE_S))


def run_guarded(rules: TaskRules, key: str, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
    """Return ``function(*arguments, **options)``, from the ledger if the task has ended before.

    Parameters
    ----------
    rules : TaskRules
        Of the step.
    key : str
        Name of the task.

    Raises
    ------
    TaskTimeoutError
        It ran longer than it may, as often as it may.
    SimulatedFaultError
        The config asked for it, more often than there are retries. What the function raises comes through as it is.
    KeyboardInterrupt
        The user left a debugger in it, in the process of the driver.
    """
    entry = ledger.load_entry(rules.ledger_url, key)
    if entry is not None:
        if entry.error is not None:
            raise entry.error
        _report_kept(rules, key, entry)
        return entry.result
    while True:
        start_s = time.time()
        try:
            return _try_once(rules, key, start_s, function, arguments, options)
        except Exception as error:
            if isinstance(error, BdbQuit) and not rules.host.repeats:
                # Who leaves the debugger wants the run to stop. On a worker nobody can, it had no input to read.
                raise KeyboardInterrupt from None
            pause = _take_failure(rules, key, error, start_s)
            if pause is None:
                raise
            rules.host.pause(pause)
            if rules.host.repeats:
                raise


def load_result(rules: TaskRules, key: str) -> Any:
    """Return the result of a task that is known to have ended."""
    entry = ledger.require_entry(rules.ledger_url, key)
    _report_kept(rules, key, entry)
    return entry.result


def _try_once(
    rules: TaskRules,
    key: str,
    start_s: float,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """Run the task once, keep its result and report it."""
    # Who is never repeated need not ask how often it was: one look less at the store.
    counts = rules.retries or rules.faults is not None or rules.timeout_s is not None
    number = 1 + (len(ledger.load_failures(rules.ledger_url, key)) if counts else 0)
    with measure() as cost, _limit(rules, key, start_s):
        if rules.faults is not None:
            _strike(rules, rules.faults, key, number)
        result = function(*arguments, **options)
    entry = Entry(
        result,
        None,
        start_s,
        max(time.time(), start_s),
        rules.host.name(),
        number,
        cost.bytes_written,
        cost.peak_memory_bytes,
    )
    ledger.save_entry(rules.ledger_url, key, entry)
    rules.host.report(_event(rules, key, TaskEnd.DONE, entry))
    return result


def _limit(rules: TaskRules, key: str, start_s: float) -> AbstractContextManager[None]:
    """Return the time limit of one try; without a limit it does nothing."""
    seconds = float("inf") if rules.timeout_s is None else rules.timeout_s

    def expired() -> None:
        # The process may end before the error can be raised, so that it is noted here.
        if rules.host.repeats:
            error = TaskTimeoutError(_timeout_text(key, seconds))
            _take_failure(rules, key, error, start_s)

    limit: AbstractContextManager[None] = rules.host.time_limit(seconds, expired)
    return limit


def _timeout_text(key: str, seconds: float) -> str:
    return (
        f"task {key} ran longer than {seconds:g} s; give it more time (task_timeout), or make the chunks smaller "
        "(more workers, or less memory for each)"
    )


def _take_failure(rules: TaskRules, key: str, error: Exception, start_s: float) -> float | None:
    """Count, report and, if it is the last one, keep a failure; returns the pause before the next try, if any."""
    now = max(time.time(), start_s)
    text = f"{type(error).__name__}: {error}"
    lines = traceback.format_exception_only(error)
    failures = ledger.note_failure(rules.ledger_url, key, lines[-1].strip() if lines else text)
    again = failures <= rules.retries and not isinstance(error, NOT_REPEATED)
    pause = rules.pause_before(failures) if again else None
    entry = Entry(None, error, start_s, now, rules.host.name(), failures, 0, 0)
    if not again:
        # A scheduler that repeats it nevertheless gets the same error at once.
        ledger.save_entry(rules.ledger_url, key, entry)
    event = _event(rules, key, TaskEnd.RETRY if again else TaskEnd.FAILED, entry)
    rules.host.report(event._replace(error=text, delay_s=pause or 0.0, of=rules.retries + 1))
    return pause


def _strike(rules: TaskRules, faults: Faults, key: str, number: int) -> None:
    """Let the task fail, if it is its turn."""
    if not faults.strikes(key, number):
        return
    text = f"simulated failure of try {number} of {key} (faults: {faults.kind}, seed {faults.seed})"
    if faults.kind is FaultKind.SLOW:
        time.sleep(faults.delay)
        return
    if faults.kind is FaultKind.WORKER_DEATH and rules.host.repeats and number <= rules.retries:
        ledger.note_failure(rules.ledger_url, key, text)
        rules.host.die()
    raise SimulatedFaultError(text)


def _report_kept(rules: TaskRules, key: str, entry: Entry) -> None:
    rules.host.report(_event(rules, key, TaskEnd.KEPT, entry))


def _event(rules: TaskRules, key: str, end: TaskEnd, entry: Entry) -> TaskEvent:
    """Return the event of an entry."""
    return TaskEvent(
        key,
        end,
        entry.start_s,
        entry.stop_s,
        entry.worker,
        entry.tries,
        entry.bytes_written,
        entry.peak_memory_bytes,
        mark=rules.mark,
    )
