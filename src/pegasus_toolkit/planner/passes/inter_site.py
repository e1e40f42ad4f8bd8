"""Inter-site transfers: files that a job made, to the staging site of a job elsewhere that needs them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL
from pegasus_toolkit.planner.model import Move, Node, Problem
from pegasus_toolkit.planner.passes.batches import IN, batches, limit
from pegasus_toolkit.planner.passes.places import Places
from pegasus_toolkit.planner.passes.plan import Plan


def inter_site(plan: Plan) -> Plan:
    """Nodes between the maker of a file and those who need it at another staging site."""
    work = _InterSite(plan)
    maker = {use.lfn: job.id for job in plan.jobs for use in job.outputs}
    for node in plan.nodes:
        if node.jobs:
            work.look_at(node, maker)
    work.move()
    kept = {use.lfn: job.id for job in plan.jobs for use in job.checkpoints}
    digests = {lfn: plan.node_of[id] for lfn, id in {**maker, **kept}.items()}
    moved = replace(plan, placed=work.placed, digests=digests)
    return moved.add(work.nodes, work.edges).wrong(work.problems)


class _InterSite:
    def __init__(self, plan: Plan) -> None:
        self.nodes: list[Node] = []
        self.edges: dict[str, list[str]] = {}
        self.problems: list[Problem] = []
        self.placed = dict(plan.placed)
        self._plan = plan
        self._places = Places(plan.catalogs, plan.settings)
        # From and to which staging site: by its maker's node, LFN to the nodes that need it.
        self._wanted: dict[tuple[str, str], dict[str, dict[str, list[str]]]] = {}

    def look_at(self, node: Node, maker: Mapping[str, str]) -> None:
        """Notes what the node needs from elsewhere."""
        to = self._plan.chosen[node.jobs[0]].staging
        for one in node.inputs:
            if not one.produced:
                continue
            by = maker[one.lfn]
            source, name = self._plan.chosen[by].staging, self._plan.node_of[by]
            self.placed[one.lfn, source] = name
            if source != to:
                files = self._wanted.setdefault((source, to), {}).setdefault(name, {})
                files.setdefault(one.lfn, []).append(node.name)

    def move(self) -> None:
        """Makes the nodes. A batch has one maker, so that nobody waits for another's files."""
        for (source, to), makers in self._wanted.items():
            at = self._places.first(
                (LOCAL, source, to), self._places.get(source, "x"), self._places.put(to, "x")
            )
            if not at:
                message = f"no site can read the scratch directory of {source!r} and write that of {to!r}"
                self.problems.append(Problem("sites", (), message))
                continue
            for name, files in makers.items():
                for lfns in batches([(list(files), 0)], limit(len(files), IN)):
                    made = self._node(at, source, to, lfns)
                    self.edges[made] = [name, self._plan.made[to]]
                    for lfn in lfns:
                        self.placed[lfn, to] = made
                        for consumer in files[lfn]:
                            self.edges.setdefault(consumer, []).append(made)

    def _node(self, at: str, source: str, to: str, lfns: list[str]) -> str:
        moves = tuple(
            Move(
                lfn=lfn,
                sources=(self._places.get(source, lfn),),
                destinations=(self._places.put(to, lfn),),
                linkage="inter",
            )
            for lfn in lfns
        )
        name = f"inter_site_{len(self.nodes)}"
        self.nodes.append(Node(name=name, kind="inter_site", site=at, operations=moves))
        return name
