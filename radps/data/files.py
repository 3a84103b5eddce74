"""Small whole files of a run folder, on a disk or in an object store, each written in one atomic step.

1. Reading gives the bytes, or None where there is no file.
2. Replacing: a reader sees the old file or the new one, never a part. Local: a temporary file in the same folder,
   flushed to the disk and renamed. Object stores: one put of the whole object.
3. Creating fails if the file is there already, also if another process creates it at the same instant. Local: a hard
   link to a finished temporary file. S3: a put on condition that there is no object (``If-None-Match: *``).
4. Replacing on condition that the file is still the version that was read or written last: S3 checks it in the same
   step (``If-Match``). On a disk it is a comparison before the write, so whoever needs it holds a lock meanwhile.

A put whose answer got lost is sent again by the client, which then finds its own object there. So a condition that
failed is checked against the contents: what is there already exactly as it was to be written has been written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import fsspec

from radps.data.stores import file_system, require_folder
from radps.data.urls import is_local, local_path, split_url
from radps.errors import RadpsError

_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_CONDITION_FAILED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""Answers of S3 to a put on a condition that does not hold, or that lost against another put at the same time."""


_REST = re.compile(r".*\.\d+-[0-9a-f]{8}\.tmp")
"""Name of a temporary file."""


_READ_AT_ONCE = 200


class FileChangedError(OSError):
    """A file is no longer the version that was to be replaced."""


def read_file(url: str) -> bytes | None:
    """Return the bytes of a file, None if there is none.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with store_errors(url):
        system, path = file_system(url)
        try:
            return bytes(system.cat_file(path))
        except (FileNotFoundError, NotADirectoryError):
            return None


def read_files(folder: str, names: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield the names and the bytes of files of a folder, None for one that is gone; a store is asked for many at once.

    Raises
    ------
    OSError
        One of them cannot be read.
    """
    for start in range(0, len(names), _READ_AT_ONCE):
        some = names[start : start + _READ_AT_ONCE]
        with store_errors(folder):
            system, path = file_system(folder)
            found = system.cat([f"{path}/{name}" for name in some], on_error="return")
        for name in some:
            data = found[f"{path}/{name}"]
            if isinstance(data, FileNotFoundError):
                yield name, None
            elif isinstance(data, Exception):
                raise OSError(errno.EIO, f"{type(data).__name__}: {data}", f"{folder}/{name}") from data
            else:
                yield name, bytes(data)


def list_names(url: str) -> list[str]:
    """Return the names of the files directly below a folder, unsorted; none if there is no folder.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    with store_errors(url):
        system, path = file_system(url)
        try:
            return [str(name).rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []


def find_version(url: str) -> str | None:
    """Return what changes whenever the file is replaced, None if there is no file.

    To read a file and its version, ask for the version first: if the file changes in between, the version is too old,
    and a replacement on that condition fails, as it has to.
    """
    if is_local(url):
        try:
            status = os.stat(local_path(url))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    with store_errors(url):
        system, path = file_system(url)
        try:
            entry = system.info(path)
        except FileNotFoundError:
            return None
    return str(entry.get("ETag") or system.ukey(path))


def replace_file(url: str, data: bytes, *, version: str | None = None, durable: bool = True) -> str | None:
    """Write a file in one atomic step, in place of what is there.

    Parameters
    ----------
    url : str
        Where; folders are made.
    data : bytes
        The whole file.
    version : str, optional
        Replace only the file of this version (:func:`find_version`).
    durable : bool
        Wait until a local disk has it, so that it is there after the machine lost its power, too.

    Returns
    -------
    str or None
        The version of what was written.

    Raises
    ------
    FileChangedError
        The file is another version by now.
    OSError
        It cannot be written.
    """
    if is_local(url):
        if version is not None and find_version(url) != version:
            raise FileChangedError(errno.EBUSY, "another process changed the file", url)
        with _temporary_file(local_path(url), data, durable=durable) as temporary:
            os.replace(temporary, local_path(url))
        return find_version(url)
    with store_errors(url):
        return _replace_object(url, data, version)


def create_file(url: str, data: bytes) -> str | None:
    """Write a file that must not be there yet, in one atomic step.

    Returns
    -------
    str or None
        The version of what was written.

    Raises
    ------
    FileExistsError
        There is one already.
    OSError
        It cannot be written.
    """
    if is_local(url):
        path = local_path(url)
        with _temporary_file(path, data) as temporary:
            try:
                os.link(temporary, path)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                _create_without_links(path, data)
        return find_version(url)
    with store_errors(url):
        system, path = file_system(url)
        require_folder(split_url(url)[0])
        try:
            answer = system.pipe_file(path, data, mode="create")
        except OSError as error:
            if not (isinstance(error, FileExistsError) or _is_failed_condition(error)):
                raise
            version = _version_of_own(url, data)
            if version is None:
                raise FileExistsError(errno.EEXIST, "there is a file already", url) from error
            return version
        return _version_of_answer(answer, system, path)


def delete_file(url: str) -> None:
    """Remove a file; nothing happens if there is none.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    with store_errors(url):
        system, path = file_system(url)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            system.rm_file(path)


def is_rest(name: str) -> bool:
    """Return True for the name of a temporary file; one that is old is the rest of a process that was killed."""
    return _REST.fullmatch(name) is not None


def _replace_object(url: str, data: bytes, version: str | None) -> str | None:
    """Put an object, on a condition where the store knows conditions."""
    system, path = file_system(url)
    condition = {}
    if version is not None and "s3" in system.protocol:
        condition = {"IfMatch": version}
    elif version is not None and find_version(url) != version:
        raise FileChangedError(errno.EBUSY, "another process changed the file", url)
    require_folder(split_url(url)[0])
    try:
        answer = system.pipe_file(path, data, **condition)
    except OSError as error:
        # An object that was deleted does not match either.
        if not condition or not (isinstance(error, FileNotFoundError) or _is_failed_condition(error)):
            raise
        found = _version_of_own(url, data)
        if found is None:
            raise FileChangedError(errno.EBUSY, "another process changed the file", url) from error
        return found
    return _version_of_answer(answer, system, path)


def _version_of_own(url: str, data: bytes) -> str | None:
    """Return the version of an object if it is exactly what was to be written."""
    version = find_version(url)
    return version if version is not None and read_file(url) == data else None


def _version_of_answer(answer: object, system: fsspec.AbstractFileSystem, path: str) -> str:
    """Return the version of an object that was put: the answer of S3 has it, other stores are asked."""
    if isinstance(answer, dict) and answer.get("ETag"):
        return str(answer["ETag"])
    return str(system.info(path).get("ETag") or system.ukey(path))


def _is_failed_condition(error: BaseException) -> bool:
    """Return True if a store refused a put because of its condition."""
    response: Any = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", "")) in _CONDITION_FAILED


@contextlib.contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn the errors of a store's client into OSError.

    The clients have trees of their own for "no such host" and "no credentials", and radps does not know the clients.

    Raises
    ------
    OSError
        Whatever the client raised in the block; the package for this kind of URL is missing: what radps says of that.
    """
    try:
        yield
    except (OSError, RadpsError):
        raise
    except Exception as error:
        if is_local(url):
            raise
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", url) from error


@contextlib.contextmanager
def _temporary_file(path: str, data: bytes, *, durable: bool = True) -> Iterator[str]:
    """Write a file beside ``path``, to be renamed or linked to it; it is on the disk before, its name is after."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    if not durable:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create_without_links(path: str, data: bytes) -> None:
    """Create a file where the file system knows no hard links: a crash in the middle leaves a part of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
