"""Clusters whose scheduler dies: one of this machine is replaced and its steps go on, any other one is named."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import radps
from radps.context.model import Context
from radps.context.records import Resources, StepState
from radps.errors import ClusterError, ClusterLostError
from radps.execution import client as client_module
from radps.execution.engine import InProcess
from radps.run_folder.events import read_events
from radps.run_folder.task_records import load_task_records, task_records_url
from radps.workflows import engine_place
from radps.workflows.engine_place import MOST_REPLACEMENTS
from radps.workflows.model import Workflow
from radps.workflows.plan import Selection
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner

HELPERS = Path(__file__).parents[2] / "helpers"
TEXT = "lost the scheduler of the cluster (gone); start the cluster again and run again: finished steps are skipped"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder that is not there yet."""
    return tmp_path / "run"


def step(name: str, stage: str, *after: str, **parameters: Any) -> dict[str, Any]:
    return {"id": name, "stage": f"user_stages:{stage}", "after": list(after), "params": parameters}


def workflow(folder: Path, *steps: dict[str, Any], cluster: Any = "local") -> Workflow:
    return load_workflow({"run": str(folder), "cluster": cluster, "steps": list(steps)})


def states(context: Context) -> dict[str, str]:
    return {name: str(record.state) for name, record in context.steps.items()}


def events_of(folder: Path, name: str) -> list[Any]:
    return [event.fields for event in read_events(str(folder)) if event.event == name]


def started(folder: Path) -> list[tuple[str, int, bool]]:
    """Return step, attempt and whether it went on, of every start of a step."""
    return [(fields["step"], fields["attempt"], fields["resumed"]) for fields in events_of(folder, "step.started")]


def wait_for(condition: Callable[[], bool]) -> None:
    stop = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < stop, "it never happened"
        time.sleep(0.02)


# --- who replaces what, with engines that die on command ---


class Mortal(InProcess):
    """An engine in this process that is lost at some calls."""

    def __init__(self, loses: Callable[[str], bool]) -> None:
        super().__init__(2**30)
        self._loses = loses

    def resources(self) -> Resources:
        if self._loses("resources"):
            raise ClusterLostError(TEXT)
        return super().resources()

    def compute(self, *arguments: Any) -> Any:
        if self._loses("compute"):
            raise ClusterLostError(TEXT)
        return super().compute(*arguments)


class Clusters:
    """Opens engines; the calls of all of them are numbered, and those that are named lose their engine."""

    def __init__(self) -> None:
        self.opened = 0
        self.lost: dict[str, set[int]] = {}
        self.called: dict[str, int] = {"resources": 0, "compute": 0}

    @contextlib.contextmanager
    def open_engine(self, *_: Any, **__: Any) -> Iterator[Mortal]:
        self.opened += 1
        yield Mortal(self._loses)

    def _loses(self, call: str) -> bool:
        self.called[call] += 1
        return self.called[call] in self.lost.get(call, set())


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    """What the runner opens in place of clusters."""
    clusters = Clusters()
    monkeypatch.setattr(engine_place, "open_engine", clusters.open_engine)
    return clusters


def test_a_step_goes_on_with_the_same_attempt_when_its_cluster_was_replaced(folder: Path, clusters: Clusters) -> None:
    clusters.lost = {"compute": {2}}
    context = Runner(workflow(folder, step("a", "squares"), step("b", "squares", "a"))).run()
    assert states(context) == {"a": "done", "b": "done"}
    assert started(folder) == [("a", 1, False), ("b", 1, False), ("b", 1, True)]
    assert clusters.opened == 2
    assert [fields["error"] for fields in events_of(folder, "cluster.lost")] == [TEXT]


def test_a_stage_cannot_go_on_without_what_its_lost_cluster_was_to_compute(folder: Path, clusters: Clusters) -> None:
    clusters.lost = {"compute": {1}}
    record = Runner(workflow(folder, step("a", "catches_all"))).run().steps["a"]
    assert record.outcome is not None
    assert (record.state, record.outcome.message, clusters.opened) == (StepState.DONE, "", 2)


def test_a_step_that_is_done_again_is_not_begun_again_when_its_cluster_was_replaced(
    folder: Path, clusters: Clusters
) -> None:
    wanted = workflow(folder, step("a", "squares"))
    Runner(wanted).run()
    clusters.lost = {"compute": {2}}
    context = Runner(wanted, selection=Selection(redo=("a",))).run()
    assert context.steps["a"].attempt == 2
    assert started(folder) == [("a", 1, False), ("a", 2, False), ("a", 2, True)]


