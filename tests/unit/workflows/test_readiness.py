"""Whether a step starts, for every state of the steps before it."""

from __future__ import annotations

from itertools import product

import pytest

from radps.context.records import StepRecord, StepState
from radps.workflows.model import Step
from radps.workflows.policy import When
from radps.workflows.readiness import Readiness, explain, judge
from radps.workflows.reading import load_workflow

ENDED = (StepState.DONE, StepState.FAILED, StepState.BLOCKED, StepState.SKIPPED, StepState.STOPPED, StepState.PENDING)
BAD = {StepState.FAILED, StepState.BLOCKED}


def step_after(*after: str, when: str = "success") -> Step:
    """Return a step after others."""
    before = [{"id": name, "stage": "user_stages:direct", "after": []} for name in after]
    last = {"id": "last", "stage": "user_stages:direct", "after": list(after), "when": when}
    return load_workflow({"run": "x", "steps": [*before, last]}).step("last")


def records(**states: StepState) -> dict[str, StepRecord]:
    return {
        name: StepRecord(id=name, stage="s", state=state, attempt=1, fingerprint="", after=(), params={}, start_s=0.0)
        for name, state in states.items()
    }


@pytest.mark.parametrize("when", list(When))
def test_the_first_step_starts_unless_it_waits_for_a_failure(when: When) -> None:
    expected = Readiness.SKIP if when is When.FAILURE else Readiness.START
    assert judge(step_after(when=when), {}) is expected


@pytest.mark.parametrize(("a", "b"), list(product(ENDED, ENDED)))
def test_a_step_of_success_needs_all_done(a: StepState, b: StepState) -> None:
    found = judge(step_after("a", "b"), records(a=a, b=b))
    if {a, b} == {StepState.DONE}:
        assert found is Readiness.START
    elif BAD & {a, b} or StepState.SKIPPED not in (a, b):
        assert found is Readiness.BLOCK
    else:
        assert found is Readiness.SKIP  # nothing failed: what it comes after was not called for


@pytest.mark.parametrize(("a", "b"), list(product(ENDED, ENDED)))
def test_a_step_of_failure_needs_one_and_a_step_of_always_none(a: StepState, b: StepState) -> None:
    failed = bool(BAD & {a, b})
    assert judge(step_after("a", "b", when="failure"), records(a=a, b=b)) is (
        Readiness.START if failed else Readiness.SKIP
    )
    assert judge(step_after("a", "b", when="always"), records(a=a, b=b)) is Readiness.START


def test_the_reason_names_what_is_missing() -> None:
    states = records(a=StepState.DONE, b=StepState.FAILED, c=StepState.BLOCKED)
    assert explain(step_after("a", "b", "c"), states) == "needs b (failed), c (blocked)"
    assert explain(step_after("a", when="failure"), states) == "no failure of a"
    assert explain(step_after(when="failure"), states) == "it is there for a failure, and comes after no step"
