"""The run folder: commits are atomic, history never changes, a crash harms nothing; on a disk and in memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fsspec import AbstractFileSystem

from radps.context.model import Context
from radps.context.records import StepState
from radps.data import files
from radps.data.stores import file_system
from radps.errors import ContextError
from radps.run_folder.run_files import RunFiles
from radps.run_folder.store import RunStore


def test_what_is_committed_is_read_back_and_kept_as_history(url: str, commit_steps: Callable[..., Context]) -> None:
    store = RunStore(url)
    assert not store.exists()
    committed = commit_steps(store, "import_data", "flag")
    assert store.exists()
    assert store.load() == committed
    assert committed.sequence == 2
    assert store.history() == ("0001-import_data.json", "0002-flag.json")


def test_history_entries_never_change(
    folder: Path, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    store = RunStore(str(folder))
    context = commit_steps(store, "a", "b")
    before = {path.name: path.read_bytes() for path in (folder / "history").iterdir()}
    store.save_progress(with_step(context, "c", StepState.RUNNING))
    store.commit(with_step(context, "c"), "c")
    after = {path.name: path.read_bytes() for path in (folder / "history").iterdir()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"0003-c.json"}


def test_progress_is_seen_but_makes_no_version(
    url: str, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a")
    store.save_progress(with_step(context, "b", StepState.RUNNING))
    assert list(store.load().steps) == ["a", "b"]
    assert store.history() == ("0001-a.json",)


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_step: Callable[..., Context],
    commit_steps: Callable[..., Context],
) -> None:
    store = RunStore(str(folder))
    context = commit_steps(store, "a")
    before = (folder / "context.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ContextError, match=r"cannot write the run folder .*No space left on device.*--run"):
        store.save_progress(with_step(context, "b"))
    assert (folder / "context.json").read_bytes() == before
    assert [path.name for path in folder.rglob("*.tmp")] == []


def test_a_commit_that_another_driver_overtook_is_refused(
    url: str, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a")
    store.commit(with_step(context, "b"), "b")
    with pytest.raises(
        ContextError, match=r"another driver committed while this one ran.*\(entry 0002-b.json is there"
    ):
        store.commit(with_step(context, "late"), "late")
    assert list(store.load().steps) == ["a", "b"]


def test_history_is_ordered_by_number_beyond_four_digits(
    folder: Path, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    store = RunStore(str(folder))
    context = commit_steps(store, "a").model_copy(update={"sequence": 9998})
    for step in ("b", "c", "d"):
        context = store.commit(with_step(context, step), step)
    assert store.history()[-3:] == ("9999-b.json", "10000-c.json", "10001-d.json")
    assert store.load().sequence == 10001


# --- the workflow beside it ---


def test_the_workflow_is_kept(url: str) -> None:
    store = RunStore(url)
    with pytest.raises(ContextError, match=r"has no workflow\.json; give the config of the run"):
        store.load_workflow()
    store.save_workflow({"run": url, "steps": ["flag"]})
    assert store.load_workflow() == {"run": url, "steps": ["flag"]}


def test_a_damaged_workflow_is_named(folder: Path) -> None:
    store = RunStore(str(folder))
    store.save_workflow({})
    (folder / "workflow.json").write_text("{")
    with pytest.raises(ContextError, match=r"workflow\.json is damaged: .*; give the config of the run"):
        store.load_workflow()


# --- crashes and costs: what is done with files, one operation after the other ---


class Crash(BaseException):
    """The end of the process: nothing more is done."""


class FileOperations:
    """Counts what is done with files, and ends the process before one of them."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.crash_at: int | None = None
        self.is_on = False

    def happens(self, what: str) -> None:
        if self.is_on:
            if self.crash_at is not None and len(self.seen) >= self.crash_at:
                raise Crash
            self.seen.append(what)

    @contextmanager
    def watched(self, crash_at: int | None = None) -> Iterator[list[str]]:
        self.seen, self.crash_at, self.is_on = [], crash_at, True
        try:
            yield self.seen
        finally:
            self.is_on = False


OPERATIONS = FileOperations()


class CountedSystem:
    """A file system whose operations are counted."""

    def __init__(self, system: AbstractFileSystem) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._system, name)
        if not callable(found):
            return found

        def counted(*args: Any, **more: Any) -> Any:
            OPERATIONS.happens(name)
            return found(*args, **more)

        return counted


