"""Blocks whose times depend on the data alone."""

from __future__ import annotations

import pytest

from radps.context.model import Context, Workspace
from radps.context.planning import plan_intervals
from radps.context.records import DataGroup, Partition, Resources
from radps.errors import ResourceError

GROUP = DataGroup(visibility="V", flag="F", weight="W", uvw="U")


def plan(memory_bytes: int, *, n_times: int = 100, align: int = 8, slots: int = 2) -> tuple[list[tuple[int, int]], int]:
    """Return the times of the blocks and the baselines at once, for 40 bytes of a baseline and 1,000 whatever."""
    partition = Partition(
        name="p",
        dataset="d",
        path="p",
        field="f",
        window="w",
        intents=(),
        shape=(n_times, 50, 16, 2),
        chunks=(align, 4),
        polarizations=("RR", "LL"),
        integration_time_s=1.0,
        scans={},
        groups={"base": GROUP},
    )
    place = Workspace(url="run", step="s", resources=Resources(slots=slots, memory_bytes=memory_bytes))
    context = Context(run_id="r").at(place)
    blocks, baselines = plan_intervals(context, partition, 30, bytes_fixed=1000, bytes_of_baseline=40)
    assert all(block.channels == (0, 16) for block in blocks)
    return [block.times for block in blocks], baselines


def test_times_are_cut_by_the_data_alone_on_the_borders_of_chunks() -> None:
    times, baselines = plan(10**9)
    assert times == [(0, 32), (32, 64), (64, 100)]
    assert baselines == 50
    cells = 36 * 16 * 2
    little = cells * (1000 + 40 * 7) + 10
    assert plan(little, slots=64) == (times, 7)
    assert plan(10**9, n_times=5) == ([(0, 5)], 50)
    assert plan(10**9, align=100)[0] == [(0, 100)]


def test_a_block_that_does_not_fit_with_one_baseline_is_refused() -> None:
    with pytest.raises(
        ResourceError,
        match=r"stage s: a task of 36 integrations of p needs .* of memory, and a worker slot has .* of 8\)",
    ):
        plan(36 * 16 * 2 * 1039)
