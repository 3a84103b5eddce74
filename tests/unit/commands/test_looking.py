"""The commands status and watch."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

from radps.context.records import StepState
from radps.run_folder.store import RunStore

SLOW = """\
run: run
cluster: none
steps:
  - user_stages:squares
  - user_stages:sleeps: {{n: 3, seconds: {seconds}, marker: {marker}}}
  - user_stages:{last}
"""


def write_slow(folder: Path, last: str = "direct", seconds: float = 0.2) -> Path:
    """Write a config that takes some time; return the file that it makes meanwhile."""
    marker = folder.parent / "started"
    Path("slow.yaml").write_text(SLOW.format(seconds=seconds, marker=marker, last=last))
    return marker


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60.0
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


# --- status ---


def test_a_run_is_named_by_its_folder_or_its_config(call, run: Path) -> None:
    result = call("status", "config.yaml")
    assert result.code == 0
    assert result.output == call("status", run).output
    assert re.search(r"^store +done .* 15 +2 *$", result.output, re.MULTILINE)


def test_an_error_that_the_message_tells_is_not_told_again(call, run: Path) -> None:
    context = RunStore(str(run)).load()
    failed = context.steps["store"].model_copy(
        update={
            "state": StepState.FAILED,
            "outcome": None,
            "error": "there is no mask (in task store.write-2)",
            "last_error": "store.write-2: DataError: there is no mask",
        }
    )
    RunStore(str(run)).commit(context.with_records({**context.steps, "store": failed}.values()), "store")
    assert "last error" not in call("status", run).output


def test_attempts_retries_and_errors_of_steps_are_shown(call, run: Path) -> None:
    context = RunStore(str(run)).load()
    going = context.steps["store"].model_copy(
        update={
            "state": StepState.STOPPED,
            "outcome": None,
            "tasks": 40,
            "tasks_done": 12,
            "retries": 7,
            "last_error": "store.write-2-00003: OSError: no luck",
            "error": "stopped by the user",
        }
    )
    records = {**context.steps, "store": going}
    RunStore(str(run)).commit(context.with_records(records.values()), "store")
    output = call("status", run).output
    assert re.search(r"^step +state +seconds +tasks +attempts +retries +message", output, re.MULTILINE)
    assert re.search(r"^store +stopped +\S+ +12/40 +2 +7 +stopped by the user; last error: store.write-2", output, re.M)
    step = json.loads(call("status", run, "--json").output)["steps"][1]
    found = {name: step[name] for name in ("attempts", "tasks", "tasks_done", "retries", "last_error")}
    assert found == {
        "attempts": 2,
        "tasks": 40,
        "tasks_done": 12,
        "retries": 7,
        "last_error": "store.write-2-00003: OSError: no luck",
    }


# --- watch ---


def test_a_run_is_watched_from_before_its_start_to_its_end(start, folder: Path) -> None:
    write_slow(folder)
    watcher = start("watch", "slow.yaml")
    time.sleep(1.0)
    assert watcher.poll() is None
    runner = start("slow.yaml")
    output, errors = watcher.communicate(timeout=60)
    runner.communicate(timeout=60)
    assert (watcher.returncode, errors) == (0, "")
    lines = [line[21:] for line in output.splitlines()]
    assert lines[0].startswith("planned, in this process: squares (never run)")
    assert "sleeps: started (attempt 1 of stage user_stages:sleeps)" in lines
    assert lines[-1] == "run ended: done"


def test_the_exit_code_is_that_of_the_run(call, start, folder: Path) -> None:
    write_slow(folder, last="fails")
    runner = start("slow.yaml")
    wait_for(folder / "events.jsonl")
    result = call("watch", folder)
    runner.communicate(timeout=60)
    assert (result.code, runner.returncode) == (1, 1)
    assert result.output.endswith("run ended: failed\n")


def test_ctrl_c_ends_the_watching_and_not_the_run(start, folder: Path) -> None:
    marker = write_slow(folder, seconds=0.5)
    runner = start("slow.yaml")
    wait_for(marker)
    watcher = start("watch", folder)
    assert watcher.stdout is not None
    assert "planned" in watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    _, errors = watcher.communicate(timeout=30)
    assert watcher.returncode == 130
    assert "Traceback" not in errors
    runner.communicate(timeout=60)
    assert runner.returncode == 0


def test_a_driver_that_is_killed_ends_the_watching(start, folder: Path) -> None:
    marker = write_slow(folder, seconds=60)
    runner = start("slow.yaml")
    wait_for(marker)
    watcher = start("watch", folder)
    assert watcher.stdout is not None
    watcher.stdout.readline()
    runner.kill()
    runner.communicate(timeout=30)
    output, _ = watcher.communicate(timeout=30)
    assert watcher.returncode == 130
    assert output.endswith(f"Nobody drives {folder}: it is stopped\n")


def test_a_report_that_cannot_be_written_is_a_message(call, folder: Path) -> None:
    write_slow(folder, seconds=0.0)
    call("slow.yaml")
    (folder / "products").write_text("in the way")
    result = call("report", folder)
    assert result.code == 2
    assert "cannot make the report" in result.errors
    assert "check permissions and space there" in result.errors


def test_a_run_whose_log_of_events_is_of_an_earlier_radps_is_watched_to_its_end(call, folder: Path) -> None:
    write_slow(folder, seconds=0.0)
    call("slow.yaml")
    events = folder / "events.jsonl"
    events.write_text(re.sub(r', "exit_code": 0', "", events.read_text()))
    result = call("watch", folder)
    assert (result.code, result.errors) == (0, "")
    assert result.output.endswith("it is done\n")
