"""Ctrl-C and SIGTERM, taken where the work may be left: computing stops at once, a commit is brought to its end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Turns both signals into KeyboardInterrupt.

    Inside :meth:`allowed` it is raised at once. Elsewhere it waits for the next :meth:`allowed`; who asks twice is
    obeyed everywhere.
    """

    def __init__(self) -> None:
        self.by = ""
        """Who asked to stop."""
        self._allowed = False
        self._wanted = False
        self._is_handled = False
        self._is_own_signal = False
        """True from when :meth:`request` sends a signal until it is taken: it is no second wish of the user."""

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals; only the main thread of a process may, in others this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        self._is_handled = True
        try:
            yield
        finally:
            self._is_handled = False
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let an interrupt in.

        Raises
        ------
        KeyboardInterrupt
            The user asked to stop, now or since the last time.
        """
        # A signal between a look and the permission would only be noted, and the whole step would compute on.
        self._allowed = True
        try:
            self.check()
            yield
        finally:
            self._allowed = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if the user asked to stop."""
        if self._wanted:
            raise KeyboardInterrupt

    def request(self, by: object) -> None:
        """Ask to stop from another thread of this process; ``by`` says who wants it."""
        self.by = str(by)
        self._wanted = True
        if self._allowed and self._is_handled:
            # The main thread computes, and looks at nothing else. By the time it takes the signal it may be committing.
            self._is_own_signal = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _take(self, number: int, frame: object) -> None:
        self.by = self.by or signal.Signals(number).name
        again = self._wanted and not self._is_own_signal
        self._wanted, self._is_own_signal = True, False
        if self._allowed or again:
            raise KeyboardInterrupt
