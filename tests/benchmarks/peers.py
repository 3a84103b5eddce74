"""What the benchmarks share that run radps and another program on the same data, as processes of their own."""

from __future__ import annotations

import functools
import importlib.util
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits
from numpy.typing import NDArray

from radps.data.observation_model import ObservationModel

_HELPER = Path(__file__).parents[1] / "helpers" / "simulated_msv2.py"

needs_wsclean = pytest.mark.skipif(shutil.which("wsclean") is None, reason="there is no wsclean to compare with")


def children_cpu_s() -> float:
    """Return the CPU time, user and system, of all child processes that ended [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(command: Sequence[str], folder: Path) -> float:
    """Run a command in a folder, to its end; return its CPU time with that of its children [s].

    Raises
    ------
    subprocess.CalledProcessError
        The command failed; what it said is printed.
    """
    before = children_cpu_s()
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    if result.returncode:
        print(result.stdout, result.stderr, sep="\n")
        result.check_returncode()
    return children_cpu_s() - before


def run_radps(folder: Path, data: Path, steps: Sequence[Any], *, cluster: Any = None, **parts: Any) -> float:
    """Run steps on data in the new run folder ``folder/radps``, by default with two workers; return the CPU time [s].

    The time holds everything: start, import, records. ``parts`` go beside ``path`` into ``data`` of the config.
    """
    run = folder / "radps"
    shutil.rmtree(run, ignore_errors=True)
    config = {
        "data": {"path": str(data), **parts},
        "run": str(run),
        "cluster": cluster or {"kind": "local", "workers": 2},
        "steps": list(steps),
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return measure([sys.executable, "-m", "radps", "run", str(path)], folder)


def run_wsclean(folder: Path, data: Path, options: Sequence[str]) -> float:
    """Image Stokes I by WSClean, gridder ``wgridder``, two threads; return the CPU time [s]."""
    command = ["wsclean", "-j", "2", "-use-wgridder", "-no-update-model-required", "-pol", "I", *options]
    return measure([*command, "-name", str(folder / "wsclean"), str(data)], folder)


def load_fits(path: Path) -> NDArray[np.float64]:
    """Return the plane of a FITS image of WSClean, shape (n_l, n_m)."""
    with fits.open(path) as units:
        return np.asarray(units[0].data, np.float64)[0, 0].T


def simulate_msv2(path: Path, model: ObservationModel) -> None:
    """Write a simulated observation as an MSv2, by the helper of the tests."""
    _load_helper().write_simulated_msv2(path, model)


def simulate_both(path: Path, model: ObservationModel) -> None:
    """Write a simulated observation twice: as the MSv2 ``path.ms`` and the MSv4 processing set ``path.ps.zarr``."""
    from xradio.measurement_set import convert_msv2_to_processing_set  # seconds to import

    simulate_msv2(Path(f"{path}.ms"), model)
    convert_msv2_to_processing_set(f"{path}.ms", f"{path}.ps.zarr", main_chunksize={"frequency": 8})


@functools.cache
def _load_helper() -> ModuleType:
    spec = importlib.util.spec_from_file_location("radps_benchmark_simulated_msv2", _HELPER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # classes of the module look themselves up
    spec.loader.exec_module(module)
    return module
