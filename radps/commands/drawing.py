"""Commands that draw: graph, gantt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radps.commands.common import RunPlace, errors
from radps.errors import ConfigError

if TYPE_CHECKING:
    from radps.workflows.model import Workflow

GRAPH_FORMATS = ("mermaid", "svg")


def graph_command(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="Workflow file, or the folder of its run.")],
    step: Annotated[str | None, typer.Option("--step", metavar="STEP", help="Its tasks, instead of the steps.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="mermaid|svg", help="Default: by the name of FILE, else mermaid.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write it here.")] = None,
) -> None:
    """Draw the steps of a workflow, or the tasks of one of them.

    Nothing is computed. The tasks of a step are known when the steps that it needs are done.
    """
    from radps.workflows.graphs import task_graph, workflow_graph

    with errors():
        kind = format_ or ("svg" if output is not None and output.suffix.lower() == ".svg" else "mermaid")
        if kind not in GRAPH_FORMATS:
            raise ConfigError("command line", [f"--format is one of {', '.join(GRAPH_FORMATS)}; found {kind!r}"])
        workflow = _find_workflow(config)
        graph = workflow_graph(workflow) if step is None else task_graph(workflow, step)
        if kind == "svg":
            from radps.plots.figures import render
            from radps.workflows.drawing import draw_graph

            _write(render(draw_graph(graph), kind), output)
        else:
            from radps.workflows.mermaid import format_mermaid

            _write(format_mermaid(graph).encode(), output)


def _find_workflow(place: str) -> Workflow:
    """Return the workflow of a config, or that of a run folder."""
    from radps.run_folder.store import RunStore
    from radps.workflows.reading import load_workflow

    if Path(place).is_file():
        return load_workflow(place)
    store = RunStore(place)
    return load_workflow({**store.load_workflow(), "run": store.url})


def _write(data: bytes, output: Path | None) -> None:
    """Write a file and say so, or print what would be in it."""
    if output is None:
        sys.stdout.buffer.write(data)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise ConfigError("command line", [f"cannot write {output}: {error}; give another --output"]) from error
    typer.echo(f"Wrote {output}")


def gantt_command(
    run: RunPlace,
    output: Annotated[
        str, typer.Option("--output", metavar="FILE", help="A .svg, .png or .pdf file; default gantt.svg.")
    ] = "gantt.svg",
) -> None:
    """Draw when each worker did which tasks of a run.

    Tasks that were repeated or failed are marked.
    """
    from radps.plots.figures import picture_format, render
    from radps.report.gantt import gantt_chart
    from radps.workflows.runs import find_run_url

    with errors():
        kind = picture_format(output)
        _write(render(gantt_chart(find_run_url(run)), kind), Path(output))
