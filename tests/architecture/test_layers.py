"""The walls of the design: layers, the one home of dask.delayed, public interfaces only, short functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import radps

PACKAGE = Path(radps.__file__).parent
ROOT = Path(__file__).parents[2]
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 80
PUBLIC_DASK = {"dask", "dask.delayed", "dask.system", "distributed", "distributed.client", "distributed.comm"}
"""Modules of dask that its documentation names, or that list their public names themselves."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield path and syntax tree of every module of radps."""
    for path in MODULES:
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield module and name of every import of a module, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def test_the_contracts_on_imports_are_kept() -> None:
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    result = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 kept, 0 broken" in result.stdout


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports inside functions and those for types alone are looked at, too.

    Only the package itself is left out: it hands on its public names when they are asked for.
    """
    parts = {
        path: ".".join(["radps", *Path(path).with_suffix("").parts]).removesuffix(".__init__") for path, _ in trees()
    }
    known = set(parts.values()) - {"radps"}
    needs: dict[str, set[str]] = {name: set() for name in known}
    for path, tree in trees():
        for module, name in imports(tree):
            needed = f"{module}.{name}" if f"{module}.{name}" in known else module
            if needed in known and parts[path] in known and needed != parts[path]:
                needs[parts[path]].add(needed)
    assert sum(map(len, needs.values())) > len(known)
    TopologicalSorter(needs).prepare()


def calls_of_delayed(tree: ast.Module) -> list[int]:
    """Return the lines in which a module uses ``delayed``; the type ``Delayed`` is another thing."""
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "delayed" and getattr(node.value, "id", "") == "dask"
    ]
    return lines + [1 for _, name in imports(tree) if name == "delayed"]


def test_every_call_of_delayed_stands_with_the_shapes_of_graphs() -> None:
    assert [path for path, tree in trees() if calls_of_delayed(tree)] == ["graph_tasks/shapes.py"]


def test_only_documented_modules_of_dask_are_used() -> None:
    used = {
        (path, module, name)
        for path, tree in trees()
        for module, name in imports(tree)
        if module.partition(".")[0] in ("dask", "distributed")
    }
    assert {module for _, module, _ in used} <= PUBLIC_DASK
    assert [entry for entry in used if entry[2].startswith("_")] == []


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield all functions and methods of a module."""
    yield from (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_no_function_is_long() -> None:
    long = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree in trees()
        for node in functions(tree)
        if (node.end_lineno or 0) - node.lineno + 1 > MAX_LINES
    }
    assert long == {}


def layer(path: str) -> str:
    """Return the layer of a module: its folder; cli, commands and api are one."""
    first = path.partition("/")[0].removesuffix(".py")
    return "interface" if first in ("cli", "commands", "api", "__init__", "__main__") else first


def test_no_public_name_lives_on_two_layers() -> None:
    homes: dict[str, set[str]] = {}
    for path, tree in trees():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(layer(path))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}
    assert len(homes) > 100  # the walk found the package


def test_public_functions_and_classes_have_docstrings() -> None:
    missing = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in trees()
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import dask\ndask.delayed(f)", True),
        ("from dask import delayed", True),
        ("from dask.delayed import Delayed", False),
    ],
)
def test_the_search_for_delayed_finds_it(source: str, found: bool) -> None:
    assert bool(calls_of_delayed(ast.parse(source))) is found


def test_the_drawing_of_the_layers_shows_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "layers")
    drawing = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    drawn = re.findall(r'<tspan font-weight="600">(.*?)</tspan>', drawing)
    # Some layers share a box.
    assert ", ".join(drawn).split(", ") == " | ".join(layers).split(" | ")
