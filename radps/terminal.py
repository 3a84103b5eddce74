"""What `radps-run` shows: progress while it runs, and tables.

Progress is bars on a terminal, and plain lines in a file or pipe, where bars would be noise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
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
from rich.table import Table
from rich.text import Text

from radps.errors import RadpsError

if TYPE_CHECKING:  # these modules take half a second to import, which `radps-run --help` need not pay
    from radps.context.records import StepRecord
    from radps.node_tasks.guard import TaskEvent
    from radps.report.parameters import ParameterMeaning
    from radps.workflows.plan import PlannedStep
    from radps.workflows.status import Status, StepStatus

_STYLES = {
    "done": "green",
    "success": "green",
    "caveats": "yellow",
    "nothing": "yellow",
    "running": "cyan",
    "failed": "bold red",
    "blocked": "red",
    "stopped": "yellow",
    "skipped": "dim",
    "paused": "yellow",
    "pending": "dim",
    "changed": "yellow",
    "stale": "yellow",
    "again": "yellow",
    "new": "cyan",
    "left out": "dim",
    "damaged": "bold red",
}
_SECONDS_BETWEEN_LINES = 30.0
_WIDTH_OF_FILES = 1000
_WIDTH_OF_DEFAULTS = 40


class _Screen(Console):
    """A console that a run outlives: when nobody reads any more, it goes on in silence."""

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True
        devnull = os.open(os.devnull, os.O_WRONLY)
        # What is still in the buffer of the stream would fail again at its end.
        os.dup2(devnull, self.file.fileno())
        os.close(devnull)


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
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def noted(self, event: str, fields: Mapping[str, Any]) -> None:
        """Say that the cluster was lost, or that the run is about to stop."""
        if line := _note(event, fields):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def ended(self, step: StepRecord) -> None:
        """Say how a step ended."""
        if step.id not in self._bars:
            self.started(step)
        bar = self._bar(step.id)
        state = name_ending(step)
        text = f"[{_STYLES[state]}]{state}[/]"
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
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def make_console(*, stderr: bool = False) -> Console:
    """Return a console; where there is no terminal whose width counts, one with room for a table."""
    console = _Screen(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


def make_observer(console: Console, *, in_process: bool = False, quiet: bool = False) -> BarObserver | LineObserver:
    """Return bars for a terminal, lines for anything else, and for those who want it ``quiet``.

    What is computed ``in_process`` gets lines, too: bars that move would write over the prompt of a debugger.
    """
    return BarObserver(console) if console.is_terminal and not in_process and not quiet else LineObserver(console)


def show_plan(console: Console, plan: tuple[PlannedStep, ...], tasks: Mapping[str, str]) -> None:
    """Print what a run would do, and ``tasks``: how much there is to do in a step."""
    table = make_table("step", "stage", "state", "runs", "why")
    for planned in plan:
        table.add_row(
            planned.step.id,
            planned.step.stage,
            styled(planned.state),
            "yes" if planned.runs else "no",
            Text(planned.reason),
        )
    console.print(table)
    for step, text in tasks.items():
        console.print(f"{step}: {text}", markup=False, highlight=False, soft_wrap=True)


def show_parameters(console: Console, title: str, parameters: Iterable[ParameterMeaning]) -> None:
    """Print name, default, unit and meaning of the parameters of a stage."""
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    table = make_table("parameter", "default", "unit", "meaning")
    for name, default, unit, meaning in parameters:
        short = default if len(default) <= _WIDTH_OF_DEFAULTS else default[: _WIDTH_OF_DEFAULTS - 3] + "..."
        table.add_row(name, Text(short), unit, Text(" ".join(meaning.split())))
    console.print(table)


def show_steps(console: Console, steps: tuple[StepStatus, ...]) -> None:
    """Print the table of steps; attempts and retries only if there were more than the first try."""
    extra = [
        *(["attempts"] if any(step.attempts > 1 for step in steps) else []),
        *(["retries"] if any(step.retries for step in steps) else []),
    ]
    table = make_table("step", "state", "seconds", "tasks", *extra, "message", right=("seconds", "tasks", *extra))
    for step in steps:
        state = step.state if step.result in (None, "success") else f"{step.state} ({step.result})"
        seconds = "" if step.seconds is None else f"{step.seconds:.1f}"
        style = _STYLES[step.result or step.state]
        counts = [str(getattr(step, name) or "") for name in extra]
        table.add_row(step.id, Text(state, style), seconds, _tasks(step), *counts, Text(_message(step)))
    console.print(table)


def _tasks(step: StepStatus) -> str:
    """Return the number of tasks of a step; of one that is not done also how many are."""
    if not step.tasks:
        return ""
    return str(step.tasks) if step.state == "done" else f"{step.tasks_done}/{step.tasks}"


def _message(step: StepStatus) -> str:
    """Return what there is to say of a step; the error of a task that was repeated only as long as it may matter."""
    error = (step.last_error or "").partition(": ")[2]  # behind the name of the task
    said = any(
        text and text in step.message for text in (error, error.partition(": ")[2])
    )  # with its class, or without
    is_new = step.last_error and step.state != "done" and not said
    return "; ".join(filter(None, (step.message, f"last error: {step.last_error}" if is_new else "")))


def show_status(console: Console, status: Status) -> None:
    """Print the tables of a run: steps, scores worth a look, flux densities, images; and where the products are."""
    from radps.context.scores import BAD_SCORE, GOOD_SCORE

    show_steps(console, status.steps)
    low = sorted((score for score in status.qa if score.score < GOOD_SCORE), key=lambda score: score.score)
    if n_good := len(status.qa) - len(low):
        console.print(f"QA: {n_good} of {len(status.qa)} scores are {GOOD_SCORE} or better; a report has all")
    if low:
        table = make_table("QA", "score", "step", "of", "message", right=("score",))
        for score in low:
            style = "yellow" if score.score >= BAD_SCORE else "red"
            table.add_row(
                Text(score.name),
                Text(f"{score.score:.2f}", style),
                score.step,
                Text(score.applies_to),
                Text(score.message),
            )
        console.print(table)
    if status.flux_densities:
        table = make_table(
            "field",
            "window",
            "flux density [Jy]",
            "+-",
            "at [GHz]",
            "from",
            right=("flux density [Jy]", "+-", "at [GHz]"),
        )
        for field, windows in status.flux_densities.items():
            for window, flux in windows.items():
                numbers = (f"{flux.flux_jy:.5g}", f"{flux.error_jy:.2g}", f"{flux.frequency_hz / 1e9:.6g}")
                table.add_row(Text(field), Text(window), *numbers, Text(flux.origin))
        console.print(table)
    if status.images:
        table = make_table("image", "kind", "max", "min", "rms", "beam", right=("max", "min", "rms"))
        for image in status.images:
            beam = image.beam
            text = (
                ""
                if beam is None
                else f'{beam.major_arcsec:.4g}" x {beam.minor_arcsec:.4g}", PA {beam.position_angle_deg:.3g}'
            )
            table.add_row(Text(image.name), image.kind, *(f"{n:.4g}" for n in (image.max, image.min, image.rms)), text)
        console.print(table)
    show_places(console, status)


def show_places(console: Console, status: Status) -> None:
    """Say where the products are."""
    files = [product.file for product in status.products if product.kind != "report"] or [
        image.file for image in status.images
    ]
    if files:
        console.print("Products:")
        for file in files:
            console.print(f"  {file}", markup=False, highlight=False, soft_wrap=True)
    for product in status.products:
        if product.kind == "report":
            console.print(f"Open in a browser: {product.file}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Run folder: {status.run}", markup=False, highlight=False, soft_wrap=True)


def show_error(console: Console, error: RadpsError) -> None:
    """Print the message of an error, and nothing else."""
    console.print(Text("Error: ", "bold red"), end="")
    console.print(str(error), markup=False, highlight=False, soft_wrap=True)


def _say_plan(console: Console, plan: tuple[PlannedStep, ...], where: str) -> None:
    for planned in plan:
        if planned.state == "done":
            console.print(f"{planned.step.id}: done before, unchanged", markup=False, highlight=False, soft_wrap=True)
        elif planned.runs and planned.state != "new":
            console.print(f"{planned.step.id}: again: {planned.reason}", markup=False, highlight=False, soft_wrap=True)
    nothing = not any(planned.runs for planned in plan)
    text = "Nothing to do" if nothing else f"Computing: {where}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


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
        console.print(
            f"{step}: paused before it. Enter goes on, q ends here ",
            markup=False,
            highlight=False,
            soft_wrap=True,
            end="",
        )
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


def styled(state: str) -> Text:
    """Return a state in its colour."""
    return Text(str(state), _STYLES.get(str(state), ""))


def make_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table without lines; the columns named by ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table
