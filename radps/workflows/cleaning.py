"""Free what a run holds on the disk: the outputs that nothing refers to, or the whole run.

An output is ``<folder>/<step>-<attempt><suffix>`` (see :meth:`Context.new_path`). It is left over if

1. ``<step>`` is a step of the run, now or in its history, and
2. ``<attempt>`` is none that the step's record uses: an attempt that was interrupted goes on in its own places, and
   parts that did not change are where an earlier one made them, and
3. no text in the context, whatever field it is in, is a path below it.

So a trial that was dropped, or neither accepted nor dropped, is left over like any other attempt. Whatever else lies in
the run folder is not touched. Both hold the lock of the run meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from radps.context.model import Context
from radps.data.stores import delete, exists, file_system, list_children
from radps.data.urls import is_local, join_url, local_path
from radps.errors import ContextError
from radps.run_folder.lock import LOCK
from radps.run_folder.outputs import referenced_roots
from radps.run_folder.recovery import CONTEXT, HISTORY
from radps.run_folder.store import RunStore

_ATTEMPT = r"-(?P<attempt>\d+)(?!\d)"


class Leftover(NamedTuple):
    """An output that nothing refers to."""

    step: str
    attempt: int
    path: str
    """Relative to the run folder."""
    size_bytes: int


def prune_run(url: str, *, dry_run: bool = False) -> tuple[Leftover, ...]:
    """Remove the outputs of a run that its context does not refer to; the history stays.

    Parameters
    ----------
    url : str
        The run folder.
    dry_run : bool
        Find them and remove nothing.

    Returns
    -------
    tuple of Leftover
        What was (or would be) removed, in the order of the paths.

    Raises
    ------
    ContextError
        There is no run, it is damaged, or somebody drives it.
    """
    store = RunStore(url)
    store.load()  # a folder that is no run gets no lock
    if dry_run:
        store.check_free()
        return _find_leftovers(store)
    with store.lock():
        leftovers = _find_leftovers(store)
        for leftover in leftovers:
            _delete(join_url(store.url, leftover.path))
    return leftovers


def find_attempt(url: str, step: str, attempt: int) -> tuple[str, ...]:
    """Return the paths of the outputs of one attempt that the context does not refer to."""
    unused = _find_unused(RunStore(url))
    return tuple(path for owner, number, path in unused if (owner, number) == (step, attempt))


def remove_attempt(url: str, step: str, attempt: int) -> None:
    """Remove the outputs of one attempt that the context does not refer to.

    Its number is never given again, so that nobody else writes there: the lock of the run is not needed.

    Raises
    ------
    ContextError
        The run is damaged, or the files cannot be removed.
    """
    for path in find_attempt(url, step, attempt):
        _delete(join_url(url, path))


def remove_run(url: str) -> None:
    """Remove a run folder with all that is in it.

    What is large goes first and the context last, so that a removal that was interrupted can be repeated.

    Parameters
    ----------
    url : str
        The run folder, damaged or not.

    Raises
    ------
    ContextError
        It is no run folder, somebody drives it, or it holds what is not the run's: the working folder, or data sets.
    """
    store = RunStore(url)
    check_removable(store.url)
    with store.lock():
        last = (HISTORY, CONTEXT)
        for name in (*(name for name in _all_children(store.url) if name not in (*last, LOCK)), *last):
            _delete(join_url(store.url, name))
    _remove_empty_folder(store.url)


def check_removable(url: str) -> None:
    """Refuse to remove what is no run, is in use, or holds what is not the run's; raises as :func:`remove_run`."""
    store = RunStore(url)
    if not store.exists():
        raise ContextError(f"{store.url} is not a run folder: it has no {CONTEXT}; nothing was removed")
    store.check_free()
    for what, path in _places_of_the_user(store):
        if _real_folder(path).startswith(_real_folder(store.url)):
            raise ContextError(
                f"{store.url} holds more than the run: {what} {path} is in it; move that away, or remove the outputs "
                "of the run by hand"
            )


def measure_bytes(url: str) -> int:
    """Return the size of a file, or of all files in a folder [bytes]."""
    system, path = file_system(url)
    return int(system.du(path, total=True))


def _places_of_the_user(store: RunStore) -> Iterable[tuple[str, str]]:
    """Return what must not be removed with a run, in words, and where it is."""
    yield "the working folder", os.getcwd()
    with contextlib.suppress(ContextError):  # a run whose workflow is damaged names no data
        data = store.load_workflow().get("data")
        paths = data.get("path", []) if isinstance(data, dict) else []
        yield from (("the data set", path) for path in paths if isinstance(path, str))


def _real_folder(url: str) -> str:
    """Return a URL by which places can be compared: links resolved, with a slash at its end."""
    return f"{os.path.realpath(local_path(url)) if is_local(url) else url.rstrip('/')}/"


def _find_leftovers(store: RunStore) -> tuple[Leftover, ...]:
    """Return the outputs that nothing refers to, with their sizes."""
    return tuple(
        Leftover(step, attempt, path, measure_bytes(join_url(store.url, path)))
        for step, attempt, path in _find_unused(store)
    )


def _find_unused(store: RunStore) -> list[tuple[str, int, str]]:
    """Return step, attempt and path of the outputs that nothing refers to."""
    context = store.load()
    steps = _known_steps(store, context)
    kept = referenced_roots(context)
    found = []
    for folder in _all_children(store.url):
        if folder == HISTORY or folder.startswith(".") or not _is_folder(join_url(store.url, folder)):
            continue
        for name in list_children(join_url(store.url, folder)):
            path = f"{folder}/{name}"
            owners = _owners(name, steps)
            current = any(
                step in context.steps and attempt in context.steps[step].attempts_used() for step, attempt in owners
            )
            if owners and not current and path not in kept:
                step, attempt = max(owners, key=lambda owner: len(owner[0]))
                found.append((step, attempt, path))
    return found


def _known_steps(store: RunStore, context: Context) -> set[str]:
    """Return the steps of a run, those that its workflow has lost since included."""
    return {*context.steps, *(entry.partition("-")[2].removesuffix(".json") for entry in store.history())}


def _owners(name: str, steps: Iterable[str]) -> list[tuple[str, int]]:
    """Return every step and attempt that a name may stand for: ``a-2-1.zarr`` is of ``a`` or of ``a-2``."""
    matches = ((step, re.match(re.escape(step) + _ATTEMPT, name)) for step in steps)
    return [(step, int(match["attempt"])) for step, match in matches if match]


def _all_children(url: str) -> tuple[str, ...]:
    """Return the names of all that lies directly in a folder, hidden ones included."""
    system, path = file_system(url)
    system.invalidate_cache()
    names = (str(entry).rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False))
    return tuple(sorted(names))


def _is_folder(url: str) -> bool:
    system, path = file_system(url)
    return bool(system.isdir(path))


def _delete(url: str) -> None:
    try:
        delete(url)
    except OSError as error:
        raise ContextError(f"cannot remove {url}: {error}; check its permissions, and call again to go on") from error


def _remove_empty_folder(url: str) -> None:
    """Remove what is left of a run folder, unless somebody has put something new into it."""
    # What the lock needs on a disk is hidden.
    if exists(url) and all(name.startswith(".") for name in _all_children(url)):
        _delete(url)
