"""What `radps-run` prints: tables, messages, errors; on a terminal, or in a file or pipe that has no width."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from radps.errors import RadpsError

if TYPE_CHECKING:  # these modules take half a second to import, which `radps-run --help` need not pay
    from radps.report.parameters import ParameterMeaning
    from radps.workflows.plan import PlannedStep
    from radps.workflows.status import Status, StepStatus

STYLES = {
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
"""State of a run or step, or how an outcome is -> its colour."""

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


def make_console(*, stderr: bool = False) -> Console:
    """Return a console; where there is no terminal whose width counts, one with room for a table."""
    console = _Screen(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


def say(console: Console, text: str, *, end: str = "\n") -> None:
    """Print a text as it is: no markup, no colours, no line broken."""
    console.print(text, markup=False, highlight=False, soft_wrap=True, end=end)


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
        say(console, f"{step}: {text}")


def show_parameters(console: Console, title: str, parameters: Iterable[ParameterMeaning]) -> None:
    """Print name, default, unit and meaning of the parameters of a stage."""
    say(console, title)
    table = make_table("parameter", "default", "unit", "meaning")
    for name, default, unit, meaning in parameters:
        short = default if len(default) <= _WIDTH_OF_DEFAULTS else default[: _WIDTH_OF_DEFAULTS - 3] + "..."
        table.add_row(Text(name), Text(short), unit, Text(" ".join(meaning.split())))
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
        style = STYLES[step.result or step.state]
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
        table = make_table("image", "kind", "max", "min", "rms", "unit", "beam", right=("max", "min", "rms"))
        for image in status.images:
            beam = image.beam
            text = (
                ""
                if beam is None
                else f'{beam.major_arcsec:.4g}" x {beam.minor_arcsec:.4g}", PA {beam.position_angle_deg:.3g}'
            )
            statistics = (f"{number:.4g}" for number in (image.max, image.min, image.rms))
            table.add_row(Text(image.name), image.kind, *statistics, image.unit, text)
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
            say(console, f"  {file}")
    for product in status.products:
        if product.kind == "report":
            say(console, f"Open in a browser: {product.file}")
    say(console, f"Run folder: {status.run}")


def show_error(console: Console, error: RadpsError) -> None:
    """Print the message of an error, and nothing else."""
    console.print(Text("Error: ", "bold red"), end="")
    say(console, str(error))


def styled(state: str) -> Text:
    """Return a state in its colour."""
    return Text(str(state), STYLES.get(str(state), ""))


def make_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table without lines; the columns named by ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        # As a text: rich takes what stands in square brackets, a unit, for a style.
        table.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    return table
