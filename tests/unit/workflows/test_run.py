"""The runner: what stages may return, what is recorded, what a failure and an interrupt leave behind."""

from __future__ import annotations

import json
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import radps
from radps.context.model import Context
from radps.context.records import OutcomeStatus, Resources, StepRecord, StepState
from radps.data import stores
from radps.errors import ClusterError, ConfigError, ContextError, StageError
from radps.execution.engine import InProcess
from radps.node_tasks.guard import TaskEvent
from radps.run_folder.events import read_events
from radps.run_folder.store import RunStore
from radps.run_folder.task_records import load_task_records, task_records_url
from radps.workflows.model import Workflow
from radps.workflows.observers import Silent
from radps.workflows.plan import PlannedStep, Selection, plan_steps
from radps.workflows.reading import load_workflow
from radps.workflows.run import Runner, run_workflow


def workflow(url: object, *steps: Any, **settings: Any) -> Workflow:
    return load_workflow({"run": str(url), "cluster": "none", "steps": list(steps)}, settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder that is not there yet."""
    return tmp_path / "run"


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what a stage may return ---


@pytest.mark.parametrize(
    ("stage", "summary", "tasks"),
    [
        ("squares", {"sum": 5}, 5),  # three squares, one sum, one report
        ("direct", {"seen": []}, 0),
        ("cycles", {"number": 256}, 3),  # ((2^2)^2)^2
        ("cycles_then_graph", {"sum": 9}, 2),
        ("catches", {"number": 4}, 2),
    ],
)
def test_a_stage_returns_a_graph_or_an_outcome_or_yields_graphs(
    folder: Path, stage: str, summary: dict[str, Any], tasks: int
) -> None:
    context = run_workflow(workflow(folder, f"user_stages:{stage}"))
    record = context.steps[stage]
    assert record.state is StepState.DONE
    assert record.outcome is not None
    assert record.outcome.summary == summary
    assert record.tasks == tasks


def test_the_error_of_a_graph_is_raised_where_it_was_yielded(folder: Path) -> None:
    context = run_workflow(workflow(folder, "user_stages:catches"))
    outcome = context.steps["catches"].outcome
    assert outcome is not None
    assert (outcome.status, outcome.message) == (OutcomeStatus.CAVEATS, "as expected")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("returns_number", "ended with a int; it has to return an Outcome, or a graph that computes to one"),
        (
            "yields_number",
            "yielded a int; it has to yield graphs (Delayed), made by the functions of radps.graph_tasks",
        ),
        ("not_a_number", "qa.0.value reads back as None; numbers have to be finite"),
        ("odd_summary", "cannot be stored: Unable to serialize unknown type: <class 'object'>; use plain numbers"),
        ("misfit", "step 'misfit' made new data, but no data were imported before it"),
        ("leaves", "SystemExit: 3"),
        ("fails", "ValueError: nothing works"),
        ("task_fails", "ValueError: no such number (in task task_fails.raise-1-00001)"),
    ],
)
def test_a_stage_that_goes_wrong_is_a_failed_step_with_a_message(folder: Path, stage: str, message: str) -> None:
    runner = Runner(workflow(folder, f"user_stages:{stage}"))
    record = runner.run().steps[stage]
    assert record.state is StepState.FAILED
    assert record.error is not None
    assert message in record.error
    assert record.outcome is None
    error = runner.failures[stage]
    assert isinstance(error, StageError)
    assert str(error).startswith(f"step '{stage}' (stage user_stages:{stage}) failed: ")
    assert error.__cause__ is not None


# --- what is recorded ---


def test_a_step_is_recorded_with_all_that_it_takes_to_do_it_again(folder: Path) -> None:
    context = run_workflow(workflow(folder, {"user_stages:squares": {"cell": "1 arcmin"}}))
    record = context.steps["squares"]
    assert record.params == {"n": 3, "text": "", "cell": pytest.approx(2.9089e-4, rel=1e-4), "frequency": 1e9}
    assert record.versions["radps"] == radps.__version__
    assert {"python", "numpy", "dask", "zarr"} <= set(record.versions)
    assert record.attempt == 1
    assert record.stop_s is not None
    assert record.stop_s >= record.start_s > 1.6e9
    assert record.fingerprint.startswith("stage=")


def test_a_failure_is_recorded_with_its_traceback_and_in_the_log(folder: Path) -> None:
    run_workflow(workflow(folder, "user_stages:task_fails"))
    record = RunStore(str(folder)).load().steps["task_fails"]
    assert record.traceback is not None
    assert "user_stages.py" in record.traceback
    assert "raise ValueError(text)" in record.traceback
    log = (folder / "log.txt").read_text()
    assert log.count("step task_fails failed: ValueError: no such number") == 1


def test_every_step_that_ends_is_a_version_of_the_context(folder: Path) -> None:
    run_workflow(workflow(folder, "user_stages:direct", "user_stages:squares"))
    assert RunStore(str(folder)).history() == ("0001-direct.json", "0002-squares.json")
    first = json.loads((folder / "history/0001-direct.json").read_text())
    assert [step["state"] for step in first["steps"].values()] == ["done", "pending"]


def test_the_workflow_is_kept_beside_the_context(folder: Path) -> None:
    wanted = workflow(folder, {"user_stages:squares": {"n": 4}})
    run_workflow(wanted)
    assert load_workflow(RunStore(str(folder)).load_workflow()).steps == wanted.steps


def test_a_step_sees_only_the_steps_that_it_needs(folder: Path) -> None:
    steps = [
        {"id": "first", "stage": "user_stages:direct", "after": []},
        {"id": "aside", "stage": "user_stages:direct", "after": []},
        {"id": "last", "stage": "user_stages:direct", "after": ["first"]},
    ]
    context = run_workflow(workflow(folder, *steps))
    outcome = context.steps["last"].outcome
    assert outcome is not None
    assert outcome.summary == {"seen": ["first"]}


class Listener(Silent):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def planned(self, plan: tuple[PlannedStep, ...], where: str) -> None:
        self.told.append(("planned", [planned.step.id for planned in plan], where))

    def started(self, step: StepRecord) -> None:
        self.told.append(("started", step.id))

    def graph(self, step: str, tasks: int) -> None:
        self.told.append(("graph", step, tasks))

    def task(self, step: str, event: TaskEvent) -> None:
        self.told.append(("task", step, event.key))

    def ended(self, step: StepRecord) -> None:
        self.told.append(("ended", step.id, str(step.state)))


def test_an_observer_is_told_of_every_step_graph_and_task(folder: Path) -> None:
    listener = Listener()
    run_workflow(workflow(folder, {"user_stages:cycles": {"n": 2}}, "user_stages:direct"), observer=listener)
    assert listener.told == [
        ("planned", ["cycles", "direct"], "in this process"),
        ("started", "cycles"),
        ("graph", "cycles", 1),
        ("task", "cycles", "cycles.cycle-0-1"),
        ("graph", "cycles", 1),
        ("task", "cycles", "cycles.cycle-1-1"),
        ("ended", "cycles", "done"),
        ("started", "direct"),
        ("ended", "direct", "done"),
    ]


# --- going on ---


def test_what_is_done_is_not_done_again(folder: Path) -> None:
    wanted = workflow(folder, "user_stages:squares", "user_stages:direct")
    run_workflow(wanted)
    before = files(folder)
    listener = Listener()
    run_workflow(wanted, observer=listener)
    assert [word[0] for word in listener.told] == ["planned"]
    assert {name: text for name, text in files(folder).items() if name != "log.txt"} == {
        name: text for name, text in before.items() if name != "log.txt"
    }


def test_changed_parameters_redo_exactly_what_depends_on_them(folder: Path) -> None:
    steps = [
        {"id": "first", "stage": "user_stages:squares", "after": []},
        {"id": "left", "stage": "user_stages:squares", "after": ["first"]},
        {"id": "right", "stage": "user_stages:squares", "after": ["first"]},
        {"id": "last", "stage": "user_stages:squares", "after": ["left"]},
    ]
    run_workflow(workflow(folder, *steps))
    context = run_workflow(workflow(folder, *steps, **{"left.n": 4}))
    assert {name: record.attempt for name, record in context.steps.items()} == {
        "first": 1,
        "left": 2,
        "right": 1,
        "last": 2,
    }
    outcome = context.steps["left"].outcome
    assert outcome is not None
    assert outcome.summary == {"sum": 14}


def test_a_failed_step_blocks_only_what_needs_it(folder: Path) -> None:
    steps = [
        {"id": "bad", "stage": "user_stages:fails", "after": []},
        {"id": "needs_bad", "stage": "user_stages:direct", "after": ["bad"]},
        {"id": "needs_that", "stage": "user_stages:direct", "after": ["needs_bad"]},
        {"id": "aside", "stage": "user_stages:squares", "after": []},
    ]
    context = run_workflow(workflow(folder, *steps))
    assert {name: str(record.state) for name, record in context.steps.items()} == {
        "bad": "failed",
        "needs_bad": "blocked",
        "needs_that": "blocked",
        "aside": "done",
    }
    assert context.steps["needs_that"].error == "needs needs_bad (blocked)"


def test_a_failed_step_is_tried_again_and_unblocks_the_others(folder: Path) -> None:
    steps = [{"id": "a", "stage": "user_stages:fails"}, {"id": "b", "stage": "user_stages:direct"}]
    run_workflow(workflow(folder, *steps))
    steps[0]["stage"] = "user_stages:direct"
    context = run_workflow(workflow(folder, *steps))
    assert [(record.state, record.attempt) for record in context.steps.values()] == [("done", 2), ("done", 1)]


def test_a_step_that_runs_again_takes_what_needs_it_out_of_the_context_at_once(folder: Path) -> None:
    steps = [{"id": "a", "stage": "user_stages:squares"}, {"id": "b", "stage": "user_stages:squares"}]
    run_workflow(workflow(folder, *steps))
    context = run_workflow(workflow(folder, *steps), selection=Selection(only=("a",), redo=("a",)))
    assert context.steps["b"].state is StepState.PENDING
    assert context.steps["b"].outcome is None
    assert context.steps["b"].error == "step a was done again"


def test_a_rerun_writes_to_a_place_of_its_own(folder: Path) -> None:
    wanted = workflow(folder, "user_stages:writes")
    run_workflow(wanted)
    run_workflow(wanted, selection=Selection(redo=("writes",)))
    assert sorted(path.name for path in (folder / "context.zarr").iterdir() if path.is_dir()) == [
        "writes-1",
        "writes-2",
    ]


def test_a_step_that_left_the_workflow_leaves_the_context(folder: Path) -> None:
    run_workflow(workflow(folder, "user_stages:direct", "user_stages:squares"))
    context = run_workflow(workflow(folder, "user_stages:direct", "user_stages:cycles"))
    assert list(context.steps) == ["direct", "cycles"]


def test_a_run_folder_may_live_in_memory() -> None:
    url = f"memory://{uuid.uuid4().hex}/run"
    context = run_workflow(workflow(url, "user_stages:writes", "user_stages:squares"))
    assert {str(record.state) for record in context.steps.values()} == {"done"}
    assert RunStore(url).load() == context
    assert stores.load_array(f"{url}/context.zarr/writes-1/numbers").shape == (40,)
    listener = Listener()
    run_workflow(workflow(url, "user_stages:writes", "user_stages:squares"), observer=listener)
    assert [word[0] for word in listener.told] == ["planned"]


# --- what is refused leaves the folder as it was ---


def test_a_cluster_cannot_see_a_run_folder_in_memory() -> None:
    url = f"memory://{uuid.uuid4().hex}/run"
    wanted = load_workflow({"run": url, "cluster": "local", "steps": ["user_stages:direct"]})
    with pytest.raises(ClusterError, match="worker processes cannot see it; use --cluster none"):
        run_workflow(wanted)
    assert not stores.exists(url)


def test_a_wrong_selection_leaves_no_folder(folder: Path) -> None:
    wanted = workflow(folder, "user_stages:direct", "user_stages:squares")
    with pytest.raises(ConfigError, match="needs step 'direct', which is not done"):
        run_workflow(wanted, selection=Selection(only=("squares",)))
    assert not folder.exists()


def test_a_wrong_config_leaves_the_folder_as_it_was(folder: Path) -> None:
    run_workflow(workflow(folder, "user_stages:direct"))
    before = files(folder)
    with pytest.raises(ConfigError):
        workflow(folder, {"user_stages:direct": {"nn": 3}})
    assert files(folder) == before


def test_a_second_driver_is_refused_and_changes_nothing(folder: Path) -> None:
    wanted = workflow(folder, "user_stages:direct")
    run_workflow(wanted)
    with RunStore(str(folder)).lock():
        before = files(folder)
        with pytest.raises(ContextError, match=f"is in use by process {os.getpid()}"):
            run_workflow(workflow(folder, "user_stages:squares"))
        assert files(folder) == before


def test_a_context_that_is_damaged_with_its_history_is_not_overwritten(folder: Path) -> None:
    wanted = workflow(folder, "user_stages:direct")
    run_workflow(wanted)
    (folder / "context.json").write_text("{")
    (folder / "history/0001-direct.json").write_text("{")
    before = files(folder)
    with pytest.raises(ContextError, match="is damaged"):
        run_workflow(wanted, selection=Selection(redo=("direct",)))
    assert files(folder) == before


def test_a_damaged_context_is_mended_from_its_history_and_the_run_goes_on(folder: Path) -> None:
    wanted = workflow(folder, "user_stages:direct", "user_stages:squares")
    run_workflow(wanted, selection=Selection(until="direct"))
    (folder / "context.json").write_text("{")
    context = run_workflow(wanted)
    assert {name: (record.state, record.attempt) for name, record in context.steps.items()} == {
        "direct": (StepState.DONE, 1),
        "squares": (StepState.DONE, 1),
    }
    events = read_events(str(folder))
    assert [event.fields["message"] for event in events if event.event == "context.recovered"] != []


# --- stopping ---


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def stopping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file; once it is there, this process gets the signal."""
    marker, over = tmp_path / "started", threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            if marker.exists():
                os.kill(os.getpid(), request.param)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    yield marker
    over.set()
    thread.join()


def test_an_interrupt_is_recorded_and_the_run_goes_on_from_there(folder: Path, stopping: Path) -> None:
    steps = ["user_stages:direct", {"user_stages:sleeps": {"seconds": 20.0, "marker": str(stopping)}}]
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run_workflow(workflow(folder, *steps))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    context = RunStore(str(folder)).load()
    assert [str(record.state) for record in context.steps.values()] == ["done", "stopped"]
    record = context.steps["sleeps"]
    assert record.error == "stopped by the user"
    assert record.seconds is not None
    assert record.seconds < 10.0
    assert RunStore(str(folder)).driver() is None
    listener = Listener()
    context = run_workflow(workflow(folder, *steps, **{"sleeps.seconds": 0.0}), observer=listener)
    assert [word[1] for word in listener.told if word[0] == "started"] == ["sleeps"]
    assert [str(record.state) for record in context.steps.values()] == ["done", "done"]
    assert context.steps["sleeps"].attempt == 2


def test_an_interrupt_in_a_commit_waits_until_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = RunStore.commit

    def interrupted(self: RunStore, context: Context, step: str) -> Context:
        if step == "direct":
            os.kill(os.getpid(), signal.SIGINT)
        return commit(self, context, step)

    monkeypatch.setattr(RunStore, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_workflow(workflow(folder, "user_stages:direct", "user_stages:squares"))
    context = RunStore(str(folder)).load()
    assert [str(record.state) for record in context.steps.values()] == ["done", "pending"]
    assert RunStore(str(folder)).history() == ("0001-direct.json",)


def test_a_run_in_another_thread_leaves_the_signals_alone(folder: Path) -> None:
    found: list[Context] = []
    thread = threading.Thread(target=lambda: found.append(run_workflow(workflow(folder, "user_stages:squares"))))
    thread.start()
    thread.join()
    assert found[0].steps["squares"].state is StepState.DONE


# --- what a config changes though nothing has to be done ---


def test_a_step_that_left_a_finished_workflow_leaves_the_context_though_nothing_runs(folder: Path) -> None:
    run_workflow(workflow(folder, "user_stages:direct", "user_stages:squares"))
    context = run_workflow(workflow(folder, "user_stages:direct"))
    assert list(context.steps) == ["direct"]
    assert list(RunStore(str(folder)).load().steps) == ["direct"]
    assert [step["id"] for step in RunStore(str(folder)).load_workflow()["steps"]] == ["direct"]


def test_a_step_that_got_another_name_is_done_again_with_what_needs_it(folder: Path) -> None:
    steps = [{"id": "a", "stage": "user_stages:squares"}, {"id": "b", "stage": "user_stages:direct"}]
    run_workflow(workflow(folder, *steps))
    steps[0] = {"id": "renamed", "stage": "user_stages:squares"}
    context = run_workflow(workflow(folder, *steps))
    assert {name: (str(one.state), one.attempt) for name, one in context.steps.items()} == {
        "renamed": ("done", 1),
        "b": ("done", 2),
    }


def test_a_skipped_step_of_a_run_that_was_cut_short_is_skipped_in_the_end(folder: Path) -> None:
    steps = [
        {"id": "a", "stage": "user_stages:squares"},
        {"id": "alarm", "stage": "user_stages:direct", "when": "failure"},
        {"id": "b", "stage": "user_stages:direct", "after": ["a"]},
    ]
    run_workflow(workflow(folder, *steps), selection=Selection(until="a"))
    run_workflow(workflow(folder, *steps))
    context = run_workflow(workflow(folder, *steps))
    assert {name: str(record.state) for name, record in context.steps.items()} == {
        "a": "done",
        "alarm": "skipped",
        "b": "done",
    }
    assert read_events(str(folder))[-1].fields["state"] == "done"


class Onlooker(Silent):
    """Reads the run folder when a step begins, as `radps-run status` of another process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seen: dict[str, dict[str, str]] = {}

    def started(self, step: StepRecord) -> None:
        found = RunStore(str(self._folder)).load()
        self.seen[step.id] = {name: str(record.state) for name, record in found.steps.items()}


def test_a_run_whose_plan_skips_a_step_can_be_looked_at(folder: Path) -> None:
    steps = [
        {"id": "a", "stage": "user_stages:squares"},
        {"id": "alarm", "stage": "user_stages:direct", "when": "failure"},
        {"id": "b", "stage": "user_stages:direct", "after": ["a"]},
    ]
    run_workflow(workflow(folder, *steps), selection=Selection(until="a"))
    onlooker = Onlooker(folder)
    run_workflow(workflow(folder, *steps), observer=onlooker)
    assert onlooker.seen == {"b": {"a": "done", "alarm": "skipped", "b": "running"}}


class Unreachable(InProcess):
    """An engine that has no workers, as often as it is told."""

    def __init__(self, times: int) -> None:
        super().__init__(2**30)
        self._times = times

    def resources(self) -> Resources:
        self._times -= 1
        if self._times >= 0:
            raise ClusterError("the cluster has no workers; start some")
        return super().resources()


def test_a_cluster_that_is_not_there_takes_no_attempt_and_what_was_finished_counts(folder: Path) -> None:
    wanted = workflow(folder, {"user_stages:task_fails": {"text": "once"}})
    run_workflow(wanted)
    records = load_task_records(task_records_url(str(folder), "task_fails", 1))
    finished = {one.key for one in records if one.state == "done"}
    context = run_workflow(wanted, engine=Unreachable(1))
    record = context.steps["task_fails"]
    assert (str(record.state), record.attempt, record.error) == ("failed", 1, "the cluster has no workers; start some")
    record = run_workflow(wanted).steps["task_fails"]
    assert (record.attempt, record.resumed) == (1, 1)
    records = load_task_records(task_records_url(str(folder), "task_fails", 1))
    assert {one.key for one in records if one.state == "kept"} == finished != set()


class Remover(Silent):
    """Removes a file when a step has ended."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def ended(self, step: StepRecord) -> None:
        self._file.unlink(missing_ok=True)


def test_a_step_whose_data_have_gone_fails_alone(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.fits"
    data.write_text("data")
    wanted = workflow(
        folder,
        "user_stages:direct",
        "user_stages:reader",
        {"id": "last", "stage": "user_stages:squares", "after": ["direct"]},
        **{"data.path": str(data)},
    )
    runner = Runner(wanted, observer=Remover(data))
    context = runner.run()
    assert {name: str(one.state) for name, one in context.steps.items()} == {
        "direct": "done",
        "reader": "failed",
        "last": "done",
    }
    assert "there is no file or folder" in str(runner.failures["reader"])
    assert context.steps["reader"].attempt == 0
    data.write_text("data")
    assert run_workflow(wanted).steps["reader"].attempt == 1


class Slow(InProcess):
    """An engine whose workers take their time, in which the user loses patience."""

    def __init__(self) -> None:
        super().__init__(2**30)
        self.has_come = False

    def resources(self) -> Resources:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.5)
        self.has_come = True
        return super().resources()


def test_who_waits_for_workers_may_stop(folder: Path) -> None:
    engine = Slow()
    with pytest.raises(KeyboardInterrupt):
        run_workflow(workflow(folder, "user_stages:direct"), engine=engine)
    assert not engine.has_come
    assert str(RunStore(str(folder)).load().steps["direct"].state) == "pending"


def test_steps_whose_input_is_done_again_without_them_lose_their_results_as_planned(folder: Path) -> None:
    steps = [{"id": name, "stage": "user_stages:direct"} for name in ("a", "b", "c")]
    run_workflow(workflow(folder, *steps))
    selection = Selection(only=("a",), redo=("a",))
    planned = plan_steps(workflow(folder, *steps), RunStore(str(folder)).load(), selection)
    assert [(str(one.state), one.runs) for one in planned] == [("again", True), ("stale", False), ("stale", False)]
    assert planned[1].reason == "not selected; what it made is dropped, after a, until it is done again"
    context = run_workflow(workflow(folder, *steps), selection=selection)
    assert [str(record.state) for record in context.steps.values()] == ["done", "pending", "pending"]
    with pytest.raises(ConfigError, match="needs step 'b', which is not done"):
        plan_steps(workflow(folder, *steps), context, Selection(only=("a", "c"), redo=("a",)))
