"""Which nodes are done, which may run, which never will."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

from pegasus_toolkit.dag.model import Dag, Node

STATES = ("done", "pre", "queued", "post", "ready", "unready", "failed", "futile")


_SUBDAGS = "SUBDAG EXTERNAL"  # no category can be called that


class NodeState:
    """A node on its way. ``returned``: of its job or script, as DAGMan counts; ``cluster``: its job's number.

    ``job_returned``: known from before a restart, where only the POST script is left to run.
    """

    __slots__ = ("before", "cluster", "edges", "job_returned", "node", "returned", "state", "tries", "waits")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.state = "unready"
        self.waits = 0
        self.edges: list[int] = []
        self.tries = 0  # that failed
        self.returned = 0
        self.before = 0
        self.cluster = 0
        self.job_returned: int | None = None


class Nodes:
    """All nodes of a DAG. Time and memory grow with the length of the DAG file, not with pairs of nodes."""

    def __init__(self, dag: Dag) -> None:
        self.of = {name: NodeState(node) for name, node in dag.nodes.items()}
        self.final = self.of.get(dag.final)
        self.counts = dict.fromkeys(STATES, 0) | {"unready": len(self.of)}
        self._dag = dag
        self._open = [len(edge.parents) for edge in dag.edges]
        for number, edge in enumerate(dag.edges):
            for child in edge.children:
                self.of[child].waits += 1
            for parent in edge.parents:
                self.of[parent].edges.append(number)

    def __iter__(self) -> Iterator[NodeState]:
        return iter(self.of.values())

    def set(self, one: NodeState, state: str) -> None:
        """Moves a node to another state."""
        self.counts[one.state] -= 1
        self.counts[state] += 1
        one.state = state

    def begin(self, done: Iterable[str]) -> list[NodeState]:
        """Marks what is done already, and gives those that can run now, in the order of the file."""
        for name in done:
            self.done(self.of[name])
        return [one for one in self if one is not self.final and one.state == "unready" and not one.waits]

    def done(self, one: NodeState) -> list[NodeState]:
        """``one`` is done: gives those that waited for it last."""
        self.set(one, "done")
        ready = []
        for number in one.edges:
            self._open[number] -= 1
            if not self._open[number]:
                for child in self._dag.edges[number].children:
                    state = self.of[child]
                    state.waits -= 1
                    if not state.waits and state.state == "unready":
                        ready.append(state)
        return ready

    def failed(self, one: NodeState) -> None:
        """``one`` has failed for good: all that need it never run."""
        self.set(one, "failed")
        numbers, seen = list(one.edges), set(one.edges)
        for number in numbers:  # grows
            for child in self._dag.edges[number].children:
                state = self.of[child]
                if state.state == "unready":
                    self.set(state, "futile")
                    more = [n for n in state.edges if n not in seen]
                    numbers += more
                    seen.update(more)

    @property
    def busy(self) -> int:
        """How many nodes are at something."""
        counts = self.counts
        return counts["pre"] + counts["queued"] + counts["post"]


class Ready:
    """Nodes that wait for a slot: the highest priority first, then who came first.

    Those of a category that has as many jobs as it may, wait aside. DAGs within the DAG are such a category
    of their own, of at most ``subdags`` at a time: each has files open.
    """

    def __init__(self, limits: Mapping[str, int], subdags: int) -> None:
        self._limits = {**limits, _SUBDAGS: subdags}
        self._heap: list[tuple[int, int, NodeState]] = []
        self._aside: dict[str, list[tuple[int, int, NodeState]]] = {}
        self._running: dict[str, int] = {}
        self._count = 0

    def add(self, one: NodeState) -> None:
        self._count += 1
        heapq.heappush(self._heap, (-one.node.priority, self._count, one))

    def first(self) -> NodeState | None:
        """Who is next; it stays until :meth:`take`."""
        while self._heap:
            entry = self._heap[0]
            category = _category(entry[2])
            if self._running.get(category, 0) < self._limits.get(category, 1 << 30):
                return entry[2]
            heapq.heappush(self._aside.setdefault(category, []), heapq.heappop(self._heap))
        return None

    def take(self) -> NodeState:
        """Takes the first one out; its category has one job more."""
        one = heapq.heappop(self._heap)[2]
        self._running[_category(one)] = self._running.get(_category(one), 0) + 1
        return one

    def ended(self, one: NodeState) -> None:
        """The job of one that was taken is over: the next of its category may come."""
        category = _category(one)
        self._running[category] -= 1
        if waiting := self._aside.get(category):
            heapq.heappush(self._heap, heapq.heappop(waiting))

    def clear(self) -> list[NodeState]:
        """Takes all out, for good."""
        found = [entry[2] for heap in (self._heap, *self._aside.values()) for entry in heap]
        self._heap = []
        self._aside = {}
        return found


def _category(one: NodeState) -> str:
    return one.node.category or (_SUBDAGS if one.node.subdag else "")
