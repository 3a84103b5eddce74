"""The products are the same to the last bit, wherever and in whatever chunks they are computed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import radps
from radps.api import Run
from radps.context.model import Workspace
from radps.context.records import Resources
from radps.execution.engine import InProcess
from radps.stages import image_cube


def array_digests(folder: Path) -> dict[str, str]:
    """Return path -> digest of the values of every array below a folder."""
    found = {}
    for metadata in sorted(folder.rglob("zarr.json")):
        node = zarr.open(str(metadata.parent), mode="r")
        if isinstance(node, zarr.Array):
            name = str(metadata.parent.relative_to(folder))
            found[name] = hashlib.sha256(np.ascontiguousarray(node[...]).tobytes()).hexdigest()
    return found


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_run_on_worker_processes_equals_run_in_this_process(
    tiny_run: Run, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, workers: int
) -> None:
    config = tiny_config(str(tmp_path / "run")) | {"cluster": {"kind": "local", "workers": workers}}
    other = radps.run(config, progress=False)
    here, there = Path(tiny_run.url), Path(other.url)
    for part in ("visibilities", "images", "context.zarr"):
        expected = array_digests(here / part)
        assert len(expected) > 10
        assert array_digests(there / part) == expected
    products = {product.path: product.source for product in tiny_run.context.products}
    assert products == {product.path: product.source for product in other.context.products}


def test_cube_does_not_depend_on_the_size_of_the_chunks(
    tiny_run: Run, image_parameters: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.url, folder)  # other tests compare the run with theirs
    context = radps.open_run(str(folder)).context
    record = next(image for image in context.images if image.kind == "cube")
    expected = array_digests(folder / record.path)
    params = image_cube.Params(**image_parameters, weight_density="common", data_group="continuum_subtracted")
    for slots in (1, 5, 16):
        workspace = Workspace(
            url=str(folder), step=f"cube_{slots}", attempt=1, resources=Resources(slots=slots, memory_bytes=2**30)
        )
        graph = image_cube.image_cube(context.at(workspace), params)
        outcome = InProcess(2**30).compute(graph)
        assert array_digests(folder / outcome.images[0].path) == expected
