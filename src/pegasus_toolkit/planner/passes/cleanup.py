"""Cleanup: removes what this run put into its scratch directories, and nothing else.

In place: each file after its last user. At the end, here as with ``leaf``: the run's own directory.
"""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_toolkit.planner.catalogs import LOCAL, Pfn
from pegasus_toolkit.planner.model import Move, Node, Operation, Remove
from pegasus_toolkit.planner.passes.batches import AWAY, batches, limit
from pegasus_toolkit.planner.passes.places import Places
from pegasus_toolkit.planner.passes.plan import Plan


def clean_up(plan: Plan) -> Plan:
    """Cleanup nodes, as ``settings.cleanup`` says."""
    if plan.settings.cleanup == "none" or not plan.made:
        return plan
    places = Places(plan.catalogs, plan.settings)
    if plan.settings.cleanup == "inplace":
        plan = _in_place(plan, places)
    return _leaf(plan, places)


def _in_place(plan: Plan, places: Places) -> Plan:
    rank = {node.name: (node.level, node.kind == "stage_out") for node in plan.nodes}
    users = _users(plan, places)
    by_level: dict[tuple[str, tuple[int, bool]], dict[str, list[str]]] = {}
    for (lfn, site), names in users.items():
        last = max(names, key=lambda name: rank[name])
        by_level.setdefault((site, rank[last]), {}).setdefault(last, []).append(lfn)
    nodes: list[Node] = []
    edges: dict[str, list[str]] = {}
    for (site, (level, _)), groups in by_level.items():
        count = sum(map(len, groups.values()))
        for lfns in batches(((group, 0) for group in groups.values()), limit(count, AWAY)):
            name = f"cleanup_{len(nodes)}"
            nodes.append(
                _node(places, site, name, *(Remove(places.put(site, one)) for one in lfns), level=level)
            )
            edges[name] = [user for lfn in lfns for user in users[lfn, site]]
    return plan.add(nodes, edges)


def _users(plan: Plan, places: Places) -> dict[tuple[str, str], tuple[str, ...]]:
    """Of each file in a scratch directory of this run: who put it there and who reads it."""
    found: dict[tuple[str, str], list[str]] = {}
    for lfn, site, name in _placed(plan):
        found.setdefault((lfn, site), []).append(name)
    for node in plan.nodes:
        for one in node.inputs:
            site = plan.chosen[node.jobs[0]].staging
            if (one.lfn, site) in found:
                found[one.lfn, site].append(node.name)
        for move in node.operations:
            if isinstance(move, Move):
                for pfn in move.sources:
                    users = found.get((move.lfn, pfn.site))
                    if users is not None and pfn.url.startswith(places.scratch(pfn.site, "all", "get")):
                        users.append(node.name)
    return {key: tuple(dict.fromkeys(names)) for key, names in found.items()}


def _placed(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """LFN, staging site and node of everything that is put there."""
    known = set(plan.placed)
    for (lfn, site), name in plan.placed.items():
        yield lfn, site, name
    for node in plan.nodes:
        site = plan.chosen[node.jobs[0]].staging if node.jobs else ""
        for one in node.outputs:
            if (one.destinations or node.configuration == "sharedfs") and (one.lfn, site) not in known:
                yield one.lfn, site, node.name


def _leaf(plan: Plan, places: Places) -> Plan:
    """Removes the directories when nothing is left to be done."""
    parents = {parent for found in plan.edges.values() for parent in found}
    sinks = [node.name for node in plan.nodes if node.name not in parents]
    nodes: list[Node] = []
    edges: dict[str, list[str]] = {}
    for site in plan.made:
        pfn = Pfn(site, places.scratch(site, "all", "put"))
        name = f"cleanup_directory_{len(nodes)}"
        nodes.append(_node(places, site, name, Remove(pfn, recursive=True)))
        edges[name] = sinks
    return plan.add(nodes, edges)


def _node(places: Places, site: str, name: str, *operations: Operation, level: int = 0) -> Node:
    at = LOCAL if places.reaches(LOCAL, places.put(site, "x")) else site
    return Node(name=name, kind="cleanup", site=at, level=level, operations=operations)
