"""What orchestration costs: many small tasks on many workers, and the share of it in the CPU time of the demo.

Run on demand, on a machine that does nothing else::

    pytest tests/benchmarks/bench_orchestration.py
"""

from __future__ import annotations

import functools
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from radps.context.model import Context, Workspace
from radps.execution.worker_host import WorkerHost
from radps.graph_tasks import shapes
from radps.graph_tasks.shapes import count_tasks, map_chunks, reduce_tree
from radps.node_tasks import guard
from radps.node_tasks.guard import TaskRules
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.step_work import StepWork

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


class Watch:
    """Adds up the CPU time of this process in some functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, watched."""

        @functools.wraps(function)
        def watched(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start

        return watched


def test_runner_context_and_records_are_a_small_share_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured where it can be told apart, in one process; compared with the demo as users run it, on workers."""
    config = CONFIGS / "demo.yaml"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "radps", str(config), "--run", str(tmp_path / "demo")]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    demo = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    run_workflow(load_workflow(config, {"run": str(tmp_path / "warm"), "cluster": "none"}))
    watch = Watch()
    try_once = guard._try_once

    def watched_try(rules: Any, key: str, function: Any, arguments: Any, options: Any) -> Any:
        return try_once(rules, key, watch.around("tasks", function), arguments, options)

    monkeypatch.setattr(guard, "_try_once", watched_try)
    monkeypatch.setattr(shapes, "run_guarded", watch.around("guards", shapes.run_guarded))
    monkeypatch.setattr(StepWork, "run", watch.around("steps", StepWork.run))
    workflow = load_workflow(config, {"run": str(tmp_path / "run"), "cluster": "none"})
    watch.around("whole", run_workflow)(workflow)
    seconds = watch.seconds
    runner, guards = seconds["whole"] - seconds["steps"], seconds["guards"] - seconds["tasks"]
    share = (runner + guards) / demo
    print(f"\nCPU time of the demo {demo:.1f} s; runner, records and events {runner:.2f} s, guards of tasks ", end="")
    print(f"{guards:.2f} s: {100 * share:.1f} % ({100 * (runner + guards) / seconds['whole']:.1f} % in one process)")
    assert share < SHARE_OF_ORCHESTRATION
