"""Computing on worker processes: the same results as in the process, faults absorbed or named."""

from __future__ import annotations

import importlib
import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

from radps.context.model import Context, Workspace
from radps.context.records import StepState
from radps.data import stores
from radps.errors import ClusterError
from radps.execution import client as client_module
from radps.execution.client import OnClient
from radps.execution.engine import Engine, InProcess, Order
from radps.execution.environment import ONE_THREAD
from radps.execution.local import open_local
from radps.execution.running import open_running
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.guard import TaskEvent, TaskRules
from radps.workflows.log_file import log_to_file
from radps.workflows.observers import Silent
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner


def run(url: Path, engine: Engine, *steps: Any, observer: Any = None) -> Runner:
    """Run a workflow on an engine and return the runner."""
    runner = Runner(load_workflow({"run": str(url), "steps": list(steps)}), engine=engine, observer=observer)
    runner.context = runner.run()
    return runner


def summaries(runner: Any) -> dict[str, Any]:
    return {name: record.outcome and record.outcome.summary for name, record in runner.context.steps.items()}


def test_a_run_on_workers_equals_a_run_in_the_process(tmp_path: Path, cluster: OnClient) -> None:
    steps = ["user_stages:squares", "user_stages:cycles", "user_stages:cycles_then_graph", "user_stages:writes"]
    on_workers = run(tmp_path / "a", cluster, *steps)
    in_process = run(tmp_path / "b", InProcess(2**30), *steps)
    assert summaries(on_workers) == summaries(in_process)
    assert summaries(in_process)["writes"] == {"written": 40}
    arrays = [stores.load_array(str(tmp_path / name / "context.zarr/writes-1/numbers")) for name in ("a", "b")]
    np.testing.assert_array_equal(arrays[0], np.sin(np.arange(40.0)))
    np.testing.assert_array_equal(*arrays)
    counts = [[record.tasks for record in r.context.steps.values()] for r in (on_workers, in_process)]
    assert counts[0] == counts[1]


def test_tasks_of_one_name_of_two_runs_are_told_apart(tmp_path: Path, cluster: OnClient) -> None:
    def compute(mark: str, size: int) -> list[TaskEvent]:
        events: list[TaskEvent] = []
        rules = TaskRules(ledger_url=str(tmp_path / mark), mark=mark, host=cluster.host(events.append))
        names = Context(run_id="r").at(Workspace(url=str(tmp_path), step="s", mark=mark, rules=rules))
        graph = reduce_tree(names, sum, map_chunks(names, abs, range(size)), name="add")
        assert cluster.compute(graph, on_task=events.append) == sum(range(size))
        return events

    with ThreadPoolExecutor() as pool:
        found = dict(zip(("a", "b"), pool.map(compute, ("a", "b"), (5, 12)), strict=True))
    for mark, size in (("a", 5), ("b", 12)):
        keys = [event.key for event in found[mark]]
        assert len(keys) == len(set(keys))
        assert sum("abs" in key for key in keys) == size


def test_numeric_libraries_of_a_worker_use_one_thread(tmp_path: Path, cluster: OnClient) -> None:
    found = summaries(run(tmp_path, cluster, "user_stages:threads"))["threads"]
    assert found == dict.fromkeys(ONE_THREAD, "1")


def test_an_error_of_a_task_is_reported_once_with_its_message(
    tmp_path: Path, cluster: OnClient, capfd: pytest.CaptureFixture[str]
) -> None:
    runner = run(tmp_path, cluster, {"user_stages:task_fails": {"text": "channel 7 has no data"}})
    error = runner.failures["task_fails"]
    assert str(error) == (
        "step 'task_fails' (stage user_stages:task_fails) failed: ValueError: channel 7 has no data "
        "(in task task_fails.raise-1-00001)"
    )
    assert isinstance(error.__cause__, ValueError)
    record = runner.context.steps["task_fails"]
    assert "raise ValueError(text)" in record.traceback
    time.sleep(0.2)
    output = capfd.readouterr()
    assert "channel 7" not in output.out + output.err


def test_the_events_of_all_tasks_arrive(tmp_path: Path, cluster: OnClient) -> None:
    events: list[TaskEvent] = []

    class Keys(Silent):
        def task(self, step: str, event: TaskEvent) -> None:
            events.append(event)

    start = time.time()
    runner = run(tmp_path, cluster, {"user_stages:squares": {"n": 20}}, observer=Keys())
    record = runner.context.steps["squares"]
    assert len(events) == len({event.key for event in events}) == record.tasks
    assert {event.worker.partition("://")[0] for event in events} == {"tcp"}
    assert all(start - 1 < event.start_s <= event.stop_s < time.time() + 1 for event in events)
    assert record.seconds < 2.0  # far below the patience for events that do not come


