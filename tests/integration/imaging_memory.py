"""Run by test_memory.py in a process of its own: image many channels, one task each, and print what memory it took.

usage: python imaging_memory.py FOLDER IMAGE_SIZE W_TERM
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil

import radps
from radps.context.model import Context, Workspace
from radps.context.records import Resources
from radps.domain.normal_operator import count_terms
from radps.execution.engine import InProcess
from radps.node_tasks.guard import TaskEvent
from radps.stages import _imaging, image_cube

N_CHANNELS = 60
"""One task each."""


def observation() -> dict[str, object]:
    """Return 60 channels of 351 baselines: 0.3 million samples in all hands and times of a channel."""
    sources = [{"east": 1e-3, "north": 5e-4, "flux": 1.0}, {"east": -8e-4, "north": 1e-3, "flux": 0.5}]
    return {
        "integration_time": "10 s",
        "layout": {"kind": "vla", "configuration": "C", "n_antennas": 27},
        "band": {"start_frequency": 1.4e9, "channel_width": 1e5, "n_channels": N_CHANNELS},
        "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": sources}],
        "scans": [{"field": "sky", "n_integrations": 200}],
        "gains": None,
        "bandpasses": None,
    }


def reset_peak() -> int:
    """Forget the largest resident size so far, and return the present one."""
    Path("/proc/self/clear_refs").write_text("5")
    return psutil.Process().memory_info().rss


def peak_bytes() -> int:
    """Return the largest resident size since the reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def image(context: Context, step: str, slots: int, params: image_cube.Params) -> list[int]:
    """Make a cube, and return the resident size after each task that imaged channels."""
    resources = Resources(slots=slots, memory_bytes=2**33)
    bound = context.at(Workspace(url=context.place().url, step=step, attempt=1, resources=resources))
    sizes: list[int] = []

    def measure(event: TaskEvent) -> None:
        if "clean_channels" in event.key:
            sizes.append(psutil.Process().memory_info().rss)

    InProcess(2**33).compute(image_cube.image_cube(bound, params), measure)
    return sizes


def main() -> None:
    """Measure, and print one JSON object."""
    folder, size, w_term = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "w"
    config = {"run": folder, "cluster": "none", "steps": [{"simulate": {"observation": observation()}}, "import_data"]}
    context = radps.run(config, progress=False).context
    common = {"cell_size": "6 arcsec", "threshold": "20 mJy", "n_sigma": 0.0, "w_term": w_term}
    # Compiled kernels and libraries are not what a task takes.
    image(context, "warm", 1, image_cube.Params(image_size=32, channels="0~0", **common))
    params = image_cube.Params(image_size=size, **common)
    (target,) = image_cube.find_targets(context, params)
    window = context.require_observation().windows[0]
    grid = _imaging.choose_grid(context, params, window)
    terms = count_terms(_imaging.farthest_baseline(context), max(window.frequency_hz), grid, w_term=w_term)
    width = target.partitions[0].chunks[1]
    projection = image_cube.estimate_task_memory(target, grid, width, terms)
    before = reset_peak()
    sizes = image(context, "cube", N_CHANNELS // 2, params)
    print(json.dumps({"projection": projection, "peak": peak_bytes() - before, "sizes": sizes}))


if __name__ == "__main__":
    main()
