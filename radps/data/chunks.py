"""How the work is cut into chunks, from sizes and limits alone.

A plan is a pure function of its arguments: the same numbers give the same chunks, on every cluster and in every
resumed run. Chunks are whole multiples of ``align`` (the zarr chunk), as even as possible, at least two a slot where
there is enough to share out, and small enough for the memory of a slot. What a task is projected to take is noted.
"""

from __future__ import annotations

from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from radps.data.projections import note_projection
from radps.data.urls import format_bytes
from radps.errors import ResourceError

COMPLEX64_BYTES = 8
"""A visibility: complex64."""

CHUNK_BYTES = 16 * 2**20
"""Visibilities of a zarr chunk at most: a task that needs a part of the band reads little else."""

MIN_CHUNK_BYTES = 2**20
"""Visibilities of a zarr chunk at least, if there are as many: smaller files cost more time than their content."""

SLAB_BYTES = 64 * 2**20
"""Visibilities of all channels of a zarr chunk's times: stages that need the whole band hold a few of these."""

BAND_PARTS = 16
"""Zarr chunks across a band, if they are not too small: so many tasks can share the band."""

TASKS_PER_SLOT = 2
"""Chunks for each slot, if there are enough channels: the second one fills the gap while others still work."""


MOST_TASKS = 100_000
"""Chunks of a step at most: the largest step of tests/benchmarks/bench_scaling.py."""


