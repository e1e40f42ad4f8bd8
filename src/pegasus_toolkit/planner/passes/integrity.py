"""Integrity: each node that uses a file knows who tells its digest.

A catalogued digest is in the job's and the transfer's own description. Any other is known when the file
was staged in or made: the node that did it leaves a ``.meta`` file, which those who use it are given.
"""

from __future__ import annotations

from msgspec.structs import replace

from pegasus_toolkit.planner.model import Move, Node, Operation
from pegasus_toolkit.planner.passes.plan import Plan


def check_integrity(plan: Plan) -> Plan:
    """``metas`` for every node, or, where checking is off, no digests at all."""
    if not plan.settings.integrity:
        return replace(plan, nodes=tuple(map(_unchecked, plan.nodes)))
    silent = {node.name for node in plan.nodes if node.kind == "subworkflow"}  # their DAG knows, not they
    return replace(plan, nodes=tuple(_with_metas(plan, node, silent) for node in plan.nodes))


def _with_metas(plan: Plan, node: Node, silent: set[str]) -> Node:
    if node.kind == "subworkflow":
        return node
    tellers: dict[str, None] = {}
    for one in node.inputs:
        if one.checksum is None and one.lfn in plan.digests:
            tellers[plan.digests[one.lfn]] = None
    if node.kind in ("stage_out", "inter_site"):
        for move in node.operations:
            if isinstance(move, Move) and move.checksum is None and move.lfn in plan.digests:
                tellers[plan.digests[move.lfn]] = None
    for entry in node.registrations:
        if entry.lfn in plan.digests:
            tellers[plan.digests[entry.lfn]] = None
    tellers.pop(node.name, None)
    for name in silent & tellers.keys():
        del tellers[name]
    return replace(node, metas=tuple(tellers)) if tellers else node


def _unchecked(node: Node) -> Node:
    operations: list[Operation] = [
        replace(one, checksum=None) if isinstance(one, Move) and one.checksum else one
        for one in node.operations
    ]
    inputs = tuple(replace(one, checksum=None) if one.checksum else one for one in node.inputs)
    return replace(node, inputs=inputs, operations=tuple(operations))
