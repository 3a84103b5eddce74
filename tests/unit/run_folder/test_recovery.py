"""Damage of a run folder: mended where nothing that was committed is lost, else an error that says what to do."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radps.context.model import SCHEMA_VERSION, Context
from radps.context.records import StepState
from radps.data.files import read_file, replace_file
from radps.errors import ContextError
from radps.run_folder.events import EventLog, read_events
from radps.run_folder.store import RunStore

DAMAGES = [
    (lambda text: text[: len(text) // 2], "no valid JSON"),
    (lambda text: b"", "no valid JSON"),
    (lambda text: b"[]", "no JSON object"),
    (lambda text: text.replace(b'"run_id"', b'"run"'), "run_id: Field required"),
]


def change(url: str, name: str, damage: Callable[[bytes], bytes]) -> bytes:
    """Damage a file and return what was in it."""
    before = read_file(f"{url}/{name}")
    assert before is not None
    replace_file(f"{url}/{name}", damage(before))
    return before


def test_a_folder_without_a_run_is_named(url: str) -> None:
    with pytest.raises(ContextError, match=r"is not a run folder: it has no context\.json; give the folder"):
        RunStore(url).load()
    assert RunStore(url).recover() == ""


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_context_is_replaced_by_what_was_committed(
    url: str, damage, reason: str, with_step: Callable[..., Context], commit_steps: Callable[..., Context], caplog
) -> None:
    committed = commit_steps(RunStore(url), "a", "b")
    change(url, "context.json", damage)
    assert RunStore(url).load() == committed
    assert f"context.json is damaged: {reason}" in caplog.text
    store = RunStore(url)
    with store.lock():
        message = store.recover()
        assert store.recover() == ""
    assert "history/0002-b.json, which is what was committed, is taken; context.json is written anew" in message
    assert message.endswith("what was there is kept as context.json.1.damaged")
    assert read_file(f"{url}/context.json") == read_file(f"{url}/history/0002-b.json")
    assert read_file(f"{url}/context.json.1.damaged") is not None
    store.commit(with_step(store.load(), "c"), "c")
    assert list(RunStore(url).load().steps) == ["a", "b", "c"]


def test_a_missing_context_is_written_anew(url: str, commit_steps: Callable[..., Context]) -> None:
    committed = commit_steps(RunStore(url), "a")
    for _ in range(2):
        RunStore(url)._files.delete("context.json")
        store = RunStore(url)
        assert store.load() == committed
        assert store.recover().startswith("context.json is damaged: it is missing; history/0001-a.json")
    assert store.load() == committed


def test_what_is_damaged_twice_is_kept_twice(url: str, commit_steps: Callable[..., Context]) -> None:
    commit_steps(RunStore(url), "a")
    for number in (1, 2):
        change(url, "context.json", lambda text, number=number: b"{" * number)
        assert RunStore(url).recover().endswith(f"kept as context.json.{number}.damaged")


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_newest_history_entry_is_written_anew(
    url: str, damage, reason: str, commit_steps: Callable[..., Context]
) -> None:
    committed = commit_steps(RunStore(url), "a", "b")
    before = change(url, "history/0002-b.json", damage)
    assert RunStore(url).load() == committed
    message = RunStore(url).recover()
    assert message.startswith(f"history/0002-b.json is damaged: {reason}")
    assert message.endswith(
        "history/0002-b.json is written anew; what was there is kept as history/0002-b.json.1.damaged"
    )
    assert read_file(f"{url}/history/0002-b.json") == before
    assert RunStore(url).history() == ("0001-a.json", "0002-b.json")


def test_a_missing_newest_history_entry_is_written_anew(
    url: str, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    committed = commit_steps(RunStore(url), "a", "b")
    RunStore(url)._files.delete("history/0002-b.json")
    store = RunStore(url)
    assert store.load() == committed
    message = "the history entry 2 is missing; context.json, which is good, is taken"
    assert store.recover() == f"{message}; history/0002-recovered.json is written anew"
    assert store.history() == ("0001-a.json", "0002-recovered.json")
    assert store.commit(with_step(store.load(), "c"), "c").sequence == 3


def test_an_older_history_entry_is_not_needed(url: str, commit_steps: Callable[..., Context]) -> None:
    committed = commit_steps(RunStore(url), "a", "b", "c")
    RunStore(url)._files.delete("history/0002-b.json")
    assert RunStore(url).load() == committed
    assert RunStore(url).recover() == ""


def test_progress_before_the_first_commit_is_no_damage(url: str, with_step: Callable[..., Context]) -> None:
    store = RunStore(url)
    store.save_progress(with_step(Context(run_id="r"), "a", StepState.PENDING))
    assert list(store.load().steps) == ["a"]
    assert store.recover() == ""


def test_damage_everywhere_says_to_start_anew(url: str, commit_steps: Callable[..., Context]) -> None:
    commit_steps(RunStore(url), "a")
    for name in ("context.json", "history/0001-a.json"):
        change(url, name, lambda text: b"{")
    with pytest.raises(ContextError, match=r"no history entry is readable either: start a new run folder"):
        RunStore(url).load()


def test_damage_of_the_only_file_says_to_start_anew(url: str, with_step: Callable[..., Context]) -> None:
    RunStore(url).save_progress(with_step(Context(run_id="r"), "a", StepState.PENDING))
    change(url, "context.json", lambda text: text[:-5])
    with pytest.raises(ContextError, match=r"context\.json is damaged: no valid JSON.*start a new run folder"):
        RunStore(url).load()


def test_damage_that_would_lose_a_commit_is_an_error_with_the_last_good_version(
    url: str, commit_steps: Callable[..., Context]
) -> None:
    commit_steps(RunStore(url), "a", "b")
    for name in ("context.json", "history/0002-b.json"):
        change(url, name, lambda text: text[:-9])
    expected = (
        r"context\.json is damaged: no valid JSON.*, and history/0002-b\.json: no valid JSON.*the last good version is "
        r"history/0001-a\.json: copy it over context\.json, remove the newer entries of history, and run again"
    )
    for read in (RunStore(url).load, RunStore(url).recover):
        with pytest.raises(ContextError, match=expected):
            read()
    replace_file(f"{url}/context.json", read_file(f"{url}/history/0001-a.json") or b"")
    RunStore(url)._files.delete("history/0002-b.json")
    assert list(RunStore(url).load().steps) == ["a"]


def test_a_newer_history_entry_that_is_damaged_is_named(url: str, commit_steps: Callable[..., Context]) -> None:
    commit_steps(RunStore(url), "a")
    replace_file(f"{url}/history/0002-b.json", b"{")
    with pytest.raises(
        ContextError,
        match=r"it is older than history/0002-b\.json, which is damaged.*last good version is history/0001-a",
    ):
        RunStore(url).load()


def test_rests_of_a_driver_that_was_killed_are_removed(folder: Path, commit_steps: Callable[..., Context]) -> None:
    commit_steps(RunStore(str(folder)), "a")
    rests = ["context.json.123-0a1b2c3d.tmp", "history/0002-b.json.123-0a1b2c3d.tmp"]
    others = ["mine.tmp", "stop.json.123-0a1b2c3d.tmp", "context.json.tmp"]
    for name in (*rests, *others):
        (folder / name).write_text("x")
    assert RunStore(str(folder)).recover() == ""
    assert not any((folder / name).exists() for name in rests)
    assert all((folder / name).exists() for name in others)


# --- edited by hand ---


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (lambda document: document["steps"]["a"].update(fingerprint="g"), r"steps\.a"),
        (lambda document: document["steps"].update(c={**document["steps"]["a"], "id": "c"}), r"steps\.c"),
        (lambda document: document.update(run_id="other"), "run_id"),
        (lambda document: document.update(dataset_paths=["elsewhere.ms"]), "dataset_paths"),
    ],
)
def test_a_context_that_was_edited_by_hand_is_noticed(
    url: str, edit: Callable[[dict], None], part: str, commit_steps: Callable[..., Context]
) -> None:
    committed = commit_steps(RunStore(url), "a", "b")

    def edit_text(text: bytes) -> bytes:
        document = json.loads(text)
        edit(document)
        return json.dumps(document).encode()

    change(url, "context.json", edit_text)
    with pytest.raises(
        ContextError,
        match=rf"context\.json was edited by hand: {part} differs from history/0002-b\.json.*Remove context",
    ):
        RunStore(url).load()
    RunStore(url)._files.delete("context.json")
    assert RunStore(url).load() == committed


def test_progress_is_not_taken_for_an_edit(
    url: str, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a", "b")
    progress = with_step(with_step(context, "b", StepState.PENDING), "c", StepState.RUNNING)
    store.save_progress(progress.model_copy(update={"project": "renamed"}))
    assert store.load().steps == progress.steps
    assert store.recover() == ""


def test_a_context_that_changes_under_the_driver_is_not_overwritten(
    url: str, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    store = RunStore(url)
    context = commit_steps(store, "a")
    change(url, "context.json", lambda text: text + b"\n")
    message = r"or context\.json was changed by hand \(entry 0001-a\.json is there already\); run again"
    with pytest.raises(ContextError, match=message):
        store.save_progress(context)
    change(url, "context.json", lambda text: text + b"\n")
    with pytest.raises(ContextError, match="another driver committed while this one ran") as error:
        RunStore.commit(store_that_knew(url, text=b"old"), with_step(context, "b"), "b")
    assert "0001-a.json" in str(error.value)
    assert RunStore(url).history() == ("0001-a.json",)


def store_that_knew(url: str, text: bytes) -> RunStore:
    """Return a store that saw another context.json than there is now."""
    store = RunStore(url)
    now = read_file(f"{url}/context.json")
    assert now is not None
    replace_file(f"{url}/context.json", text)
    store._find_sequence()
    replace_file(f"{url}/context.json", now)
    return store


# --- versions, and folders that cannot be read or written ---


@pytest.mark.parametrize(("version", "remedy"), [(99, "update radps"), (0, "use the radps that made it")])
def test_another_schema_version_is_refused(
    url: str, version: int, remedy: str, commit_steps: Callable[..., Context]
) -> None:
    commit_steps(RunStore(url), "a")
    change(url, "context.json", lambda text: json.dumps({**json.loads(text), "schema_version": version}).encode())
    with pytest.raises(
        ContextError, match=rf"has schema version {version}, and this radps reads version {SCHEMA_VERSION}; {remedy}"
    ):
        RunStore(url).load()


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this process may not mount a disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_space(
    small_disk: Path, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    folder = small_disk / "run"
    store = RunStore(str(folder))
    with store.lock(), EventLog(str(folder)) as log:
        context = commit_steps(store, "a", "b")
        log.write("before")
        fill(small_disk)
        log.write("while the disk is full", text="x" * 5000)
        for write in (lambda: store.commit(with_step(context, "c"), "c"), lambda: store.save_progress(context)):
            with pytest.raises(ContextError, match=r"cannot write the run folder .*No space left on device.*space"):
                write()
        assert RunStore(str(folder)).load() == context
        (small_disk / "filler").unlink()
        store.commit(with_step(context, "c"), "c")
        log.write("after")
    assert list(RunStore(str(folder)).load().steps) == ["a", "b", "c"]
    assert [event.event for event in read_events(str(folder))] == ["before", "while the disk is full", "after"]
    assert list(folder.rglob("*.tmp")) == []


def test_a_read_only_folder_can_be_read_and_says_why_it_cannot_be_run(
    small_disk: Path, with_step: Callable[..., Context], commit_steps: Callable[..., Context]
) -> None:
    store = RunStore(str(small_disk / "run"))
    committed = commit_steps(store, "a")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert RunStore(store.url).load() == committed
    with pytest.raises(ContextError, match=r"cannot write the run folder .*Read-only file system"), store.lock():
        pass
    for write in (store.save_progress, lambda context: store.commit(with_step(context, "b"), "b")):
        with pytest.raises(ContextError, match=r"cannot write the run folder .*Read-only file system.*permissions"):
            write(committed)
