"""A whole run in an S3 bucket, with two worker processes: the same products to the last bit."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr

import radps
from radps.api import Run
from radps.data.files import list_names, read_file
from radps.data.stores import file_system, open_store
from radps.run_folder.events import read_events

pytestmark = pytest.mark.slow

KILLS = 3


def array_digests(url: str) -> dict[str, str]:
    """Return path -> digest of the values of every array below a URL."""
    system, path = file_system(url)
    found = {}
    for metadata in sorted(system.find(path)):
        if metadata.endswith("/zarr.json"):
            name = metadata.removesuffix("/zarr.json").removeprefix(path).strip("/")
            node = zarr.open(open_store(f"{url}/{name}", read_only=True), mode="r")
            if isinstance(node, zarr.Array):
                found[name] = hashlib.sha256(np.ascontiguousarray(node[...]).tobytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def bucket_run(
    object_store: Any, tiny_config: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The tiny workflow in a bucket, on two worker processes; the driver was killed again and again.

    Without the continuum: each of its many small images is several requests, and the server of the tests is slow.
    """
    config = tiny_config(f"{object_store.new_bucket()}/run") | {"cluster": {"kind": "local", "workers": 2}}
    config["steps"] = [step for step in config["steps"] if "image_continuum" not in step]
    url, folder = config["run"], tmp_path_factory.mktemp("bucket")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    moments = random.Random(3)
    for kill in range(KILLS):
        driver = start_driver(folder)
        before = len(read_events(url))
        deadline = time.monotonic() + 120.0
        while len(read_events(url)) <= before and driver.poll() is None:
            assert time.monotonic() < deadline, "nothing happens"
            time.sleep(0.2)
        time.sleep(moments.uniform(0.0, 2.0))
        assert driver.poll() is None, f"the run was done after {kill} kills; make it longer"
        driver.kill()
        driver.wait()
    last = start_driver(folder)
    assert last.wait(timeout=300) == 0, (folder / "out").read_text()[-3000:]
    return radps.open_run(url)


def start_driver(folder: Path) -> subprocess.Popen[bytes]:
    """Start `radps-run` on the config in a folder."""
    with (folder / "out").open("a") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "radps", str(folder / "tiny.yaml")],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


@pytest.mark.parametrize("part", ["visibilities", "images", "context.zarr"])
def test_arrays_in_a_bucket_equal_those_on_a_disk(tiny_run: Run, bucket_run: Run, part: str) -> None:
    every = array_digests(f"{tiny_run.url}/{part}")
    expected = {name: digest for name, digest in every.items() if not name.startswith("image_continuum")}
    assert len(expected) > 10
    assert array_digests(f"{bucket_run.url}/{part}") == expected


def test_files_in_a_bucket_equal_those_on_a_disk(tiny_run: Run, bucket_run: Run) -> None:
    files = {product.path: product.size_bytes for product in tiny_run.context.products if product.kind == "fits"}
    files = {path: size for path, size in files.items() if "continuum" not in path}
    assert len(files) > 2
    assert {p.path: p.size_bytes for p in bucket_run.context.products if p.kind == "fits"} == files
    system, path = file_system(f"{bucket_run.url}/products")
    assert len(system.find(path)) > len(files)


def test_a_run_in_a_bucket_is_read_by_another_object(bucket_run: Run) -> None:
    again = radps.open_run(bucket_run.url)
    assert again.context == bucket_run.context
    assert again.status().state == "done"
    cube = next(image for image in again.context.images if image.kind == "cube")
    assert np.isfinite(again.context.image(cube.name)[cube.variable].values).any()
    assert set(again.context.tree.children) >= {"calibrate"}


def test_a_driver_that_is_killed_goes_on_in_a_bucket(bucket_run: Run) -> None:
    records = bucket_run.context.steps.values()
    assert {record.state for record in records} == {"done"}
    assert {record.attempt for record in records} == {1}
    assert any(record.resumed for record in records)


def test_a_run_in_a_bucket_leaves_log_events_and_no_lock(bucket_run: Run) -> None:
    log = (read_file(f"{bucket_run.url}/log.txt") or b"").decode()
    assert "step export: done" in log
    events = read_events(bucket_run.url)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert events[-1].event == "run.ended"
    assert read_file(f"{bucket_run.url}/driver.json") is None


def test_a_finished_run_in_a_bucket_is_not_done_again_and_one_step_is(bucket_run: Run) -> None:
    before = bucket_run.context
    assert radps.open_run(bucket_run.url).resume(progress=False).context == before
    images = array_digests(f"{bucket_run.url}/images")
    redone = radps.open_run(bucket_run.url).resume(redo=["moments"], progress=False).context
    changed = {step for step, record in redone.steps.items() if record.attempt != before.steps[step].attempt}
    assert "moments" in changed
    assert "image_cube" not in changed
    after = array_digests(f"{bucket_run.url}/images")
    assert {name: after[name] for name in images} == images


def test_runs_in_a_bucket_are_listed_pruned_and_removed(bucket_run: Run) -> None:
    bucket = bucket_run.url.rpartition("/")[0]
    assert [(one.run, one.state) for one in radps.list_runs(bucket)] == [(bucket_run.url, "done")]
    images = array_digests(f"{bucket_run.url}/images")
    removed = {leftover.step for leftover in bucket_run.prune()}
    assert removed >= {"moments", "export"}
    kept = array_digests(f"{bucket_run.url}/images")
    assert 10 < len(kept) < len(images)
    assert radps.open_run(bucket_run.url).status().state == "done"
    bucket_run.remove()
    assert len(radps.list_runs(bucket)) == 0
    assert list_names(bucket) == []
