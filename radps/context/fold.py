"""Steps of the fold over outcomes: what is put in, and what takes the place of what."""

from __future__ import annotations

from operator import attrgetter
from typing import TypeVar

from radps.context.base import Record
from radps.context.observation import DataGroup, Observation
from radps.errors import ContextError

T = TypeVar("T", bound=Record)


def merge(old: tuple[T, ...], new: tuple[T, ...], *keys: str) -> tuple[T, ...]:
    """Return ``old`` with the records of ``new`` put in, in place of those with the same keys; by default the name."""
    key = attrgetter(*(keys or ("name",)))
    merged = {key(record): record for record in old}
    merged.update({key(record): record for record in new})
    return tuple(merged.values())


def with_groups(observation: Observation, groups: dict[str, dict[str, DataGroup]]) -> Observation:
    """Return the observation with new data groups in its partitions.

    Raises
    ------
    ContextError
        A group is of a partition that there is not; lists those there are.
    """
    known = {partition.name for partition in observation.partitions}
    if unknown := set(groups) - known:
        raise ContextError(
            f"new data for unknown partitions {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}"
        )
    partitions = tuple(
        partition.model_copy(update={"groups": {**partition.groups, **groups.get(partition.name, {})}})
        for partition in observation.partitions
    )
    return observation.model_copy(update={"partitions": partitions})
