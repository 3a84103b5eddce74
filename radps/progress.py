"""Progress of a run: bars on a terminal, and plain lines in a file or pipe, where bars would be noise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from radps.terminal import STYLES, say

if TYPE_CHECKING:  # these modules take half a second to import, which `radps-run --help` need not pay
    from radps.context.records import StepRecord
    from radps.node_tasks.guard import TaskEvent
    from radps.workflows.plan import PlannedStep

_SECONDS_BETWEEN_LINES = 30.0


class _TaskCount(ProgressColumn):
    """``12/40 tasks``."""

    def render(self, task: Task) -> Text:
        count = f"{task.completed:.0f}/{task.total or 0:.0f}"
        return Text(f"{count} tasks", style="progress.download")


class _Rate(ProgressColumn):
    """``3.1/s``: tasks that ended, of late."""

    def render(self, task: Task) -> Text:
        speed = task.speed
        return Text("" if speed is None or task.finished else f"{speed:.3g}/s", style="progress.data.speed")


class BarObserver:
    """Shows a run on a terminal: one bar for each step that was started.

    A bar has the tasks that are done, those that were repeated, how many end in a second, the time that passed and
    that is left, and the largest memory that a worker had.

    Use it as a context manager around the run.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            _TaskCount(),
            TextColumn("{task.fields[repeated]}", style="yellow"),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[memory]}", style="dim"),
            TextColumn("{task.fields[end]}"),
            console=console,
        )
        self._repeated: dict[str, int] = {}
        self._memory_bytes: dict[str, int] = {}
        self._console = console
        self._bars: dict[str, object] = {}
        self.began = False

    def __enter__(self) -> BarObserver:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def planned(self, plan: tuple[PlannedStep, ...], where: str) -> None:
        """Say what will be done, and where."""
        self.began = True
        _say_plan(self._console, plan, where)

    def started(self, step: StepRecord) -> None:
        """Add a bar."""
        self._bars[step.id] = self._progress.add_task(escape(step.id), total=0, end="", repeated="", memory="")
        self._repeated[step.id] = self._memory_bytes[step.id] = 0

    def graph(self, step: str, tasks: int) -> None:
        """Make the bar of a step longer."""
        bar = self._bar(step)
        self._progress.update(bar.id, total=(bar.total or 0) + tasks)

    def task(self, step: str, event: TaskEvent) -> None:
        """Fill the bar of a step."""
        bar = self._bar(step).id
        if event.end in ("done", "kept"):
            self._progress.advance(bar)
        elif event.end in ("retry", "lost"):
            self._repeated[step] += 1
            self._progress.update(bar, repeated=f"{self._repeated[step]} repeated")
        if event.peak_memory_bytes > self._memory_bytes[step]:
            self._memory_bytes[step] = event.peak_memory_bytes
            self._progress.update(bar, memory=f"up to {event.peak_memory_bytes / 2**30:.2g} GiB")
        if line := _trouble(step, event):
            say(self._console, line)

    def noted(self, event: str, fields: Mapping[str, Any]) -> None:
        """Say that the cluster was lost, or that the run is about to stop."""
        if line := _note(event, fields):
            say(self._console, line)

    def ended(self, step: StepRecord) -> None:
        """Say how a step ended."""
        if step.id not in self._bars:
            self.started(step)
        bar = self._bar(step.id)
        state = name_ending(step)
        text = f"[{STYLES[state]}]{state}[/]"
        done = step.state == "done"
        # A bar without tasks would run for ever.
        total = max(bar.total or 0, 1)
        self._progress.update(bar.id, total=total, completed=total if done else bar.completed, end=text)
        self._progress.stop_task(bar.id)

    def ask(self, step: str) -> bool:
        """Ask at a step to pause before; returns True to go on."""
        self._progress.stop()  # bars that move would write over the question
        try:
            return _ask(self._console, step)
        finally:
            self._progress.start()

    def _bar(self, step: str) -> Task:
        return next(bar for bar in self._progress.tasks if bar.id == self._bars[step])


