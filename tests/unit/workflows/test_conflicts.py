"""Two steps never write the same part of the context at the same time: refused before the run, or when it happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from radps.context.records import Outcome, StepState
from radps.errors import ConfigError, StageError
from radps.workflows.model import Step
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow
from radps.workflows.step_work import check_outcome


def step(name: str, stage: str, *after: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "stage": stage, "after": list(after), **more}


def problems_of(*steps: dict[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with a workflow."""
    try:
        load_workflow({"run": "x", "cluster": "none", "steps": list(steps)})
    except ConfigError as error:
        return error.problems
    return ()


LOAD = step("load", "import_data")


def test_two_steps_that_may_write_the_same_part_at_the_same_time_are_refused_with_the_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "run: x\nsteps:\n"
        "  - import_data\n"
        "  - {id: one, stage: calibrate, after: [import_data]}\n"
        "  - {id: two, stage: calibrate, after: [import_data]}\n"
    )
    with pytest.raises(ConfigError) as error:
        load_workflow(config)
    (problem,) = error.value.problems
    assert problem.startswith(f"{config}:5: steps 'one' and 'two' may run at the same time, and both write ")
    assert "tables" in problem
    assert problem.endswith("of the context; let one come after the other: `after: [one]`")


def test_steps_after_each_other_may_write_the_same_part() -> None:
    one, two = step("one", "calibrate", "load"), step("two", "calibrate", "one")
    between = step("between", "user_stages:direct", "one")
    assert problems_of(LOAD, one, two) == ()
    assert problems_of(LOAD, one, between, step("two", "calibrate", "between")) == ()


def test_a_mistake_in_a_step_leaves_those_around_it_in_their_order() -> None:
    steps = ("import_data", "flag", {"calibrate": {"no_such": 1}}, "apply_calibration")
    with pytest.raises(ConfigError) as error:
        load_workflow({"run": "x", "cluster": "none", "steps": list(steps)})
    (problem,) = error.value.problems
    assert "has no 'no_such'" in problem


def test_steps_that_write_parts_of_their_own_may_run_at_the_same_time() -> None:
    assert problems_of(LOAD, step("one", "image_cube", "load"), step("two", "image_cube", "load")) == ()


def test_each_pair_of_three_is_a_problem_of_its_own() -> None:
    found = problems_of(LOAD, *(step(name, "calibrate", "load") for name in ("one", "two", "three")))
    pairs = [problem.partition(" may run")[0].partition("steps ")[2] for problem in found]
    assert pairs == ["'one' and 'two'", "'one' and 'three'", "'two' and 'three'"]


def test_an_alternative_for_a_failure_may_write_the_same_part() -> None:
    other = step("other", "user_stages:direct", "load")
    plain = step("plain", "calibrate", "load", "other")
    rescue = step("rescue", "calibrate", "other", "load", when="failure")
    assert problems_of(LOAD, other, plain, rescue) == ()
    assert len(problems_of(LOAD, other, plain, {**rescue, "when": "always"})) == 1
    aside = step("aside", "user_stages:direct", "load")
    assert len(problems_of(LOAD, other, aside, plain, {**rescue, "after": ["aside"]})) == 1  # it alone may fail


def test_what_follows_one_alternative_may_write_what_the_other_one_writes() -> None:
    good, rescue = step("good", "calibrate", "load"), step("rescue", "calibrate", "load", when="failure")
    assert problems_of(LOAD, good, step("more", "calibrate", "good"), rescue) == ()
    assert problems_of(LOAD, good, rescue, step("more", "calibrate", "rescue")) == ()
    assert len(problems_of(LOAD, good, rescue, step("more", "calibrate", "rescue", when="always"))) == 1


def test_a_stage_that_fills_a_part_that_it_does_not_name_fails(tmp_path: Path) -> None:
    secret = {"run": str(tmp_path / "run"), "cluster": "none", "steps": ["user_stages:writes_secretly"]}
    record = run_workflow(load_workflow(secret)).steps["writes_secretly"]
    assert record.state is StepState.FAILED
    assert record.error == (
        "stage user_stages:writes_secretly fills line_free of the context, which its parameters do not name (they "
        "name none); write `writes = ('line_free',)` in the class of its parameters, so that no other step fills it at "
        "the same time"
    )


def test_the_remedy_lists_what_is_named_already() -> None:
    calibrate: Step = load_workflow({"run": "x", "steps": [LOAD, step("c", "calibrate", "load")]}).step("c")
    outcome = Outcome(line_free=())
    with pytest.raises(StageError, match=r"write `writes = \('flux_densities', 'line_free', 'tables'\)` in the class"):
        check_outcome(outcome, calibrate)
