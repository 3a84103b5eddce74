"""The computing of one step: its stage is called, its graphs are computed, its result is checked."""

from __future__ import annotations

import time
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from dask.delayed import Delayed
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from radps.context.model import Context
from radps.context.records import Outcome
from radps.context.shared_fields import written_fields
from radps.data.projections import find_largest_task
from radps.errors import ClusterLostError, StageError, TaskTimeoutError, WorkerKilledError
from radps.execution.engine import Engine, Order, Stop, StoppedError
from radps.graph_tasks.shapes import Keep
from radps.node_tasks.guard import TaskEnd, TaskEvent
from radps.stages.base import find_stage
from radps.workflows.model import Step


class GraphAdded(NamedTuple):
    """A step computes one more graph."""

    step: str
    tasks: int


class TaskEnded(NamedTuple):
    """A try of a task of a step ended."""

    step: str
    event: TaskEvent


class StepEnded(NamedTuple):
    """A step ended: with an outcome, or an error."""

    step: str
    outcome: Outcome | None
    error: BaseException | None
    task: str
    """Key of the task that raised the error, if it was one."""


Message = GraphAdded | TaskEnded | StepEnded


class StepWork:
    """One step while it is computed, in whatever thread.

    Parameters
    ----------
    step : Step
        What to do.
    engine : Engine
        Where to compute.
    tell : callable
        Takes the messages while it runs; from threads of the engine, too.
    """

    def __init__(self, step: Step, engine: Engine, tell: Callable[[Message], None]) -> None:
        self.stop = Stop()
        """Set it to end the step."""
        self.engine = engine
        self._step = step
        # Found here, in the main thread: two threads cannot parse Python at the same time (CPython 3.11 has one counter
        # of recursion for all of them, and raises SystemError), and the code of a user's stage is parsed.
        self._stage = find_stage(step.stage).function
        self._tell = tell
        self._failed_task = ""
        self._task_error: BaseException | None = None
        self._kept: set[str] = set()
        """Keys of tasks whose results are kept."""
        timeout = step.policy.timeout
        self._deadline_s = None if timeout is None else time.monotonic() + timeout

    def run(self, context: Context) -> StepEnded:
        """Compute the step and return how it ended; raises KeyboardInterrupt alone."""
        outcome: Outcome | None = None
        error: BaseException | None = None
        try:
            with find_largest_task() as largest:
                outcome = check_outcome(self._drive(context), self._step)
        except (Exception, SystemExit) as raised:
            if isinstance(raised, BdbQuit) and not self.engine.concurrent:
                raise KeyboardInterrupt from None  # the user left a debugger in the stage
            error = raised
            if isinstance(raised, TaskTimeoutError) and self._is_over():
                error = TaskTimeoutError(
                    f"it ran longer than {self._step.policy.timeout:g} s; give it more time (timeout of the step), or "
                    "more workers"
                )
            elif isinstance(raised, WorkerKilledError) and largest.what:
                error = self._task_error = WorkerKilledError(f"{raised}. In this step {largest}")
                error.__cause__ = raised
        if error is not None and self.engine.concurrent:
            _clear_frames(error)
        # An error that the stage itself raises, after it has caught that of a task, is of no task.
        return StepEnded(self._step.id, outcome, error, self._failed_task if error is self._task_error else "")

    def broken_off(self, error: BaseException) -> StepEnded:
        """Return how the step ended if :meth:`run` itself was left by an error."""
        return StepEnded(self._step.id, None, error, "")

    def on_task(self, event: TaskEvent) -> None:
        """Pass on the end of a task."""
        if event.end is TaskEnd.FAILED:
            self._failed_task = event.key
        self._tell(TaskEnded(self._step.id, event))

    def _is_over(self) -> bool:
        return self._deadline_s is not None and time.monotonic() >= self._deadline_s

    def _drive(self, context: Context) -> Any:
        """Call the stage, compute what it returns or yields, and return its result."""
        result = self._stage(context, self._step.params)
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
                    # The end of the step, or of its cluster, is no failure that a stage may go on without.
                    if isinstance(error, StoppedError | ClusterLostError) or self._is_over():
                        raise
                    graph = stage.throw(error)
                else:
                    graph = stage.send(computed)
        except StopIteration as stop:
            return stop.value
        finally:
            stage.close()

    def _compute(self, graph: object) -> Any:
        if not isinstance(graph, Delayed | Keep):
            raise StageError(
                f"stage {self._step.stage} yielded a {type(graph).__name__}; it has to yield graphs (Delayed), "
                "made by the functions of radps.graph_tasks"
            )
        parts = graph.parts if isinstance(graph, Keep) else [graph]
        keys = {str(key) for part in parts for key in dict(part.__dask_graph__())}
        self._tell(GraphAdded(self._step.id, len(keys - self._kept)))
        policy = self._step.policy
        order = Order(policy.retries, policy.priority, policy.resources, self._deadline_s)
        self._failed_task = ""
        try:
            if isinstance(graph, Keep):
                self._kept |= keys
                return self.engine.keep(graph.parts, order, self.on_task, self.stop)
            return self.engine.compute(graph, order, self.on_task, self.stop)
        except Exception as error:
            self._task_error = error
            raise


def _clear_frames(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold, those of the stage among them, and of all errors behind it.

    The error lives as long as the run. Data that the stage has kept in the memory of the workers would do so, too.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def check_outcome(result: object, step: Step) -> Outcome:
    """Return the outcome of a stage as it will be read back.

    Raises
    ------
    StageError
        It is no Outcome, holds what JSON cannot (NaN in a number, an array in the summary), or fills a part of the
        context that the stage does not name.
    """
    if not isinstance(result, Outcome):
        raise StageError(
            f"stage {step.stage} ended with a {type(result).__name__}; it has to return an Outcome, or a graph "
            "that computes to one"
        )
    _check_fields(result, step)
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


def _check_fields(outcome: Outcome, step: Step) -> None:
    """Refuse an outcome that fills parts of the context that other steps may be filling at the same time."""
    named = step.params.writes
    if unnamed := [part for part in written_fields(outcome) if part not in named]:
        raise StageError(
            f"stage {step.stage} fills {', '.join(unnamed)} of the context, which its parameters do not name (they "
            f"name {', '.join(named) or 'none'}); write `writes = {tuple(sorted({*named, *unnamed}))}` in the class of "
            "its parameters, so that no other step fills it at the same time"
        )
