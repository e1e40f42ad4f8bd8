"""Graphs in Graphviz' language."""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_toolkit.monitor.colours import fill
from pegasus_toolkit.monitor.graph import Graph

_SHAPES = {"job": "box", "file": "ellipse", "workflow": "box3d"}


def render(graph: Graph, width: float | None = None, height: float | None = None) -> str:
    """The whole file. ``width`` and ``height``: of the picture, in inches; both or none."""
    return "\n".join(_lines(graph, width, height)) + "\n"


def _lines(graph: Graph, width: float | None, height: float | None) -> Iterator[str]:
    yield f"digraph {quoted(graph.name)} {{"
    if width and height:
        yield f'  size="{width:g},{height:g}";'
    yield '  node [style="filled,rounded", fontname="Helvetica", fontsize=11, color="#555555"];'
    yield '  edge [color="#777777", arrowsize=0.7];'
    groups = {group: at for at, group in enumerate(dict.fromkeys(box.group for box in graph.boxes))}
    for at, box in enumerate(graph.boxes):
        label = box.label if box.many == 1 else f"{box.label}\n{box.many:,}"
        shape, colour = _SHAPES[box.shape], fill(box, groups[box.group])
        yield f'  n{at} [label={quoted(label)}, shape={shape}, fillcolor="{colour}"];'
    for parent, child in graph.edges:
        yield f"  n{parent} -> n{child};"
    yield "}"


def quoted(text: str) -> str:
    """A string of the language that shows as ``text``; a backslash in it begins no escape."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c if c.isprintable() else "\ufffd" for c in escaped) + '"'
