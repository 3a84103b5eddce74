"""Progress in Jupyter: one display that is replaced, with a bar a step."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import Any

import IPython.display
import nbformat
import pytest
from rich.console import Console

from radps.notebook import NotebookObserver
from radps.workflows.reading import load_workflow
from radps.workflows.run import run_workflow

STEPS = [
    {"id": "first", "stage": "user_stages:squares", "after": []},
    {"id": "bad", "stage": "user_stages:fails", "after": []},
    {"id": "waits", "stage": "user_stages:direct", "after": ["bad"]},
]


def test_steps_are_bars_of_one_display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user_stages: str) -> None:
    shown: list[tuple[dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **options: shown.append((data, options)))
    printed = io.StringIO()
    with NotebookObserver(Console(file=printed, force_terminal=False)) as observer:
        config = {"run": str(tmp_path / "run"), "cluster": "none", "steps": STEPS}
        run_workflow(load_workflow(config), observer=observer)
    assert len({options["display_id"] for _, options in shown}) == 1
    assert [bool(options.get("update")) for _, options in shown] == [False] + [True] * (len(shown) - 1)
    html, text = shown[-1][0]["text/html"], shown[-1][0]["text/plain"]
    assert text.splitlines() == [
        "first: done, 5 of 5 tasks",
        "bad: failed, 0 of 0 tasks",
        "waits: blocked, 0 of 0 tasks",
    ]
    assert html.count("<progress") == 3
    assert 'max="5" value="5" aria-label="first"' in html
    assert "Computing: in this process" in printed.getvalue()
    assert "first" not in printed.getvalue()  # the bars say it


@pytest.mark.slow
def test_jupyter_shows_them(tmp_path: Path, user_stages: str, notebooks: ModuleType) -> None:
    helpers = Path(__file__).parents[1] / "helpers"
    code = f"""import sys; sys.path.append({str(helpers)!r})
import radps
radps.run({{"run": {str(tmp_path / "run")!r}, "cluster": "none", "steps": ["user_stages:squares"]}});"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebooks.run_notebook(notebook, tmp_path)
    shown = [one["data"] for one in notebook.cells[0].outputs if one.output_type == "display_data"]
    assert len(shown) == 1
    assert "<progress" in shown[0]["text/html"]
    assert shown[0]["text/plain"] == "squares: done, 5 of 5 tasks"
