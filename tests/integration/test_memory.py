"""Memory of the imaging tasks: it stays flat from task to task, and a task takes what was projected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("imaging_memory.py")
PLANE_BYTES = 256 * 256 * 4


@pytest.mark.parametrize("w_term", ["flat", "w"])
def test_worker_memory_is_flat_over_tasks_and_below_the_projection(tmp_path: Path, w_term: str) -> None:
    # As dask starts its workers: one thread, and memory that is freed goes back to the system.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "run"), "256", w_term]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    measured = json.loads(printed.splitlines()[-1])
    sizes = np.array(measured["sizes"], float)
    assert len(sizes) >= 50
    # From the tenth task on, all 50 together grow by less than 5 planes of the image, where a leak of one plane a task
    # would make 50.
    growth = np.median(sizes[-10:]) - np.median(sizes[10:20])
    assert growth < 5 * PLANE_BYTES
    assert measured["peak"] <= 1.3 * measured["projection"]
    # A projection that is far too large would pass, and be of no use.
    assert measured["projection"] <= 6 * measured["peak"]
