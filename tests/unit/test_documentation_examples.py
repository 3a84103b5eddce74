"""The examples of README and docs are right: configs and fragments of them, Python, and commands with their options.

What they compute is tested elsewhere; here, that nobody who types them meets an unknown word.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from radps.cli import _with_command, app
from radps.errors import ConfigError
from radps.workflows.reading import load_workflow

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NEEDS_THE_READER = ("there is no file or folder", "is not installed here", "cannot import module")
"""Problems of an example that are none: its data, packages and stages are those of who reads it."""


def blocks(language: str) -> list[Any]:
    """Return the blocks of code of all pages in a language, each under its page and line."""
    examples = []
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(rf"^( *)```{language}\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL):
            line = text[: found.start()].count("\n") + 1
            code = "\n".join(one.removeprefix(found[1]) for one in found[2].splitlines())
            examples.append(pytest.param(code, id=f"{page.name}:{line}"))
    return examples


def commands() -> list[Any]:
    """Return the arguments of all commands that stand alone on a line, or between backquotes."""
    examples = []
    for page in PAGES:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            for found in re.findall(r"^\s*radps-run ([^#|]*)|`radps-run ([^`]*)`", line):
                text = "".join(found).strip()
                if text:
                    examples.append(pytest.param(text, id=f"{page.name}:{number}"))
    return examples


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configs_and_their_fragments_are_accepted(text: str) -> None:
    found = yaml.safe_load(text)
    config = {"steps": found} if isinstance(found, list) else dict(found)
    if config.setdefault("steps", ["import_data"]) == ["..."]:
        config["steps"] = ["import_data"]
    wanted = {name for step in config["steps"] if isinstance(step, dict) for name in step.get("after") or ()}
    here = {step if isinstance(step, str) else step.get("id", next(iter(step))) for step in config["steps"]}
    config["steps"] = [*sorted(wanted - here), *config["steps"]]  # a fragment does not repeat the steps before it

    assert [one for one in problems_of(config) if not any(known in one for known in NEEDS_THE_READER)] == []


def problems_of(config: dict[str, Any]) -> list[str]:
    """Return what is wrong with a config."""
    try:
        load_workflow({"run": "runs/example", **config})
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize("code", blocks("python"))
def test_python_can_be_parsed_and_its_imports_are_there(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("radps"):
            module = importlib.import_module(node.module or "")
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.mark.parametrize("text", commands())
def test_commands_have_the_options_that_are_shown(text: str) -> None:
    name, *arguments = _with_command(shlex.split(text.replace("[ROOT]", "ROOT").replace("CONFIG", "CONFIG.yaml")))
    group: Any = typer.main.get_command(app)
    while hasattr(group, "commands"):
        assert name in group.commands
        group = group.commands[name]
        if hasattr(group, "commands") and arguments:
            name, *arguments = arguments
        elif hasattr(group, "commands"):
            return
    known = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {one.partition("=")[0] for one in arguments if one.startswith("-")} <= known | {"--help"}
