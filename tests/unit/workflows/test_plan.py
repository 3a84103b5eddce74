"""The plan says which steps are done, which will run, and why."""

from __future__ import annotations

import contextlib
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

import radps
from radps.context.model import Context
from radps.data.output_stamps import OutputStamp, stamp_output
from radps.errors import ConfigError
from radps.run_folder.store import RunStore
from radps.workflows.model import Workflow
from radps.workflows.plan import PlanState, Selection, plan_steps
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.status import make_status

STEPS: list[Any] = [
    {"id": "first", "stage": "user_stages:squares", "after": []},
    {"id": "left", "stage": "user_stages:squares", "after": ["first"]},
    {"id": "right", "stage": "user_stages:squares", "after": ["first"]},
    {"id": "last", "stage": "user_stages:direct", "after": ["left", "right"]},
]


def workflow(folder: Path, settings: dict[str, Any] | None = None, **more: Any) -> Workflow:
    config = {"run": str(folder / "run"), "cluster": "none", "steps": STEPS, **more}
    return load_workflow(config, settings)


def states(wanted: Workflow, context: Context | None, selection: Selection | None = None) -> dict[str, str]:
    return {planned.step.id: str(planned.state) for planned in plan_steps(wanted, context, selection)}


def reasons(wanted: Workflow, context: Context | None, selection: Selection | None = None) -> dict[str, str]:
    return {planned.step.id: planned.reason for planned in plan_steps(wanted, context, selection) if planned.runs}


@pytest.fixture
def done(tmp_path: Path) -> Context:
    """The context after all steps."""
    return run_workflow(workflow(tmp_path))


def test_a_new_run_does_everything(tmp_path: Path) -> None:
    assert set(states(workflow(tmp_path), None).values()) == {"new"}


def test_what_is_done_and_unchanged_is_skipped(tmp_path: Path, done: Context) -> None:
    assert set(states(workflow(tmp_path), done).values()) == {"done"}
    assert reasons(workflow(tmp_path), done) == {}


def test_a_changed_parameter_redoes_its_step_and_exactly_what_needs_it(tmp_path: Path, done: Context) -> None:
    changed = workflow(tmp_path, {"left.n": 5})
    assert states(changed, done) == {"first": "done", "left": "changed", "right": "done", "last": "stale"}
    assert reasons(changed, done) == {"left": "parameters changed: n 3 -> 5", "last": "after left, which will run"}


def test_a_changed_order_redoes_what_comes_after_other_steps(tmp_path: Path, done: Context) -> None:
    steps = [*STEPS[:2], {**STEPS[2], "after": []}, STEPS[3]]
    changed = workflow(tmp_path, steps=steps)
    assert reasons(changed, done)["right"] == "no longer comes after step first"
    assert states(changed, done)["left"] == "done"


def test_another_stage_under_the_same_id_is_a_change(tmp_path: Path, done: Context) -> None:
    steps = [*STEPS[:3], {**STEPS[3], "stage": "user_stages:cycles"}]
    assert reasons(workflow(tmp_path, steps=steps), done) == {"last": "stage user_stages:direct -> user_stages:cycles"}


