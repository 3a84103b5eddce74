"""Graphs as pictures: boxes in layers from the top to the bottom, arrows between them.

1. A box stands one layer below the lowest of those that it comes after.
2. An arrow that passes a layer gets a bend there, which takes room like a narrow box, so that it goes through no box.
3. Sweeps down and up sort each layer by the mean place of the neighbours (Sugiyama et al. 1981, IEEE Trans. Syst. Man
   Cybern. 11, 109), which leaves few crossings.
4. More sweeps move each box towards its neighbours as far as those beside it let it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from radps.plots.figures import PLAIN_COLOUR, STATE_COLOURS, new_figure
from radps.workflows.graphs import Edge, Graph, Node

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SWEEPS = 8
_CHARACTER_IN = 0.085
_LINE_IN = 0.17
_GAP_IN = 0.3
_BEND_IN = 0.15
_LAYER_GAP_IN = 0.45
_MARGIN_IN = 0.15

_Places = dict[str, tuple[float, float]]


class _Layout:
    """Which box or bend stands in which layer, in which order, and where."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = {node.id: node for node in graph.nodes}
        self.depth = _depths(graph)
        self.routes: dict[Edge, tuple[str, ...]] = {}
        """Arrow -> the ids along it: source, bends, target."""
        self._above: dict[str, list[str]] = {}
        self._below: dict[str, list[str]] = {}
        for number, edge in enumerate(graph.edges):
            self._add_route(number, edge)
        self.layers = self._first_order()
        for sweep in range(_SWEEPS):
            self._sort(downwards=sweep % 2 == 0)
        self.x = self._spread()

    def width(self, name: str) -> float:
        """Return the width of a box or bend [in]."""
        if name not in self.nodes:
            return _BEND_IN
        return max(map(len, self.nodes[name].text)) * _CHARACTER_IN + 0.25

    def _add_route(self, number: int, edge: Edge) -> None:
        """Put bends into the layers that an arrow passes."""
        first, last = self.depth[edge.source], self.depth[edge.target]
        step = 1 if last >= first else -1  # an arrow that closes a circle goes up
        bends = [f"\0{number}-{depth}" for depth in range(first + step, last, step)]
        self.depth.update(zip(bends, range(first + step, last, step), strict=True))
        route = (edge.source, *bends, edge.target)
        self.routes[edge] = route
        for one, other in itertools.pairwise(route):
            upper, lower = (one, other) if step > 0 else (other, one)
            self._below.setdefault(upper, []).append(lower)
            self._above.setdefault(lower, []).append(upper)

    def _first_order(self) -> list[list[str]]:
        layers: list[list[str]] = [[] for _ in range(max(self.depth.values(), default=0) + 1)]
        for name, depth in self.depth.items():
            layers[depth].append(name)
        return layers

    def _sort(self, *, downwards: bool) -> None:
        """Sort each layer by the mean place of the neighbours in the layer before."""
        neighbours = self._above if downwards else self._below
        layers = self.layers[1:] if downwards else self.layers[-2::-1]
        rank = {name: number for layer in self.layers for number, name in enumerate(layer)}
        for layer in layers:
            means = {name: _mean([rank[other] for other in neighbours.get(name, [name])]) for name in layer}
            layer.sort(key=means.__getitem__)
            rank.update({name: number for number, name in enumerate(layer)})

    def _spread(self) -> dict[str, float]:
        """Return the place of each box and bend across its layer [in]."""
        x: dict[str, float] = {}
        for layer in self.layers:
            x.update(self._apart(layer, [0.0] * len(layer)))
        for sweep in range(2 * _SWEEPS):
            for layer in self.layers if sweep % 2 == 0 else reversed(self.layers):
                wanted = [
                    _mean([x[other] for other in [*self._above.get(name, []), *self._below.get(name, [])]] or [x[name]])
                    for name in layer
                ]
                x.update(self._apart(layer, wanted))
        return x

    def _apart(self, layer: Sequence[str], wanted: Sequence[float]) -> dict[str, float]:
        """Return places near the wanted ones, in the order of the layer, that do not overlap."""
        from_left = self._pushed(layer, wanted)
        from_right = self._pushed(layer[::-1], [-place for place in wanted[::-1]])
        return {name: (from_left[name] - from_right[name]) / 2 for name in layer}

    def _pushed(self, layer: Sequence[str], wanted: Sequence[float]) -> dict[str, float]:
        """Return the places when each one is pushed to the right by the one before."""
        places: dict[str, float] = {}
        edge = float("-inf")
        for name, place in zip(layer, wanted, strict=True):
            half = self.width(name) / 2
            places[name] = max(place, edge + half)
            edge = places[name] + half + _GAP_IN
        return places


