"""Progress of a run in Jupyter: one line a step with a bar, which is replaced as the step goes on.

It needs nothing that a notebook does not bring; where its output is shown without a browser, the last state is text.
"""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from radps.progress import LineObserver, name_ending

if TYPE_CHECKING:
    from radps.context.records import StepRecord
    from radps.node_tasks.guard import TaskEvent

_SECONDS_BETWEEN_UPDATES = 0.3
_STATES = {"done": "#1b7f3b", "failed": "#b3261e", "blocked": "#b3261e"}


@dataclass
class _Row:
    """How far a step is."""

    start_s: float
    total: int = 0
    done: int = 0
    repeated: int = 0
    memory_bytes: int = 0
    state: str = "running"
    seconds: float | None = None


class NotebookObserver(LineObserver):
    """Shows a run in Jupyter; what has to be said besides of the bars is printed as lines."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._rows: dict[str, _Row] = {}
        self._display_id: str | None = None
        self._shown_s = 0.0

    def started(self, step: StepRecord) -> None:
        """Add a bar."""
        self._rows[step.id] = _Row(time.monotonic())
        self._show()

    def graph(self, step: str, tasks: int) -> None:
        """Make the bar of a step longer."""
        self._rows[step].total += tasks
        self._show()

    def task(self, step: str, event: TaskEvent) -> None:
        """Fill the bar of a step; the page is not written more often than one can see."""
        row = self._rows[step]
        row.done += event.end in ("done", "kept")
        row.repeated += event.end in ("retry", "lost")
        row.memory_bytes = max(row.memory_bytes, event.peak_memory_bytes)
        self._say_trouble(step, event)
        if time.monotonic() - self._shown_s > _SECONDS_BETWEEN_UPDATES:
            self._show()

    def ended(self, step: StepRecord) -> None:
        """Say how a step ended."""
        row = self._rows.setdefault(step.id, _Row(time.monotonic()))
        row.state, row.seconds = name_ending(step), step.seconds
        self._show()

    def as_html(self) -> str:
        """Return the bars."""
        return f"<table>{''.join(_row_html(name, row) for name, row in self._rows.items())}</table>"

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {row.state}, {row.done} of {row.total} tasks" for name, row in self._rows.items())

    def _show(self) -> None:
        from IPython.display import display  # is there where Jupyter is

        self._shown_s = time.monotonic()
        data = {"text/html": self.as_html(), "text/plain": repr(self)}
        if self._display_id is None:
            self._display_id = f"radps-{id(self)}-{time.monotonic_ns()}"
            display(data, raw=True, display_id=self._display_id)
        else:
            display(data, raw=True, display_id=self._display_id, update=True)


def _row_html(name: str, row: _Row) -> str:
    """Return the line of a step."""
    is_running = row.state == "running"
    seconds = time.monotonic() - row.start_s if row.seconds is None else row.seconds
    left = f", {seconds / row.done * (row.total - row.done):.0f} s left" if is_running and row.done else ""
    notes = [
        f"{row.done} of {row.total} tasks",
        *([f"{row.repeated} repeated"] if row.repeated else []),
        *([f"up to {row.memory_bytes / 2**30:.2g} GiB"] if row.memory_bytes else []),
        f"{seconds:.1f} s{left}",
    ]
    value = "" if is_running and not row.total else f' value="{row.done if is_running else max(row.total, 1)}"'
    colour = _STATES.get(row.state, "inherit")
    return (
        f'<tr><td style="text-align: left">{html.escape(name)}</td>'
        f'<td><progress max="{max(row.total, 1)}"{value} aria-label="{html.escape(name)}"></progress></td>'
        f'<td style="text-align: left; color: {colour}">{html.escape(row.state)}</td>'
        f'<td style="text-align: left">{", ".join(notes)}</td></tr>'
    )
