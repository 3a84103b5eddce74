"""The heart of a driver: a thread that tells others that it lives, and tells it what others want."""

from __future__ import annotations

import enum
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from pydantic import Field

from radps.context.base import Record
from radps.errors import ContextError, LockLostError

logger = logging.getLogger(__name__)


class NoticeKind(enum.StrEnum):
    """What a driver hears while it holds the lock."""

    STOP = "stop"
    """Somebody asked it to stop."""
    LOST = "lost"
    """Another driver took the lock over, or somebody removed it: nothing can be committed any more."""


class Notice(NamedTuple):
    """What a driver hears while it holds the lock."""

    kind: NoticeKind
    by: str
    """Who asked, or who has the lock now."""


class StopRequest(Record):
    """A wish that a driver stops."""

    by: str
    token: str
    """The lock of the driver that is meant."""
    id: str = Field(default_factory=lambda: secrets.token_hex(8))


class Heart:
    """The thread that renews a lock and looks for requests to stop.

    Parameters
    ----------
    beat : callable
        Renews the lock; raises LockLostError if it was lost, ContextError if the folder cannot be written.
    find_request : callable
        Returns the request to stop that there is now.
    on_notice : callable
        Is told of requests, once each, and of the loss of the lock.
    poll_s, beat_s : float
        Times between two looks for a request, and between two beats [s].
    """

    def __init__(
        self,
        beat: Callable[[], None],
        find_request: Callable[[], StopRequest | None],
        on_notice: Callable[[Notice], None],
        *,
        poll_s: float,
        beat_s: float,
    ) -> None:
        self._beat = beat
        self._find_request = find_request
        self._on_notice = on_notice
        self._poll_s = poll_s
        self._beat_s = beat_s
        self._ended = threading.Event()
        self._last_request = ""
        self._thread = threading.Thread(target=self._run, name="radps-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """End; what it does now is brought to its end."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        last_beat = time.monotonic()
        is_warned = False
        while not self._ended.wait(self._poll_s):
            try:
                self._look_for_request()
                if time.monotonic() - last_beat >= self._beat_s:
                    self._beat()
                    last_beat = time.monotonic()
            except LockLostError as error:
                self._tell(Notice(NoticeKind.LOST, error.by))
                return
            except ContextError as error:
                # A full disk or a network that is down: others may take the run over, which the next beat finds out.
                if not is_warned:
                    is_warned = True
                    logger.warning("cannot renew the lock: %s", error)

    def _look_for_request(self) -> None:
        request = self._find_request()
        if request is not None and request.id != self._last_request:
            self._last_request = request.id
            self._tell(Notice(NoticeKind.STOP, request.by))

    def _tell(self, notice: Notice) -> None:
        try:
            self._on_notice(notice)
        except Exception:  # the heart has to go on beating, whatever the one who is told makes of it
            logger.exception("the notice %s was not taken", notice)
