"""Integrity: each node that uses a file knows who tells its digest.

A catalogued digest is in the job's and the transfer's own description. Any other is known when the file
was staged in or made: the node that did it leaves a ``.meta`` file, which those who use it are given.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from pegasus_toolkit.planner.model import Move, Node, Operation
from pegasus_toolkit.planner.passes.plan import Plan


def check_integrity(plan: Plan) -> Plan:
    """``metas`` for every node, or, where checking is off, no digests at all."""
    silent = {node.name for node in plan.nodes if node.kind == "subworkflow"}  # their DAG knows, not they
    if not plan.settings.integrity:  # who registers still asks the makers' records, for metadata
        nodes = (_with_metas(plan, n, silent) if n.registrations else _unchecked(n) for n in plan.nodes)
        return replace(plan, nodes=tuple(nodes))
    return replace(plan, nodes=tuple(_with_metas(plan, node, silent) for node in plan.nodes))


def _with_metas(plan: Plan, node: Node, silent: set[str]) -> Node:
    if node.kind == "subworkflow":
        return node
    staging = plan.chosen[node.jobs[0]].staging if node.jobs else ""
    tellers: dict[str, None] = {}
    for lfn in _unknown(node):
        # Whoever made it, or else who staged it in, if this node waited for that: it may have bypassed it.
        teller = plan.digests.get(lfn)
        if teller is None or teller == node.name:  # itself: of the checkpoint that it begins with
            teller = plan.placed.get((lfn, staging))
            teller = teller if teller in plan.edges[node.name] else None
        if teller is not None:
            tellers[teller] = None
    metas = tuple(name for name in tellers if name not in silent)
    if not silent.isdisjoint(tellers):
        untold = {one.lfn for one in node.inputs if plan.digests.get(one.lfn) in silent}
        inputs = (replace(one, produced=False) if one.lfn in untold else one for one in node.inputs)
        node = replace(node, inputs=tuple(inputs))
    return replace(node, metas=metas) if metas else node


def _unknown(node: Node) -> Iterator[str]:
    """Files whose digest the node has to be told by others."""
    for one in node.inputs:
        if one.checksum is None:
            yield one.lfn
    for move in node.operations if node.kind in ("stage_out", "inter_site") else ():
        if isinstance(move, Move) and move.checksum is None:
            yield move.lfn
    for entry in node.registrations:
        yield entry.lfn


def _unchecked(node: Node) -> Node:
    operations: list[Operation] = [
        replace(one, checksum=None) if isinstance(one, Move) and one.checksum else one
        for one in node.operations
    ]
    inputs = tuple(replace(one, checksum=None) if one.checksum else one for one in node.inputs)
    return replace(node, inputs=inputs, operations=tuple(operations))
