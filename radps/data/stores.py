"""Zarr arrays and groups by URL: local paths, ``memory://``, and every other fsspec URL.

One policy for all stores of radps:

1. zarr format 3, with dimension names, so that xarray opens each group.
2. Compression by Blosc LZ4 with byte shuffle. Noise does not compress, so speed counts; flags and constant weights
   shrink to almost nothing. A checksum (CRC-32C) follows each chunk, so that a damaged one is an error and never wrong
   numbers; it costs about half a millisecond of CPU time per MiB that is written, and less when it is read.
3. Several tasks write one array at the same time. This is safe only if no two tasks touch one chunk, so that
   :func:`write_region` takes whole chunks and nothing else.
4. A chunk that equals the fill value is not stored.
5. A task may run twice, so creating exactly what is there already does nothing; anything else is refused.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Literal

import fsspec
import numpy as np
import numpy.typing as npt
import zarr
from fsspec.implementations.local import LocalFileSystem
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ContainsArrayError, ContainsGroupError
from zarr.storage import FsspecStore, LocalStore

from radps.data.damage import DAMAGE_ERRORS, describe_damaged_chunk
from radps.data.damage import Region as Region
from radps.data.measuring import count_written
from radps.data.urls import absolute_url as absolute_url
from radps.data.urls import format_bytes, is_local, local_path
from radps.data.urls import join_url as join_url
from radps.data.urls import split_url as split_url
from radps.errors import DataError, MissingPackageError, ResourceError

_NO_LISTINGS = {"use_listings_cache": False}
"""A listing that is kept in memory would miss what another process has written since."""

_kept_open: ContextVar[dict[tuple[str, str], zarr.Array[Any]] | None] = ContextVar("radps_open_arrays", default=None)


def file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the fsspec file system of a URL, and the path on it.

    Raises
    ------
    MissingPackageError
        The package for this kind of URL is not installed.
    DataError
        fsspec knows no such kind of URL.
    """
    if is_local(url):
        return LocalFileSystem(), local_path(url)
    with _explain_protocol(url):
        system, path = fsspec.core.url_to_fs(url, **_NO_LISTINGS)
    return system, path


@contextmanager
def _explain_protocol(url: str) -> Iterator[None]:
    """Say what fsspec lacks for a URL: a package, or all knowledge of it."""
    protocol = fsspec.core.split_protocol(url)[0]
    try:
        yield
    except ImportError as error:
        raise MissingPackageError(
            f"{url}: addresses of {protocol}:// need a package that is not installed: {error}"
        ) from error
    except ValueError as error:
        if protocol in fsspec.available_protocols():
            raise
        raise DataError(
            f"{url}: there is no kind of address {protocol}://; give a path, or one that fsspec knows, such as s3://"
        ) from error


def require_folder(url: str) -> None:
    """Make a folder with all above it, unless it is there; S3 has none, and would be asked for its bucket."""
    system, path = file_system(url)
    if "s3" not in system.protocol:
        system.makedirs(path, exist_ok=True)


def exists(url: str) -> bool:
    """Return True if there is a file or folder at the URL."""
    system, path = file_system(url)
    return bool(system.exists(path))


def delete(url: str) -> None:
    """Remove a file, or a folder with all that is in it; nothing happens if there is none."""
    system, path = file_system(url)
    if system.exists(path):
        system.rm(path, recursive=True)


def list_children(url: str) -> tuple[str, ...]:
    """Return the sorted names of what lies directly below a URL, hidden files left out."""
    system, path = file_system(url)
    names = (entry.rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False))
    return tuple(sorted(name for name in names if not name.startswith(".")))


def free_bytes(url: str) -> int | None:
    """Return the free bytes of the disk that holds a URL; None for object stores, which have no such limit."""
    if not is_local(url):
        return None
    path = local_path(url)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free


def check_free_bytes(url: str, needed_bytes: int, what: str) -> None:
    """Refuse a product that does not fit on the disk.

    Parameters
    ----------
    url : str
        Where it is to be written.
    needed_bytes : int
        Its size.
    what : str
        Its name, for the message ("stage image_cube: 4 images of 46 channels").

    Raises
    ------
    ResourceError
        With both sizes and the remedy.
    """
    free = free_bytes(url)
    if free is not None and needed_bytes > free:
        raise ResourceError(
            f"{what} needs {format_bytes(needed_bytes)} on disk, and {url} has {format_bytes(free)} free; "
            "free some space, write the run elsewhere, or make the product smaller"
        )


def open_store(url: str, *, read_only: bool = False) -> LocalStore | FsspecStore:
    """Return the zarr store of a URL, for use with zarr or xarray."""
    if is_local(url):
        return LocalStore(local_path(url), read_only=read_only)
    with _explain_protocol(url):
        return FsspecStore.from_url(url, storage_options=_NO_LISTINGS, read_only=read_only)


