"""The versions of the flags that a run has: one of each step that made or changed flags.

Nothing of it is kept beside the outcomes of the steps. The flags after a step are what the outcomes up to it leave, the
arrays of all attempts that count are still there, and so a version is known by the name of the step that made it.
"""

from __future__ import annotations

from collections.abc import Iterable

from radps.context.base import Record
from radps.context.records import StepRecord, StepState


class FlagVersion(Record):
    """The flags of all data as a step left them."""

    name: str
    """The id of the step."""
    stage: str
    message: str
    """What the step said."""
    flags: dict[str, dict[str, str]]
    """Partition -> data group -> path of its flags."""


def find_flag_versions(records: Iterable[StepRecord]) -> tuple[FlagVersion, ...]:
    """Return the versions of the flags that steps left, oldest first.

    Parameters
    ----------
    records : iterable of StepRecord
        In the order of the workflow; steps that are not done made nothing.
    """
    versions: list[FlagVersion] = []
    flags: dict[str, dict[str, str]] = {}
    for record in records:
        outcome = record.outcome
        if record.state is not StepState.DONE or outcome is None:
            continue
        before = flags
        if outcome.observation is not None:
            flags = {
                partition.name: {name: group.flag for name, group in partition.groups.items()}
                for partition in outcome.observation.partitions
            }
        for partition, groups in outcome.groups.items():
            changed = {name: group.flag for name, group in groups.items()}
            flags = {**flags, partition: {**flags.get(partition, {}), **changed}}
        if flags != before:
            versions.append(FlagVersion(name=record.id, stage=record.stage, message=outcome.message, flags=flags))
    return tuple(versions)
