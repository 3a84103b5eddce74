"""Graphs as Mermaid text, which GitHub, GitLab, JupyterLab and many editors draw."""

from __future__ import annotations

import json

from radps.plots.figures import STATE_COLOURS
from radps.workflows.graphs import Graph, Node

_ENTITIES = {
    "#": "#35;",
    "&": "#amp;",
    "<": "#lt;",
    ">": "#gt;",
    '"': "#quot;",
    "`": "#96;",
    "\\": "#92;",
    "\n": " ",
}
"""What would end a text, or mean something in it."""


def format_mermaid(graph: Graph) -> str:
    """Return a graph as the text of a Mermaid flow chart.

    Names of nodes are numbers, so that no id can be one of Mermaid's own words; texts are escaped.
    """
    names = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["---", f"title: {json.dumps(graph.title)}", "---", "flowchart TD"]
    lines += [f'    {names[node.id]}["{_label(node)}"]' for node in graph.nodes]
    for edge in graph.edges:
        arrow = "-.->" if edge.is_dashed else "-->"
        text = f'|"{_escape(edge.text)}"|' if edge.text else ""
        lines.append(f"    {names[edge.source]} {arrow}{text} {names[edge.target]}")
    for state, colour in STATE_COLOURS.items():
        members = [names[node.id] for node in graph.nodes if node.state == state]
        if members:
            lines += [f"    classDef {state} fill:{colour},stroke:#555,color:#000"]
            lines += [f"    class {','.join(members)} {state}"]
    return "\n".join(lines) + "\n"


def _label(node: Node) -> str:
    return "<br/>".join(_escape(line) for line in node.text)


def _escape(text: str) -> str:
    """Return a text that Mermaid shows as it is."""
    return "".join(_ENTITIES.get(character, character) for character in text)
