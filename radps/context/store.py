"""The run folder: where the context is kept, and who may write to it.

1. :meth:`RunStore.commit` writes ``history/NNNN-<step>.json``, which nobody ever changes again, then replaces
   ``context.json``. A crash between the two loses nothing: a history entry newer than ``context.json`` is what counts.
2. :meth:`RunStore.save_progress` replaces ``context.json`` alone: which step runs now is for those who watch.
3. Replacing is atomic. Local: a temporary file in the same folder, flushed to the disk, renamed. Object stores: one put
   of the whole object.
4. ``driver.json`` says who drives the run. It is created exclusively; the file of a process of this host that lives no
   more is taken over, every other one is respected.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any

import psutil
from pydantic import Field, ValidationError

from radps.context.model import SCHEMA_VERSION, Context
from radps.context.records import Record
from radps.data.stores import file_system
from radps.data.urls import absolute_url, is_local, join_url
from radps.errors import ContextError

CONTEXT = "context.json"
HISTORY = "history"
LOCK = "driver.json"
WORKFLOW = "workflow.json"
_ATTEMPTS_TO_LOCK = 3


class Driver(Record):
    """Who drives a run."""

    host: str
    pid: int
    user: str
    process_start_s: float
    """When the process started: another process may get its number later."""
    start_s: float
    token: str = Field(default_factory=lambda: secrets.token_hex(8))
    """Tells two locks of one process apart."""

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.start_s))
        return f"process {self.pid} of {self.user} on {self.host}, since {since}"


class RunStore:
    """A run folder at a local path or any fsspec URL.

    Parameters
    ----------
    url : str
        Path or URL; nothing is read or written yet.
    """

    def __init__(self, url: str) -> None:
        self.url = absolute_url(url)

    # --- reading ---

    def exists(self) -> bool:
        """Return True if a run was committed here."""
        return self._read(CONTEXT) is not None or bool(self.history())

    def load(self) -> Context:
        """Return the last committed context, with the progress that was noted after it.

        Raises
        ------
        ContextError
            This is no run folder, or it is damaged (names the last good history entry), or of another version.
        """
        text = self._read(CONTEXT)
        history = self.history()
        if text is None and not history:
            raise ContextError(
                f"{self.url} is not a run folder: it has no {CONTEXT}; give the folder that `radps-run CONFIG` made"
            )
        if text is None:
            raise self._damaged("it is missing")
        try:
            context = _parse(text, join_url(self.url, CONTEXT))
        except ValueError as error:
            raise self._damaged(str(error)) from error
        if history and _number(history[-1]) > context.sequence:
            return self._load_history(history[-1])
        return context

    def history(self) -> tuple[str, ...]:
        """Return the names of the history entries, oldest first."""
        system, path = file_system(join_url(self.url, HISTORY))
        # A listing that was kept in memory would miss what another process wrote.
        system.invalidate_cache()
        if not system.isdir(path):
            return ()
        names = (str(name).rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False))
        return tuple(sorted((name for name in names if name[:4].isdigit() and name.endswith(".json")), key=_number))

    def load_workflow(self) -> dict[str, Any]:
        """Return the workflow that was last run here, plain data.

        Raises
        ------
        ContextError
            There is none.
        """
        text = self._read(WORKFLOW)
        if text is None:
            raise ContextError(f"{self.url} has no {WORKFLOW}; give the config of the run")
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise ContextError(
                f"{join_url(self.url, WORKFLOW)} is damaged: {error}; give the config of the run"
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
            Another driver committed in between, or the folder cannot be written.
        """
        committed = context.model_copy(update={"sequence": context.sequence + 1})
        text = _dump(committed)
        name = f"{HISTORY}/{committed.sequence:04d}-{step}.json"
        if any(_number(entry) >= committed.sequence for entry in self.history()):
            raise ContextError(
                f"{self.url}: another driver committed while this one ran (entry {self.history()[-1]} is there "
                "already); run again to go on from there"
            )
        self._write(name, text)
        self._write(CONTEXT, text)
        return committed

    def save_progress(self, context: Context) -> None:
        """Note which steps wait and run, without making a version of the context."""
        self._write(CONTEXT, _dump(context))

    def save_workflow(self, workflow: dict[str, Any]) -> None:
        """Keep the workflow beside the context, so that the run can go on without its config."""
        self._write(WORKFLOW, json.dumps(workflow, indent=1).encode())

    # --- one driver at a time ---

    @contextlib.contextmanager
    def lock(self) -> Iterator[Driver]:
        """Hold the run folder as its only driver.

        Raises
        ------
        ContextError
            Another driver holds it; names it.
        """
        driver = _this_process()
        with self._guard():
            self._acquire(driver)
        try:
            yield driver
        finally:
            held = self.driver()
            if held is not None and held.token == driver.token:
                self._delete(LOCK)

    def driver(self) -> Driver | None:
        """Return who drives the run now, None if nobody does (a dead process of this host is nobody)."""
        text = self._read(LOCK)
        if text is None:
            return None
        try:
            driver = Driver.model_validate_json(text)
        except ValidationError:
            return Driver(host="an unknown host", pid=0, user="an unknown user", process_start_s=0, start_s=0)
        return None if _is_dead(driver) else driver

    def check_free(self) -> None:
        """Refuse a run that somebody drives.

        Raises
        ------
        ContextError
            Names the driver.
        """
        holder = self.driver()
        if holder is not None:
            raise self._in_use(holder)

    def _in_use(self, holder: Driver | None) -> ContextError:
        return ContextError(
            f"{self.url} is in use by {holder or 'another driver'}; wait for it, stop it, or use another run folder "
            f"(if it is surely dead, remove {join_url(self.url, LOCK)})"
        )

    def _acquire(self, driver: Driver) -> None:
        """Create the lock file, taking over that of a dead process."""
        for _ in range(_ATTEMPTS_TO_LOCK):
            try:
                self._create(LOCK, driver.model_dump_json(indent=1).encode())
            except FileExistsError:
                holder = self.driver()
                if holder is not None:
                    break
                self._delete(LOCK)
            else:
                return
        raise self._in_use(holder)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Let one process of this host at a time look at a lock file and take it over."""
        if not is_local(self.url):
            yield
            return
        try:
            os.makedirs(self.url, exist_ok=True)
            descriptor = os.open(os.path.join(self.url, ".driver.guard"), os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # --- files ---

    def _read(self, name: str) -> bytes | None:
        """Return the bytes of a file of the run folder, None if there is none."""
        system, path = file_system(join_url(self.url, name))
        try:
            return bytes(system.cat_file(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ContextError(f"cannot read {path}: {error}; check the folder and its permissions") from error

    def _write(self, name: str, data: bytes) -> None:
        """Put a file in one atomic step."""
        try:
            if is_local(self.url):
                _replace_file(os.path.join(self.url, name), data)
            else:
                system, path = file_system(join_url(self.url, name))
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
                system.pipe_file(path, data)
        except OSError as error:
            raise self._unwritable(error) from error

    def _create(self, name: str, data: bytes) -> None:
        """Create a file that must not be there yet (FileExistsError)."""
        try:
            if is_local(self.url):
                descriptor = os.open(os.path.join(self.url, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
            else:
                system, path = file_system(join_url(self.url, name))
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
                system.pipe_file(path, data, mode="create")
        except FileExistsError:
            raise
        except OSError as error:
            raise self._unwritable(error) from error

    def _delete(self, name: str) -> None:
        system, path = file_system(join_url(self.url, name))
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(path)

    # --- history and errors ---

    def _load_history(self, name: str) -> Context:
        path = f"{HISTORY}/{name}"
        try:
            return _parse(self._read(path) or b"", join_url(self.url, path))
        except ValueError as error:
            raise self._damaged(f"and {path}, which is newer: {error}") from error

    def _damaged(self, reason: str) -> ContextError:
        """Return the error of a damaged context.json; names the last history entry that can be read."""
        good = None
        for name in reversed(self.history()):
            try:
                _parse(self._read(f"{HISTORY}/{name}") or b"", name)
            except (ValueError, ContextError):
                continue
            good = name
            break
        remedy = (
            f"the last good version is {HISTORY}/{good}: copy it over {CONTEXT} and run again"
            if good
            else "no history entry is readable either: start a new run folder"
        )
        return ContextError(f"{join_url(self.url, CONTEXT)} is damaged: {reason}; {remedy}")

    def _unwritable(self, error: OSError) -> ContextError:
        return ContextError(
            f"cannot write the run folder {self.url}: {error}; check its permissions and the space on the disk, "
            "or give another folder by --run"
        )


def _parse(text: bytes, place: str) -> Context:
    """Return the context of a JSON text.

    Raises ValueError (whose text is short) if it is damaged, ContextError if it is of another version.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"no valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    version = document.get("schema_version")
    if isinstance(version, int) and version != SCHEMA_VERSION:
        remedy = "update radps" if version > SCHEMA_VERSION else "use the radps that made it, or start a new run folder"
        raise ContextError(
            f"{place} has schema version {version}, and this radps reads version {SCHEMA_VERSION}; {remedy}"
        )
    try:
        return Context.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _dump(context: Context) -> bytes:
    return context.model_dump_json(indent=1).encode()


def _number(name: str) -> int:
    """Return the sequence number of a history entry."""
    return int(name.partition("-")[0])


def _replace_file(path: str, data: bytes) -> None:
    """Write a local file so that a reader sees the old or the new one, whatever happens."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _this_process() -> Driver:
    """Return this process as a driver."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return Driver(
        host=socket.gethostname(),
        pid=os.getpid(),
        user=user,
        process_start_s=psutil.Process().create_time(),
        start_s=time.time(),
    )


def _is_dead(driver: Driver) -> bool:
    """Return True if the driver was a process of this host, and that process is gone."""
    if driver.host != socket.gethostname():
        return False
    try:
        process = psutil.Process(driver.pid)
        # A second of grace: the time of start is derived from the time of boot, which the clock's drift moves.
        return bool(
            abs(process.create_time() - driver.process_start_s) > 1.0 or process.status() == psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return True
