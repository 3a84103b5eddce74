"""The driver as a DaskJob, and the other files in configs/kubernetes as a server takes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import radps

pytestmark = pytest.mark.kubernetes

FOLDER = Path(__file__).parents[2] / "configs" / "kubernetes"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name not in ("demo.yaml", "operator-values.yaml"))


def test_a_run_is_a_dask_job_whose_dashboard_is_found(place: Any) -> None:
    run, config = place.folder / "dask-job", place.folder / "as-dask-job.yaml"
    document = {"run": str(run), "cluster": place.cluster(), "steps": ["simulate", "import_data", "flag"]}
    config.write_text(json.dumps(document))
    command = [sys.executable, "-m", "radps", "kubernetes", "manifest", "--dask-job", str(config)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    place.kubectl("apply", "-f", "-", text=text)
    place.kubectl("apply", "-f", str(FOLDER / "ingress.yaml"))
    of_service = ["get", "endpoints", "radps-dashboard", "-o", "jsonpath={.subsets[*].addresses[*].ip}"]
    of_run = "dask.org/component=scheduler,dask.org/cluster-name=radps-as-dask-job"
    of_scheduler = ["get", "pods", "-l", of_run, "-o", "jsonpath={.items[*].status.podIP}"]

    def leads_to_the_scheduler() -> bool:
        address = place.kubectl(*of_scheduler)
        return bool(address) and place.kubectl(*of_service) == address

    place.wait_for("the service leads to the scheduler", 90, leads_to_the_scheduler)
    job = ["get", "daskjob", "radps-as-dask-job", "-o", "jsonpath={.status.jobStatus}"]
    place.wait_for("the DaskJob has ended", 240, lambda: place.kubectl(*job) in ("Successful", "Failed"))
    logs = place.kubectl("logs", "radps-as-dask-job-runner")
    assert place.kubectl(*job) == "Successful", logs
    assert radps.open_run(str(run)).context.steps["flag"].state == "done"
    place.wait_for("its cluster is deleted", 60, lambda: not place.kubectl("get", "daskclusters", "-o", "name"))


@pytest.mark.parametrize("file", FILES)
def test_the_server_takes_what_is_shipped(place: Any, file: str) -> None:
    for made in yaml.safe_load_all((FOLDER / file).read_text()):
        made["metadata"].pop("namespace", None)  # that of the file is not there
        try:
            place.kubectl("apply", "--dry-run=server", "-f", "-", text=yaml.safe_dump(made))
        except subprocess.CalledProcessError as error:
            if "no matches for kind" not in error.stderr:
                raise AssertionError(error.stderr) from error
            pytest.skip(f"this server does not know a {made['kind']} of {made['apiVersion']}")
