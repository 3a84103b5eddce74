"""The run folder: commits are atomic, history never changes, one driver at a time; on a disk and in memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from radps.context.model import Context
from radps.context.records import StepRecord, StepState
from radps.context.store import Driver, RunStore
from radps.data import stores
from radps.errors import ContextError


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A run folder that is not there yet."""
    if request.param == "local":
        yield str(tmp_path / "run")
        return
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    stores.delete(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder on the disk that is not there yet."""
    return tmp_path / "run"


def with_step(context: Context, step: str) -> Context:
    record = StepRecord(
        id=step,
        stage=step,
        state=StepState.DONE,
        attempt=1,
        fingerprint="f",
        after=(),
        params={},
        start_s=1.0,
    )
    return context.model_copy(update={"steps": {**context.steps, step: record}})


def commit_steps(store: RunStore, *steps: str) -> Context:
    """Commit some steps one after the other."""
    context = Context(run_id="r")
    for step in steps:
        context = store.commit(with_step(context, step), step)
    return context


def test_what_is_committed_is_read_back_and_kept_as_history(url: str) -> None:
    store = RunStore(url)
    assert not store.exists()
    committed = commit_steps(store, "import_data", "flag")
    assert store.exists()
    assert store.load() == committed
    assert committed.sequence == 2
    assert store.history() == ("0001-import_data.json", "0002-flag.json")


def test_history_entries_never_change(folder: Path) -> None:
    store = RunStore(str(folder))
    context = commit_steps(store, "a", "b")
    before = {path.name: path.read_bytes() for path in (folder / "history").iterdir()}
    store.save_progress(with_step(context, "c"))
    store.commit(with_step(context, "c"), "c")
    after = {path.name: path.read_bytes() for path in (folder / "history").iterdir()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"0003-c.json"}


def test_progress_is_seen_but_makes_no_version(url: str) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a")
    store.save_progress(with_step(context, "b"))
    assert list(store.load().steps) == ["a", "b"]
    assert store.history() == ("0001-a.json",)


def test_a_crash_between_the_two_writes_loses_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a")
    write = RunStore._write

    def crash_at_context(self: RunStore, name: str, data: bytes) -> None:
        if name == "context.json":
            raise KeyboardInterrupt
        write(self, name, data)

    monkeypatch.setattr(RunStore, "_write", crash_at_context)
    with pytest.raises(KeyboardInterrupt):
        store.commit(with_step(context, "b"), "b")
    monkeypatch.undo()
    recovered = RunStore(url).load()
    assert list(recovered.steps) == ["a", "b"]
    assert store.commit(with_step(recovered, "c"), "c").sequence == 3


def test_a_crash_before_the_first_write_leaves_the_last_version(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a")

    def crash(self: RunStore, name: str, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunStore, "_write", crash)
    with pytest.raises(KeyboardInterrupt):
        store.commit(with_step(context, "b"), "b")
    monkeypatch.undo()
    assert RunStore(url).load() == context


def test_a_failed_write_leaves_the_old_file_and_no_rest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_commit_that_another_driver_overtook_is_refused(url: str) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a")
    store.commit(with_step(context, "b"), "b")
    with pytest.raises(ContextError, match=r"another driver committed while this one ran \(entry 0002-b.json"):
        store.commit(with_step(context, "late"), "late")
    assert list(store.load().steps) == ["a", "b"]


def test_history_is_ordered_by_number_beyond_four_digits(folder: Path) -> None:
    store = RunStore(str(folder))
    context = commit_steps(store, "a").model_copy(update={"sequence": 9998})
    for step in ("b", "c", "d"):
        context = store.commit(with_step(context, step), step)
    assert store.history()[-3:] == ("9999-b.json", "10000-c.json", "10001-d.json")
    assert store.load().sequence == 10001


# --- damage ---


def test_a_folder_without_a_run_is_named(url: str) -> None:
    with pytest.raises(ContextError, match=r"is not a run folder: it has no context\.json; give the folder"):
        RunStore(url).load()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[: len(text) // 2], "no valid JSON"),
        (lambda text: b"[]", "no JSON object"),
        (lambda text: text.replace(b'"run_id"', b'"run"'), "run_id: Field required"),
    ],
)
def test_a_damaged_context_names_the_last_good_version(folder: Path, damage, reason: str) -> None:
    commit_steps(RunStore(str(folder)), "a", "b")
    path = folder / "context.json"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ContextError, match=rf"context\.json is damaged: {reason}.*history/0002-b\.json: copy it over"):
        RunStore(str(folder)).load()
    path.write_bytes((folder / "history/0002-b.json").read_bytes())
    assert list(RunStore(str(folder)).load().steps) == ["a", "b"]


def test_damage_everywhere_says_to_start_anew(folder: Path) -> None:
    commit_steps(RunStore(str(folder)), "a")
    for path in (folder / "context.json", folder / "history/0001-a.json"):
        path.write_text("{")
    with pytest.raises(ContextError, match="no history entry is readable either: start a new run folder"):
        RunStore(str(folder)).load()


def test_a_missing_context_beside_a_history_is_damage(folder: Path) -> None:
    commit_steps(RunStore(str(folder)), "a")
    (folder / "context.json").unlink()
    with pytest.raises(ContextError, match=r"is damaged: it is missing; the last good version is history/0001-a\.json"):
        RunStore(str(folder)).load()


def test_a_newer_history_entry_that_is_damaged_is_named(folder: Path) -> None:
    commit_steps(RunStore(str(folder)), "a")
    (folder / "history/0002-b.json").write_text("{")
    with pytest.raises(
        ContextError, match=r"history/0002-b\.json, which is newer.*last good version is history/0001-a"
    ):
        RunStore(str(folder)).load()


@pytest.mark.parametrize(("version", "remedy"), [(99, "update radps"), (0, "use the radps that made it")])
def test_another_schema_version_is_refused(folder: Path, version: int, remedy: str) -> None:
    commit_steps(RunStore(str(folder)), "a")
    path = folder / "context.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": version}))
    with pytest.raises(ContextError, match=rf"has schema version {version}, and this radps reads version 1; {remedy}"):
        RunStore(str(folder)).load()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ContextError, match=r"cannot write the run folder .*/file/run"),
        RunStore(str(tmp_path / "file/run")).lock(),
    ):
        pass


def test_a_context_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "context.json").mkdir(parents=True)
    with pytest.raises(ContextError, match=r"cannot read .*context\.json"):
        RunStore(str(folder)).load()


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


# --- one driver at a time ---


def test_a_second_driver_is_refused_by_the_name_of_the_first(url: str) -> None:
    first, second = RunStore(url), RunStore(url)
    message = rf"is in use by process {os.getpid()} of .* on {socket.gethostname()}, since .*wait for it, stop it"
    with first.lock():
        with pytest.raises(ContextError, match=message):
            second.check_free()
        with pytest.raises(ContextError, match=message), second.lock():
            pass
        assert first.driver() is not None
    assert first.driver() is None
    with second.lock():
        pass


def test_the_lock_of_a_process_that_is_gone_is_taken_over(folder: Path) -> None:
    code = f"from radps.context.store import RunStore; import os\nwith RunStore({str(folder)!r}).lock(): os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (folder / "driver.json").exists()
    assert RunStore(str(folder)).driver() is None
    with RunStore(str(folder)).lock() as driver:
        assert driver.pid == os.getpid()


def test_the_lock_of_a_process_number_that_is_in_use_again_is_taken_over(folder: Path) -> None:
    reborn = Driver(host=socket.gethostname(), pid=os.getpid(), user="x", process_start_s=1.0, start_s=2.0)
    folder.mkdir()
    (folder / "driver.json").write_text(reborn.model_dump_json())
    with RunStore(str(folder)).lock():
        pass


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            Driver(host="elsewhere", pid=1, user="ann", process_start_s=1.0, start_s=2.0).model_dump_json(),
            "ann on elsewhere",
        ),
        ("{", "an unknown user on an unknown host"),
    ],
)
def test_a_lock_that_may_be_alive_is_respected(folder: Path, text: str, name: str) -> None:
    folder.mkdir()
    (folder / "driver.json").write_text(text)
    with (
        pytest.raises(ContextError, match=rf"{name}.*if it is surely dead, remove .*driver\.json"),
        RunStore(str(folder)).lock(),
    ):
        pass


def test_a_driver_whose_lock_was_taken_away_does_not_remove_the_new_one(folder: Path) -> None:
    store = RunStore(str(folder))
    with store.lock():
        other = Driver(host="elsewhere", pid=1, user="ann", process_start_s=1.0, start_s=2.0)
        (folder / "driver.json").write_text(other.model_dump_json())
    assert (folder / "driver.json").exists()


def test_of_many_drivers_at_the_same_instant_one_gets_the_run(folder: Path) -> None:
    code = (
        "import sys, time; from radps.context.store import RunStore\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "with RunStore(sys.argv[1]).lock(): print('held', flush=True); sys.stdin.read()"
    )
    start = str(time.time() + 1.0)
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    deadline = time.monotonic() + 60.0
    while sum(driver.poll() is None for driver in drivers) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    results = [driver.communicate(timeout=30) for driver in drivers]
    assert sorted(output for output, _ in results) == ["", "", "", "held\n"]
    assert sum("is in use by process" in errors for _, errors in results) == 3
