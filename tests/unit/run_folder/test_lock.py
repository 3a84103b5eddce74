"""One driver at a time: who lives is respected, who is dead is replaced, and both hear of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from radps.context.drivers import Driver, this_machine
from radps.context.model import Context
from radps.data.files import read_file, replace_file
from radps.errors import ContextError, LockLostError
from radps.run_folder import lock as lock_module
from radps.run_folder.heartbeat import Notice, NoticeKind
from radps.run_folder.lock import Lock
from radps.run_folder.run_files import RunFiles
from radps.run_folder.store import RunStore

LEASE_S = 0.6
"""Of drivers that are watched in these tests."""


def far_driver(**changes: object) -> Driver:
    """Return a driver on another host."""
    known = {"host": "elsewhere", "pid": 1, "user": "ann", "process_start_s": 1.0, "start_s": 2.0, "lease_s": LEASE_S}
    return Driver.model_validate(known | changes)


def put_driver(url: str, driver: Driver) -> None:
    replace_file(f"{url}/driver.json", driver.model_dump_json().encode())


@contextmanager
def beating(url: str, driver: Driver, change_clock_s: float = 0.0) -> Iterator[None]:
    """Let a driver on another host live; its clock may go back."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(LEASE_S / 10):
            count += 1
            put_driver(url, driver.model_copy(update={"beat": count, "beat_time_s": 1e9 + count * change_clock_s}))

    put_driver(url, driver)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Notices:
    """Collects notices and waits for them."""

    def __init__(self) -> None:
        self.taken: list[Notice] = []
        self._news = threading.Condition()

    def __call__(self, notice: Notice) -> None:
        with self._news:
            self.taken.append(notice)
            self._news.notify_all()

    def wait(self, count: int = 1) -> list[Notice]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.taken) >= count, timeout=30)
        return self.taken


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
    code = f"from radps.run_folder.store import RunStore; import os\nwith RunStore({str(folder)!r}).lock(): os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (folder / "driver.json").exists()
    assert RunStore(str(folder)).driver() is None
    with RunStore(str(folder)).lock() as driver:
        assert driver.pid == os.getpid()


def test_the_lock_of_a_process_number_that_is_in_use_again_is_taken_over(folder: Path) -> None:
    reborn = Driver(
        host=socket.gethostname(),
        machine=this_machine(),
        pid=os.getpid(),
        user="x",
        process_start_s=1.0,
        start_s=2.0,
    )
    folder.mkdir()
    (folder / "driver.json").write_text(reborn.model_dump_json())
    with RunStore(str(folder)).lock():
        pass


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="only Linux says when a process started since the boot"
)
def test_a_clock_that_is_set_kills_no_driver(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunStore(str(folder)).lock():
        boot_time = psutil._pslinux.boot_time
        # The time of boot follows the clock, and with it the time at which every process started.
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot_time() + 3600.0)
        assert RunStore(str(folder)).driver() is not None
        with pytest.raises(ContextError, match="is in use by process"):
            RunStore(str(folder)).check_free()


def test_a_driver_whose_lock_was_taken_away_does_not_remove_the_new_one(folder: Path) -> None:
    store = RunStore(str(folder))
    with store.lock():
        put_driver(str(folder), far_driver())
    assert (folder / "driver.json").exists()


DRIVE = (
    "import sys, time; from radps.run_folder.store import RunStore\n"
    "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
    "with RunStore(sys.argv[1]).lock() as driver: print('held', driver.taken_over_from, flush=True); sys.stdin.read()"
)


def drive_at_the_same_instant(url: str, count: int) -> tuple[list[str], list[str]]:
    """Start drivers, let all but one be refused, and return what the drivers said, and their errors."""
    start = str(time.time() + 2.0)
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", DRIVE, url, start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    deadline = time.monotonic() + 60.0
    while sum(driver.poll() is None for driver in drivers) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    results = [driver.communicate(timeout=30) for driver in drivers]
    return [output for output, _ in results if output], [errors for _, errors in results if errors]


