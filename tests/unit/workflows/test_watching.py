"""Watching a run: its events as they come, from its start to its end, in words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from radps.run_folder.events import Event, EventLog
from radps.run_folder.store import RunStore
from radps.workflows import watching
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.watching import describe_event, follow_events

FIRST = ["run.planned", "run.started", "step.started", "step.ended", "run.ended"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_POLL_SECONDS", {True: 0.02, False: 0.02})


def write(url: str, *events: str, **fields: Any) -> None:
    """Drive a run that does nothing but log."""
    with RunStore(url).lock(), EventLog(url) as log:
        for event in events:
            log.write(event, **fields)


def follow(url: str) -> list[str]:
    return [event.event for event in follow_events(url)]


def in_background(work: Callable[[], object]) -> Callable[[], None]:
    """Do something in a thread, and return what waits for its end."""
    thread = threading.Thread(target=work)
    thread.start()
    return lambda: thread.join(30)


def test_a_run_that_ended_is_shown_from_its_start_to_its_end(url: str) -> None:
    write(url, *FIRST, n=1)
    write(url, *FIRST, n=2)
    assert [(event.event, event.fields["n"]) for event in follow_events(url)] == [(name, 2) for name in FIRST]


def test_of_runs_that_were_killed_the_last_one_is_shown_and_it_ends(url: str) -> None:
    write(url, *FIRST, "run.planned", "run.started", "step.started", n=1)
    write(url, "run.planned", "run.started", "step.started", n=2)
    assert [event.fields["n"] for event in follow_events(url)] == [2, 2, 2]


def test_a_run_that_is_at_work_is_followed_to_its_end(url: str) -> None:
    write(url, *FIRST, n=1)
    seen: list[Event] = []
    more = threading.Event()

    def drive() -> None:
        with RunStore(url).lock(), EventLog(url) as log:
            locked.set()
            log.write("run.planned", n=2)
            more.wait(30)
            log.write("step.started", n=2)
            log.write("run.ended", n=2)

    locked = threading.Event()
    join = in_background(drive)
    assert locked.wait(10)
    for event in follow_events(url):
        seen.append(event)
        more.set()
    join()
    assert [event.event for event in seen] == ["run.planned", "step.started", "run.ended"]
    assert {event.fields["n"] for event in seen} == {2}


def test_a_run_that_has_not_started_is_waited_for(url: str) -> None:
    seen: list[str] = []
    join = in_background(lambda: seen.extend(follow(url)))
    write(url, *FIRST)
    join()
    assert seen == FIRST


def test_a_driver_that_dies_without_a_word_ends_it(url: str) -> None:
    seen: list[str] = []
    with RunStore(url).lock(), EventLog(url) as log:
        log.write("run.planned")
        join = in_background(lambda: seen.extend(follow(url)))
    join()
    assert seen == ["run.planned"]


def test_a_driver_of_another_host_is_dead_when_its_heart_has_not_beaten_for_its_lease(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(url, "run.planned", "step.started")
    store = RunStore(url)
    with store.lock() as driver:
        far = driver.model_copy(update={"host": "elsewhere", "lease_s": 0.3})
    monkeypatch.setattr(RunStore, "driver", lambda self: far)
    assert follow(url) == ["run.planned", "step.started"]


def test_a_run_without_events_that_nobody_drives_has_nothing_to_show(url: str, user_stages: str) -> None:
    run_workflow(load_workflow({"run": url, "cluster": "none", "steps": ["user_stages:direct"]}))
    system, path = fsspec.core.url_to_fs(url)
    for name in ("events.jsonl", "events"):
        if system.exists(f"{path}/{name}"):
            system.rm(f"{path}/{name}", recursive=True)
    assert follow(url) == []


def test_a_real_run_is_told_in_words(tmp_path: Path, user_stages: str) -> None:
    steps = ["user_stages:squares", "user_stages:fails"]
    run_workflow(load_workflow({"run": str(tmp_path), "cluster": "none", "steps": steps}))
    lines = [describe_event(event)[21:] for event in follow_events(str(tmp_path))]
    assert lines[0] == "planned, in this process: squares (never run); fails (never run)"
    assert lines[1].startswith("run started by process ")
    assert "squares: started (attempt 1 of stage user_stages:squares)" in lines
    assert "squares: 5 tasks to do" in lines
    assert any(line.startswith("fails: failed in 0.") and line.endswith("ValueError: nothing works") for line in lines)
    assert lines[-1] == "run ended: failed"


@pytest.mark.parametrize(
    ("event", "fields", "text"),
    [
        ("run.planned", {"steps": {}, "where": "nowhere"}, "planned: nothing to do"),
        ("run.stopping", {"by": "ann on host"}, "stopping, asked by ann on host"),
        ("run.paused", {"before": "cube"}, "paused before cube"),
        (
            "step.started",
            {"step": "a", "stage": "b", "attempt": 2, "resumed": True},
            "a: started (attempt 2 of stage b, goes on where it was interrupted)",
        ),
        ("step.progress", {"step": "a", "tasks_done": 3, "tasks": 9}, "a: 3 of 9 tasks"),
        (
            "step.ended",
            {"step": "a", "state": "blocked", "seconds": None, "tasks": 0, "message": "needs b"},
            "a: blocked: needs b",
        ),
        (
            "task.retry",
            {"step": "a", "task": "a.x-1", "tries": 1, "error": "boom", "delay_s": 5.0, "worker": "w"},
            "a: a.x-1 up for retry in 5 s (try 1 failed on w: boom)",
        ),
        (
            "task.failed",
            {"step": "a", "task": "a.x-1", "tries": 3, "error": "boom", "worker": "w"},
            "a: a.x-1 failed for good (try 3, on w): boom",
        ),
        ("cluster.started", {"where": "2 workers"}, "cluster started: 2 workers"),
        (
            "cluster.started",
            {"where": "2 workers of a-b, dashboard http://a-b-scheduler.radio.svc:8787/status"},
            "cluster started: 2 workers of a-b, dashboard http://a-b-scheduler.radio.svc:8787/status "
            "(from outside: kubectl port-forward -n radio service/a-b-scheduler 8787)",
        ),
        ("cluster.lost", {"error": "gone"}, "cluster lost: gone"),
        ("context.committed", {"step": "a", "sequence": 7}, "a: committed as version 7"),
        ("context.recovered", {"message": "mended"}, "run folder mended: mended"),
        ("lock.taken_over", {"from": "process 1"}, "took the run over from process 1, which is dead"),
        ("events.lost", {"count": 3}, "3 events were lost: there was no space for them"),
        ("moon.risen", {"at": "9", "where": "east"}, "moon.risen at=9 where=east"),
        ("step.ended", {"step": "a"}, "step.ended step=a"),
    ],
)
def test_each_event_has_its_words(event: str, fields: dict[str, Any], text: str) -> None:
    found = describe_event(Event(1, "2026-11-25T08:00:00.123Z", event, {"run_id": "r", **fields}))
    assert found == f"2026-11-25 08:00:00  {text}"


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    assert describe_event(Event(1, "today", "run.ended", {"state": "done"})) == "today  run ended: done"