def test_a_cluster_that_is_lost_between_two_steps_is_replaced(folder: Path, clusters: Clusters) -> None:
    clusters.lost = {"resources": {2}}
    context = Runner(workflow(folder, step("a", "squares"), step("b", "squares", "a"))).run()
    assert states(context) == {"a": "done", "b": "done"}
    assert started(folder) == [("a", 1, False), ("b", 1, False)]
    assert (clusters.opened, len(events_of(folder, "cluster.lost"))) == (2, 1)


@pytest.mark.parametrize("call", ["compute", "resources"])
def test_a_cluster_that_is_lost_again_and_again_fails_the_step(folder: Path, clusters: Clusters, call: str) -> None:
    clusters.lost = {call: set(range(1, 100))}
    record = Runner(workflow(folder, step("a", "squares"))).run().steps["a"]
    assert (record.state, record.error) == (StepState.FAILED, TEXT)
    assert clusters.opened == 1 + MOST_REPLACEMENTS
    assert len(events_of(folder, "cluster.lost")) == MOST_REPLACEMENTS
    assert record.attempt == (1 if call == "compute" else 0)  # without a cluster nothing has begun


@pytest.mark.parametrize("call", ["compute", "resources"])
def test_the_cluster_of_somebody_else_is_not_replaced(folder: Path, clusters: Clusters, call: str) -> None:
    clusters.lost = {call: {1}}
    wanted = workflow(folder, step("a", "squares"), cluster="tcp://127.0.0.1:1")
    record = Runner(wanted).run().steps["a"]
    assert (record.state, record.error) == (StepState.FAILED, TEXT)
    assert clusters.opened == 1
    assert Runner(wanted).run().steps["a"].state is StepState.DONE


def test_the_engine_of_the_caller_is_not_replaced(folder: Path, clusters: Clusters) -> None:
    clusters.lost = {"compute": {1}}
    with clusters.open_engine() as engine:
        record = Runner(workflow(folder, step("a", "squares")), engine=engine).run().steps["a"]
    assert (record.state, record.error, clusters.opened) == (StepState.FAILED, TEXT, 1)


class Dying(Mortal):
    """An engine that is lost while the run is being stopped."""

    concurrent = True

    def __init__(self) -> None:
        super().__init__(lambda call: False)

    def compute(self, graph: Any, order: Any, on_task: Any, stop: Any = None) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait(60)
        raise ClusterLostError(TEXT)


