"""The files in configs/kubernetes: what a person applies by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from radps.commands.kubernetes import manifest_command
from radps.execution.kubernetes.objects import COMPONENT_LABEL

FOLDER = Path(__file__).parents[4] / "configs/kubernetes"
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
    with pytest.raises(ValueError, match=r"containers\.0\.memory"):
        check_object(job)


def test_the_dask_job_is_that_of_the_shipped_config(capsys: pytest.CaptureFixture[str]) -> None:
    manifest_command(FOLDER / "demo.yaml", dask_job=True)
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    shipped = objects_of("dask-job.yaml")
    assert printed == shipped, (
        "print it anew: radps-run kubernetes manifest --dask-job configs/kubernetes/demo.yaml, below the comment"
    )


def test_the_dashboards_service_selects_the_scheduler_and_the_ingress_leads_to_it() -> None:
    service, ingress = objects_of("ingress.yaml")
    assert service["spec"]["selector"][COMPONENT_LABEL] == "scheduler"
    (rule,) = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] == service["spec"]["ports"][0]["name"]
