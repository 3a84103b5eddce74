"""The notebooks run from top to bottom; of what needs a Kubernetes, tests/kubernetes has the test."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SECONDS_A_CELL = 300


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
# The client of the kernel leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_runs_and_is_stored_without_output(
    path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if path.stem == "04_ngc5921":
        monkeypatch.setenv("NGC5921_FITS", str(request.getfixturevalue("ngc5921_fits")))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setitem(os.environ, "JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    notebook.cells = [cell for cell in notebook.cells if "kubernetes" not in cell.metadata.get("tags", ())]
    client = NotebookClient(
        notebook, timeout=SECONDS_A_CELL, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    # `execute` leaves its loop open; `asyncio.run` would leave the tests after this one without any.
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(client.async_execute())
    gc.collect()  # here, where it may warn
    errors = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert not errors
