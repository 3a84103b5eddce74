"""radps from Python: run, open, one step at a time, arrays as xarray."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import threading
from bdb import BdbQuit
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import radps
from radps.errors import ConfigError, ContextError, SelectionError, StageError
from radps.execution.engine import InProcess
from radps.workflows import engine_place

STEPS: list[Any] = ["user_stages:squares", "user_stages:writes", "user_stages:direct"]


@pytest.fixture(autouse=True)
def _stages(user_stages: str) -> None:
    """The stages of the tests can be imported."""


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return {"run": str(tmp_path / "run"), "cluster": "none", "steps": STEPS}


def states(run: radps.Run) -> dict[str, str]:
    return {step.id: str(step.state) for step in run.status().steps}


def test_a_config_is_run_and_what_it_made_is_there(config: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run = radps.run(config, settings={"squares.n": 4})
    assert "writes: done in" in capsys.readouterr().out
    assert states(run) == {"squares": "done", "writes": "done", "direct": "done"}
    outcome = run.context.steps["squares"].outcome
    assert outcome is not None
    assert outcome.summary == {"sum": 14}
    assert repr(run) == f"Run({config['run']!r})"


def test_the_config_of_a_file_and_the_options_of_a_call_meet(tmp_path: Path, config: dict[str, Any]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("run: nowhere\ncluster: local\nsteps: [user_stages:squares, user_stages:direct]\n")
    run = radps.run(path, run=config["run"], cluster="none", until="squares", progress=False)
    assert run.url == config["run"]
    assert states(run) == {"squares": "done", "direct": "pending"}


def test_a_failed_step_is_raised_after_the_others_were_done(config: dict[str, Any]) -> None:
    bad = {"id": "bad", "stage": "user_stages:fails", "after": []}
    with pytest.raises(StageError, match=r"step 'bad' .* failed: ValueError: nothing works") as error:
        radps.run(
            {**config, "steps": [bad, {"id": "aside", "stage": "user_stages:direct", "after": []}]}, progress=False
        )
    assert isinstance(error.value.__cause__, ValueError)
    assert states(radps.open_run(config["run"])) == {"bad": "failed", "aside": "done"}


def test_steps_are_done_one_by_one_in_this_process_and_thread(config: dict[str, Any]) -> None:
    radps.run(config, only=["squares"], progress=False)
    run = radps.open_run(config["run"])
    assert run.step().summary == {"written": 40}
    assert states(run) == {"squares": "done", "writes": "done", "direct": "pending"}
    assert run.step("direct").summary == {"seen": ["squares", "writes"]}
    with pytest.raises(ConfigError, match="every step is done; name the one to do again"):
        run.step()


def test_a_step_with_other_parameters_keeps_them(config: dict[str, Any]) -> None:
    run = radps.run({**config, "cluster": {"kind": "local", "workers": 1}}, cluster="none", progress=False)
    assert run.step("squares", n=5).summary == {"sum": 30}
    assert states(run) == {"squares": "done", "writes": "pending", "direct": "pending"}
    reopened = radps.open_run(run.url)
    assert reopened.workflow.step("squares").params.n == 5
    assert reopened.workflow.cluster == run.workflow.cluster
    assert set(states(reopened.resume(progress=False)).values()) == {"done"}
    outcome = reopened.context.steps["squares"].outcome
    assert outcome is not None
    assert outcome.summary == {"sum": 30}


def test_the_next_step_is_the_first_that_the_plan_wants(config: dict[str, Any]) -> None:
    radps.run(config, progress=False)
    workflow = radps.load_workflow(config, {"direct.text": "new"})
    run = radps.Run(workflow.run, workflow)
    assert run.plan().running == ("direct",)
    run.step()
    assert run.context.steps["direct"].params["text"] == "new"
    assert run.plan().running == ()


def test_a_config_that_differs_from_what_a_step_got_says_why_it_redoes(config: dict[str, Any]) -> None:
    run = radps.run(config, progress=False)
    run.step("squares", n=5)
    assert radps.Run(run.url).workflow.step("squares").params.n == 5  # kept beside the context
    workflow = radps.load_workflow(config)
    plan = {planned.step.id: planned.reason for planned in radps.Run(run.url, workflow).plan().steps}
    assert plan["squares"] == "parameters changed: n 5 -> 3"
    again = radps.run(config, progress=False)
    assert again.context.steps["squares"].params["n"] == 3
    assert again.context.steps["squares"].attempt == 3
    same = {**config, "steps": [{"user_stages:squares": {"n": 3}}, *STEPS[1:]]}
    assert radps.run(same, progress=False).context.sequence == again.context.sequence  # the same in other words


def test_a_step_that_is_interrupted_is_stopped_and_goes_on(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import user_stages

    write = user_stages._write_block
    written: list[int] = []

    def interrupt(block: tuple[int, int], url: str) -> int:
        if block[0] == 20:
            raise KeyboardInterrupt
        written.append(block[0])
        return int(write(block, url))

    run = radps.run(config, only=["squares"], progress=False)
    monkeypatch.setattr(user_stages, "_write_block", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.step()
    assert states(run) == {"squares": "done", "writes": "stopped", "direct": "pending"}
    assert run.plan().steps[1].reason == "was interrupted"
    assert 20 not in written
    before, again = set(written), []
    monkeypatch.setattr(user_stages, "_write_block", lambda block, url: again.append(block[0]) or write(block, url))
    assert run.step().summary == {"written": 40}
    assert (run.context.steps["writes"].attempt, run.context.steps["writes"].resumed) == (1, 1)
    assert set(again) == set(range(0, 40, 4)) - before  # what was finished is not done again
    run.step("writes")  # by its name: from its beginning
    assert run.context.steps["writes"].attempt == 2


@pytest.mark.parametrize(("step", "function"), [("squares", "_square"), ("direct", "direct")])
def test_to_leave_a_debugger_stops_the_step(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, step: str, function: str
) -> None:
    import user_stages

    def leave(*arguments: Any) -> None:
        raise BdbQuit

    steps = [{"id": step, "stage": f"user_stages:{step}", "retries": 3}]
    with monkeypatch.context() as patch:
        patch.setattr(user_stages, function, leave if function == "_square" else with_params(leave))
        with pytest.raises(KeyboardInterrupt):
            radps.run({**config, "steps": steps}, progress=False)
    run = radps.open_run(config["run"])
    assert states(run) == {step: "stopped"}
    run.step()
    assert states(run) == {step: "done"}


def with_params(leave: Any) -> Any:
    """Return a stage that leaves a debugger."""
    import user_stages

    def direct(context: Any, params: user_stages.Params) -> None:
        leave()

    direct.__annotations__["params"] = user_stages.Params
    return direct


def test_an_interrupt_from_outside_stops_a_step_of_a_cell(config: dict[str, Any]) -> None:
    code = """