def draw_graph(graph: Graph) -> Figure:
    """Return a picture of a graph.

    Raises
    ------
    MissingPackageError
        There is no matplotlib.
    """
    layout = _Layout(graph)
    heights = [max(_height(layout.nodes[name]) for name in layer if name in layout.nodes) for layer in layout.layers]
    y, depth = [], 0.0
    for height in heights:
        y.append(-(depth + height / 2))
        depth += height + _LAYER_GAP_IN
    places = {name: (layout.x[name], y[layout.depth[name]]) for name in layout.x}
    left = min((layout.x[name] - layout.width(name) / 2 for name in layout.x), default=0.0) - _MARGIN_IN
    right = max((layout.x[name] + layout.width(name) / 2 for name in layout.x), default=1.0) + _MARGIN_IN
    title_in = len(graph.title) * _CHARACTER_IN
    width = max(right - left, title_in)
    figure = new_figure(width, depth + 0.4)
    axes = figure.add_subplot()
    middle = (left + right) / 2
    axes.set_xlim(middle - width / 2, middle + width / 2)
    axes.set_ylim(-(depth - _LAYER_GAP_IN + _MARGIN_IN), _MARGIN_IN)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(graph.title, fontsize=10)
    for edge, route in layout.routes.items():
        _draw_arrow(axes, edge, route, places, layout.nodes)
    for name, node in layout.nodes.items():
        _draw_box(axes, node, places[name], layout.width(name))
    return figure


def _draw_box(axes: Axes, node: Node, place: tuple[float, float], width: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = place
    height = _height(node)
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=STATE_COLOURS.get(node.state, PLAIN_COLOUR),
            edgecolor="#555555",
            linewidth=0.8,
            zorder=2,
        )
    )
    top = y + (len(node.text) - 1) * _LINE_IN / 2
    for number, line in enumerate(node.text):
        weight = "bold" if number == 0 else "normal"
        axes.text(
            x,
            top - number * _LINE_IN,
            line,
            ha="center",
            va="center",
            fontsize=8,
            weight=weight,
            zorder=3,
            parse_math=False,
        )


def _draw_arrow(axes: Axes, edge: Edge, route: Sequence[str], places: _Places, nodes: dict[str, Node]) -> None:
    """Draw an arrow from the bottom of a box to the top of another, straight up and down at each of its points."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    down = -1.0 if places[route[-1]][1] < places[route[0]][1] else 1.0
    points = [places[name] for name in route]
    points[0] = (points[0][0], points[0][1] + down * _height(nodes[route[0]]) / 2)
    points[-1] = (points[-1][0], points[-1][1] - down * _height(nodes[route[-1]]) / 2)
    corners, codes = [points[0]], [Path.MOVETO]
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        half = (y + next_y) / 2
        corners += [(x, half), (next_x, half), (next_x, next_y)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(
        FancyArrowPatch(
            path=Path(corners, codes),
            arrowstyle="-|>",
            mutation_scale=9,
            linewidth=0.9,
            linestyle="--" if edge.is_dashed else "-",
            color="#555555",
            zorder=1,
        )
    )
    if edge.text:
        (x, y), (next_x, next_y) = points[-2:]
        axes.text(
            (x + next_x) / 2 + 0.04,
            (y + next_y) / 2,
            edge.text,
            fontsize=7,
            va="center",
            zorder=3,
            parse_math=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8},
        )


def _height(node: Node) -> float:
    return len(node.text) * _LINE_IN + 0.14


def _depths(graph: Graph) -> dict[str, int]:
    """Return the layer of each node, 0 at the top; an arrow that closes a circle does not count."""
    needs: dict[str, set[str]] = {node.id: set() for node in graph.nodes}
    for edge in graph.edges:
        needs[edge.target].add(edge.source)
    while True:
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            before, after = error.args[1][:2]
            needs[after].discard(before)
            continue
        break
    depths: dict[str, int] = {}
    for name in order:
        depths[name] = max((depths[other] + 1 for other in needs[name]), default=0)
    return {node.id: depths[node.id] for node in graph.nodes}


def _mean(numbers: Iterable[float]) -> float:
    found = list(numbers)
    return sum(found) / len(found)
