"""Stamps of what a step wrote: names and sizes of all files, so that what was deleted or cut short later is found.

The contents are not read, so that a stamp costs one listing, also for a large cube in an object store. A chunk that
keeps its size but not its bytes is found by its checksum when it is read (:mod:`radps.data.stores`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from radps.data.files import store_errors
from radps.data.stores import file_system
from radps.data.urls import format_bytes, is_local, local_path
from radps.errors import DataError


class OutputStamp(NamedTuple):
    """What there is below a URL."""

    files: int
    """Number of files."""
    bytes: int
    """Their total size."""
    digest: str
    """Of the sorted names, relative to the URL, and sizes."""


def stamp_output(url: str) -> OutputStamp:
    """Return the stamp of a file, or of a folder with all that is below it; of nothing, one without files.

    The same output has the same stamp at another place.

    Raises
    ------
    DataError
        The store does not answer, or the files may not be listed.
    """
    try:
        with store_errors(url):
            found = sorted(_list_local(local_path(url)) if is_local(url) else _list_remote(url))
    except OSError as error:
        check = "its permissions" if is_local(url) else "that the bucket is there, the endpoint, and the credentials"
        raise DataError(
            f"cannot list the files of {url}, which a step wrote: {error}; check {check}, and run again"
        ) from error
    digest = hashlib.sha256()
    for name, size in found:
        digest.update(f"{name}\0{size}\n".encode())
    return OutputStamp(len(found), sum(size for _, size in found), digest.hexdigest())


def describe_difference(old: OutputStamp, new: OutputStamp) -> str:
    """Return in words what became of an output; empty if it is what it was."""
    if old == new:
        return ""
    if new.files == 0:
        return f"all {old.files} files are gone"
    if new.files < old.files:
        return f"{old.files - new.files} of {old.files} files are gone"
    if new.files > old.files:
        return f"there are {new.files - old.files} files more than the {old.files} that were written"
    if new.bytes != old.bytes:
        return f"the {old.files} files have {format_bytes(new.bytes)} ({new.bytes} bytes) instead of {old.bytes} bytes"
    return f"some of the {old.files} files have another name or size"


def _list_local(root: str) -> Iterator[tuple[str, int]]:
    """Yield the name relative to a folder, and the size, of every file below it."""
    if os.path.isfile(root):
        yield "", os.path.getsize(root)
        return
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(os.path.join(root, folder)))
        except FileNotFoundError:
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}".lstrip("/")
            if entry.is_dir():
                folders.append(name)
            else:
                yield name, _size_of(entry)


def _size_of(entry: os.DirEntry[str]) -> int:
    """Return the size of a file; of a link that leads nowhere, that of the link."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False).st_size


def _list_remote(url: str) -> Iterator[tuple[str, int]]:
    """Yield the same of an object store."""
    system, path = file_system(url)
    root = path.rstrip("/")
    for name, entry in system.find(path, detail=True).items():
        yield str(name).removeprefix(root).strip("/"), int(entry["size"])
