"""One driver at a time: the lock of a run folder, its heartbeat, and requests to stop.

1. ``driver.json`` says who drives the run. It is created exclusively and removed at the end.
2. While the driver lives, a thread of it replaces the file every few seconds with a higher count of beats.
3. A second driver is refused by the name of the first, unless that one is dead. A process of the same host (the same
   table of processes, to be exact) is there or is gone, which is known at once. Any other driver is watched: it is
   dead if its beat does not change during its whole lease, by the clock of the one who watches. So clocks that
   differ, or go back, do not matter; times in the file are for display.
4. Taking over replaces exactly the file that was watched, so that of two who try at the same instant one gets it.
   On a disk a ``flock`` around the look and the replacement sees to that, on S3 a conditional put.
5. A driver that slept for longer than its lease may find its lock taken. It hears of it by the next beat, and what it
   still wants to commit is refused (:meth:`Lock.held`).
6. ``stop.json`` asks the driver to stop, from wherever the folder can be written. It names the lock that it is meant
   for, so that a request to an earlier driver does not stop a later one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator

from pydantic import ValidationError

from radps.context.drivers import (
    LEASE_S,
    Driver,
    dump_driver,
    is_gone,
    is_neighbour,
    parse_driver,
    this_process,
)
from radps.data.files import FileChangedError
from radps.data.urls import is_local
from radps.errors import ContextError, LockLostError
from radps.run_folder.heartbeat import Heart, Notice, StopRequest
from radps.run_folder.run_files import RunFiles

logger = logging.getLogger(__name__)

LOCK = "driver.json"
STOP = "stop.json"
BEATS_PER_LEASE = 6
_GUARD = ".driver.guard"
_GUARD_SECONDS = 10.0
_ATTEMPTS = 5
_POLL_SECONDS = {True: 1.0, False: 2.0}
"""Local or not -> time between two looks at the folder: an object store charges for each."""

_NO_VERSION = '"0"'
_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class Lock:
    """The lock of one run folder, as this process sees it.

    Parameters
    ----------
    files : RunFiles
        Of the run folder.
    lease_s : float
        After so long a silence others may take over [s].
    """

    def __init__(self, files: RunFiles, lease_s: float = LEASE_S) -> None:
        self._files = files
        self._lease_s = lease_s
        self._poll_s = min(_POLL_SECONDS[is_local(files.url)], lease_s / BEATS_PER_LEASE)
        self._mine: Driver | None = None
        self._version: str | None = None
        """Of the lock file that this process wrote last."""
        self._silent: bytes | None = None
        """A lock file that did not change during its lease."""

    # --- who drives ---

    def holder(self) -> Driver | None:
        """Return who drives the run; None if nobody does, or a process of this host that is gone."""
        text = self._files.read(LOCK)
        if text is None:
            return None
        driver = parse_driver(text)
        return None if is_gone(driver) else driver

    def check_free(self) -> None:
        """Refuse a run that somebody drives.

        Raises
        ------
        ContextError
            Names the driver. A driver of another host is watched first, for one lease at most.
        """
        text = self._files.read(LOCK)
        if text is not None and not self._is_dead(text):
            raise self._in_use(parse_driver(text))

    def request_stop(self, by: str) -> Driver:
        """Ask the driver of the run to stop.

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
            Nobody drives the run, or the folder cannot be written.
        """
        holder = self.holder()
        if holder is None:
            raise ContextError(f"nobody drives {self._files.url} now, so that there is nothing to stop")
        self._files.replace(STOP, StopRequest(by=by, token=holder.token).model_dump_json(indent=1).encode())
        return holder

    # --- holding ---

    @contextlib.contextmanager
    def hold(self, on_notice: Callable[[Notice], None] | None = None) -> Iterator[Driver]:
        """Be the driver.

        Parameters
        ----------
        on_notice : callable, optional
            Is called from a thread when somebody asks to stop, or the lock is lost.

        Raises
        ------
        ContextError
            Another driver holds the lock; names it.
        """
        self._mine = self._acquire()
        heart = Heart(
            self.beat,
            self.find_stop_request,
            on_notice or _ignore,
            poll_s=self._poll_s,
            beat_s=self._lease_s / BEATS_PER_LEASE,
        )
        heart.start()
        try:
            yield self._mine
        finally:
            heart.stop()
            self._release()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Do something that only the driver may do. Who never held the lock is not checked.

        Raises
        ------
        ContextError
            The lock was lost; says to whom.
        """
        with self._guard():
            if self._mine is not None:
                self._check_mine(self._mine)
            yield

    def beat(self) -> None:
        """Tell the others that this driver lives.

        Raises
        ------
        ContextError
            The lock was lost.
        """
        mine = self._mine
        if mine is None:
            return
        with self._guard():
            self._check_mine(mine)
            beaten = mine.model_copy(update={"beat": mine.beat + 1, "beat_time_s": time.time()})
            try:
                self._version = self._files.replace(LOCK, dump_driver(beaten), version=self._version)
            except FileChangedError as error:
                raise self._lost() from error
            self._mine = beaten

    def find_stop_request(self) -> StopRequest | None:
        """Return the request to stop that is meant for this driver."""
        text = self._files.read(STOP)
        try:
            request = None if text is None else StopRequest.model_validate_json(text)
        except ValidationError:
            return None
        return request if request and self._mine and request.token == self._mine.token else None

    # --- getting it ---

    def _acquire(self) -> Driver:
        """Create the lock file, or take over that of a dead driver."""
        for _ in range(_ATTEMPTS):
            with self._guard():
                version = self._files.find_version(LOCK)
                text = self._files.read(LOCK)
                if text is None or text == self._silent or is_gone(parse_driver(text)):
                    with contextlib.suppress(FileExistsError, FileChangedError):
                        return self._write_mine(text, version)
                    continue
            # Watching takes long, so it is done outside of the guard.
            if not self._is_dead(text):
                break
        raise self._in_use(self.holder())

    def _write_mine(self, text: bytes | None, version: str | None) -> Driver:
        """Write the lock file of this process where there was none, or that of a dead driver."""
        driver = this_process(self._lease_s)
        if text is None:
            self._version = self._files.create(LOCK, dump_driver(driver))
            try:
                self._check_conditions(driver)
            except ContextError:
                with contextlib.suppress(ContextError):
                    self._files.delete(LOCK)
                raise
            return driver
        dead = parse_driver(text)
        driver = driver.model_copy(update={"taken_over_from": str(dead)})
        self._version = self._files.replace(LOCK, dump_driver(driver), version=version)
        logger.warning("took over the run %s from a driver that is dead: %s", self._files.url, dead)
        return driver

    def _check_conditions(self, driver: Driver) -> None:
        """Warn of an object store that ignores conditions: two drivers at once would not be told apart."""
        if is_local(self._files.url):
            return
        again = dump_driver(driver) + b"\n"  # not the same, which would be taken for a put that was sent twice
        ignored = []
        with contextlib.suppress(FileExistsError):
            self._version = self._files.create(LOCK, again)
            ignored.append("that an object is not there (If-None-Match)")
        with contextlib.suppress(FileChangedError):
            self._version = self._files.replace(LOCK, again, version=_NO_VERSION)
            ignored.append("that it is a certain version (If-Match)")
        if ignored:
            logger.warning(
                "the object store of %s ignores the condition %s of a put; see that only one driver is started for a "
                "run folder",
                self._files.url,
                " and ".join(ignored),
            )

    def _is_dead(self, text: bytes) -> bool:
        """Return True if the driver with this lock file is dead; watches one of another host for its lease."""
        driver = parse_driver(text, self._lease_s)
        if text == self._silent or is_gone(driver):
            return True
        if is_neighbour(driver):
            return False
        logger.info("watching %s for up to %g s, to see whether it is alive", driver, driver.lease_s)
        start = time.monotonic()
        while time.monotonic() - start < driver.lease_s:
            time.sleep(min(self._poll_s, driver.lease_s / BEATS_PER_LEASE))
            if self._files.read(LOCK) != text:
                return self._files.read(LOCK) is None
        self._silent = text
        return True

    def _in_use(self, holder: Driver | None) -> ContextError:
        return ContextError(
            f"{self._files.url} is in use by {holder or 'another driver'}; wait for it, stop it by `radps-run stop`, "
            f"or use another run folder (if it is surely dead, remove {self._files.place(LOCK)})"
        )

    # --- keeping it, and giving it back ---

    def _release(self) -> None:
        mine, self._mine = self._mine, None
        try:
            with self._guard():
                if mine is not None and self._read_token() == mine.token:
                    self._files.delete(STOP)
                    self._files.delete(LOCK)
        except ContextError as error:
            # What was done is done; the next driver takes over from a process that is gone.
            logger.warning("the lock of %s is left behind: %s", self._files.url, error)

    def _read_token(self) -> str:
        text = self._files.read(LOCK)
        return "" if text is None else parse_driver(text).token

    def _check_mine(self, mine: Driver) -> None:
        if self._read_token() != mine.token:
            raise self._lost()

    def _lost(self) -> LockLostError:
        text = self._files.read(LOCK)
        by = f"{parse_driver(text)} took it over" if text is not None else f"somebody removed {LOCK}"
        return LockLostError(
            f"this process has lost the run {self._files.url}: {by}. Nothing more is committed here; what was "
            "committed before is safe. Run again to go on when nobody else drives it",
            by,
        )

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Let one process at a time look at a lock file on a disk and change it."""
        if not is_local(self._files.url):
            yield
            return
        try:
            os.makedirs(self._files.url, exist_ok=True)
            descriptor = os.open(os.path.join(self._files.url, _GUARD), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._files.unwritable(error) from error
        try:
            self._wait_for_guard(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for_guard(self, descriptor: int) -> None:
        """Take the flock; it is held for milliseconds, unless a process was suspended with it."""
        start = time.monotonic()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() - start > _GUARD_SECONDS:
                    raise self._in_use(self.holder()) from error
                time.sleep(0.01)
            except OSError as error:
                # Lustre without -o flock: exclusive creation is what is left.
                if error.errno not in _NO_FLOCK:
                    raise self._files.unwritable(error) from error
                return
            else:
                return


def _ignore(notice: Notice) -> None:
    """Take a notice and do nothing."""
