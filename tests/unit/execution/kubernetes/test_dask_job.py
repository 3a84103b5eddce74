"""The driver as a DaskJob: what Dask's operator is told, and what its driver then does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from radps.errors import ClusterError
from radps.execution.clusters import RunningScheduler, parse_cluster
from radps.execution.kubernetes.dask_job import dask_job
from radps.execution.kubernetes.driver import driver_name, driver_objects
from radps.execution.kubernetes.model import KubernetesCluster

PLAIN: dict[str, Any] = {"kind": "kubernetes", "image": "radps:1", "workers": 3, "start_timeout": "2 min"}


def objects(**changes: Any) -> dict[str, dict[str, Any]]:
    cluster = KubernetesCluster.model_validate({**PLAIN, **changes})
    job = dask_job(cluster, "radps-demo", 4)
    return {each["kind"]: each for each in driver_objects(cluster, "radps-demo", "run: x\n", job)}


def runner(**changes: Any) -> dict[str, Any]:
    return dict(objects(**changes)["DaskJob"]["spec"]["job"]["spec"])


@pytest.mark.parametrize("changes", [{}, {"tls": {"secret": "radps-tls"}, "namespace": "radio"}], ids=["least", "tls"])
def test_it_follows_the_schema_of_the_operator(changes: Any, check_object: Callable[[Any], None]) -> None:
    made = objects(**changes)
    assert set(made) == {"ConfigMap", "DaskJob"}
    check_object(made["DaskJob"])


def test_the_driver_waits_for_the_scheduler_of_its_job() -> None:
    command = runner()["containers"][0]["command"]
    key, _, value = command[command.index("--set") + 1].partition("=")
    assert key == "cluster"
    assert parse_cluster(yaml.safe_load(value)) == RunningScheduler(
        address="tcp://radps-demo-scheduler:8786", timeout=120
    )


def test_driver_and_workers_find_the_same_scheduler() -> None:
    spec = objects(tls={"secret": "radps-tls"})["DaskJob"]["spec"]
    containers = [spec["job"]["spec"]["containers"][0], spec["cluster"]["spec"]["worker"]["spec"]["containers"][0]]
    env = [{one["name"]: one["value"] for one in container["env"]} for container in containers]
    assert {each["DASK_SCHEDULER_ADDRESS"] for each in env} == {"tls://radps-demo-scheduler:8786"}
    assert env[0]["DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"] == "/etc/radps-tls/tls.key"
    assert spec["cluster"]["spec"]["worker"]["replicas"] == 3


def test_the_driver_has_no_rights() -> None:
    assert runner()["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in runner()


def test_workers_that_come_and_go_are_refused() -> None:
    with pytest.raises(ClusterError, match=r"config says cluster\.adapt; give cluster\.workers instead, or use the"):
        objects(workers=None, adapt={"minimum": 1, "maximum": 2})


def test_the_operators_names_of_its_workers_are_not_too_long() -> None:
    assert len(f"{driver_name('a' * 99)}-default-worker-0123456789") <= 63
