"""Cube CLEAN against WSClean, by CPU time (user + system) of all processes.

Run on demand, on a machine that does nothing else::

    pytest tests/benchmarks/bench_cube_clean.py

128 channels of a simulated VLA observation, 512 x 512 pixels of 3 arcsec, Briggs 0.5. Each program is asked for the
same: gain 0.1, at most 5,000 iterations a channel, threshold 5 mJy/beam, a minor cycle down to 0.2 of the peak. The
figures of radps hold everything: start of two workers, import, images, statistics, records of the run. The table of
docs/imaging-cubes.md is what this prints (``-s``).

Other data of that size: ``RADPS_BENCHMARK_DATA=folder RADPS_BENCHMARK_SET=M``, where ``folder/M.ms`` (MSv2) and
``folder/M.ps.zarr`` (MSv4 processing set) hold the same visibilities.
"""

from __future__ import annotations

import cProfile
import math
import os
import pstats
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers import children_cpu_s, load_fits, needs_wsclean, run_radps, run_wsclean, simulate_both

import radps
from radps.data.images import load_planes
from radps.data.observation_model import ObservationModel
from radps.data.stores import list_children, open_array

KERNEL_MODULES = ("gridding.py", "normal_operator.py", "deconvolution.py")
"""Gridding, FFT and minor cycles: what these modules and ducc0 do themselves, numba's functions included."""

SHARE_OF_WSCLEAN = 0.4
SHARE_IN_KERNELS = 0.8

ARCSEC = math.radians(1 / 3600)
CONTINUUM = (  # east, north [arcsec], flux density [Jy], FWHM of the axes [arcsec]; spectral index -0.7
    (0, 0, 1.0, 0, 0),
    (180, -120, 0.5, 0, 0),
    (-240, 150, 0.3, 0, 0),
    (75, 255, 0.2, 0, 0),
    (-390, -330, 0.15, 0, 0),
    (450, 90, 0.1, 0, 0),
    (-60, -450, 0.08, 0, 0),
    (-477, 33, 0.03, 0, 0),
    (-150, -90, 0.4, 36, 24),
    (240, 180, 0.25, 45, 30),
)
LINES = (  # the same of spectral lines, and the frequency of their middle [Hz]
    (-84, 117, 0.3, 0, 0, 1.40635e9),
    (300, -300, 0.2, 30, 30, 1.40763e9),
)
BAND = {"start_frequency": 1.4e9, "channel_width": 1e5, "n_channels": 128, "spectral_frame": "TOPO"}


