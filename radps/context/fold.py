"""Steps of the fold over outcomes: what is put in, and what takes the place of what."""

from __future__ import annotations

from operator import attrgetter
from typing import TypeVar

from radps.context.base import Record
from radps.context.imaging_state import FrequencyRange, LineSearch
from radps.context.observation import DataGroup, Observation
from radps.errors import ContextError

T = TypeVar("T", bound=Record)


def merge(old: tuple[T, ...], new: tuple[T, ...], *keys: str) -> tuple[T, ...]:
    """Return ``old`` with the records of ``new`` put in, in place of those with the same keys; by default the name."""
    key = attrgetter(*(keys or ("name",)))
    merged = {key(record): record for record in old}
    merged.update({key(record): record for record in new})
    return tuple(merged.values())


def merge_line_free(
    old: tuple[FrequencyRange, ...] | None,
    new: tuple[FrequencyRange, ...] | None,
    searches: tuple[LineSearch, ...],
) -> tuple[FrequencyRange, ...] | None:
    """Return the line-free ranges after a step: its own take the place of those of the same field and window.

    Ranges that name neither hold for everything, and take the place of all.
    """
    if new is None:
        return old
    keys = {(one.field, one.window) for one in new} | {(one.field, one.window) for one in searches}
    if not keys or ("", "") in keys:
        return new
    return tuple(one for one in old or () if (one.field, one.window) not in keys) + new


def with_groups(observation: Observation, groups: dict[str, dict[str, DataGroup]]) -> Observation:
    """Return the observation with new data groups in its partitions, the newest visibilities last.

    A group that only gets new flags keeps its place: its visibilities are as old as they were.

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
        partition.model_copy(update={"groups": _newest_last(partition.groups, groups.get(partition.name, {}))})
        for partition in observation.partitions
    )
    return observation.model_copy(update={"partitions": partitions})


def _newest_last(old: dict[str, DataGroup], new: dict[str, DataGroup]) -> dict[str, DataGroup]:
    """Return the groups with those that are new, or whose visibilities were made again, at the end."""
    kept = {name: group for name, group in old.items() if name not in new or new[name].visibility == group.visibility}
    return {**kept, **new}