class _Chunk(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    """Number of the chunk in its plan, from 0."""
    start: int
    """First element."""
    stop: int
    """One after the last element."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        """The elements as a slice."""
        return slice(self.start, self.stop)


class ChannelChunk(_Chunk):
    """A range of channels that one task works on."""


class TimeChunk(_Chunk):
    """A range of integrations that one task works on."""


def plan_storage_chunks(shape: tuple[int, int, int, int]) -> tuple[int, int]:
    """Choose the zarr chunks of visibilities: all baselines and polarizations, some times, some channels.

    It depends on the data alone, never on the cluster, because plans of sums follow the borders of chunks.

    Parameters
    ----------
    shape : tuple of int
        Times, baselines, channels, polarizations.

    Returns
    -------
    tuple of int
        Times and channels of a chunk. Times come first: as many as keep the whole band below ``SLAB_BYTES``, and a
        channel below ``CHUNK_BYTES``. Then channels: a ``BAND_PARTS``-th of the band, more where that is less than
        ``MIN_CHUNK_BYTES``, fewer where it is more than ``CHUNK_BYTES``.
    """
    n_times, n_baselines, n_channels, n_polarizations = shape
    cell = COMPLEX64_BYTES * n_baselines * n_polarizations
    times = min(n_times, max(1, min(SLAB_BYTES // n_channels, CHUNK_BYTES) // cell))
    smallest = -(-MIN_CHUNK_BYTES // (cell * times))
    largest = max(1, CHUNK_BYTES // (cell * times))
    channels = min(max(-(-n_channels // BAND_PARTS), smallest), largest, n_channels)
    return times, channels


def are_good_storage_chunks(shape: tuple[int, int, int, int], chunks: tuple[int, int, int, int]) -> bool:
    """Return True if data of these zarr chunks are worked on well as they are, without a copy.

    All baselines and polarizations have to be in one chunk. A chunk may have 4 times ``CHUNK_BYTES``, and the whole
    band of its times 4 times ``SLAB_BYTES``. The band has to be in 4 chunks, unless it has fewer channels or is small.
    """
    times, baselines, channels, polarizations = (min(one, size) for one, size in zip(chunks, shape, strict=True))
    slab = COMPLEX64_BYTES * times * shape[1] * shape[2] * shape[3]
    parts = -(-shape[2] // channels)
    return (
        (baselines, polarizations) == (shape[1], shape[3])
        and slab <= 4 * SLAB_BYTES
        and slab // shape[2] * channels <= 4 * CHUNK_BYTES
        and (parts >= min(4, shape[2]) or slab // shape[2] * channels <= 4 * MIN_CHUNK_BYTES)
    )


def plan_channel_chunks(
    n_channels: int,
    *,
    stage: str,
    bytes_per_channel: int,
    bytes_fixed: int,
    slots: int,
    memory_bytes: int,
    align: int = 1,
    max_tasks: int = MOST_TASKS,
) -> tuple[ChannelChunk, ...]:
    """Cut the channels into chunks.

    Parameters
    ----------
    n_channels : int
        Number of channels.
    stage : str
        Name of the stage, for the message.
    bytes_per_channel : int
        Memory that a task needs for each channel.
    bytes_fixed : int
        Memory that a task needs whatever the number of channels.
    slots : int
        Tasks that run at the same time on the cluster.
    memory_bytes : int
        Memory of one slot.
    align : int
        Channels of a zarr chunk of what the task reads or writes; chunks start at multiples of it.
    max_tasks : int
        No more chunks than this, unless memory asks for more.

    Returns
    -------
    tuple of ChannelChunk
        Disjoint, in order, covering all channels.

    Raises
    ------
    ResourceError
        If ``align`` channels do not fit into the memory of a slot.
    """
    bounds = _plan(n_channels, stage, "channel", bytes_per_channel, bytes_fixed, slots, memory_bytes, align, max_tasks)
    return tuple(ChannelChunk(index=index, start=a, stop=b) for index, (a, b) in enumerate(bounds))


def plan_time_chunks(
    n_times: int,
    *,
    stage: str,
    bytes_per_time: int,
    bytes_fixed: int,
    slots: int,
    memory_bytes: int,
    align: int = 1,
    max_tasks: int = MOST_TASKS,
) -> tuple[TimeChunk, ...]:
    """Cut the integrations into chunks; parameters and errors as in :func:`plan_channel_chunks`."""
    bounds = _plan(n_times, stage, "integration", bytes_per_time, bytes_fixed, slots, memory_bytes, align, max_tasks)
    return tuple(TimeChunk(index=index, start=a, stop=b) for index, (a, b) in enumerate(bounds))


def check_memory(what: str, needed_bytes: float, *, stage: str, memory_bytes: int, remedy: str = "") -> None:
    """Refuse a task whose size cannot be chosen, and that takes more memory than a slot has.

    Parameters
    ----------
    what : str
        What the task works on, for the message: "a block of 120 integrations and 64 channels".
    needed_bytes : float
        Projection of the memory that it takes.
    stage : str
        Name of the stage, for the message.
    memory_bytes : int
        Memory of one slot.
    remedy : str
        What helps besides workers with more memory: "make the image smaller".

    Raises
    ------
    ResourceError
        It does not fit.
    """
    note_projection(stage, what, needed_bytes, memory_bytes)
    if needed_bytes > memory_bytes:
        raise ResourceError(
            f"stage {stage}: {what} needs {format_bytes(needed_bytes)} of memory, and a worker slot has "
            f"{format_bytes(memory_bytes)}; give the workers more memory, or run fewer tasks on each"
            + (f", or {remedy}" if remedy else "")
        )


def _plan(
    size: int,
    stage: str,
    what: str,
    bytes_each: int,
    bytes_fixed: int,
    slots: int,
    memory_bytes: int,
    align: int,
    max_tasks: int,
) -> list[tuple[int, int]]:
    """Return (start, stop) of every chunk; the unit of the arithmetic is ``align`` elements."""
    if size == 0:
        return []
    units = -(-size // align)
    smallest = min(align, size)
    needed = bytes_fixed + smallest * bytes_each
    if needed > memory_bytes:
        raise ResourceError(
            f"stage {stage}: {smallest} {what}{' needs' if smallest == 1 else 's need'} {format_bytes(needed)} "
            f"of memory ({format_bytes(bytes_fixed)} whatever the number), and a worker slot has "
            f"{format_bytes(memory_bytes)}; give the workers more memory, run fewer tasks on each, or make the images "
            "smaller"
        )
    units_that_fit = units if bytes_each <= 0 else max(1, (memory_bytes - bytes_fixed) // (bytes_each * align))
    for_memory = -(-units // units_that_fit)
    for_slots = min(units, max(1, slots) * TASKS_PER_SLOT, max(1, max_tasks))
    n_chunks = max(for_memory, for_slots)
    edges = [align * (units * number // n_chunks) for number in range(n_chunks)] + [size]
    bounds = list(pairwise(edges))
    longest = max(stop - start for start, stop in bounds)
    note_projection(stage, f"a task of {longest} {what}s", bytes_fixed + longest * bytes_each, memory_bytes)
    return bounds
