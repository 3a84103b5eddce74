"""The runs below a folder: which there are, and where each one stands.

A folder is a run if it holds a context, a history of contexts, or a driver. Nothing is searched below a run, below a
folder that is data (``.zarr``, ``.ms``) and below a hidden one; a link is followed if it leads to a run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, Literal

from radps.context.model import Context
from radps.context.records import Record, StepState
from radps.data.files import store_errors
from radps.data.stores import file_system
from radps.data.urls import absolute_url, is_local, join_url, local_path
from radps.errors import ConfigError, ContextError
from radps.run_folder.lock import LOCK
from radps.run_folder.recovery import CONTEXT, HISTORY, examine
from radps.run_folder.run_files import RunFiles
from radps.run_folder.store import RunStore
from radps.workflows.document import read_yaml
from radps.workflows.status import RunState, make_status

SCHEMA_VERSION = 1

_DATA_SUFFIXES = (".zarr", ".ms")
_CONFIG_SUFFIXES = (".yaml", ".yml")


class RunSummary(Record):
    """One run in a line."""

    run: str
    """Path or URL of the run folder."""
    run_id: str
    project: str
    state: RunState | Literal["damaged"]
    steps_done: int
    steps: int
    """Number of steps of the workflow."""
    driver: str | None
    """Who drives the run now."""
    started: str | None
    """When the first of its steps began, ISO 8601, UTC."""
    changed: str | None
    """When a step last began or ended, ISO 8601, UTC."""
    problem: str
    """Why a damaged one cannot be read, or what is damaged and will be mended by the next run; else empty."""


class RunList(Record):
    """The runs below a folder."""

    schema_version: int = SCHEMA_VERSION
    root: str
    runs: tuple[RunSummary, ...]


def list_runs(root: str | os.PathLike[str] = "runs", state: str | None = None) -> tuple[RunSummary, ...]:
    """Return the runs at and below a folder, sorted by path.

    Parameters
    ----------
    root : path or URL
        Where to look; default the folder ``runs`` of the working folder.
    state : str, optional
        Only runs that are so: one of :func:`list_states`.

    Raises
    ------
    ContextError
        There is no such folder.
    ConfigError
        There is no such state.
    """
    if state is not None and state not in list_states():
        raise ConfigError("state of runs", [f"there is no state {state!r}; states: {', '.join(list_states())}"])
    summaries = (summarize_run(url) for url in find_runs(os.fspath(root)))
    return tuple(summary for summary in summaries if state in (None, summary.state))


def list_states() -> tuple[str, ...]:
    """Return the states that a run in a list may have."""
    return (*(str(state) for state in RunState), "damaged")


def find_runs(root: str) -> tuple[str, ...]:
    """Return the URLs of the run folders at and below a folder, sorted.

    Raises
    ------
    ContextError
        There is no such folder, or it cannot be read.
    """
    root = absolute_url(root)
    try:
        with store_errors(root):
            system, path = file_system(root)
            # A listing that was kept in memory would miss what other processes do.
            system.invalidate_cache()
            found = sorted(_walk(system, root, path)) if system.isdir(path) else None
    except OSError as error:
        raise RunFiles(root).unreadable("", error) from error
    if found is None:
        raise ContextError(f"there is no folder {root}; give the folder (or URL) that holds the runs")
    return tuple(found)


def summarize_run(url: str) -> RunSummary:
    """Return a run in a line; one that cannot be read says why."""
    store = RunStore(url)
    try:
        holder = store.driver()
        driver = "" if holder is None else str(holder)
        if driver and not store.exists():
            return _without_context(store.url, RunState.RUNNING, driver)
        found = examine(RunFiles(store.url))
        return _of_context(store.url, found.context, driver, found.damage)
    except ContextError as error:
        return _without_context(store.url, "damaged", "", str(error))


def find_run_url(run: str) -> str:
    """Return the run folder that a user means: that of a config, if it is one that is named, else what it says.

    Parameters
    ----------
    run : str
        A run folder (path or URL), or a workflow file.

    Raises
    ------
    ConfigError
        It is a file, but no workflow file.
    """
    if not is_local(run) or not os.path.isfile(local_path(run)):
        return absolute_url(run)
    path = local_path(run)
    if not path.endswith(_CONFIG_SUFFIXES):
        raise ConfigError(
            run, [f"a run is a folder, or a workflow file ({', '.join(_CONFIG_SUFFIXES)}); this is neither"]
        )
    try:
        document = read_yaml(Path(path).read_text(encoding="utf-8"), run)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(run, [f"cannot be read as text: {error}"]) from error
    folder = document.data.get("run") if isinstance(document.data, dict) else None
    if not isinstance(folder, str) or not folder.strip():
        raise ConfigError(run, [*document.problems, f"it does not say what its run folder is: `run` is {folder!r}"])
    return absolute_url(folder)


def _walk(system: Any, url: str, path: str) -> Iterator[str]:
    """Yield the runs at and below a folder; one that cannot be looked into is yielded, too: its summary says why."""
    try:
        entries = {_name(entry): entry for entry in system.ls(path, detail=True)}
    except PermissionError:
        yield url
        return
    except FileNotFoundError:
        return  # removed since the folder around it was listed
    if _is_run(url, entries):
        yield url
        return
    for name, entry in entries.items():
        if name.startswith(".") or name.endswith(_DATA_SUFFIXES):
            continue
        below = join_url(url, name)
        if entry.get("islink"):  # may be one of a loop of links
            if RunStore(below).exists():
                yield below
        elif entry["type"] == "directory":
            yield from _walk(system, below, entry["name"])


def _is_run(url: str, names: Container[str]) -> bool:
    return CONTEXT in names or LOCK in names or (HISTORY in names and bool(RunStore(url).history()))


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _of_context(url: str, context: Context, driver: str, problem: str) -> RunSummary:
    records = [record for record in context.steps.values() if record.attempt]
    starts = [record.start_s for record in records]
    ends = [record.stop_s for record in records if record.stop_s is not None]
    return RunSummary(
        run=url,
        run_id=context.run_id,
        project=context.project,
        state=make_status(context, url, driver).state,
        steps_done=sum(record.state is StepState.DONE for record in context.steps.values()),
        steps=len(context.steps),
        driver=driver or None,
        started=_format_time(min(starts, default=None)),
        changed=_format_time(max([*starts, *ends], default=None)),
        problem=problem,
    )


def _without_context(url: str, state: RunState | Literal["damaged"], driver: str, problem: str = "") -> RunSummary:
    return RunSummary(
        run=url,
        run_id="",
        project="",
        state=state,
        steps_done=0,
        steps=0,
        driver=driver or None,
        started=None,
        changed=None,
        problem=problem,
    )


def _format_time(time_s: float | None) -> str | None:
    return None if time_s is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s))
