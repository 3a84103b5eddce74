"""The files in configs/kubernetes: what a person applies by hand."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from radps.commands.kubernetes import manifest_command
from radps.execution.kubernetes.model import KubernetesCluster
from radps.execution.kubernetes.objects import COMPONENT_LABEL, dask_cluster

FOLDER = Path(__file__).parents[4] / "configs/kubernetes"
DOCS = Path(__file__).parents[4] / "docs/kubernetes.md"
NOT_OBJECTS = {"operator-values.yaml", "demo.yaml"}
"""Values for helm, and a config."""
Check = Callable[[dict[str, Any]], None]


def objects_of(file: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((FOLDER / file).read_text()) if each is not None]


FILES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name not in NOT_OBJECTS)


@pytest.mark.parametrize("file", FILES)
def test_what_is_shipped_is_what_kubernetes_takes(file: str, check_object: Check) -> None:
    made = objects_of(file)
    assert made
    for each in made:
        check_object(each)


def test_the_check_can_fail(check_object: Check) -> None:
    (job,) = objects_of("cronjob.yaml")
    job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["memory"] = "1Gi"
    with pytest.raises(AssertionError, match=r"CronJob\.spec\.jobTemplate\..*\.containers\[0\] has no memory"):
        check_object(job)
    (job,) = objects_of("cronjob.yaml")
    job["spec"]["jobTemplate"]["spec"]["backoffLimit"] = "0"
    with pytest.raises(AssertionError, match="backoffLimit is '0', not of type int"):
        check_object(job)
    (job,) = objects_of("cronjob.yaml")
    del job["spec"]["schedule"]
    with pytest.raises(ValueError, match="`schedule`, must not be `None`"):
        check_object(job)


def test_the_dask_job_is_that_of_the_shipped_config(capsys: pytest.CaptureFixture[str]) -> None:
    manifest_command(FOLDER / "demo.yaml", dask_job=True)
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    shipped = objects_of("dask-job.yaml")
    assert printed == shipped, (
        "print it anew: radps-run kubernetes manifest --dask-job configs/kubernetes/demo.yaml, below the comment"
    )


def test_the_image_pins_all_that_radps_needs() -> None:
    pinned = {}
    for line in (FOLDER / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            pinned[name] = version
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]
    extras = [text for name in ("kubernetes", "rfi", "s3") for text in project["optional-dependencies"][name]]
    for text in (*project["dependencies"], *extras):
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text


def clusters_in_the_docs() -> list[KubernetesCluster]:
    """Return the clusters that docs/kubernetes.md shows."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", DOCS.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [
        KubernetesCluster.model_validate(yaml.safe_load(block)["cluster"]) for block in blocks if "cluster:" in block
    ]


@pytest.mark.parametrize("number", range(2))
def test_what_the_docs_show_is_what_kubernetes_takes(number: int, check_object: Check) -> None:
    shown = clusters_in_the_docs()
    assert len(shown) == 2
    check_object(dask_cluster(shown[number], "radps-x", "radps", 3))


def test_the_operator_is_that_of_its_chart() -> None:
    """The chart is in the wheel of dask-kubernetes; its templates of rights have no more than names to fill in."""
    pytest.importorskip("dask_kubernetes")
    chart = resources.files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator"
    made = {each["kind"]: each for each in objects_of("operator.yaml")}
    lines = (chart / "templates/clusterrole.yaml").read_text().splitlines()
    role = yaml.safe_load("\n".join(line for line in lines if "{{" not in line))
    assert made["ClusterRole"]["rules"] == role["rules"]
    values = yaml.safe_load((chart / "values.yaml").read_text())
    (container,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"] == values["securityContext"]
    assert container["image"].rpartition(":")[0] == values["image"]["name"]
    assert container["args"] == ["--liveness=http://0.0.0.0:8080/healthz", *values["kopfArgs"]]
    deployment = (chart / "templates/deployment.yaml").read_text()
    assert all(f"- {one}" in deployment for one in container["args"][:1])
    ours = yaml.safe_load((FOLDER / "operator-values.yaml").read_text())
    assert container["resources"] == ours["resources"]


def test_the_dashboards_service_selects_the_scheduler_and_the_ingress_leads_to_it() -> None:
    service, ingress = objects_of("ingress.yaml")
    assert service["spec"]["selector"][COMPONENT_LABEL] == "scheduler"
    (rule,) = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] == service["spec"]["ports"][0]["name"]
