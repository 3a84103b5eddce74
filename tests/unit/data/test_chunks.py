from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from radps.data.chunks import (
    TASKS_PER_SLOT,
    ChannelChunk,
    TimeChunk,
    are_good_storage_chunks,
    plan_channel_chunks,
    plan_storage_chunks,
    plan_time_chunks,
)
from radps.errors import ResourceError

GIB = 2**30


def plan(n_channels: int, **changes: int) -> tuple[ChannelChunk, ...]:
    numbers = {"bytes_per_channel": 1000, "bytes_fixed": 500, "slots": 2, "memory_bytes": GIB} | changes
    return plan_channel_chunks(n_channels, stage="image_cube", **numbers)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    n_channels=st.integers(1, 5000),
    bytes_per_channel=st.integers(0, 10_000),
    bytes_fixed=st.integers(0, 10_000),
    slots=st.integers(1, 64),
    memory_bytes=st.integers(1, 1_000_000),
    align=st.integers(1, 50),
    max_tasks=st.integers(1, 300),
)
def test_plan_covers_every_channel_once_in_chunks_that_fit(
    n_channels: int,
    bytes_per_channel: int,
    bytes_fixed: int,
    slots: int,
    memory_bytes: int,
    align: int,
    max_tasks: int,
) -> None:
    assume(bytes_fixed + min(align, n_channels) * bytes_per_channel <= memory_bytes)
    arguments = {
        "bytes_per_channel": bytes_per_channel,
        "bytes_fixed": bytes_fixed,
        "slots": slots,
        "memory_bytes": memory_bytes,
        "align": align,
        "max_tasks": max_tasks,
    }
    chunks = plan(n_channels, **arguments)
    assert [channel for chunk in chunks for channel in range(chunk.start, chunk.stop)] == list(range(n_channels))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.start % align == 0 for chunk in chunks)
    assert all(bytes_fixed + chunk.size * bytes_per_channel <= memory_bytes for chunk in chunks)
    # As even as possible: in units of zarr chunks, sizes differ by one at most.
    sizes = [-(-chunk.size // align) for chunk in chunks]
    assert max(sizes) - min(sizes) <= 1
    # Enough tasks for the slots, unless the channels or the limit of tasks are fewer.
    units = -(-n_channels // align)
    assert len(chunks) >= min(units, slots * TASKS_PER_SLOT, max_tasks)
    # The limit is broken only where memory asks for it: one chunk less would not fit.
    if len(chunks) > max_tasks:
        bigger = -(-units // (len(chunks) - 1)) * align
        assert bytes_fixed + bigger * bytes_per_channel > memory_bytes
    assert plan(n_channels, **arguments) == chunks


def test_one_channel_that_does_not_fit_names_both_sizes_and_the_remedy() -> None:
    with pytest.raises(
        ResourceError, match=r"stage image_cube: 1 channel needs 3 GiB of memory \(1 GiB .* slot has 2 GiB; give"
    ):
        plan(4, bytes_per_channel=2 * GIB, bytes_fixed=GIB, memory_bytes=2 * GIB)


def test_no_channels_give_no_chunks() -> None:
    assert plan(0) == ()


def test_two_tasks_a_slot() -> None:
    assert len(plan(46, slots=2)) == 4
    assert [chunk.size for chunk in plan(46, slots=2)] == [11, 12, 11, 12]
    assert len(plan(3, slots=2)) == 3


def test_time_chunks_follow_the_same_rules() -> None:
    chunks = plan_time_chunks(
        10, stage="apply", bytes_per_time=10, bytes_fixed=0, slots=1, memory_bytes=40, align=2, max_tasks=1
    )
    assert chunks == (
        TimeChunk(index=0, start=0, stop=2),
        TimeChunk(index=1, start=2, stop=6),
        TimeChunk(index=2, start=6, stop=10),
    )
    assert chunks[1].slice == slice(2, 6)


# --- chunks of the store -------------------------------------------------------------------------------------------

MIB = 2**20


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1),
        (12, 378, 63, 2),
        (4000, 351, 1024, 2),
        (60, 8256, 4096, 4),
        (100_000, 351, 1, 4),
        (7, 2016, 32_768, 4),
    ],
)
def test_storage_chunks_keep_to_their_sizes(shape: tuple[int, int, int, int]) -> None:
    times, channels = plan_storage_chunks(shape)
    assert 1 <= times <= shape[0]
    assert 1 <= channels <= shape[2]
    plane = 8 * shape[1] * shape[3]
    assert times == 1 or times * shape[2] * plane <= 64 * MIB
    assert channels == 1 or times * channels * plane <= 16 * MIB
    # no smaller than asked for, but where the data end
    assert times * channels * plane >= MIB or channels == shape[2]
    assert are_good_storage_chunks(shape, (times, shape[1], channels, shape[3])) or times * shape[2] * plane > 256 * MIB


def test_storage_chunks_of_real_data() -> None:
    assert plan_storage_chunks((12, 378, 63, 2)) == (12, 15)
    assert plan_storage_chunks((4000, 351, 1024, 2)) == (11, 64)


@pytest.mark.parametrize(
    ("chunks", "good"),
    [
        ((64, 351, 16, 2), True),
        ((500, 351, 2, 2), False),
        ((64, 100, 16, 2), False),
        ((64, 351, 16, 1), False),
        ((64, 351, 64, 2), False),
        ((10, 351, 64, 2), True),
    ],
)
def test_good_storage_chunks(chunks: tuple[int, int, int, int], good: bool) -> None:
    shape = (1000, 351, 128, 2)
    assert are_good_storage_chunks(shape, chunks) is good
