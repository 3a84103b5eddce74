"""The commands list, remove, prune and stop."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from pathlib import Path

import jsonschema
import pytest

from radps.run_folder.store import RunStore
from radps.workflows.schema import SCHEMAS


class Terminal(io.StringIO):
    """What a user types."""

    def isatty(self) -> bool:
        return True


# --- list ---


def test_runs_are_listed_with_their_states(call, run: Path) -> None:
    lines = call("list", ".").output.splitlines()
    assert lines[0].split() == [
        "run",
        "id",
        "project",
        "state",
        "steps",
        "started",
        "last",
        "change",
        "driver,",
        "damage",
    ]
    assert re.match(r"run  \d{8}T\d{6}Z-[0-9a-f]{6}  P +failed +3/4  \d{4}-\d\d-\d\d \d\d:\d\d  \d{4}-", lines[1])
    assert call("list", ".", "--state", "running").output == "No runs in . are running\n"
    assert len(call("list", ".", "--state", "failed").output.splitlines()) == 2


def test_the_root_is_the_folder_runs_unless_one_is_named(call, folder: Path) -> None:
    call("config.yaml", "--run", "runs/a/b")
    assert "runs/a/b" in call("list").output
    assert call("list", "nowhere").errors == (
        f"Error: there is no folder {folder.parent}/nowhere; give the folder (or URL) that holds the runs\n"
    )


def test_programs_get_json_by_a_schema(call, run: Path) -> None:
    document = json.loads(call("list", ".", "--json").output)
    jsonschema.validate(document, SCHEMAS["runs"]())
    assert [(one["run"], one["state"], one["steps_done"]) for one in document["runs"]] == [(str(run), "failed", 3)]


def test_damaged_runs_are_listed_with_the_reason(call, run: Path) -> None:
    (run / "context.json").write_text("{")
    max((run / "history").iterdir()).write_text("{")
    result = call("list", ".")
    assert result.code == 0
    assert re.search(r"^run +damaged .*context.json", result.output, re.MULTILINE)


def test_a_state_that_there_is_not_is_refused(call, folder: Path) -> None:
    result = call("list", ".", "--state", "moon")
    assert result.code == 2
    assert "there is no state 'moon'; states: pending, running" in result.errors


# --- prune ---


def test_prune_says_what_each_step_left_and_removes_it(call, run: Path) -> None:
    before = call("prune", "config.yaml", "--dry-run").output
    assert re.search(r"^store +1 +\S+ KiB +context.zarr/store-1, tasks.zarr/store-1 *$", before, re.MULTILINE)
    assert before.endswith("KiB would be freed\n")
    assert (run / "context.zarr" / "store-1").exists()
    assert call("prune", run).output == before.replace("would be freed", "freed")
    assert not (run / "context.zarr" / "store-1").exists()
    assert (run / "context.zarr" / "store-2").exists()
    assert call("prune", run).output == "Nothing to prune: the run refers to all that is there\n"


def test_prune_refuses_what_is_driven_or_no_run(call, run: Path) -> None:
    with RunStore(str(run)).lock():
        assert "is in use by process" in call("prune", run).errors
    result = call("prune", "elsewhere")
    assert result.code == 2
    assert "elsewhere is not a run folder" in result.errors


# --- remove ---


def test_a_run_is_removed_when_that_is_said(call, run: Path) -> None:
    refused = call("remove", run)
    assert refused.code == 2
    assert re.search(r"run \(.* KiB\) is removed for good; say --yes if that is meant", refused.errors)
    assert run.exists()
    result = call("remove", "config.yaml", "--yes")
    assert (result.code, result.errors) == (0, "")
    assert re.match(rf"Removed {run}: \S+ KiB\n", result.output)
    assert not run.exists()


@pytest.mark.parametrize(("answer", "removed"), [("y", True), ("n", False), ("", False)])
def test_a_terminal_is_asked(call, run: Path, monkeypatch: pytest.MonkeyPatch, answer: str, removed: bool) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    result = call("remove", run)
    assert result.code == 0
    assert re.search(r"Remove .*/run \(failed, 3 of 4 steps done, \S+ KiB\) for good\? \[y/N\]", result.output)
    assert result.output.endswith("Nothing was removed\n") is not removed
    assert run.exists() is not removed


def test_remove_refuses_what_is_driven_or_no_run(call, run: Path) -> None:
    with RunStore(str(run)).lock():
        assert "is in use by process" in call("remove", run, "--yes").errors
    result = call("remove", ".", "--yes")
    assert result.code == 2
    assert "is not a run folder" in result.errors
    assert run.exists()


# --- stop ---


def test_a_run_in_another_process_is_stopped_and_goes_on_later(call, start, folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "started"
    (tmp_path / "long.yaml").write_text(
        f"run: run\ncluster: local\nsteps:\n  - user_stages:sleeps: {{n: 4, seconds: 60, marker: {marker}}}\n"
    )
    process = start("long.yaml", "--workers", 1)
    deadline = time.monotonic() + 60.0
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    result = call("stop", "long.yaml")
    assert (result.code, result.errors) == (0, "")
    assert re.match(rf"Stopped process {process.pid} of \S+ on \S+, since .*: {folder} is stopped\n", result.output)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert call("long.yaml", "--cluster", "none", "--set", "sleeps.seconds=0").code == 0


def test_nobody_is_stopped_where_nobody_drives(call, run: Path) -> None:
    result = call("stop", run)
    assert (result.code, result.output) == (0, f"Nobody drives {run}: it is failed\n")
    assert call("stop", "elsewhere").code == 2


def test_a_driver_that_does_not_stop_in_time_gives_code_1(call, run: Path) -> None:
    with RunStore(str(run)).lock():
        result = call("stop", run, "--wait", "0.2")
        assert result.code == 1
        assert re.match(rf"Asked process {os.getpid()} .* to stop; it was still at work after 0.2 s\n", result.errors)
        asked = call("stop", run, "--wait", "0")
        assert asked.code == 0
        assert re.match(rf"Asked process {os.getpid()} .* to stop\n", asked.output)


def test_ctrl_c_ends_the_waiting(start, run: Path) -> None:
    with RunStore(str(run)).lock():
        process = start("stop", run)
        deadline = time.monotonic() + 30.0
        while not (run / "stop.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
