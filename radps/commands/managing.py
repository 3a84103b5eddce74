"""Commands that manage runs: list, remove, prune, stop."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from radps.commands.common import EXIT_STILL_RUNNING, AsJson, RunPlace, errors
from radps.errors import ConfigError


def list_command(
    root: Annotated[str, typer.Argument(metavar="[ROOT]", help="Folder (or URL) that holds the runs.")] = "runs",
    state: Annotated[
        str | None,
        typer.Option(
            "--state", metavar="STATE", help="Only runs that are running, done, failed, stopped, pending or paused."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs below a folder, and where each one stands.

    One that cannot be read is listed with the reason.
    """
    from radps.workflows.runs import RunList, list_runs

    with errors():
        runs = list_runs(root, state)
        if as_json:
            typer.echo(RunList(root=root, runs=runs).model_dump_json(indent=2))
            return
        from radps.commands.tables import show_runs
        from radps.terminal import make_console

        show_runs(make_console(), root, runs, state)


def remove_command(
    run: RunPlace, yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant.")] = False
) -> None:
    """Remove a run: its folder with all that is in it."""
    from radps.data.urls import format_bytes
    from radps.workflows.cleaning import check_removable, measure_bytes, remove_run
    from radps.workflows.runs import find_run_url, summarize_run

    with errors():
        url = find_run_url(run)
        check_removable(url)
        size = format_bytes(measure_bytes(url))
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigError("command line", [f"{url} ({size}) is removed for good; say --yes if that is meant"])
            summary = summarize_run(url)
            what = f"{summary.state}, {summary.steps_done} of {summary.steps} steps done, {size}"
            if not typer.confirm(f"Remove {url} ({what}) for good?"):
                typer.echo("Nothing was removed")
                return
        remove_run(url)
        typer.echo(f"Removed {url}: {size}")


def prune_command(
    run: RunPlace,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
) -> None:
    """Remove what old attempts of steps left in a run folder.

    What the run refers to stays, and so does its history.
    """
    from radps.commands.tables import show_leftovers
    from radps.terminal import make_console
    from radps.workflows.cleaning import prune_run
    from radps.workflows.runs import find_run_url

    with errors():
        url = find_run_url(run)
        show_leftovers(make_console(), prune_run(url, dry_run=dry_run), "would be freed" if dry_run else "freed")


def stop_command(
    run: RunPlace,
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.0, help="How long to wait for its end; 0 only asks.")
    ] = 60.0,
) -> None:
    """Stop a run that another process drives, on whatever machine.

    It ends as after Ctrl-C, and the next run goes on from there. Exit code 1: it was still at work after the wait.
    """
    from radps.workflows.runs import find_run_url
    from radps.workflows.stopping import stop_run

    with errors():
        url = find_run_url(run)
        result = stop_run(url, wait_s)
        if not result.asked:
            typer.echo(f"Nobody drives {url}: it is {result.state}")
        elif result.state != "running":
            typer.echo(f"Stopped {result.asked}: {url} is {result.state}")
        elif wait_s == 0.0:
            typer.echo(f"Asked {result.asked} to stop")
        else:
            typer.echo(f"Asked {result.asked} to stop; it was still at work after {wait_s:g} s", err=True)
            raise typer.Exit(EXIT_STILL_RUNNING)
