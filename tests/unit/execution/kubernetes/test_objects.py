"""The objects that a cluster becomes, against the schemas that Dask's operator ships."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from radps.execution.kubernetes.model import KubernetesCluster
from radps.execution.kubernetes.objects import (
    dask_autoscaler,
    dask_cluster,
    new_cluster_name,
    scheduler_address,
)

pytest.importorskip("dask_kubernetes", reason="the schemas come with radps[kubernetes]")
from dask_kubernetes.operator.validation import validate_cluster_name

Check = Callable[[dict[str, Any]], None]
FULL = {
    "kind": "kubernetes",
    "image": "registry.example/radps:1",
    "image_pull_secrets": ["registry"],
    "adapt": {"minimum": 1, "maximum": 8},
    "worker": {
        "cpu": 2,
        "memory": "8 GiB",
        "node_selector": {"pool": "preemptible"},
        "tolerations": [{"key": "preemptible", "operator": "Exists", "effect": "NoSchedule"}],
        "resources": {"GPU": 1},
        "limits": {"nvidia.com/gpu": "1"},
    },
    "scheduler": {"cpu": 0.5, "node_selector": {"pool": "stable"}},
    "env": {"AWS_ENDPOINT_URL": "http://s3"},
    "secrets": ["s3-keys"],
    "volumes": [{"mount": "/data", "claim": "radps-data"}, {"mount": "/scratch", "source": {"emptyDir": {}}}],
    "node_selector": {"arch": "amd64"},
    "tolerations": [{"key": "radio", "value": "yes"}],
    "service_account": "radps-worker",
    "user": 1000,
    "labels": {"project": "ngc5921"},
    "init_containers": [{"name": "code", "command": ["cp", "-r", "/data/code", "/scratch"]}],
    "tls": {"secret": "radps-tls"},
    "idle_timeout": "5 min",
}


@pytest.mark.parametrize("config", [{"kind": "kubernetes", "image": "radps:1"}, FULL], ids=["least", "full"])
def test_a_cluster_follows_the_schema_of_the_operator(config: dict[str, Any], check_object: Check) -> None:
    check_object(dask_cluster(KubernetesCluster(**config), "radps-x", "radio", 5))


def test_the_check_of_the_schema_can_fail(check_object: Check) -> None:
    made = dask_cluster(KubernetesCluster(**FULL), "radps-x", "radio", 5)
    made["spec"]["worker"]["spec"]["containers"][0]["memory"] = "1Gi"
    with pytest.raises(AssertionError, match=r"\.spec\.worker\.spec\.containers\[\]\.memory"):
        check_object(made)
    made["spec"]["worker"]["replicas"] = "two"
    with pytest.raises(jsonschema.ValidationError, match="'two' is not of type"):
        check_object(made)


def test_adapting_is_bounded(check_object: Check) -> None:
    made = dask_autoscaler(KubernetesCluster(**FULL), "radps-x", "radio")
    assert made is not None
    check_object(made)
    assert made["spec"] == {"cluster": "radps-x", "minimum": 1, "maximum": 8}
    assert dask_autoscaler(KubernetesCluster(kind="kubernetes", image="radps:1"), "radps-x", "radio") is None


def test_the_pods_run_the_commands_that_dask_has() -> None:
    spec = dask_cluster(KubernetesCluster(kind="kubernetes", image="radps:1", workers=3), "radps-x", "radio", 5)["spec"]
    (scheduler,) = spec["scheduler"]["spec"]["containers"]
    (worker,) = spec["worker"]["spec"]["containers"]
    assert scheduler["args"][:2] == ["dask", "scheduler"]
    assert worker["args"][:2] == ["dask", "worker"]
    limit = worker["args"][worker["args"].index("--memory-limit") + 1]
    assert int(limit) == 4 * 2**30 - 256 * 2**20
    assert worker["resources"]["requests"] == {"cpu": "1", "memory": str(4 * 2**30)}
    assert worker["resources"]["limits"] == {"memory": str(4 * 2**30)}
    assert spec["worker"]["replicas"] == 3
    assert spec["idleTimeout"] == 600
    env = {one["name"]: one["value"] for one in worker["env"]}
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["DASK_SCHEDULER_ADDRESS"] == "tcp://radps-x-scheduler.radio.svc:8786"
    routes = {one["name"]: one["value"] for one in scheduler["env"]}["DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"]
    assert "distributed.http.scheduler.api" in routes


def test_what_is_said_of_workers_is_not_said_of_the_scheduler() -> None:
    spec = dask_cluster(KubernetesCluster(**FULL), "radps-x", "radio", 5)["spec"]
    scheduler, worker = spec["scheduler"]["spec"], spec["worker"]["spec"]
    assert scheduler["nodeSelector"] == {"arch": "amd64", "pool": "stable"}
    assert worker["nodeSelector"] == {"arch": "amd64", "pool": "preemptible"}
    assert [one["key"] for one in scheduler["tolerations"]] == ["radio"]
    assert [one["key"] for one in worker["tolerations"]] == ["radio", "preemptible"]
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in scheduler["containers"][0]["resources"]["limits"]
    assert worker["containers"][0]["args"][-10:-8] == ["--resources", "GPU=1"]


def test_all_pods_see_the_same_storage_and_secrets() -> None:
    spec = dask_cluster(KubernetesCluster(**FULL), "radps-x", "radio", 5)["spec"]
    for pod in (spec["scheduler"]["spec"], spec["worker"]["spec"]):
        (container,) = pod["containers"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/data", "/scratch", "/etc/radps-tls"]
        assert pod["volumes"][0] == {"name": "volume-0", "persistentVolumeClaim": {"claimName": "radps-data"}}
        assert pod["volumes"][1] == {"name": "volume-1", "emptyDir": {}}
        assert pod["volumes"][2] == {"name": "tls", "secret": {"secretName": "radps-tls"}}
        assert container["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]
        assert container["args"][-8:] == [
            *("--protocol", "tls", "--tls-ca-file", "/etc/radps-tls/ca.crt"),
            *("--tls-cert", "/etc/radps-tls/tls.crt", "--tls-key", "/etc/radps-tls/tls.key"),
        ]
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["automountServiceAccountToken"] is False


def test_init_containers_see_the_storage_and_say_what_they_need() -> None:
    spec = dask_cluster(KubernetesCluster(**FULL), "radps-x", "radio", 5)["spec"]
    for pod in (spec["scheduler"]["spec"], spec["worker"]["spec"]):
        (before,) = pod["initContainers"]
        assert before["image"] == "registry.example/radps:1"
        assert before["volumeMounts"] == pod["containers"][0]["volumeMounts"]
        assert before["resources"]["limits"] == {"memory": "512Mi"}
    own = {"name": "code", "image": "git-sync:1", "volumeMounts": []}
    config = KubernetesCluster(**{**FULL, "init_containers": [own]})
    (before,) = dask_cluster(config, "radps-x", "radio", 5)["spec"]["worker"]["spec"]["initContainers"]
    assert {key: before[key] for key in own} == own


def test_encryption_shows_in_the_address() -> None:
    assert scheduler_address(KubernetesCluster(**FULL), "x", "radio") == "tls://x-scheduler.radio.svc:8786"


@pytest.mark.parametrize(
    "run", ["NGC 5921 (band L)/", "ü", "", "a-very-long-name-of-a-run-that-says-what-it-does-2026", "-"]
)
def test_names_are_allowed_and_new(run: str) -> None:
    names = [new_cluster_name(run) for _ in range(20)]
    for name in names:
        validate_cluster_name(name)
        # The operator adds this to the name of a worker, and Kubernetes has 63 characters for it.
        assert len(f"{name}-default-worker-0123456789") <= 63
    assert len(set(names)) == 20
