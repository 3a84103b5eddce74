"""Where a zarr array is damaged, and what to do about it, in words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import zarr

Region = tuple[slice, ...]

DAMAGE_ERRORS = (RuntimeError, ValueError, OSError, IndexError)
"""What zarr raises for a chunk that cannot be decoded or whose checksum is wrong."""

_STEP = re.compile(r"(?:\.zarr/([^/]+)-\d+|/([^/]+)-\d+(?:\.ps)?\.zarr)(?=/|$)")
"""``context.zarr/<step>-<attempt>`` or ``images/<step>-<attempt>.zarr``."""

_MAX_CHUNKS = 10_000


def describe_damaged_chunk(array: zarr.Array[Any], url: str, region: Region | None, error: BaseException) -> str:
    """Return the message of an array that cannot be read.

    Parameters
    ----------
    array : zarr.Array
        Opened.
    url : str
        Where it is.
    region : tuple of slice, optional
        What was read; default everything.
    error : BaseException
        What zarr said.

    Returns
    -------
    str
        Names the first damaged chunk, and the step that can make the array again.
    """
    chunk = next(filter(lambda one: _is_damaged(array, one), _chunks(array, region)), None)
    where = f"the chunk {_describe(array, chunk)} of the zarr array {url}" if chunk else f"the zarr array {url}"
    return f"{where} is damaged: {_first_line(error)}; {remedy(url)}"


def remedy(url: str) -> str:
    """Return what to do about data that are damaged, from where they are."""
    found = _STEP.search(url)
    if found:
        return f"make it again by `radps-run ... --redo {found.group(1) or found.group(2)}`"
    return "delete it and make it again"


def _chunks(array: zarr.Array[Any], region: Region | None) -> Iterator[Region]:
    """Return the chunks that a region touches; of a region of too many chunks, the first ones."""
    region = region or (slice(None),) * array.ndim
    axes = []
    for axis, (size, chunk) in enumerate(zip(array.shape, array.chunks, strict=True)):
        start, stop, _ = (region[axis] if axis < len(region) else slice(None)).indices(size)
        first = start // chunk * chunk
        axes.append([slice(left, min(left + chunk, size)) for left in range(first, stop, chunk)])
    return itertools.islice(itertools.product(*axes), _MAX_CHUNKS)


def _is_damaged(array: zarr.Array[Any], chunk: Region) -> bool:
    try:
        array[chunk]
    except DAMAGE_ERRORS:
        return True
    return False


def _describe(array: zarr.Array[Any], chunk: Region) -> str:
    """Return a chunk by the names of its axes: ``time 0:32, frequency 8:16``."""
    names = getattr(array.metadata, "dimension_names", None) or [f"axis {axis}" for axis in range(array.ndim)]
    return ", ".join(f"{name} {part.start}:{part.stop}" for name, part in zip(names, chunk, strict=True))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
