"""Simulated failures: retries absorb them, and the products are those of a run without, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from radps.api import Run
from radps.context.model import Context
from radps.context.records import StepState
from radps.node_tasks.faults import Faults
from radps.run_folder.task_records import TaskRecord, load_task_records, task_records_url
from radps.workflows.plan import Selection
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

SEED = 3


def make_config(tiny: dict[str, Any], **faults: Any) -> dict[str, Any]:
    """Return the tiny workflow on two workers, with faults and enough retries."""
    return {
        **tiny,
        "cluster": {"kind": "local", "workers": 2, "memory_limit": "1 GiB"},
        "defaults": {"retries": 5, "retry_delay": "10 ms"},
        "faults": {"seed": SEED, **faults},
    }


def load_tasks(folder: Path, context: Context) -> dict[str, TaskRecord]:
    """Return the records of all tasks of a run."""
    return {
        task.key: task
        for record in context.steps.values()
        if record.tasks
        for task in load_task_records(task_records_url(str(folder), record.id, record.attempt))
    }


def count_strikes(faults: Faults, key: str) -> int:
    """Return how many tries of a task are struck before the first one that is not."""
    strikes = 0
    while faults.strikes(key, strikes + 1):
        strikes += 1
    return strikes


@pytest.mark.parametrize(
    ("until", "faults"),
    [
        pytest.param(None, {"kind": "exception", "rate": 0.3}, id="exception"),
        pytest.param("subtract_continuum", {"kind": "slow", "rate": 0.3, "delay": "20 ms"}, id="slow"),
        pytest.param(None, {"kind": "worker-death", "rate": 0.03}, id="worker-death"),
    ],
)
def test_a_run_with_faults_makes_the_same_products(
    tiny_run: Run,
    tiny_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
    product_digests: Callable[[Path], dict[str, str]],
    until: str | None,
    faults: dict[str, Any],
) -> None:
    folder = tmp_path / "run"
    workflow = load_workflow(make_config(tiny_config(str(folder)), **faults))
    context = run_workflow(workflow, selection=Selection(until=until))
    assert {record.error for record in context.steps.values() if record.state is StepState.FAILED} == set()
    done = [record for record in context.steps.values() if record.state is StepState.DONE]
    assert done[-1].id == (until or "export")
    assert {record.attempt for record in done} == {1}
    found, expected = product_digests(folder), product_digests(Path(tiny_run.url))
    assert len(found) > 50
    assert found == {path: expected[path] for path in (found if until else expected)}
    assert workflow.faults is not None
    tasks = load_tasks(folder, context)
    struck = {key: strikes for key in tasks if (strikes := count_strikes(workflow.faults, key))}
    assert struck
    retries = sum(record.retries for record in context.steps.values())
    if faults["kind"] == "exception":
        assert {key: task.tries - 1 for key, task in tasks.items() if task.tries > 1} == struck
        assert retries == sum(struck.values())
        assert all(
            task.error.startswith(f"SimulatedFaultError: simulated failure of try {struck[key]} of {key} ")
            for key, task in tasks.items()
            if key in struck
        )
    elif faults["kind"] == "slow":
        assert retries == 0
    else:
        # A worker takes other tasks, which were given to it, too, with it.
        assert all(tasks[key].tries > strikes for key, strikes in struck.items())
        assert retries >= sum(struck.values())


def test_the_same_seed_strikes_the_same_tasks(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    tries = []
    for name, seed in (("a", SEED), ("b", SEED), ("c", SEED + 1)):
        folder = tmp_path / name
        config = make_config(tiny_config(str(folder)), rate=0.3, seed=seed)
        context = run_workflow(load_workflow({**config, "cluster": "none"}), selection=Selection(until="flag"))
        tries.append({key: task.tries for key, task in load_tasks(folder, context).items()})
    assert tries[0] == tries[1]
    assert tries[0].keys() == tries[2].keys()
    assert tries[0] != tries[2]


def test_faults_that_no_retry_absorbs_fail_the_step(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    config = make_config(tiny_config(str(tmp_path / "run")), rate=1.0, tasks="flag.*")
    config.update(cluster="none", defaults={"retries": 1, "retry_delay": 0})
    context = run_workflow(load_workflow(config), selection=Selection(until="flag"))
    record = context.steps["flag"]
    assert record.state is StepState.FAILED
    assert record.error is not None
    assert "simulated failure of try 2 of flag." in record.error
    assert {context.steps[name].retries for name in ("simulate", "import_data")} == {0}
