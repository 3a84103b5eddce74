"""A stage that is in no image comes to the pods by a container that runs before theirs, as git-sync does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from radps.context.records import StepState
from radps.errors import ClusterError
from radps.execution.clusters import open_engine, parse_cluster
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

pytestmark = pytest.mark.kubernetes

STAGE = '''
from dask.delayed import Delayed
from radps import Context, Outcome, StageParams
from radps.graph_tasks.shapes import map_chunks, run_task


class Params(StageParams):
    n: int = 4
    """How many."""


def _file(number):
    return __file__


def _end(files):
    return Outcome(message="by a container", summary={"files": sorted(set(files))})


def where(context: Context, params: Params) -> Delayed:
    return run_task(context, _end, map_chunks(context, _file, range(params.n), name="file"), name="end")
'''


def test_a_container_before_the_workers_brings_the_code(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, place.folder / "fetched"):
        folder.mkdir(exist_ok=True)
        (folder / "fetched_stage.py").write_text(STAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    # As git-sync: a folder for the version, and a link to it.
    fetch = f"cp -r {place.folder}/fetched /code/version-1 && ln -s version-1 /code/current"
    cluster = place.cluster(
        volumes=[*place.volumes(), {"mount": "/code", "source": {"emptyDir": {}}}],
        env={"PYTHONPATH": "/code/current"},
        init_containers=[{"name": "fetch", "command": ["sh", "-c", fetch]}],
    )
    run = str(place.folder / "fetched-run")
    workflow = load_workflow({"run": run, "cluster": cluster, "steps": ["fetched_stage:where"]})
    try:
        record = run_workflow(workflow).steps["where"]
    finally:
        sys.modules.pop("fetched_stage", None)
    assert record.state is StepState.DONE, record.error
    assert record.outcome is not None
    assert record.outcome.summary["files"] == ["/code/current/fetched_stage.py"]  # and nothing was sent


def test_what_a_container_before_the_workers_says_is_found(place: Any) -> None:
    """A container that fails keeps the pods from starting, and the error says how to see its output."""
    fails = [{"name": "fetch", "command": ["sh", "-c", "echo no such repository; exit 3"]}]
    config = parse_cluster(place.cluster(init_containers=fails))
    message = r"ended with exit code 3 \(Error\); see `kubectl logs \S+ --container fetch --previous`"
    with pytest.raises(ClusterError, match=message), open_engine(config, str(place.folder / "refused")):
        pass
