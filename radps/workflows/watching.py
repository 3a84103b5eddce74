"""Follow a run from another process: its events as they come, until it ends.

1. A run that is at work, or ended: what happened since its driver started.
2. A run that has not started yet: wait until it does.
3. A driver that died says nothing any more. One of this host is known to be gone; one of another host is, if its heart
   has not beaten for its lease.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from radps.data.urls import is_local
from radps.run_folder.events import Event, read_events
from radps.run_folder.store import RunStore

_POLL_SECONDS = {True: 0.3, False: 2.0}
"""Local or not -> time between two looks at the events: an object store charges for each."""

_IN_KUBERNETES = re.compile(r"http://([\w-]+)\.([\w-]+)\.svc:(\d+)/")
"""Address of a dashboard that only pods reach: service, namespace, port."""

_BEGINNINGS = ("run.planned", "run.started")


def follow_events(url: str) -> Iterator[Event]:
    """Yield the events of the run that is at work, of the next one, or of the last one if none is; end with it.

    The last one is ``run.ended``, unless the driver died.

    Parameters
    ----------
    url : str
        The run folder; it need not be there yet.
    """
    store = RunStore(url)
    poll_s = _POLL_SECONDS[is_local(store.url)]
    pulse = _Pulse(store)
    last = _last_before_run(read_events(store.url), is_driven=pulse.is_alive())
    while True:
        # Whether somebody is at work is asked before reading: what it wrote until then is read.
        ended = not pulse.is_alive() and (last > 0 or store.exists())
        events = read_events(store.url, after=last)
        for event in events:
            last = event.number
            yield event
            if event.event == "run.ended":
                return
        if ended and not events:
            return
        if not events:
            time.sleep(poll_s)


class _Pulse:
    """Tells whether a run has a living driver."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._beat: tuple[str, int] | None = None
        self._beat_s = 0.0

    def is_alive(self) -> bool:
        """Return True if there is a driver, and its heart has beaten during its lease."""
        driver = self._store.driver()
        if driver is None:
            return False
        beat, now = (driver.token, driver.beat), time.monotonic()
        if beat != self._beat:
            self._beat, self._beat_s = beat, now
        return now - self._beat_s <= driver.lease_s


def _last_before_run(events: tuple[Event, ...], *, is_driven: bool) -> int:
    """Return the number of the last event before the run that is to be shown; 0 = show all."""
    if not events or (is_driven and events[-1].event == "run.ended"):
        return events[-1].number if events else 0
    ends = [event.number for event in events[:-1] if event.event == "run.ended"]
    begins = [
        event.number - 1
        for before, event in zip((None, *events), events, strict=False)
        if event.event in _BEGINNINGS and (before is None or before.event not in _BEGINNINGS)
    ]
    return max([0, *ends[-1:], *begins[-1:]])


# --- events in words ---


def describe_event(event: Event) -> str:
    """Return an event as a line for people: date and time (UTC), and what happened."""
    words = _WORDS.get(event.event, _describe_unknown)
    fields = {name: value for name, value in event.fields.items() if name != "run_id"}
    try:
        text = words(fields) if words is not _describe_unknown else f"{event.event} {words(fields)}".rstrip()
    except (KeyError, TypeError, ValueError):  # of another version of radps
        text = f"{event.event} {_describe_unknown(fields)}".rstrip()
    return f"{_describe_time(event.time)}  {text}"


def _describe_time(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return text


def _describe_unknown(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _describe_plan(fields: dict[str, Any]) -> str:
    steps = fields["steps"]
    why = "; ".join(f"{step} ({reason})" for step, reason in steps.items())
    return f"planned, {fields['where']}: {why}" if steps else "planned: nothing to do"


def _describe_start(fields: dict[str, Any]) -> str:
    goes_on = ", goes on where it was interrupted" if fields.get("resumed") else ""
    return f"{fields['step']}: started (attempt {fields['attempt']} of stage {fields['stage']}{goes_on})"


def _describe_end(fields: dict[str, Any]) -> str:
    seconds = fields.get("seconds")
    took = "" if seconds is None else f" in {seconds:.1f} s ({fields['tasks']} tasks)"
    message = f": {fields['message']}" if fields.get("message") else ""
    return f"{fields['step']}: {fields['state']}{took}{message}"


def _describe_retry(fields: dict[str, Any]) -> str:
    return (
        f"{fields['step']}: {fields['task']} up for retry in {fields['delay_s']:.3g} s "
        f"(try {fields['tries']} failed on {fields['worker']}: {fields['error']})"
    )


def _describe_failure(fields: dict[str, Any]) -> str:
    where = f"try {fields['tries']}, on {fields['worker']}"
    return f"{fields['step']}: {fields['task']} failed for good ({where}): {fields['error']}"


def _describe_cluster(fields: dict[str, Any]) -> str:
    service = _IN_KUBERNETES.search(fields["where"])
    forward = (
        " (from outside: kubectl port-forward -n {1} service/{0} {2})".format(*service.groups()) if service else ""
    )
    return f"cluster started: {fields['where']}{forward}"


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "run.planned": _describe_plan,
    "run.started": lambda fields: f"run started by {fields['driver']}, {fields['cluster']}",
    "run.stopping": lambda fields: f"stopping, asked by {fields['by']}",
    "run.paused": lambda fields: f"paused before {fields['before']}",
    "run.ended": lambda fields: f"run ended: {fields['state']}",
    "step.started": _describe_start,
    "step.graph": lambda fields: f"{fields['step']}: {fields['tasks']} task{'' if fields['tasks'] == 1 else 's'} to do",
    "step.progress": lambda fields: f"{fields['step']}: {fields['tasks_done']} of {fields['tasks']} tasks",
    "step.ended": _describe_end,
    "task.retry": _describe_retry,
    "task.failed": _describe_failure,
    "trial.started": lambda fields: f"{fields['step']}: trial started (attempt {fields['attempt']})",
    "trial.ended": lambda fields: f"{fields['step']}: trial {fields['state']}: {fields['message']}",
    "trial.accepted": lambda fields: f"{fields['step']}: trial accepted (attempt {fields['attempt']})",
    "cluster.started": _describe_cluster,
    "cluster.lost": lambda fields: f"cluster lost: {fields['error']}",
    "context.committed": lambda fields: f"{fields['step']}: committed as version {fields['sequence']}",
    "context.recovered": lambda fields: f"run folder mended: {fields['message']}",
    "lock.taken_over": lambda fields: f"took the run over from {fields['from']}, which is dead",
    "events.lost": lambda fields: f"{fields['count']} events were lost: there was no space for them",
}
"""Event -> what its fields say."""
