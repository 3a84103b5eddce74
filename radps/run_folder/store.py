"""The run folder: where the context is kept, and its history.

1. :meth:`RunStore.commit` creates ``history/NNNN-<step>.json``, which nobody ever changes again, then replaces
   ``context.json``. A crash between the two loses nothing: a history entry newer than ``context.json`` is what counts.
2. :meth:`RunStore.save_progress` replaces ``context.json`` alone: which step runs now is for those who watch.
3. Both steps are atomic (:mod:`radps.data.files`). They are done under the lock (:mod:`radps.run_folder.lock`), and
   ``context.json`` is replaced only if it is still what this store wrote last. So a driver that has slept, and was
   taken for dead, cannot undo what another one committed.
4. A commit reads no history: its cost does not depend on how many there were.
5. What is found damaged is mended from what is good where that loses nothing (:mod:`radps.run_folder.recovery`).
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from radps.context.drivers import LEASE_S, Driver
from radps.context.model import Context
from radps.data.files import FileChangedError
from radps.errors import ContextError
from radps.run_folder.heartbeat import Notice
from radps.run_folder.lock import Lock
from radps.run_folder.recovery import (
    CONTEXT,
    HISTORY,
    dump_context,
    examine,
    list_history,
    mend,
    remove_rests,
    sequence_of,
    sequence_of_text,
)
from radps.run_folder.run_files import RunFiles

logger = logging.getLogger(__name__)

WORKFLOW = "workflow.json"


class RunStore:
    """A run folder at a local path or any fsspec URL.

    Parameters
    ----------
    url : str
        Path or URL; nothing is read or written yet.
    lease_s : float
        A driver that is silent for so long is taken for dead [s].
    """

    def __init__(self, url: str, lease_s: float = LEASE_S) -> None:
        self._files = RunFiles(url)
        self.url = self._files.url
        self._lock = Lock(self._files, lease_s)
        self._sequence: int | None = None
        """Of the last commit in the folder, once this store has committed or looked."""
        self._version: str | None = None
        """Of context.json as this store wrote or saw it last; None: there is none."""

    # --- reading ---

    def exists(self) -> bool:
        """Return True if a run was committed here."""
        return self._files.find_version(CONTEXT) is not None or bool(self.history())

    def load(self) -> Context:
        """Return the last committed context, with the progress that was noted after it.

        Raises
        ------
        ContextError
            This is no run folder, or it is damaged so that a commit would be lost (says how to choose), or it was
            edited by hand, or it is of another version.
        """
        found = examine(self._files)
        if found.damage:
            logger.warning("%s: %s", self.url, found.damage)
        return found.context

    def recover(self) -> str:
        """Mend the damage that :meth:`load` gets around, as the driver of the run, and remove rests of killed drivers.

        Returns
        -------
        str
            What was found and what was done, for the record; empty if nothing was.

        Raises
        ------
        ContextError
            As of :meth:`load`; or the folder cannot be written, or this process is not its driver any more.
        """
        if not self.exists():
            return ""
        with self._lock.held():
            remove_rests(self._files)
            found = examine(self._files)
            message = mend(self._files, found)
        if message:
            self._sequence = None
            logger.warning("%s: %s", self.url, message)
        return message

    def history(self) -> tuple[str, ...]:
        """Return the names of the history entries, oldest first."""
        return list_history(self._files)

    def load_workflow(self) -> dict[str, Any]:
        """Return the workflow that was last run here, plain data.

        Raises
        ------
        ContextError
            There is none.
        """
        text = self._files.read(WORKFLOW)
        if text is None:
            raise ContextError(f"{self.url} has no {WORKFLOW}; give the config of the run")
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise ContextError(
                f"{self._files.place(WORKFLOW)} is damaged: {error}; give the config of the run"
            ) from error

    # --- writing ---

    def commit(self, context: Context, step: str) -> Context:
        """Make a context the current one, for good.

        Parameters
        ----------
        context : Context
            With the record of the step that ended.
        step : str
            Its id, for the name of the history entry.

        Returns
        -------
        Context
            With its sequence number raised by one.

        Raises
        ------
        ContextError
            Another driver committed in between, or took the lock over (LockLostError), or the folder cannot be
            written.
        """
        committed = context.model_copy(update={"sequence": context.sequence + 1})
        text = dump_context(committed)
        entry = f"{HISTORY}/{committed.sequence:04d}-{step}.json"
        with self._lock.held():
            if self._find_sequence() > context.sequence:
                self._refuse()
            try:
                self._files.create(entry, text)
            except FileExistsError:
                self._refuse()
            try:
                self._replace_context(text)
            except (FileChangedError, FileExistsError):
                # The other one won; this entry was never current.
                self._files.delete(entry)
                self._refuse()
            except ContextError:
                # A full disk: nothing was committed. If the entry cannot be removed either, the next commit is refused.
                self._sequence = None
                with contextlib.suppress(ContextError):
                    self._files.delete(entry)
                raise
            self._sequence = committed.sequence
        return committed

    def save_progress(self, context: Context) -> None:
        """Note which steps wait and run, without making a version of the context.

        Raises
        ------
        ContextError
            As of :meth:`commit`.
        """
        with self._lock.held():
            if self._find_sequence() > context.sequence:
                self._refuse()
            try:
                self._replace_context(dump_context(context))
            except (FileChangedError, FileExistsError):
                self._refuse()

    def save_workflow(self, workflow: dict[str, Any]) -> None:
        """Keep the workflow beside the context, so that the run can go on without its config."""
        self._files.replace(WORKFLOW, json.dumps(workflow, indent=1).encode())

    def _find_sequence(self) -> int:
        """Return the number of the last commit in the folder; only the first time has to look."""
        if self._sequence is None:
            self._version = self._files.find_version(CONTEXT)
            numbers = [sequence_of(name) for name in self.history()]
            self._sequence = max([sequence_of_text(self._files.read(CONTEXT)), *numbers])
        return self._sequence

    def _replace_context(self, text: bytes) -> None:
        if self._version is None:
            self._version = self._files.create(CONTEXT, text)
        else:
            self._version = self._files.replace(CONTEXT, text, version=self._version)

    def _refuse(self) -> NoReturn:
        """Refuse to write over what somebody else wrote."""
        # The next attempt of this store has to look at the folder anew.
        self._sequence = None
        history = self.history()
        newest = f"entry {history[-1]} is there already" if history else "there is no history"
        raise ContextError(
            f"{self.url}: another driver committed while this one ran, or {CONTEXT} was changed by hand ({newest}); "
            "run again to go on from there"
        )

    # --- one driver at a time ---

    @contextlib.contextmanager
    def lock(self, on_notice: Callable[[Notice], None] | None = None) -> Iterator[Driver]:
        """Hold the run folder as its only driver.

        Parameters
        ----------
        on_notice : callable, optional
            Is called from a thread when somebody asks to stop, or the lock is lost to another driver.

        Yields
        ------
        Driver
            This process; ``taken_over_from`` names a dead driver whose lock it took over.

        Raises
        ------
        ContextError
            Another driver holds it; names it.
        """
        with self._lock.hold(on_notice) as driver:
            yield driver

    def driver(self) -> Driver | None:
        """Return who drives the run now, None if nobody does (a dead process of this host is nobody)."""
        return self._lock.holder()

    def check_free(self) -> None:
        """Refuse a run that somebody drives.

        Raises
        ------
        ContextError
            Names the driver. A driver of another host is watched first, for its lease at most.
        """
        self._lock.check_free()

    def request_stop(self, by: str) -> Driver:
        """Ask the driver of the run to stop, from any process that can write the folder.

        Parameters
        ----------
        by : str
            Who asks; the driver reports it.

        Returns
        -------
        Driver
            Who was asked.

        Raises
        ------
        ContextError
            Nobody drives the run.
        """
        return self._lock.request_stop(by)
