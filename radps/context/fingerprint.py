"""Fingerprints: is a step that was done still up to date, and if not, why.

The fingerprint of a step is a text of parts, each one the start of a SHA-256::

    stage=... params=... code=... versions=... data=... after.<step>=...

1. ``stage``: its name. ``params``: all parameters, defaults included. ``code``: the source file of the stage.
2. ``versions``: radps, Python, and the distributions that the numbers depend on.
3. ``data``: the data sets of the config and the intents given there, for stages that read them.
4. ``after.<step>``: attempt and fingerprint of each step before it. As theirs hold those of the steps before them, a
   change anywhere reaches everything that depends on it, and nothing else.

A hash per part, instead of one for all, is what lets :func:`why_not_done` say what changed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import radps
from radps.context.records import StepRecord, StepState
from radps.data.stores import file_system
from radps.data.urls import is_local, local_path
from radps.errors import DataError

DEPENDENCIES = (
    "astropy",
    "dask",
    "distributed",
    "ducc0",
    "numba",
    "numpy",
    "pydantic",
    "pyuvdata",
    "scipy",
    "xarray",
    "xradio",
    "zarr",
)
"""Distributions whose version is a part of the fingerprint."""

HASHED_BYTES = 64 * 2**20
"""Files up to this size are known by their content, larger ones by size and time of change."""


@functools.cache
def _dependency_versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of the dependencies that are installed; they cannot change while the process lives."""
    found = []
    for name in DEPENDENCIES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def current_versions() -> dict[str, str]:
    """Return name -> version of radps, Python, and the main dependencies."""
    return {"radps": radps.__version__, "python": platform.python_version(), **dict(_dependency_versions())}


def fingerprint(
    *,
    stage: str,
    params: Mapping[str, Any],
    code: str,
    versions: Mapping[str, str],
    data: str = "",
    ancestors: Iterable[StepRecord] = (),
) -> str:
    """Return the fingerprint of a step: parts ``name=hash``, separated by spaces.

    Parameters
    ----------
    stage : str
        Name of the stage.
    params : mapping
        All parameters, plain JSON.
    code : str
        Of :func:`code_stamp`.
    versions : mapping
        Of :func:`current_versions`.
    data : str
        Of :func:`data_stamp`, empty for a stage that reads no data sets.
    ancestors : iterable of StepRecord
        The records of the steps directly before this one.
    """
    parts = {
        "stage": _digest(stage),
        "params": _digest(params),
        "code": code,
        "versions": _digest(versions),
        **({"data": data} if data else {}),
        **{f"after.{record.id}": _digest([record.attempt, record.fingerprint]) for record in ancestors},
    }
    return " ".join(f"{name}={value}" for name, value in parts.items())


def why_not_done(
    record: StepRecord | None, new: str, *, stage: str, params: Mapping[str, Any], versions: Mapping[str, str]
) -> str:
    """Return in words why a step has to be done (again); an empty text if it is done and up to date.

    Parameters
    ----------
    record : StepRecord or None
        What is known of its last attempt.
    new : str
        Its fingerprint now.
    stage, params, versions
        As they are now, to name what changed.
    """
    if record is None or record.attempt == 0:
        return "never run"
    if record.state is StepState.FAILED:
        return f"failed: {_short(record.error)}"
    if record.state in (StepState.STOPPED, StepState.RUNNING):
        return "was interrupted"
    if record.state is not StepState.DONE:
        return record.error or "not done"
    if record.fingerprint == new:
        return ""
    before, now = _parts(record.fingerprint), _parts(new)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(_change(name, record, before, now, stage, params, versions) for name in changed)


def code_stamp(function: Callable[..., Any]) -> str:
    """Return a hash of the source file of a stage's function, or of its name where there is no file."""
    path = inspect.getsourcefile(function)
    if path is None or not os.path.isfile(path):
        return _digest(function.__qualname__)
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()[:16]


def data_stamp(paths: Iterable[str], intents: Mapping[str, Iterable[str]]) -> str:
    """Return a hash that changes when one of the data sets, or the intents given for them, change.

    Parameters
    ----------
    paths : iterable of str
        Files or folders, local or any fsspec URL.
    intents : mapping
        Field -> intents.

    Raises
    ------
    DataError
        There is nothing at a path.
    """
    stamps = [_path_stamp(path) for path in paths]
    return _digest([stamps, {field: list(words) for field, words in sorted(intents.items())}])


def _path_stamp(path: str) -> list[Any]:
    """Return what identifies the content of a file or folder."""
    if not is_local(path):
        return _remote_stamp(path)
    local = local_path(path)
    if os.path.isfile(local):
        return _file_stamp(local)
    if not os.path.isdir(local):
        raise DataError(f"there is no file or folder {path}; check data.path")
    stamps = []
    for folder, folders, names in os.walk(local):
        folders.sort()
        for name in sorted(names):
            status = os.stat(os.path.join(folder, name))
            stamps.append([os.path.relpath(os.path.join(folder, name), local), status.st_size, status.st_mtime_ns])
    return stamps


def _file_stamp(path: str) -> list[Any]:
    status = os.stat(path)
    if status.st_size > HASHED_BYTES:
        return [status.st_size, status.st_mtime_ns]
    with open(path, "rb") as stream:
        return [status.st_size, hashlib.file_digest(stream, "sha256").hexdigest()]


def _remote_stamp(path: str) -> list[Any]:
    """Return names and sizes of the objects below a URL, with the tag or time by which their store knows versions."""
    system, root = file_system(path)
    found = system.find(root, detail=True)
    if not found:
        raise DataError(f"there is no file or folder {path}; check data.path")
    words = ("ETag", "etag", "LastModified", "mtime", "created")
    return [
        [name, info.get("size"), next((str(info[word]) for word in words if word in info), "")]
        for name, info in sorted(found.items())
    ]


def _change(
    name: str,
    record: StepRecord,
    before: Mapping[str, str],
    now: Mapping[str, str],
    stage: str,
    params: Mapping[str, Any],
    versions: Mapping[str, str],
) -> str:
    """Return in words what one changed part means."""
    if name == "stage":
        return f"stage {record.stage} -> {stage}"
    if name == "params":
        return "parameters changed: " + _difference(record.params, params)
    if name == "versions":
        return "versions changed: " + _difference(record.versions, versions)
    if name == "code":
        return "the code of the stage changed"
    if name == "data":
        return "the input data or their intents changed"
    step = name.removeprefix("after.")
    if name not in before:
        return f"now comes after step {step}"
    return f"no longer comes after step {step}" if name not in now else f"step {step} was done again"


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return ``name old -> new`` for what differs between two mappings."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {_value(before, name)} -> {_value(now, name)}" for name in names)


def _value(mapping: Mapping[str, Any], name: str) -> str:
    return _short(json.dumps(mapping[name], default=str)) if name in mapping else "(none)"


def _parts(text: str) -> dict[str, str]:
    """Return the parts of a fingerprint by name."""
    return {name: value for name, _, value in (part.partition("=") for part in text.split())}


def _short(text: str | None, length: int = 60) -> str:
    line = (text or "").partition("\n")[0]
    return line if len(line) <= length else line[: length - 3] + "..."


def _digest(value: object) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the canonical JSON of a value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
