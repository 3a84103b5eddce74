"""Run by test_memory.py in a process of its own: run the stages, and print what memory their tasks took.

usage: python stage_memory.py FOLDER

Every step runs twice: first on a small observation, so that compiled kernels and imports are not counted, then on one
whose arrays are most of what a task takes. A projection is what the stage logs when it plans its tasks, a peak that of
the process over what it had before the step; what a task leaves goes back to the system at once.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from dask.delayed import Delayed

import radps
from radps.context.records import Resources
from radps.execution import clusters
from radps.execution.engine import InProcess, Order, Stop, TaskListener, ignore
from radps.node_tasks.guard import TaskEvent, TaskHost

SLOT_BYTES = 2 * 2**30
"""More than any task here takes, so that the size of blocks is that of the data."""

CLIB = ctypes.CDLL(None)


class Meter(logging.Handler):
    """Measures the tasks of one step after the other, and notes what was projected."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, dict[str, Any]] = {}
        self.base = 0
        """What the process has before a step."""

    def find(self, step: str) -> dict[str, Any]:
        """Return what is known of a step."""
        if step not in self.steps:
            self.rebase()
            self.steps[step] = {"projection": 0, "projected_for": "", "peak": 0, "task": ""}
        return self.steps[step]

    def rebase(self) -> None:
        """Count from what the process has now."""
        CLIB.malloc_trim(0)
        with open("/proc/self/statm", encoding="ascii") as stream:
            self.base = 4096 * int(stream.read().split()[1])

    def emit(self, record: logging.LogRecord) -> None:
        """Take a projection."""
        assert isinstance(record.args, tuple)
        step, what, needed, _ = record.args
        assert isinstance(needed, int | float)
        known = self.find(str(step))
        if needed > known["projection"]:
            known.update(projection=int(needed), projected_for=str(what))

    def take(self, event: TaskEvent) -> None:
        """Take the peak of a task."""
        known = self.find(event.key.partition(".")[0])
        if event.peak_memory_bytes - self.base > known["peak"]:
            known.update(peak=event.peak_memory_bytes - self.base, task=event.key)
        CLIB.malloc_trim(0)


class MeasuredProcess(InProcess):
    """Tells a meter of all tasks."""

    meter: Meter

    def resources(self) -> Resources:
        """Return one slot."""
        return Resources(slots=1, memory_bytes=SLOT_BYTES)

    def host(self, on_task: TaskListener) -> TaskHost:
        """Return the host of the tasks."""

        def listen(event: TaskEvent) -> None:
            self.meter.take(event)
            on_task(event)

        return super().host(listen)

    def keep(
        self,
        parts: Sequence[Delayed],
        order: Order | None = None,
        on_task: TaskListener = ignore,
        stop: Stop | None = None,
    ) -> list[Delayed]:
        """Keep results, and count from then on: they are no part of what a task takes."""
        handles = super().keep(parts, order, on_task, stop)
        self.meter.rebase()
        return handles


def observation(n_integrations: int, n_channels: int, polarizations: str) -> dict[str, object]:
    """Return calibrators and a target on 351 baselines, with the usual errors, and a line."""
    line = {"flux": "0 Jy", "line_peak": "0.3 Jy", "line_center": 1.4012e9, "line_width": 5e5}
    sources = [{"east": 1e-3, "north": 5e-4, "flux": 1.0}, {"east": -8e-4, "north": 1e-3, "flux": 0.5}, line]
    calibrator = {"flux_standard": "3C286"}
    return {
        "integration_time": "10 s",
        "layout": {"kind": "vla", "configuration": "C", "n_antennas": 27},
        "polarizations": polarizations,
        "band": {"start_frequency": 1.4e9, "channel_width": 6.4e6 / n_channels, "n_channels": n_channels},
        "fields": [
            {
                "name": "3C286",
                "ra": "202.7845333 deg",
                "dec": "30.5091553 deg",
                "intents": ["CALIBRATE_FLUX#ON_SOURCE", "CALIBRATE_BANDPASS#ON_SOURCE", "CALIBRATE_PHASE#ON_SOURCE"],
                "components": [calibrator],
            },
            {
                "name": "sky",
                "ra": "198.5 deg",
                "dec": "33.2 deg",
                "intents": ["OBSERVE_TARGET#ON_SOURCE"],
                "components": sources,
            },
        ],
        "scans": [
            {"field": "3C286", "n_integrations": n_integrations},
            {"field": "sky", "n_integrations": 2 * n_integrations},
        ],
        "gains": {"mean_amplitude": 0.3},
        "noise": {"sefd": "420 Jy"},
    }


CLEAN = {"threshold": "20 mJy", "n_sigma": 0.0, "max_cycles": 2, "cell_size": "2 arcsec"}
SCALES = {"deconvolver": "multiscale", "scales": [0, 5, 15]}
NO_W = {"w_term": False}


