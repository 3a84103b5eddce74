"""What happens to a run folder and to a config while a run is at work, or after it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import radps
from radps.api import Run
from radps.context.records import StepState
from radps.data import stores
from radps.errors import ContextError, StageError
from radps.run_folder.store import RunStore
from radps.workflows.plan import PlanState, plan_steps


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds the small files of a tiny run, but not its images."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this process may not mount a disk")
    yield place
    subprocess.run(["umount", place], check=True)


def images(run: Run) -> list[Any]:
    return [stores.load_array(f"{run.url}/{image.path}/{image.variable}") for image in run.context.images]


def test_a_disk_that_is_full_stops_the_run_and_nothing_committed_is_lost(
    tiny_run: Run, tiny_config: Callable[..., dict[str, Any]], disk: Path
) -> None:
    config = tiny_config(str(disk / "run"))
    with pytest.raises((StageError, ContextError), match=r"No space left on device|needs .* on disk, and .* has"):
        radps.run(config, progress=False)
    before = {name: record for name, record in Run(str(disk / "run")).context.steps.items() if record.outcome}
    assert before
    subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
    run = radps.run(config, progress=False)
    assert {record.state for record in run.context.steps.values()} == {StepState.DONE}
    assert {name: run.context.steps[name] for name in before} == before
    for one, other in zip(images(run), images(tiny_run), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_chunk_that_is_lost_under_a_finished_step_is_made_again_with_what_needs_it(
    tiny_run: Run, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = tiny_config(str(tmp_path / "run"))
    run = radps.run(config, until="subtract_continuum", progress=False)
    chunks = sorted((tmp_path / "run/visibilities").glob("apply_calibration-1.zarr/*/VISIBILITY_CORRECTED/c/*/*/*/*"))
    chunks[0].unlink()
    planned = {one.step.id: one for one in plan_steps(run.workflow, run.context)}
    assert planned["calibrate"].state is PlanState.DONE
    assert planned["apply_calibration"].state is PlanState.CHANGED
    assert planned["apply_calibration"].reason.startswith("visibilities/apply_calibration-1.zarr was changed: 1 of ")
    assert planned["subtract_continuum"].state is PlanState.STALE
    run = radps.run(config, progress=False)
    attempts = {name: record.attempt for name, record in run.context.steps.items()}
    assert (attempts["calibrate"], attempts["apply_calibration"], attempts["subtract_continuum"]) == (1, 2, 2)
    for one, other in zip(images(run), images(tiny_run), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_byte_that_changed_in_a_chunk_is_an_error_that_names_step_and_remedy(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = tiny_config(str(tmp_path / "run"))
    radps.run(config, until="apply_calibration", progress=False)
    chunks = sorted(
        (tmp_path / "run/visibilities").glob("apply_calibration-1.zarr/*N5921*/VISIBILITY_CORRECTED/c/*/*/*/*")
    )
    content = bytearray(chunks[0].read_bytes())
    content[len(content) // 2] ^= 1
    chunks[0].write_bytes(content)
    with pytest.raises(StageError, match=r"VISIBILITY_CORRECTED.*damaged.*--redo apply_calibration"):
        radps.run(config, progress=False)
    run = radps.run(config, redo=["apply_calibration"], until="subtract_continuum", progress=False)
    assert run.context.steps["subtract_continuum"].state is StepState.DONE


def test_a_config_that_is_edited_while_it_runs_counts_for_the_next_run(user_stages: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "slow.yaml", tmp_path / "begun"
    config = {
        "run": str(tmp_path / "run"),
        "cluster": "none",
        "steps": [
            {f"{user_stages}:sleeps": {"seconds": 2.0, "marker": str(marker)}},
            {f"{user_stages}:squares": {"n": 3}},
        ],
    }
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "radps", str(path)]
    helpers = str(Path(__file__).parents[1] / "helpers")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([helpers, os.environ.get("PYTHONPATH", "")])}
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    config["steps"][1] = {f"{user_stages}:squares": {"n": 4}}
    path.write_text(yaml.safe_dump(config))
    assert driver.wait(timeout=60) == 0
    store = RunStore(str(tmp_path / "run"))
    outcome = store.load().steps["squares"].outcome
    assert outcome is not None
    assert outcome.summary == {"sum": 5}  # of the config as it was when the run began
    planned = plan_steps(radps.load_workflow(path), store.load())
    assert [(one.state, one.reason) for one in planned] == [
        (PlanState.DONE, "unchanged"),
        (PlanState.CHANGED, "parameters changed: n 3 -> 4"),
    ]
