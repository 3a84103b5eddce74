"""What one large plane of a cube costs: CPU time and memory against the projection, without reading and writing.

Each plane is imaged by a process of its own, so that the memory is its own. Run on demand::

    pytest tests/benchmarks/bench_large_planes.py -s
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

IMAGE = """
import json, resource, sys, time
import numpy as np
from radps.domain.geometry import ImageGrid
from radps.domain.imaging import CleanOptions, estimate_plane_memory, image_plane
from radps.domain.solver import IterationControl

def image(size, rows):
    random = np.random.default_rng(1)
    grid = ImageGrid(size, size, 1e-6)
    reach = 0.3 * 299792458.0 / 1.4e9 / grid.cell_size_rad
    uvw = random.normal(scale=reach / 3, size=(rows, 3)).clip(-reach, reach) * (1, 1, 0.1)
    phase = 2 * np.pi * 1.4e9 / 299792458.0 * (uvw[:, 0] * 1e-4 + uvw[:, 1] * 2e-4)
    data = (np.exp(1j * phase) + random.normal(size=rows) + 1j * random.normal(size=rows)).astype(np.complex64)
    weights = np.ones(rows, np.float32)
    control = IterationControl(max_cycles=5, max_iterations=2000)
    start = time.process_time()
    plane = image_plane(uvw, 1.4e9, data, weights, grid, control, CleanOptions())
    return time.process_time() - start, len(plane.solution.history), estimate_plane_memory(rows, grid)

size, rows = map(int, sys.argv[1:])
image(64, 1000)  # compiles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
seconds, cycles, projected = image(size, rows)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
print(json.dumps({"cpu_s": seconds, "updates": cycles, "peak": peak, "projected": projected}))
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("size", "rows"), [(4096, 100_000), (4096, 1_000_000), (8192, 100_000)])
def test_a_large_plane(size: int, rows: int) -> None:
    command = [sys.executable, "-c", IMAGE, str(size), str(rows)]
    cost = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(
        f"\n{size} x {size} pixels, {rows} visibilities: {cost['cpu_s']:.0f} s CPU for {cost['updates']} residual "
        f"updates, {cost['peak'] / 2**30:.1f} GiB, projected {cost['projected'] / 2**30:.1f} GiB"
    )
    assert cost["peak"] < cost["projected"]
