"""Clusters of pods: made, used and deleted, and what is said where that does not work."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import radps
from radps.context.model import Context, Workspace
from radps.data.demo_observation import demo_observation
from radps.execution.clusters import open_engine, parse_cluster
from radps.graph_tasks.shapes import map_chunks, reduce_tree

pytestmark = pytest.mark.kubernetes

ROOT = Path(__file__).parents[2]
KINDS = "daskclusters,daskautoscalers,pods"


def config_of(run: Path, cluster: Any) -> dict[str, Any]:
    """Return a workflow that ends with calibrated data."""
    steps = [
        {"simulate": {"observation": demo_observation("tiny").model_dump(mode="json")}},
        {"import_data": {}},
        {"set_model": {}},
        {"calibrate": {"gain_channels": "2~12"}},
        {"apply_calibration": {}},
    ]
    return {"run": str(run), "cluster": cluster, "steps": steps}


def wait_until_nothing_is_left(place: Any) -> None:
    """Wait until the pods of a cluster are gone; Kubernetes gives them half a minute to end."""
    left = ["get", KINDS, "-l", "dask.org/cluster-name", "-o", "name"]
    place.wait_for("nothing is left", 120, lambda: not place.kubectl(*left).split())


@pytest.mark.slow
def test_pods_and_this_process_give_the_same_bits(place: Any) -> None:
    radps.run(config_of(place.folder / "here", "none"), progress=False)
    radps.run(config_of(place.folder / "pods", place.cluster(workers=2)), progress=False)
    files = {
        name: sorted(
            (str(path.relative_to(place.folder / name)), path.read_bytes())
            for path in (place.folder / name / "visibilities").rglob("*")
            if path.is_file()
        )
        for name in ("here", "pods")
    }
    assert len(files["here"]) > 50
    assert files["pods"] == files["here"]
    wait_until_nothing_is_left(place)


@pytest.mark.slow
def test_workers_that_adapt_come_with_the_work(place: Any) -> None:
    cluster = parse_cluster(place.cluster(workers=None, adapt={"minimum": 1, "maximum": 2}))
    pods = ["get", "pods", "-l", "dask.org/component=worker", "--field-selector=status.phase=Running", "-o", "name"]

    def count() -> int:
        return len(place.kubectl(*pods).split())

    with open_engine(cluster) as engine:
        assert engine.resources().slots == 2
        names = Context(run_id="r").at(Workspace(url="/nowhere", step="adapt"))
        graph = reduce_tree(names, len, map_chunks(names, time.sleep, [1.0] * 120), fan_in=120)
        with ThreadPoolExecutor() as pool:
            work = pool.submit(engine.compute, graph)
            place.wait_for("a second worker", 100, lambda: count() == 2)
            assert work.result(timeout=200) == 120
        place.wait_for("one worker again", 120, lambda: count() == 1)
    wait_until_nothing_is_left(place)


def test_an_image_that_is_nowhere_is_named_within_a_minute(place: Any) -> None:
    text, seconds = place.refusal(image="nowhere.invalid/radps:1")
    assert "cannot get its image 'nowhere.invalid/radps:1'" in text
    assert "check cluster.image" in text
    assert seconds < 60  # the promise of the docs
    wait_until_nothing_is_left(place)


@pytest.mark.slow
def test_pods_that_no_node_takes_are_named_within_a_minute(place: Any) -> None:
    text, seconds = place.refusal(scheduler={"cpu": 1000})
    assert "Insufficient cpu" in text
    assert "ask for less cpu and memory" in text
    assert seconds < 60
    wait_until_nothing_is_left(place)


def test_a_quota_is_named_within_a_minute(place: Any) -> None:
    place.kubectl("create", "quota", "small", "--hard=pods=0")
    try:
        text, seconds = place.refusal()
    finally:
        place.kubectl("delete", "quota", "small")
    assert "exceeded quota: small" in text
    assert "or for a larger quota of the namespace" in text
    assert seconds < 60
    wait_until_nothing_is_left(place)


def test_a_namespace_that_is_not_there_is_named(place: Any) -> None:
    text, _ = place.refusal(namespace="radps-nowhere")
    assert text.startswith("Kubernetes has no namespace 'radps-nowhere'")
    assert "kubectl create namespace radps-nowhere" in text


def test_a_driver_in_a_pod_works_with_the_shipped_role(place: Any) -> None:
    place.kubectl("apply", "-f", str(ROOT / "configs" / "kubernetes" / "rbac.yaml"))
    run = place.folder / "role"
    config = place.folder / "role.yaml"
    config.write_text(yaml.safe_dump(config_of(run, place.cluster(workers=None, adapt={"minimum": 1, "maximum": 2}))))
    place.start_pod("driver-of-role", "radps-run", str(config), "--quiet", service_account="radps-driver")
    phase = ["get", "pod", "driver-of-role", "-o", "jsonpath={.status.phase}"]
    place.wait_for("the driver has ended", 240, lambda: place.kubectl(*phase) in ("Succeeded", "Failed"))
    assert place.kubectl(*phase) == "Succeeded", place.kubectl("logs", "driver-of-role")
    assert radps.open_run(str(run)).context.steps["apply_calibration"].state == "done"
    wait_until_nothing_is_left(place)


STAGE = """
import time
from dask.delayed import Delayed
from radps import Context, Outcome, StageParams
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task


class Params(StageParams):
    pass


def _wait(number):
    time.sleep(1.0)
    return number


def _end(total):
    return Outcome(message=f"sum {total}")


def waits(context: Context, params: Params) -> Delayed:
    parts = map_chunks(context, _wait, range(30), name="wait")
    return run_task(context, _end, reduce_tree(context, sum, parts, name="add"), name="end")
"""


@pytest.mark.slow
@pytest.mark.parametrize("component", ["worker", "scheduler"])
def test_a_run_goes_on_when_a_pod_is_lost(place: Any, component: str) -> None:
    (place.folder / "waiting_stage.py").write_text(STAGE)
    run, config = place.folder / f"lost-{component}", place.folder / f"lost-{component}.yaml"
    content = {"run": str(run), "cluster": place.cluster(), "steps": ["waiting_stage:waits"]}
    config.write_text(yaml.safe_dump(content))
    driver = place.start_driver(config)
    events = run / "events.jsonl"

    def works() -> bool:
        assert driver.poll() is None, driver.communicate()[0]
        return events.exists() and len(events.read_text().splitlines()) >= 10

    place.wait_for("tasks are done", 120, works)
    place.kubectl("delete", "pod", "--wait=false", "-l", f"dask.org/component={component}")
    text, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, text
    clusters = events.read_text().count('"cluster.started"')
    assert clusters == (2 if component == "scheduler" else 1), text
    assert f"sum {sum(range(30))}" in text
    assert radps.open_run(str(run)).context.steps["waits"].state == "done"
    wait_until_nothing_is_left(place)