def create_group(url: str, attrs: Mapping[str, Any] | None = None, *, overwrite: bool = False) -> None:
    """Create a zarr group with attributes.

    Raises
    ------
    DataError
        If there is another one already and ``overwrite`` is False.
    """
    try:
        with _quiet():
            zarr.create_group(store=open_store(url), attributes=dict(attrs or {}), overwrite=overwrite)
    except (ContainsGroupError, ContainsArrayError) as error:
        if isinstance(error, ContainsArrayError) or not _same_attributes(open_group(url).attrs, attrs):
            raise _already_there(url) from error


def require_group(url: str, attrs: Mapping[str, Any] | None = None) -> None:
    """Create a zarr group with attributes unless there is one; several tasks may do so at once."""
    with suppress(ContainsGroupError), _quiet():  # another task may come between the look and the creation
        zarr.open_group(store=open_store(url), mode="a", attributes=dict(attrs or {}))


def require_parents(url: str) -> None:
    """Make every folder above a URL a zarr group, up to the nearest one whose name ends in ``.zarr``.

    So a tree that several tasks write at once, piece by piece, opens as a whole.
    """
    parts = url.rstrip("/").split("/")
    roots = [number for number, part in enumerate(parts[:-1]) if part.endswith(".zarr")]
    if roots:
        for stop in range(roots[-1] + 1, len(parts)):
            require_group("/".join(parts[:stop]))


def open_group(url: str) -> zarr.Group:
    """Open a zarr group for reading.

    Raises
    ------
    DataError
        If there is none.
    """
    try:
        return zarr.open_group(store=open_store(url, read_only=True), mode="r")
    except (FileNotFoundError, ValueError, OSError) as error:
        raise DataError(f"no zarr group at {url}: {_first_line(error)}; check the path") from error


def create_array(
    url: str,
    shape: Sequence[int],
    *,
    chunks: Sequence[int],
    dtype: npt.DTypeLike,
    dims: Sequence[str],
    attrs: Mapping[str, Any] | None = None,
    fill_value: Any = None,
    overwrite: bool = False,
) -> None:
    """Create a zarr array that holds its fill value everywhere.

    Parameters
    ----------
    url : str
        Where.
    shape, chunks : sequence of int
        Size of the array and of a chunk; a chunk longer than its axis is cut to the axis.
    dtype : dtype-like
        Type of an element.
    dims : sequence of str
        Names of the axes.
    attrs : mapping, optional
        Attributes, JSON-able.
    fill_value : optional
        What a chunk holds that nobody wrote; default NaN for floats and complex numbers, else 0.
    overwrite : bool
        Replace what is there.

    Raises
    ------
    DataError
        If there is a group or another array already and ``overwrite`` is False.
    """
    dtype = np.dtype(dtype)
    if fill_value is None and dtype.kind in "fc":
        fill_value = math.nan if dtype.kind == "f" else complex(math.nan, math.nan)
    chunks = tuple(max(1, min(chunk, size)) for chunk, size in zip(chunks, shape, strict=True))
    try:
        with _quiet():
            zarr.create_array(
                store=open_store(url),
                shape=tuple(shape),
                chunks=chunks,
                dtype=dtype,
                dimension_names=tuple(dims),
                attributes=dict(attrs or {}),
                fill_value=fill_value,
                compressors=(BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()),
                overwrite=overwrite,
            )
    except ContainsGroupError as error:
        raise _already_there(url) from error
    except ContainsArrayError as error:
        found = open_array(url)
        same = (found.shape, found.chunks, found.dtype) == (tuple(shape), chunks, dtype)
        if not same or not _same_attributes(found.attrs, attrs):
            raise _already_there(url) from error


def require_array(
    url: str,
    shape: Sequence[int],
    *,
    chunks: Sequence[int],
    dtype: npt.DTypeLike,
    dims: Sequence[str],
    attrs: Mapping[str, Any] | None = None,
    fill_value: Any = None,
) -> None:
    """Create a zarr array unless there is one of this shape, chunks and type, whose chunks are then kept.

    A task that is repeated, because the worker that held its result was lost, so leaves what other tasks have written
    since. Parameters as of :func:`create_array`.

    Raises
    ------
    DataError
        If there is something else at the URL.
    """
    try:
        create_array(url, shape, chunks=chunks, dtype=dtype, dims=dims, attrs=attrs, fill_value=fill_value)
    except DataError as error:
        there = open_array(url)
        wanted = tuple(max(1, min(chunk, size)) for chunk, size in zip(chunks, shape, strict=True))
        if (there.shape, there.chunks, there.dtype) != (tuple(shape), wanted, np.dtype(dtype)):
            raise DataError(
                f"{url} has shape {there.shape}, chunks {there.chunks}, type {there.dtype}; wanted are {tuple(shape)}, "
                f"{wanted}, {np.dtype(dtype)}; choose another name, or delete what is there"
            ) from error


