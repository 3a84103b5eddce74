"""The commands graph and gantt."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest


def test_the_graph_of_a_config_is_mermaid_text(call, folder: Path) -> None:
    result = call("graph", "config.yaml")
    assert (result.code, result.errors) == (0, "")
    assert result.output.startswith('---\ntitle: "P: 4 steps"\n---\nflowchart TD\n')
    assert 'n2 -.->|"when: failure"| n3' in result.output
    assert not folder.exists()


def test_a_run_gives_the_states_and_may_be_named_by_its_folder(call, run: Path) -> None:
    result = call("graph", run)
    assert result.output == call("graph", "config.yaml").output
    assert 'n1["store<br/>user_stages:writes<br/>done"]' in result.output
    assert "class n2 failed" in result.output


def test_the_tasks_of_a_step_are_drawn(call, run: Path) -> None:
    result = call("graph", "config.yaml", "--step", "store")
    assert 'n1["write<br/>10 tasks"]' in result.output
    assert call("graph", "config.yaml", "--step", "alarm").errors.endswith("it does its work while it is called\n")


@pytest.mark.parametrize("name", ["graph.svg", "graph.mmd"])
def test_the_name_of_the_file_says_the_format(call, folder: Path, name: str) -> None:
    assert call("graph", "config.yaml", "--output", name).output == f"Wrote {name}\n"
    text = Path(name).read_text()
    if name.endswith("svg"):
        ElementTree.fromstring(text)
    else:
        assert text == call("graph", "config.yaml").output


def test_a_picture_is_printed_unless_a_file_is_named(call, folder: Path) -> None:
    ElementTree.fromstring(call("graph", "config.yaml", "--format", "svg").output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["graph", "config.yaml", "--format", "dot"], "--format is one of mermaid, svg; found 'dot'"),
        (["graph", "config.yaml", "--output", "no/such/folder.svg"], "cannot write no/such/folder.svg"),
        (["graph", "nowhere"], "nowhere has no workflow.json; give the config of the run"),
        (["graph", "config.yaml", "--step", "stor"], "there is no step 'stor'; did you mean 'store'?"),
        (["graph", "config.yaml", "--step", "store"], "depend on what squares will find, which is not done"),
        (["gantt", "config.yaml", "--output", "x.jpg"], "a picture is a .svg, a .png, a .pdf file; found 'x.jpg'"),
        (["gantt", "config.yaml"], "is not a run folder"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, folder: Path, arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.code == 2
    assert message in result.errors
    assert not folder.exists()


def test_a_gantt_picture_is_written(call, run: Path) -> None:
    assert call("gantt", run).output == "Wrote gantt.svg\n"
    assert "<!-- store -->" in Path("gantt.svg").read_text()
    assert call("gantt", "config.yaml", "--output", "a.png").code == 0
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert call("gantt", "config.yaml", "--output", "a.pdf").code == 0
