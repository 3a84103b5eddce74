"""Small stages of a user, named ``user_stages:NAME`` in the workflows of the tests."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from dask.delayed import Delayed
from pydantic import Field

from radps import Context, Outcome, StageParams
from radps.context.planning import require_memory
from radps.context.records import DataGroup, OutcomeStatus, ProductKind, ProductRecord, QAScore
from radps.data import stores
from radps.graph_tasks.shapes import Keep, map_chunks, reduce_tree, run_task
from radps.units import Angle, Frequency


class Nothing(StageParams):
    """No parameters."""


class Params(StageParams):
    """Parameters of most stages here."""

    n: int = Field(default=3, ge=1)
    """How many tasks."""
    text: str = ""
    """Goes into the message."""
    cell: Angle = 0.0
    """An angle."""
    frequency: Frequency = 1e9
    """A frequency."""


class ReadingParams(Params):
    """Parameters of a stage that reads the data sets of the config."""

    reads_data = True


class MaskedParams(Params):
    """Parameters of a stage that reads a file."""

    mask: str = ""
    """The file."""

    def files_read(self) -> tuple[str, ...]:
        return (self.mask,)


def _square(number: int) -> int:
    return number * number


def _add(parts: list[int]) -> int:
    return sum(parts)


def _report(total: int, text: str) -> Outcome:
    return Outcome(message=text or f"sum {total}", summary={"sum": total})


def squares(context: Context, params: Params) -> Delayed:
    """Sum the squares of some numbers."""
    parts = map_chunks(context, _square, range(params.n), name="square")
    return run_task(context, _report, reduce_tree(context, _add, parts, name="add"), params.text, name="report")


def masked(context: Context, params: MaskedParams) -> Outcome:
    """Read the file that a parameter names."""
    path = Path(params.mask)
    return Outcome(message=path.read_text() if path.exists() else "nothing")


def reader(context: Context, params: ReadingParams) -> Outcome:
    """Look at the data sets that the config names."""
    return Outcome(summary={"paths": list(context.place().dataset_paths)})


def direct(context: Context, params: Params) -> Outcome:
    """Return an outcome without a graph."""
    return Outcome(message=params.text, summary={"seen": [*context.steps]})


def cycles(context: Context, params: Params) -> Generator[Delayed, Any, Outcome]:
    """Yield a graph a cycle; each one gets the result of the one before."""
    number = 2
    for cycle in range(params.n):
        number = yield run_task(context, _square, number, name=f"cycle-{cycle}")
    return Outcome(summary={"number": number})


def cycles_then_graph(context: Context, params: Params) -> Generator[Delayed, Any, Delayed]:
    """Yield a graph, and return another one."""
    number = yield run_task(context, _square, 3, name="cycle")
    return run_task(context, _report, number, params.text, name="report")


def _write_block(block: tuple[int, int], url: str) -> int:
    start, stop = block
    stores.write_region(url, (slice(start, stop),), np.sin(np.arange(start, stop)))
    return stop - start


def _create(url: str) -> None:
    stores.require_parents(url)
    stores.require_array(url, [40], chunks=[4], dtype="f8", dims=["x"])


def _count(parts: list[int]) -> int:
    return sum(parts)


def _written(count: int) -> Outcome:
    return Outcome(summary={"written": count})


def writes(context: Context, params: Nothing) -> Delayed:
    """Write an array by ten tasks into the tree of the context."""
    url = context.locate(context.new_path("context.zarr", "numbers", suffix=""))
    created = run_task(context, _create, url, name="create")
    blocks = [(start, start + 4) for start in range(0, 40, 4)]
    parts = map_chunks(context, _write_block, blocks, url, name="write", after=created)
    return run_task(context, _written, reduce_tree(context, _count, parts, name="count"), name="report")


def fails(context: Context, params: Params) -> Outcome:
    """Raise while the graph is built."""
    raise ValueError(params.text or "nothing works")


def _raise(number: int, text: str) -> int:
    if number == 1:
        raise ValueError(text)
    return number


def task_fails(context: Context, params: Params) -> Delayed:
    """Raise in the second of three tasks."""
    parts = map_chunks(context, _raise, range(3), params.text or "no such number", name="raise")
    return run_task(context, _report, reduce_tree(context, _add, parts, name="add"), "", name="report")


def catches(context: Context, params: Params) -> Generator[Delayed, Any, Outcome]:
    """Try a graph that fails, and go on without it."""
    try:
        yield run_task(context, _raise, 1, "as expected", name="raise")
    except ValueError as error:
        message = str(error)
    number = yield run_task(context, _square, 2, name="square")
    return Outcome(status=OutcomeStatus.CAVEATS, message=message, summary={"number": number})


def returns_number(context: Context, params: Nothing) -> int:
    """Return what is no outcome."""
    return 7


def yields_number(context: Context, params: Nothing) -> Generator[Any, Any, Outcome]:
    """Yield what is no graph."""
    yield 7
    return Outcome()


def not_a_number(context: Context, params: Nothing) -> Outcome:
    """Return an outcome with NaN in a score."""
    score = QAScore(name="x", score=0.5, value=math.nan, unit="", good=1.0, bad=0.0, applies_to="", message="")
    return Outcome(qa=(score,))


def odd_summary(context: Context, params: Nothing) -> Outcome:
    """Return an outcome that JSON cannot hold."""
    return Outcome(summary={"object": object()})


class CorrectingParams(StageParams):
    """Parameters of a stage that makes corrected data."""

    writes = ("groups.corrected",)


def misfit(context: Context, params: CorrectingParams) -> Outcome:
    """Return an outcome that does not fit to what is known: data without an observation."""
    group = DataGroup(visibility="v", flag="f", weight="w", uvw="u")
    return Outcome(groups={"nowhere": {"corrected": group}})


def writes_secretly(context: Context, params: Nothing) -> Outcome:
    """Fill a part of the context that the parameters do not name."""
    return Outcome(line_free=())


def leaves(context: Context, params: Nothing) -> Outcome:
    """Try to end the process."""
    sys.exit(3)


class SleepParams(StageParams):
    """Parameters of the stage that takes its time."""

    n: int = 1
    """How many tasks."""
    seconds: float = 0.1
    """Of one task."""
    marker: str = ""
    """A file that the first task makes when it starts."""


def _sleep(number: int, seconds: float, marker: str) -> int:
    if marker:
        Path(marker).touch()
    time.sleep(seconds)
    return number


def sleeps(context: Context, params: SleepParams) -> Delayed:
    """Take some time."""
    parts = map_chunks(context, _sleep, range(params.n), params.seconds, params.marker, name="sleep")
    return run_task(context, _report, reduce_tree(context, _add, parts, name="add"), "", name="report")


class WaitParams(StageParams):
    """Parameters of the stage whose task waits for a file."""

    makes: str = ""
    """A file that the task makes when it starts."""
    until: str = ""
    """A file that it waits for, not for ever."""


def _wait(makes: str, until: str) -> int:
    if makes:
        Path(makes).touch()
    stop = time.monotonic() + 30.0
    while until and not Path(until).exists():
        if time.monotonic() > stop:
            raise RuntimeError(f"{until} never came")
        time.sleep(0.02)
    return 1


def waits(context: Context, params: WaitParams) -> Delayed:
    """Wait for a file."""
    return run_task(context, _report, run_task(context, _wait, params.makes, params.until, name="wait"), "", name="end")


class MarkerParams(StageParams):
    """Parameters of the stage that fails without a file."""

    marker: str
    """The file."""


def needs_marker(context: Context, params: MarkerParams) -> Outcome:
    """Fail unless a file is there."""
    if not Path(params.marker).exists():
        raise ValueError("there is no marker")
    return Outcome()


def fails_by_itself(context: Context, params: Nothing) -> Generator[Delayed, Any, Outcome]:
    """Catch the error of a task, and raise another one."""
    with contextlib.suppress(ValueError):
        yield run_task(context, _raise, 1, "of the task", name="raise")
    raise ValueError("of the stage")


def catches_all(context: Context, params: WaitParams) -> Generator[Delayed, Any, Outcome]:
    """Try a graph, and go on without it whatever happens."""
    try:
        yield run_task(context, _wait, params.makes, params.until, name="wait")
    except Exception as error:
        return Outcome(status=OutcomeStatus.CAVEATS, message=str(error))
    return Outcome()


class FlakyParams(StageParams):
    """Parameters of the stage with a task that fails so many times."""

    folder: str
    """Where the tries are counted."""
    failures: int = 2
    """How often they fail."""
    which: tuple[int, ...] = (1,)
    """Which of three tasks."""


def _flaky(number: int, folder: str, failures: int, which: tuple[int, ...]) -> int:
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    tries = len(list(place.glob(f"{number}-*")))
    (place / f"{number}-{tries}").touch()
    if number in which and tries < failures:
        raise OSError(f"try {tries + 1} of task {number} fails")
    return number * number


def flaky(context: Context, params: FlakyParams) -> Delayed:
    """Fail some times in one task, then work."""
    parts = map_chunks(context, _flaky, range(3), params.folder, params.failures, params.which, name="try")
    return run_task(context, _report, reduce_tree(context, _add, parts, name="add"), "", name="report")


class CountAndWaitParams(WaitParams):
    """Parameters of the stage that counts tries, and then waits."""

    folder: str
    """Where the tries are counted."""


def counts_and_waits(context: Context, params: CountAndWaitParams) -> Delayed:
    """Note the tries of three tasks, then wait for a file."""
    parts = map_chunks(context, _flaky, range(3), params.folder, 0, (), name="try")
    waited = run_task(context, _wait, params.makes, params.until, name="wait", after=parts)
    return run_task(context, _report, reduce_tree(context, _add, [*parts, waited], name="add"), "", name="report")


class DeadlyParams(StageParams):
    """Parameters of the stage that kills its worker."""

    marker: str
    """A file; the worker dies unless it is there."""
    always: bool = False
    """Die every time."""


def _die(number: int, marker: str, always: bool) -> int:
    if number == 3 and (always or not Path(marker).exists()):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def kills_worker(context: Context, params: DeadlyParams) -> Delayed:
    """Kill the worker of one of six tasks."""
    require_memory(context, "a task that dies", 2**20)
    parts = map_chunks(context, _die, range(6), params.marker, params.always, name="die")
    return run_task(context, _report, reduce_tree(context, _add, parts, name="add"), "", name="report")


class KeepingParams(StageParams):
    """Parameters of the stage that keeps data."""

    folder: str
    """Gets a file for each time that something is loaded."""
    marker: str = ""
    """A file; the worker dies in the second cycle unless it is there. Empty: it lives."""


def _load(number: int, folder: str) -> np.ndarray:
    (Path(folder) / f"{number}-{time.time_ns()}").touch()
    # Too large for the ledger, compressed too.
    return np.concatenate([[number], np.random.default_rng(number).permutation(100_000)])


def _use(data: np.ndarray, cycle: int, marker: str) -> int:
    if marker and cycle == 1 and data[0] == 2 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return int(data.sum()) * (cycle + 1)


def keeps_data(context: Context, params: KeepingParams) -> Generator[Delayed | Keep, Any, Outcome]:
    """Load four arrays once, and sum them in three cycles."""
    kept = yield Keep(map_chunks(context, _load, range(4), params.folder, name="load"))
    sums = []
    for cycle in range(3):
        parts = map_chunks(context, _use, kept, cycle, params.marker, name=f"use-{cycle}")
        sums.append((yield reduce_tree(context, _add, parts, name=f"add-{cycle}")))
    return Outcome(summary={"sums": sums})


def keeps_and_fails(context: Context, params: Nothing) -> Generator[Delayed | Keep, Any, Outcome]:
    """Keep results, and raise while a graph holds them."""
    kept = yield Keep(map_chunks(context, _square, range(4), name="load"))
    yield reduce_tree(context, _add, kept, name="add")
    raise ValueError("of the stage")


def _threads() -> dict[str, str | None]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "DUCC0_NUM_THREADS")
    return {name: os.environ.get(name) for name in names}


def _report_threads(found: dict[str, str | None]) -> Outcome:
    return Outcome(summary=found)


def threads(context: Context, params: Nothing) -> Delayed:
    """Report how many threads the numeric libraries of a worker may use."""
    return run_task(context, _report_threads, run_task(context, _threads, name="threads"), name="report")


def three_arguments(context: Context, params: Params, more: int) -> Outcome:
    """Take one argument too many."""
    return Outcome()


def no_annotation(context, params):
    """Do not say what the parameters are."""
    return Outcome()


def time_out() -> None:
    """A task that has a time-out of its own."""
    raise TimeoutError("the archive does not answer")


def writes_product(context: Context, params: Params) -> Outcome:
    """Write a file that the outcome names."""
    path = context.new_path("products", "note.txt", suffix="")
    text = (params.text or "a note").encode()
    system, place = stores.file_system(context.locate(path))
    system.makedirs(place.rpartition("/")[0], exist_ok=True)
    with system.open(place, "wb") as file:
        file.write(text)
    note = ProductRecord(path=path, kind=ProductKind.REPORT, source="", size_bytes=len(text), sha256="")
    return Outcome(products=(note,), message=params.text)


def writes_table(context: Context, params: Nothing) -> Delayed:
    """Write an array by tasks, and name it in the outcome."""
    path = context.new_path("context.zarr", "numbers", suffix="")
    url = context.locate(path)
    created = run_task(context, _create, url, name="create")
    blocks = [(start, start + 4) for start in range(0, 40, 4)]
    parts = map_chunks(context, _write_block, blocks, url, name="write", after=created)
    count = reduce_tree(context, _count, parts, name="count")
    return run_task(context, _name_table, count, path, name="report")


def _name_table(count: int, path: str) -> Outcome:
    table = ProductRecord(path=path, kind=ProductKind.TABLE, source="", size_bytes=8 * count, sha256="")
    return Outcome(products=(table,))


def interrupts(context: Context, params: Params) -> Outcome:
    """End like Ctrl-C."""
    raise KeyboardInterrupt