def test_other_versions_redo_everything(tmp_path: Path, done: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    before = radps.__version__
    monkeypatch.setattr("radps.__version__", "99")
    found = reasons(workflow(tmp_path), done)
    assert found["first"] == f'versions changed: radps "{before}" -> "99"'
    assert len(found) == 4


def test_a_listed_dependency_of_another_version_is_a_change(
    tmp_path: Path, done: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = workflow(tmp_path, dependencies=["pluggy"])
    installed = importlib.metadata.version("pluggy")
    assert reasons(listed, done)["first"] == f'versions changed: pluggy (none) -> "{installed}"'
    done = run_workflow(listed)
    assert reasons(listed, done) == {}
    monkeypatch.setattr(
        "radps.context.versions.find_distribution_version", lambda name: "0.0" if name == "pluggy" else None
    )
    assert f'pluggy "{installed}" -> "0.0"' in reasons(listed, done)["first"]


def test_an_edited_helper_of_a_users_stage_is_a_change_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    text = "from radps import Outcome, StageParams\nfrom plan_helper import TEXT\nclass P(StageParams): pass\n"
    (tmp_path / "plan_stage.py").write_text(text + "def stage(context, params: P): return Outcome(message=TEXT)\n")
    helper = tmp_path / "plan_helper.py"
    helper.write_text("TEXT = 'one'\n")
    steps = [STEPS[0], {"id": "own", "stage": "plan_stage:stage"}]
    done = run_workflow(workflow(tmp_path, steps=steps))
    assert reasons(workflow(tmp_path, steps=steps), done) == {}
    helper.write_text("TEXT = 'another'\n")
    edited = workflow(tmp_path, steps=steps)
    assert states(edited, done) == {"first": "done", "own": "changed"}
    assert reasons(edited, done) == {"own": f"the code of the stage changed: {helper}"}
    assert run_workflow(edited).steps["own"].outcome.message == "another"  # in the same process, as in a notebook


def test_changed_data_redo_the_steps_that_read_them(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_text("one")
    steps = ["user_stages:direct", "user_stages:reader", "user_stages:squares"]
    wanted = workflow(tmp_path, steps=steps, data={"path": str(path)})
    context = run_workflow(wanted)
    path.write_text("two")
    assert states(wanted, context) == {"direct": "done", "reader": "changed", "squares": "stale"}
    assert reasons(wanted, context)["reader"] == "the input data or their intents changed"


def test_a_changed_file_redoes_the_steps_whose_parameters_name_it(tmp_path: Path) -> None:
    mask = tmp_path / "mask.crtf"
    steps = ["user_stages:direct", {"user_stages:masked": {"mask": str(mask)}}, "user_stages:squares"]
    wanted = workflow(tmp_path, steps=steps)
    assert run_workflow(wanted).steps["masked"].outcome.message == "nothing"  # that it is not there is up to the step
    for text in ("circle", "ellipse"):
        mask.write_text(text)
        context = RunStore(wanted.run).load()
        assert states(wanted, context) == {"direct": "done", "masked": "changed", "squares": "stale"}
        assert reasons(wanted, context)["masked"] == "a file that its parameters name changed"
        record = run_workflow(wanted).steps["masked"]
        assert record.outcome.message == text
        assert [one.path for one in record.provenance.inputs] == [str(mask)]
    assert set(states(wanted, run_workflow(wanted)).values()) == {"done"}


def test_a_step_records_the_attempts_that_it_read(tmp_path: Path, done: Context) -> None:
    context = run_workflow(workflow(tmp_path), selection=Selection(redo=("left",)))
    found = context.steps["last"].provenance
    assert found is not None
    before = [context.steps[name] for name in ("first", "left", "right")]
    assert [one.attempt for one in before] == [1, 2, 1]
    assert [tuple(read.model_dump().values()) for read in found.steps_read] == [
        (one.id, one.attempt, one.fingerprint) for one in before
    ]


def test_a_step_that_was_added_is_new(tmp_path: Path, done: Context) -> None:
    steps = [*STEPS, {"id": "more", "stage": "user_stages:direct", "after": ["left"]}]
    assert states(workflow(tmp_path, steps=steps), done)["more"] == "new"


@pytest.mark.parametrize(
    ("selection", "running"),
    [
        (Selection(redo=("left",)), ["left", "last"]),
        (Selection(redo=("first",)), ["first", "left", "right", "last"]),
        (Selection(redo=("left",), until="left"), ["left"]),
        (Selection(redo=("first",), only=("first",)), ["first"]),
    ],
)
def test_redo_does_a_step_again_and_what_needs_it(
    tmp_path: Path, done: Context, selection: Selection, running: list[str]
) -> None:
    assert list(reasons(workflow(tmp_path), done, selection)) == running


@pytest.mark.parametrize(
    ("selection", "running"),
    [
        (Selection(until="left"), ["first", "left"]),
        (Selection(only=("first",)), ["first"]),
        (Selection(only=("first", "right")), ["first", "right"]),
        (Selection(start="first", until="right"), ["first", "right"]),
    ],
)
def test_a_selection_does_only_what_is_named(tmp_path: Path, selection: Selection, running: list[str]) -> None:
    plan = plan_steps(workflow(tmp_path), None, selection)
    assert [planned.step.id for planned in plan if planned.runs] == running
    assert {p.reason for p in plan if p.state is PlanState.LEFT_OUT} == {"not selected"}


def test_what_is_left_out_says_whether_it_was_done_before(tmp_path: Path, done: Context) -> None:
    changed = workflow(tmp_path, {"first.n": 7})
    plan = plan_steps(changed, done, Selection(only=("right",)))
    assert [(planned.step.id, str(planned.state), planned.runs) for planned in plan] == [
        ("first", "left out", False),
        ("left", "left out", False),
        ("right", "done", False),
        ("last", "left out", False),
    ]
    assert {planned.reason for planned in plan if not planned.runs} == {
        "not selected; what it made before stays",
        "unchanged",
    }


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("fails", "failed: ValueError: nothing works"),
        ("task_fails", "failed: ValueError: no such number (in task left.raise-1-00001)"),
        ("interrupts", "was interrupted"),
    ],
)
def test_what_did_not_end_well_is_done_again_with_what_it_kept_waiting(tmp_path: Path, stage: str, reason: str) -> None:
    wanted = workflow(tmp_path, steps=[STEPS[0], {**STEPS[1], "stage": f"user_stages:{stage}"}, *STEPS[2:]])
    with contextlib.suppress(KeyboardInterrupt):
        run_workflow(wanted)
    context = RunStore(wanted.run).load()
    found = {planned.step.id: planned for planned in plan_steps(wanted, context)}
    assert (str(found["left"].state), found["left"].reason) == ("again", reason)
    assert str(found["first"].state) == "done"
    assert found["last"].runs


def test_what_waits_since_a_step_before_it_was_done_again_is_stale(tmp_path: Path, done: Context) -> None:
    wanted = workflow(tmp_path)
    context = run_workflow(wanted, selection=Selection(redo=("first",), only=("first",)))
    assert states(wanted, context) == {"first": "done", "left": "stale", "right": "stale", "last": "stale"}
    assert reasons(wanted, context) == {
        "left": "step first was done again",
        "right": "step first was done again",
        "last": "after left, right, which will run",
    }
    assert {record.attempt for record in run_workflow(wanted).steps.values()} == {2}


NOTES: list[Any] = [
    {"id": "first", "stage": "user_stages:writes_product", "after": []},
    {"id": "left", "stage": "user_stages:writes_product", "after": ["first"]},
    {"id": "right", "stage": "user_stages:writes_product", "after": ["first"]},
    {"id": "last", "stage": "user_stages:direct", "after": ["left"]},
]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "products/left-1 was changed: all 1 files are gone"),
        (
            lambda path: path.write_text("cut"),
            "products/left-1 was changed: the 1 files have 3 B (3 bytes) instead of 6",
        ),
        (
            lambda path: path.with_name("more").touch(),
            "products/left-1 was changed: there are 1 files more than the 1 that were written",
        ),
    ],
)
def test_files_that_are_damaged_under_a_step_redo_it_and_exactly_what_needs_it(
    tmp_path: Path, damage: Any, reason: str
) -> None:
    wanted = workflow(tmp_path, steps=NOTES)
    context = run_workflow(wanted)
    damage(tmp_path / "run/products/left-1/note.txt")
    assert states(wanted, context) == {"first": "done", "left": "changed", "right": "done", "last": "stale"}
    assert reasons(wanted, context)["left"].startswith(reason)
    context = run_workflow(wanted)
    assert {name: record.attempt for name, record in context.steps.items()} == {
        "first": 1,
        "left": 2,
        "right": 1,
        "last": 2,
    }
    assert reasons(wanted, context) == {}


