"""Memory of the imaging tasks: it stays flat from task to task, and a task takes what was projected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radps.execution.environment import WORKER_ENVIRONMENT

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("imaging_memory.py")
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


@pytest.mark.parametrize("w_term", ["flat", "w"])
def test_a_task_takes_what_was_projected(tmp_path: Path, w_term: str) -> None:
    measured = measure(tmp_path / "run", w_term, RETURN_AT_ONCE)
    assert measured["peak"] <= 1.3 * measured["projection"]
    # A projection that is far too large would pass, and be of no use.
    assert measured["projection"] <= 6 * measured["peak"]


def test_a_large_image_takes_what_was_projected_and_has_its_sources(tmp_path: Path) -> None:
    # Above 2,048 pixels: residuals through the visibilities, a PSF of the image's own size, planes in tiles.
    measured = measure(tmp_path / "run", "w", RETURN_AT_ONCE, size=2160, channels=1)
    assert measured["peak"] <= 1.2 * measured["projection"]
    assert measured["projection"] <= 2 * measured["peak"]
    # 1 Jy; a peak between pixels of a third of the beam is up to 10 % lower, and noise.
    assert measured["brightest"] == pytest.approx(0.95, abs=0.07)