def test_resources_are_those_of_the_smallest_worker(cluster: OnClient) -> None:
    resources = cluster.resources()
    assert (resources.slots, resources.memory_bytes) == (1, int(0.7 * 2**30 - 450 * 2**20))


def test_the_scheduler_is_reachable_from_this_machine_only(cluster: OnClient) -> None:
    assert cluster.dashboard.startswith("http://127.0.0.1:")
    assert cluster._client.scheduler_info()["address"].startswith("tcp://127.0.0.1:")


def names() -> Context:
    return Context(run_id="r").at(Workspace(url="memory://run", step="s"))


def test_a_timeout_that_a_task_raises_is_its_own_error(cluster: OnClient, user_stages: str) -> None:
    # Workers import the function by the name of its module, so it cannot be one of this file.
    time_out = importlib.import_module(user_stages).time_out
    with pytest.raises(TimeoutError, match="the archive does not answer"):
        cluster.compute(run_task(names(), time_out))


def test_a_killed_worker_is_replaced_and_its_tasks_are_done_again(tmp_path: Path) -> None:
    with open_local(1, 2**30) as engine:
        runner = run(tmp_path, engine, {"user_stages:kills_worker": {"marker": str(tmp_path / "killed")}})
    assert (tmp_path / "killed").exists()
    assert summaries(runner)["kills_worker"] == {"sum": 55}


KEPT_SUMS = [(6 + 4 * sum(range(100_000))) * factor for factor in (1, 2, 3)]


