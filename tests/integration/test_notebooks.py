"""The notebooks run from top to bottom; of what needs a Kubernetes, tests/kubernetes has the test."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import nbformat
import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs_and_is_stored_without_output(
    path: Path, notebooks: ModuleType, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if path.stem == "04_ngc5921":
        monkeypatch.setenv("NGC5921_FITS", str(request.getfixturevalue("ngc5921_fits")))
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    notebook.cells = [cell for cell in notebook.cells if "kubernetes" not in cell.metadata.get("tags", ())]
    notebooks.run_notebook(notebook, FOLDER)
    errors = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert not errors
