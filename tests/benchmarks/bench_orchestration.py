"""What orchestration costs: many small tasks on many workers, and the share of it in the CPU time of the demo.

Run on demand, on a machine that does nothing else::

    pytest tests/benchmarks/bench_orchestration.py
"""

from __future__ import annotations

import cProfile
import pickle
import pstats
import time
from pathlib import Path

import pytest

from radps.context.model import Context, Workspace
from radps.execution.worker_host import WorkerHost
from radps.graph_tasks.shapes import count_tasks, map_chunks, reduce_tree
from radps.node_tasks.guard import TaskRules
from radps.workflows.model import load_workflow
from radps.workflows.run import run_workflow

CONFIGS = Path(__file__).parents[2] / "configs"

TASKS = 10_000
TASK_SECONDS = 0.1
WORKERS = 8
BUILD_SECONDS = 5.0
MORE_THAN_IDEAL = 0.1
EXTRA_SECONDS = 10.0
"""A run may take a tenth more than the ideal time, and ten seconds for the start of the workers and the end."""

SHARE_OF_ORCHESTRATION = 0.03


def guarded() -> Context:
    """Return a context whose tasks are guarded as in a run."""
    rules = TaskRules(ledger_url="/nowhere", host=WorkerHost(), retries=2, retry_delay_s=5.0)
    return Context(run_id="r").at(Workspace(url="/nowhere", step="s", rules=rules, mark="3fa9c1"))


def test_a_graph_of_many_chunks_is_built_and_sent_soon() -> None:
    start = time.perf_counter()
    names = guarded()
    graph = reduce_tree(names, sum, map_chunks(names, abs, range(TASKS)))
    built = time.perf_counter() - start
    size = len(pickle.dumps(dict(graph.__dask_graph__())))
    print(f"\n{count_tasks(graph)} tasks: built in {built:.2f} s, {size / TASKS:.0f} bytes a task pickled")
    assert built < BUILD_SECONDS
    assert size < TASKS / 1000 * 2**20


def test_many_small_tasks_keep_the_workers_busy(user_stages: str, tmp_path: Path) -> None:
    stage = {f"{user_stages}:sleeps": {"n": TASKS, "seconds": TASK_SECONDS}}
    cluster = {"kind": "local", "workers": WORKERS, "memory_limit": "1 GiB"}
    workflow = load_workflow({"run": str(tmp_path / "run"), "cluster": cluster, "steps": [stage]})
    start = time.perf_counter()
    context = run_workflow(workflow)
    whole = time.perf_counter() - start
    record = context.steps["sleeps"]
    ideal = TASKS * TASK_SECONDS / WORKERS
    print(f"\n{record.tasks} tasks: ideal {ideal:.1f} s, step {record.seconds:.1f} s, run {whole:.1f} s")
    assert record.state == "done"
    assert whole < ideal * (1 + MORE_THAN_IDEAL) + EXTRA_SECONDS


@pytest.mark.parametrize("config", ["demo.yaml"])
def test_runner_context_and_records_are_a_small_share_of_the_demo(tmp_path: Path, config: str) -> None:
    workflow = load_workflow(CONFIGS / config, {"run": str(tmp_path / "run"), "cluster": "none"})
    run_workflow(load_workflow(CONFIGS / config, {"run": str(tmp_path / "warm"), "cluster": "none"}))
    profile = cProfile.Profile(time.process_time)
    profile.runcall(run_workflow, workflow)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    whole = cumulative(stats, "workflows/run.py", "run")
    steps = cumulative(stats, "workflows/step_work.py", "run")
    guards = cumulative(stats, "node_tasks/guard.py", "run_guarded") + cumulative(stats, "guard.py", "load_result")
    share = (whole - steps + guards - task_seconds(stats)) / whole
    print(f"\nCPU time {whole:.1f} s; runner, records and events {whole - steps:.2f} s; guards of tasks ", end="")
    print(f"{guards - task_seconds(stats):.2f} s; together {100 * share:.1f} %")
    assert share < SHARE_OF_ORCHESTRATION


def cumulative(stats: dict, file: str, function: str) -> float:  # type: ignore[type-arg]
    """Return the time in a function and all that it calls."""
    return sum(values[3] for (path, _, name), values in stats.items() if path.endswith(file) and name == function)


def task_seconds(stats: dict) -> float:  # type: ignore[type-arg]
    """Return the time in the functions of tasks: what the guard calls outside of itself and its helpers."""
    helpers = ("guard.py", "ledger.py", "measuring.py", "contextlib.py", "engine.py", "faults.py")
    total = 0.0
    for (path, _, _), (_, _, _, _, callers) in stats.items():
        if path == "~" or path.endswith(helpers):
            continue
        for (caller_path, _, caller), values in callers.items():
            if caller_path.endswith("node_tasks/guard.py") and caller == "_try_once":
                total += values[3]
    return total
