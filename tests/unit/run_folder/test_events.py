"""The event log: in order, at once, over several runs, and never the end of a run."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from datetime import datetime
from pathlib import Path

import pytest

from radps.data import stores
from radps.run_folder import events
from radps.run_folder.events import EventLog, read_events


def test_events_are_read_back_in_order_with_their_fields(url: str) -> None:
    with EventLog(url, run_id="r") as log:
        log.write("step.started", step="flag", attempt=1)
        log.write("step.ended", step="flag", seconds=1.5, message='a "quoted"\nline')
    first, second = read_events(url)
    assert (first.number, first.event, first.fields) == (
        1,
        "step.started",
        {"run_id": "r", "step": "flag", "attempt": 1},
    )
    assert (second.number, second.fields["message"]) == (2, 'a "quoted"\nline')
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.time)
    assert datetime.fromisoformat(first.time) <= datetime.fromisoformat(second.time)


def test_a_run_without_events_has_none(url: str) -> None:
    assert read_events(url) == ()


def test_numbers_go_on_in_the_next_run(url: str) -> None:
    for run in ("first", "second"):
        with EventLog(url, run_id=run) as log:
            log.write("run.started")
            log.write("run.ended", state="done")
    assert [(event.number, event.fields["run_id"]) for event in read_events(url)] == [
        (1, "first"),
        (2, "first"),
        (3, "second"),
        (4, "second"),
    ]


def test_numbers_go_on_after_a_message_that_is_longer_than_what_is_read_of_the_end(folder: Path) -> None:
    for _ in range(2):
        with EventLog(str(folder)) as log:
            log.write("step.ended", message="x" * 3 * events._TAIL_BYTES)
    assert [event.number for event in read_events(str(folder))] == [1, 2]


@pytest.mark.parametrize("after", range(7))
def test_only_events_after_a_number_are_read(url: str, after: int) -> None:
    for _ in range(3):
        with EventLog(url) as log:
            log.write("a")
            log.write("b")
    assert [event.number for event in read_events(url, after)] == list(range(after + 1, 7))


def test_a_line_is_plain_json_with_the_number_first(folder: Path) -> None:
    with EventLog(str(folder)) as log:
        log.write("step.graph", step="flag", tasks=12)
    (line,) = (folder / "events.jsonl").read_text().splitlines()
    assert list(json.loads(line)) == ["number", "time", "event", "step", "tasks"]


def test_an_event_is_in_the_file_before_the_log_is_closed(folder: Path) -> None:
    code = (
        "import os, signal; from radps.run_folder.events import EventLog\n"
        f"log = EventLog({str(folder)!r}); log.write('run.started'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [event.event for event in read_events(str(folder))] == ["run.started"]


def test_events_in_an_object_store_are_written_while_the_log_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_BATCH_SECONDS", 0.01)
    url = f"memory://{uuid.uuid4().hex}"
    written = threading.Event()
    create = events.create_file

    def create_and_tell(url: str, data: bytes) -> str | None:
        version = create(url, data)
        written.set()
        return version

    monkeypatch.setattr(events, "create_file", create_and_tell)
    with EventLog(url) as log:
        log.write("a")
        assert written.wait(30)
        assert [event.event for event in read_events(url)] == ["a"]
    stores.delete(url)


@pytest.mark.parametrize("torn", [b'{"number": 2, "time": "2026', b'{"num', b"\xff\xfe"])
def test_a_torn_last_line_is_left_out_and_harms_nothing_later(folder: Path, torn: bytes) -> None:
    with EventLog(str(folder)) as log:
        log.write("a")
    with (folder / "events.jsonl").open("ab") as stream:
        stream.write(torn)
    assert [event.event for event in read_events(str(folder))] == ["a"]
    with EventLog(str(folder)) as log:
        log.write("b")
    assert [(event.number, event.event) for event in read_events(str(folder))] == [(1, "a"), (2, "b")]


def test_many_threads_write_whole_lines_with_different_numbers(url: str) -> None:
    with EventLog(url) as log:
        threads = [
            threading.Thread(target=lambda n=n: [log.write("task", thread=n, text="x" * 500) for _ in range(50)])
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = read_events(url)
    assert [event.number for event in found] == list(range(1, 401))
    assert all(event.fields["text"] == "x" * 500 for event in found)


def test_what_json_does_not_know_is_written_as_text(url: str) -> None:
    with EventLog(url) as log:
        log.write("a", number_of=float("nan"), path=Path("/x"))
    (event,) = read_events(url)
    assert event.fields == {"number_of": "nan", "path": "/x"}


def test_a_field_that_every_event_has_is_refused(folder: Path) -> None:
    with (
        EventLog(str(folder)) as log,
        pytest.raises(ValueError, match=r"event task\.retry: the names number are taken"),
    ):
        log.write("task.retry", number=2)


class FullDisk:
    """os.write on a disk that takes ``room`` bytes more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.room is None:
            return self._write(descriptor, data)
        if self.room == 0:
            raise OSError(28, "No space left on device")
        data = data[: self.room]
        self.room -= len(data)
        return self._write(descriptor, data)


def test_events_wait_for_a_full_disk_and_warn_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk(monkeypatch)
    with EventLog(str(folder)) as log:
        log.write("a")
        disk.room = 20  # the disk fills up in the middle of a line
        log.write("b")
        log.write("c")
        assert [event.event for event in read_events(str(folder))] == ["a"]
        disk.room = None
        log.write("d")
    assert [(event.number, event.event) for event in read_events(str(folder))] == list(enumerate("abcd", 1))
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "cannot write events" in warnings[0]
    assert "No space left on device" in warnings[0]


def test_events_that_find_no_room_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch)
    monkeypatch.setattr(events, "MAX_WAITING_BYTES", 1000)
    with EventLog(str(folder)) as log:
        log.write("first")
        disk.room = 0
        for _ in range(5):
            log.write("kept or lost", text="x" * 400)
        disk.room = None
        log.write("last")
    found = read_events(str(folder))
    kept = sum(event.event == "kept or lost" for event in found)
    assert [event.event for event in found if event.event != "kept or lost"] == ["first", "events.lost", "last"]
    lost = next(event for event in found if event.event == "events.lost")
    assert (kept, lost.fields["count"]) == (3, 2)


def test_what_still_waits_at_the_end_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk(monkeypatch)
    with EventLog(str(folder)) as log:
        disk.room = 0
        log.write("a")
    assert any("could not be written and are lost" in record.message for record in caplog.records)


def test_every_event_of_the_documentation_has_its_fields(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "docs/events.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", text, re.MULTILINE)
    assert {"run.planned", "step.ended", "task.retry", "lock.taken_over", "events.lost"} <= {name for name, _ in rows}
    for _, fields in rows:
        assert not {"number", "time", "event"} & set(re.findall(r"`(\w+)`", fields))
