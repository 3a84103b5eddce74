"""Consoles that print into memory, and what was printed on them."""

from __future__ import annotations

import io
import re

from rich.console import Console


def console(*, is_terminal: bool) -> Console:
    """Return a console of 200 columns without colours; one of a terminal moves its cursor."""
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=200, color_system=None)


def text_of(screen: Console) -> str:
    """Return what was printed, without the codes that move the cursor."""
    assert isinstance(screen.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.file.getvalue())
