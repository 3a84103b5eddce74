"""When a wish to stop is obeyed: at once where it is allowed, else at the next place; a second one everywhere."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from radps.workflows.interrupts import Interrupts


def test_a_signal_waits_for_the_next_place_where_it_is_allowed() -> None:
    interrupts = Interrupts()
    with interrupts.handled():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), interrupts.allowed():
            pytest.fail("it was let in")
    assert interrupts.by == "SIGTERM"


def test_who_asks_twice_is_obeyed_everywhere() -> None:
    interrupts = Interrupts()
    with interrupts.handled():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_request_of_another_thread_ends_what_is_computed() -> None:
    interrupts = Interrupts()
    threading.Timer(0.1, interrupts.request, ["somebody"]).start()
    start = time.monotonic()
    with interrupts.handled(), pytest.raises(KeyboardInterrupt), interrupts.allowed():
        threading.Event().wait(10.0)
    assert time.monotonic() - start < 5.0
    assert interrupts.by == "somebody"


def test_a_request_whose_signal_comes_late_does_not_break_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda _thread, number: sent.append(number))
    interrupts = Interrupts()
    with interrupts.handled():
        with interrupts.allowed():
            interrupts.request("somebody")
        assert sent == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)  # the one that was sent arrives where a result is being committed
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)  # the user's own
