"""What identifies the content of a data set, so that a change of it is seen."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Literal, NamedTuple

from radps.data.urls import absolute_url, is_local, local_path
from radps.errors import DataError

HASHED_BYTES = 64 * 2**20
"""Files up to this size are known by their content, larger ones by size and time of change."""


class DataStamp(NamedTuple):
    """What identifies a file or a folder as it was."""

    size_bytes: int
    """Of all files together."""
    digest: str
    """Hexadecimal SHA-256: of the content, or of the list of names, sizes and times."""
    of: Literal["content", "names, sizes and times"]


def stamp_data(path: str) -> DataStamp:
    """Return what identifies a data set.

    Parameters
    ----------
    path : str
        A file or folder, local or any fsspec URL.

    Raises
    ------
    DataError
        There is nothing at the path, it cannot be read, or its store does not answer.
    """
    stamp = _stamp(path)
    if stamp is None:
        raise DataError(f"there is no file or folder {path}; check data.path")
    return stamp


def stamp_file(path: str) -> DataStamp | None:
    """Return what identifies a file that a parameter names; None if it is not there, which the step says itself.

    Raises
    ------
    DataError
        It cannot be read, or its store does not answer.
    """
    return _stamp(absolute_url(path))


def _stamp(path: str) -> DataStamp | None:
    """Return what identifies what is at a path; None if nothing is."""
    if not is_local(path):
        return _stamp_objects(path)
    local = local_path(path)
    try:
        if os.path.isfile(local):
            return _stamp_file(local)
        return _stamp_folder(local) if os.path.isdir(local) else None
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error}; check its permissions, and that nobody changes it now"
        ) from error


def _stamp_file(path: str) -> DataStamp:
    status = os.stat(path)
    if status.st_size > HASHED_BYTES:
        return _of_list(status.st_size, [status.st_size, status.st_mtime_ns])
    with open(path, "rb") as stream:
        return DataStamp(status.st_size, hashlib.file_digest(stream, "sha256").hexdigest(), "content")


def _stamp_folder(path: str) -> DataStamp:
    entries, size = [], 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            status = _status(os.path.join(folder, name))
            entries.append([os.path.relpath(os.path.join(folder, name), path), status.st_size, status.st_mtime_ns])
            size += status.st_size
    return _of_list(size, entries)


def _status(path: str) -> os.stat_result:
    """Return what is known of a file; of a link that leads nowhere, as editors make, of the link itself."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return os.lstat(path)


def _stamp_objects(url: str) -> DataStamp | None:
    """Stamp the objects below a URL by names, sizes, and the tag or time by which their store knows versions."""
    from radps.data.files import store_errors  # imports zarr, which models do not need
    from radps.data.stores import file_system

    try:
        with store_errors(url):
            system, root = file_system(url)
            found = system.find(root, detail=True)
    except FileNotFoundError:  # no such bucket
        return None
    except OSError as error:
        raise DataError(f"cannot read {url}: {error}; check that URL, the endpoint, and the credentials") from error
    if not found:
        return None
    words = ("ETag", "etag", "LastModified", "mtime", "created")
    entries = [
        [name, info.get("size"), next((str(info[word]) for word in words if word in info), "")]
        for name, info in sorted(found.items())
    ]
    return _of_list(sum(info.get("size") or 0 for info in found.values()), entries)


def _of_list(size_bytes: int, entries: list[Any]) -> DataStamp:
    text = json.dumps(entries, separators=(",", ":"))
    return DataStamp(size_bytes, hashlib.sha256(text.encode()).hexdigest(), "names, sizes and times")