@pytest.fixture(params=["local", "s3"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A run folder that several processes can reach."""
    if request.param == "s3":
        return f"{request.getfixturevalue('object_store').new_bucket()}/run"
    return str(tmp_path / "run")


def test_of_many_drivers_at_the_same_instant_one_gets_the_run(shared_url: str) -> None:
    held, errors = drive_at_the_same_instant(shared_url, 4)
    assert held == ["held \n"]
    assert len(errors) == 3
    assert all("is in use by process" in error for error in errors)


def test_of_many_who_take_over_at_the_same_instant_one_gets_the_run(shared_url: str) -> None:
    put_driver(shared_url, far_driver())
    held, errors = drive_at_the_same_instant(shared_url, 3)
    assert len(held) == 1
    assert held[0].startswith("held process 1 of ann on elsewhere")
    assert sum("is in use by process" in error for error in errors) == 2


# --- drivers on other hosts ---


def test_a_driver_elsewhere_that_beats_is_respected_whatever_its_clock_says(url: str) -> None:
    with beating(url, far_driver(), change_clock_s=-100.0):
        with pytest.raises(
            ContextError, match=r"in use by process 1 of ann on elsewhere.*if it is surely dead, remove"
        ):
            RunStore(url).check_free()
        with pytest.raises(ContextError, match="in use by process 1 of ann on elsewhere"), RunStore(url).lock():
            pass


def test_a_driver_elsewhere_that_is_silent_for_its_lease_is_replaced_by_name(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_driver(url, far_driver(beat_time_s=time.time() + 1e6))
    start = time.monotonic()
    with RunStore(url).lock() as driver:
        assert time.monotonic() - start >= LEASE_S
        assert driver.taken_over_from.startswith("process 1 of ann on elsewhere")
        assert RunStore(url).driver() is not None
    assert any("took over the run" in record.message for record in caplog.records)


def test_what_was_watched_once_is_not_watched_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_driver(url, far_driver())
    store = RunStore(url)
    store.check_free()
    monkeypatch.setattr(lock_module.time, "sleep", lambda seconds: pytest.fail("watched again"))
    with store.lock(None) as driver:
        assert driver.taken_over_from


def test_a_damaged_lock_file_is_the_lock_of_somebody_until_the_lease_is_over(url: str) -> None:
    replace_file(f"{url}/driver.json", b"{")
    holder = RunStore(url).driver()
    assert holder is not None
    assert holder.user == "an unknown user"
    start = time.monotonic()
    with RunStore(url, lease_s=LEASE_S).lock() as driver:
        assert time.monotonic() - start >= LEASE_S
        assert driver.taken_over_from.startswith("process 0 of an unknown user on an unknown host")


def test_a_container_of_the_same_name_has_other_processes(folder: Path) -> None:
    put_driver(str(folder), far_driver(host=socket.gethostname(), machine="another boot", pid=2**22 + 1))
    assert RunStore(str(folder)).driver() is not None


def test_of_two_who_saw_the_same_dead_driver_one_takes_over(url: str) -> None:
    put_driver(url, far_driver())
    stores = [RunStore(url), RunStore(url)]
    for store in stores:
        store.check_free()
    with stores[0].lock(), pytest.raises(ContextError, match="in use by process"), stores[1].lock():
        pass


def test_a_lock_that_changes_under_the_hand_is_not_taken_over(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_driver(url, far_driver())
    store = RunStore(url)
    store.check_free()
    replace = RunFiles.replace

    with ExitStack() as other:

        def come_first(self: RunFiles, name: str, data: bytes, *, version: str | None = None) -> str | None:
            monkeypatch.undo()
            other.enter_context(beating(url, far_driver(user="bob", lease_s=10.0)))
            return replace(self, name, data, version=version)

        monkeypatch.setattr(RunFiles, "replace", come_first)
        monkeypatch.setattr(store._lock, "_poll_s", 0.01)
        with pytest.raises(ContextError, match="in use by process 1 of bob"), store.lock():
            pass


# --- the heart ---


def test_a_driver_outlives_its_lease_because_it_beats(url: str) -> None:
    with RunStore(url, lease_s=LEASE_S).lock():
        deadline = time.monotonic() + 30.0
        while (RunStore(url).driver() or far_driver()).beat < 8:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert RunStore(url).driver() is not None


def test_a_driver_hears_that_another_one_has_its_lock_and_commits_nothing_more(
    url: str, with_step: Callable[..., Context]
) -> None:
    notices = Notices()
    store = RunStore(url, lease_s=LEASE_S)
    with store.lock(notices):
        context = store.commit(with_step(Context(run_id="r"), "a"), "a")
        put_driver(url, far_driver())
        assert notices.wait() == [Notice(NoticeKind.LOST, f"{far_driver()} took it over")]
        for write in (lambda: store.commit(with_step(context, "b"), "b"), lambda: store.save_progress(context)):
            with pytest.raises(
                LockLostError, match=r"has lost the run .*ann on elsewhere.* took it over.*is safe"
            ) as lost:
                write()
            assert lost.value.by.endswith("took it over")
    assert list(RunStore(url).load().steps) == ["a"]
    assert b"ann" in (read_file(f"{url}/driver.json") or b"")


def test_a_driver_hears_that_somebody_removed_its_lock(folder: Path) -> None:
    notices = Notices()
    with RunStore(str(folder), lease_s=LEASE_S).lock(notices):
        (folder / "driver.json").unlink()
        assert notices.wait() == [Notice(NoticeKind.LOST, "somebody removed driver.json")]


def test_a_driver_that_slept_for_longer_than_its_lease_is_replaced_and_commits_nothing_more(
    url: str, with_step: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "is_neighbour", lambda driver: False)  # as if both were on hosts of their own
    monkeypatch.setattr(lock_module.Heart, "start", lambda self: None)  # asleep
    monkeypatch.setattr(lock_module.Heart, "stop", lambda self: None)
    sleeper, other = RunStore(url, lease_s=LEASE_S), RunStore(url, lease_s=LEASE_S)
    with sleeper.lock():
        context = sleeper.commit(with_step(Context(run_id="r"), "a"), "a")
        with other.lock() as driver:
            assert driver.taken_over_from
            other.commit(with_step(other.load(), "b"), "b")
            with pytest.raises(LockLostError, match="has lost the run"):
                sleeper.commit(with_step(context, "late"), "late")
    assert list(other.load().steps) == ["a", "b"]


def test_a_heart_goes_on_after_a_fault_of_the_folder(url: str, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    notices = Notices()
    failures = iter([True] * 3)
    replace = RunFiles.replace

    def fail_at_first(self: RunFiles, name: str, data: bytes, *, version: str | None = None) -> str | None:
        if name == "driver.json" and next(failures, False):
            raise self.unwritable(OSError(28, "No space left on device"))
        return replace(self, name, data, version=version)

    with RunStore(url, lease_s=LEASE_S).lock(notices):
        monkeypatch.setattr(RunFiles, "replace", fail_at_first)
        deadline = time.monotonic() + 30.0
        while (RunStore(url).driver() or far_driver()).beat < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert notices.taken == []
    assert [r.message for r in caplog.records if "cannot renew the lock" in r.message][1:] == []
    assert "No space left on device" in caplog.text


def test_a_lock_that_cannot_be_removed_is_left_behind(url: str, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def fail(self: RunFiles, name: str) -> None:
        raise self.unwritable(OSError(30, "Read-only file system"))

    with RunStore(url).lock():
        monkeypatch.setattr(RunFiles, "delete", fail)
    assert "is left behind: cannot write the run folder" in caplog.text


# --- requests to stop ---


def test_a_request_to_stop_reaches_the_driver_once(url: str) -> None:
    notices = Notices()
    with RunStore(url, lease_s=LEASE_S).lock(notices) as driver:
        assert RunStore(url).request_stop("bob on far").token == driver.token
        assert notices.wait() == [Notice(NoticeKind.STOP, "bob on far")]
        RunStore(url).request_stop("carol")
        assert notices.wait(2) == [Notice(NoticeKind.STOP, "bob on far"), Notice(NoticeKind.STOP, "carol")]
    assert read_file(f"{url}/stop.json") is None


def test_a_request_to_a_driver_before_does_not_stop_the_next_one(url: str) -> None:
    put_driver(url, far_driver())
    RunStore(url).request_stop("bob")
    notices = Notices()
    with RunStore(url, lease_s=LEASE_S).lock(notices):
        RunStore(url).request_stop("carol")
        assert notices.wait() == [Notice(NoticeKind.STOP, "carol")]


def test_a_request_that_is_no_json_is_none(url: str) -> None:
    lock = Lock(RunFiles(url))
    with lock.hold():
        replace_file(f"{url}/stop.json", b"{")
        assert lock.find_stop_request() is None


def test_nobody_can_be_asked_to_stop_where_nobody_drives(url: str) -> None:
    with pytest.raises(ContextError, match=r"nobody drives .* now, so that there is nothing to stop"):
        RunStore(url).request_stop("bob")


def test_the_heart_beats_on_when_a_notice_is_not_taken(url: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(notice: Notice) -> None:
        raise RuntimeError("no")

    with RunStore(url, lease_s=LEASE_S).lock(fail):
        RunStore(url).request_stop("bob")
        beat = (RunStore(url).driver() or far_driver()).beat
        deadline = time.monotonic() + 30.0
        while (RunStore(url).driver() or far_driver()).beat < beat + 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert "was not taken" in caplog.text


# --- the guard ---


def test_a_guard_that_somebody_keeps_is_not_waited_for_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_GUARD_SECONDS", 0.05)
    with Lock(RunFiles(str(folder))).held(), pytest.raises(ContextError, match="is in use by another driver"):
        Lock(RunFiles(str(folder)))._acquire()


@pytest.mark.parametrize(("number", "is_known"), [(38, True), (5, False)])
def test_a_file_system_without_flock_still_has_a_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_known: bool
) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock_module.fcntl, "flock", fail)
    if is_known:
        with RunStore(str(folder)).lock(), pytest.raises(ContextError, match="in use by"), RunStore(str(folder)).lock():
            pass
    else:
        with pytest.raises(ContextError, match="cannot write the run folder"), RunStore(str(folder)).lock():
            pass


@pytest.mark.parametrize(
    ("ignores", "words"),
    [
        ("create", r"not there \(If-None-Match\) of"),
        ("replace", r"the condition that it is a certain version \(If-Match\)"),
    ],
)
def test_an_object_store_that_ignores_conditions_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ignores: str, words: str
) -> None:
    def put(self: RunFiles, name: str, data: bytes, *, version: str | None = None) -> str | None:
        return str(replace_file(self.place(name), data))

    monkeypatch.setattr(RunFiles, ignores, put)
    with RunStore("memory://forgetful").lock():
        pass
    assert re.search(words + r".*see that only one driver is started", caplog.text)


def test_a_fault_while_a_lock_is_taken_leaves_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: RunFiles, name: str, data: bytes, *, version: str | None = None) -> str | None:
        raise self.unwritable(OSError("no network"))

    url = "memory://faulty"
    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "replace", fail)
        with pytest.raises(ContextError, match="no network"), RunStore(url).lock():
            pass
    assert RunStore(url).driver() is None


def test_an_object_store_that_knows_conditions_is_not_complained_of(
    object_store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with RunStore(f"{object_store.new_bucket()}/run").lock():
        pass
    assert "ignores" not in caplog.text


def test_the_dead_of_kill_9_is_replaced_at_once_by_one_of_many(folder: Path) -> None:
    code = (
        "from radps.run_folder.store import RunStore; import time\n"
        f"with RunStore({str(folder)!r}).lock(): print(1, flush=True); time.sleep(99)"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "1\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    assert psutil.pid_exists(os.getpid())
    held: list[Driver] = []
    refused: list[str] = []
    ready, done = threading.Barrier(4), threading.Barrier(4)

    def drive() -> None:
        ready.wait(30)
        try:
            with RunStore(str(folder)).lock() as driver:
                held.append(driver)
                done.wait(30)
        except ContextError as error:
            refused.append(str(error))
            done.wait(30)

    threads = [threading.Thread(target=drive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert len(refused) == 3
    assert f"process {first.pid} of" in held[0].taken_over_from
