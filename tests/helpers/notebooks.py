"""Run a notebook from top to bottom in a kernel of its own, and leave nothing of the kernel's client behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
import warnings
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

_WAIT_S = 300


def run_notebook(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run the cells of a notebook in a folder and store their outputs in it; raises where a cell does."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
    ):
        patch.setenv("TMPDIR", scratch)  # the notebooks make runs there
        patch.setenv("MPLBACKEND", "agg")
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", ResourceWarning)  # the client leaves sockets to the garbage collector
        client = NotebookClient(
            notebook, timeout=_WAIT_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        # `execute` would leave its event loop open.
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            loop.run_until_complete(client.async_execute())
        del client
        gc.collect()  # here, where it may warn
