"""A run is followed from outside while its driver is a pod: the folder on a shared volume is all that both see."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

SLOW_STAGE = '''
import time
from dask.delayed import Delayed
from radps import Context, Outcome, StageParams
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task


class Params(StageParams):
    seconds: float = 0.1
    """Of one task."""


def _wait(number, seconds):
    time.sleep(seconds)
    return number


def _end(total):
    return Outcome(message=f"sum {total}")


def slow(context: Context, params: Params) -> Delayed:
    parts = map_chunks(context, _wait, range(20), params.seconds, name="wait")
    return run_task(context, _end, reduce_tree(context, sum, parts, name="add"), name="end")
'''


def write_config(folder: Path, run: str, seconds: float) -> Path:
    """Write a config and its stage into the shared folder."""
    (folder / "slow_stage.py").write_text(SLOW_STAGE)
    config = {"run": str(folder / run), "cluster": "none", "steps": [{"slow_stage:slow": {"seconds": seconds}}]}
    path = folder / f"{run}.yaml"
    path.write_text(json.dumps(config))
    return path


def watch(run: Path) -> subprocess.Popen[str]:
    """Start to follow a run, from this machine."""
    environment = {**os.environ, "NO_COLOR": "1"}
    command = [sys.executable, "-m", "radps", "watch", str(run)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_a_run_of_a_pod_is_followed_to_its_end(place: Any) -> None:
    config = write_config(place.folder, "watched", 0.1)
    watcher = watch(place.folder / "watched")
    place.start_pod("driver", "radps-run", str(config), "--quiet")
    text, _ = watcher.communicate(timeout=120)
    assert watcher.returncode == 0, text
    for words in ("run started by", "slow: started (attempt 1", "of 25 tasks", "slow: done", "run ended: done"):
        assert words in text


def start_and_watch(place: Any, name: str) -> tuple[subprocess.Popen[str], str]:
    """Start a driver in a pod that outlives it; returns who follows the run, and the driver's process in the pod."""
    config = write_config(place.folder, name, 3.0)
    watcher = watch(place.folder / name)
    place.start_pod(name, "sh", "-c", f"trap 'kill $!; wait; exit' TERM; radps-run {config} --quiet & wait; sleep 600")
    assert watcher.stdout is not None
    process = ""
    for line in watcher.stdout:
        process = found.group(1) if (found := re.search(r"run started by process (\d+)", line)) else process
        if "tasks to do" in line:
            break
    return watcher, process


def test_a_driver_pod_that_is_deleted_says_goodbye(place: Any) -> None:
    watcher, _ = start_and_watch(place, "deleted")
    place.kubectl("delete", "pod", "deleted", "--wait=false")
    text, _ = watcher.communicate(timeout=120)
    assert "stopping, asked by SIGTERM" in text
    assert watcher.returncode == 130


def test_a_driver_that_is_killed_is_missed(place: Any) -> None:
    watcher, process = start_and_watch(place, "killed")
    place.kubectl("exec", "killed", "--", "sh", "-c", f"kill -9 {process}")
    text, _ = watcher.communicate(timeout=240)
    place.kubectl("delete", "pod", "killed", "--wait=false", "--grace-period=0", "--force")
    assert f"Nobody drives {place.folder}/killed" in text
    assert watcher.returncode == 130
