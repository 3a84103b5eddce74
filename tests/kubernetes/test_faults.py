"""What goes wrong with pods is named, before the first task where that can be, and a run that was killed goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import radps
from radps.data.demo_observation import demo_observation

pytestmark = pytest.mark.kubernetes

GREEDY = """
from dask.delayed import Delayed
from radps import Context, Outcome, StageParams
from radps.context.planning import require_memory
from radps.graph_tasks.shapes import run_task


class Params(StageParams):
    pass


def _take(size):
    return Outcome(message=str(len(b"x" * size)))


def greedy(context: Context, params: Params) -> Delayed:
    require_memory(context, "a greedy task", 100 * 2**20)
    return run_task(context, _take, 3 * 2**30, name="take")
"""


@contextlib.contextmanager
def stopped_operator(place: Any) -> Iterator[None]:
    """Stop Dask's operator, wherever it runs, in the block."""
    deployments = json.loads(place.kubectl("get", "deployments", "-A", "-o", "json"))["items"]
    found = [one["metadata"] for one in deployments if re.search("dask.*operator", one["metadata"]["name"])]
    if not found:
        pytest.skip("no deployment of Dask's operator: it runs in some other way")
    where = ["--namespace", found[0]["namespace"], "deployment", found[0]["name"]]
    place.kubectl("scale", *where, "--replicas=0")
    replicas = ["get", *where, "-o", "jsonpath={.status.replicas}"]
    place.wait_for("the operator has stopped", 60, lambda: not place.kubectl(*replicas))
    try:
        yield
    finally:
        place.kubectl("scale", *where, "--replicas=1")
        place.kubectl("rollout", "status", *where, "--timeout=90s")


def test_a_run_folder_that_pods_do_not_see_is_named_before_the_first_task(place: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"  # on no volume of the pods
    text, _ = place.refusal(str(run))
    assert f"does not have the run folder {run}: " in text
    assert "take a folder on a volume that all pods and machines mount" in text
    assert not run.exists()


def test_a_driver_without_rights_is_told_all_that_it_needs(place: Any) -> None:
    place.kubectl("create", "serviceaccount", "nobody")
    config = place.folder / "nobody.yaml"
    cluster = place.cluster(workers=None, adapt={"minimum": 1, "maximum": 2})
    config.write_text(yaml.safe_dump({"run": str(place.folder / "nobody"), "cluster": cluster, "steps": ["simulate"]}))
    place.start_pod("driver-of-nobody", "radps-run", str(config), "--quiet", service_account="nobody")
    phase = ["get", "pod", "driver-of-nobody", "-o", "jsonpath={.status.phase}"]
    place.wait_for("the driver has given up", 120, lambda: place.kubectl(*phase) == "Failed")
    text = " ".join(place.kubectl("logs", "driver-of-nobody").split())
    for right in ("create daskclusters.kubernetes.dask.org", "list pods", "delete daskautoscalers.kubernetes.dask.org"):
        assert right in text
    assert "give it the Role of configs/kubernetes/rbac.yaml" in text


def test_a_stopped_operator_is_named_within_a_minute(place: Any) -> None:
    with stopped_operator(place):
        text, seconds = place.refusal()
    assert "Dask's operator does nothing about the cluster" in text
    assert seconds < 60  # the promise of the docs


def test_a_task_that_needs_more_than_its_pod_is_named_with_its_projection(place: Any) -> None:
    (place.folder / "greedy_stage.py").write_text(GREEDY)
    config = place.folder / "greedy.yaml"
    steps = ["greedy_stage:greedy"]
    config.write_text(yaml.safe_dump({"run": str(place.folder / "greedy"), "cluster": place.cluster(), "steps": steps}))
    driver = place.start_driver(config)
    text = " ".join(driver.communicate(timeout=240)[0].split())
    assert driver.returncode == 1, text
    assert "step 'greedy' (stage greedy_stage:greedy) failed: task 'greedy.take-1' took its worker with it" in text
    assert "Give the workers more memory (cluster.worker.memory)" in text
    assert "In this step a greedy task was projected to take up to 100 MiB" in text


@pytest.mark.slow
def test_a_run_whose_driver_is_killed_goes_on_with_another_cluster(place: Any) -> None:
    run, config = place.folder / "killed", place.folder / "killed.yaml"
    steps = [
        {"simulate": {"observation": demo_observation("tiny").model_dump(mode="json")}},
        "import_data",
        "flag",
        "set_model",
        {"calibrate": {"gain_channels": "2~12"}},
        "apply_calibration",
    ]
    # Nobody deletes what a killed driver leaves: the operator does, when the scheduler has been idle for long enough.
    cluster = place.cluster(idle_timeout="30 s")
    config.write_text(yaml.safe_dump({"run": str(run), "cluster": cluster, "steps": steps}))
    driver = place.start_driver(config)
    place.wait_for("a step is done", 150, lambda: place.is_done(run, "simulate") or driver.poll() is not None)
    assert driver.poll() is None, driver.communicate()[0]
    driver.kill()
    driver.communicate()
    (left,) = place.kubectl("get", "daskclusters", "-o", "name").split()
    again = place.start_driver(config)
    text, _ = again.communicate(timeout=300)
    assert again.returncode == 0, text
    here = place.folder / "killed-here"
    radps.run({"run": str(here), "cluster": "none", "steps": steps}, progress=False)
    assert digests(run) == digests(here)
    place.wait_for(
        "the first cluster is gone", 180, lambda: left not in place.kubectl("get", "daskclusters", "-o", "name")
    )


def digests(run: Path) -> dict[str, str]:
    """Return path -> digest of the files of the visibilities."""
    found = {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (run / "visibilities").rglob("*")
        if path.is_file()
    }
    assert len(found) > 50
    return found
