"""Provenance: who made the products of a step, where, with which software, from which code and which data.

Each attempt of a step records it; see :mod:`radps.context.lineage` for the chain of steps that leads to a product.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable, Mapping
from typing import Literal

from radps.context.base import Record
from radps.context.drivers import find_user
from radps.context.git import GitState, read_git_state
from radps.context.user_code import CodeFile, find_code
from radps.context.versions import imported_versions
from radps.data.stamps import stamp_data, stamp_file


class InputData(Record):
    """A data set or a file that a step read."""

    path: str
    size_bytes: int
    sha256: str
    """Of what ``hashed`` says."""
    hashed: Literal["content", "names, sizes and times"]
    """A single file up to 64 MiB is hashed by its content; hashing larger ones would take longer than reading them."""


class StepRead(Record):
    """A step whose products a step had before it."""

    step: str
    attempt: int
    fingerprint: str


class Provenance(Record):
    """Who made the products of an attempt of a step, where, and with what."""

    host: str
    """Of the driver."""
    user: str
    cores: int
    """That the driver may use."""
    cluster: str
    """Where the tasks were computed, in words."""
    python: str
    platform: str
    distributions: dict[str, str]
    """Name -> version: what the driver had imported, and what the numbers depend on."""
    code: tuple[CodeFile, ...]
    """The file of the stage; of a user's stage also the user's own modules that it imports."""
    git: GitState | None = None
    """Of the repository of a user's stage."""
    inputs: tuple[InputData, ...] = ()
    """The data sets of the config, for a stage that reads them, and the files that parameters name."""
    steps_read: tuple[StepRead, ...] = ()
    """The steps before this one."""


def collect_provenance(
    *,
    stage_module: str,
    cluster: str,
    versions: Mapping[str, str],
    data_paths: Iterable[str] = (),
    files: Iterable[str] = (),
    steps_read: Iterable[StepRead] = (),
) -> Provenance:
    """Return the provenance of a step that begins now.

    Parameters
    ----------
    stage_module : str
        Module of the stage's function.
    cluster : str
        Where it is computed, in words.
    versions : mapping
        Versions that are a part of the step's fingerprint.
    data_paths : iterable of str
        Data sets that the stage reads.
    files : iterable of str
        Files that its parameters name; those that are not there are left out.
    steps_read : iterable of StepRead
        All steps that it needs, directly or not.

    Raises
    ------
    DataError
        A data set is not there.
    """
    code = find_code(stage_module)
    of_user = stage_module.partition(".")[0] != "radps"
    stamps = {path: stamp_data(path) for path in data_paths}
    stamps |= {path: stamp for path in files if (stamp := stamp_file(path)) is not None}
    return Provenance(
        host=socket.gethostname(),
        user=find_user(),
        cores=len(os.sched_getaffinity(0)),
        cluster=cluster,
        python=platform.python_version(),
        platform=platform.platform(),
        distributions=dict(sorted({**imported_versions(), **_without_python(versions)}.items())),
        code=code,
        git=read_git_state([file.path for file in code]) if of_user and code else None,
        inputs=tuple(
            InputData(path=path, size_bytes=stamp.size_bytes, sha256=stamp.digest, hashed=stamp.of)
            for path, stamp in stamps.items()
        ),
        steps_read=tuple(steps_read),
    )


def _without_python(versions: Mapping[str, str]) -> dict[str, str]:
    return {name: version for name, version in versions.items() if name != "python"}
