"""A whole run on a tiny simulated observation, shared by the tests that only read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import radps
from radps.api import Run
from radps.data.demo_observation import demo_observation

IMAGE = {"image_size": 96, "cell_size": "20 arcsec", "max_iterations": 200, "max_cycles": 5}
"""A third of the beam, so that there is a beam to restore with, over twice the distance of the farthest source."""


def make_config(run: str, **changes: Any) -> dict[str, Any]:
    """Return a workflow from the simulation to the FITS files: 9 antennas, 16 channels."""
    steps = {
        "simulate": {"observation": demo_observation("tiny").model_dump(mode="json")},
        "import_data": {},
        "flag": {"quack_begin": "30 s", "manual": [{"channels": ["3", "13"]}]},  # channels with interference
        "set_model": {},
        "calibrate": {"gain_channels": "2~12"},
        "apply_calibration": {},
        "subtract_continuum": {"line_free": ["0~2", "14~15"]},
        "plan_images": {"sefd": "100 Jy"},
        "image_continuum": {**IMAGE, "mask": "auto", "auto_mask": {"noise_threshold": 4.0}},
        "image_cube": {**IMAGE, "weight_density": "common"},
        "moments": {"n_sigma": 2.0},
        "assess": {},
        "export": {},
    }
    for name, parameters in changes.items():
        steps[name] = {**steps[name], **parameters}
    return {"run": run, "cluster": "none", "steps": [{name: parameters} for name, parameters in steps.items()]}


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., dict[str, Any]]:
    """Makes the tiny workflow for a run folder; keywords change the parameters of a stage."""
    return make_config


PARTS = ("visibilities", "images", "context.zarr", "products")


def find_digests(folder: Path) -> dict[str, str]:
    """Return path -> digest of every file that a run made; the manifest tells of the run itself."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for part in PARTS
        for path in sorted((folder / part).rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.fixture(scope="session")
def product_digests() -> Callable[[Path], dict[str, str]]:
    """Returns path -> digest of every file that a run made."""
    return find_digests


@pytest.fixture(scope="session")
def image_parameters() -> dict[str, Any]:
    """The parameters of the images of the tiny workflow."""
    return dict(IMAGE)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The tiny workflow, run in this process, to be read only: a test that writes copies the folder."""
    folder: Path = tmp_path_factory.mktemp("tiny") / "run"
    run = radps.run(make_config(str(folder)), progress=False)
    before = find_digests(folder)
    yield run
    changed = {path for path, _ in before.items() ^ find_digests(folder).items()}
    assert not changed, "a test wrote into the run that all share"