@pytest.mark.parametrize("place", ["workers", "process"])
def test_kept_results_are_computed_once_for_all_graphs(
    tmp_path: Path, cluster: OnClient, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_PATIENCE_FOR_EVENTS_S", 30.0)
    engine: Engine = cluster if place == "workers" else InProcess(2**30)
    loads = tmp_path / "loads"
    loads.mkdir()
    runner = run(tmp_path / "run", engine, {"user_stages:keeps_data": {"folder": str(loads)}})
    assert summaries(runner)["keeps_data"] == {"sums": KEPT_SUMS}
    assert len(list(loads.iterdir())) == 4
    record = runner.context.steps["keeps_data"]
    assert record.tasks == record.tasks_done == 4 + 3 * (4 + 1)
    assert record.seconds < 30.0  # nobody waits for the ends of tasks that ended before
    if place == "workers":
        wait_until_nothing_is_kept(cluster)


def wait_until_nothing_is_kept(cluster: OnClient) -> None:
    """Wait until the workers have no results any more: what a step has kept is freed with it."""
    deadline = time.monotonic() + 30
    while held := [key for key in cluster._client.has_what().values() if key]:
        assert time.monotonic() < deadline, held
        time.sleep(0.05)


def test_what_a_failed_step_has_kept_is_freed_though_its_error_is_not(tmp_path: Path, cluster: OnClient) -> None:
    runner = run(tmp_path / "run", cluster, "user_stages:keeps_and_fails")
    cause = runner.failures["keeps_and_fails"].__cause__
    assert str(cause) == "of the stage"
    assert "in keeps_and_fails" in runner.context.steps["keeps_and_fails"].traceback
    wait_until_nothing_is_kept(cluster)


def test_kept_results_that_die_with_their_worker_are_computed_again(tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    loads.mkdir()
    stage = {"user_stages:keeps_data": {"folder": str(loads), "marker": str(tmp_path / "killed")}}
    with open_local(1, 2**30) as engine:
        runner = run(tmp_path / "run", engine, stage)
    assert (tmp_path / "killed").exists()
    assert summaries(runner)["keeps_data"] == {"sums": KEPT_SUMS}
    assert len(list(loads.iterdir())) == 8


def test_an_error_of_what_is_to_be_kept_comes_through(cluster: OnClient, user_stages: str) -> None:
    time_out = importlib.import_module(user_stages).time_out
    with pytest.raises(TimeoutError, match="the archive does not answer"):
        cluster.keep([run_task(names(), time_out)])


def test_a_task_that_always_kills_its_worker_is_named_with_the_remedy(tmp_path: Path) -> None:
    # Each death costs the start of a worker; one is enough to be sure.
    with open_local(1, 2**30, allowed_failures=0) as engine:
        deadly = {"user_stages:kills_worker": {"marker": str(tmp_path / "killed"), "always": True}}
        after = {"id": "after", "stage": "user_stages:squares", "when": "always"}
        runner = run(tmp_path / "run", engine, deadly, after)
    record = runner.context.steps["kills_worker"]
    assert record.state is StepState.FAILED
    # The tasks that waited on the same worker died with it; one of them is named.
    assert re.match(r"task 'kills_worker\.die-1-0000\d' took its worker with it 1 times, the last one at", record.error)
    assert "most likely it needs more memory than the worker has. Use fewer workers" in record.error
    assert "In this step a task that dies was projected to take up to 1 MiB, of the " in record.error
    assert summaries(runner)["after"] == {"sum": 5}


# --- a cluster that runs already ---


def test_a_running_cluster_is_used_by_its_address(tmp_path: Path, cluster: OnClient) -> None:
    address = cluster._client.scheduler_info()["address"]
    with open_running(address, 5.0, run_url=str(tmp_path)) as engine:
        assert engine.description == f"the cluster at {address}"
        assert summaries(run(tmp_path, engine, "user_stages:squares")) == {"squares": {"sum": 5}}


def test_an_address_where_nobody_answers_is_named() -> None:
    message = (
        r"no dask scheduler answers at tcp://127\.0\.0\.1:1 within 0\.3 s .*; check the address, that the scheduler"
    )
    with pytest.raises(ClusterError, match=message), open_running("tcp://127.0.0.1:1", 0.3):
        pass


def test_a_cluster_without_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PATIENCE_WITHOUT_WORKERS_S", 0.5)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty,
        Client(empty, set_as_default=False) as client,
    ):
        engine = OnClient(client, "an empty cluster")
        with pytest.raises(ClusterError, match="an empty cluster has no workers; start some"):
            engine.resources()
        with pytest.raises(ClusterError, match=r"has had no worker for 0 s; start workers and run again"):
            engine.compute(run_task(names(), time.sleep, 0.0))


def test_a_scheduler_that_is_lost_is_named() -> None:
    with LocalCluster(
        n_workers=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", processes=False, protocol="tcp://"
    ) as mortal:
        client = Client(mortal, set_as_default=False)
        engine = OnClient(client, "the cluster")
        graph = reduce_tree(names(), len, map_chunks(names(), time.sleep, [0.1, 2.0]))
        threading.Timer(0.5, mortal.close).start()
        with pytest.raises(ClusterError, match=r"lost the scheduler of the cluster .*start the cluster again"):
            engine.compute(graph)
        client.close()


def test_the_log_of_a_run_goes_on_while_a_cluster_is_started(tmp_path: Path) -> None:
    with log_to_file(str(tmp_path)), open_local(1, 2**30):
        logging.getLogger("distributed.scheduler").info("still here")
    assert "INFO distributed.scheduler: still here" in (tmp_path / "log.txt").read_text()


def test_many_tasks_are_no_reason_to_warn_but_data_in_a_graph_is(
    cluster: OnClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_LARGE_GRAPH_BYTES", 4096)
    names = Context(run_id="r").at(Workspace(url="/nowhere", step="large"))
    assert cluster.compute(reduce_tree(names, sum, map_chunks(names, abs, range(64)))) == sum(range(64))
    with pytest.warns(UserWarning, match="Sending large graph"):
        cluster.compute(run_task(names, len, "x" * 10_000))


class Graph:
    """As much of a graph as its size."""

    def __dask_graph__(self) -> range:
        return range(10**6)


def test_two_steps_that_submit_at_the_same_time_leave_the_settings_of_dask_as_they_were(cluster: OnClient) -> None:
    before = dask.config.get(client_module._LARGE_GRAPH)
    begun, ended = threading.Event(), threading.Event()

    def first(graphs: list[Any], **_: Any) -> list[Any]:
        begun.set()
        ended.wait(0.3)
        return []

    def second(graphs: list[Any], **_: Any) -> list[Any]:
        ended.set()
        time.sleep(0.1)
        return []

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(cluster._run, first, [Graph()], Order(), None)
        begun.wait(10.0)
        pool.submit(cluster._run, second, [Graph()], Order(), None).result()
        one.result()
    assert dask.config.get(client_module._LARGE_GRAPH) == before
