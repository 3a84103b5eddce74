"""A stage of the user, which is in no image, reaches scheduler and workers on Kubernetes by upload."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from radps.context.records import StepState
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

STAGE = '''
import socket
from dask.delayed import Delayed
from radps import Context, Outcome, StageParams
from radps.graph_tasks.shapes import map_chunks, run_task


class Params(StageParams):
    n: int = 4
    """How many."""


def _host(number):
    return socket.gethostname()


def _end(hosts):
    return Outcome(message="by upload", summary={"hosts": sorted(set(hosts))})


def where(context: Context, params: Params) -> Delayed:
    return run_task(context, _end, map_chunks(context, _host, range(params.n), name="host"), name="end")
'''


def test_a_stage_beside_the_config_runs_on_pods(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uploaded_stage.py").write_text(STAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = str(place.folder / "uploaded")
    workflow = load_workflow({"run": run, "cluster": place.cluster(), "steps": ["uploaded_stage:where"]})
    try:
        record = run_workflow(workflow).steps["where"]
    finally:
        sys.modules.pop("uploaded_stage", None)
    assert record.state is StepState.DONE, record.error
    assert record.outcome is not None
    assert all("worker" in host for host in record.outcome.summary["hosts"])
