"""A workflow or a run as boxes and arrows, and what makes large ones fit to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import sqlite3

    from pegasus_toolkit.planner.model import Job, Workflow

Label = Literal["label", "xform", "id", "xform-id", "label-xform", "label-id"]
LABELS: tuple[Label, ...] = ("label", "xform", "id", "xform-id", "label-xform", "label-id")
_REDUCED = 5000  # boxes; what other edges imply is looked for in smaller graphs only
_AUXILIARY = ("create_dir", "stage_in", "stage_out", "inter_site", "register", "cleanup", "receipt")


class Box(NamedTuple):
    """``group``: what it is one of (a transformation, a kind of node); ``state``: of a run's node, or "".

    ``many``: how many it stands for. ``shape``: "job", "file" or "workflow".
    """

    label: str
    group: str
    state: str = ""
    many: int = 1
    shape: Literal["job", "file", "workflow"] = "job"


class Graph(NamedTuple):
    """``edges``: parent and child as places in ``boxes``, each pair once; there is no cycle."""

    name: str
    boxes: tuple[Box, ...]
    edges: tuple[tuple[int, int], ...]


# --- where graphs come from -------------------------------------------------------------------------


def of_workflow(workflow: Workflow, label: Label = "label", files: bool = False) -> Graph:
    """An abstract workflow's jobs, with their ``files`` if wanted."""
    boxes = [_job(job, label) for job in workflow.jobs]
    place = {job.id: at for at, job in enumerate(workflow.jobs)}
    maker = {use.lfn: place[job.id] for job in workflow.jobs for use in job.outputs}
    edges = {(place[one], place[job]) for job, parents in workflow.parents.items() for one in parents}
    if not files:
        for job in workflow.jobs:
            edges |= {(maker[use.lfn], place[job.id]) for use in job.inputs if use.lfn in maker}
        return _graph(workflow.name, boxes, edges)
    file_at: dict[str, int] = {}
    for job in workflow.jobs:
        for use in job.uses:
            if use.lfn not in file_at:
                file_at[use.lfn] = len(boxes)
                boxes.append(Box(use.lfn, "file", shape="file"))
            edge = (file_at[use.lfn], place[job.id])
            edges.add(edge if use.link == "input" else edge[::-1])
    return _graph(workflow.name, boxes, edges)


def _job(job: Job, label: Label) -> Box:
    name = job.transformation or job.file or job.id
    words = {"label": job.label or name, "xform": name, "id": job.id}
    parts = dict.fromkeys(words[part] for part in label.split("-"))
    return Box("\n".join(parts), name, shape="job" if job.kind == "job" else "workflow")


def of_run(connection: sqlite3.Connection, name: str) -> Graph:
    """The nodes of a run, with their states."""
    rows = connection.execute("SELECT id, name, kind, state FROM nodes ORDER BY id").fetchall()
    place = {row[0]: at for at, row in enumerate(rows)}
    boxes = [
        Box(node, _group(node, kind), state, shape="workflow" if kind == "subworkflow" else "job")
        for _, node, kind, state in rows
    ]
    edges = connection.execute("SELECT parent, child FROM edges")
    return _graph(name, boxes, {(place[parent], place[child]) for parent, child in edges})


def _group(node: str, kind: str) -> str:
    """What a node is one of; our planner's names tell it, and others' before their last ``_`` and number."""
    for prefix in _AUXILIARY:
        if node.startswith(prefix):
            return prefix
    return kind if kind in ("subworkflow", "final") else node.rpartition("_")[0].rstrip("0123456789") or node


def _graph(name: str, boxes: Iterable[Box], edges: Iterable[tuple[int, int]]) -> Graph:
    return Graph(name, tuple(boxes), tuple(sorted(edges)))


# --- what makes them smaller ------------------------------------------------------------------------


def levels(graph: Graph) -> list[int]:
    """Of each box: how many arrows the longest way to it has."""
    children: list[list[int]] = [[] for _ in graph.boxes]
    waiting = [0] * len(graph.boxes)
    for parent, child in graph.edges:
        children[parent].append(child)
        waiting[child] += 1
    level = [0] * len(graph.boxes)
    ready = [at for at, count in enumerate(waiting) if not count]
    for at in ready:  # grows while it is gone through
        for child in children[at]:
            level[child] = max(level[child], level[at] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return level


def only(graph: Graph, wanted: Callable[[int], bool]) -> Graph:
    """The boxes whose places are ``wanted``; arrows through the others become arrows past them."""
    parents: list[set[int]] = [set() for _ in graph.boxes]
    for parent, child in graph.edges:
        parents[child].add(parent)
    keep = [wanted(at) for at in range(len(graph.boxes))]
    level = levels(graph)
    for at in sorted(range(len(graph.boxes)), key=level.__getitem__):
        through = [parent for parent in parents[at] if not keep[parent]]
        for parent in through:
            parents[at].remove(parent)
            parents[at] |= parents[parent]
    place = {at: new for new, at in enumerate(at for at, kept in enumerate(keep) if kept)}
    edges = {(place[parent], place[at]) for at in place for parent in parents[at]}
    return _graph(graph.name, [graph.boxes[at] for at in place], edges)


def first_levels(graph: Graph, count: int) -> Graph:
    """What is at most ``count`` levels deep."""
    level = levels(graph)
    return only(graph, lambda at: level[at] < count)


def without(graph: Graph, groups: Sequence[str]) -> Graph:
    """All but what is one of ``groups``."""
    return only(graph, lambda at: graph.boxes[at].group not in groups)


def collapsed(graph: Graph) -> Graph:
    """One box for all of a level that are of one group and state."""
    level = levels(graph)
    members: dict[tuple[int, str, str, str], list[int]] = {}
    for at, box in enumerate(graph.boxes):
        members.setdefault((level[at], box.group, box.state, box.shape), []).append(at)
    boxes, place = [], {}
    for new, group in enumerate(members.values()):
        first = graph.boxes[group[0]]
        place.update(dict.fromkeys(group, new))
        alone = len(group) == 1
        boxes.append(first if alone else first._replace(label=first.group, many=len(group)))
    return _graph(graph.name, boxes, {(place[parent], place[child]) for parent, child in graph.edges})


def simplified(graph: Graph) -> Graph:
    """Without the arrows that others imply. Graphs too large for that are given as they are."""
    if len(graph.boxes) > _REDUCED:
        return graph
    level = levels(graph)
    parents: list[list[int]] = [[] for _ in graph.boxes]
    for parent, child in graph.edges:
        parents[child].append(parent)
    above = [0] * len(graph.boxes)  # sets of places, as bits
    edges = []
    for at in sorted(range(len(graph.boxes)), key=level.__getitem__):
        for parent in sorted(parents[at], key=level.__getitem__, reverse=True):
            if not above[at] >> parent & 1:
                edges.append((parent, at))
                above[at] |= above[parent] | 1 << parent
    return _graph(graph.name, graph.boxes, edges)
