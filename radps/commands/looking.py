"""Commands that look at a run: status, watch."""

from __future__ import annotations

import typer

from radps.commands.common import AsJson, RunPlace, errors


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
