"""Steps that would write the same part of the context at the same time are refused before the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from radps.workflows.model import Step
from radps.workflows.policy import When


def find_conflicts(steps: Sequence[Step]) -> Iterator[tuple[str, str]]:
    """Yield two steps that may run at the same time and fill the same shared part of the context, as a problem.

    Parameters
    ----------
    steps : sequence of Step
        Each one after those that it needs.

    Yields
    ------
    str
        The id of the second one.
    str
        What is wrong, and what to do.
    """
    before = _ancestors(steps)
    done = _done_before(steps)
    rescues = {step.id: set(step.after) for step in steps if step.when is When.FAILURE}
    for first, second in combinations(steps, 2):
        if first.id in before[second.id]:
            continue
        if _excludes(first, second, done, rescues) or _excludes(second, first, done, rescues):
            continue
        parts = set(first.params.writes) & set(second.params.writes)
        if parts:
            yield (
                second.id,
                f"steps {first.id!r} and {second.id!r} may run at the same time, and both write "
                f"{', '.join(sorted(parts))} of the context; let one come after the other: `after: [{first.id}]`",
            )


def _ancestors(steps: Sequence[Step]) -> Mapping[str, set[str]]:
    """Return the ids of all steps that each one needs, directly or not."""
    found: dict[str, set[str]] = {}
    for step in steps:
        found[step.id] = set(step.after).union(*(found.get(name, set()) for name in step.after))
    return found


def _done_before(steps: Sequence[Step]) -> Mapping[str, set[str]]:
    """Return the ids of all steps that are done for certain when a step starts."""
    found: dict[str, set[str]] = {}
    for step in steps:
        # A step for a failure, or for every case, starts whatever became of the steps before it.
        needs = step.after if step.when is When.SUCCESS else ()
        found[step.id] = set(needs).union(*(found.get(name, set()) for name in needs))
    return found


def _excludes(first: Step, second: Step, done: Mapping[str, set[str]], rescues: Mapping[str, set[str]]) -> bool:
    """Return True if the second step waits for a failure of steps that are all done where the first one runs."""
    return any(rescues[name] <= done[first.id] for name in {second.id, *done[second.id]} if name in rescues)
