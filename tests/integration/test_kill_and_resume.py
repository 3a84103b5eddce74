"""Whatever is killed, at whatever moment: the same command goes on, and the products are the same to the last bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from radps.api import Run
from radps.context.records import StepState
from radps.run_folder.store import RunStore
from radps.run_folder.task_records import load_task_records, task_records_url

pytestmark = pytest.mark.slow

KILLS = 20
"""Moments at which a driver or a worker is killed."""


@pytest.fixture
def config_file(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    """The tiny workflow on two worker processes, as a file; tasks are slowed down, so that there is time to kill."""
    config = tiny_config(str(tmp_path / "run"))
    config["cluster"] = {"kind": "local", "workers": 2}
    config["faults"] = {"rate": 0.2, "seed": 1, "kind": "slow", "delay": "0.2 s"}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


class Driver:
    """A process that runs `radps-run`, with all that it starts."""

    def __init__(self, config: Path, *options: str) -> None:
        command = [sys.executable, "-m", "radps", str(config), *options]
        self.output = config.with_suffix(".out")
        with self.output.open("a") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes, those that compute."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [one for one in children if _is_worker(one)]
        return []

    def kill(self) -> None:
        """Kill the driver alone: its workers find out by themselves."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Kill what is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


@pytest.fixture
def start(config_file: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers, and ends what is left of them."""
    started: list[Driver] = []

    def begin(*options: str) -> Driver:
        started.append(Driver(config_file, *options))
        return started[-1]

    yield begin
    for driver in started:
        driver.end()


def wait_for(condition: Callable[[], bool], driver: Driver, seconds: float = 60.0) -> bool:
    """Wait until something is true; False if the driver ended before."""
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, "it never happened"
        if driver.process.poll() is not None:
            return condition()
        time.sleep(0.02)
    return True


def count_events(folder: Path) -> int:
    path = folder / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_kills_of_drivers_and_workers_at_any_moment_leave_the_products_as_they_are(
    tiny_run: Run,
    start: Callable[..., Driver],
    tmp_path: Path,
    product_digests: Callable[[Path], dict[str, str]],
) -> None:
    folder = tmp_path / "run"
    random_moments = random.Random(5)
    kills = 0
    while kills < KILLS:
        driver = start()
        before = count_events(folder)
        # Between the first event and a moment in one of the next steps.
        if not wait_for(lambda before=before: count_events(folder) > before, driver):
            break
        time.sleep(random_moments.uniform(0.0, 1.2))
        if random_moments.random() < 0.5:
            for _ in range(2):
                if workers := driver.workers():
                    with suppress(psutil.NoSuchProcess):
                        random_moments.choice(workers).kill()
                    kills += 1
                time.sleep(random_moments.uniform(0.1, 0.8))
        if driver.process.poll() is None:
            driver.kill()
            kills += 1
        elif driver.process.returncode == 0:
            break
    last = start()
    assert last.process.wait(timeout=240) == 0, last.output.read_text()[-3000:]
    assert kills >= KILLS, f"the run was done after {kills} kills; make it longer"
    context = RunStore(str(folder)).load()
    assert {record.state for record in context.steps.values()} == {StepState.DONE}
    assert {record.attempt for record in context.steps.values()} == {1}  # every attempt went on, none began anew
    assert sum(record.resumed for record in context.steps.values()) > 5
    assert product_digests(folder) == product_digests(Path(tiny_run.url))


def test_finished_tasks_are_not_done_again(start: Callable[..., Driver], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ledger = folder / "tasks" / "image_cube-1"

    def finished() -> set[str]:
        return {path.name for path in ledger.glob("*clean_channels*") if not path.name.endswith(".tmp")}

    driver = start()
    assert wait_for(lambda: len(finished()) >= 2, driver)
    driver.kill()
    names = finished()
    assert start().process.wait(timeout=240) == 0
    (begun, resumed) = [
        json.loads(line)
        for line in (folder / "events.jsonl").read_text().splitlines()
        if '"step.started"' in line and '"image_cube"' in line
    ]
    assert (begun["attempt"], begun["resumed"]) == (1, False)
    assert (resumed["attempt"], resumed["resumed"]) == (1, True)
    records = load_task_records(task_records_url(str(folder), "image_cube", 1))
    kept = {record.key for record in records if record.state == "kept"}
    assert {name for name in names if name.startswith("image_cube.clean_channels")} <= kept


def test_sigterm_stops_soon_and_the_same_command_goes_on(
    tiny_run: Run,
    start: Callable[..., Driver],
    tmp_path: Path,
    product_digests: Callable[[Path], dict[str, str]],
) -> None:
    folder = tmp_path / "run"
    driver = start()
    assert wait_for(lambda: '"step": "apply_calibration"' in _text(folder / "events.jsonl"), driver)
    driver.process.terminate()
    assert driver.process.wait(timeout=20) == 130
    states = {name: record.state for name, record in RunStore(str(folder)).load().steps.items()}
    assert StepState.STOPPED in states.values() or StepState.PENDING in states.values()
    assert StepState.RUNNING not in states.values()
    assert start().process.wait(timeout=240) == 0
    assert product_digests(folder) == product_digests(Path(tiny_run.url))


def test_ctrl_c_at_a_terminal_ends_in_few_words(tmp_path: Path, start: Callable[..., Driver]) -> None:
    driver = start("--until", "calibrate")
    assert wait_for(lambda: '"step": "flag"' in _text(tmp_path / "run" / "events.jsonl"), driver)
    os.killpg(driver.process.pid, signal.SIGINT)  # a terminal sends it to the workers, too
    assert driver.process.wait(timeout=20) == 130
    output = driver.output.read_text()
    assert "Stopping (SIGINT)" in output
    assert "Traceback" not in output
    assert "Interrupt" not in output


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
