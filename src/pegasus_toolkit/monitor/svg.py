"""Graphs as SVG, in layers from top to bottom, for those who have no Graphviz.

An arrow that passes layers has a place of its own in each of them, so that it goes round the boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import NamedTuple

from pegasus_toolkit.monitor.colours import STATES, fill
from pegasus_toolkit.monitor.graph import Graph, levels

_LETTER, _LINE = 6.6, 15.0  # a letter's width and a line's height at 11 px
_PAD, _GAP, _LAYER, _MARGIN = 10.0, 18.0, 46.0, 20.0
_LONGEST = 40  # letters of a line that is shown
_SWEEPS, _SWEPT = 8, 20_000  # how often layers are put in order, and the most arrows for which they are


class _Spot(NamedTuple):
    """A box (``box`` its place in the graph) or, with -1, where an arrow passes a layer."""

    box: int
    width: float
    height: float


def render(graph: Graph) -> str:
    """The whole file."""
    layout = _Layout(graph)
    return "\n".join(_drawn(graph, layout)) + "\n"


class _Layout:
    """Where everything is: ``spots``, their centres ``x`` and ``y``, and the spots of each arrow's way."""

    def __init__(self, graph: Graph) -> None:
        self.texts = [_text(box.label, box.many) for box in graph.boxes]
        self.spots = [_size(at, lines) for at, lines in enumerate(self.texts)]
        self.level = levels(graph)
        self.ways: list[list[int]] = []
        for parent, child in graph.edges:
            between = range(self.level[parent] + 1, self.level[child])
            self.ways.append([parent, *(self._passing(level) for level in between), child])
        self.layers: list[list[int]] = [[] for _ in range(max(self.level, default=0) + 1)]
        for spot, level in enumerate(self.level):
            self.layers[level].append(spot)
        if len(self.ways) <= _SWEPT:
            self._order()
        self._place()

    def _passing(self, level: int) -> int:
        self.spots.append(_Spot(-1, 4.0, 0.0))
        self.level.append(level)
        return len(self.spots) - 1

    def _order(self) -> None:
        """Puts each layer in the order of what its spots are joined to, down and up in turn."""
        near: tuple[list[list[int]], list[list[int]]] = ([[] for _ in self.spots], [[] for _ in self.spots])
        for way in self.ways:
            for one, other in pairwise(way):
                near[0][other].append(one)
                near[1][one].append(other)
        at = {spot: float(n) for layer in self.layers for n, spot in enumerate(layer)}
        for sweep in range(_SWEEPS):
            joined = near[sweep % 2]
            for layer in self.layers if sweep % 2 == 0 else reversed(self.layers):
                wish = {s: sum(at[o] for o in joined[s]) / len(joined[s]) for s in layer if joined[s]}
                layer.sort(key=lambda spot: wish.get(spot, at[spot]))
                at.update((spot, float(n)) for n, spot in enumerate(layer))

    def _place(self) -> None:
        self.x, self.y = [0.0] * len(self.spots), [0.0] * len(self.spots)
        wide = [sum(self.spots[s].width + _GAP for s in layer) - _GAP for layer in self.layers]
        self.width = max([*wide, 1.0]) + 2 * _MARGIN
        top = _MARGIN
        for layer, width in zip(self.layers, wide, strict=True):
            high = max((self.spots[spot].height for spot in layer), default=0.0)
            # What is spread over the whole width stands below what is.
            space = (self.width - 2 * _MARGIN - width) / (len(layer) + 1)
            left = _MARGIN + space
            for spot in layer:
                self.x[spot] = left + self.spots[spot].width / 2
                self.y[spot] = top + high / 2
                left += self.spots[spot].width + _GAP + space * (len(layer) > 1)
            top += high + _LAYER
        self.height = top - _LAYER + _MARGIN


def _text(label: str, count: int) -> list[str]:
    lines = ["".join(c if c.isprintable() else "\ufffd" for c in line) for line in label.split("\n")]
    if count > 1:
        lines.append(f"{count:,}")
    return [line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "\u2026" for line in lines]


def _size(at: int, lines: list[str]) -> _Spot:
    longest = max(map(len, lines))
    return _Spot(at, longest * _LETTER + 2 * _PAD, len(lines) * _LINE + _PAD)


def _drawn(graph: Graph, layout: _Layout) -> Iterator[str]:
    states = [state for state in STATES if any(box.state == state for box in graph.boxes)]
    width = max(layout.width, 90.0 * len(states) + 2 * _MARGIN)
    height = layout.height + (30.0 if states else 0.0)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="11">'
    )
    yield f"<title>{escape(_text(graph.name, 1)[0])}</title>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>'
    )
    yield '<g fill="none" stroke="#777" marker-end="url(#tip)">'
    yield from (f'<path d="{_curve(layout, way)}"/>' for way in layout.ways)
    yield "</g>"
    groups = {group: at for at, group in enumerate(dict.fromkeys(box.group for box in graph.boxes))}
    for at, box in enumerate(graph.boxes):
        yield from _box(layout, at, fill(box, groups[box.group]), box.shape)
    for at, state in enumerate(states):
        x, y = _MARGIN + 90.0 * at, layout.height
        yield f'<rect x="{x:.1f}" y="{y:.1f}" width="14" height="14" fill="{STATES[state]}" stroke="#555"/>'
        yield f'<text x="{x + 20:.1f}" y="{y + 11:.1f}">{state}</text>'
    yield "</svg>"


def _curve(layout: _Layout, way: list[int]) -> str:
    """From below the first spot to above the last, smoothly through those between."""
    first, last = way[0], way[-1]
    points = [(layout.x[first], layout.y[first] + layout.spots[first].height / 2)]
    points += [(layout.x[spot], layout.y[spot]) for spot in way[1:-1]]
    points.append((layout.x[last], layout.y[last] - layout.spots[last].height / 2))
    told = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        told += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return told


def _box(layout: _Layout, at: int, colour: str, shape: str) -> Iterator[str]:
    spot, lines = layout.spots[at], layout.texts[at]
    left, top = layout.x[at] - spot.width / 2, layout.y[at] - spot.height / 2
    round_ = {"job": 5.0, "file": spot.height / 2, "workflow": 0.0}[shape]
    double = ' stroke-width="2.5"' if shape == "workflow" else ""
    yield (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{spot.width:.1f}" height="{spot.height:.1f}"'
        f' rx="{round_:.1f}" fill="{colour}" stroke="#555"{double}/>'
    )
    for line, text in enumerate(lines):
        y = top + _PAD / 2 + _LINE * (line + 0.75)
        yield f'<text x="{layout.x[at]:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'