def test_a_chunk_that_is_deleted_under_a_step_is_counted(tmp_path: Path) -> None:
    wanted = workflow(tmp_path, steps=["user_stages:writes_table", "user_stages:direct"])
    context = run_workflow(wanted)
    folder = tmp_path / "run/context.zarr/writes_table-1"
    chunks = sorted(path for path in folder.rglob("c/*") if path.is_file())
    total = sum(path.is_file() for path in folder.rglob("*"))
    for chunk in chunks[2:4]:
        chunk.unlink()
    assert states(wanted, context) == {"writes_table": "changed", "direct": "stale"}
    assert (
        reasons(wanted, context)["writes_table"]
        == f"context.zarr/writes_table-1 was changed: 2 of {total} files are gone"
    )
    context = run_workflow(wanted)
    assert [record.attempt for record in context.steps.values()] == [2, 2]
    assert reasons(wanted, context) == {}


def test_from_does_a_step_and_what_needs_it(tmp_path: Path, done: Context) -> None:
    changed = workflow(tmp_path, {"first.n": 7, "left.n": 5})
    plan = plan_steps(changed, done, Selection(start="left"))
    assert [planned.step.id for planned in plan if planned.runs] == ["left", "last"]
    assert plan[0].reason == "not selected; what it made before stays"


def test_a_step_without_its_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        plan_steps(workflow(tmp_path), None, Selection(start="left"))
    assert error.value.problems == (
        "step 'left' needs step 'first', which is not done; run it first: --until first",
        "step 'last' needs step 'right', which is not done; run it first: --until right",
    )


def test_names_that_are_no_steps_are_refused_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        plan_steps(workflow(tmp_path), None, Selection(start="frist", until="right", only=("x",), redo=("x",)))
    assert error.value.problems == (
        "there is no step 'frist'; did you mean 'first'?; steps: first, left, right, last",
        "there is no step 'x'; steps: first, left, right, last",
    )


def test_redo_of_a_step_that_is_left_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="step 'last' is to be done again, but the other options leave it out; drop one"
    ):
        plan_steps(workflow(tmp_path), None, Selection(until="left", redo=("last",)))


def test_options_that_leave_out_every_step_are_refused(tmp_path: Path, done: Context) -> None:
    with pytest.raises(ConfigError, match="the options --from last, --until first leave out every step: a step has to"):
        plan_steps(workflow(tmp_path), done, Selection(start="last", until="first"))
    with pytest.raises(ConfigError, match="the options --until left, --only right leave out every step"):
        plan_steps(workflow(tmp_path), done, Selection(until="left", only=("right",)))


