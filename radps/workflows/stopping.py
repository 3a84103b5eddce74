"""Stop a run from another process or machine: ask its driver, and wait until it has let go of the run."""

from __future__ import annotations

import socket
import time
from typing import NamedTuple

from radps.context.drivers import find_user
from radps.data.urls import is_local
from radps.errors import ContextError
from radps.run_folder.store import RunStore
from radps.workflows.status import RunState, load_status

_POLL_SECONDS = {True: 0.2, False: 1.0}
"""Local or not -> time between two looks at the lock."""


class StopResult(NamedTuple):
    """What became of a request to stop."""

    asked: str
    """The driver that was asked; empty if nobody drives the run."""
    state: RunState
    """Of the run afterwards; running if the driver is still at work."""


def stop_run(url: str, wait_s: float = 60.0) -> StopResult:
    """Ask the driver of a run to stop, and wait for it.

    It ends what it is doing as after Ctrl-C: the step is recorded as stopped, and the next run goes on there.

    Parameters
    ----------
    url : str
        The run folder.
    wait_s : float
        How long to wait; 0 only asks.

    Raises
    ------
    ContextError
        There is no run, it is damaged, or its folder cannot be written.
    """
    store = RunStore(url)
    driver = store.driver()
    if driver is None:
        return StopResult("", load_status(url).state)
    try:
        asked = store.request_stop(_who_asks())
    except ContextError:
        if store.driver() is not None:
            raise
        asked = driver  # it ended by itself just now
    end = time.monotonic() + wait_s
    while _drives(store, asked.token):
        if time.monotonic() >= end:
            return StopResult(str(asked), RunState.RUNNING)
        time.sleep(min(_POLL_SECONDS[is_local(store.url)], wait_s))
    return StopResult(str(asked), _state(store))


def _drives(store: RunStore, token: str) -> bool:
    driver = store.driver()
    return driver is not None and driver.token == token


def _state(store: RunStore) -> RunState:
    """Return the state of a run that nobody drives; one that was stopped before its first step knows nothing yet."""
    return load_status(store.url).state if store.exists() else RunState.PENDING


def _who_asks() -> str:
    """Return the user of this process, as the driver will report it."""
    return f"{find_user()} on {socket.gethostname()}"