import json, signal, sys, threading, time
import radps
sys.path.append(sys.argv[2])
config = json.loads(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without
run = radps.run(config, until="squares", progress=False)
threading.Timer(0.5, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
try:
    run.step()
except KeyboardInterrupt:
    print(run.context.steps["sleeps"].state, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    steps = ["user_stages:squares", {"user_stages:sleeps": {"n": 3, "seconds": 20.0}}]
    helpers = str(Path(__file__).parents[1] / "helpers")
    command = [sys.executable, "-c", code, json.dumps({**config, "steps": steps}), helpers]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "stopped True\n", done.stderr


def test_a_step_for_a_failure_that_did_not_happen_is_not_done(config: dict[str, Any]) -> None:
    rescue = {"id": "rescue", "stage": "user_stages:direct", "when": "failure", "after": ["squares"]}
    last = {"id": "last", "stage": "user_stages:direct", "after": ["squares"]}
    run = radps.run({**config, "steps": [STEPS[0], rescue, last]}, until="squares", progress=False)
    with pytest.raises(ConfigError, match="step 'rescue' is skipped and was not done: no failure of squares"):
        run.step("rescue")
    run.step()
    assert states(run) == {"squares": "done", "rescue": "skipped", "last": "done"}
    with pytest.raises(ConfigError, match="every step is done; name the one to do again"):
        run.step()


def test_a_run_pauses_before_a_step_and_goes_on_step_by_step(config: dict[str, Any]) -> None:
    run = radps.run(config, pause_before=["writes"], progress=False)
    assert states(run) == {"squares": "done", "writes": "paused", "direct": "pending"}
    run.resume(pause_before=["direct"], progress=False)
    assert states(run) == {"squares": "done", "writes": "done", "direct": "paused"}
    run.step()
    assert set(states(run).values()) == {"done"}


def test_a_cluster_is_opened_once_for_several_calls(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    @contextlib.contextmanager
    def open_engine(*_: Any, **__: Any) -> Iterator[InProcess]:
        opened.append(InProcess(2**30))
        yield opened[-1]

    monkeypatch.setattr(engine_place, "open_engine", open_engine)
    workflow = radps.load_workflow(config)
    run = radps.Run(workflow.run, workflow)
    with run.open_cluster() as engine:
        run.resume(until="squares", engine=engine, progress=False)
        run.resume(engine=engine, progress=False)
    assert set(states(run).values()) == {"done"}
    assert opened == [engine]


def test_a_step_is_tried_and_accepted(config: dict[str, Any]) -> None:
    run = radps.run(config, progress=False)
    with run.try_step("squares", n=4) as trial:
        assert trial.outcome.summary == {"sum": 14}
    assert set(states(run).values()) == {"done"}
    run.try_step("squares", n=4).accept()
    assert states(run) == {"squares": "done", "writes": "pending", "direct": "pending"}
    assert run.workflow.step("squares").params.n == 4


def test_a_plan_shows_itself(config: dict[str, Any]) -> None:
    run = radps.run(config, until="writes", progress=False)
    lines = repr(run.plan(redo=["writes"])).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["squares", "done", "unchanged"],
        ["writes", "again", "runs", "asked", "for", "by", "--redo"],
        ["direct", "new", "runs", "never", "run"],
    ]
    assert lines[3] == f"2 of 3 steps would run, in {run.url}"
    html = run.plan(until="writes")._repr_html_()
    assert "0 of 3 steps would run" in html
    assert html.count("<tr>") == 4
    assert "not selected" in html


def test_a_step_that_cannot_be_done_says_why(config: dict[str, Any]) -> None:
    run = radps.run(config, only=["squares"], progress=False)
    with pytest.raises(ConfigError, match="there is no step 'cube'"):
        run.step("cube")
    with pytest.raises(ConfigError, match=r"step 'squares' .*has no 'm'"):
        run.step("squares", m=3)
    with pytest.raises(ConfigError, match="step 'direct' needs step 'writes', which is not done"):
        run.step("direct")
    assert states(run)["squares"] == "done"


def test_a_breakpoint_would_stop_in_the_thread_of_the_caller(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import user_stages

    seen: list[int] = []
    monkeypatch.setattr(user_stages, "_square", lambda number: seen.append(threading.get_ident()) or number)
    radps.run({**config, "steps": STEPS[:1]}, progress=False)
    assert set(seen) == {threading.get_ident()}


def test_the_arrays_of_a_run_are_a_tree_of_its_done_steps(config: dict[str, Any]) -> None:
    run = radps.run(config, progress=False)
    run.step("writes")
    tree = run.tree
    assert list(tree) == ["writes"]
    np.testing.assert_array_equal(tree["writes/numbers"], np.sin(np.arange(40.0)))
    assert tree["writes/numbers"].dims == ("x",)
    run.step("squares")  # so that `writes` is not done any more
    assert list(run.context.tree) == []


def test_a_copy_of_a_run_works_at_its_new_place(config: dict[str, Any], tmp_path: Path) -> None:
    radps.run(config, until="writes", progress=False)
    shutil.move(config["run"], tmp_path / "moved")
    run = radps.open_run(tmp_path / "moved")
    assert run.tree["writes/numbers"].shape == (40,)
    run.step("direct")
    assert set(states(run).values()) == {"done"}
    assert not Path(config["run"]).exists()


def test_a_run_is_managed_from_python(config: dict[str, Any]) -> None:
    run = radps.run(config, progress=False)
    run.step("writes")
    assert run.events()[0].event == "run.planned"
    assert run.events(after=run.events()[-1].number) == ()
    assert run.stop() == "stopped"
    (found,) = radps.list_runs(Path(config["run"]).parent)
    assert (found.run, found.state) == (config["run"], "stopped")  # what came after the step waits
    left = run.prune(dry_run=True)
    assert {leftover.step for leftover in left} == {"writes"}
    assert run.prune() == left
    assert run.prune() == ()
    run.remove()
    assert not Path(config["run"]).exists()


def test_a_run_is_drawn_from_python(config: dict[str, Any]) -> None:
    run = radps.run(config, progress=False)
    for figure, text in ((run.gantt(), "writes"), (run.graph(), "writes"), (run.graph("writes"), "10 tasks")):
        stream = io.BytesIO()
        figure.savefig(stream, format="svg")
        assert text in stream.getvalue().decode()


READ_ONLY = """
import os, sys
import radps

root = sys.argv[1]
refused = []

def refuse_writes(event, arguments):
    words = [os.fspath(one) for one in arguments if isinstance(one, (str, bytes, os.PathLike))]
    if not any(str(word).startswith(root) for word in words):
        return
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    if event == "open" and (isinstance(arguments[2], int) and arguments[2] & writes):
        refused.append((event, words))
    if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"):
        refused.append((event, words))
    if refused:
        raise PermissionError(30, f"read-only: {refused[-1]}")

sys.addaudithook(refuse_writes)
run = radps.open_run(root)
print(run.context.steps["squares"].outcome.summary["sum"], float(run.tree["writes/numbers"].sum()))
print(run.status().state, len(run._repr_html_()) > 0, len(run.context._repr_html_()) > 0, len(refused))
try:
    open(os.path.join(root, "probe"), "w")
except PermissionError:
    print("guarded")
"""


def test_a_run_opens_from_a_read_only_copy(config: dict[str, Any], tmp_path: Path) -> None:
    """Every way to write below the folder is refused, which a mode of the folder does not do for root."""
    run = radps.run(config, progress=False)
    copy = tmp_path / "archive" / "copy"
    shutil.copytree(run.url, copy)
    shutil.rmtree(run.url)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    command = [sys.executable, "-c", READ_ONLY, str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = float(np.sin(np.arange(40.0)).sum())
    lines = done.stdout.splitlines()
    assert lines[0].split()[0] == "5"
    assert float(lines[0].split()[1]) == pytest.approx(expected)
    assert lines[1:] == ["done True True 0", "guarded"]
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_an_image_that_is_not_there_is_named(config: dict[str, Any]) -> None:
    run = radps.run(config, progress=False)
    with pytest.raises(SelectionError, match="there is no image 'cube'; images: none"):
        run.image("cube")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="is not a run folder"):
        radps.open_run(tmp_path)


def test_jupyter_shows_tables(config: dict[str, Any]) -> None:
    workflow = radps.load_workflow(config)
    run = radps.Run(workflow.run, workflow)
    assert "nothing was run yet" in run._repr_html_()
    run.resume(progress=False)
    assert "<table>" in run._repr_html_()
    html = run.context._repr_html_()
    assert "squares" in html
    assert "<table>" in html


def test_every_public_name_is_there_and_nothing_is_imported_before_it_is_used() -> None:
    assert {name for name in radps.__all__ if getattr(radps, name, None) is None} == set()
    assert set(radps.__all__) <= set(dir(radps))
    with pytest.raises(AttributeError, match="module 'radps' has no attribute 'runn'; public names: Context, "):
        radps.runn  # noqa: B018
    code = "import sys, radps; print(*[m for m in ('numpy', 'dask', 'pydantic', 'xarray') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_jupyter_shows_a_workflow_a_step_and_an_outcome(tmp_path: Path, user_stages: str) -> None:
    steps = [{"id": "note", "stage": "user_stages:writes_product", "params": {"text": "<b>"}}]
    run = radps.run({"run": str(tmp_path / "run"), "project": "P", "cluster": "none", "steps": steps}, progress=False)
    html = run.workflow._repr_html_()
    assert "Workflow P" in html
    assert "user_stages:writes_product" in html
    record = run.context.steps["note"]
    html = record._repr_html_()
    assert "Step note" in html
    assert "&lt;b&gt;" in html
    assert "<b>&" not in html
    assert record.outcome is not None
    assert "products/note-1/note.txt" in record.outcome._repr_html_()
