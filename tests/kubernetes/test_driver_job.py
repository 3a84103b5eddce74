"""The driver as a Job, as `radps-run kubernetes manifest` prints it: deleted in mid-run, and created again."""

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

ROOT = Path(__file__).parents[2]


def manifest(config: Path) -> str:
    """Return the objects of a run; without what a server older than 1.26 does not know."""
    command = [sys.executable, "-m", "radps", "kubernetes", "manifest", str(config)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    objects = list(yaml.safe_load_all(printed))
    for each in objects:
        if each["kind"] == "Job":
            del each["spec"]["podFailurePolicy"]
    return yaml.safe_dump_all(objects)


def test_a_driver_job_that_is_deleted_and_created_again_goes_on(place: Any) -> None:
    place.kubectl("apply", "-f", str(ROOT / "configs" / "kubernetes" / "rbac.yaml"))
    run, config = place.folder / "job", place.folder / "job.yaml"
    steps = ["simulate", "import_data", "flag", "set_model"]
    document = {"run": str(run), "cluster": place.cluster(), "steps": steps}
    config.write_text(json.dumps(document))
    text = manifest(config)
    place.kubectl("apply", "--dry-run=server", "-f", "-", text=text)
    place.kubectl("apply", "-f", "-", text=text)
    place.wait_for("the first step is done", 200, lambda: place.is_done(run, "simulate"))
    place.kubectl("delete", "job", "radps-job", "--wait=true")
    assert not place.is_done(run, "set_model")  # else there was nothing to go on with
    first = radps.open_run(str(run)).context.steps["simulate"]
    place.kubectl("apply", "-f", "-", text=text)
    job = ["get", "job", "radps-job", "-o", "jsonpath={.status.succeeded}"]
    place.wait_for("the Job has succeeded", 240, lambda: place.kubectl(*job) == "1")
    context = radps.open_run(str(run)).context
    assert context.steps["set_model"].state == "done"
    assert context.steps["simulate"] == first
