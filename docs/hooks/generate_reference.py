"""Pages made from the code: the command line, parameters of stages, public names, the list of decisions.

mkdocs runs this file (plugin gen-files).
"""

import inspect
from pathlib import Path

import mkdocs_gen_files
import typer

import radps
from radps.cli import app
from radps.stages.base import find_stage, parameter_summaries, stage_names

ROOT = Path(__file__).parents[2]


def write(path, lines):
    """Write a page."""
    with mkdocs_gen_files.open(path, "w") as page:
        page.write("\n".join(lines) + "\n")


def cell(text):
    """Return a text for a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def describe_command(name, command):
    """Return the section of a command."""
    lines = [f"## radps-run {name}", "", inspect.cleandoc(command.help or ""), "", "| option | meaning |", "|---|---|"]
    for parameter in command.params:
        is_option = parameter.opts[0].startswith("-")
        words = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.metavar or parameter.name]
        lines.append(f"| `{cell(', '.join(words))}` | {cell(getattr(parameter, 'help', '') or '')} |")
    return [*lines, ""]


def describe_stage(name):
    """Return the section of a stage."""
    stage = find_stage(name)
    lines = [f"## {name}", "", inspect.cleandoc(stage.function.__doc__ or ""), ""]
    rows = parameter_summaries(stage)
    if not rows:
        return [*lines, "No parameters.", ""]
    lines += ["| parameter | default | meaning |", "|---|---|---|"]
    for row in rows:
        lines.append(f"| `{row.name}` | {cell(row.default)} | {cell(row.meaning)} |")
    return [*lines, ""]


def write_decisions():
    """List the decision records with their titles."""
    lines = ["# Decisions", "", "Why things are as they are; each names the test that guards it.", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        lines.append(f"- [{path.read_text().splitlines()[0].lstrip('# ')}]({path.name})")
    write("decisions/index.md", lines)


def write_all():
    """Write all pages."""
    group = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Exit codes: 0 done, 1 a step failed, 2 the config or the usage is wrong, 130 stopped.",
        "",
    ]
    for name, command in group.commands.items():
        lines += describe_command(name, command)
    write("reference/command-line.md", lines)
    lines = [
        "# Stages",
        "",
        "`radps-run stages NAME` prints the same; quantities take units: `15 arcsec`, `8 mJy`, `30 s`.",
        "",
    ]
    for name in stage_names():
        lines += describe_stage(name)
    write("reference/stages.md", lines)
    lines = ["# Python", ""]
    for name in sorted(radps.__all__):
        lines += [f"::: {getattr(radps, name).__module__}.{name}", ""]
    write("reference/python.md", lines)
    write_decisions()


write_all()
