"""The log of a run: what radps and dask say, in ``log.txt`` of the run folder.

An object store cannot append. There the text is kept in memory, and the whole object is put again every few seconds
while something was added, so that a driver that is killed loses those seconds of its log.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator

from radps.data.files import read_file, replace_file
from radps.data.urls import is_local, join_url, local_path

logger = logging.getLogger(__name__)

LOG = "log.txt"
_PUT_SECONDS = 10.0


@contextlib.contextmanager
def log_to_file(url: str) -> Iterator[None]:
    """Write the log of radps and distributed to the run folder at ``url``, after what is there.

    A log that cannot be written, such as that of another user, is no reason not to run: a warning says so.
    """
    place = join_url(url, LOG)
    try:
        handler = DiskHandler(local_path(place), encoding="utf-8") if is_local(url) else ObjectHandler(place)
    except OSError as error:
        logger.warning("cannot write the log %s: %s; the run has none", place, error)
        yield
        return
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    loggers = (logging.getLogger("radps"), logging.getLogger("distributed"))
    level = loggers[0].level
    loggers[0].setLevel(logging.INFO)
    for each in loggers:
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in loggers:
            each.removeHandler(handler)
        loggers[0].setLevel(level)
        handler.close()


class DiskHandler(logging.FileHandler):
    """Writes a log to a file; what finds no room on a full disk is lost: the run has an error of its own."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing of a disk that is full."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, though its end may not be written."""
        with contextlib.suppress(OSError):
            super().close()


class ObjectHandler(logging.Handler):
    """Writes a log to an object of an object store.

    Parameters
    ----------
    url : str
        The object; what is in it already is kept.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._text = read_file(url) or b""
        self._put_bytes = len(self._text)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._put_often, name="radps-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line."""
        try:
            self._text += self.format(record).encode() + b"\n"
        except Exception:  # as logging's own handlers do: a message that cannot be formatted ends nothing
            self.handleError(record)

    def close(self) -> None:
        """Put what is new, and end."""
        self._closed.set()
        self._thread.join()
        try:
            self._put()
        except OSError as error:
            logger.warning("the end of the log %s could not be written and is lost: %s", self._url, error)
        super().close()

    def _put(self) -> None:
        text = self._text
        if len(text) > self._put_bytes:
            replace_file(self._url, text)
            self._put_bytes = len(text)

    def _put_often(self) -> None:
        while not self._closed.wait(_PUT_SECONDS):
            # What cannot be put now is part of the next put.
            with contextlib.suppress(OSError):
                self._put()
