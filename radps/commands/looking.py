"""Commands that look at runs: status, watch, report, compare."""

from __future__ import annotations

from typing import Annotated

import typer

from radps.commands.common import AsJson, RunPlace, errors, exit_code


def status_command(run: RunPlace, as_json: AsJson = False) -> None:
    """Show where a run stands and what it made."""
    from radps.workflows.runs import find_run_url
    from radps.workflows.status import load_status

    with errors():
        found = load_status(find_run_url(run))
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
            return
        from radps.terminal import make_console, show_status

        console = make_console()
        typer.echo(f"Run {found.run_id}: {found.state}" + (f", driven by {found.driver}" if found.driver else ""))
        show_status(console, found)


def watch_command(run: RunPlace) -> None:
    """Follow a run: one line for each thing that happens.

    Waits for a run that has not started yet, and ends with it; the exit code is that of the run. Ctrl-C ends the
    watching, not the run.
    """
    from radps.workflows.runs import find_run_url, summarize_run
    from radps.workflows.watching import describe_event, follow_events

    with errors():
        url = find_run_url(run)
        event = None
        for event in follow_events(url):
            typer.echo(describe_event(event))
        if event is not None and "exit_code" in event.fields:
            raise typer.Exit(int(event.fields["exit_code"]))
        # The driver died without a word, or the run is from before there were events.
        state = str(summarize_run(url).state)
        typer.echo(f"Nobody drives {url}: it is {state}")
        raise typer.Exit(exit_code(state))


def report_command(
    run: RunPlace,
    visibilities: Annotated[
        bool, typer.Option("--visibilities/--no-visibilities", help="Plot the visibilities too; reads a part of them.")
    ] = True,
) -> None:
    """Write pages that explain a run, for a browser.

    They show it as it stands: done, failed or running. They open from disk, without a network.
    """
    from radps.workflows.reports import make_report
    from radps.workflows.runs import find_run_url

    with errors():
        typer.echo(f"Wrote {make_report(find_run_url(run), visibilities=visibilities)}")


def compare_command(
    run: RunPlace, other: Annotated[str, typer.Argument(metavar="OTHER", help="Another run, in the same words.")]
) -> None:
    """Compare two runs: what was done otherwise, what came out otherwise.

    Parameters, versions, code and data of their steps; flux densities, statistics and beams of images, and what was
    scored. Equal numbers are counted.
    """
    from radps.commands.tables import show_comparison
    from radps.terminal import make_console
    from radps.workflows.comparing import compare_runs
    from radps.workflows.runs import find_run_url

    with errors():
        show_comparison(make_console(), compare_runs(find_run_url(run), find_run_url(other)))
