"""Which files the code of a stage stands in: its module, and the user's own modules that this imports.

1. A package is the user's own if the stage is in it, or if it is neither a part of Python nor of radps, nor installed
   (below a folder ``site-packages``).
2. What a module imports is read from its source: a constant that comes from a helper file counts, and so does an import
   inside a function. The answer does not depend on what happens to be imported already. Modules that are imported by a
   name that is computed are not seen.
3. A process that has imported a module goes on with it when its file is edited. So each module keeps the hash that it
   was imported with, which is the one that counts, until a new run forgets the module.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from radps.context.base import Record

_INSTALLED_FOLDERS = ("site-packages", "dist-packages")
_PYTHON_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")


_LOADED = "__radps_sha256__"
"""Attribute of a user's module: the hash of its source when it was imported."""


class CodeFile(Record):
    """One file of the code of a stage."""

    module: str
    path: str
    sha256: str
    """Of the file as it was when this process imported it."""


def find_code(stage_module: str) -> tuple[CodeFile, ...]:
    """Return the files of a stage's code, that of the stage itself first; nothing is imported.

    Of a stage of radps that is one file: the version of radps stands for what it imports.

    Parameters
    ----------
    stage_module : str
        Module of the stage; one without a file has no code.
    """
    others = set() if _package(stage_module) == "radps" else _own_modules(stage_module) - {stage_module}
    return read_code((stage_module, *sorted(others)))


def read_code(modules: Iterable[str]) -> tuple[CodeFile, ...]:
    """Return the files of some modules, those without a file left out; nothing is imported."""
    return tuple(_read_file(name, path) for name in modules if (path := find_file(name)) is not None)


def remember_loaded(stage_module: str) -> None:
    """Note the hashes of the modules of a stage that was just imported."""
    for file in find_code(stage_module):
        module = sys.modules.get(file.module)
        if module is not None and getattr(module, _LOADED, None) is None:
            setattr(module, _LOADED, file.sha256)


def forget_edited(stage_module: str) -> None:
    """Let all modules of a stage be imported anew if one of their files was edited since they were."""
    code = find_code(stage_module)
    if any(file.sha256 != _hash_file(Path(file.path)) for file in code):
        forget_modules(file.module for file in code)


def forget_modules(modules: Iterable[str]) -> None:
    """Let modules be imported anew the next time that they are asked for."""
    for module in modules:
        sys.modules.pop(module, None)
        package, _, name = module.rpartition(".")
        if package in sys.modules:
            # ``from package import name`` takes what the package holds before it looks for a file.
            vars(sys.modules[package]).pop(name, None)
    importlib.invalidate_caches()


def locate_source(module: str) -> tuple[str, str]:
    """Return place and SHA-256 of what a module is imported from, a file or a part of an archive.

    Two empty texts if there is no such module, or it has no file.
    """
    spec = _find_spec(module)
    load = getattr(spec.loader, "get_data", None) if spec is not None else None
    if spec is None or not spec.has_location or not spec.origin or load is None:
        return "", ""
    return spec.origin, hashlib.sha256(load(spec.origin)).hexdigest()


def find_file(module: str) -> Path | None:
    """Return the file of a module, None if it has none or there is no such module; nothing is imported."""
    spec = _find_spec(module)
    path = Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
    return path if path is not None and path.is_file() else None


def is_installed(path: Path) -> bool:
    """Return True for a file or folder of Python or of a package that was installed, False for the user's own."""
    if any(part in _INSTALLED_FOLDERS for part in path.parts):
        return True
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in _PYTHON_PATHS)


def _read_file(module: str, path: Path) -> CodeFile:
    loaded = getattr(sys.modules.get(module), _LOADED, None)
    return CodeFile(module=module, path=str(path), sha256=loaded or _hash_file(path))


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _own_modules(stage_module: str) -> set[str]:
    """Return the names of the user's own modules that a stage consists of."""
    own_packages = {_package(stage_module): True}
    found = {stage_module}
    waiting = [stage_module]
    while waiting:
        for name in _imported_names(waiting.pop()):
            package = _package(name)
            if package not in own_packages:
                own_packages[package] = _is_own_package(package)
            if own_packages[package] and name not in found and find_file(name) is not None:
                found.add(name)
                waiting.append(name)
    return found


def _is_own_package(name: str) -> bool:
    """Return True for a top-level module or package of the user."""
    spec = None if name == "radps" or name in sys.stdlib_module_names else _find_spec(name)
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    return bool(places) and not any(is_installed(Path(place)) for place in places)


def _imported_names(module: str) -> set[str]:
    """Return the names of all that a module may import, packages around them and around it included."""
    path = find_file(module)
    names = {module}
    if path is not None and path.suffix == ".py":
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        names.update(_names_in_source(path.read_bytes(), package))
    return {around for name in names for around in _with_packages(name)}


@functools.lru_cache(maxsize=256)
def _names_in_source(source: bytes, package: str) -> tuple[str, ...]:
    """Return what the import statements of a source name; of ``from a import b`` both ``a`` and ``a.b``.

    A plan asks for each step several times, and to parse a source takes longer than all else that is asked.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        # It was edited since it was imported, or never was: what it is counts, what it imports is unknown.
        return ()
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # ``from ..x import y``: each dot after the first is one package up.
            around = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _with_packages(name: str) -> Iterator[str]:
    """Yield ``a``, ``a.b``, ``a.b.c`` for ``a.b.c``."""
    parts = name.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _find_spec(name: str) -> ModuleSpec | None:
    """Return how a module would be loaded, without importing the packages around it."""
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__spec__", None)
    package, _, _ = name.rpartition(".")
    try:
        if not package:
            return importlib.util.find_spec(name)
        around = _find_spec(package)
        places = None if around is None else around.submodule_search_locations
        return None if places is None else PathFinder.find_spec(name, list(places))
    except (ImportError, ValueError):
        return None


def _package(name: str) -> str:
    return name.partition(".")[0]