def observation() -> ObservationModel:
    """The VLA in its C configuration: 27 antennas, 360 integrations, 16 million cells of two hands, noise of 0.4 Jy."""
    components: list[dict[str, Any]] = [
        {"east": east * ARCSEC, "north": north * ARCSEC, "major": major * ARCSEC, "minor": minor * ARCSEC, **spectrum}
        for east, north, major, minor, spectrum in [
            *(
                (*one[:2], *one[3:], {"flux": one[2], "spectral_index": -0.7, "reference_frequency": 1.406e9})
                for one in CONTINUUM
            ),
            *(
                (*one[:2], *one[3:5], {"line_peak": one[2], "line_center": one[5], "line_width": 2.56e6})
                for one in LINES
            ),
        ]
    ]
    return ObservationModel.model_validate(
        {
            "integration_time": "60 s",
            "layout": {"kind": "vla", "configuration": "C", "n_antennas": 27},
            "band": BAND,
            "fields": [{"name": "sky", "ra": "190 deg", "dec": "40 deg", "components": components}],
            "scans": [{"field": "sky", "n_integrations": 360}],
            "gains": None,
            "bandpasses": None,
            "noise": {"sefd": 1290.0},
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder and name of the data set, without its ending."""
    folder = os.environ.get("RADPS_BENCHMARK_DATA")
    if folder is not None:
        return Path(folder) / os.environ.get("RADPS_BENCHMARK_SET", "M")
    path = tmp_path_factory.mktemp("data") / "M"
    simulate_both(path, observation())
    return path


@pytest.fixture(scope="module")
def n_channels(data: Path) -> int:
    url = f"{data}.ps.zarr"
    first = next(name for name in list_children(url) if not name.endswith(".json"))
    return int(open_array(f"{url}/{first}/VISIBILITY").shape[2])


def imaging_steps(*, w_term: bool, **params: Any) -> list[Any]:
    cube = {
        "field": "all",
        "image_size": 512,
        "cell_size": "3 arcsec",
        "robust": 0.5,
        "gain": 0.1,
        "max_iterations": 5000,
        "threshold": "5 mJy",
        "n_sigma": 0.0,
        "min_psf_fraction": 0.2,
        "cycle_factor": 0.1,
        "w_term": w_term,
        **params,
    }
    return ["import_data", {"image_cube": cube}]


def image_by_radps(data: Path, folder: Path, *, w_term: bool) -> float:
    return run_radps(folder, Path(f"{data}.ps.zarr"), imaging_steps(w_term=w_term))


def image_by_wsclean(data: Path, folder: Path, n_channels: int) -> float:
    options = ["-channels-out", str(n_channels), "-size", "512", "512", "-scale", "3asec", "-weight", "briggs", "0.5"]
    options += ["-niter", "5000", "-threshold", "0.005", "-gain", "0.1", "-mgain", "0.8"]
    return run_wsclean(folder, Path(f"{data}.ms"), options)


def root_mean_square(planes: Any) -> float:
    """Return the rms of all pixels of some planes."""
    return float(np.sqrt(np.mean([np.mean(np.square(plane, dtype=np.float64)) for plane in planes])))


@pytest.mark.benchmark(group="cube", timer=children_cpu_s)
@pytest.mark.timeout(3600)
def test_cube_without_the_w_term(benchmark: Any, data: Path, tmp_path: Path) -> None:
    # The first run warms the caches of files and kernels.
    benchmark.pedantic(image_by_radps, args=(data, tmp_path), kwargs={"w_term": False}, rounds=1, warmup_rounds=1)


@pytest.mark.benchmark(group="cube", timer=children_cpu_s)
@pytest.mark.timeout(3600)
@needs_wsclean
def test_cube_with_the_w_term_against_wsclean(benchmark: Any, data: Path, tmp_path: Path, n_channels: int) -> None:
    mine = benchmark.pedantic(image_by_radps, args=(data, tmp_path), kwargs={"w_term": True}, rounds=1)
    theirs = image_by_wsclean(data, tmp_path, n_channels)
    run = radps.open_run(tmp_path / "radps")
    url = run.context.locate(run.context.images[0].path)
    cubes = load_planes(url, "SKY_RESIDUAL"), sorted(tmp_path.glob("wsclean-0*-residual.fits"))
    assert len(cubes[0]) == len(cubes[1]) == n_channels
    rms = root_mean_square(cubes[0]), root_mean_square(load_fits(path) for path in cubes[1])
    flux = (
        float(load_planes(url, "SKY_MODEL").sum(dtype=np.float64)) / n_channels,
        float(sum(load_fits(path).sum() for path in tmp_path.glob("wsclean-0*-model.fits"))) / n_channels,
    )
    print()
    print(f"| flux density of the model, mean of the channels [Jy] | {flux[0]:.4f} | {flux[1]:.4f} |")
    print(f"| rms of the residual [mJy/beam] | {rms[0] * 1e3:.4f} | {rms[1] * 1e3:.4f} |")
    print(f"| CPU time, start and import included [s] | {mine:.1f} | {theirs:.1f} |")
    benchmark.extra_info.update({"cpu_s": (mine, theirs), "ratio": mine / theirs, "rms": rms, "flux_jy": flux})
    # Less work would be no gain if it left more behind; the two put tapers and noise a little differently.
    assert rms[0] <= 1.02 * rms[1]
    assert flux[0] == pytest.approx(flux[1], rel=0.005)
    assert mine <= SHARE_OF_WSCLEAN * theirs


@pytest.mark.benchmark(group="share", timer=children_cpu_s)
@pytest.mark.timeout(3600)
def test_time_of_the_chunk_tasks_is_spent_in_kernels(benchmark: Any, data: Path, tmp_path: Path) -> None:
    workflow = {
        "data": {"path": f"{data}.ps.zarr"},
        "run": str(tmp_path / "run"),
        "cluster": "none",
        "steps": imaging_steps(w_term=True, channels="0~7"),
    }
    radps.run(workflow, progress=False)
    profile = cProfile.Profile()
    profile.enable()
    radps.run(workflow, redo=["image_cube"], progress=False)
    profile.disable()
    entries = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
    own = sum(
        own_s
        for (file, _, name), (_, _, own_s, _, _) in entries
        if Path(file).name in KERNEL_MODULES or "ducc0" in name
    )
    (whole,) = (whole_s for (_, _, name), (_, _, _, whole_s, _) in entries if name == "clean_channels")
    share = own / whole
    benchmark.extra_info["share"] = share
    benchmark.pedantic(lambda: None, rounds=1)
    assert share >= SHARE_IN_KERNELS
