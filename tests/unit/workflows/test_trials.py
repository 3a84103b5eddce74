"""A step is tried beside the run, and what it found is accepted or dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import radps
from radps.context.records import StepState
from radps.data.stores import delete, exists, list_children
from radps.data.urls import join_url
from radps.errors import ConfigError, ContextError, StageError
from radps.run_folder.events import read_events
from radps.run_folder.store import RunStore
from radps.workflows.cleaning import prune_run
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.watching import describe_event, follow_events

STEPS: list[Any] = [
    {"id": "first", "stage": "user_stages:squares", "after": []},
    {"id": "array", "stage": "user_stages:writes", "after": ["first"]},
    {"id": "last", "stage": "user_stages:direct", "after": ["first"]},
    {"id": "end", "stage": "user_stages:direct", "after": ["last"]},
]


def make_run(url: object, steps: list[Any] | None = None, **more: Any) -> radps.Run:
    """Return a run of which every step is done."""
    workflow = load_workflow({"run": str(url), "cluster": "none", "steps": steps or STEPS, **more})
    run_workflow(workflow)
    return radps.Run(workflow.run, workflow)


@pytest.fixture
def run(tmp_path: Path) -> radps.Run:
    return make_run(tmp_path / "run")


def states(run: radps.Run) -> dict[str, str]:
    return {name: str(record.state) for name, record in run.context.steps.items()}


def attempts(run: radps.Run) -> dict[str, int]:
    return {name: record.attempt for name, record in run.context.steps.items()}


def outputs(run: radps.Run) -> set[str]:
    """Return the attempts that have arrays, ledgers or records of tasks."""
    folders = ("context.zarr", "tasks", "tasks.zarr")
    return {
        f"{folder}/{name}"
        for folder in folders
        if exists(join_url(run.url, folder))
        for name in list_children(join_url(run.url, folder))
        if name != "zarr.json"
    }


# --- trying ---


def test_a_trial_changes_nothing_in_the_run(run: radps.Run) -> None:
    before, workflow = run.context, RunStore(run.url).load_workflow()
    trial = run.try_step("last", text="other")
    assert trial.outcome.message == "other"
    assert trial.outcome.summary == {"seen": ["first"]}  # what its ancestors left, and no more
    assert trial.state == "open"
    after = run.context
    assert after.steps == before.steps
    assert after.last_attempts == {"first": 1, "array": 1, "last": 2, "end": 1}
    assert RunStore(run.url).load_workflow() == workflow
    assert run.workflow.step("last").params.text == ""
    assert run.plan().running == ()


def test_the_context_of_a_trial_is_that_of_the_run_if_it_was_accepted(url: str) -> None:
    run = make_run(url)
    trial = run.try_step("array")
    record = trial.context.steps["array"]
    assert (record.state, record.attempt) == (StepState.DONE, 2)
    np.testing.assert_array_equal(trial.tree["array/numbers"], np.sin(np.arange(40.0)))
    assert trial.context.locate("context.zarr/array-2") == join_url(run.url, "context.zarr/array-2")
    trial = run.try_step("first", n=4)
    assert {name: str(record.state) for name, record in trial.context.steps.items()} == {
        "first": "done",
        "array": "pending",
        "last": "pending",
        "end": "pending",
    }
    with pytest.raises(radps.errors.SelectionError, match="there is no image 'cube'"):
        trial.image("cube")


def test_the_run_is_free_between_the_trial_and_its_end(run: radps.Run) -> None:
    trial = run.try_step("last", text="other")
    assert RunStore(run.url).driver() is None
    with RunStore(run.url).lock(), pytest.raises(ContextError, match="in use"):
        trial.accept()
    assert trial.state == "open"
    with RunStore(run.url).lock(), pytest.raises(ContextError, match="in use"):
        run.try_step("last")


def test_a_step_that_was_never_done_can_be_tried(tmp_path: Path) -> None:
    workflow = load_workflow({"run": str(tmp_path / "run"), "cluster": "none", "steps": STEPS[:3]})
    run = radps.Run(workflow.run, workflow)
    with pytest.raises(ContextError, match="is not a run folder"):
        run.try_step("first")
    assert not Path(run.url).exists()
    run.step("first")
    run.try_step("last", text="good").accept()
    assert states(run) == {"first": "done", "array": "pending", "last": "done"}
    assert attempts(run)["last"] == 1


def test_a_step_without_its_inputs_cannot_be_tried(run: radps.Run) -> None:
    run.step("first")
    with pytest.raises(ConfigError, match=r"step 'end' cannot be tried now: needs last \(pending\); run the steps"):
        run.try_step("end")
    with pytest.raises(ConfigError, match="there is no step 'cube'"):
        run.try_step("cube")
    with pytest.raises(ConfigError, match="has no 'm'"):
        run.try_step("last", m=3)


def test_a_trial_that_fails_leaves_nothing_but_its_number(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [*STEPS, {"id": "bad", "stage": "user_stages:squares"}])
    before = outputs(run)
    bad = load_workflow({**run.workflow.as_config(), "steps": [{"id": "bad", "stage": "user_stages:task_fails"}]})
    steps = (*run.workflow.steps[:-1], bad.step("bad"))
    run.workflow = run.workflow.model_copy(update={"steps": steps})
    message = r"the trial of step 'bad' \(stage user_stages:task_fails\) failed: ValueError: no such number \(in task "
    with pytest.raises(StageError, match=message) as error:
        run.try_step("bad")
    assert isinstance(error.value.__cause__, ValueError)
    assert outputs(run) == before
    assert run.context.last_attempts["bad"] == 2
    assert states(run)["bad"] == "done"
    assert read_events(run.url)[-1].fields["state"] == "failed"


def test_a_trial_whose_outcome_does_not_fit_has_failed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    steps = [*STEPS, {"id": "misfit", "stage": "user_stages:misfit"}]
    run.workflow = load_workflow({"run": run.url, "cluster": "none", "steps": steps})
    with pytest.raises(StageError, match="step 'misfit' made new data, but no data were imported before it"):
        run.try_step("misfit")


def test_a_trial_that_is_interrupted_leaves_nothing_but_its_number(
    run: radps.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import user_stages

    def interrupt(block: tuple[int, int], url: str) -> int:
        raise KeyboardInterrupt

    before = outputs(run)
    monkeypatch.setattr(user_stages, "_write_block", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.try_step("array")
    assert outputs(run) == before
    assert set(states(run).values()) == {"done"}
    assert RunStore(run.url).driver() is None


# --- accepting ---


def test_a_trial_that_is_accepted_is_the_result_of_its_step(url: str) -> None:
    run = make_run(url)
    trial = run.try_step("last", text="better")
    assert trial.accept() == trial.outcome
    assert trial.state == "accepted"
    assert run.context.steps["last"] == trial.record
    assert states(run) == {"first": "done", "array": "done", "last": "done", "end": "pending"}
    assert run.context.steps["end"].error == "step last was done again"
    assert run.context == trial.context.model_copy(
        update={"sequence": run.context.sequence, "workspace": run.context.workspace}
    )
    assert RunStore(run.url).history()[-1] == f"{run.context.sequence:04d}-last.json"
    # Its parameters are kept, here and in the folder, and the rest of the run goes on from there.
    assert run.workflow.step("last").params.text == "better"
    reopened = radps.open_run(run.url)
    assert reopened.workflow.step("last").params.text == "better"
    assert reopened.plan().running == ("end",)
    reopened.resume(progress=False)
    assert attempts(run) == {"first": 1, "array": 1, "last": 2, "end": 2}


def test_parameters_that_other_steps_got_meanwhile_are_kept(run: radps.Run) -> None:
    trial = run.try_step("last", text="better")
    run.step("array")
    run.step("end", text="also")
    trial.accept()
    assert [run.workflow.step(name).params.text for name in ("last", "end")] == ["better", "also"]


def test_the_arrays_of_an_accepted_trial_are_those_of_the_run(run: radps.Run) -> None:
    run.try_step("array").accept()
    assert run.tree["array/numbers"].shape == (40,)
    assert {leftover.path for leftover in run.prune()} == {"context.zarr/array-1", "tasks.zarr/array-1"}
    assert run.tree["array/numbers"].shape == (40,)
    assert run.plan().running == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.step("first"), "step first was done again, or changed, since the trial started"),
        (lambda run: run.step("last", text="x"), "step last was done again, or changed, since the trial started"),
        (lambda run: run.try_step("last", text="x").accept(), "step last was done again, or changed"),
        (lambda run: [run.step(name) for name in ("first", "last")], "step first was done again, or changed"),
    ],
)
def test_a_trial_of_other_inputs_is_not_accepted(run: radps.Run, change: Any, message: str) -> None:
    trial = run.try_step("last", text="better")
    change(run)
    before = run.context
    with pytest.raises(ContextError, match=f"the trial of step 'last' cannot be accepted: {message}.*Drop it, and try"):
        trial.accept()
    assert run.context == before
    assert run.workflow.step("last").params.text != "better"
    trial.drop()


def test_a_trial_of_other_versions_is_not_accepted(run: radps.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = run.try_step("last")
    monkeypatch.setattr("radps.__version__", "99")
    with pytest.raises(ContextError, match=r'cannot be accepted: versions changed: radps ".*" -> "99"'):
        trial.accept()


def test_a_trial_of_other_data_is_not_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_text("one")
    run = make_run(tmp_path / "run", ["user_stages:reader"], data={"path": str(path)})
    trial = run.try_step("reader", n=4)
    path.write_text("another")
    with pytest.raises(ContextError, match="cannot be accepted: the input data or their intents changed"):
        trial.accept()


def test_a_trial_of_a_step_that_has_left_is_not_accepted(run: radps.Run) -> None:
    trial = run.try_step("array")
    run.workflow = load_workflow({"run": run.url, "cluster": "none", "steps": [STEPS[0]]})
    with pytest.raises(ConfigError, match="there is no step 'array'"):
        trial.accept()


# --- dropping ---


def test_a_trial_that_is_dropped_leaves_nothing_but_its_number(url: str) -> None:
    run = make_run(url)
    before = outputs(run)
    trial = run.try_step("array")
    assert outputs(run) - before == {"context.zarr/array-2", "tasks.zarr/array-2"}
    trial.drop()
    trial.drop()
    assert outputs(run) == before
    assert trial.state == "dropped"
    for use in (trial.accept, lambda: trial.context, lambda: trial.tree, lambda: trial.image("cube")):
        with pytest.raises(ContextError, match="of step 'array' was dropped"):
            use()
    run.step("array")
    assert attempts(run)["array"] == 3  # the number of the trial is not given again


def test_a_trial_that_was_accepted_cannot_be_dropped(run: radps.Run) -> None:
    trial = run.try_step("array")
    trial.accept()
    for again in (trial.drop, trial.accept):
        with pytest.raises(ContextError, match="was accepted before; a trial is accepted or dropped once"):
            again()
    assert run.plan().running == ()


def test_at_the_end_of_its_block_a_trial_is_dropped_unless_it_was_accepted(run: radps.Run) -> None:
    before = outputs(run)
    with run.try_step("array") as trial:
        assert trial.outcome.summary == {"written": 40}
    assert outputs(run) == before
    with run.try_step("array") as trial:
        trial.accept()
    assert trial.state == "accepted"
    with pytest.raises(ZeroDivisionError), run.try_step("array") as trial:
        1 / 0  # noqa: B018
    assert trial.state == "dropped"
    assert attempts(run)["array"] == 3


def test_a_forgotten_trial_is_a_leftover_and_cannot_be_accepted_afterwards(run: radps.Run) -> None:
    before = outputs(run)
    trial = run.try_step("array")
    assert {(left.step, left.attempt) for left in prune_run(run.url)} == {("array", 2)}
    assert outputs(run) == before
    assert set(states(run).values()) == {"done"}
    with pytest.raises(ContextError, match=r"cannot be accepted: its files are gone: context\.zarr/array-2, tasks"):
        trial.accept()
    trial.drop()


def test_a_trial_whose_files_are_gone_is_not_accepted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [*STEPS, {"id": "table", "stage": "user_stages:writes_product"}])
    trial = run.try_step("table", text="tried")
    run.prune()
    with pytest.raises(ContextError, match=r"cannot be accepted: products/table-2 was changed: all 1 files are gone"):
        trial.accept()


def test_a_step_whose_name_begins_like_that_of_another_keeps_its_files(tmp_path: Path) -> None:
    steps = [{"id": "a", "stage": "user_stages:writes"}, {"id": "a-2", "stage": "user_stages:writes", "after": []}]
    run = make_run(tmp_path / "run", steps)
    with run.try_step("a"):
        assert {"context.zarr/a-2", "context.zarr/a-2-1"} <= outputs(run)
    assert outputs(run) == {
        f"{folder}/{name}" for folder in ("context.zarr", "tasks.zarr") for name in ("a-1", "a-2-1")
    }


# --- numbers ---


def test_an_interrupted_attempt_goes_on_after_a_trial_of_its_step(
    run: radps.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import user_stages

    write = user_stages._write_block

    def interrupt(block: tuple[int, int], url: str) -> int:
        if block[0] >= 20:
            raise KeyboardInterrupt
        return write(block, url)

    monkeypatch.setattr(user_stages, "_write_block", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.step("array")
    assert states(run)["array"] == "stopped"
    monkeypatch.setattr(user_stages, "_write_block", write)
    run.try_step("array").drop()
    run.step()
    record = run.context.steps["array"]
    assert (record.attempt, record.resumed) == (2, 1)
    run.step("array")
    assert attempts(run)["array"] == 4


def test_a_step_that_comes_back_gets_numbers_that_it_never_had(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.try_step("array")
    make_run(tmp_path / "run", [{**STEPS[0], "params": {"n": 4}}])
    assert list(run.context.steps) == ["first"]
    make_run(tmp_path / "run", STEPS[:2])
    assert attempts(run) == {"first": 3, "array": 3}


def test_a_run_from_before_numbers_were_kept_is_read(run: radps.Run) -> None:
    run.step("last")
    folder = Path(run.url)
    for path in (folder / "context.json", *(folder / "history").iterdir()):
        text = path.read_text()
        start = text.index(' "last_attempts"')
        path.write_text(text[:start].rstrip().removesuffix(",") + text[text.index("}", start) + 1 :])
    assert run.context.last_attempts == {}
    run.try_step("last").accept()
    assert attempts(run)["last"] == 3


# --- what is seen ---


def test_a_trial_shows_itself(run: radps.Run) -> None:
    trial = run.try_step("last", text="<better>")
    assert repr(trial) == "Trial('last', attempt 2, text=\"<better>\": open)"
    html = trial._repr_html_()
    assert "accept() makes it the result of the step" in html
    assert "&lt;better&gt;" in html
    assert "<table>" in html
    trial.drop()
    assert "dropped" in trial._repr_html_()
    assert repr(run.try_step("last")) == "Trial('last', attempt 3, no change: open)"


def test_trials_stand_in_the_event_log(run: radps.Run) -> None:
    number = read_events(run.url)[-1].number
    trial = run.try_step("last", text="x")
    trial.accept()
    events = read_events(run.url, number)
    assert [event.event for event in events] == ["trial.started", "trial.ended", "trial.accepted"]
    assert {event.fields["attempt"] for event in events} == {2}
    assert describe_event(events[0]).endswith("last: trial started (attempt 2)")
    assert describe_event(events[1]).endswith("last: trial done: x")
    assert describe_event(events[2]).endswith("last: trial accepted (attempt 2)")
    assert tuple(follow_events(run.url)) == events  # who watches sees them, and comes to an end
    assert delete(join_url(run.url, "context.json")) is None  # the history has it all
    assert run.context.steps["last"] == trial.record
