"""Mermaid text: ids and texts that mean something to Mermaid are shown as they are."""

from __future__ import annotations

import re

from radps.workflows.graphs import Edge, Graph, Node
from radps.workflows.mermaid import format_mermaid

ODD = 'a "b" <i> & #1; `c` \\ |\n['


def test_a_graph_becomes_a_flow_chart() -> None:
    nodes = (Node("end", ("end", "stage"), "done"), Node("b", ("b",), "pending"), Node("c", ("c",), "done"))
    edges = (Edge("end", "b"), Edge("b", "c", "when: failure", is_dashed=True))
    assert format_mermaid(Graph("two steps", nodes, edges)).splitlines() == [
        "---",
        'title: "two steps"',
        "---",
        "flowchart TD",
        '    n0["end<br/>stage"]',
        '    n1["b"]',
        '    n2["c"]',
        "    n0 --> n1",
        '    n1 -.->|"when: failure"| n2',
        "    classDef done fill:#d5efd5,stroke:#555,color:#000",
        "    class n0,n2 done",
    ]


def test_texts_are_escaped() -> None:
    text = format_mermaid(Graph(ODD, (Node("a", (ODD,)), Node("b", ("b",))), (Edge("a", "b", ODD),)))
    label = re.search(r'n0\["(.*)"\]\n', text)
    assert label is not None
    assert label[1] == "a #quot;b#quot; #lt;i#gt; #amp; #35;1; #96;c#96; #92; | ["
    assert f'n0 -->|"{label[1]}"| n1' in text
    assert text.splitlines()[1] == 'title: "a \\"b\\" <i> & #1; `c` \\\\ |\\n["'
