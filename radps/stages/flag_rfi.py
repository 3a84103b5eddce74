"""Flag interference by AOFlagger."""

from __future__ import annotations

from collections.abc import Sequence

from dask.delayed import Delayed
from pydantic import Field

from radps.context.model import Context
from radps.context.planning import VISIBILITY_BYTES, plan_intervals
from radps.context.records import DataGroup, Outcome
from radps.data.urls import absolute_url
from radps.domain.rfi import choose_strategy
from radps.graph_tasks.shapes import map_chunks, reduce_tree, run_task
from radps.node_tasks.flag_writing import FlagCounts, merge_flag_counts
from radps.node_tasks.interference import OWN_STRATEGY, check_strategy, flag_interference_block
from radps.stages._flags import WRITES, choose_group, finish_flags, flag_outcome, plan_new_flags
from radps.stages.base import StageParams

AOFLAGGER_BYTES = 8 * 8.0
"""Memory of AOFlagger for each complex number of its baseline: some eight copies of the image set and their masks."""

FLAG_COPIES = 4.0
"""Flags of all baselines in memory: as read and joined, what was found, what is written."""


class Params(StageParams):
    """Parameters of the stage `flag_rfi`."""

    writes = WRITES
    packages = ("aoflagger",)

    fields: tuple[str, ...] = ("all",)
    """Fields to look at."""
    data_group: str | None = None
    """Version of the data that is looked at; the newest by default. The flags are added to those of all versions."""
    strategy: str = "auto"
    """Name of a strategy that comes with AOFlagger, such as "generic-default", or the path of one of your own that ends
    in ".lua" (workers read it). "auto": the one for the telescope."""
    integrations: int = Field(default=240, ge=4)
    """Number of integrations that are looked at together, about: whole zarr chunks are taken."""

    def files_read(self) -> tuple[str, ...]:
        """Return the strategy, if it is a file."""
        return (self.strategy,) if self.strategy.endswith(OWN_STRATEGY) else ()


def flag_rfi(context: Context, params: Params) -> Delayed:
    """Flag interference by AOFlagger, each baseline by itself, all channels of a spectral window together.

    Needs the extra `radps[rfi]`. The flags do not depend on the cluster; they do depend on `integrations`.
    """
    strategy = params.strategy
    if strategy == "auto":
        strategy = choose_strategy(context.require_observation().telescope)
    elif strategy.endswith(OWN_STRATEGY):
        strategy = absolute_url(strategy)
    partitions = context.visibilities(params.fields)
    checked = run_task(context, check_strategy, strategy)
    groups, counts = {}, []
    for partition in partitions:
        part = context.for_part(partition, strategy)
        new = plan_new_flags(part, partition)
        n_baselines, channels_at_once = partition.shape[1], partition.chunks[1]
        # Of each cell: flags of all baselines, a zarr chunk of the data twice, and AOFlagger's images of one baseline.
        read = 2 * VISIBILITY_BYTES * n_baselines * min(1.0, channels_at_once / partition.shape[2])
        blocks, baselines_at_once = plan_intervals(
            part,
            partition,
            params.integrations,
            group=choose_group(partition, params.data_group),
            bytes_fixed=FLAG_COPIES * n_baselines + read + AOFLAGGER_BYTES,
            bytes_of_baseline=2 * VISIBILITY_BYTES,
        )
        parts = map_chunks(
            part,
            flag_interference_block,
            blocks,
            strategy,
            baselines_at_once,
            channels_at_once,
            new.job,
            name=f"flag-{partition.name}",
            after=[checked, *new.created],
        )
        counts.append(reduce_tree(part, merge_flag_counts, parts, name=f"count-{partition.name}"))
        groups[partition.name] = new.groups
    saved, antennas = finish_flags(context, partitions, counts)
    return run_task(context, _finish, saved, groups, antennas, strategy)


def _finish(
    counts: Sequence[FlagCounts],
    groups: dict[str, dict[str, DataGroup]],
    antennas: tuple[str, ...],
    strategy: str,
) -> Outcome:
    return flag_outcome(counts, groups, antennas, note=f"strategy {strategy.rpartition('/')[2]}")
