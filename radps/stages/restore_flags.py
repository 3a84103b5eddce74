"""Take an earlier version of the flags back."""

from __future__ import annotations

from collections.abc import Sequence

from dask.delayed import Delayed

from radps.context.flag_versions import FlagVersion
from radps.context.model import Context
from radps.context.planning import plan_blocks
from radps.context.queries import find_one
from radps.context.records import DataGroup, Outcome, Partition
from radps.errors import SelectionError
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.flag_writing import FlagCounts, compare_flags_block, merge_flag_counts
from radps.stages._flags import WRITES, choose_group, finish_flags, flag_job, flag_outcome
from radps.stages.base import StageParams

COPIES = 1.0
"""Memory of a task, in units of its visibilities with flags and weights: flags, old and restored ones."""


class Params(StageParams):
    """Parameters of the stage `restore_flags`."""

    writes = WRITES

    version: str
    """The id of the step after which the flags were as they shall be: `import_data` for those of the data."""
    fields: tuple[str, ...] = ("all",)
    """Fields whose flags are restored."""


def restore_flags(context: Context, params: Params) -> Delayed:
    """Give the data the flags again that they had after an earlier step (CASA `flagmanager` mode `restore`).

    Nothing is copied: the arrays of the earlier step are used again. Versions of the data that were made later, such as
    corrected data, keep the flags that they were made with, and the message names them.
    """
    version = find_one(context.flag_versions, params.version, "version of the flags")
    partitions = [one for one in context.visibilities(params.fields) if one.name in version.flags]
    if not partitions:
        raise SelectionError(
            f"version {version.name!r} has flags of none of the fields {', '.join(params.fields)}: their data were "
            f"imported later; versions: {', '.join(one.name for one in context.flag_versions)}"
        )
    groups: dict[str, dict[str, DataGroup]] = {}
    counts = []
    for partition in partitions:
        groups[partition.name] = _restored(partition, version)
        part = context.for_part(partition, version.flags[partition.name])
        name = _counted_group(partition, groups[partition.name])
        parts = map_chunks(
            part,
            compare_flags_block,
            plan_blocks(part, [partition], group=name, copies=COPIES),
            part.locate(groups[partition.name][name].flag),
            flag_job(part, partition),
            name=f"compare-{partition.name}",
        )
        counts.append(reduce_tree(part, merge_flag_counts, parts, name=f"count-{partition.name}"))
    kept = sorted({name for one in partitions for name in one.groups if name not in groups[one.name]})
    saved, antennas = finish_flags(context, partitions, counts)
    return run_task(context, _finish, saved, groups, antennas, version.name, kept)


def _restored(partition: Partition, version: FlagVersion) -> dict[str, DataGroup]:
    """Return the data groups that the version knows, with its flags."""
    paths = version.flags[partition.name]
    return {
        name: group.model_copy(update={"flag": paths[name]})
        for name, group in partition.groups.items()
        if name in paths
    }


def _counted_group(partition: Partition, restored: dict[str, DataGroup]) -> str:
    """Return the newest data group whose flags are restored."""
    newest = choose_group(partition, None)
    return newest if newest in restored else list(restored)[-1]


def _finish(
    counts: Sequence[FlagCounts],
    groups: dict[str, dict[str, DataGroup]],
    antennas: tuple[str, ...],
    version: str,
    kept: Sequence[str],
) -> Outcome:
    """Say what was restored, and what has no flags of that version."""
    note = f"flags as after step {version!r}"
    if kept:
        note += f"; made later, with flags of their own: {', '.join(kept)}"
    return flag_outcome(counts, groups, antennas, note=note)
