"""The notebook runs from top to bottom on a real Kubernetes."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "05_kubernetes.ipynb"


def test_the_notebook_makes_uses_and_deletes_clusters(place: Any, notebooks: ModuleType) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    here = {
        "image": place.image,
        "namespace": place.namespace,
        "folder": str(place.folder),
        "volumes": place.volumes(),
        "pod": {"cpu": 0.2, "memory": "1 GiB"},
    }
    parameters.source = "\n".join(f"{name} = {value!r}" for name, value in here.items())
    notebooks.run_notebook(notebook, NOTEBOOK.parent)
    outputs = json.dumps([cell.get("outputs") for cell in notebook.cells])
    assert "step.started calibrate" not in outputs  # done before somebody watched
    assert "step.started cube" in outputs
    assert "on Kubernetes" in outputs
    assert place.kubectl("get", "daskclusters", "-o", "name") == ""
