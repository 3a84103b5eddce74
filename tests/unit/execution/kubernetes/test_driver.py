"""The objects of a driver, against the schemas of Kubernetes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from radps.errors import ClusterError
from radps.execution.kubernetes.driver import check_run_folder, driver_job, driver_name, driver_objects
from radps.execution.kubernetes.model import KubernetesCluster

FULL = {
    "kind": "kubernetes",
    "image": "registry.example/radps:1",
    "image_pull_secrets": ["registry"],
    "namespace": "radps",
    "scheduler": {"node_selector": {"pool": "stable"}, "tolerations": [{"operator": "Exists"}]},
    "env": {"AWS_ENDPOINT_URL": "http://s3"},
    "secrets": ["s3-keys"],
    "volumes": [{"mount": "/data", "claim": "radps-data"}, {"mount": "/raw", "claim": "raw", "read_only": True}],
    "node_selector": {"arch": "amd64"},
    "user": 1000,
    "tls": {"secret": "radps-tls", "folder": "/certificates"},
}
CLUSTER = KubernetesCluster.model_validate(FULL)


def objects(**options: Any) -> dict[str, dict[str, Any]]:
    job = driver_job(CLUSTER, "radps-demo")
    return {each["kind"]: each for each in driver_objects(CLUSTER, "radps-demo", "run: x\n", job, **options)}


def test_the_objects_are_those_of_kubernetes(check_object: Callable[[Any], None]) -> None:
    made = objects(claim_size="5Gi", storage_class="nfs")
    for each in made.values():
        check_object(each)
    made["Job"]["spec"]["template"]["spec"]["imagePolicy"] = ""
    with pytest.raises(AssertionError, match="imagePolicy"):  # the check sees something
        check_object(made["Job"])


def test_driver_and_workers_have_the_same_image_storage_and_secrets() -> None:
    pod = objects()["Job"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == CLUSTER.image
    assert {each["mountPath"] for each in container["volumeMounts"]} == {"/data", "/raw", "/certificates", "/etc/radps"}
    assert container["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]
    assert container["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "http://s3"}]
    assert pod["serviceAccountName"] == "radps-driver"
    assert pod["nodeSelector"] == {"arch": "amd64", "pool": "stable"}
    assert pod["securityContext"]["runAsUser"] == 1000


def test_the_config_is_mounted_as_it_was_written() -> None:
    made = objects()
    assert made["ConfigMap"]["data"] == {"config.yaml": "run: x\n"}
    assert made["Job"]["spec"]["template"]["spec"]["volumes"][-1]["configMap"]["name"] == "radps-demo"
    assert {each["metadata"]["namespace"] for each in made.values()} == {"radps"}


def test_a_failed_run_is_not_started_again_and_a_lost_pod_is() -> None:
    spec = objects()["Job"]["spec"]
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2]
    assert spec["backoffLimit"] > 0


def test_claims_are_made_only_if_asked_for() -> None:
    assert set(objects()) == {"ConfigMap", "Job"}
    made = driver_objects(CLUSTER, "n", "", driver_job(CLUSTER, "n"), claim_size="5Gi", storage_class="nfs")
    claims = {each["metadata"]["name"]: each["spec"] for each in made if each["kind"] == "PersistentVolumeClaim"}
    assert set(claims) == {"radps-data", "raw"}
    assert claims["raw"]["storageClassName"] == "nfs"
    assert claims["raw"]["resources"] == {"requests": {"storage": "5Gi"}}


@pytest.mark.parametrize(
    ("name", "made"), [("My_demo", "radps-my-demo"), ("é", "radps-run"), ("a" * 99, "radps-" + "a" * 31)]
)
def test_names_are_those_of_kubernetes(name: str, made: str) -> None:
    assert driver_name(name) == made


@pytest.mark.parametrize("run", ["/home/radps/run", "/raw/run", "/data2/run"])
def test_a_run_folder_in_the_pod_itself_is_refused(run: str) -> None:
    with pytest.raises(ClusterError, match=f"the run folder {run} is on no volume that the pods can write to .*/data"):
        check_run_folder(CLUSTER, run)


@pytest.mark.parametrize("run", ["/data/runs/demo", "s3://bucket/run"])
def test_a_run_folder_that_stays_is_taken(run: str) -> None:
    check_run_folder(CLUSTER, run)