class LineObserver:
    """Shows a run as plain lines.

    Use it as a context manager around the run.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._last_s = 0.0
        self.began = False

    def __enter__(self) -> LineObserver:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def planned(self, plan: tuple[PlannedStep, ...], where: str) -> None:
        """Say what will be done, and where."""
        self.began = True
        _say_plan(self._console, plan, where)

    def started(self, step: StepRecord) -> None:
        """Say that a step begins."""
        self._done[step.id] = self._total[step.id] = 0
        self._last_s = time.monotonic()
        self._line(f"{step.id}: started (attempt {step.attempt})")

    def graph(self, step: str, tasks: int) -> None:
        """Count tasks to do."""
        self._total[step] += tasks

    def task(self, step: str, event: TaskEvent) -> None:
        """Count tasks done, and say so now and then."""
        if event.end in ("done", "kept"):
            self._done[step] += 1
        self._say_trouble(step, event)
        if time.monotonic() - self._last_s > _SECONDS_BETWEEN_LINES:
            self._last_s = time.monotonic()
            self._line(f"{step}: {self._done[step]} of {self._total[step]} tasks")

    def ended(self, step: StepRecord) -> None:
        """Say how a step ended."""
        seconds = "" if step.seconds is None else f" in {step.seconds:.1f} s ({step.tasks} tasks)"
        error = f": {step.error}" if step.error else ""
        self._line(f"{step.id}: {name_ending(step)}{seconds}{error}")

    def noted(self, event: str, fields: Mapping[str, Any]) -> None:
        """Say that the cluster was lost, or that the run is about to stop."""
        if line := _note(event, fields):
            self._line(line)

    def ask(self, step: str) -> bool:
        """Ask at a step to pause before; returns True to go on."""
        return _ask(self._console, step)

    def _say_trouble(self, step: str, event: TaskEvent) -> None:
        """Say that a task will be repeated."""
        if line := _trouble(step, event):
            self._line(line)

    def _line(self, text: str) -> None:
        say(self._console, text)


def make_observer(console: Console, *, in_process: bool = False, quiet: bool = False) -> BarObserver | LineObserver:
    """Return bars for a terminal, lines for anything else, and for those who want it ``quiet``.

    What is computed ``in_process`` gets lines, too: bars that move would write over the prompt of a debugger.
    """
    return BarObserver(console) if console.is_terminal and not in_process and not quiet else LineObserver(console)


def _say_plan(console: Console, plan: tuple[PlannedStep, ...], where: str) -> None:
    for planned in plan:
        if planned.state == "done":
            say(console, f"{planned.step.id}: done before, unchanged")
        elif planned.runs and planned.state != "new":
            say(console, f"{planned.step.id}: again: {planned.reason}")
    nothing = not any(planned.runs for planned in plan)
    text = "Nothing to do" if nothing else f"Computing: {where}"
    say(console, text)


def _trouble(step: str, event: TaskEvent) -> str:
    """Return what to say of a task that will be repeated, or an empty text."""
    name = event.key.partition(".")[2]
    if event.end == "retry":
        again = f"up for retry {event.tries} of {event.of - 1} in {event.delay_s:.3g} s"
        return f"{step}: {name} failed ({event.error}); {again}"
    if event.end == "lost":
        return f"{step}: {name} lost its worker; it runs again on another one"
    return ""


def _note(event: str, fields: Mapping[str, Any]) -> str:
    """Return what to say of an event of the run, or an empty text."""
    if event == "cluster.lost":
        return f"{fields['error']}: a new one is started"
    if event == "run.stopping":
        return f"Stopping ({fields['by']})"
    if event == "run.paused":
        return f"{fields['before']}: paused before it; the same command without --pause-before goes on"
    return ""


def _ask(console: Console, step: str) -> bool:
    """Ask until the answer is Enter or q; the end of the input is a q."""
    while True:
        say(console, f"{step}: paused before it. Enter goes on, q ends here ", end="")
        try:
            answer = input().strip().lower()
        except EOFError:
            console.print()
            return False
        if answer in ("", "q"):
            return not answer


def name_ending(step: StepRecord) -> str:
    """Return in a word how a step ended."""
    if step.outcome is not None and step.outcome.status != "success":
        return str(step.outcome.status)
    return str(step.state)
