"""A Gantt picture of a run: its steps as bands, and below them what each worker did.

1. The last attempt of each step is shown, from the records of its tasks (:mod:`radps.run_folder.task_records`).
2. Tasks that a worker did at the same time, in several threads, stand below each other.
3. Neighbours of one step that are too narrow to be told apart become one bar, so that ten thousand tasks are as
   readable as ten, and the file stays small. Tasks that were repeated or failed keep their marks.
4. Pauses in which nothing was computed (the step was done again a day later) are cut short and marked.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from radps.context.records import StepRecord
from radps.data.stores import exists
from radps.errors import DataError
from radps.node_tasks.plotting import Picture, save_picture
from radps.plots.figures import new_figure
from radps.run_folder.store import RunStore
from radps.run_folder.task_records import TaskRecord, load_task_records, task_records_url

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN = 12.0
_ROW_IN = 0.24
_HIGHEST_IN = 40.0
_MOST_LABELS = 80
_MANY_MARKS = 500
_RESOLUTION = 2000
"""Parts of the time axis that can be told apart."""
_LONGEST_PAUSE = 0.1
"""Of the time in which something was computed; a longer pause is cut ..."""
_CUT_PAUSE = 0.02
"""... to this."""
_FAILED = "C3"
"""Red in the styles of matplotlib, and in both themes of the report."""
_MOST_TICKS = 9
_UNITS = ((3 * 3600.0, 3600.0, "h"), (300.0, 60.0, "min"), (0.0, 1.0, "s"))


class StepTasks(NamedTuple):
    """The last attempt of a step, and its tasks."""

    name: str
    start_s: float
    stop_s: float
    state: str
    tasks: tuple[TaskRecord, ...]
    problem: str
    """What is missing of the records of its tasks; empty if nothing is."""


class _Bar(NamedTuple):
    """A task, or several that are too narrow to be told apart."""

    lane: int
    start_s: float
    stop_s: float
    step: int
    is_kept: bool


def gantt_chart(url: str) -> Figure:
    """Return a Gantt picture of a run.

    Parameters
    ----------
    url : str
        The run folder.

    Returns
    -------
    matplotlib.figure.Figure
        For ``savefig``; Jupyter shows it, once pyplot is imported.

    Raises
    ------
    ContextError
        There is no run, or it is damaged.
    """
    return draw_gantt(*_load_run(url))


def draw_run(picture: Picture, url: str) -> Picture:
    """Draw the Gantt picture of a run as a picture of its report."""
    title, steps = _load_run(url)
    return save_picture(picture, draw_gantt, title, steps)


def draw_gantt(title: str, steps: Sequence[StepTasks]) -> Figure:
    """Return the picture of steps and their tasks; see :func:`gantt_chart`."""
    spans = [(step.start_s, step.stop_s) for step in steps]
    spans += [(task.start_s, task.stop_s) for step in steps for task in step.tasks]
    clock = _Clock(spans)
    lanes = _assign_lanes(steps)
    workers = sorted({worker for worker, _ in lanes.values()})
    rows = {lane: number for number, lane in enumerate(sorted(set(lanes.values())))}
    heights = [max(len(steps), 1) * _ROW_IN, max(len(rows), 1) * _ROW_IN]
    heights = [height * min(1.0, _HIGHEST_IN / sum(heights)) for height in heights]
    figure = new_figure(_WIDTH_IN, sum(heights) + 1.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    figure.suptitle(title, fontsize=11, parse_math=False)
    _draw_steps(upper, steps, clock)
    _draw_tasks(lower, steps, clock, lanes, rows)
    _label_workers(lower, workers, rows)
    _label_time(upper, lower, clock)
    marks, _ = lower.get_legend_handles_labels()
    if marks:
        figure.legend(handles=marks, loc="outside lower right", fontsize=7, ncols=2, frameon=False)
    return figure


def _load_run(url: str) -> tuple[str, list[StepTasks]]:
    """Return the title of a run, and its steps."""
    store = RunStore(url)
    context = store.load()
    steps = [_load_step(store.url, record) for record in context.steps.values() if record.attempt]
    return f"Run {context.run_id} {context.project}".rstrip(), steps


def _load_step(url: str, record: StepRecord) -> StepTasks:
    """Return a step with the records of its tasks; a picture of the others is better than none."""
    place = task_records_url(url, record.id, record.attempt)
    tasks: tuple[TaskRecord, ...] = ()
    problem = ""
    try:
        if exists(place):
            tasks = load_task_records(place)
        elif record.tasks:
            problem = "no records of its tasks"
    except DataError:
        problem = "the records of its tasks are damaged"
    timed = tuple(task for task in tasks if task.start_s > 0.0)
    if missing := len(tasks) - len(timed):  # their worker died with what it knew
        problem = f"{missing:,} task{'' if missing == 1 else 's'} without times"
    stop = time.time() if record.stop_s is None and record.state == "running" else record.stop_s
    return StepTasks(record.id, record.start_s, stop or record.start_s, str(record.state), timed, problem)


# --- time ---


class _Clock:
    """Turns times into places on the axis [s], with long pauses cut."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        busy = _union(spans)
        self.total_s = sum(stop - start for start, stop in busy)
        self.pauses: list[tuple[float, float]] = []
        """Place on the axis, and how long it was in truth [s]."""
        self._starts, self._places = [], []
        place = 0.0
        for number, (start, stop) in enumerate(busy):
            if number:
                pause = start - busy[number - 1][1]
                if pause > _LONGEST_PAUSE * self.total_s:
                    cut = _CUT_PAUSE * self.total_s
                    self.pauses.append((place + cut / 2, pause))
                    pause = cut
                place += pause
            self._starts.append(start)
            self._places.append(place)
            place += stop - start
        self.end = place or 1.0

    def place(self, time_s: float) -> float:
        """Return where a time, in which something was computed, is on the axis."""
        number = max(bisect_right(self._starts, time_s) - 1, 0)
        return self._places[number] + time_s - self._starts[number]


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans of time as fewer ones that do not overlap, in order."""
    joined: list[tuple[float, float]] = []
    for start, stop in sorted((start, max(start, stop)) for start, stop in spans):  # clocks may have been set
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


# --- tasks ---

_Lanes = dict[tuple[int, str], tuple[str, int]]
"""Step and key of a task -> worker, and which of the tasks that it did at the same time."""


def _assign_lanes(steps: Sequence[StepTasks]) -> _Lanes:
    """Put each task into the first lane of its worker that is free."""
    tasks = [(task, number) for number, step in enumerate(steps) for task in step.tasks]
    ends: dict[str, list[float]] = {}
    lanes: _Lanes = {}
    for task, number in sorted(tasks, key=lambda found: found[0].start_s):
        busy = ends.setdefault(task.worker, [])
        free = next((lane for lane, end in enumerate(busy) if end <= task.start_s), len(busy))
        busy[free:] = [task.stop_s, *busy[free + 1 :]]
        lanes[number, task.key] = (task.worker, free)
    return lanes


def _bars(steps: Sequence[StepTasks], clock: _Clock, lanes: _Lanes, rows: dict[tuple[str, int], int]) -> list[_Bar]:
    """Return the bars of all tasks, in places of the axis, narrow neighbours joined."""
    bars = sorted(
        _Bar(rows[lanes[number, task.key]], clock.place(task.start_s), clock.place(task.stop_s), number, kept)
        for number, step in enumerate(steps)
        for task in step.tasks
        for kept in (task.state == "kept",)
    )
    narrow = clock.end / _RESOLUTION
    joined: list[_Bar] = []
    for bar in bars:
        last = joined[-1] if joined else None
        is_narrow = bar.stop_s - bar.start_s < narrow
        if (
            last is not None
            and is_narrow
            and (last.lane, last.step, last.is_kept) == (bar.lane, bar.step, bar.is_kept)
            and bar.start_s - last.stop_s < narrow
            and bar.stop_s - last.start_s < 4 * narrow
        ):
            joined[-1] = last._replace(stop_s=max(last.stop_s, bar.stop_s))
        else:
            joined.append(bar)
    return joined


# --- drawing ---


def _colour(number: int) -> tuple[float, float, float]:
    from matplotlib import colormaps

    # The dark colours of neighbouring pairs first, then the light ones.
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]  # matplotlib's types do not know it
    found: tuple[float, float, float] = colours[(2 * number) % 20 + (number // 10) % 2]
    return found


def _draw_steps(axes: Axes, steps: Sequence[StepTasks], clock: _Clock) -> None:
    """Draw a band for each step, with how long it took."""
    from matplotlib import rcParams

    for number, step in enumerate(steps):
        start, stop = clock.place(step.start_s), clock.place(step.stop_s)
        width = max(stop - start, clock.end / _RESOLUTION)
        axes.barh(number, width, left=start, height=0.7, color=_colour(number))
        notes = [*([step.state] if step.state != "done" else []), *([step.problem] if step.problem else [])]
        text = f"{step.stop_s - step.start_s:.3g} s" + "".join(f", {note}" for note in notes)
        is_left = start + width < 0.75 * clock.end
        place = start + width if is_left else start
        axes.annotate(
            text,
            (place, number),
            xytext=(3 if is_left else -3, 0),
            textcoords="offset points",
            ha="left" if is_left else "right",
            va="center",
            fontsize=7,
            color=_FAILED if step.state == "failed" else rcParams["text.color"],
            bbox={"facecolor": rcParams["axes.facecolor"], "edgecolor": "none", "pad": 0.5},
        )
    axes.set_yticks(range(len(steps)), [step.name for step in steps], fontsize=8)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(steps) - 0.4, -0.6)
    axes.set_ylabel("steps")
    axes.grid(axis="x", alpha=0.4, linewidth=0.5)
    axes.set_axisbelow(True)


def _draw_tasks(
    axes: Axes, steps: Sequence[StepTasks], clock: _Clock, lanes: _Lanes, rows: dict[tuple[str, int], int]
) -> None:
    """Draw the bars, and marks where a task was repeated or failed."""
    from matplotlib import rcParams
    from matplotlib.collections import PolyCollection

    bars = _bars(steps, clock, lanes, rows)
    narrowest = clock.end / _RESOLUTION / 2
    axes.add_collection(
        PolyCollection(
            [_corners(bar, narrowest) for bar in bars],
            facecolors=[(*_colour(bar.step), 0.35 if bar.is_kept else 1.0) for bar in bars],
            edgecolors=rcParams["axes.facecolor"],
            linewidths=0.2,
        )
    )
    tasks = [(task, rows[lanes[number, task.key]]) for number, step in enumerate(steps) for task in step.tasks]
    ink = rcParams["text.color"]
    marks = (
        ("repeated", ink, "v", [(task, row) for task, row in tasks if task.tries > 1 and task.state != "failed"]),
        ("failed", _FAILED, "x", [(task, row) for task, row in tasks if task.state == "failed"]),
    )
    for name, colour, marker, marked in marks:
        if marked:
            middles = [(clock.place(task.start_s) + clock.place(task.stop_s)) / 2 for task, _ in marked]
            heights = [row - 0.3 for _, row in marked]
            label = f"{name}: {len(marked):,} of {len(tasks):,} tasks"
            size = 10 if len(marked) < _MANY_MARKS else 3
            axes.scatter(middles, heights, s=size, marker=marker, color=colour, linewidths=0.8, zorder=3, label=label)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.4, linewidth=0.5)
    axes.set_axisbelow(True)


def _corners(bar: _Bar, narrowest: float) -> list[tuple[float, float]]:
    stop = max(bar.stop_s, bar.start_s + narrowest)
    top, bottom = bar.lane - 0.42, bar.lane + 0.42
    return [(bar.start_s, top), (stop, top), (stop, bottom), (bar.start_s, bottom)]


def _label_workers(axes: Axes, workers: Sequence[str], rows: dict[tuple[str, int], int]) -> None:
    """Name each worker in the middle of its lanes; of many, each n-th."""
    every = -(-len(workers) // _MOST_LABELS)
    places, names = [], []
    for worker in workers[:: max(every, 1)]:
        own = [row for (name, _), row in rows.items() if name == worker]
        places.append(sum(own) / len(own))
        names.append(worker.rpartition("//")[2])
    axes.set_yticks(places, names, fontsize=7)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylabel("workers" if workers else "no records of tasks")


def _label_time(upper: Axes, lower: Axes, clock: _Clock) -> None:
    """Label the axis in a unit that fits, and mark the pauses that were cut."""
    from matplotlib.ticker import MaxNLocator

    _, unit_s, unit = next(found for found in _UNITS if clock.end >= found[0])
    margin = 0.01 * clock.end
    # Round numbers of the unit, which those of seconds are not.
    places = MaxNLocator(_MOST_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(0, clock.end / unit_s)
    ticks = [tick for tick in places if 0 <= tick * unit_s <= clock.end]
    lower.set_xticks([tick * unit_s for tick in ticks], [f"{tick:g}" for tick in ticks])
    lower.set_xlim(-margin, clock.end + margin)
    without = ", without pauses" if clock.pauses else ""
    lower.set_xlabel(f"time since the start [{unit}]{without}")
    for place, pause_s in clock.pauses:
        for axes in (upper, lower):
            axes.axvline(place, color="grey", linestyle=":", linewidth=1.2)
        _, pause_unit_s, pause_unit = next(found for found in _UNITS if pause_s >= found[0])
        upper.annotate(
            f"pause {pause_s / pause_unit_s:.3g} {pause_unit}",
            (place, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
