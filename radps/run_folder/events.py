"""The event log of a run: what happened to the run, its steps and its tasks, in order, for those who watch.

1. On a disk: ``RUN/events.jsonl``, one JSON object a line. An event is handed to the operating system at once, by one
   append, so that it survives the end of the process.
2. In an object store, which cannot append: ``RUN/events/<first number>-<writer>.jsonl``, immutable objects with the
   events of a second at most, written by a thread. A process that is killed loses that second, nothing else.
3. The numbers go on over all runs in the folder. Only the driver of the run writes, so that nobody else counts.
4. Nothing that happens here ends a run. Events that cannot be written, because the disk is full, wait in memory and are
   written with the next ones. Beyond :data:`MAX_WAITING_BYTES` they are dropped and counted, and the event
   ``events.lost`` says how many. The log has a warning once.

The events and their fields are listed in ``docs/events.md``.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from radps.data.files import create_file, list_names, read_file
from radps.data.urls import absolute_url, is_local, join_url

logger = logging.getLogger(__name__)

EVENTS = "events.jsonl"
EVENTS_FOLDER = "events"
MAX_WAITING_BYTES = 2**20
"""Events that wait for a full disk take no more memory than this."""

_HEAD = ("number", "time", "event")
_BATCH_SECONDS = 1.0
_TAIL_BYTES = 2**16
_NUMBER = re.compile(rb'\{"number": ?(\d+)')


class Event(NamedTuple):
    """One thing that happened."""

    number: int
    """Counts from 1 over all runs in the folder."""
    time: str
    """UTC, ISO 8601 with milliseconds."""
    event: str
    """What happened, such as ``step.started``."""
    fields: Mapping[str, Any]
    """What is said about it."""


class EventLog:
    """Writes the events of a run; may be used by several threads.

    Parameters
    ----------
    url : str
        The run folder. The caller is its driver (:meth:`radps.run_folder.store.RunStore.lock`).
    **common
        Fields of every event.
    """

    def __init__(self, url: str, **common: Any) -> None:
        self._url = absolute_url(url)
        self._common = common
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._lost = 0
        self._is_warned = False
        self._writer = _FileWriter(self._url) if is_local(self._url) else _ObjectWriter(self._url)
        self._number = self._writer.last_number
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if not self._writer.is_immediate:
            self._thread = threading.Thread(target=self._flush_often, name="radps-events", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the log."""
        self.close()

    def write(self, event: str, /, **fields: Any) -> None:
        """Append one event.

        Parameters
        ----------
        event : str
            What happened.
        **fields
            What is said about it: plain JSON; anything else is written as text.

        Raises
        ------
        ValueError
            A field has one of the names that every event has already.
        """
        if clash := [name for name in _HEAD if name in fields or name in self._common]:
            raise ValueError(f"event {event}: the names {', '.join(clash)} are taken; choose others for the fields")
        with self._lock:
            if len(self._waiting) > MAX_WAITING_BYTES:
                self._flush()
            if len(self._waiting) > MAX_WAITING_BYTES:
                self._lost += 1
            else:
                if self._lost:
                    self._append("events.lost", {"count": self._lost})
                    self._lost = 0
                self._append(event, {**self._common, **fields})
            if self._writer.is_immediate:
                self._flush()

    def close(self) -> None:
        """Write what waits, and end."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._flush()
            if self._waiting or self._lost:
                logger.warning("the last events of %s could not be written and are lost", self._url)
            self._waiting.clear()
            self._writer.close()

    def _append(self, event: str, fields: Mapping[str, Any]) -> None:
        self._number += 1
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._waiting += _encode({"number": self._number, "time": now, "event": event}, fields)

    def _flush(self) -> None:
        """Write what waits; what cannot be written goes on waiting."""
        if not self._waiting:
            return
        try:
            del self._waiting[: self._writer.write(bytes(self._waiting))]
        except OSError as error:
            if not self._is_warned:
                self._is_warned = True
                logger.warning(
                    "cannot write events of %s: %s; they wait in memory until there is space again", self._url, error
                )

    def _flush_often(self) -> None:
        while not self._closed.wait(_BATCH_SECONDS):
            with self._lock:
                self._flush()


class _FileWriter:
    """Appends to a local file; the file may be missing as long as the disk is full or read-only."""

    is_immediate = True

    def __init__(self, url: str) -> None:
        self._path = os.path.join(url, EVENTS)
        self._descriptor: int | None = None
        self._needs_newline = False
        self.last_number = 0
        tail = self._read_tail()
        if tail:
            self._needs_newline = not tail.endswith(b"\n")
            self.last_number = _last_number(tail)

    def _read_tail(self) -> bytes:
        """Return the end of the file, with a whole line if there is one."""
        try:
            with open(self._path, "rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                length = _TAIL_BYTES
                while True:
                    stream.seek(max(0, size - length))
                    tail = stream.read()
                    if length >= size or _last_number(tail):
                        return tail
                    length *= 8  # the message of an error may be long
        except OSError:  # none yet; whether it can be written is found by writing
            return b""

    def write(self, data: bytes) -> int:
        """Append and return how many bytes were written."""
        if self._descriptor is None:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if self._needs_newline:  # after a line that a crash tore
            os.write(self._descriptor, b"\n")
            self._needs_newline = False
        return os.write(self._descriptor, data)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


class _ObjectWriter:
    """Writes batches of events as objects of an object store."""

    is_immediate = False

    def __init__(self, url: str) -> None:
        self._folder = join_url(url, EVENTS_FOLDER)
        self._name = secrets.token_hex(3)
        batches = _list_batches(self._folder)
        self.last_number = max((_last_number(_read_batch(self._folder, name)) for name in batches[-2:]), default=0)

    def write(self, data: bytes) -> int:
        """Write one batch and return its length."""
        match = _NUMBER.match(data)
        first = int(match.group(1)) if match else 0
        create_file(join_url(self._folder, f"{first:010d}-{self._name}.jsonl"), data)
        return len(data)

    def close(self) -> None:
        """Nothing is open."""


def read_events(url: str, after: int = 0) -> tuple[Event, ...]:
    """Return the events of a run, oldest first.

    Parameters
    ----------
    url : str
        The run folder.
    after : int
        Only those with a greater number.

    Returns
    -------
    tuple of Event
        Empty where there are none. A line that a crash tore is left out.
    """
    url = absolute_url(url)
    if is_local(url):
        texts = [read_file(join_url(url, EVENTS)) or b""]
    else:
        folder = join_url(url, EVENTS_FOLDER)
        batches = _list_batches(folder)
        # The batch before the first one that begins later holds what comes next.
        begins_later = sum(int(name[:10]) <= after + 1 for name in batches)
        texts = [_read_batch(folder, name) for name in batches[max(0, begins_later - 1) :]]
    events = (_decode(line, after) for text in texts for line in text.splitlines())
    return tuple(event for event in events if event is not None)


def _list_batches(folder: str) -> list[str]:
    """Return the names of the batches, oldest first."""
    return sorted(name for name in list_names(folder) if name[:10].isdigit() and name.endswith(".jsonl"))


def _read_batch(folder: str, name: str) -> bytes:
    return read_file(join_url(folder, name)) or b""


def _last_number(text: bytes) -> int:
    """Return the greatest number of the whole lines of a text."""
    events = (_decode(line, 0) for line in text.splitlines())
    return max((event.number for event in events if event is not None), default=0)


def _encode(head: Mapping[str, Any], fields: Mapping[str, Any]) -> bytes:
    """Return an event as a line; fields that JSON does not know (NaN, objects) as text."""
    try:
        text = json.dumps({**head, **fields}, allow_nan=False)
    except (ValueError, TypeError):
        text = json.dumps({**head, **{name: str(value) for name, value in fields.items()}})
    return text.encode() + b"\n"


def _decode(line: bytes, after: int) -> Event | None:
    """Return the event of a line if its number is greater than ``after``, None for a torn line."""
    match = _NUMBER.match(line)
    # The number stands first, so that those who follow a long log parse nothing that they know already.
    if match is None or int(match.group(1)) <= after:
        return None
    try:
        fields = dict(json.loads(line))
        return Event(int(fields.pop("number")), str(fields.pop("time")), str(fields.pop("event")), fields)
    except (ValueError, KeyError):
        return None
