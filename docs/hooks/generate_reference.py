"""Pages made from the code: the command line, parameters of stages, public names, the list of decisions.

mkdocs runs this file (plugin gen-files).
"""

import inspect
import json
import re
from pathlib import Path

import mkdocs_gen_files
import typer

import radps
from radps.cli import app
from radps.stages.base import find_stage, parameter_meanings, stage_names
from radps.workflows.schema import format_schema

ROOT = Path(__file__).parents[2]
LONG = 60
"""A default that is longer than this is left out."""
MANY = 15
"""The stages alone have so many names."""
ROLE = re.compile(r":(func|class|meth|mod|attr):")


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
    rows = parameter_meanings(stage)
    if not rows:
        return [*lines, "No parameters.", ""]
    lines += ["| parameter | default | meaning |", "|---|---|---|"]
    for row in rows:
        lines.append(f"| `{row.name}` | {cell(row.default)} | {cell(row.meaning)} |")
    return [*lines, ""]


def describe_schema(name, text, leave_out=()):
    """Return the page of a JSON schema: its own fields, then those of every model in it."""
    schema = json.loads(format_schema(name))
    lines = [f"# {schema['title']}", "", text, "", *describe_fields(schema)]
    for model, fields in schema.get("$defs", {}).items():
        if model in leave_out:
            continue
        lines += [f"## {model}", "", ROLE.sub("", fields.get("description", "")), ""]
        lines += describe_fields(fields) if "properties" in fields else [cell(describe_type(fields)), ""]
    return lines


def describe_fields(model):
    """Return the table of the fields of a model."""
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.get("properties", {}).items():
        default = "required" if name in model.get("required", ()) else json.dumps(field.get("default", ""))
        default = "" if default == '""' or len(default) > LONG else default
        meaning = ROLE.sub("", field.get("description", ""))
        lines.append(f"| `{name}` | {cell(describe_type(field))} | {cell(default)} | {cell(meaning)} |")
    return [*lines, ""]


def describe_type(field):
    """Return the type of a field in words."""
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if branches := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(map(describe_type, branches)))
    if "const" in field or "enum" in field:
        names = [f'"{one}"' for one in field.get("enum", [field.get("const")])]
        return ", ".join(names) if len(names) < MANY else "the name of a stage"
    if field.get("type") == "array":
        return f"list of {describe_type(field.get('items', {}))}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"mapping to {describe_type(field['additionalProperties'])}"
    unit = f" [{field['unit']}]" if "unit" in field else ""
    kinds = field.get("type", "anything")
    return f"{kinds if isinstance(kinds, str) else ' or '.join(kinds)}{unit}"


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
        inner = getattr(command, "commands", {})
        for words, each in (
            {f"{name} {word}": one for word, one in inner.items()}.items() if inner else [(name, command)]
        ):
            lines += describe_command(words, each)
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
    text = "What a workflow file may have, made from the models; the parameters of the stages are [here](stages.md)."
    write("reference/configuration.md", describe_schema("workflow", text, stage_names()))
    text = "What `context.json` in a run folder has, made from the models; how to ask for it is [here](../context.md)."
    write("reference/context.md", describe_schema("context", text))
    lines = [
        "# Plots",
        "",
        "What the [report](../report.md) draws: each takes arrays and returns a matplotlib figure.",
        "",
    ]
    for path in sorted((ROOT / "radps" / "plots").glob("[a-z]*.py")):
        if path.stem not in ("axes", "figures"):
            lines += [f"::: radps.plots.{path.stem}", ""]
    write("reference/plots.md", lines)
    write_decisions()


write_all()
