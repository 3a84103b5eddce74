"""Run by test_memory.py in a process of its own: image many channels, one task each, and print what memory it took.

usage: python imaging_memory.py FOLDER IMAGE_SIZE W_TERM [CHANNELS]
"""

from __future__ import annotations

import gc
import json
import sys

import psutil

import radps
from radps.context.model import Context, Workspace
from radps.context.records import Resources
from radps.domain.normal_operator import count_terms
from radps.execution.engine import InProcess
from radps.node_tasks.guard import TaskEvent, TaskRules
from radps.node_tasks.ledger import ledger_url
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


def image(context: Context, step: str, slots: int, params: image_cube.Params) -> tuple[list[int], int, float]:
    """Make a cube; return the resident size after each task that imaged channels, the largest in one, and its peak."""
    sizes: list[int] = []
    peaks: list[int] = []

    def measure(event: TaskEvent) -> None:
        if "clean_channels" in event.key:
            sizes.append(psutil.Process().memory_info().rss)
            peaks.append(event.peak_memory_bytes)

    engine, url = InProcess(2**33), context.place().url
    place = Workspace(
        url=url,
        step=step,
        attempt=1,
        resources=Resources(slots=slots, memory_bytes=2**33),
        rules=TaskRules(ledger_url=ledger_url(url, step, 1), host=engine.host(measure)),
    )
    outcome = engine.compute(image_cube.image_cube(context.at(place), params))
    return sizes, max(peaks), outcome.images[0].statistics.max


def main() -> None:
    """Measure, and print one JSON object."""
    folder, size, w_term = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "w"
    config = {"run": folder, "cluster": "none", "steps": [{"simulate": {"observation": observation()}}, "import_data"]}
    context = radps.run(config, progress=False).context
    common = {"cell_size": "6 arcsec", "threshold": "20 mJy", "n_sigma": 0.0, "w_term": w_term}
    # Compiled kernels and libraries are not what a task takes.
    image(context, "warm", 1, image_cube.Params(image_size=32, channels="0~0", **common))
    n_channels = int(sys.argv[4]) if len(sys.argv) > 4 else N_CHANNELS
    params = image_cube.Params(image_size=size, channels=f"0~{n_channels - 1}", **common)
    (target,) = image_cube.find_targets(context, params)
    window = context.require_observation().windows[0]
    grid = _imaging.choose_grid(context, params, window)
    terms = count_terms(_imaging.farthest_baseline(context), max(window.frequency_hz), grid, w_term=w_term)
    width = min(target.partitions[0].chunks[1], n_channels)
    projection = image_cube.estimate_task_memory(target, grid, width, terms)
    # What waits to be freed is no part of what a task takes.
    gc.collect()
    before = psutil.Process().memory_info().rss
    sizes, peak, brightest = image(context, "cube", max(1, n_channels // 2), params)
    print(json.dumps({"projection": projection, "peak": peak - before, "sizes": sizes, "brightest": brightest}))


if __name__ == "__main__":
    main()