def take_audit(event: str, args: tuple[Any, ...]) -> None:
    """Count what Python's audit events tell of local files."""
    if event.startswith("os.") or event == "open":
        OPERATIONS.happens(event)


@pytest.fixture(scope="module")
def _audit() -> None:
    """Audit hooks stay until the process ends; this one does nothing unless it is wanted."""
    sys.addaudithook(take_audit)


@pytest.fixture
def operations(_audit: None, monkeypatch: pytest.MonkeyPatch) -> FileOperations:
    """What is done with files on the disk, in memory and on S3."""
    monkeypatch.setattr(files, "file_system", lambda url: (CountedSystem(file_system(url)[0]), file_system(url)[1]))
    write, fsync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda *args: (OPERATIONS.happens("write"), write(*args))[1])
    monkeypatch.setattr(os, "fsync", lambda *args: (OPERATIONS.happens("fsync"), fsync(*args))[1])
    return OPERATIONS


def test_a_crash_at_any_moment_of_a_commit_leaves_a_version_that_goes_on(
    url: str,
    operations: FileOperations,
    with_step: Callable[..., Context],
    commit_steps: Callable[..., Context],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = []
    for crash_at in range(200):
        store = RunStore(f"{url}/{crash_at}")
        context = commit_steps(store, "a")
        done = False
        with operations.watched(crash_at):
            try:
                store.commit(with_step(context, "b"), "b")
                done = True
            except Crash:
                pass
        found = RunStore(store.url).load()
        outcomes.append("".join(found.steps))
        again = RunStore(store.url)
        assert again.commit(with_step(again.load(), "c"), "c").sequence == len(found.steps) + 1
        assert "".join(RunStore(store.url).load().steps) == outcomes[-1] + "c"
        if done:
            break
    assert done
    assert len(outcomes) > 2
    # Before some moment it is the old version, from then on the new one.
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {"a", "ab"}


COMMIT = (
    "import sys; from radps.run_folder.store import RunStore; from radps.context.model import Context\n"
    "store = RunStore(sys.argv[1])\n"
    "with store.lock():\n"
    "    store.recover()\n"
    "    context = store.load() if store.exists() else Context(run_id='r')\n"
    "    while True:\n"
    "        context = store.commit(context, 'a'); print(context.sequence, flush=True); store.save_progress(context)"
)


def test_kills_at_any_moment_lose_no_commit(folder: Path) -> None:
    moments = random.Random(1)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", COMMIT, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, "it could not go on"
        time.sleep(moments.uniform(0.0, 0.05))
        process.kill()
        told = [first, *process.stdout.read().splitlines()]
        process.wait()
        process.stdout.close()
        found = RunStore(str(folder)).load().sequence
        assert found in (int(told[-1]), int(told[-1]) + 1)
        assert len(RunStore(str(folder)).history()) == found


def test_a_commit_does_the_same_few_things_however_many_there_were(
    url: str, operations: FileOperations, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a", "b")
    with operations.watched() as early:
        context = store.commit(with_step(context, "c"), "c")
    for _ in range(100):
        context = store.commit(context, "c")
    with operations.watched() as late:
        store.commit(context, "c")
    assert late == early
    assert 1 < len(late) < 40
    assert not {"ls", "os.listdir", "os.scandir"} & set(late)


def test_a_commit_that_could_not_be_finished_leaves_no_entry_and_its_number_to_the_next_one(
    folder: Path,
    commit_steps: Callable[..., Context],
    with_step: Callable[..., Context],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = RunStore(str(folder))
    context = commit_steps(store, "a")
    replace = RunFiles.replace

    def fail(self: RunFiles, name: str, data: bytes, *, version: str | None = None) -> str | None:
        raise ContextError("no space") if name == "context.json" else OSError(name)

    monkeypatch.setattr(RunFiles, "replace", fail)
    with pytest.raises(ContextError, match="no space"):
        store.commit(with_step(context, "b"), "b")
    monkeypatch.setattr(RunFiles, "replace", replace)
    store.commit(with_step(context, "c"), "c")
    assert store.history() == ("0001-a.json", "0002-c.json")
    assert list(RunStore(str(folder)).load().steps) == ["a", "c"]
