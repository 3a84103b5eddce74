"""Whether a step can start now: what became of the steps before it, and what it waits for."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from radps.context.records import StepRecord, StepState
from radps.workflows.model import Step
from radps.workflows.policy import When


class Readiness(enum.Enum):
    """What to do with a step."""

    START = enum.auto()
    BLOCK = enum.auto()
    """A step that it needs failed."""
    SKIP = enum.auto()
    """It is there for a failure that did not happen, or it comes after such a step."""


FAILED = (StepState.FAILED, StepState.BLOCKED)
"""States that a step with ``when: failure`` is there for."""


def judge(step: Step, records: Mapping[str, StepRecord]) -> Readiness:
    """Return what to do with a step when all steps before it have ended.

    Parameters
    ----------
    step : Step
        That waits.
    records : mapping
        Of all steps.
    """
    states = [records[name].state for name in step.after]
    failed = any(state in FAILED for state in states)
    if step.when is When.ALWAYS:
        return Readiness.START
    if step.when is When.FAILURE:
        return Readiness.START if failed else Readiness.SKIP
    if all(state is StepState.DONE for state in states):
        return Readiness.START
    return Readiness.SKIP if StepState.SKIPPED in states and not failed else Readiness.BLOCK


def explain(step: Step, records: Mapping[str, StepRecord]) -> str:
    """Return in words why a step did not start."""
    if step.when is When.FAILURE:
        if not step.after:
            return "it is there for a failure, and comes after no step"
        return f"no failure of {', '.join(step.after)}"
    missing = (name for name in step.after if records[name].state is not StepState.DONE)
    return "needs " + ", ".join(f"{name} ({records[name].state})" for name in missing)
