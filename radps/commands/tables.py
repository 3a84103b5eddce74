"""Tables about runs: those below a folder, what pruning removes, and what differs between two."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from radps.data.urls import format_bytes
from radps.terminal import make_table, say, styled

if TYPE_CHECKING:
    from radps.workflows.cleaning import Leftover
    from radps.workflows.comparing import Comparison
    from radps.workflows.runs import RunSummary


def show_runs(console: Console, root: str, runs: tuple[RunSummary, ...], state: str | None = None) -> None:
    """Print the table of the runs below a folder, those of one state if one was asked for."""
    if not runs:
        those = "" if state is None else f" are {state}"
        say(console, f"No runs in {root}{those}")
        return
    table = make_table(
        "run", "id", "project", "state", "steps", "started", "last change", "driver, damage", right=("steps",)
    )
    for run in runs:
        steps = f"{run.steps_done}/{run.steps}" if run.steps else ""
        times = (_short_time(run.started), _short_time(run.changed))
        texts = (run.run.removeprefix(f"{os.getcwd()}/"), run.run_id, run.project)
        note = "; ".join(filter(None, (run.driver, run.problem)))
        table.add_row(*map(Text, texts), styled(run.state), steps, *times, Text(note))
    console.print(table)


def show_leftovers(console: Console, leftovers: tuple[Leftover, ...], freed: str) -> None:
    """Print what pruning removes: how much of each step, and where."""
    if not leftovers:
        console.print("Nothing to prune: the run refers to all that is there")
        return
    table = make_table("step", "attempts", "size", "where", right=("size",))
    for step in dict.fromkeys(leftover.step for leftover in leftovers):
        own = [leftover for leftover in leftovers if leftover.step == step]
        attempts = ", ".join(map(str, sorted({leftover.attempt for leftover in own})))
        size = format_bytes(sum(leftover.size_bytes for leftover in own))
        table.add_row(Text(step), attempts, size, Text(", ".join(leftover.path for leftover in own)))
    console.print(table)
    console.print(f"{format_bytes(sum(leftover.size_bytes for leftover in leftovers))} {freed}", highlight=False)


def show_comparison(console: Console, found: Comparison) -> None:
    """Print what differs between two runs."""
    if not found.steps:
        console.print("All steps were done in the same way")
    else:
        table = make_table("step", "first run -> second run")
        for step in found.steps:
            for number, text in enumerate(step.differences):
                table.add_row(Text("" if number else step.step), Text(text))
        console.print(table)
    if found.changed:
        numbers = ("first", "second", "change [%]")
        table = make_table("what", "of", "quantity", *numbers, "unit", right=numbers)
        for pair in found.changed:
            values = ("" if value is None else f"{value:.6g}" for value in (pair.first, pair.second))
            change = "" if pair.change_percent is None else f"{pair.change_percent:+.3g}"
            table.add_row(pair.what, Text(pair.of), Text(pair.quantity), *values, change, pair.unit)
        console.print(table)
    console.print(f"{found.n_same} of {found.n_same + len(found.changed)} numbers are equal", highlight=False)


def _short_time(time: str | None) -> str:
    """Return an ISO time to the minute, without what says that it is UTC."""
    return "" if time is None else time[:16].replace("T", " ")