def calibration_steps() -> list[tuple[str, str, dict[str, Any]]]:
    """Return the steps up to calibrated data: id, stage, parameters."""
    return [
        ("import_data", "import_data", {"copy_msv4": "always"}),
        ("flag", "flag", {"shadow": True, "min_elevation": "5 deg", "clip": [{"highest": 1000.0}]}),
        ("flag_rfi", "flag_rfi", {"integrations": 60}),
        ("set_model", "set_model", {}),
        ("calibrate", "calibrate", {"delays": {}, "bandpass": {"phase_up": {}}, "phases": {}}),
        ("calibrate-short", "calibrate", {"solution_interval": "integration", "bandpass": {"kind": "polynomial"}}),
        ("calibrate-amplitude", "calibrate", {"phases": {}, "mode": "amplitude", "bandpass": {"kind": "smoothed"}}),
        ("apply_calibration", "apply_calibration", {"calibrate_weights": True}),
        ("flag_outliers", "flag_outliers", {}),
        ("assess", "assess", {}),
    ]


def imaging_steps(size: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the steps from calibrated data on: id, stage, parameters."""
    image = {**CLEAN, "image_size": size}
    few = {**image, "channels": "0~1"}
    return [
        ("continuum", "image_continuum", image),
        ("continuum-flat", "image_continuum", {**image, **NO_W}),
        ("continuum-mask", "image_continuum", {**image, **NO_W, "mask": "auto"}),
        ("continuum-scales", "image_continuum", {**image, **SCALES}),
        ("continuum-terms", "image_continuum", {**image, "n_terms": 2}),
        ("continuum-terms-scales", "image_continuum", {**image, **SCALES, **NO_W, "n_terms": 2}),
        ("continuum-kept", "image_continuum", {**image, "image_size": size, "cell_size": "20 arcsec"}),
        ("subtract_model", "subtract_model", {"image": "sky_continuum-terms"}),
        ("cube", "image_cube", {**few, **NO_W}),
        ("cube-w", "image_cube", few),
        ("cube-scales", "image_cube", {**few, **SCALES, **NO_W}),
        ("cube-mask", "image_cube", {**few, **NO_W, "mask": "auto"}),
        ("moments", "moments", {"image": "sky_cube", "mask": "smoothed"}),
        ("spectra", "spectra", {"image": "sky_cube"}),
        ("self_calibrate", "self_calibrate", {**image, **NO_W, "phase_intervals": ["scan"], "amplitude_intervals": []}),
        ("subtract_continuum", "subtract_continuum", {"order": 1, "line_free": ["0~2"]}),
        ("find_continuum", "find_continuum", {"image_size": max(64, size // 4)}),
    ]


def polarized_steps(size: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return steps on four correlations, and those whose memory is that of large images: id, stage, parameters."""
    large = {"image_size": 3 * size, "cell_size": "1 arcsec", "max_iterations": 0}
    return [
        ("import_data", "import_data", {}),
        ("cube-iquv", "image_cube", {**CLEAN, **NO_W, "image_size": size, "stokes": "IQUV", "channels": "0~1"}),
        ("continuum-large", "image_continuum", {**CLEAN, **NO_W, **large}),
        ("export", "export", {"all_variables": True}),
        ("report", "report", {}),
    ]


def run_steps(
    folder: str, seen: dict[str, object], steps: Sequence[tuple[str, str, dict[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """Run steps on an observation; return the projection and the peak of each, and what they are of."""
    meter = MeasuredProcess.meter = Meter()
    logger = logging.getLogger("radps.data.projections")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(meter)
    listed = [{"id": name, "stage": stage, "params": params} for name, stage, params in steps]
    config = {"run": folder, "cluster": "none", "steps": [{"simulate": {"observation": seen}}, *listed]}
    radps.run(config, progress=False)
    logger.removeHandler(meter)
    return meter.steps


def main() -> None:
    """Measure, and print one JSON object."""
    (folder,) = sys.argv[1:]
    both = "RR LL", "RR RL LR LL"
    clusters.InProcess = MeasuredProcess  # type: ignore[misc]  # this process is for measuring alone
    run_steps(f"{folder}/warm", observation(6, 16, both[0]), [*calibration_steps(), *imaging_steps(64)])
    run_steps(f"{folder}/warm-polarized", observation(2, 4, both[1]), polarized_steps(64))
    gc.freeze()
    measured = run_steps(f"{folder}/run", observation(40, 64, both[0]), [*calibration_steps(), *imaging_steps(720)])
    measured |= run_steps(f"{folder}/polarized", observation(20, 16, both[1]), polarized_steps(720))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
