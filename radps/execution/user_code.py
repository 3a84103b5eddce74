"""The user's own code on a cluster that runs already: is it there, is it the same as here, and else it is sent.

1. Scheduler and workers say where they would import each module from, and the hash of its source. What they imported
   before is forgotten first: a process that has lived longer than the last edit would go on with the old code.
2. Where a module is missing, all modules are put into a zip archive, which goes to the scheduler and, as a plugin, to
   all workers, those that come later included. Python imports from archives.
3. A module that is another one there than here is refused: which of them counts is not for radps to say. Only what
   radps sent before is replaced.
"""

from __future__ import annotations

import hashlib
import io
import os
import socket
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client, Worker, WorkerPlugin

from radps.context.user_code import CodeFile, forget_modules, locate_source, read_code
from radps.errors import ClusterError

_ARCHIVE = "radps-user-code"
"""Start of the names of the archives that are sent."""

_SCHEDULER = "the scheduler"


class _Found(NamedTuple):
    """A module as one process of the cluster finds it."""

    place: str
    """File, or archive and path in it; empty if there is no such module."""
    sha256: str


class UserCode(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Puts an archive of the user's modules onto the Python path of a worker.

    Parameters
    ----------
    archive : bytes
        A zip file.
    """

    def __init__(self, archive: bytes) -> None:
        self.archive = archive
        self.name = f"{_ARCHIVE}-{hashlib.sha256(archive).hexdigest()[:12]}"

    def setup(self, worker: Worker) -> None:
        """Put the archive in front; called when the plugin is registered, and by workers that come later."""
        _put_on_path(self.archive, self.name, worker.local_directory)


def send_user_code(client: Client, modules: Sequence[str], where: str) -> None:
    """Make sure that scheduler and workers import the user's modules as they are here; send them if they are missing.

    Parameters
    ----------
    client : distributed.Client
        Connected; radps is the same on both sides.
    modules : sequence of str
        Of :func:`radps.stages.base.user_modules`.
    where : str
        The cluster, in words.

    Raises
    ------
    ClusterError
        A module is another one there, or is missing there and cannot be sent because it is compiled.
    """
    code = read_code(modules)
    if not code:
        return
    found = _look(client, code)
    _refuse_others(code, found)
    missing_at = {process for process, _, _ in _differences(code, found)}
    if not missing_at:
        return
    plugin = UserCode(_make_archive(code, where))
    if _SCHEDULER in missing_at:  # one in this process has all, and this process shall go on with the files
        client.run_on_scheduler(_put_on_path, plugin.archive, plugin.name)
    client.register_plugin(plugin, name=plugin.name)
    for process, file, place in _differences(code, _look(client, code)):
        raise ClusterError(
            f"the code of your stages was sent to {where}, but {process} imports module {file.module!r} from "
            f"{place or 'nowhere'}; install the module in the environment of the workers"
        )


def find_modules(modules: Iterable[str], driver: tuple[str, int]) -> dict[str, tuple[str, str]]:
    """Return place and hash of modules as this process would import them now; it runs on scheduler and workers.

    Parameters
    ----------
    modules : iterable of str
        Their names.
    driver : tuple of str and int
        Host and process that asks: in tests and notebooks it may be this one, which keeps what it imported.
    """
    modules = tuple(modules)
    if (socket.gethostname(), os.getpid()) != driver:
        forget_modules(modules)
    return {module: locate_source(module) for module in modules}


def _look(client: Client, code: Iterable[CodeFile]) -> dict[str, dict[str, _Found]]:
    """Return process -> module -> how it is found there."""
    arguments = [file.module for file in code], (socket.gethostname(), os.getpid())
    processes: dict[str, Any] = {f"worker {key}": found for key, found in client.run(find_modules, *arguments).items()}
    # The scheduler unpacks the graphs, and imports what is in them.
    processes[_SCHEDULER] = client.run_on_scheduler(find_modules, *arguments)
    return {name: {module: _Found(*one) for module, one in found.items()} for name, found in processes.items()}


def _refuse_others(code: Iterable[CodeFile], found: Mapping[str, Mapping[str, _Found]]) -> None:
    """Refuse modules that are there, but are not the same."""
    problems = [
        f"module {file.module!r} is {place} at {process}, which differs from {file.path} here"
        for process, file, place in _differences(code, found)
        if place and _ARCHIVE not in place
    ]
    if problems:
        raise ClusterError(
            f"the code of your stages is another one at the cluster: {'; '.join(problems)}; install the same version "
            "on both sides, or remove it there: radps sends what is missing"
        )


def _differences(
    code: Iterable[CodeFile], found: Mapping[str, Mapping[str, _Found]]
) -> Iterator[tuple[str, CodeFile, str]]:
    """Yield process, module, and its place there, for each module that is missing or another one."""
    for process, modules in found.items():
        for file in code:
            if modules[file.module].sha256 != file.sha256:
                yield process, file, modules[file.module].place


def _make_archive(code: Iterable[CodeFile], where: str) -> bytes:
    """Return a zip file with the modules at their places."""
    if compiled := [file.path for file in code if not file.path.endswith(".py")]:
        raise ClusterError(
            f"{where} does not have the code of your stages, and it cannot be sent, because {', '.join(compiled)} is "
            "no Python source; install the package in the environment of the workers and of the scheduler"
        )
    entries: dict[str, bytes] = {}
    for file in code:
        path = file.module.replace(".", "/")
        is_package = Path(file.path).name == "__init__.py"
        # Python finds a package without an __init__.py in an archive only if its folder is an entry of its own.
        entries.update({f"{parent}/": b"" for parent in Path(path).parents if str(parent) != "."})
        entries[f"{path}/__init__.py" if is_package else f"{path}.py"] = Path(file.path).read_bytes()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in sorted(entries.items()):
            archive.writestr(zipfile.ZipInfo(name), content)  # its time is fixed: the same code, the same archive
    return target.getvalue()


def _put_on_path(archive: bytes, name: str, folder: str | None = None) -> None:
    """Write an archive to a folder of this process and let Python import from it before all else."""
    path = str(Path(folder or tempfile.mkdtemp(prefix=f"{_ARCHIVE}-")) / f"{name}.zip")
    Path(path).write_bytes(archive)
    sys.path[:] = [path, *(place for place in sys.path if Path(place).name != f"{name}.zip")]
    with zipfile.ZipFile(path) as opened:
        forget_modules(
            entry.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for entry in opened.namelist()
        )
