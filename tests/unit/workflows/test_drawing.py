"""Pictures of graphs: boxes do not overlap, arrows go down and through no box."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest

from radps.errors import ConfigError
from radps.plots.figures import picture_format, render
from radps.workflows.drawing import _Layout, draw_graph
from radps.workflows.graphs import Edge, Graph, Node

AFTER = {
    "flag": ["import_data"],
    "set_model": ["import_data"],
    "calibrate": ["flag", "set_model"],
    "apply": ["calibrate", "import_data"],
    "cube_a": ["apply"],
    "cube_b": ["apply"],
    "moments": ["cube_a", "cube_b"],
    "assess": ["moments", "import_data"],
}


def graph(after: dict[str, list[str]], **texts: tuple[str, ...]) -> Graph:
    names = list(dict.fromkeys([name for names in after.values() for name in names] + list(after)))
    nodes = tuple(Node(name, texts.get(name, (name, "done")), "done") for name in names)
    return Graph("some steps", nodes, tuple(Edge(before, name) for name in after for before in after[name]))


def test_boxes_of_a_layer_do_not_overlap_and_stand_below_what_they_need() -> None:
    layout = _Layout(graph(AFTER, flag=("flag", "my_package.with_a_long_name:flag")))
    for layer in layout.layers:
        for left, right in itertools.pairwise(layer):
            gap = layout.x[right] - layout.x[left] - (layout.width(left) + layout.width(right)) / 2
            assert gap > 0.0
    assert all(layout.depth[name] > layout.depth[before] for name in AFTER for before in AFTER[name])
    assert layout.depth["assess"] == 6


def test_a_long_arrow_has_a_bend_in_each_layer_that_it_passes() -> None:
    layout = _Layout(graph(AFTER))
    route = layout.routes[Edge("import_data", "assess")]
    assert [layout.depth[name] for name in route] == [0, 1, 2, 3, 4, 5, 6]
    assert set(route[1:-1]).isdisjoint(layout.nodes)


def test_sorting_takes_crossings_away() -> None:
    layout = _Layout(graph({"x": ["b"], "y": ["a"], "a": ["root"], "b": ["root"]}))
    x = layout.x
    assert (x["x"] - x["y"]) * (x["b"] - x["a"]) > 0.0


def test_a_circle_is_drawn_all_the_same() -> None:
    assert len(_Layout(graph({"a": ["b"], "b": ["a"]})).layers) == 2
    assert render(draw_graph(graph({"a": ["b"], "b": ["c"], "c": ["a"]})), "svg")


def test_the_picture_is_svg_with_every_text_as_it_is_and_the_same_each_time() -> None:
    odd = graph(AFTER, flag=("flag", "costs $5 & <more> $6"))
    data = render(draw_graph(odd), "svg")
    ElementTree.fromstring(data)
    text = data.decode()
    assert all(f"<!-- {name} -->" in text for name in AFTER)
    assert "costs $5 &amp; &lt;more&gt; $6" in text
    assert data == render(draw_graph(odd), "svg")


def test_a_node_alone_can_be_drawn() -> None:
    assert render(draw_graph(Graph("one", (Node("a", ("a",)),), ())), "png").startswith(b"\x89PNG")


def test_the_name_of_a_file_says_its_format() -> None:
    assert [picture_format(name) for name in ("a.svg", "a.b.PNG", "c/d.pdf")] == ["svg", "png", "pdf"]
    for name in ("a.jpg", "svg"):
        with pytest.raises(ConfigError, match=rf"a picture is a .svg, a .png, a .pdf file; found '{name}'"):
            picture_format(name)
