"""What the commands share: arguments, exit codes, errors as messages.

A command imports what it needs itself: all of it together takes half a second, which ``--help`` need not pay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from radps.errors import RadpsError

EXIT_STEP_FAILED = 1
EXIT_STILL_RUNNING = 1
EXIT_USAGE = 2
EXIT_STOPPED = 130

RunPlace = Annotated[
    str, typer.Argument(metavar="RUN", help="Run folder (a path or URL), or the config that names it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs; the schemas are in docs/schema.")]


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Turn errors into a message and an exit code."""
    try:
        yield
    except RadpsError as error:
        from radps.terminal import make_console, show_error

        show_error(make_console(stderr=True), error)
        raise typer.Exit(EXIT_USAGE) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_STOPPED) from None


def exit_code(state: str) -> int:
    """Return the exit code that tells the state of a run that nobody drives."""
    return {"done": 0, "paused": 0, "failed": EXIT_STEP_FAILED, "damaged": EXIT_USAGE}.get(state, EXIT_STOPPED)
