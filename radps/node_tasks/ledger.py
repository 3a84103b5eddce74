"""The ledger of an attempt of a step: the results of its finished tasks, and how often each one failed.

One small file a task, ``RUN/tasks/<step>-<attempt>/<key>``, written by the worker when the task has ended. So whatever
dies, driver, scheduler or worker, a task that has ended is not done again: its result is read from here.

1. A file holds the SHA-256 of what follows, then the pickled :class:`Entry`. One that is torn counts as none.
2. What is above :data:`MAX_BYTES` is compressed. Arrays that are larger than that are not kept: those are parts of sums
   (images), and cost as much to keep as to make. Lists of records, as the plan of an import, compress well, and are
   kept up to :data:`MAX_RECORD_BYTES`.
3. Failures stand beside it, in ``<key>.failures``: a task that is repeated on another worker goes on counting.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import zlib
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from radps.data.files import delete_file, list_names, read_file, read_files, replace_file
from radps.data.urls import join_url
from radps.errors import DataError

LEDGERS = "tasks"
"""Folder of the ledgers of a run."""

MAX_BYTES = 64 * 2**10
"""Size of an entry on the disk that is kept at most, if there are arrays of more than that in it."""

MAX_RECORD_BYTES = 2**20
"""The same of any other entry: the plan of an import of nine thousand partitions."""

_MOST_COMPRESSION = 16
"""An entry whose pickle is larger than this many times its limit is not worth the time: 10 ms for 1 MiB."""

_COMPRESSED = b"\x78"
"""How a zlib stream begins; a pickle begins with another byte."""

_FAILURES = ".failures"
_LONGEST_NAME = 180
_DIGEST_BYTES = 32


class Entry(NamedTuple):
    """What the ledger knows of a task that has ended."""

    result: Any
    error: BaseException | None
    """Why it failed for good; None if it did not."""
    start_s: float
    stop_s: float
    worker: str
    tries: int
    bytes_written: int
    peak_memory_bytes: int


def ledger_url(run_url: str, step: str, attempt: int) -> str:
    """Return where the ledger of an attempt of a step is."""
    return join_url(run_url, LEDGERS, f"{step}-{attempt}")


def entry_name(key: str) -> str:
    """Return the name of the file of a task."""
    name = quote(key, safe="")
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 17]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def task_of(name: str) -> str:
    """Return the name of the task of a file; empty where a long name was cut."""
    return unquote(name) if len(name) < _LONGEST_NAME else ""


def save_entry(ledger_url: str, key: str, entry: Entry) -> bool:
    """Keep the entry of a task; False if it is too large to be kept, or cannot be pickled."""
    arrays: list[int] = []

    def note_size(array: pickle.PickleBuffer) -> bool:
        arrays.append(array.raw().nbytes)
        return True  # it stays a part of the pickle

    try:
        text = pickle.dumps(entry, protocol=5, buffer_callback=note_size)
    except Exception:  # whatever an object of a user's stage raises
        return False
    most = MAX_BYTES if sum(arrays) > MAX_BYTES else MAX_RECORD_BYTES
    if MAX_BYTES < len(text) <= _MOST_COMPRESSION * most:
        text = zlib.compress(text, 1)
    if len(text) > most:
        return False
    replace_file(_url(ledger_url, key), hashlib.sha256(text).digest() + text, durable=False)
    return True


def load_entry(ledger_url: str, key: str) -> Entry | None:
    """Return the entry of a task, None if there is none or it is torn."""
    return _parse(read_file(_url(ledger_url, key)))


def require_entry(ledger_url: str, key: str) -> Entry:
    """Return the entry of a task that has ended.

    Raises
    ------
    DataError
        It has gone since the run began.
    """
    entry = load_entry(ledger_url, key)
    if entry is None:
        raise DataError(
            f"the result of task {key} is no longer in {ledger_url}; somebody removed or changed it: run again"
        )
    return entry


def load_done(ledger_url: str) -> dict[str, Entry]:
    """Return file name -> entry of all tasks whose results are kept; what failed, or is torn, is removed."""
    done = {}
    for name, text in read_files(ledger_url, list_names(ledger_url)):
        entry = None if name.endswith(_FAILURES) else _parse(text)
        if entry is not None and entry.error is None:
            done[name] = entry
        else:
            delete_file(join_url(ledger_url, name))
    return done


def load_failures(ledger_url: str, key: str) -> tuple[str, ...]:
    """Return the errors of a task so far, oldest first."""
    text = read_file(_url(ledger_url, key) + _FAILURES)
    return tuple(json.loads(text)) if text else ()


def note_failure(ledger_url: str, key: str, error: str) -> int:
    """Note one more failure of a task; returns how many there are now."""
    failures = (*load_failures(ledger_url, key), error)
    replace_file(_url(ledger_url, key) + _FAILURES, json.dumps(failures).encode(), durable=False)
    return len(failures)


def _url(ledger_url: str, key: str) -> str:
    return join_url(ledger_url, entry_name(key))


def _parse(data: bytes | None) -> Entry | None:
    if data is None or hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        return None
    text = data[_DIGEST_BYTES:]
    try:
        entry = pickle.loads(zlib.decompress(text) if text.startswith(_COMPRESSED) else text)
    except Exception:  # of another version, or of a module that is not there: the task is done again
        return None
    return entry if isinstance(entry, Entry) else None