def save_array(
    url: str,
    data: npt.ArrayLike,
    *,
    dims: Sequence[str],
    attrs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Create a small array in one chunk and write it; text is stored as XRADIO does, in fixed-length UTF-32."""
    array = np.asarray(data)
    if array.dtype.kind == "U" and array.dtype.itemsize == 0:
        array = array.astype("U1")
    create_array(url, array.shape, chunks=array.shape, dtype=array.dtype, dims=dims, attrs=attrs, overwrite=overwrite)
    if array.size:
        open_array(url, mode="r+")[...] = array
        count_written(array.nbytes)


def open_array(url: str, mode: Literal["r", "r+"] = "r") -> zarr.Array[Any]:
    """Open a zarr array for reading (``"r"``) or writing of chunks (``"r+"``).

    Raises
    ------
    DataError
        If there is none.
    """
    kept = _kept_open.get()
    if kept is None:
        return _open_array(url, mode)
    if (url, mode) not in kept:
        kept[url, mode] = _open_array(url, mode)
    return kept[url, mode]


@contextmanager
def keep_open() -> Iterator[None]:
    """Open each array once in the block, by this thread: for tasks that read or write an array piece by piece.

    What is opened stays as it was found: nothing in the block may replace or resize an array.
    """
    token = _kept_open.set({})
    try:
        yield
    finally:
        _kept_open.reset(token)


def load_array(url: str, region: Region | None = None) -> npt.NDArray[Any]:
    """Read an array, or a region of it, into memory.

    Raises
    ------
    DataError
        There is none, or a chunk of it is damaged; names the chunk, and the step that makes it again.
    """
    array = open_array(url)
    try:
        return np.asarray(array[region if region is not None else ...])
    except DAMAGE_ERRORS as error:
        raise DataError(describe_damaged_chunk(array, url, region, error)) from error


def write_region(url: str, region: Region, data: npt.NDArray[Any]) -> None:
    """Write whole chunks of an array.

    Parameters
    ----------
    url : str
        A zarr array.
    region : tuple of slice
        One slice an axis, without a step. Each one starts at a chunk boundary and ends at one or at the end of the
        axis, so that tasks that write different regions never touch the same chunk.
    data : ndarray
        Values of that region.

    Raises
    ------
    DataError
        If the region cuts a chunk, or the data are of another shape.
    """
    array = open_array(url, mode="r+")
    if len(region) != array.ndim:
        raise DataError(f"{len(region)} slices for {url}, which has {array.ndim} axes {array.shape}; give one an axis")
    expected = []
    for axis, (part, size, chunk) in enumerate(zip(region, array.shape, array.chunks, strict=True)):
        start, stop, _ = part.indices(size)
        if start % chunk or (stop % chunk and stop != size):
            raise DataError(
                f"region {start}:{stop} of axis {axis} of {url} cuts a chunk of {chunk}; tasks write at the same time, "
                f"so start at a multiple of {chunk} and stop at one or at the end ({size})"
            )
        expected.append(stop - start)
    if tuple(expected) != data.shape:
        raise DataError(f"data of shape {data.shape} for a region of shape {tuple(expected)} of {url}")
    array[region] = data
    count_written(data.nbytes)


def consolidate(url: str) -> None:
    """Copy the metadata of all members of a group into the group, so that xarray opens it with one read."""
    with _quiet():
        zarr.consolidate_metadata(open_store(url))


def _open_array(url: str, mode: Literal["r", "r+"]) -> zarr.Array[Any]:
    store = open_store(url, read_only=mode == "r")
    try:
        # Whoever asks for one format alone asks for one file instead of three.
        with suppress(FileNotFoundError):
            return zarr.open_array(store=store, mode=mode, zarr_format=3)
        return zarr.open_array(store=store, mode=mode)
    except (FileNotFoundError, ValueError, OSError) as error:
        raise DataError(f"no zarr array at {url}: {_first_line(error)}; check the path") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence zarr's two notes that fixed-length text and consolidated metadata are not in its specification yet.

    XRADIO writes both, and radps follows the files that XRADIO writes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _same_attributes(found: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return True if attributes read from a store are those that would be written."""
    return json.dumps(dict(found), sort_keys=True) == json.dumps(dict(wanted or {}), sort_keys=True)


def _already_there(url: str) -> DataError:
    return DataError(f"there is already something at {url}; choose another name, or overwrite it on purpose")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
