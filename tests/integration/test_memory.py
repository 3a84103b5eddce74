"""Memory of the tasks: it stays flat from task to task, and a task takes what was projected."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import radps
from radps.execution.engine import MEMORY_SHARE, memory_of_task
from radps.execution.environment import ONE_THREAD, WORKER_ENVIRONMENT
from radps.run_folder.task_records import load_task_records, task_records_url

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("imaging_memory.py")
STAGES_SCRIPT = Path(__file__).with_name("stage_memory.py")
PLANE_BYTES = 256 * 256 * 4


RETURN_AT_ONCE = {"MALLOC_TRIM_THRESHOLD_": "65536"}
"""What is freed goes back to the system, so that the resident size is what is in use."""


def measure(folder: Path, w_term: str, settings: dict[str, str], size: int = 256, channels: int = 60) -> dict[str, Any]:
    """Return what the imaging of channels in a process of its own took."""
    command = [sys.executable, str(SCRIPT), str(folder), str(size), w_term, str(channels)]
    printed = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def test_memory_of_a_worker_is_flat_over_50_tasks(tmp_path: Path) -> None:
    sizes = np.array(measure(tmp_path / "run", "w", WORKER_ENVIRONMENT)["sizes"], float)
    assert len(sizes) >= 60
    # From the tenth task on, 50 tasks together grow by less than 5 planes of the image; a leak of one plane a task
    # would make 50.
    assert np.median(sizes[-10:]) - np.median(sizes[5:15]) < 5 * PLANE_BYTES


def test_a_large_image_takes_what_was_projected_and_has_its_sources(tmp_path: Path) -> None:
    # Above 2,048 pixels: residuals through the visibilities, a PSF of the image's own size, planes in tiles.
    measured = measure(tmp_path / "run", "w", RETURN_AT_ONCE, size=2160, channels=1)
    assert measured["peak"] <= 1.2 * measured["projection"]
    assert measured["projection"] <= 2 * measured["peak"]
    # 1 Jy; a peak between pixels of a third of the beam is up to 10 % lower, and noise.
    assert measured["brightest"] == pytest.approx(0.95, abs=0.07)


STEPS = (
    *("simulate", "import_data", "flag", "flag_rfi", "calibrate", "calibrate-short", "calibrate-amplitude"),
    *("apply_calibration", "flag_outliers", "assess", "subtract_model", "subtract_continuum", "find_continuum"),
    *("continuum", "continuum-flat", "continuum-mask", "continuum-scales", "continuum-terms"),
    *("continuum-terms-scales", "continuum-kept", "continuum-large", "self_calibrate"),
    *("cube", "cube-w", "cube-scales", "cube-mask", "cube-iquv", "moments", "spectra", "export", "report"),
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Projection and peak of every step of a run."""
    command = [sys.executable, str(STAGES_SCRIPT), str(tmp_path_factory.mktemp("stages"))]
    settings = {**os.environ, **ONE_THREAD, **RETURN_AT_ONCE}
    printed = subprocess.run(command, env=settings, capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, Any]] = json.loads(printed.splitlines()[-1])
    return found


@pytest.mark.parametrize("step", STEPS)
def test_the_tasks_of_every_stage_take_what_was_projected(measured: dict[str, dict[str, Any]], step: str) -> None:
    found = measured[step]
    assert 0 < found["peak"] <= found["projection"], found
    # A projection that is too large takes work from the workers: at 2.5 a half of their memory is never used. Those of
    # solving and judging are twice the peak, because one correlation in place of two needs nearly as much.
    assert found["projection"] <= 2.5 * found["peak"], found


def test_no_step_is_left_out(measured: dict[str, dict[str, Any]]) -> None:
    # The models of calibrators are a few numbers.
    assert measured.keys() - {"set_model"} == set(STEPS)


WORKER_BYTES = int(1.2 * 2**30)
WIDE = {
    "name": "wide",
    "integration_time": "20 s",
    "layout": {"kind": "vla", "configuration": "C", "n_antennas": 27},
    "band": {"name": "low", "start_frequency": 1.268e9, "channel_width": 1.6e7, "n_channels": 16},
    "further_bands": [{"name": "high", "start_frequency": 1.524e9, "channel_width": 1.6e7, "n_channels": 16}],
    "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": [{"east": 1e-3, "flux": 1.0}]}],
    "scans": [{"field": "sky", "n_integrations": 160}],
    "gains": None,
    "bandpasses": None,
}


def test_workers_of_little_more_than_the_projection_are_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "radps.data.projections")
    url = str(tmp_path / "run")
    image = {"image_size": 720, "cell_size": "3 arcsec", "n_terms": 2, "threshold": "5 mJy", "max_cycles": 3}
    steps = [{"simulate": {"observation": WIDE}}, "import_data", {"image_continuum": image}, "subtract_model", "export"]
    cluster = {"kind": "local", "workers": 2, "memory_limit": WORKER_BYTES}
    run = radps.run({"run": url, "cluster": cluster, "steps": steps}, progress=False)
    projections = [
        record.args[2] for record in caplog.records if record.name == "radps.data.projections" and record.args
    ]
    assert 0.85 * memory_of_task(WORKER_BYTES) < max(projections) <= memory_of_task(WORKER_BYTES)
    tasks = [
        task
        for step, record in run.context.steps.items()
        for task in load_task_records(task_records_url(url, step, record.attempt))
    ]
    # None was repeated, because no worker was killed; none was near to what makes Dask write results to the disk.
    assert {(task.state, task.tries) for task in tasks} == {("done", 1)}
    assert 0.4 * WORKER_BYTES < max(task.peak_memory_bytes for task in tasks) < MEMORY_SHARE * WORKER_BYTES