def test_no_cluster_is_started_anew_while_the_run_is_being_stopped(
    folder: Path, clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def open_engine(*_: Any, **__: Any) -> Iterator[Dying]:
        clusters.opened += 1
        yield Dying()

    monkeypatch.setattr(engine_place, "open_engine", open_engine)
    with pytest.raises(KeyboardInterrupt):
        Runner(workflow(folder, step("a", "squares"))).run()
    assert clusters.opened == 1
    assert [fields["state"] for fields in events_of(folder, "step.ended")] == ["stopped"]


def test_a_cluster_that_cannot_be_deleted_is_said_to_be_left_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextlib.contextmanager
    def open_engine(*_: Any, **__: Any) -> Iterator[Mortal]:
        yield Mortal(lambda call: False)
        raise ClusterError("cannot delete DaskCluster radps-run in namespace 'default' of Kubernetes")

    monkeypatch.setattr(engine_place, "open_engine", open_engine)
    assert states(Runner(workflow(folder, step("a", "squares"))).run()) == {"a": "done"}
    (said,) = [record for record in caplog.records if record.name == engine_place.__name__]
    assert said.levelname == "WARNING"
    assert "the cluster was not closed as it should be: cannot delete DaskCluster radps-run" in said.getMessage()


# --- real schedulers ---


def test_worker_processes_whose_scheduler_died_are_replaced_and_finished_tasks_are_kept(
    folder: Path, tmp_path: Path
) -> None:
    began, go = [tmp_path / "a", tmp_path / "b"], tmp_path / "go"
    steps = [
        step(path.name, "counts_and_waits", folder=str(tmp_path / f"tries-{path.name}"), makes=str(path), until=str(go))
        for path in began
    ]
    runner = Runner(
        workflow(folder, *steps, step("last", "squares", "a", "b"), cluster={"kind": "local", "workers": 2})
    )
    killed: list[bool] = []

    def kill() -> None:
        wait_for(lambda: all(path.exists() for path in began))
        cluster: Any = runner._place.engine()._client.cluster  # type: ignore[attr-defined]
        cluster.sync(cluster.scheduler.close)
        killed.append(True)
        go.touch()

    thread = threading.Thread(target=kill)
    thread.start()
    context = runner.run()
    thread.join()
    assert killed
    assert states(context) == {"a": "done", "b": "done", "last": "done"}
    assert {(record.attempt, record.outcome.summary["sum"]) for record in context.steps.values() if record.outcome} == {
        (1, 6),
        (1, 5),
    }
    names = [event.event for event in read_events(str(folder)) if event.event.startswith("cluster.")]
    assert names == ["cluster.started", "cluster.lost", "cluster.started"]
    where = events_of(folder, "cluster.started")[0]["where"]
    assert where.startswith("2 worker processes on this machine, dashboard http://127.0.0.1:")
    (lost,) = events_of(folder, "cluster.lost")
    assert lost["error"].startswith("lost the scheduler of 2 worker processes on this machine (")
    assert sorted(started(folder)[:2]) == [("a", 1, False), ("b", 1, False)]
    assert sorted(started(folder)[2:4]) == [("a", 1, True), ("b", 1, True)]
    for name in ("a", "b"):
        assert len(list((tmp_path / f"tries-{name}").iterdir())) == 3  # each task was tried once


class Cluster:
    """A scheduler and a worker as processes of their own."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self._file = place / "scheduler.json"
        options = ["--host", "127.0.0.1", "--scheduler-file", str(self._file), "--no-dashboard"]
        self.scheduler = self._start("dask_scheduler", *options, "--port", "0")
        wait_for(self._file.exists)
        self.worker = self._start("dask_worker", *options, "--nthreads", "1", "--no-nanny")

    @property
    def address(self) -> str:
        """Of the scheduler."""
        import json

        return str(json.loads(self._file.read_text())["address"])

    def _start(self, module: str, *options: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(Path(radps.__file__).parents[1]), str(HELPERS)])
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *options],
            cwd=self._file.parent,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self) -> None:
        for process in (self.worker, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[Callable[[str], Cluster]]:
    """Starts clusters of other processes, and ends them."""
    with contextlib.ExitStack() as stack:

        def start(name: str) -> Cluster:
            cluster = Cluster(tmp_path / name)
            stack.callback(cluster.end)
            return cluster

        yield start


def test_the_error_of_a_given_scheduler_that_was_killed_says_what_to_do_and_a_new_one_goes_on(
    folder: Path, tmp_path: Path, start_cluster: Callable[[str], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_PATIENCE_WITHOUT_SCHEDULER_S", 1.0)
    began, go, tries = tmp_path / "began", tmp_path / "go", tmp_path / "tries"
    steps = [
        step("a", "counts_and_waits", folder=str(tries), makes=str(began), until=str(go)),
        {**step("tidy", "squares", "a"), "when": "always"},
    ]
    first = start_cluster("first")
    wait_for_worker(first)

    def kill() -> None:
        wait_for(began.exists)
        first.scheduler.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    start = time.monotonic()
    context = Runner(workflow(folder, *steps, cluster=first.address)).run()
    thread.join()
    assert time.monotonic() - start < 60.0
    assert states(context) == {"a": "failed", "tidy": "failed"}
    for record in context.steps.values():
        assert record.error is not None
        assert record.error.startswith(f"lost the scheduler of the cluster at {first.address} (")
        assert record.error.endswith("); start the cluster again and run again: finished steps and tasks are skipped")
    first.end()

    go.touch()
    second = start_cluster("second")
    wait_for_worker(second)
    context = Runner(workflow(folder, *steps, cluster=second.address)).run()
    assert states(context) == {"a": "done", "tidy": "done"}
    assert ("a", 1, True) in started(folder)
    assert len(list(tries.iterdir())) == 3
    tasks = {task.key: task.state for task in load_task_records(task_records_url(str(folder), "a", 1))}
    assert {key for key, state in tasks.items() if state == "kept"} == {f"a.try-1-0000{number}" for number in range(3)}


def wait_for_worker(cluster: Cluster) -> None:
    from distributed import Client

    with Client(cluster.address, set_as_default=False, timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
