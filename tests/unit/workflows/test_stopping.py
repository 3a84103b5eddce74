"""Stopping a run from another process: the driver is asked, and the end is awaited."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from radps.errors import ContextError
from radps.run_folder.heartbeat import Notice
from radps.run_folder.store import RunStore
from radps.workflows import stopping
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.status import RunState
from radps.workflows.stopping import stop_run

DRIVER = """
import sys, threading
from radps.run_folder.store import RunStore
end = threading.Event()
def take(notice):
    print(notice.kind, notice.by, flush=True)
    end.set()
with RunStore(sys.argv[1]).lock(take):
    print("drives", flush=True)
    end.wait(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run that is done."""
    workflow = load_workflow({"run": str(tmp_path / "run"), "cluster": "none", "steps": ["user_stages:direct"]})
    run_workflow(workflow)
    return workflow.run


@pytest.fixture
def driver(run: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that drives the run until it is asked to stop."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, run], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "drives\n"
    yield process
    process.kill()
    process.communicate()


def test_the_driver_of_another_process_is_asked_and_its_end_awaited(run: str, driver: subprocess.Popen[str]) -> None:
    result = stop_run(run, wait_s=30.0)
    assert f"process {driver.pid} of " in result.asked
    assert result.state is RunState.DONE
    output, _ = driver.communicate(timeout=30)
    assert output.startswith("stop ")
    assert " on " in output
    assert driver.returncode == 0


def test_a_driver_that_dies_meanwhile_has_stopped_too(run: str, driver: subprocess.Popen[str]) -> None:
    driver.kill()
    assert stop_run(run, wait_s=30.0).state is RunState.DONE


def test_nobody_is_asked_where_nobody_drives(run: str) -> None:
    assert stop_run(run) == ("", RunState.DONE)
    assert not Path(run, "stop.json").exists()
    with pytest.raises(ContextError, match="is not a run folder"):
        stop_run(f"{run}-none")


def test_a_driver_that_does_not_listen_is_still_running_after_the_wait(run: str) -> None:
    with RunStore(run).lock():
        for wait_s in (0.0, 0.3):
            result = stop_run(run, wait_s)
            assert result.state is RunState.RUNNING
            assert result.asked


def test_a_driver_that_ends_between_the_look_and_the_request_has_stopped(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = RunStore(run).lock()
    lock.__enter__()
    ask = RunStore.request_stop

    def late(self: RunStore, by: str) -> object:
        lock.__exit__(None, None, None)
        return ask(self, by)

    monkeypatch.setattr(RunStore, "request_stop", late)
    assert stop_run(run).state is RunState.DONE


def test_a_request_that_cannot_be_written_is_an_error(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: RunStore, by: str) -> object:
        raise ContextError("cannot write the run folder")

    monkeypatch.setattr(RunStore, "request_stop", refuse)
    with RunStore(run).lock(), pytest.raises(ContextError, match="cannot write the run folder"):
        stop_run(run)


def test_a_run_in_an_object_store_that_has_no_step_yet_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_POLL_SECONDS", {True: 0.05, False: 0.05})
    url = f"memory://{tmp_path.name}"
    heard: list[Notice] = []
    started, asked = threading.Event(), threading.Event()

    def take(notice: Notice) -> None:
        heard.append(notice)
        asked.set()

    def drive() -> None:
        with RunStore(url, lease_s=1.0).lock(take):
            started.set()
            asked.wait(30)

    thread = threading.Thread(target=drive)
    thread.start()
    assert started.wait(10)
    result = stop_run(url, wait_s=30.0)
    thread.join()
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)
    assert result.state is RunState.PENDING
    assert heard[0].by == stopping._who_asks()