def test_a_run_lists_each_output_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = workflow(tmp_path, steps=NOTES)
    run_workflow(wanted)
    listed: list[str] = []

    def note(url: str) -> OutputStamp:
        listed.append(Path(url).name)
        return stamp_output(url)

    monkeypatch.setattr("radps.run_folder.damage.stamp_output", note)
    run_workflow(wanted)
    assert listed == ["first-1", "left-1", "right-1"]


def test_a_file_of_a_parameter_is_found_at_the_config_from_everywhere_and_counts_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"user_stages:masked": {"mask": "mask.crtf"}}]
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mask.crtf").write_text("circle")
        config = yaml.safe_dump({"run": str(tmp_path / "run"), "cluster": "none", "steps": steps})
        (tmp_path / place / "config.yaml").write_text(config)
    monkeypatch.chdir(tmp_path)
    done = run_workflow(load_workflow("here/config.yaml"))
    assert done.steps["masked"].outcome.message == "circle"
    assert done.steps["masked"].params["mask"] == str(tmp_path / "here/mask.crtf")
    assert states(load_workflow("there/config.yaml"), done) == {"masked": "done"}
    (tmp_path / "mask.crtf").write_text("ellipse")
    assert states(load_workflow("here/config.yaml"), done) == {"masked": "done"}
    typed = load_workflow("here/config.yaml", {"masked.mask": "mask.crtf"})
    assert reasons(typed, done) == {"masked": "a file that its parameters name changed"}
    kept = load_workflow(RunStore(str(tmp_path / "run")).load_workflow())
    monkeypatch.chdir(tmp_path / "there")
    assert states(kept, done) == {"masked": "done"}


def test_a_step_that_is_now_there_for_a_failure_leaves_the_context(tmp_path: Path, done: Context) -> None:
    edited = workflow(tmp_path, steps=[*STEPS[:2], {**STEPS[2], "when": "failure"}, {**STEPS[3], "after": ["left"]}])
    assert states(edited, done) == {"first": "done", "left": "done", "right": "skipped", "last": "changed"}
    context = run_workflow(edited)
    assert (context.steps["right"].state, context.steps["right"].outcome) == ("skipped", None)
    again = run_workflow(workflow(tmp_path))
    assert {name: (str(one.state), one.attempt) for name, one in again.steps.items()} == {
        "first": ("done", 1),
        "left": ("done", 1),
        "right": ("done", 2),
        "last": ("done", 3),
    }


def test_a_step_for_a_failure_of_nothing_is_skipped_and_its_run_is_done(tmp_path: Path) -> None:
    alarm = {"id": "alarm", "stage": "user_stages:direct", "when": "failure", "after": []}
    context = run_workflow(workflow(tmp_path, steps=[alarm, {**STEPS[1], "after": ["alarm"]}]))
    assert {name: str(record.state) for name, record in context.steps.items()} == {
        "alarm": "skipped",
        "left": "skipped",
    }
    assert make_status(context, "").state == "done"
    context = run_workflow(workflow(tmp_path, steps=[alarm, {**STEPS[0], "id": "new"}, {**STEPS[1], "after": ["new"]}]))
    assert str(context.steps["left"].state) == "done"
    alarm = {**alarm, "after": ["left"]}
    steps = [{**STEPS[0], "id": "new"}, {**STEPS[1], "after": ["new"]}, alarm]
    context = run_workflow(workflow(tmp_path, steps=steps))
    assert context.steps["alarm"].after == ("left",)  # as the config says now


def test_what_is_skipped_now_fails_no_more_and_is_no_input(tmp_path: Path) -> None:
    bad = {"id": "bad", "stage": "user_stages:fails", "after": ["first"]}
    alarm = {"id": "alarm", "stage": "user_stages:direct", "when": "failure", "after": ["bad"]}
    always = {"id": "always", "stage": "user_stages:direct", "when": "always", "after": ["first"]}
    context = run_workflow(workflow(tmp_path, steps=[STEPS[0], bad, alarm, always]))
    assert str(context.steps["alarm"].state) == "done"
    assert context.steps["always"].outcome.summary == {"seen": ["first"]}
    edited = workflow(tmp_path, steps=[{**STEPS[0], "when": "failure"}, bad, alarm, always])
    assert states(edited, context) == {"first": "skipped", "bad": "skipped", "alarm": "skipped", "always": "stale"}
    assert reasons(edited, context) == {"always": "after first, which is skipped now"}
    context = run_workflow(edited)
    assert {name: str(record.state) for name, record in context.steps.items()} == {
        "first": "skipped",
        "bad": "skipped",
        "alarm": "skipped",
        "always": "done",
    }
    assert reasons(edited, context) == {}
